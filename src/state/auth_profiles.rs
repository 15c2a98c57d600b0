//! Stored credentials of model providers: `agents/<id>/agent/auth-profiles.json`.
//!
//! Read only. Which profile is tried first is decided here, from the file's order and the config's; what
//! is done with the credential is left to the agent room.

use std::io;
use std::path::Path;

use serde_json::{Map, Value};

use super::Paths;
use crate::config::Config;
use crate::sys::file;

/// Bytes of a file that is still read.
const MAX_FILE: u64 = 1024 * 1024;
/// The agent whose profiles are used by agents without a file of their own.
const FALLBACK_AGENT: &str = "main";

/// The profiles of one agent.
#[derive(Clone, Debug, Default)]
pub struct Profiles(Map<String, Value>);

/// A credential, ready to be sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// `<provider>:<name>`, which may be shown.
    pub profile: String,
    /// Never shown.
    pub secret: String,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Credential").field(&self.profile).finish()
    }
}

impl Profiles {
    /// The profiles of `agent`, or those of the main agent when it has none of its own. A file that
    /// cannot be read counts as empty and is logged.
    pub fn load(paths: &Paths, agent: &str) -> Profiles {
        let own = paths.auth_profiles(agent);
        let path = if own.exists() {
            own
        } else {
            paths.auth_profiles(FALLBACK_AGENT)
        };
        match read(&path) {
            Ok(map) => Profiles(map),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Profiles::default(),
            Err(e) => {
                log::warn!(target: "state", "auth profiles cannot be read: {}: {e}", path.display());
                Profiles::default()
            }
        }
    }

    /// The usable credentials for `provider`, the one to try first in front. `now` is in ms.
    ///
    /// The order is that of the file, else `auth.order`, else `auth.profiles`, else every profile of the
    /// provider: oauth before token before api_key, then the one that was used longest ago. A profile
    /// that is cooling down comes last.
    pub fn credentials(&self, config: &Config, provider: &str, now: u64) -> Vec<Credential> {
        let stored = self.0.get("order").and_then(|o| o.get(provider));
        let order = stored.or_else(|| config.get_in(&["auth", "order", provider]));
        let mut ids: Vec<&str> = match order.and_then(Value::as_array) {
            Some(list) => list.iter().filter_map(Value::as_str).collect(),
            None => self.unordered(config, provider),
        };
        ids.sort_by_key(|id| self.cools(id, now));
        let mut found = Vec::new();
        for id in ids {
            if let Some(secret) = self.secret(id, provider, now) {
                found.push(Credential {
                    profile: id.to_string(),
                    secret,
                });
            }
        }
        found
    }

    /// The profiles of `provider` when nobody ordered them.
    fn unordered<'a>(&'a self, config: &'a Config, provider: &str) -> Vec<&'a str> {
        let is_of = |p: &Value| p["provider"].as_str() == Some(provider);
        let configured = config.get_in(&["auth", "profiles"]);
        let configured = configured.and_then(Value::as_object).into_iter().flatten();
        let mut ids: Vec<&str> = configured
            .filter(|(_, p)| is_of(p))
            .map(|(id, _)| id.as_str())
            .collect();
        if ids.is_empty() {
            let stored = self.0.get("profiles").and_then(Value::as_object);
            let stored = stored.into_iter().flatten();
            ids = stored
                .filter(|(_, p)| is_of(p))
                .map(|(id, _)| id.as_str())
                .collect();
        }
        ids.sort_by_key(|id| (self.rank(id), self.stat(id, "lastUsed")));
        ids
    }

    fn profile(&self, id: &str) -> Option<&Value> {
        self.0.get("profiles")?.get(id)
    }

    fn rank(&self, id: &str) -> u8 {
        match self.profile(id).and_then(|p| p["type"].as_str()) {
            Some("oauth") => 0,
            Some("token") => 1,
            _ => 2,
        }
    }

    fn stat(&self, id: &str, name: &str) -> u64 {
        let stats = self.0.get("usageStats").and_then(|s| s.get(id));
        stats.and_then(|s| s[name].as_u64()).unwrap_or(0)
    }

    /// Until when the profile is left alone; 0 when it may be used.
    fn cools(&self, id: &str, now: u64) -> u64 {
        let until = self
            .stat(id, "cooldownUntil")
            .max(self.stat(id, "disabledUntil"));
        if until > now { until } else { 0 }
    }

    fn secret(&self, id: &str, provider: &str, now: u64) -> Option<String> {
        let profile = self.profile(id)?;
        if profile["provider"].as_str() != Some(provider) {
            return None;
        }
        let field = match profile["type"].as_str()? {
            "api_key" => "key",
            "token" => "token",
            "oauth" => "access",
            _ => return None,
        };
        let expired = profile["expires"].as_u64().is_some_and(|at| at <= now);
        let secret = profile[field].as_str().map(str::trim)?;
        (!secret.is_empty() && !expired).then(|| secret.to_string())
    }
}

fn read(path: &Path) -> io::Result<Map<String, Value>> {
    let bytes = file::read_bounded(path, MAX_FILE)?;
    // The parser's own words would quote the file.
    serde_json::from_slice(&bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not a JSON object"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ids(profiles: &Value, config: &str) -> Vec<String> {
        let profiles = Profiles(profiles.as_object().unwrap().clone());
        let found = profiles.credentials(&Config::from_text(config), "openai", 1000);
        found.into_iter().map(|c| c.profile).collect()
    }

    fn file() -> Value {
        json!({"version": 1, "profiles": {
            "openai:a": {"type": "api_key", "provider": "openai", "key": " ka "},
            "openai:b": {"type": "api_key", "provider": "openai", "key": "kb"},
            "openai:o": {"type": "oauth", "provider": "openai", "access": "ao", "expires": 2000},
            "openai:old": {"type": "token", "provider": "openai", "token": "t", "expires": 1000},
            "openai:blank": {"type": "api_key", "provider": "openai", "key": " "},
            "groq:x": {"type": "api_key", "provider": "groq", "key": "kg"},
        }, "usageStats": {"openai:a": {"lastUsed": 5}}})
    }

    #[test]
    fn without_an_order_kind_and_last_use_decide() {
        assert_eq!(ids(&file(), "{}"), ["openai:o", "openai:b", "openai:a"]);
        let config = "{auth: {profiles: {'openai:a': {provider: 'openai', mode: 'api_key'}}}}";
        assert_eq!(ids(&file(), config), ["openai:a"]);
    }

    #[test]
    fn the_files_order_wins_over_the_configs() {
        let config = "{auth: {order: {openai: ['openai:a', 'openai:b', 'groq:x', 'gone']}}}";
        assert_eq!(ids(&file(), config), ["openai:a", "openai:b"]);
        let mut stored = file();
        stored["order"] = json!({"openai": ["openai:b"]});
        assert_eq!(ids(&stored, config), ["openai:b"]);
    }

    #[test]
    fn what_cools_down_comes_last() {
        let mut cooling = file();
        cooling["usageStats"]["openai:o"] = json!({"cooldownUntil": 1001});
        cooling["usageStats"]["openai:b"] = json!({"disabledUntil": 999});
        assert_eq!(ids(&cooling, "{}"), ["openai:b", "openai:a", "openai:o"]);
    }

    #[test]
    fn secrets_are_trimmed_and_not_shown() {
        let profiles = Profiles(file().as_object().unwrap().clone());
        let found = profiles.credentials(&Config::from_text("{}"), "groq", 0);
        assert_eq!(found[0].secret, "kg");
        assert_eq!(format!("{:?}", found[0]), r#"Credential("groq:x")"#);
    }
}
