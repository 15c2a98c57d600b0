//! Who this machine is to a gateway: an Ed25519 key in `identity/device.json`, and the tokens that
//! a gateway gave it in `identity/device-auth.json`.
//!
//! Both files are the reference's. Pairing, and what a token is worth, is the gateway's business.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::BASE64;
use ed25519_compact::{KeyPair, Noise, Seed};
use serde_json::{Map, Value, json};

use crate::protocol::device::SPKI;
use crate::state::Paths;
use crate::sys::{clock, file, id, lock};

/// Bytes of an identity file that are read.
const MAX_FILE: u64 = 64 * 1024;
/// How long another process may take to make the identity.
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// What comes before the 32 bytes of an Ed25519 key in PKCS #8, version 1.
const PKCS8: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// A device: its id and the key that proves it.
pub struct Identity {
    /// Hex SHA-256 of the raw public key.
    pub device_id: String,
    keys: KeyPair,
}

impl Identity {
    /// The identity in the state directory, made on first use.
    pub fn load_or_create(paths: &Paths) -> Result<Identity, IdentityError> {
        let path = paths.identity_device();
        if let Some(found) = Identity::load(&path)? {
            return Ok(found);
        }
        let broken = |error| IdentityError::io(&path, error);
        make_parent(&path).map_err(broken)?;
        // Two commands may come here at once; they have to agree on one key.
        let _lock = lock::FileLock::acquire(&path.with_extension("json.lock"), LOCK_WAIT)
            .map_err(|e| broken(io::Error::other(e.to_string())))?;
        if let Some(found) = Identity::load(&path)? {
            return Ok(found);
        }
        let made = Identity::from_seed(id::random());
        let text = format!("{:#}\n", made.to_value(clock::now_ms()));
        file::write_atomic(&path, text.as_bytes()).map_err(broken)?;
        Ok(made)
    }

    /// The identity whose key grows from `seed`.
    pub fn from_seed(seed: [u8; 32]) -> Identity {
        let keys = KeyPair::from_seed(Seed::new(seed));
        Identity {
            device_id: id::sha256_hex(&keys.pk[..]),
            keys,
        }
    }

    fn load(path: &Path) -> Result<Option<Identity>, IdentityError> {
        let bytes = match file::read_bounded(path, MAX_FILE) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(IdentityError::io(path, e)),
        };
        let stored: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let seed = stored["privateKeyPem"].as_str().and_then(seed_of_pem);
        // The id and the public key follow from the private one; what the file says of them is not used.
        seed.map(|s| Some(Identity::from_seed(s)))
            .ok_or_else(|| IdentityError::Broken(path.to_path_buf()))
    }

    fn to_value(&self, created_at: u64) -> Value {
        let seed = self.keys.sk.seed();
        json!({
            "version": 1,
            "deviceId": self.device_id,
            "publicKeyPem": pem("PUBLIC KEY", &SPKI, &self.keys.pk[..]),
            "privateKeyPem": pem("PRIVATE KEY", &PKCS8, &seed[..]),
            "createdAtMs": created_at,
        })
    }

    /// The raw public key as base64url.
    pub fn public_key(&self) -> String {
        id::b64url(&self.keys.pk[..])
    }

    /// The signature over `text` as base64url.
    pub fn sign(&self, text: &str) -> String {
        let noise = Noise::new(id::random());
        id::b64url(&self.keys.sk.sign(text, Some(noise))[..])
    }
}

fn pem(label: &str, head: &[u8], key: &[u8]) -> String {
    // 60 and 64 characters of base64: always a single line.
    let body = BASE64.encode(&[head, key].concat());
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

fn seed_of_pem(text: &str) -> Option<[u8; 32]> {
    let body: String = text
        .trim()
        .strip_prefix("-----BEGIN PRIVATE KEY-----")?
        .strip_suffix("-----END PRIVATE KEY-----")?
        .split_whitespace()
        .collect();
    id::from_b64(&body)?.strip_prefix(&PKCS8)?.try_into().ok()
}

/// The token that a gateway gave this device for a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceToken {
    /// Secret.
    pub token: String,
    /// What it opens.
    pub scopes: Vec<String>,
}

/// The device's token for `role`, if a gateway gave it one. A broken file counts as none.
pub fn stored_token(paths: &Paths, device_id: &str, role: &str) -> Option<DeviceToken> {
    let store = read_tokens(paths, device_id);
    let entry = &store["tokens"][role];
    Some(DeviceToken {
        token: entry["token"].as_str()?.to_string(),
        scopes: entry["scopes"]
            .as_array()?
            .iter()
            .filter_map(|s| s.as_str().map(str::to_string))
            .collect(),
    })
}

/// Keeps `token` for `role`, or forgets the one that was kept.
pub fn store_token(
    paths: &Paths,
    device_id: &str,
    role: &str,
    token: Option<&DeviceToken>,
) -> Result<(), IdentityError> {
    let path = paths.identity_tokens();
    let mut store = read_tokens(paths, device_id);
    let mut tokens = match store["tokens"].take() {
        Value::Object(tokens) => tokens,
        _ => Map::new(),
    };
    match token {
        Some(t) => {
            let entry = json!({
                "token": t.token, "role": role, "scopes": t.scopes, "updatedAtMs": clock::now_ms(),
            });
            tokens.insert(role.to_string(), entry);
        }
        None if tokens.remove(role).is_none() => return Ok(()),
        None => {}
    }
    let store = json!({"version": 1, "deviceId": device_id, "tokens": tokens});
    make_parent(&path)
        .and_then(|()| file::write_atomic(&path, format!("{store:#}\n").as_bytes()))
        .map_err(|e| IdentityError::io(&path, e))
}

/// The token file, or `Null` when it is missing, broken or of another device.
fn read_tokens(paths: &Paths, device_id: &str) -> Value {
    let bytes = file::read_bounded(&paths.identity_tokens(), MAX_FILE).unwrap_or_default();
    let store: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    match store["deviceId"] == device_id {
        true => store,
        false => Value::Null,
    }
}

fn make_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), file::make_private_dir)
}

/// Why this machine has no identity.
#[derive(Debug)]
pub enum IdentityError {
    /// The file is there, but holds no key. It is left alone: a new key would undo the pairing.
    Broken(PathBuf),
    Io {
        path: PathBuf,
        error: io::Error,
    },
}

impl IdentityError {
    fn io(path: &Path, error: io::Error) -> Self {
        IdentityError::Io {
            path: path.to_path_buf(),
            error,
        }
    }
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IdentityError::Broken(path) => write!(
                f,
                "no device key in {}; restore it, or remove it to get a new one and pair again",
                path.display()
            ),
            IdentityError::Io { path, error } => {
                write!(f, "device identity {}: {error}", path.display())
            }
        }
    }
}

impl std::error::Error for IdentityError {}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_compact::{PublicKey, Signature};
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    fn state() -> Paths {
        Paths::new(std::env::temp_dir().join(format!("openclaw-identity-{}", id::uuid())))
    }

    #[test]
    fn the_identity_is_made_once_and_private() {
        let paths = state();
        let all: Vec<String> = std::thread::scope(|s| {
            let makers: Vec<_> = (0..8)
                .map(|_| s.spawn(|| Identity::load_or_create(&paths).unwrap().device_id))
                .collect();
            makers.into_iter().map(|m| m.join().unwrap()).collect()
        });
        assert!(all.iter().all(|d| *d == all[0] && d.len() == 64));
        let mode = fs::metadata(paths.identity_device()).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(
            fs::metadata(paths.root().join("identity")).unwrap().mode() & 0o777,
            0o700
        );
        fs::remove_dir_all(paths.root()).unwrap();
    }

    /// A file as Node's crypto writes it; the id in it is wrong on purpose.
    #[test]
    fn a_file_of_the_reference_is_read_and_its_id_recomputed() {
        let paths = state();
        make_parent(&paths.identity_device()).unwrap();
        // RFC 8032, test 1.
        let seed = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
        let body = BASE64.encode(&[&PKCS8[..], &id::from_b64(seed).unwrap()].concat());
        let text = json!({"version": 1, "deviceId": "wrong", "publicKeyPem": "x",
            "privateKeyPem": format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n")});
        file::write_atomic(&paths.identity_device(), text.to_string().as_bytes()).unwrap();
        let me = Identity::load_or_create(&paths).unwrap();
        let public = id::from_b64(&me.public_key()).unwrap();
        assert_eq!(
            id::hex(&public),
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
        );
        assert_eq!(me.device_id, id::sha256_hex(&public));
        let signature = Signature::from_slice(&id::from_b64(&me.sign("x")).unwrap()).unwrap();
        PublicKey::from_slice(&public)
            .unwrap()
            .verify("x", &signature)
            .unwrap();
        fs::remove_dir_all(paths.root()).unwrap();
    }

    #[test]
    fn a_broken_identity_is_never_replaced() {
        let paths = state();
        make_parent(&paths.identity_device()).unwrap();
        for text in [
            "",
            "{}",
            r#"{"privateKeyPem":"-----BEGIN PRIVATE KEY-----"}"#,
        ] {
            file::write_atomic(&paths.identity_device(), text.as_bytes()).unwrap();
            assert!(matches!(
                Identity::load_or_create(&paths),
                Err(IdentityError::Broken(_))
            ));
            assert_eq!(fs::read(paths.identity_device()).unwrap(), text.as_bytes());
        }
        fs::remove_dir_all(paths.root()).unwrap();
    }

    #[test]
    fn tokens_are_kept_by_role_and_for_this_device_only() {
        let paths = state();
        let token = |t: &str| DeviceToken {
            token: t.into(),
            scopes: vec!["operator.read".into()],
        };
        store_token(&paths, "me", "operator", Some(&token("a"))).unwrap();
        store_token(&paths, "me", "node", Some(&token("b"))).unwrap();
        assert_eq!(stored_token(&paths, "me", "operator"), Some(token("a")));
        assert_eq!(stored_token(&paths, "other", "operator"), None);
        store_token(&paths, "me", "operator", None).unwrap();
        assert_eq!(stored_token(&paths, "me", "operator"), None);
        assert_eq!(stored_token(&paths, "me", "node"), Some(token("b")));
        fs::remove_dir_all(paths.root()).unwrap();
    }
}
