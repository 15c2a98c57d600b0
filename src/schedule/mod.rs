//! Cron and heartbeat: what runs by itself, and when.
//!
//! Knows no sockets: it is handed a store, a clock, an executor and a sender of events. The
//! gateway's clock thread drives it; runs happen on threads of their own.

pub mod clock;
mod due;
mod ended;
pub mod expr;
pub mod heartbeat;
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
use std::path::PathBuf;

use serde_json::Value;

use crate::config::{Config, units};
use crate::state::Paths;
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

impl Settings {
    /// The settings of a configuration; `OPENCLAW_SKIP_CRON=1` in its environment switches jobs off.
    pub fn of(config: &Config) -> Settings {
        let log = LogLimits::default();
        let text = |key: &str| config.get(key).and_then(Value::as_str);
        let max_bytes = text("cron.runLog.maxBytes").and_then(units::bytes);
        let retention = match config.get("cron.sessionRetention") {
            Some(Value::Bool(false)) => None,
            Some(Value::String(t)) => {
                Some(units::duration_ms(t, 3_600_000).unwrap_or(SESSION_RETENTION_MS))
            }
            _ => Some(SESSION_RETENTION_MS),
        };
        Settings {
            enabled: config.bool("cron.enabled", true)
                && config.env().get("OPENCLAW_SKIP_CRON") != Some("1"),
            max_concurrent: config
                .u64("cron.maxConcurrentRuns", 1)
                .clamp(1, run::MAX_THREADS as u64) as usize,
            log: LogLimits {
                max_bytes: max_bytes.unwrap_or(config.u64("cron.runLog.maxBytes", log.max_bytes)),
                keep_lines: config
                    .u64("cron.runLog.keepLines", log.keep_lines as u64)
                    .max(1) as usize,
            },
            retention_ms: retention,
        }
    }
}

/// The file of the jobs: `cron.store`, else the place in the state directory.
pub fn store_path(config: &Config, paths: &Paths) -> PathBuf {
    let home = config.locations().home.clone();
    match config.str("cron.store").map(str::trim) {
        Some(text) if text.starts_with("~/") => home.join(&text[2..]),
        Some(text) => PathBuf::from(text),
        None => paths.cron_jobs(),
    }
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

#[cfg(test)]
mod config_tests {
    use super::*;

    #[test]
    fn settings_follow_the_config() {
        let settings = |text: &str| Settings::of(&Config::from_text(text));
        let all = "{cron: {enabled: false, maxConcurrentRuns: 99, sessionRetention: '2h', runLog: {maxBytes: '1kb', keepLines: 7}}}";
        assert_eq!(
            settings(all),
            Settings {
                enabled: false,
                max_concurrent: run::MAX_THREADS,
                log: LogLimits {
                    max_bytes: 1024,
                    keep_lines: 7
                },
                retention_ms: Some(7_200_000),
            }
        );
        let none = settings("{cron: {sessionRetention: false}}");
        assert_eq!(
            (
                none.enabled,
                none.max_concurrent,
                none.log,
                none.retention_ms
            ),
            (true, 1, LogLimits::default(), None)
        );
        assert_eq!(settings("{}").retention_ms, Some(SESSION_RETENTION_MS));
    }

    #[test]
    fn the_store_can_be_elsewhere() {
        let paths = Paths::new("/state");
        let at = |text: &str| store_path(&Config::from_text(text), &paths);
        assert_eq!(at("{}"), PathBuf::from("/state/cron/jobs.json"));
        assert_eq!(
            at("{cron: {store: '/x/y.json'}}"),
            PathBuf::from("/x/y.json")
        );
        assert!(at("{cron: {store: '~/y.json'}}").ends_with("y.json"));
    }
}
