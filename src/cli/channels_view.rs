//! Channels and their accounts in words, as the health, status and channel commands show them.

use serde_json::Value;

use super::term::clean;

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
