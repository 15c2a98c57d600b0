//! What can go wrong with the state directory.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::protocol::error::RpcError;
use crate::sys::lock::LockError;

/// A file of the state directory that could not be read or written.
#[derive(Debug)]
pub enum Error {
    /// The system refused; nothing was changed.
    Io { path: PathBuf, error: io::Error },
    /// Another process held the lock for too long; nothing was changed.
    Locked(LockError),
    /// The file says something that it must not say, and was left as it is.
    Broken { path: PathBuf, reason: String },
    /// A name that cannot be stored: too long, or with control characters.
    BadName { what: &'static str },
    /// More than one thing of its kind may hold, in bytes.
    TooLarge { what: &'static str, max: u64 },
}

impl Error {
    /// An error of the system about `path`.
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Error + '_ {
        move |error| Error::Io {
            path: path.to_path_buf(),
            error,
        }
    }
}

impl From<LockError> for Error {
    fn from(e: LockError) -> Self {
        Error::Locked(e)
    }
}

impl From<Error> for RpcError {
    fn from(e: Error) -> Self {
        match e {
            Error::BadName { .. } | Error::TooLarge { .. } => RpcError::invalid(e.to_string()),
            _ => RpcError::unavailable(e.to_string()),
        }
    }
}

impl From<Error> for io::Error {
    fn from(e: Error) -> Self {
        match e {
            Error::Io { path, error } => {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            }
            Error::Locked(e) => e.into(),
            other => io::Error::other(other.to_string()),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io { path, error } => write!(f, "{}: {error}", path.display()),
            Error::Locked(e) => write!(f, "{e}; try again"),
            Error::Broken { path, reason } => write!(
                f,
                "{}: {reason}; repair the file or move it away",
                path.display()
            ),
            Error::BadName { what } => write!(f, "{what} is too long or has control characters"),
            Error::TooLarge { what, max } => write!(f, "{what} is larger than {max} bytes"),
        }
    }
}

impl std::error::Error for Error {}
