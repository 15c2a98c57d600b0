//! An agent run: lanes, prompt, model providers, tools.
//!
//! Knows no sockets and no connections but those to a model endpoint: it is handed the stores that it
//! needs and a sender of events.

pub mod attachments;
pub mod cancel;
pub mod commands;
pub mod history;
pub mod image;
pub mod model;
pub mod models;
pub mod prompt;
pub mod provider;
pub mod run;
pub mod send_policy;
pub mod skills;
pub mod sse;
pub mod stamp;
#[cfg(test)]
mod testing;
pub mod tools;

pub use cancel::{Cancel, Reason};
pub use run::{Deps, Output, RunRequest, RunResult, Runs, Source};
