//! What lives in the state directory, and the only code that touches those files.
//!
//! Every file has the reference's name, place and format, so that an operator can go back to it; fields
//! that we do not know are kept. Files are 0600 in folders 0700, and what was acknowledged is on disk.

pub mod approvals;
mod aside;
pub mod auth_profiles;
pub mod credential;
pub mod cron_store;
pub mod devices;
mod error;
pub mod exit_reason;
pub mod nodes;
pub mod paths;
pub mod run_queue;
pub mod sentinel;
pub mod session_key;
pub mod sessions;
pub mod system_events;
mod table;
#[cfg(test)]
pub(crate) mod testing;
mod tidy;
pub mod transcript;
pub mod tts;
pub mod usage;
pub mod voicewake;
pub mod workspace;

pub use error::Error;
pub use paths::Paths;
pub use tidy::{Tidied, tidy};
