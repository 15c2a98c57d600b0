//! The answer to a good `connect`.

use serde_json::{Value, json};

use super::Gateway;
use super::client::Client;
use crate::methods;
use crate::protocol::{Event, MAX_BUFFERED_BYTES, MAX_PAYLOAD, Scope, TICK_INTERVAL_MS};
use crate::{VERSION, config, state};

/// `hello-ok` as JSON text. Paths of this machine are told to admins only (SL-03).
pub fn hello_ok(
    gateway: &Gateway,
    client: &Client,
    protocol: u64,
    issued: Option<Value>,
) -> String {
    let config = gateway.config.current();
    let admin = client.scopes.has(Scope::Admin);
    let methods: Vec<_> = methods::all()
        .filter(|m| m.listed)
        .map(|m| m.name)
        .collect();
    let events: Vec<_> = Event::ALL.iter().map(|e| e.name()).collect();
    let default_agent = config::agents::default_id(&config);
    let mut snapshot = json!({
        "presence": gateway.presence_list(),
        "stateVersion": gateway.hub.state_version().to_value(),
        "uptimeMs": gateway.uptime_ms(),
        "sessionDefaults": {
            "defaultAgentId": default_agent,
            "mainKey": "main",
            "mainSessionKey": state::session_key::main_key(&default_agent),
            "scope": config.str("session.scope").unwrap_or("per-sender"),
        },
        "authMode": gateway.secrets().mode.as_str(),
    });
    if admin {
        snapshot["configPath"] = json!(config.path());
        snapshot["stateDir"] = json!(gateway.locations.state_dir);
    }
    // The health snapshot is text already: it is set in by hand.
    let health = gateway.health.cached(gateway, admin);
    let snapshot = snapshot.to_string();
    let snapshot = format!(r#"{{"health":{health},{}"#, &snapshot[1..]);
    let mut hello = json!({
        "type": "hello-ok",
        "protocol": protocol,
        "server": {"version": VERSION, "connId": client.conn_id},
        "features": {"methods": methods, "events": events},
        "policy": {
            "maxPayload": MAX_PAYLOAD,
            "maxBufferedBytes": MAX_BUFFERED_BYTES,
            "tickIntervalMs": TICK_INTERVAL_MS,
        },
    });
    if let Some(issued) = issued {
        hello["auth"] = issued;
    }
    let hello = hello.to_string();
    format!(r#"{{"snapshot":{snapshot},{}"#, &hello[1..])
}
