//! The WebSocket protocol as data: frames, errors, scopes, events, parameter shapes. No I/O.

pub mod device;
pub mod error;
pub mod event;
pub mod frame;
pub mod scope;
pub mod shape;

pub use error::{ErrorCode, RpcError};
pub use event::Event;
pub use scope::{Role, Scope, Scopes};

/// The protocol versions that this gateway speaks, newest last.
///
/// A further version is added here and gets its own arm where a version is looked at
/// (`gateway::handshake`); nothing else in the house asks for the number.
pub const VERSIONS: &[u64] = &[3];

/// The newest version of [`VERSIONS`] within `min..=max`, or `None` when there is none.
pub fn negotiate(min: u64, max: u64) -> Option<u64> {
    VERSIONS
        .iter()
        .rev()
        .copied()
        .find(|v| (min..=max).contains(v))
}

/// Largest message after authentication, in bytes (`policy.maxPayload`).
pub const MAX_PAYLOAD: usize = 25 * 1024 * 1024;
/// Largest message before authentication, in bytes (RL-02; the reference takes 25 MiB).
pub const MAX_PAYLOAD_BEFORE_AUTH: usize = 64 * 1024;
/// Bytes that may wait for a slow client before it is closed (`policy.maxBufferedBytes`).
pub const MAX_BUFFERED_BYTES: usize = 50 * 1024 * 1024;
/// Interval of the `tick` event in milliseconds (`policy.tickIntervalMs`).
pub const TICK_INTERVAL_MS: u64 = 30_000;
