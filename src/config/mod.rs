//! The configuration: find it, read it, check it, edit it, hide its secrets, plan and watch its changes.
//!
//! A [`Config`] is one immutable snapshot; a running process holds the current one in a [`Store`] and
//! swaps it whole. An invalid file never becomes a snapshot. What settings mean is left to the rooms
//! that read them.

mod agent_checks;
pub mod agents;
mod dotenv;
pub mod edit;
pub mod env;
mod include;
pub mod json5;
mod load;
pub mod locations;
pub mod path;
pub mod plan;
mod port;
pub mod redact;
pub mod schema;
mod snapshot;
mod store;
mod substitute;
#[cfg(test)]
pub(crate) mod testing;
pub mod units;
pub mod watch;
pub mod wizard;
pub mod write;

use std::fmt;

pub use env::Env;
pub use load::{Loaded, load, load_copy};
pub use locations::Locations;
pub use port::{DEFAULT_GATEWAY_PORT, gateway_port};
pub use snapshot::Config;
pub use store::Store;

/// Something wrong, or worth a warning, at one place of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// Dotted path, list indexes as numbers; empty for the whole file.
    pub path: String,
    pub message: String,
}

impl Issue {
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Issue {
        Issue {
            path: path.into(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Issue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => write!(f, "<root>: {}", self.message),
            path => write!(f, "{path}: {}", self.message),
        }
    }
}

/// The type of `value` in the words of issues.
fn json_type(value: &serde_json::Value) -> &'static str {
    use serde_json::Value;
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
