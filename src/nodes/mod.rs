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

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Asks for a call of `expire` at that time or soon after it.
pub type WakeAt = Arc<dyn Fn(Instant) + Send + Sync>;

/// Asks to be woken for the earliest of many deadlines, instead of once for each.
struct Alarm {
    wake: WakeAt,
    /// What was asked for last and has not come yet.
    armed: Mutex<Option<Instant>>,
}

impl Alarm {
    fn new(wake: WakeAt) -> Alarm {
        Alarm {
            wake,
            armed: Mutex::new(None),
        }
    }

    /// There is something to do at `deadline`.
    fn set(&self, deadline: Instant) {
        let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        if armed.is_some_and(|a| a <= deadline) {
            return;
        }
        *armed = Some(deadline);
        drop(armed);
        (self.wake)(deadline);
    }

    /// It rang. To be called before the deadlines are looked at, so that none is missed in between.
    fn clear(&self) {
        *self.armed.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
