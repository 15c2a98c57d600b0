//! `agents`: the configured agents, from the config file.

use serde_json::{Value, json};

use super::context::Context;
use super::failure::Failure;
use super::options::{Command, EXIT_OK, Group, JSON, Need, Opt, flag};
use super::parse::Args;
use super::term::{self, clean};
use crate::agent::models;
use crate::config::{Config, agents};

const BINDINGS: &[Opt] = &[flag("bindings", "show the routing rules one by one")];

pub static AGENTS: Command = Command {
    options: LIST.options,
    need: Need::Valid,
    run: Some(list),
    ..Command::new("agents", Group::Agents, "see the configured agents")
};

pub static LIST: Command = Command {
    options: &[BINDINGS, JSON],
    need: Need::Valid,
    run: Some(list),
    ..Command::new("agents list", Group::Agents, "list the configured agents")
};

fn list(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    let config = ctx.config();
    let rows: Vec<Value> = agents::ids(&config)
        .iter()
        .map(|id| row(ctx, &config, id))
        .collect();
    match args.flag("json") {
        true => term::json(&Value::Array(rows)),
        false => term::say(&text(ctx, &config, &rows, args.flag("bindings"))),
    }
    Ok(EXIT_OK)
}

fn row(ctx: &Context, config: &Config, id: &str) -> Value {
    let at = &ctx.locations;
    let default = agents::default_id(config) == id;
    let rules = rules(config, id);
    let mut v = json!({
        "id": id, "isDefault": default, "bindings": rules.len(),
        "workspace": agents::workspace(config, at, id), "agentDir": agents::agent_dir(config, at, id),
        "model": models::primary(config, id).to_string(),
    });
    if let Some(name) = agents::name(config, id) {
        v["name"] = name.into();
    }
    if let Some(identity) = agents::identity(config, id) {
        for (from, to) in [("name", "identityName"), ("emoji", "identityEmoji")] {
            if let Some(text) = identity.get(from) {
                v[to] = text.clone();
            }
        }
    }
    if default {
        let routes = match rules.is_empty() {
            true => vec!["default (no explicit rules)".to_string()],
            false => rules,
        };
        v["routes"] = routes.into();
    }
    v
}

/// The routing rules that lead to the agent, each in a few words.
fn rules(config: &Config, id: &str) -> Vec<String> {
    let all = config.get("bindings").and_then(Value::as_array);
    all.into_iter()
        .flatten()
        .filter(|b| {
            b["agentId"]
                .as_str()
                .is_some_and(|a| agents::normalise(a) == id)
        })
        .map(|b| {
            let m = &b["match"];
            let word = |v: &Value| v.as_str().map(str::to_string);
            let mut words: Vec<String> = word(&m["channel"]).into_iter().collect();
            let named = [
                ("account", &m["accountId"]),
                ("guild", &m["guildId"]),
                ("team", &m["teamId"]),
            ];
            words.extend(
                named
                    .iter()
                    .filter_map(|(n, v)| Some(format!("{n}={}", word(v)?))),
            );
            if let Some(peer) = word(&m["peer"]["id"]) {
                let kind = m["peer"]["kind"].as_str().unwrap_or("peer");
                words.push(format!("{kind}={peer}"));
            }
            words.join(" ")
        })
        .collect()
}

fn text(ctx: &Context, config: &Config, rows: &[Value], bindings: bool) -> String {
    let mut lines = vec!["Agents:".to_string()];
    for r in rows {
        let word = |key: &str| r[key].as_str().unwrap_or("?");
        let shown = |key: &str| ctx.locations.shown(std::path::Path::new(word(key)));
        let default = if r["isDefault"] == true {
            " (default)"
        } else {
            ""
        };
        let name = r["name"].as_str().filter(|n| *n != word("id"));
        let name = name.map_or_else(String::new, |n| format!(" ({n})"));
        lines.push(format!("- {}{name}{default}", word("id")));
        if let Some(identity) = r["identityName"].as_str() {
            let emoji = r["identityEmoji"].as_str().unwrap_or_default();
            lines.push(format!("  Identity: {emoji} {identity}").replace(":  ", ": "));
        }
        lines.push(format!("  Workspace: {}", shown("workspace")));
        lines.push(format!("  Agent dir: {}", shown("agentDir")));
        lines.push(format!("  Model: {}", word("model")));
        lines.push(format!("  Routing rules: {}", r["bindings"]));
        let routes = r["routes"].as_array();
        if let Some(routes) = routes {
            let words: Vec<&str> = routes.iter().filter_map(Value::as_str).collect();
            lines.push(format!("  Routing: {}", words.join(", ")));
        }
        if bindings {
            lines.extend(
                rules(config, word("id"))
                    .iter()
                    .map(|rule| format!("  - {rule}")),
            );
        }
    }
    lines.push("Routing rules map channel, account and peer to an agent.".to_string());
    clean(&lines.join("\n")).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::Folder;

    #[test]
    fn agents_with_their_places_and_rules() {
        let dir = Folder::new();
        dir.write(
            "openclaw.json",
            "{agents: {list: [{id: 'main', default: true}, {id: 'work', name: 'Work', model: 'stub/one'}]},
              bindings: [{agentId: 'work', match: {channel: 'irc', peer: {kind: 'group', id: '#lab'}}}]}",
        );
        let ctx = Context::of(dir.locations(&[]));
        let config = ctx.config();
        let rows: Vec<Value> = agents::ids(&config)
            .iter()
            .map(|id| row(&ctx, &config, id))
            .collect();
        assert_eq!(rows[0]["routes"], json!(["default (no explicit rules)"]));
        assert_eq!(
            (&rows[1]["bindings"], &rows[1]["model"]),
            (&json!(1), &json!("stub/one"))
        );
        let text = text(&ctx, &config, &rows, true);
        for part in [
            "- main (default)\n",
            "- work (Work)\n",
            "  Workspace: ~/workspace-work\n",
            "  - irc group=#lab\n",
        ] {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
    }
}
