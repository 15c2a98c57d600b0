//! The rate of calls that rewrite the config or the installation: a loop that has gone wrong must not
//! restart the gateway for ever.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;

use super::client::Client;
use crate::protocol::RpcError;

/// Methods that share the limit.
const METHODS: &[&str] = &["config.apply", "config.patch", "update.run"];
/// Calls that one device and address may make within [`WINDOW`].
const MAX_CALLS: u32 = 3;
const WINDOW: Duration = Duration::from_secs(60);
/// Callers that are remembered; the one whose window is oldest gives way.
const MAX_CALLERS: usize = 256;

/// One lock around the windows by caller.
#[derive(Default)]
pub struct ControlPlane(Mutex<HashMap<String, (Instant, u32)>>);

impl ControlPlane {
    /// Counts a call, failed ones included. Methods without a limit always pass.
    pub fn admit(&self, method: &str, client: &Client) -> Result<(), RpcError> {
        if !METHODS.contains(&method) {
            return Ok(());
        }
        let caller = format!(
            "{}|{}",
            client.device_id.as_deref().unwrap_or(""),
            client.address
        );
        self.count(&caller, Instant::now()).map_err(|left| {
            let seconds = left.as_millis().div_ceil(1000);
            RpcError::unavailable(format!(
                "rate limit exceeded for {method}; retry after {seconds}s"
            ))
            .with_details(json!({"method": method, "limit": "3 per 60s"}))
            .retry_after(left.as_millis() as u64)
        })
    }

    fn count(&self, caller: &str, now: Instant) -> Result<(), Duration> {
        let mut callers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        callers.retain(|_, (start, _)| now.duration_since(*start) < WINDOW);
        if callers.len() >= MAX_CALLERS && !callers.contains_key(caller) {
            let oldest = callers
                .iter()
                .min_by_key(|(_, (start, _))| *start)
                .map(|(k, _)| k.clone());
            oldest.and_then(|k| callers.remove(&k));
        }
        let (start, calls) = callers.entry(caller.to_string()).or_insert((now, 0));
        if *calls >= MAX_CALLS {
            return Err(WINDOW.saturating_sub(now.duration_since(*start)));
        }
        *calls += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_a_minute_and_caller() {
        let c = ControlPlane::default();
        let now = Instant::now();
        for _ in 0..3 {
            assert_eq!(c.count("a", now), Ok(()));
        }
        assert_eq!(
            c.count("a", now + Duration::from_secs(10)),
            Err(Duration::from_secs(50))
        );
        assert_eq!(c.count("b", now), Ok(()));
        assert_eq!(c.count("a", now + WINDOW), Ok(()));
    }
}
