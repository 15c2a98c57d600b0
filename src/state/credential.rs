//! The gateway's own credential, made when the config names none.
//!
//! It lies in the state directory, where only this user can read it; local commands find it there. The
//! config file is not touched. Whatever goes wrong here must keep the gateway from starting: it never
//! listens without a credential.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::Paths;
use crate::sys::{file, id};

/// Random bytes of the credential: 192 bits, 48 hex digits.
const BYTES: usize = 24;
/// Bytes of a credential file that are read.
const MAX_BYTES: u64 = 4096;

/// The credential, made first when there is none. For the daemon.
pub fn ensure(paths: &Paths) -> Result<String, CredentialError> {
    if let Some(secret) = read(paths)? {
        return Ok(secret);
    }
    let path = paths.gateway_token();
    let made = id::hex(&id::random::<BYTES>());
    file::make_private_dir(paths.root())
        .and_then(|()| file::write_atomic(&path, format!("{made}\n").as_bytes()))
        .map_err(|error| CredentialError::NotMade {
            path: path.clone(),
            error,
        })?;
    log::info!(target: "gateway", "made a gateway token in {}", path.display());
    // What local commands will read is what counts.
    match read(paths)? {
        Some(secret) => Ok(secret),
        None => Err(CredentialError::NotMade {
            path,
            error: io::ErrorKind::NotFound.into(),
        }),
    }
}

/// The credential that the gateway made, or `None` when it never made one. For local commands.
pub fn read(paths: &Paths) -> Result<Option<String>, CredentialError> {
    let path = paths.gateway_token();
    let bytes = match file::read_bounded(&path, MAX_BYTES) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(CredentialError::Unreadable { path, error }),
    };
    if let Ok(true) = file::tighten(&path) {
        log::warn!(target: "gateway", "{} could be read by other users: now 0600; delete it to get a new token", path.display());
    }
    let text = String::from_utf8(bytes).unwrap_or_default();
    let secret = text.trim();
    if secret.is_empty() || secret.chars().any(|c| c.is_control() || c == ' ') {
        return Err(CredentialError::Blank { path });
    }
    Ok(Some(secret.to_string()))
}

/// Why there is no credential. The gateway must not start.
#[derive(Debug)]
pub enum CredentialError {
    NotMade { path: PathBuf, error: io::Error },
    Unreadable { path: PathBuf, error: io::Error },
    Blank { path: PathBuf },
}

impl fmt::Display for CredentialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CredentialError::NotMade { path, error } => write!(
                f,
                "cannot make a gateway token in {}: {error}; make the state directory writable, or set gateway.auth.token",
                path.display()
            ),
            CredentialError::Unreadable { path, error } => write!(
                f,
                "cannot read the gateway token in {}: {error}; repair the file or delete it",
                path.display()
            ),
            CredentialError::Blank { path } => write!(
                f,
                "the gateway token in {} is blank or damaged; delete the file to have a new one made",
                path.display()
            ),
        }
    }
}

impl std::error::Error for CredentialError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::testing::Folder;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    #[test]
    fn it_is_made_once_with_192_bits_and_is_private() {
        let dir = Folder::new();
        let paths = Paths::new(dir.path().join("state"));
        assert!(read(&paths).unwrap().is_none());
        let made = ensure(&paths).unwrap();
        assert_eq!(made.len(), 48);
        assert!(made.chars().all(|c| c.is_ascii_hexdigit()));
        assert_eq!(ensure(&paths).unwrap(), made);
        assert_eq!(read(&paths).unwrap().as_deref(), Some(made.as_str()));
        let mode = fs::metadata(paths.gateway_token()).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::metadata(paths.root()).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn another_folder_gets_another_one() {
        let (a, b) = (Folder::new(), Folder::new());
        assert_ne!(
            ensure(&Paths::new(a.path())).unwrap(),
            ensure(&Paths::new(b.path())).unwrap()
        );
    }

    /// HS-12: without a credential nothing may listen, so every way to have none is an error.
    #[test]
    fn hs_12_a_credential_that_cannot_be_had_is_an_error() {
        for content in ["", " \n\t", "two words", "a\u{7}b"] {
            let dir = Folder::new();
            let paths = Paths::new(dir.path());
            fs::write(paths.gateway_token(), content).unwrap();
            let e = ensure(&paths).unwrap_err();
            assert!(matches!(e, CredentialError::Blank { .. }), "{content:?}");
        }
        let dir = Folder::new();
        let paths = Paths::new(dir.path());
        fs::create_dir(paths.gateway_token()).unwrap();
        let e = ensure(&paths).unwrap_err();
        assert!(matches!(e, CredentialError::Unreadable { .. }));
        // A state directory below a file can never be made, whoever runs this test.
        fs::write(dir.path().join("file"), "").unwrap();
        let paths = Paths::new(dir.path().join("file/state"));
        assert!(ensure(&paths).is_err());
    }

    #[test]
    fn a_file_that_others_could_read_is_tightened() {
        let dir = Folder::new();
        let paths = Paths::new(dir.path());
        fs::write(paths.gateway_token(), "abc\n").unwrap();
        fs::set_permissions(paths.gateway_token(), fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(read(&paths).unwrap().as_deref(), Some("abc"));
        let mode = fs::metadata(paths.gateway_token()).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
