//! `health`: the gateway's health snapshot in words.

use serde_json::{Value, json};

use super::context::Context;
use super::failure::Failure;
use super::options::{Command, EXIT_OK, Group, JSON, TIMEOUT, flag};
use super::parse::Args;
use super::term::clean;
use super::{channels_view, human, rpc, term};
use crate::client::Wanted;

pub static HEALTH: Command = Command {
    options: &[
        JSON,
        TIMEOUT,
        &[
            flag("verbose", "say first which gateway is asked"),
            flag("debug", "the same as --verbose"),
        ],
    ],
    run: Some(run),
    ..Command::new(
        "health",
        Group::Gateway,
        "show the health of the running gateway",
    )
};

fn run(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    let target = rpc::target(ctx, &Wanted::default())?;
    // Never served from the gateway's cache: who asks wants to know now.
    let params = json!({"probe": true});
    let health = rpc::ask_at(&target, "health", &params, rpc::timeout(args)?)?;
    if args.flag("json") {
        term::json(&health);
        return Ok(EXIT_OK);
    }
    if args.flag("verbose") || args.flag("debug") {
        term::say("Gateway connection:");
        for line in target.describe().lines() {
            term::say(&format!("  {line}"));
        }
    }
    for line in lines(&health) {
        term::say(&clean(&line));
    }
    Ok(EXIT_OK)
}

/// Channels, agents, heartbeat, session stores with their newest entries.
fn lines(health: &Value) -> Vec<String> {
    let mut out = channels_view::health_lines(health);
    let agents: Vec<&Value> = health["agents"].as_array().into_iter().flatten().collect();
    let id = |a: &Value| a["agentId"].as_str().unwrap_or("?").to_string();
    let names: Vec<String> = agents
        .iter()
        .map(|a| match a["isDefault"] == true {
            true => format!("{} (default)", id(a)),
            false => id(a),
        })
        .collect();
    out.push(format!("Agents: {}", names.join(", ")));
    let beats: Vec<String> = agents
        .iter()
        .map(|a| {
            let beat = &a["heartbeat"];
            match beat["enabled"] == true {
                true => format!("{} ({})", beat["every"].as_str().unwrap_or("?"), id(a)),
                false => format!("disabled ({})", id(a)),
            }
        })
        .collect();
    out.push(format!("Heartbeat interval: {}", beats.join(", ")));
    for a in &agents {
        let store = &a["sessions"];
        let path = store["path"].as_str().unwrap_or("?");
        let count = store["count"].as_u64().unwrap_or(0);
        out.push(format!(
            "Session store ({}): {path} ({count} entries)",
            id(a)
        ));
        for s in store["recent"].as_array().into_iter().flatten() {
            let key = s["key"].as_str().unwrap_or("?");
            out.push(match s["age"].as_u64() {
                Some(ms) => format!("- {key} ({})", human::ago(ms)),
                None => format!("- {key} (no activity)"),
            });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_snapshot_is_told_line_by_line() {
        let health = json!({
            "channelOrder": [], "channels": {},
            "agents": [{
                "agentId": "main", "isDefault": true,
                "heartbeat": {"enabled": true, "every": "30m"},
                "sessions": {"path": "/s.json", "count": 1,
                    "recent": [{"key": "agent:main:main", "age": 7_300_000}]},
            }],
        });
        assert_eq!(
            lines(&health),
            [
                "Agents: main (default)",
                "Heartbeat interval: 30m (main)",
                "Session store (main): /s.json (1 entries)",
                "- agent:main:main (2h ago)",
            ]
        );
    }
}
