//! `status` in tables.

use serde_json::Value;

use super::{Found, Want, os};
use crate::VERSION;
use crate::cli::channels_view::{ids, label};
use crate::cli::context::Context;
use crate::cli::human;
use crate::cli::ports::Usage;
use crate::cli::rpc::{for_profile, own_presence};
use crate::cli::term::{Term, Tone, clean};
use crate::client::Source;
use crate::config::gateway_port;
use crate::sys::net;

pub fn text(ctx: &Context, found: &Found, want: &Want) -> String {
    let t = &ctx.term;
    let heading = |text: &str| format!("{}\n", t.paint(Tone::Heading, text));
    let mut out = String::new();
    if want.verbose
        && let Some(target) = &found.target
    {
        out.push_str(&clean(&target.describe()));
        out.push_str("\n\n");
    }
    let title = if want.all {
        "OpenClaw status --all"
    } else {
        "OpenClaw status"
    };
    out.push_str(&heading(title));
    out.push('\n');
    out.push_str(&heading("Overview"));
    out.push_str(&t.table(&["Item", "Value"], &overview(ctx, found, want)));
    if let Some(problems) = config_problems(found) {
        out.push('\n');
        out.push_str(&heading("Config on disk is not in force"));
        out.push_str(&problems);
    }
    out.push('\n');
    out.push_str(&heading("Channels"));
    out.push_str(&t.table(&["Channel", "Enabled", "State", "Detail"], &channels(found)));
    out.push('\n');
    if want.all {
        out.push_str(&heading("Agents"));
        let heads = ["Agent", "Bootstrap file", "Sessions", "Active", "Store"];
        out.push_str(&t.table(&heads, &agents(ctx, found)));
        out.push('\n');
        out.push_str(&heading("Diagnosis (read-only)"));
        out.push('\n');
        out.push_str(&diagnosis(ctx, found));
        out.push_str("\nPasteable debug report. Auth tokens redacted.\n");
        return out;
    }
    out.push_str(&heading("Sessions"));
    out.push_str(&t.table(&["Key", "Kind", "Age", "Model", "Tokens"], &sessions(found)));
    if want.deep {
        out.push('\n');
        out.push_str(&heading("Health"));
        out.push_str(&health(t, found));
    }
    if want.usage {
        out.push('\n');
        out.push_str(&heading("Usage"));
        out.push_str(&usage(found));
    }
    out.push('\n');
    out.push_str(&next_steps(ctx, found));
    out
}

fn overview(ctx: &Context, found: &Found, want: &Want) -> Vec<Vec<String>> {
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = |name: &str, value: String| rows.push(vec![name.to_string(), value]);
    if want.all {
        row("Version", VERSION.to_string());
        row("Config", ctx.locations.shown(&ctx.locations.config_path));
        row("State", ctx.locations.shown(&ctx.locations.state_dir));
    }
    row(
        "Dashboard",
        found
            .dashboard
            .clone()
            .unwrap_or_else(|| "disabled".to_string()),
    );
    row("OS", os()["label"].as_str().unwrap_or_default().to_string());
    let tailnet = net::tailnet_address().map(|ip| ip.to_string());
    row("Tailscale", tailnet.unwrap_or_else(|| "off".to_string()));
    row("Gateway", gateway(found));
    if let Some(exit) = &found.last_exit {
        let why = match exit.ended_at {
            Some(_) => exit.reason.clone(),
            None => "ended without a word (killed, crashed, or the power went)".to_string(),
        };
        row("Last exit", why);
    }
    row("Gateway service", "not installed".to_string());
    row("Agents", agents_line(found));
    row(
        "Probes",
        if want.deep {
            "enabled"
        } else {
            "skipped (use --deep)"
        }
        .to_string(),
    );
    let summary = found.summary();
    let events = summary["queuedSystemEvents"].as_array().map_or(0, Vec::len);
    row(
        "Events",
        match events {
            0 => "none".to_string(),
            n => format!("{n} queued"),
        },
    );
    row("Heartbeat", heartbeat(&summary));
    if want.deep {
        let last = found
            .answers
            .get("last-heartbeat")
            .and_then(|h| h["status"].as_str());
        row("Last heartbeat", last.unwrap_or("none").to_string());
    }
    row("Sessions", sessions_line(ctx, &summary));
    rows
}

fn gateway(found: &Found) -> String {
    let Some(target) = &found.target else {
        return format!(
            "{} · {}",
            found.mode,
            found.error.as_deref().unwrap_or("no address")
        );
    };
    let source = match target.source {
        Source::Local => "local loopback",
        other => other.as_str(),
    };
    let mut parts = vec![
        found.mode.clone(),
        format!("{} ({source})", target.address.url),
    ];
    match (&found.error, found.connect_ms) {
        (None, Some(ms)) => parts.push(format!("reachable {ms}ms")),
        (Some(error), Some(_)) => parts.push(format!("reachable, but: {error}")),
        (error, None) => {
            parts.push(format!(
                "unreachable ({})",
                error.as_deref().unwrap_or("no reason")
            ));
        }
    }
    parts.push(format!("auth {}", found.auth));
    let own = own_presence(&found.hello);
    if let Some(host) = own["host"].as_str() {
        let version = own["version"].as_str().unwrap_or("unknown");
        let ip = own["ip"].as_str().unwrap_or("?");
        let platform = own["platform"].as_str().unwrap_or_default();
        parts.push(format!("{host} ({ip}) app {version} {platform}"));
    }
    parts.join(" · ")
}

fn agents_line(found: &Found) -> String {
    let all = &found.agents;
    let default = all["defaultId"].as_str().unwrap_or("?");
    let list = all["agents"].as_array().map_or(&[][..], Vec::as_slice);
    let own = list.iter().find(|a| a["id"] == default);
    let active = own.and_then(|a| a["lastActiveAgeMs"].as_u64());
    let bootstrap = match all["bootstrapPendingCount"].as_u64() {
        Some(0) | None => "no bootstrap files".to_string(),
        Some(1) => "1 bootstrap file present".to_string(),
        Some(n) => format!("{n} bootstrap files present"),
    };
    format!(
        "{} · {bootstrap} · sessions {} · default {default} active {}",
        list.len(),
        all["totalSessions"],
        active.map_or_else(|| "unknown".to_string(), human::ago)
    )
}

fn heartbeat(summary: &Value) -> String {
    let beats = summary["heartbeat"]["agents"].as_array();
    let words: Vec<String> = beats
        .into_iter()
        .flatten()
        .map(|b| {
            let id = b["agentId"].as_str().unwrap_or("?");
            match b["enabled"] == true {
                true => format!("{} ({id})", b["every"].as_str().unwrap_or("?")),
                false => format!("disabled ({id})"),
            }
        })
        .collect();
    words.join(", ")
}

fn sessions_line(ctx: &Context, summary: &Value) -> String {
    let s = &summary["sessions"];
    let model = s["defaults"]["model"].as_str().unwrap_or("unknown");
    let context = s["defaults"]["contextTokens"].as_u64();
    let context = context.map_or_else(String::new, |n| format!(" ({} ctx)", human::kilo(n)));
    let paths = s["paths"].as_array().map_or(&[][..], Vec::as_slice);
    let store = match paths {
        [] => String::new(),
        [one] => {
            let path = std::path::Path::new(one.as_str().unwrap_or("?"));
            format!(" · {}", ctx.locations.shown(path))
        }
        many => format!(" · {} stores", many.len()),
    };
    format!("{} active · default {model}{context}{store}", s["count"])
}

fn config_problems(found: &Found) -> Option<String> {
    let issues = found.answers.get("status")?["configIssues"].as_array()?;
    let lines: Vec<String> = issues
        .iter()
        .map(|i| {
            let path = i["path"]
                .as_str()
                .filter(|p| !p.is_empty())
                .unwrap_or("<root>");
            clean(&format!(
                "  - {path}: {}",
                i["message"].as_str().unwrap_or("?")
            ))
            .into_owned()
        })
        .collect();
    Some(format!(
        "{}\nThe gateway goes on with the last good config. Check: openclaw config check\n",
        lines.join("\n")
    ))
}

fn channels(found: &Found) -> Vec<Vec<String>> {
    let Some(status) = found.answers.get("channels.status") else {
        return vec![vec!["(gateway not reachable)".to_string()]];
    };
    let ids = ids(status);
    if ids.is_empty() {
        return vec![vec!["none configured".to_string()]];
    }
    ids.iter()
        .map(|id| {
            let channel = &status["channels"][id.as_str()];
            let accounts = status["channelAccounts"][id.as_str()].as_array();
            let accounts = accounts.map_or(&[][..], Vec::as_slice);
            let enabled = accounts.iter().any(|a| a["enabled"] != false);
            let running =
                channel["running"] == true || accounts.iter().any(|a| a["running"] == true);
            let probed = accounts.iter().any(|a| a["probe"]["ok"] == false);
            let state = match (enabled, running, probed) {
                (false, ..) => "OFF",
                (true, true, false) => "OK",
                _ => "WARN",
            };
            let detail = match channel["lastError"].as_str() {
                Some(error) => error.to_string(),
                None if probed => "probe failed".to_string(),
                None => match accounts.len() {
                    1 => "1 account".to_string(),
                    n => format!("{n} accounts"),
                },
            };
            let on = if enabled { "ON" } else { "OFF" };
            vec![
                label(status, id).to_string(),
                on.to_string(),
                state.to_string(),
                detail,
            ]
        })
        .collect()
}

fn sessions(found: &Found) -> Vec<Vec<String>> {
    let summary = found.summary();
    let recent = summary["sessions"]["recent"].as_array();
    let rows: Vec<Vec<String>> = recent
        .into_iter()
        .flatten()
        .map(|s| {
            let text = |key: &str| s[key].as_str().unwrap_or("").to_string();
            let used = s["totalTokens"]
                .as_u64()
                .filter(|_| s["totalTokensFresh"] == true);
            let age = s["age"].as_u64().map_or_else(String::new, human::ago);
            let tokens = human::context(used, s["contextTokens"].as_u64());
            vec![text("key"), text("kind"), age, text("model"), tokens]
        })
        .collect();
    match rows.is_empty() {
        true => vec![vec!["no sessions yet".to_string()]],
        false => rows,
    }
}

fn agents(ctx: &Context, found: &Found) -> Vec<Vec<String>> {
    let list = found.agents["agents"].as_array();
    list.into_iter()
        .flatten()
        .map(|a| {
            let bootstrap = match a["bootstrapPending"] == true {
                true => "PRESENT",
                false => "ABSENT",
            };
            let active = a["lastActiveAgeMs"].as_u64();
            let store = std::path::Path::new(a["sessionsPath"].as_str().unwrap_or("?"));
            vec![
                a["id"].as_str().unwrap_or("?").to_string(),
                bootstrap.to_string(),
                a["sessionsCount"].to_string(),
                active.map_or_else(|| "unknown".to_string(), human::ago),
                ctx.locations.shown(store),
            ]
        })
        .collect()
}

fn diagnosis(ctx: &Context, found: &Found) -> String {
    let mut lines = Vec::new();
    if let Some(target) = &found.target {
        lines.push("Gateway connection details:".to_string());
        lines.extend(target.describe().lines().map(|l| format!("  {l}")));
    }
    let (mark, note) = match (ctx.issues(), ctx.config().exists()) {
        ([], true) => ("✓", String::new()),
        ([], false) => ("!", " (missing)".to_string()),
        (issues, _) => (
            "✗",
            format!(" ({} problems: openclaw config check)", issues.len()),
        ),
    };
    lines.push(format!(
        "{mark} Config: {}{note}",
        ctx.locations.config_path.display()
    ));
    for warning in ctx.config().warnings() {
        lines.push(format!("! Config: {warning}"));
    }
    let sentinel = ctx.paths().restart_sentinel();
    lines.push(match sentinel.exists() {
        true => format!("! Restart sentinel: {}", sentinel.display()),
        false => "✓ Restart sentinel: none".to_string(),
    });
    let usage = Usage::of(gateway_port(None, &ctx.config()));
    let answers = found.error.is_none();
    match usage.lines().as_slice() {
        [] => lines.push(format!(
            "{} Port {}: free",
            if answers { "✓" } else { "!" },
            usage.port
        )),
        used => {
            let mark = if answers { "✓" } else { "✗" };
            lines.push(format!("{mark} Port {}", usage.port));
            lines.extend(used.iter().map(|l| format!("  {l}")));
        }
    }
    clean(&(lines.join("\n") + "\n")).into_owned()
}

fn health(t: &Term, found: &Found) -> String {
    let mut rows = Vec::new();
    match found.answers.get("health") {
        None => rows.push(vec!["Gateway".into(), "unreachable".into(), String::new()]),
        Some(health) => {
            let ms = health["durationMs"].as_u64().unwrap_or(0);
            rows.push(vec![
                "Gateway".into(),
                "reachable".into(),
                format!("{ms}ms"),
            ]);
            for line in crate::cli::channels_view::health_lines(health) {
                let (name, state) = line.split_once(": ").unwrap_or((&line, ""));
                let word = if state.starts_with("ok") {
                    "OK"
                } else {
                    "WARN"
                };
                rows.push(vec![name.to_string(), word.to_string(), state.to_string()]);
            }
        }
    }
    t.table(&["Item", "Status", "Detail"], &rows)
}

fn usage(found: &Found) -> String {
    let providers = found
        .answers
        .get("usage.status")
        .and_then(|u| u["providers"].as_array());
    let lines: Vec<String> = providers
        .into_iter()
        .flatten()
        .map(|p| {
            let name = p["displayName"]
                .as_str()
                .or(p["provider"].as_str())
                .unwrap_or("?");
            let windows = p["windows"].as_array();
            let windows: Vec<String> = windows
                .into_iter()
                .flatten()
                .map(|w| {
                    let label = w["label"].as_str().unwrap_or("?");
                    format!(
                        "{label} {:.0}% used",
                        w["usedPercent"].as_f64().unwrap_or(0.0)
                    )
                })
                .collect();
            clean(&format!("{name}: {}", windows.join(" · "))).into_owned()
        })
        .collect();
    match lines.is_empty() {
        true => "Usage: no provider usage available.\n".to_string(),
        false => lines.join("\n") + "\n",
    }
}

fn next_steps(ctx: &Context, found: &Found) -> String {
    let third = match found.error {
        None => "  Need to test channels? openclaw status --deep",
        Some(_) => "  Fix reachability first: openclaw gateway status",
    };
    let text = format!(
        "Next steps:\n  Need to share?      openclaw status --all\n  Need to debug live? openclaw logs --follow\n{third}\n"
    );
    for_profile(&text, ctx.locations.profile.as_deref())
}
