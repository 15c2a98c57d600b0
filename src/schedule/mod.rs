//! Cron and heartbeat: what runs by itself, and when.
//!
//! Knows no sockets: it is handed a store, a clock, an executor and a sender of events. The
//! gateway's clock thread drives it; runs happen on threads of their own.

pub mod expr;
pub mod next;
pub mod when;
