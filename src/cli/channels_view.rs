//! Channels and their accounts in words, as the health, status and channel commands show them.

use serde::Serialize;
use serde_json::Value;

use super::human::ago;
use super::term::clean;
use crate::config::Config;

/// The line of each channel in a health snapshot: `IRC: ok`, `Telegram: failed (401) - Unauthorized`.
pub fn health_lines(health: &Value) -> Vec<String> {
    ids(health)
        .iter()
        .map(|id| {
            let channel = &health["channels"][id.as_str()];
            let label = label(health, id);
            clean(&format!("{label}: {}", health_state(channel))).into_owned()
        })
        .collect()
}

fn health_state(channel: &Value) -> String {
    let probe = &channel["probe"];
    if channel["configured"] == false {
        return "not configured".to_string();
    }
    match probe["ok"].as_bool() {
        Some(true) => match probe["elapsedMs"].as_u64() {
            Some(ms) if ms > 0 => format!("ok ({ms}ms)"),
            _ => "ok".to_string(),
        },
        Some(false) => {
            let status = match &probe["status"] {
                Value::Null => "unknown".to_string(),
                other => other.to_string(),
            };
            let error = probe["error"].as_str().unwrap_or("no reason given");
            format!("failed ({status}) - {error}")
        }
        None => match channel["lastError"].as_str() {
            Some(error) => format!("failed - {error}"),
            None => "configured".to_string(),
        },
    }
}

/// The line of each account in an answer of `channels.status`: `- Telegram default: enabled, configured, …`.
pub fn account_lines(status: &Value, now: u64) -> Vec<String> {
    let mut lines = Vec::new();
    for id in ids(status) {
        let accounts = status["channelAccounts"][id.as_str()].as_array();
        for account in accounts.into_iter().flatten() {
            let name = account["accountId"].as_str().unwrap_or("default");
            let name = match account["name"].as_str() {
                Some(given) => format!("{name} ({given})"),
                None => name.to_string(),
            };
            let line = format!(
                "- {} {name}: {}",
                label(status, &id),
                account_state(account, now)
            );
            lines.push(clean(&line).into_owned());
        }
    }
    lines
}

fn account_state(account: &Value, now: u64) -> String {
    let mut bits = Vec::new();
    for (key, yes, no) in [
        ("enabled", "enabled", "disabled"),
        ("configured", "configured", "not configured"),
        ("linked", "linked", "not linked"),
        ("running", "running", "stopped"),
        ("connected", "connected", "disconnected"),
    ] {
        if let Some(on) = account[key].as_bool() {
            bits.push(if on { yes } else { no }.to_string());
        }
    }
    for (key, name) in [("lastInboundAt", "in"), ("lastOutboundAt", "out")] {
        if let Some(at) = account[key].as_u64() {
            bits.push(format!("{name}:{}", ago(now.saturating_sub(at))));
        }
    }
    for (key, name) in [
        ("mode", "mode"),
        ("dmPolicy", "dm"),
        ("tokenSource", "token"),
        ("baseUrl", "url"),
    ] {
        match account[key].as_str() {
            Some("" | "none") | None => {}
            Some(value) => bits.push(format!("{name}:{value}")),
        }
    }
    match account["probe"]["ok"].as_bool() {
        Some(true) => bits.push("works".to_string()),
        Some(false) => bits.push(match account["probe"]["error"].as_str() {
            Some(error) => format!("probe failed ({error})"),
            None => "probe failed".to_string(),
        }),
        None => {}
    }
    if let Some(error) = account["lastError"].as_str() {
        bits.push(format!("error:{error}"));
    }
    bits.join(", ")
}

/// A channel of the config file.
#[derive(Serialize)]
pub struct Configured {
    pub id: String,
    pub enabled: bool,
    /// Account ids; `default` when it has no `accounts`.
    pub accounts: Vec<String>,
}

/// The channels in the config file, in the order of their names.
pub fn configured(config: &Config) -> Vec<Configured> {
    let channels = config.get("channels").and_then(Value::as_object);
    let channels = channels.into_iter().flatten();
    channels
        .filter(|(id, settings)| *id != "defaults" && settings.is_object())
        .map(|(id, settings)| {
            let accounts = settings["accounts"].as_object();
            let named: Vec<String> = accounts
                .into_iter()
                .flatten()
                .map(|a| a.0.clone())
                .collect();
            Configured {
                id: id.clone(),
                enabled: settings["enabled"] != false,
                accounts: match named.is_empty() {
                    true => vec!["default".to_string()],
                    false => named,
                },
            }
        })
        .collect()
}

/// The ids of a snapshot's channels, in its own order.
pub fn ids(snapshot: &Value) -> Vec<String> {
    let order = snapshot["channelOrder"].as_array();
    let order = order.into_iter().flatten();
    order
        .filter_map(|id| id.as_str().map(str::to_string))
        .collect()
}

/// What a channel is called.
pub fn label<'a>(snapshot: &'a Value, id: &'a str) -> &'a str {
    snapshot["channelLabels"][id].as_str().unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_account_is_told_in_one_line() {
        let status = json!({
            "channelOrder": ["telegram"], "channelLabels": {"telegram": "Telegram"},
            "channelAccounts": {"telegram": [{
                "accountId": "default", "enabled": true, "configured": true, "running": true,
                "mode": "polling", "tokenSource": "config", "lastError": null,
                "lastInboundAt": 1000, "lastOutboundAt": null, "probe": {"ok": false},
            }]},
        });
        assert_eq!(
            account_lines(&status, 61_000),
            [
                "- Telegram default: enabled, configured, running, in:1m ago, mode:polling, token:config, \
              probe failed"
            ]
        );
    }

    #[test]
    fn channels_of_the_config_have_accounts() {
        let config = Config::from_text(
            "{channels: {irc: {enabled: false, host: 'h', nick: 'n'},
              telegram: {accounts: {a: {botToken: '1:x'}, b: {botToken: '2:x'}}}}}",
        );
        let all: Vec<_> = configured(&config)
            .into_iter()
            .map(|c| (c.id, c.enabled, c.accounts.join("+")))
            .collect();
        let row = |id: &str, on, accounts: &str| (id.to_string(), on, accounts.to_string());
        assert_eq!(
            all,
            [row("irc", false, "default"), row("telegram", true, "a+b")]
        );
    }

    #[test]
    fn a_channel_is_ok_failed_or_not_there() {
        let health = json!({
            "channelOrder": ["irc", "telegram", "signal", "x"],
            "channelLabels": {"irc": "IRC", "telegram": "Telegram"},
            "channels": {
                "irc": {"configured": true, "probe": {"ok": true, "elapsedMs": 16}},
                "telegram": {"configured": true,
                    "probe": {"ok": false, "status": null, "error": "fetch failed"}},
                "signal": {"configured": false},
                "x": {"configured": true, "lastError": "a\x1bb"},
            },
        });
        assert_eq!(
            health_lines(&health),
            [
                "IRC: ok (16ms)",
                "Telegram: failed (unknown) - fetch failed",
                "signal: not configured",
                "x: failed - a\\x1bb",
            ]
        );
    }
}
