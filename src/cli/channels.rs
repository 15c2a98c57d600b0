//! `channels`: which channels there are and how they are.

use serde_json::{Map, Value, json};

use super::channels_view::{account_lines, configured};
use super::context::Context;
use super::failure::Failure;
use super::options::{Command, EXIT_OK, Group, JSON, TIMEOUT, flag};
use super::parse::Args;
use super::term::{Tone, clean};
use super::{rpc, term};
use crate::client::Wanted;
use crate::sys::clock;

pub static CHANNELS: Command = Command::new(
    "channels",
    Group::Control,
    "see the chat channels and their accounts",
);

pub static STATUS: Command = Command {
    options: &[
        &[flag(
            "probe",
            "ask each channel's server whether the credentials work",
        )],
        JSON,
        TIMEOUT,
    ],
    run: Some(status),
    ..Command::new(
        "channels status",
        Group::Control,
        "show the gateway's channels and whether they run",
    )
};

pub static LIST: Command = Command {
    options: &[JSON],
    run: Some(list),
    ..Command::new(
        "channels list",
        Group::Control,
        "list the channels in the config file",
    )
};

fn status(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    let probe = args.flag("probe");
    let timeout = rpc::timeout(args)?;
    let target = rpc::target(ctx, &Wanted::default())?;
    let params = json!({"probe": probe, "timeoutMs": timeout.as_millis() as u64});
    let asked = rpc::connect(&target, timeout).and_then(|mut client| {
        let answer = client.call("channels.status", &params, timeout);
        client.close();
        answer
    });
    let json = args.flag("json");
    match asked {
        Ok(answer) if json => term::json(&answer),
        Ok(answer) => {
            term::say(&ctx.term.paint(Tone::Good, "Gateway reachable."));
            for line in account_lines(&answer, clock::now_ms()) {
                term::say(&line);
            }
        }
        Err(e) => {
            term::warn(&clean(&rpc::report(
                &target,
                &e,
                "Gateway not reachable: Error: ",
                "",
            )));
            let config = ctx.config();
            match json {
                true => term::json(&json!({
                    "gatewayReachable": false, "error": e.to_string(), "configured": configured(&config),
                })),
                false => {
                    term::say("Gateway not reachable; showing config-only status.");
                    term::say(&format!("Config: {}", ctx.locations.config_path.display()));
                    term::say(&format!(
                        "Mode: {}",
                        config.str("gateway.mode").unwrap_or("unset")
                    ));
                    say_configured(&configured(&config));
                }
            }
        }
    }
    Ok(EXIT_OK)
}

fn list(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    let channels = configured(&ctx.config());
    if args.flag("json") {
        let chat: Map<String, Value> = channels
            .iter()
            .map(|c| (c.id.clone(), json!(c.accounts)))
            .collect();
        let usage = json!({"updatedAt": clock::now_ms(), "providers": []});
        term::json(&json!({"chat": chat, "auth": [], "usage": usage}));
        return Ok(EXIT_OK);
    }
    term::say(&ctx.term.paint(Tone::Heading, "Chat channels:"));
    match channels.is_empty() {
        true => term::say("- none"),
        false => say_configured(&channels),
    }
    Ok(EXIT_OK)
}

fn say_configured(channels: &[super::channels_view::Configured]) {
    for c in channels {
        let state = if c.enabled { "enabled" } else { "disabled" };
        for account in &c.accounts {
            term::say(&clean(&format!(
                "- {} {account}: configured, {state}",
                c.id
            )));
        }
    }
}
