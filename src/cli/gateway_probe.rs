//! `gateway probe`: every gateway that this installation may mean, each asked within a budget.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::context::Context;
use super::failure::Failure;
use super::options::{CONNECT, Command, EXIT_FAILED, EXIT_OK, Group, JSON, val};
use super::parse::Args;
use super::rpc;
use super::term::{self, Term, Tone, clean};
use crate::client::{Client, ClientError, Source, Target, TargetError};
use crate::config::gateway_port;
use crate::sys::{clock, net};

pub static PROBE: Command = Command {
    options: &[
        JSON,
        CONNECT,
        &[val("timeout", "ms", "for all of them together").default("3000")],
    ],
    exits: &[(EXIT_FAILED, "no gateway answers")],
    run: Some(run),
    ..Command::new(
        "gateway probe",
        Group::Gateway,
        "ask every gateway that may be meant: --url, the configured remote one, this machine's",
    )
};

/// A gateway that was asked.
struct Asked {
    id: &'static str,
    title: &'static str,
    target: Target,
    /// Whether commands would talk to this one.
    active: bool,
    connect_ms: Option<u64>,
    /// Answers, or why there are none.
    answer: Result<Value, ClientError>,
}

fn run(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    let started = Instant::now();
    let budget = rpc::timeout(args)?;
    let targets = targets(ctx, args)?;
    // Side by side: a dead one must not eat the time of the others.
    let asked: Vec<Asked> = std::thread::scope(|scope| {
        let threads: Vec<_> = targets
            .into_iter()
            .map(|(id, title, target, active)| {
                scope.spawn(move || ask(id, title, target, active, budget))
            })
            .collect();
        threads.into_iter().filter_map(|t| t.join().ok()).collect()
    });
    let ok = asked.iter().any(|a| a.answer.is_ok());
    match args.flag("json") {
        true => term::json(&to_value(ctx, &asked, budget, started)),
        false => say(ctx, &asked, budget),
    }
    Ok(if ok { EXIT_OK } else { EXIT_FAILED })
}

type Wanted = (&'static str, &'static str, Target, bool);

fn targets(ctx: &Context, args: &Args) -> Result<Vec<Wanted>, Failure> {
    let config = ctx.config();
    let wanted = rpc::wanted(args);
    let mut all: Vec<Wanted> = Vec::new();
    match Target::resolve(&config, &wanted) {
        Ok(target) => match target.source {
            Source::Flag => all.push(("explicit", "URL (explicit)", target, true)),
            Source::Remote => all.push(("configRemote", "Remote (configured)", target, true)),
            Source::Local => {}
        },
        Err(TargetError::NoRemoteUrl) => {}
        Err(e) => return Err(rpc::no_target(ctx, &e)),
    }
    let port = gateway_port(None, &config);
    let own = crate::client::Wanted {
        url: None,
        ..wanted
    };
    let local = Target::local(&config, port, &own).map_err(|e| rpc::no_target(ctx, &e))?;
    if !all
        .iter()
        .any(|(_, _, t, _)| t.address.url == local.address.url)
    {
        let active = all.is_empty();
        all.push(("localLoopback", "Local loopback", local, active));
    }
    Ok(all)
}

fn ask(
    id: &'static str,
    title: &'static str,
    target: Target,
    active: bool,
    budget: Duration,
) -> Asked {
    let until = Instant::now() + budget;
    let started = Instant::now();
    let left = || until.saturating_duration_since(Instant::now());
    let mut connect_ms = None;
    let mut about = target.operator();
    about.mode = "probe";
    about.timeout = budget;
    let answer = Client::connect(&target.address, &about).and_then(|mut client| {
        connect_ms = Some(started.elapsed().as_millis() as u64);
        let hello = client.hello().clone();
        let health = client.call("health", &json!({}), left())?;
        let status = client.call("status", &json!({}), left())?;
        let config = client.call("config.get", &json!({}), left())?;
        client.close();
        Ok(json!({"hello": hello, "health": health, "status": status, "config": config}))
    });
    Asked {
        id,
        title,
        target,
        active,
        connect_ms,
        answer,
    }
}

/// What a gateway's config says about reaching it; no secrets.
fn config_summary(got: &Value) -> Value {
    let gateway = &got["config"]["gateway"];
    let given = |v: &Value| v.as_str().is_some_and(|s| !s.is_empty());
    json!({
        "path": got["path"], "exists": got["exists"], "valid": got["valid"],
        "issues": got["issues"], "legacyIssues": got["legacyIssues"],
        "gateway": {
            "mode": gateway["mode"], "bind": gateway["bind"], "port": gateway["port"],
            "controlUiEnabled": gateway["controlUi"]["enabled"],
            "controlUiBasePath": gateway["controlUi"]["basePath"],
            "authMode": gateway["auth"]["mode"],
            "authTokenConfigured": given(&gateway["auth"]["token"]),
            "authPasswordConfigured": given(&gateway["auth"]["password"]),
            "remoteUrl": gateway["remote"]["url"],
            "remoteTokenConfigured": given(&gateway["remote"]["token"]),
            "remotePasswordConfigured": given(&gateway["remote"]["password"]),
            "tailscaleMode": gateway["tailscale"]["mode"],
        },
        "discovery": {"wideAreaEnabled": got["config"]["discovery"]["wideArea"]["enabled"]},
    })
}

fn to_value(ctx: &Context, asked: &[Asked], budget: Duration, started: Instant) -> Value {
    let port = gateway_port(None, &ctx.config());
    let tailnet = net::tailnet_address();
    let targets: Vec<Value> = asked.iter().map(target_value).collect();
    let primary = asked
        .iter()
        .find(|a| a.active && a.answer.is_ok())
        .or_else(|| asked.iter().find(|a| a.answer.is_ok()));
    let mut warnings = Vec::new();
    if asked.iter().filter(|a| a.answer.is_ok()).count() > 1 {
        warnings.push("several gateways answer; one is enough for most setups".to_string());
    }
    json!({
        "ok": primary.is_some(), "ts": clock::now_ms(),
        "durationMs": started.elapsed().as_millis() as u64, "timeoutMs": budget.as_millis() as u64,
        "primaryTargetId": primary.map(|a| a.id), "warnings": warnings,
        "network": {
            "localLoopbackUrl": format!("ws://127.0.0.1:{port}"),
            "localTailnetUrl": tailnet.map(|ip| format!("ws://{ip}:{port}")),
            "tailnetIPv4": tailnet.map(|ip| ip.to_string()),
        },
        "discovery": {"timeoutMs": 0, "count": 0, "beacons": []},
        "targets": targets,
    })
}

fn target_value(a: &Asked) -> Value {
    let mut v = json!({
        "id": a.id, "kind": a.id, "url": a.target.address.url, "active": a.active, "tunnel": null,
        "connect": {"ok": a.connect_ms.is_some(), "latencyMs": a.connect_ms, "error": null, "close": null},
        "self": null, "config": null, "health": null, "summary": null, "presence": null,
    });
    match &a.answer {
        Ok(answer) => {
            v["self"] = rpc::own_presence(&answer["hello"]);
            v["config"] = config_summary(&answer["config"]);
            v["health"] = answer["health"].clone();
            v["summary"] = answer["status"].clone();
            v["presence"] = answer["hello"]["snapshot"]["presence"].clone();
        }
        Err(e) => {
            v["connect"]["error"] = e.to_string().into();
            v["connect"]["close"] = match e {
                ClientError::Closed { code, reason } => json!({"code": code, "reason": reason}),
                ClientError::Rejected { answer, close } => {
                    json!({"code": close, "reason": answer.message})
                }
                _ => Value::Null,
            };
        }
    }
    v
}

fn say(ctx: &Context, asked: &[Asked], budget: Duration) {
    let t = &ctx.term;
    let ok = asked.iter().any(|a| a.answer.is_ok());
    let reachable = match ok {
        true => t.paint(Tone::Good, "yes"),
        false => t.paint(Tone::Bad, "no"),
    };
    let mut lines = vec![
        t.paint(Tone::Heading, "Gateway Status"),
        format!("Reachable: {reachable}"),
        format!("Probe budget: {}ms", budget.as_millis()),
        String::new(),
        t.paint(Tone::Heading, "Targets"),
    ];
    for a in asked {
        let active = if a.active { "" } else { " (inactive)" };
        lines.push(format!(
            "{} {}{active}",
            a.title,
            clean(&a.target.address.url)
        ));
        lines.extend(outcome(t, a));
        lines.push(String::new());
    }
    term::say(&lines.join("\n"));
}

/// How one gateway answered.
fn outcome(t: &Term, a: &Asked) -> Vec<String> {
    let (good, bad) = (t.paint(Tone::Good, "ok"), t.paint(Tone::Bad, "failed"));
    let ms = a.connect_ms.unwrap_or(0);
    match &a.answer {
        Ok(answer) => {
            let own = rpc::own_presence(&answer["hello"]);
            let text = |key: &str| own[key].as_str().unwrap_or("unknown").to_string();
            let gateway = format!(
                "  Gateway: {} ({}) · {} · app {}",
                text("host"),
                text("ip"),
                text("platform"),
                text("version")
            );
            vec![
                format!("  Connect: {good} ({ms}ms) · RPC: {good}"),
                clean(&gateway).into_owned(),
            ]
        }
        Err(e) => {
            let why = e.to_string();
            let why = clean(&why);
            let mut lines = vec![match a.connect_ms {
                Some(ms) => format!("  Connect: {good} ({ms}ms) · RPC: {bad} - {why}"),
                None => format!("  Connect: {bad} - {why}"),
            }];
            let profile = a.target.profile.as_deref();
            lines.extend(
                e.fix()
                    .map(|fix| format!("  Fix: {}", rpc::for_profile(fix, profile))),
            );
            lines
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::parse::{Parsed, parse};
    use crate::config::testing::Folder;

    #[test]
    fn every_gateway_that_may_be_meant_is_asked_and_the_dead_are_named() {
        let free = || {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        };
        let (here, there) = (free(), free());
        let dir = Folder::new();
        dir.write(
            "openclaw.json",
            &format!(
                "{{gateway: {{mode: 'remote', port: {here}, remote: {{url: 'ws://127.0.0.1:{there}'}}}}}}"
            ),
        );
        let ctx = Context::of(dir.locations(&[]));
        let words = ["gateway", "probe", "--json"].map(Into::into);
        let Ok((_, Parsed::Run(_, args))) = parse(words) else {
            panic!();
        };
        let ids: Vec<_> = targets(&ctx, &args)
            .unwrap()
            .into_iter()
            .map(|t| (t.0, t.3))
            .collect();
        assert_eq!(ids, [("configRemote", true), ("localLoopback", false)]);
        assert_eq!(run(&ctx, &args).unwrap(), EXIT_FAILED);
        let target = Target::resolve(&ctx.config(), &rpc::wanted(&args)).unwrap();
        let asked = ask(
            "configRemote",
            "Remote",
            target,
            true,
            Duration::from_secs(3),
        );
        let v = target_value(&asked);
        assert_eq!(v["connect"]["ok"], false);
        assert!(
            v["connect"]["error"]
                .as_str()
                .unwrap()
                .contains("ECONNREFUSED")
        );
        assert!(outcome(&Term::plain(), &asked)[1].contains("Fix: start it"));
    }

    #[test]
    fn the_config_summary_tells_no_secret() {
        let got = json!({"config": {"gateway": {"auth": {"mode": "token", "token": "s3cret"}}}});
        let v = config_summary(&got);
        assert_eq!(v["gateway"]["authTokenConfigured"], true);
        assert!(!v.to_string().contains("s3cret"));
    }
}
