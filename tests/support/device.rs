//! Device identities, and the parameters of `connect` built the way clients build them.

use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::BASE64URL_NOPAD;
use ed25519_compact::{KeyPair, Seed};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("clock before 1970")
        .as_millis() as u64
}

/// An ed25519 key pair with the id and the public key as the wire has them.
pub struct Device {
    keys: KeyPair,
    /// Lower-case hex SHA-256 of the raw public key.
    pub id: String,
    /// Raw public key, base64url.
    pub public: String,
}

impl Device {
    /// A new device.
    pub fn new() -> Device {
        let keys = KeyPair::from_seed(Seed::new(openclaw_gateway::sys::id::random::<32>()));
        let raw: &[u8] = keys.pk.as_ref();
        Device {
            id: data_encoding::HEXLOWER.encode(&Sha256::digest(raw)),
            public: BASE64URL_NOPAD.encode(raw),
            keys,
        }
    }

    /// Signature over `text`, base64url.
    pub fn sign(&self, text: &str) -> String {
        BASE64URL_NOPAD.encode(self.keys.sk.sign(text.as_bytes(), None).as_ref())
    }
}

/// Parameters of `connect`, to be changed before they are sent.
#[derive(Clone)]
pub struct Connect {
    pub client_id: String,
    pub client_mode: String,
    pub platform: String,
    pub role: String,
    pub scopes: Vec<String>,
    pub auth: Value,
    pub signed_at: u64,
    /// Merged over the finished parameters: commands, caps, device family, nonsense.
    pub extra: Value,
}

impl Connect {
    /// An operator (a back end) with all scopes and the test token.
    pub fn operator() -> Connect {
        Connect {
            client_id: "gateway-client".into(),
            client_mode: "backend".into(),
            platform: "linux".into(),
            role: "operator".into(),
            scopes: super::ALL_SCOPES.map(String::from).to_vec(),
            auth: json!({"token": super::TOKEN}),
            signed_at: now_ms(),
            extra: json!({}),
        }
    }

    /// A node host with the test token.
    pub fn node() -> Connect {
        Connect {
            client_id: "node-host".into(),
            client_mode: "node".into(),
            role: "node".into(),
            scopes: vec![],
            ..Connect::operator()
        }
    }

    /// Other scopes.
    pub fn scopes(mut self, scopes: &[&str]) -> Connect {
        self.scopes = scopes.iter().map(|scope| scope.to_string()).collect();
        self
    }

    /// Another client id and mode.
    pub fn client(mut self, id: &str, mode: &str) -> Connect {
        self.client_id = id.into();
        self.client_mode = mode.into();
        self
    }

    /// Another `auth` object; null leaves it out.
    pub fn auth(mut self, auth: Value) -> Connect {
        self.auth = auth;
        self
    }

    /// More members, merged over the finished parameters.
    pub fn extra(mut self, extra: Value) -> Connect {
        self.extra = extra;
        self
    }

    /// The parameters, signed by `device` (if any) for the connection with this challenge nonce.
    pub fn params(&self, device: Option<&Device>, nonce: &str) -> Value {
        let mut params = json!({
            "minProtocol": 3,
            "maxProtocol": 3,
            "client": {"id": self.client_id, "version": "1.0.0", "platform": self.platform, "mode": self.client_mode},
            "role": self.role,
            "scopes": self.scopes,
            "caps": [],
        });
        if !self.auth.is_null() {
            params["auth"] = self.auth.clone();
        }
        if let Some(device) = device {
            let token = self.auth["token"]
                .as_str()
                .or(self.auth["deviceToken"].as_str())
                .unwrap_or("");
            let signed = format!(
                "v2|{}|{}|{}|{}|{}|{}|{token}|{nonce}",
                device.id,
                self.client_id,
                self.client_mode,
                self.role,
                self.scopes.join(","),
                self.signed_at,
            );
            params["device"] = json!({
                "id": device.id,
                "publicKey": device.public,
                "signature": device.sign(&signed),
                "signedAt": self.signed_at,
                "nonce": nonce,
            });
        }
        super::merge(&mut params, &self.extra);
        params
    }
}
