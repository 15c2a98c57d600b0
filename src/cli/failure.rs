//! Why a command did not do what it was asked to, and with which exit status it says so.

use std::fmt;

use super::options::{EXIT_FAILED, EXIT_USAGE};

/// The end of a command that failed.
#[derive(Debug)]
pub struct Failure {
    /// Lines for stderr; empty when everything has been said already.
    pub text: String,
    /// Exit status.
    pub code: u8,
}

impl Failure {
    /// Failed, for the reason in `text`.
    pub fn new(text: impl Into<String>) -> Failure {
        Failure {
            text: text.into(),
            code: EXIT_FAILED,
        }
    }

    /// The command line makes no sense.
    pub fn usage(text: impl Into<String>) -> Failure {
        Failure {
            text: text.into(),
            code: EXIT_USAGE,
        }
    }

    /// Ends with `code`, without a further word.
    pub fn quiet(code: u8) -> Failure {
        Failure {
            text: String::new(),
            code,
        }
    }

    #[must_use]
    pub fn with_code(mut self, code: u8) -> Failure {
        self.code = code;
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}
