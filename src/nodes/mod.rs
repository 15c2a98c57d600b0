//! Paired nodes: who is connected, what may be invoked on them, and the approval of commands.
//!
//! Knows no sockets: a node is handed in with a sender of events, an answer comes back through a
//! callback, and deadlines are kept by whoever calls `expire` (the gateway's clock). Which devices are
//! paired is the affair of `state`; who may call what, of `methods`.

pub mod approvals;
pub mod policy;
pub mod registry;
pub mod run;

pub use approvals::Approvals;
pub use policy::{Platform, Policy};
pub use registry::Registry;

use std::sync::Arc;
use std::time::Instant;

/// Asks for a call of `expire` at that time or soon after it.
pub type WakeAt = Arc<dyn Fn(Instant) + Send + Sync>;
