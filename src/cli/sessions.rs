//! `sessions`: the stored conversations, from the files; no gateway is needed.

use serde_json::{Value, json};

use super::context::Context;
use super::failure::Failure;
use super::options::{Command, EXIT_OK, Group, JSON, Need, flag, val};
use super::parse::Args;
use super::term::clean;
use super::{human, term};
use crate::agent::models;
use crate::config::{Config, agents};
use crate::state::session_key;
use crate::state::sessions::{Entry, Filter, Row, Store};
use crate::sys::clock;

pub static SESSIONS: Command = Command {
    options: &[
        &[
            val(
                "active",
                "minutes",
                "only those that were used in the last minutes",
            ),
            val("agent", "id", "of this agent (else the default one)"),
            flag("all-agents", "of all agents"),
        ],
        JSON,
    ],
    need: Need::Valid,
    run: Some(run),
    ..Command::new("sessions", Group::Agents, "list the stored conversations")
};

fn run(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    let config = ctx.config();
    let active = args.positive("active")?;
    let agents = chosen(&config, args)?;
    let store = Store::new(ctx.paths());
    let filter = Filter {
        active_minutes: active,
        ..Filter::default()
    };
    let rows = store
        .list(&agents, &filter)
        .map_err(|e| Failure::new(format!("Error: {e}")))?;
    let now = clock::now_ms();
    let path = match agents.as_slice() {
        [one] => ctx.paths().sessions_file(one).display().to_string(),
        _ => "(multiple)".to_string(),
    };
    if args.flag("json") {
        let sessions: Vec<Value> = rows.iter().map(|r| row_value(r, &config, now)).collect();
        term::json(&json!({
            "path": path, "count": sessions.len(), "activeMinutes": active, "sessions": sessions,
        }));
        return Ok(EXIT_OK);
    }
    term::say(&format!("Session store: {path}"));
    term::say(&format!("Sessions listed: {}", rows.len()));
    match rows.is_empty() {
        true => term::say("No sessions found."),
        false => term::say(&table(&rows, &config, now)),
    }
    Ok(EXIT_OK)
}

/// The agents that the command line means.
fn chosen(config: &Config, args: &Args) -> Result<Vec<String>, Failure> {
    match args.given("agent") {
        _ if args.flag("all-agents") => Ok(agents::ids(config)),
        None => Ok(vec![agents::default_id(config)]),
        Some(id) if agents::exists(config, id) => Ok(vec![agents::normalise(id)]),
        Some(id) => Err(Failure::new(format!(
            "Unknown agent id \"{id}\". Use \"openclaw agents list\" to see configured agents."
        ))),
    }
}

fn kind(row: &Row) -> &'static str {
    session_key::kind(&row.key, row.entry.text("chatType"))
}

fn model(entry: &Entry, config: &Config, agent: &str) -> String {
    let own = entry.text("model").map(str::to_string);
    own.unwrap_or_else(|| models::primary(config, agent).model)
}

fn context_tokens(entry: &Entry, config: &Config, agent: &str) -> u64 {
    let own = entry.number("contextTokens");
    own.unwrap_or_else(|| models::context_tokens(config, &models::primary(config, agent)))
}

/// A session as `--json` shows it.
pub fn row_value(row: &Row, config: &Config, now: u64) -> Value {
    let agent = session_key::agent_of(&row.key, &agents::default_id(config));
    let e = &row.entry;
    let mut v = json!({
        "key": row.key, "kind": kind(row), "agentId": agent,
        "updatedAt": e.updated_at(), "ageMs": now.saturating_sub(e.updated_at()),
        "sessionId": e.session_id(), "totalTokens": e.number("totalTokens"),
        "totalTokensFresh": e.flag("totalTokensFresh"), "model": model(e, config, &agent),
        "contextTokens": context_tokens(e, config, &agent),
    });
    for name in [
        "modelProvider",
        "inputTokens",
        "outputTokens",
        "systemSent",
        "abortedLastRun",
        "thinkingLevel",
        "verboseLevel",
        "label",
    ] {
        if let Some(field) = e.field(name) {
            v[name] = field.clone();
        }
    }
    v
}

fn table(rows: &[Row], config: &Config, now: u64) -> String {
    let mut lines = vec![format!(
        "{:<8} {:<36} {:<9} {:<20} {:<18} {}",
        "Kind", "Key", "Age", "Model", "Tokens (ctx %)", "Flags"
    )];
    for r in rows {
        let e = &r.entry;
        let agent = session_key::agent_of(&r.key, &agents::default_id(config));
        let tokens = e
            .number("totalTokens")
            .filter(|_| e.flag("totalTokensFresh"));
        let mut flags: Vec<String> = ["thinkingLevel", "verboseLevel"]
            .iter()
            .filter_map(|f| Some(format!("{}:{}", &f[..f.len() - 5], e.text(f)?)))
            .collect();
        if e.flag("abortedLastRun") {
            flags.push("aborted".into());
        }
        flags.extend(e.session_id().map(|id| format!("id:{id}")));
        lines.push(format!(
            "{:<8} {:<36} {:<9} {:<20} {:<18} {}",
            kind(r),
            r.key,
            human::ago(now.saturating_sub(e.updated_at())),
            model(e, config, &agent),
            human::context(tokens, Some(context_tokens(e, config, &agent))),
            flags.join(" ")
        ));
    }
    clean(&lines.join("\n")).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::parse::{Parsed, parse};
    use crate::config::testing::Folder;

    #[test]
    fn stored_sessions_are_listed_without_a_gateway() {
        let dir = Folder::new();
        dir.write(
            "openclaw.json",
            "{agents: {list: [{id: 'main', default: true}, {id: 'work'}]}}",
        );
        let now = clock::now_ms();
        let entry = json!({"sessionId": "s-1", "updatedAt": now - 120_000, "totalTokens": 64000,
            "totalTokensFresh": true, "contextTokens": 128_000, "model": "stub-1", "thinkingLevel": "low"});
        let all = json!({"agent:main:main": entry});
        dir.write("agents/main/sessions/sessions.json", &all.to_string());
        let ctx = Context::of(dir.locations(&[]));
        let config = ctx.config();
        let args = |line: &str| match parse(line.split(' ').map(Into::into)) {
            Ok((_, Parsed::Run(_, args))) => args,
            _ => panic!("{line}"),
        };
        assert_eq!(chosen(&config, &args("sessions")).unwrap(), ["main"]);
        assert_eq!(
            chosen(&config, &args("sessions --all-agents")).unwrap(),
            ["main", "work"]
        );
        assert!(chosen(&config, &args("sessions --agent nope")).is_err());
        let rows = Store::new(ctx.paths())
            .list(&["main".to_string()], &Filter::default())
            .unwrap();
        let text = table(&rows, &config, now);
        let line = text.lines().nth(1).unwrap();
        for part in [
            "direct",
            "agent:main:main",
            "2m ago",
            "stub-1",
            "64k/128k (50%)",
            "thinking:low",
            "id:s-1",
        ] {
            assert!(line.contains(part), "{part} is not in {line}");
        }
        let v = row_value(&rows[0], &config, now);
        assert_eq!(
            (&v["ageMs"], &v["agentId"]),
            (&json!(120_000), &json!("main"))
        );
        assert_eq!(
            run(&ctx, &args("sessions --active 1 --json")).unwrap(),
            EXIT_OK
        );
    }
}
