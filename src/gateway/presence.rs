//! Who is there: the gateway itself, connected clients, and what other machines report about themselves.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value, json};

use super::client::Client;
use crate::protocol::frame::clip;
use crate::sys::clock;

/// Entries live so long without news; those of open connections are renewed when the list is read.
const TTL_MS: u64 = 5 * 60_000;
/// Entries that are kept at most; the oldest give way.
const MAX_ENTRIES: usize = 200;
/// Longest text of one field, in bytes.
const MAX_FIELD: usize = 256;
/// Key of the gateway's own entry.
const SELF_KEY: &str = "\0gateway";

/// One lock around the entries, by key (device id, else instance id, else connection id).
#[derive(Default)]
pub struct Presence {
    entries: Mutex<BTreeMap<String, Map<String, Value>>>,
}

impl Presence {
    /// Starts with the gateway's own entry.
    pub fn new(host: &str, ip: &str, version: &str) -> Presence {
        let platform = format!("{} {}", std::env::consts::OS, kernel_release());
        let mut e = Map::new();
        for (k, v) in [
            ("host", host),
            ("ip", ip),
            ("version", version),
            ("platform", platform.trim()),
        ] {
            e.insert(k.into(), json!(v));
        }
        e.insert(
            "deviceFamily".into(),
            json!(capitalised(std::env::consts::OS)),
        );
        e.insert("modelIdentifier".into(), json!(std::env::consts::ARCH));
        e.insert("mode".into(), json!("gateway"));
        e.insert("reason".into(), json!("self"));
        e.insert(
            "text".into(),
            json!(format!(
                "Gateway: {host} ({ip}) · app {version} · mode gateway · reason self"
            )),
        );
        e.insert("ts".into(), json!(clock::now_ms()));
        let p = Presence::default();
        p.lock().insert(SELF_KEY.into(), e);
        p
    }

    /// Enters a client that has just connected. Clients with the id `cli` come and go unlisted.
    pub fn connected(&self, c: &Client) {
        if c.client_id() == "cli" {
            return;
        }
        let mut e = Map::new();
        let host = match c.info_str("displayName") {
            "" => c.client_id(),
            name => name,
        };
        e.insert("host".into(), json!(clip(host, MAX_FIELD)));
        if !c.local {
            e.insert("ip".into(), json!(c.address.to_string()));
        }
        for key in [
            "version",
            "platform",
            "deviceFamily",
            "modelIdentifier",
            "mode",
        ] {
            if let Some(v) = c.info.get(key).and_then(Value::as_str) {
                e.insert(key.into(), json!(clip(v, MAX_FIELD)));
            }
        }
        if let Some(d) = &c.device_id {
            e.insert("deviceId".into(), json!(d));
        }
        e.insert("roles".into(), json!([c.role.as_str()]));
        e.insert("scopes".into(), json!(c.scopes.words()));
        let key = presence_key(c);
        e.insert("instanceId".into(), json!(clip(&key, MAX_FIELD)));
        e.insert("reason".into(), json!("connect"));
        e.insert("ts".into(), json!(clock::now_ms()));
        e.insert(
            "text".into(),
            json!(format!(
                "Node: {} · mode {}",
                clip(host, MAX_FIELD),
                c.mode()
            )),
        );
        self.merge(key, e);
    }

    /// Marks the entry of a client that has gone. False when it had none.
    pub fn disconnected(&self, c: &Client) -> bool {
        let mut entries = self.lock();
        match entries.get_mut(&presence_key(c)) {
            Some(e) => {
                e.insert("reason".into(), json!("disconnect"));
                e.insert("ts".into(), json!(clock::now_ms()));
                true
            }
            None => false,
        }
    }

    /// Enters what a machine reports about itself (`system-event`).
    pub fn reported(&self, text: &str, params: &Value) {
        let mut e = parse_report(text);
        for key in [
            "deviceId",
            "instanceId",
            "host",
            "ip",
            "mode",
            "version",
            "platform",
            "deviceFamily",
            "modelIdentifier",
            "reason",
        ] {
            if let Some(v) = params
                .get(key)
                .and_then(Value::as_str)
                .map(str::trim)
                .filter(|v| !v.is_empty())
            {
                e.insert(key.into(), json!(clip(v, MAX_FIELD)));
            }
        }
        if let Some(n) = params
            .get("lastInputSeconds")
            .and_then(Value::as_f64)
            .filter(|n| n.is_finite())
        {
            e.insert("lastInputSeconds".into(), json!(n as i64));
        }
        for key in ["roles", "scopes"] {
            let words = params.get(key).and_then(Value::as_array);
            let words: Vec<_> = words
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .take(16)
                .collect();
            if !words.is_empty() {
                e.insert(
                    key.into(),
                    json!(words.iter().map(|w| clip(w, MAX_FIELD)).collect::<Vec<_>>()),
                );
            }
        }
        e.insert("text".into(), json!(clip(text, 4 * MAX_FIELD)));
        e.insert("ts".into(), json!(clock::now_ms()));
        let name = |k: &str| e.get(k).and_then(Value::as_str).map(str::to_string);
        let key = name("deviceId")
            .or_else(|| name("instanceId"))
            .or_else(|| name("host"));
        self.merge(key.unwrap_or_else(|| clip(text, MAX_FIELD).to_string()), e);
    }

    /// The list as the wire shows it, newest first. Keys in `open` belong to live connections.
    pub fn list(&self, open: &[String]) -> Value {
        let now = clock::now_ms();
        let mut entries = self.lock();
        for key in open.iter().map(String::as_str).chain([SELF_KEY]) {
            if let Some(e) = entries.get_mut(key)
                && now.saturating_sub(ts(e)) > TTL_MS / 2
            {
                e.insert("ts".into(), json!(now));
            }
        }
        entries.retain(|_, e| now.saturating_sub(ts(e)) <= TTL_MS);
        let mut list: Vec<_> = entries.values().cloned().collect();
        list.sort_by_key(|e| std::cmp::Reverse(ts(e)));
        Value::Array(list.into_iter().map(Value::Object).collect())
    }

    /// Lays `new` over the entry at `key`: fields that are not news stay, roles and scopes add up.
    fn merge(&self, key: String, new: Map<String, Value>) {
        let mut entries = self.lock();
        let e = entries.entry(key).or_default();
        for (k, v) in new {
            let v = match (e.get(&k), v) {
                (Some(Value::Array(old)), Value::Array(more)) if k == "roles" || k == "scopes" => {
                    let mut all = old.clone();
                    all.extend(more.into_iter().filter(|m| !old.contains(m)));
                    Value::Array(all)
                }
                (_, v) => v,
            };
            e.insert(k, v);
        }
        while entries.len() > MAX_ENTRIES {
            let oldest = entries
                .iter()
                .filter(|(k, _)| *k != SELF_KEY)
                .min_by_key(|(_, e)| ts(e))
                .map(|(k, _)| k.clone());
            let Some(oldest) = oldest else { return };
            entries.remove(&oldest);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Map<String, Value>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The key of a connection's entry.
pub fn presence_key(c: &Client) -> String {
    match (&c.device_id, c.info_str("instanceId")) {
        (Some(d), _) => d.clone(),
        (None, "") => c.conn_id.clone(),
        (None, instance) => instance.to_string(),
    }
}

fn ts(e: &Map<String, Value>) -> u64 {
    e.get("ts").and_then(Value::as_u64).unwrap_or(0)
}

/// Fields in `Node: host (ip) · app v · last input Ns ago · mode m · reason r`.
fn parse_report(text: &str) -> Map<String, Value> {
    let mut e = Map::new();
    let Some(rest) = text.strip_prefix("Node: ") else {
        return e;
    };
    for (i, part) in rest.split(" · ").map(str::trim).enumerate() {
        let mut put = |k: &str, v: &str| {
            if !v.trim().is_empty() {
                e.insert(k.into(), json!(clip(v.trim(), MAX_FIELD)));
            }
        };
        if i == 0 {
            match part.split_once(" (") {
                Some((host, ip)) => {
                    put("host", host);
                    put("ip", ip.trim_end_matches(')'));
                }
                None => put("host", part),
            }
        } else if let Some(v) = part.strip_prefix("app ") {
            put("version", v);
        } else if let Some(v) = part.strip_prefix("mode ") {
            put("mode", v);
        } else if let Some(v) = part.strip_prefix("reason ") {
            put("reason", v);
        } else if let Some(v) = part
            .strip_prefix("last input ")
            .and_then(|v| v.strip_suffix("s ago"))
            && let Ok(n) = v.parse::<u64>()
        {
            e.insert("lastInputSeconds".into(), json!(n));
        }
    }
    e
}

fn kernel_release() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    text.trim().to_string()
}

fn capitalised(word: &str) -> String {
    let mut c = word.chars();
    c.next().map_or(String::new(), |first| {
        first.to_uppercase().chain(c).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_parsed_and_bounded() {
        let p = Presence::new("h", "127.0.0.1", "1");
        p.reported(
            "Node: kit (10.0.0.9) · app 1.2 · last input 5s ago · mode ui · reason launch",
            &json!({"instanceId": "i"}),
        );
        let list = p.list(&[]);
        let e = list
            .as_array()
            .unwrap()
            .iter()
            .find(|e| e["instanceId"] == "i")
            .unwrap();
        assert_eq!(
            (e["host"].as_str(), e["ip"].as_str()),
            (Some("kit"), Some("10.0.0.9"))
        );
        assert_eq!(
            (e["version"].as_str(), e["lastInputSeconds"].as_u64()),
            (Some("1.2"), Some(5))
        );
        for i in 0..2 * MAX_ENTRIES {
            p.reported(
                "x",
                &json!({"instanceId": format!("i{i}"), "host": "y".repeat(1000)}),
            );
        }
        let list = p.list(&[]);
        let list = list.as_array().unwrap();
        assert_eq!(list.len(), MAX_ENTRIES);
        assert!(list.iter().any(|e| e["mode"] == "gateway"));
        assert!(
            list.iter()
                .all(|e| e["host"].as_str().unwrap().len() <= MAX_FIELD)
        );
    }
}
