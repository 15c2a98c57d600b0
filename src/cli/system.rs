//! `system`: events for the main session, heartbeats, presence. Always JSON, as scripts expect it.

use serde_json::{Value, json};

use super::context::Context;
use super::failure::Failure;
use super::options::{CONNECT, Command, EXIT_OK, Group, JSON, Opt, val};
use super::parse::Args;
use super::{rpc, term};

const TIMEOUT: &[Opt] =
    &[val("timeout", "ms", "give up after so many milliseconds").default("30000")];
const CALL: &[&[Opt]] = &[JSON, CONNECT, TIMEOUT];

pub static SYSTEM: Command = Command::new(
    "system",
    Group::Control,
    "events for the main session, heartbeats, presence",
);

pub static EVENT: Command = Command {
    options: &[
        &[
            val("text", "text", "what happened").required(),
            val(
                "mode",
                "mode",
                "when the agent hears of it: now or next-heartbeat",
            )
            .default("next-heartbeat"),
        ],
        JSON,
        CONNECT,
        TIMEOUT,
    ],
    run: Some(event),
    ..Command::new(
        "system event",
        Group::Control,
        "tell the main session that something happened",
    )
};

pub static HEARTBEAT: Command = Command::new(
    "system heartbeat",
    Group::Control,
    "see and switch heartbeats",
);

pub static HEARTBEAT_LAST: Command = Command {
    options: CALL,
    run: Some(last),
    ..Command::new(
        "system heartbeat last",
        Group::Control,
        "show the last heartbeat",
    )
};

pub static HEARTBEAT_ENABLE: Command = Command {
    options: CALL,
    run: Some(enable),
    ..Command::new(
        "system heartbeat enable",
        Group::Control,
        "switch heartbeats on",
    )
};

pub static HEARTBEAT_DISABLE: Command = Command {
    options: CALL,
    run: Some(disable),
    ..Command::new(
        "system heartbeat disable",
        Group::Control,
        "switch heartbeats off, until they are enabled again",
    )
};

pub static PRESENCE: Command = Command {
    options: CALL,
    run: Some(presence),
    ..Command::new("system presence", Group::Control, "show who is connected")
};

fn event(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    let mode = args.get("mode").unwrap_or_default();
    if !matches!(mode, "now" | "next-heartbeat") {
        return Err(Failure::new("Error: --mode must be now or next-heartbeat"));
    }
    let text = args.get("text").unwrap_or_default().trim();
    if text.is_empty() {
        return Err(Failure::new("Error: --text must not be empty"));
    }
    let params = json!({"mode": mode, "text": text});
    let answer = rpc::ask(ctx, args, "wake", &params)?;
    match args.flag("json") {
        true => term::json(&answer),
        false => term::say("ok"),
    }
    Ok(EXIT_OK)
}

fn last(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    show(ctx, args, "last-heartbeat", &json!({}))
}

fn enable(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    show(ctx, args, "set-heartbeats", &json!({"enabled": true}))
}

fn disable(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    show(ctx, args, "set-heartbeats", &json!({"enabled": false}))
}

fn presence(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    show(ctx, args, "system-presence", &json!({}))
}

fn show(ctx: &Context, args: &Args, method: &str, params: &Value) -> Result<u8, Failure> {
    term::json(&rpc::ask(ctx, args, method, params)?);
    Ok(EXIT_OK)
}
