//! Harness that drives the real binary from outside.
//!
//! Every test has its own [`Home`] (home, state directory, config, log, temporary folder) and its own
//! port, and ends only the processes it started. Nothing sleeps: waiting is always for an event (a log
//! line, a frame, a request, the end of a process) with a deadline, and a missed deadline fails the test
//! with what was seen instead.
//!
//! - [`process`]: homes, one-shot commands, a running gateway
//! - [`ws`]: a raw WebSocket client, which can misbehave
//! - [`device`]: device identities and `connect` parameters
//! - [`model`]: a scripted OpenAI-compatible model server
//! - [`http`]: raw HTTP requests

// Each test crate uses its own part of the harness.
#![allow(dead_code, unused_imports)]

pub mod device;
pub mod http;
pub mod model;
pub mod process;
pub mod ws;

use std::time::{Duration, Instant};

pub use device::{Connect, Device};
pub use model::{Gate, Model, Part, Reply};
pub use process::{Gateway, Home, Output, free_port};
pub use serde_json::{Value, json};
pub use ws::{Client, Closed, Incoming};

/// How long anything that must happen may take on a busy machine with slow disks.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// The shared token of [`Home::config`].
pub const TOKEN: &str = "test-token-0123456789";

/// Every operator scope.
pub const ALL_SCOPES: [&str; 5] = [
    "operator.admin",
    "operator.read",
    "operator.write",
    "operator.approvals",
    "operator.pairing",
];

/// The payload of a response that has to be `ok`.
#[track_caller]
pub fn ok(response: &Value) -> Value {
    assert_eq!(response["ok"], true, "expected success, got {response}");
    response["payload"].clone()
}

/// Code and message of a response that has to be an error.
#[track_caller]
pub fn refused(response: &Value) -> (String, String) {
    assert_eq!(response["ok"], false, "expected an error, got {response}");
    let text = |key: &str| {
        response["error"][key]
            .as_str()
            .unwrap_or_default()
            .to_string()
    };
    (text("code"), text("message"))
}

/// Asks `probe` again and again until it has an answer. Only for conditions that nothing announces;
/// the probe itself has to be a round trip (a request, a file), which sets the pace.
#[track_caller]
pub fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(Instant::now() < end, "deadline passed: {what}");
        std::thread::yield_now();
    }
}

/// Merges `patch` into `base`: objects recursively, null deletes, anything else replaces.
pub fn merge(base: &mut Value, patch: &Value) {
    match (base, patch) {
        (Value::Object(base), Value::Object(patch)) => {
            for (key, value) in patch {
                if value.is_null() {
                    base.remove(key);
                } else {
                    merge(base.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
        }
        (base, patch) => *base = patch.clone(),
    }
}
