//! `status`: the whole installation at a glance, whether the gateway runs or not.

mod view;

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::context::Context;
use super::failure::Failure;
use super::options::{Command, EXIT_OK, Group, JSON, TIMEOUT, flag};
use super::parse::Args;
use super::{dashboard, rpc, sessions, term};
use crate::agent::models;
use crate::client::{ClientError, Source, Target, TargetError, Wanted};
use crate::config::{Config, agents, gateway_port};
use crate::gateway::health::heartbeat;
use crate::state::exit_reason;
use crate::state::sessions::{Filter, Store};
use crate::sys::clock;

/// Sessions that are shown.
const RECENT: usize = 10;

pub static STATUS: Command = Command {
    options: &[
        &[
            flag(
                "all",
                "a full report to paste somewhere; secrets are left out",
            ),
            flag("deep", "probe the channels, too"),
            flag("usage", "usage and quota of model providers"),
            flag("verbose", "say first which gateway is asked"),
            flag("debug", "the same as --verbose"),
        ],
        JSON,
        TIMEOUT,
    ],
    examples: &[("openclaw status --all", "a report for whoever helps you")],
    run: Some(run),
    ..Command::new(
        "status",
        Group::Gateway,
        "show gateway, agents, channels and sessions at a glance",
    )
};

fn run(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    let want = Want {
        all: args.flag("all"),
        deep: args.flag("deep"),
        usage: args.flag("usage"),
        verbose: args.flag("verbose") || args.flag("debug"),
        timeout: rpc::timeout(args)?,
    };
    let found = gather(ctx, &want)?;
    match args.flag("json") {
        true => term::json(&found.to_value(&want)),
        false => term::say(&view::text(ctx, &found, &want)),
    }
    Ok(EXIT_OK)
}

/// What the command line asks for.
struct Want {
    all: bool,
    deep: bool,
    usage: bool,
    verbose: bool,
    timeout: Duration,
}

/// What was found out.
struct Found {
    /// `None` when the config names no gateway.
    target: Option<Target>,
    /// Why the gateway did not answer; `None` when it did.
    error: Option<String>,
    connect_ms: Option<u64>,
    /// `hello-ok` of the gateway, `Null` without one.
    hello: Value,
    /// Answers by method; those that failed are missing.
    answers: Map<String, Value>,
    /// Rows of the local session files, newest first.
    sessions: Vec<Value>,
    agents: Value,
    local: Value,
    dashboard: Option<String>,
    mode: String,
    auth: String,
    last_exit: Option<exit_reason::LastExit>,
}

fn gather(ctx: &Context, want: &Want) -> Result<Found, Failure> {
    let config = ctx.config();
    let mode = config.str("gateway.mode").unwrap_or("local").to_string();
    let mut found = Found {
        target: None,
        error: None,
        connect_ms: None,
        hello: Value::Null,
        answers: Map::new(),
        sessions: Vec::new(),
        agents: Value::Null,
        local: Value::Null,
        dashboard: dashboard::url(&config, gateway_port(None, &config)),
        auth: config
            .str("gateway.auth.mode")
            .unwrap_or("token")
            .to_string(),
        mode,
        last_exit: None,
    };
    match Target::resolve(&config, &Wanted::default()) {
        Ok(target) => {
            if let Err(e) = ask(&mut found, &target, want) {
                found.error = Some(e.to_string());
            }
            found.target = Some(target);
        }
        Err(e @ TargetError::NoRemoteUrl) => found.error = Some(e.to_string()),
        Err(e) => return Err(rpc::no_target(ctx, &e)),
    }
    look_around(ctx, &config, &mut found)?;
    if found.error.is_some() && found.mode == "local" {
        found.last_exit = exit_reason::last(&ctx.paths());
    }
    Ok(found)
}

/// Asks the gateway; what it does not know of is left out, not an error.
fn ask(found: &mut Found, target: &Target, want: &Want) -> Result<(), ClientError> {
    let until = Instant::now() + want.timeout;
    let mut client = rpc::connect(target, want.timeout)?;
    let left = || until.saturating_duration_since(Instant::now());
    found.connect_ms = Some(want.timeout.saturating_sub(left()).as_millis() as u64);
    found.hello = client.hello().clone();
    let ms = want.timeout.as_millis() as u64;
    let mut questions = vec![
        ("status", json!({})),
        (
            "channels.status",
            json!({"probe": want.deep, "timeoutMs": ms}),
        ),
    ];
    if want.deep {
        questions.push(("health", json!({"probe": true})));
        questions.push(("last-heartbeat", json!({})));
    }
    if want.usage {
        questions.push(("usage.status", json!({})));
    }
    for (method, params) in questions {
        match client.call(method, &params, left()) {
            Ok(answer) => {
                found.answers.insert(method.to_string(), answer);
            }
            Err(ClientError::Failed(_)) => {}
            Err(e) => return Err(e),
        }
    }
    client.close();
    Ok(())
}

/// Agents and sessions from the files of this machine.
fn look_around(ctx: &Context, config: &Config, found: &mut Found) -> Result<(), Failure> {
    let paths = ctx.paths();
    let store = Store::new(paths.clone());
    let (now, ids) = (clock::now_ms(), agents::ids(config));
    let failed = |e| Failure::new(format!("Error: {e}"));
    let rows = store.list(&ids, &Filter::default()).map_err(failed)?;
    let all: Vec<Value> = rows
        .iter()
        .map(|row| {
            let mut v = sessions::row_value(row, config, now);
            let age = v["ageMs"].take();
            if let Value::Object(map) = &mut v {
                map.remove("ageMs");
                map.insert("age".into(), age);
            }
            v
        })
        .collect();
    let mut list = Vec::new();
    let mut by_agent = Vec::new();
    let mut pending = 0;
    for id in &ids {
        let workspace = agents::workspace(config, &ctx.locations, id);
        let bootstrap = workspace.join("BOOTSTRAP.md").exists();
        pending += usize::from(bootstrap);
        let own: Vec<&Value> = all.iter().filter(|s| s["agentId"] == id.as_str()).collect();
        let newest = own.first();
        let path = paths.sessions_file(id);
        list.push(json!({
            "id": id, "workspaceDir": workspace, "bootstrapPending": bootstrap,
            "sessionsPath": path, "sessionsCount": own.len(),
            "lastUpdatedAt": newest.map(|s| &s["updatedAt"]), "lastActiveAgeMs": newest.map(|s| &s["age"]),
        }));
        let recent = &own[..own.len().min(RECENT)];
        by_agent.push(json!({"agentId": id, "path": path, "count": own.len(), "recent": recent}));
    }
    let default_id = agents::default_id(config);
    found.agents = json!({
        "defaultId": default_id, "agents": list, "totalSessions": all.len(),
        "bootstrapPendingCount": pending,
    });
    let model = models::primary(config, &default_id);
    let beats: Vec<Value> = ids
        .iter()
        .map(|id| {
            let beat = heartbeat(config, id);
            json!({"agentId": id, "enabled": beat["enabled"], "every": beat["every"], "everyMs": beat["everyMs"]})
        })
        .collect();
    let shown: Vec<_> = ids.iter().map(|id| paths.sessions_file(id)).collect();
    found.sessions = all.iter().take(RECENT).cloned().collect();
    found.local = json!({
        "heartbeat": {"defaultAgentId": default_id, "agents": beats},
        "channelSummary": [], "queuedSystemEvents": [],
        "sessions": {
            "paths": shown, "count": all.len(), "recent": found.sessions, "byAgent": by_agent,
            "defaults": {"model": model.model, "contextTokens": models::context_tokens(config, &model)},
        },
    });
    Ok(())
}

impl Found {
    fn is_remote(&self) -> bool {
        self.target
            .as_ref()
            .is_some_and(|t| t.source == Source::Remote)
    }

    /// What the `status` method answers; from the files of this machine when nobody answers.
    fn summary(&self) -> Value {
        let Some(answer) = self.answers.get("status") else {
            return self.local.clone();
        };
        let mut summary = answer.clone();
        if !self.is_remote() {
            // The files say more of a session than the gateway tells.
            summary["sessions"] = self.local["sessions"].clone();
        }
        summary
    }

    fn to_value(&self, want: &Want) -> Value {
        let mut v = self.summary();
        let url = self.target.as_ref().map(|t| t.address.url.as_str());
        let source = self.target.as_ref().map(|t| t.source.as_str());
        v["os"] = os();
        v["gateway"] = json!({
            "mode": self.mode, "url": url, "urlSource": source,
            "misconfigured": self.target.is_none(), "reachable": self.error.is_none(),
            "connectLatencyMs": self.connect_ms, "self": rpc::own_presence(&self.hello), "error": self.error,
        });
        let service = json!({"label": "none", "installed": false, "loadedText": "not installed",
            "runtimeShort": null});
        v["gatewayService"] = service.clone();
        v["nodeService"] = service;
        v["agents"] = self.agents.clone();
        // This gateway never asks for updates by itself.
        v["update"] = json!({"installKind": "binary", "registry": {"latestVersion": null}});
        v["updateChannel"] = "stable".into();
        v["updateChannelSource"] = "default".into();
        v["memory"] = Value::Null;
        v["memoryPlugin"] = json!({"enabled": false, "slot": null});
        if let Some(exit) = &self.last_exit {
            v["lastExit"] = json!({"reason": exit.reason, "startedAtMs": exit.started_at,
                "endedAtMs": exit.ended_at, "clean": exit.is_clean()});
        }
        let answer = |method: &str| self.answers.get(method).cloned().unwrap_or(Value::Null);
        if want.deep {
            v["health"] = answer("health");
            v["lastHeartbeat"] = answer("last-heartbeat");
        }
        if want.usage {
            v["usage"] = answer("usage.status");
        }
        v
    }
}

/// `{platform, arch, release, label}`.
fn os() -> Value {
    let platform = std::env::consts::OS;
    let arch = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    json!({"platform": platform, "arch": arch, "release": release,
        "label": format!("{platform} {release} ({arch})").replace("  ", " ")})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::Folder;

    fn want() -> Want {
        Want {
            all: false,
            deep: true,
            usage: true,
            verbose: false,
            timeout: Duration::from_secs(5),
        }
    }

    #[test]
    fn a_dead_gateway_leaves_what_the_files_tell() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let dir = Folder::new();
        dir.write(
            "openclaw.json",
            &format!("{{gateway: {{mode: 'local', port: {port}}}}}"),
        );
        let entry = json!({"sessionId": "s", "updatedAt": clock::now_ms()});
        let all = json!({"agent:main:main": entry, "agent:main:irc:group:#x": entry});
        dir.write("agents/main/sessions/sessions.json", &all.to_string());
        let ctx = Context::of(dir.locations(&[]));
        let found = gather(&ctx, &want()).unwrap();
        let v = found.to_value(&want());
        assert_eq!(v["gateway"]["reachable"], false);
        assert_eq!(v["sessions"]["count"], 2);
        assert_eq!(v["agents"]["agents"][0]["sessionsCount"], 2);
        assert_eq!(v["heartbeat"]["defaultAgentId"], "main");
        let text = view::text(&ctx, &found, &want());
        for part in [
            "unreachable (gateway not running: connect",
            "ECONNREFUSED",
            "agent:main:irc:group:#x",
            "(gateway not reachable)",
            "Fix reachability first: openclaw gateway status",
        ] {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
    }

    #[test]
    fn a_remote_gateway_without_an_address_is_no_crash() {
        let dir = Folder::new();
        dir.write("openclaw.json", "{gateway: {mode: 'remote'}}");
        let ctx = Context::of(dir.locations(&[]));
        let found = gather(&ctx, &want()).unwrap();
        assert_eq!(found.to_value(&want())["gateway"]["misconfigured"], true);
        assert!(view::text(&ctx, &found, &want()).contains("gateway.remote.url missing"));
    }
}
