//! The health snapshot: built rarely, served as ready text.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Gateway;
use crate::config::{self, Config};
use crate::schedule::heartbeat::rules;
use crate::sys::clock;

/// Age from which a snapshot is built anew.
pub const MAX_AGE: Duration = Duration::from_secs(60);
/// Sessions that a snapshot names.
const RECENT: usize = 5;

/// The last snapshot, with and without paths of this machine. One lock, held to copy two pointers.
#[derive(Default)]
pub struct Health(Mutex<Option<Snapshot>>);

#[derive(Clone)]
struct Snapshot {
    built: Instant,
    admin: Arc<str>,
    other: Arc<str>,
}

impl Health {
    /// The snapshot as JSON text, at most [`MAX_AGE`] old. Admins are told paths.
    pub fn cached(&self, gateway: &Gateway, admin: bool) -> Arc<str> {
        let fresh = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let snapshot = match fresh {
            Some(s) if s.built.elapsed() < MAX_AGE => s,
            _ => self.build(gateway),
        };
        if admin {
            snapshot.admin
        } else {
            snapshot.other
        }
    }

    /// Builds a snapshot now.
    pub(super) fn renew(&self, gateway: &Gateway) {
        self.build(gateway);
    }

    fn build(&self, gateway: &Gateway) -> Snapshot {
        let started = Instant::now();
        let mut value = build(gateway, started);
        let admin: Arc<str> = value.to_string().into();
        strip_paths(&mut value);
        let snapshot = Snapshot {
            built: started,
            admin,
            other: value.to_string().into(),
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(snapshot.clone());
        snapshot
    }
}

/// An agent's heartbeat settings as `health` and `status` show them.
pub fn heartbeat(config: &Config, agent: &str) -> Value {
    let settings = rules::Settings::of(config, agent);
    let enabled = rules::agents_with_heartbeat(config)
        .iter()
        .any(|a| a == agent);
    json!({
        "enabled": enabled,
        "every": if enabled { settings.every.as_str() } else { "disabled" },
        "everyMs": settings.every_ms.filter(|_| enabled),
        "prompt": settings.prompt,
        "target": settings.target,
        "ackMaxChars": settings.ack_max_chars,
    })
}

fn build(gateway: &Gateway, started: Instant) -> Value {
    let config = gateway.config.current();
    let default_id = config::agents::default_id(&config);
    let mut agents = Vec::new();
    let mut default_sessions = json!({});
    for id in config::agents::ids(&config) {
        let sessions = sessions(gateway, &id);
        if id == default_id {
            default_sessions = sessions.clone();
        }
        agents.push(json!({
            "agentId": id,
            "isDefault": id == default_id,
            "heartbeat": heartbeat(&config, &id),
            "sessions": sessions,
        }));
    }
    json!({
        "ok": true,
        "ts": clock::now_ms(),
        "durationMs": started.elapsed().as_millis() as u64,
        "channels": {},
        "channelOrder": [],
        "channelLabels": {},
        "heartbeatSeconds": heartbeat(&config, &default_id)["everyMs"].as_u64().unwrap_or(0) / 1000,
        "defaultAgentId": default_id,
        "agents": agents,
        "sessions": default_sessions,
    })
}

/// Number and newest keys of an agent's sessions.
fn sessions(gateway: &Gateway, agent: &str) -> Value {
    let now = clock::now_ms();
    let (count, newest) = gateway.sessions.newest(agent, RECENT).unwrap_or_else(|e| {
        log::warn!(target: "gateway", "sessions of {agent} cannot be read: {e}");
        (0, Vec::new())
    });
    let recent = newest.iter().map(|(key, updated_at)| {
        json!({"key": key, "updatedAt": updated_at, "age": now.saturating_sub(*updated_at)})
    });
    json!({
        "path": gateway.paths.sessions_file(agent),
        "count": count,
        "recent": recent.collect::<Vec<_>>(),
    })
}

/// Takes `path` out of every `sessions` object.
fn strip_paths(value: &mut Value) {
    let strip = |v: &mut Value| {
        if let Some(sessions) = v.get_mut("sessions").and_then(Value::as_object_mut) {
            sessions.remove("path");
        }
    };
    strip(value);
    if let Some(agents) = value.get_mut("agents").and_then(Value::as_array_mut) {
        agents.iter_mut().for_each(strip);
    }
}
