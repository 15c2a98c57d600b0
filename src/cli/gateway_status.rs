//! `gateway status`: does it run, does it answer, and on which config; what is in the way when it does not.

mod report;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::context::Context;
use super::failure::Failure;
use super::options::{CONNECT, Command, EXIT_FAILED, EXIT_OK, Group, JSON, TIMEOUT, flag};
use super::parse::Args;
use super::ports::Usage;
use super::{dashboard, rpc, term};
use crate::client::{Client, ClientError, Source, Target, TargetError};
use crate::config::gateway_port;
use crate::state::exit_reason;
use report::{Probe, Report, Runtime};

/// The gateway does not run.
const EXIT_STOPPED: u8 = 3;

pub static STATUS: Command = Command {
    options: &[
        &[
            flag(
                "deep",
                "also version, uptime, channels, and who holds the port",
            ),
            flag("no-probe", "do not connect: say only what runs"),
        ],
        JSON,
        CONNECT,
        TIMEOUT,
    ],
    exits: &[
        (EXIT_OK, "the gateway runs and answers"),
        (
            EXIT_FAILED,
            "the gateway runs, but does not answer or refuses",
        ),
        (EXIT_STOPPED, "the gateway does not run"),
    ],
    examples: &[(
        "openclaw gateway status --deep",
        "everything about the gateway of this machine",
    )],
    run: Some(run),
    ..Command::new(
        "gateway status",
        Group::Gateway,
        "show whether the gateway runs and answers",
    )
};

fn run(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    let report = gather(ctx, args)?;
    match args.flag("json") {
        true => term::json(&report.to_value()),
        false => report.say(&ctx.term),
    }
    Ok(match (&report.probe, &report.runtime) {
        (Probe::Ok(_), _) | (Probe::Skipped, Runtime::Running { .. }) => EXIT_OK,
        (Probe::Failed(_), Runtime::Running { .. } | Runtime::Remote) => EXIT_FAILED,
        _ => EXIT_STOPPED,
    })
}

fn gather(ctx: &Context, args: &Args) -> Result<Report, Failure> {
    let config = ctx.config();
    let timeout = rpc::timeout(args)?;
    let wanted = rpc::wanted(args);
    let port = gateway_port(None, &config);
    let target = match Target::resolve(&config, &wanted) {
        Ok(target) => target,
        // A remote gateway without an address: what is on this machine can still be told.
        Err(TargetError::NoRemoteUrl) => {
            Target::local(&config, port, &wanted).map_err(|e| rpc::no_target(ctx, &e))?
        }
        Err(e) => return Err(rpc::no_target(ctx, &e)),
    };
    let probe = match args.flag("no-probe") {
        true => Probe::Skipped,
        false => probe(&target, timeout, args.flag("deep")),
    };
    let usage = Usage::of(port);
    let runtime = match (target.source, &probe) {
        (Source::Remote, _) => Runtime::Remote,
        (_, probe) => Runtime::of(&usage, matches!(probe, Probe::Ok(_))),
    };
    let down = matches!(runtime, Runtime::Stopped { .. });
    Ok(Report {
        last_exit: match down {
            true => exit_reason::last(&ctx.paths()),
            false => None,
        },
        log_file: report::log_file(&config),
        shown_config: ctx.locations.shown(config.path()),
        config_path: config.path().to_path_buf(),
        config_exists: config.exists(),
        issues: ctx.issues().to_vec(),
        bind: config.str("gateway.bind").unwrap_or("loopback").to_string(),
        host: report::bind_host(&config),
        dashboard: dashboard::url(&config, port),
        profile: ctx.locations.profile.clone(),
        deep: args.flag("deep"),
        target,
        probe,
        usage,
        runtime,
    })
}

/// Connects, asks for health, and with `deep` for what only the gateway knows.
fn probe(target: &Target, timeout: Duration, deep: bool) -> Probe {
    let started = Instant::now();
    let ask = || -> Result<Value, ClientError> {
        let mut about = target.operator();
        about.mode = "probe";
        about.timeout = timeout;
        let mut client = Client::connect(&target.address, &about)?;
        let connect_ms = started.elapsed().as_millis() as u64;
        let left = timeout.saturating_sub(started.elapsed());
        let health = client.call("health", &json!({"probe": deep}), left)?;
        let hello = client.hello();
        let answer = json!({
            "connectMs": connect_ms, "totalMs": started.elapsed().as_millis() as u64,
            "version": hello["server"]["version"], "snapshot": hello["snapshot"], "health": health,
        });
        client.close();
        Ok(answer)
    };
    match ask() {
        Ok(answer) => Probe::Ok(answer),
        Err(e) => Probe::Failed(e),
    }
}
