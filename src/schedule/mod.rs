//! Cron and heartbeat: what runs by itself, and when.
//!
//! Knows no sockets: it is handed a store, a clock, an executor and a sender of events. The
//! gateway's clock thread drives it; runs happen on threads of their own.

pub mod clock;
mod ended;
pub mod expr;
mod input;
pub mod job;
pub mod next;
mod query;
pub mod run;
pub mod service;
#[cfg(test)]
mod tests;
pub mod when;

use std::fmt;

use crate::state::cron_store::{self, LogLimits};

pub use job::Job;
pub use run::Forced;
pub use service::{Deps, Executor, Outcome, Run, Service, Status};

/// How long the session of an isolated run is kept without `cron.sessionRetention`, in ms.
pub const SESSION_RETENTION_MS: u64 = 24 * 3_600_000;

/// The part of the configuration that the scheduler follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether jobs run by themselves. They can be listed, changed and forced either way.
    pub enabled: bool,
    /// Runs at a time; forced ones do not count.
    pub max_concurrent: usize,
    pub log: LogLimits,
    /// Ms that sessions of isolated runs are kept; `None`: for ever.
    pub retention_ms: Option<u64>,
}

/// Why a question to the scheduler has no answer.
#[derive(Debug)]
pub enum Error {
    /// The caller has to send something else; the text is that of the wire.
    Params(String),
    UnknownJob(String),
    /// The parameters have the right shape and make no job; the text is that of the wire.
    Spec(String),
    Store(cron_store::Error),
    /// The file of the jobs cannot be used; the text says why.
    Broken(String),
    /// A bound is reached; the text says which.
    Full(&'static str),
    /// The gateway is on its way out.
    Stopping,
}

impl Error {
    pub(crate) fn spec(text: impl Into<String>) -> Error {
        Error::Spec(text.into())
    }
}

impl From<cron_store::Error> for Error {
    fn from(e: cron_store::Error) -> Error {
        Error::Store(e)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Params(text) | Error::Spec(text) | Error::Broken(text) => f.write_str(text),
            Error::UnknownJob(id) => write!(
                f,
                "Error: unknown cron job id: {}",
                id.chars().take(64).collect::<String>()
            ),
            Error::Store(e) => write!(f, "{e}"),
            Error::Full(what) => f.write_str(what),
            Error::Stopping => f.write_str("the gateway is stopping; try again after the restart"),
        }
    }
}

impl std::error::Error for Error {}
