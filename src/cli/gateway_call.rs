//! `gateway call` and `gateway health`: one request, its answer.

use serde_json::{Value, json};

use super::context::Context;
use super::failure::Failure;
use super::options::{CONNECT, Command, EXIT_OK, Group, JSON, Opt, TIMEOUT, arg, flag, val};
use super::parse::Args;
use super::{rpc, term};
use crate::client::ClientError;

const FINAL: &[Opt] = &[flag(
    "expect-final",
    "wait for the second answer of a call that is accepted first",
)];

pub static CALL: Command = Command {
    args: &[arg(
        "method",
        "name of the method: health, status, config.get, …",
    )],
    options: &[
        &[val("params", "json", "parameters, a JSON object").default("{}")],
        FINAL,
        JSON,
        CONNECT,
        TIMEOUT,
    ],
    examples: &[(
        "openclaw gateway call logs.tail --params '{\"limit\": 5}'",
        "show the last five log lines as the gateway tells them",
    )],
    run: Some(call),
    ..Command::new(
        "gateway call",
        Group::Gateway,
        "call a method of the gateway and print its answer",
    )
};

pub static HEALTH: Command = Command {
    options: &[JSON, CONNECT, TIMEOUT],
    run: Some(health),
    ..Command::new(
        "gateway health",
        Group::Gateway,
        "ask the gateway whether it is well",
    )
};

fn call(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    let method = args.word(0).unwrap_or_default();
    let failed = |why: &str| Failure::new(format!("Gateway call failed: {why}"));
    let params: Value = serde_json::from_str(args.get("params").unwrap_or("{}"))
        .map_err(|e| failed(&format!("--params is not JSON: {e}")))?;
    let target = rpc::target(ctx, &rpc::wanted(args))?;
    let timeout = rpc::timeout(args)?;
    let say = |e: ClientError| match &e {
        ClientError::Failed(answer) => failed(&format!("Error: {}", answer.message)),
        _ => Failure::new(rpc::report(&target, &e, "Gateway call failed: Error: ", "")),
    };
    let mut client = rpc::connect(&target, timeout).map_err(say)?;
    let answer = match args.flag("expect-final") {
        true => client.call_final(method, &params, timeout),
        false => client.call(method, &params, timeout),
    };
    let answer = answer.map_err(say)?;
    client.close();
    if !args.flag("json") {
        term::say(&format!("Gateway call: {}", term::clean(method)));
    }
    term::json(&answer);
    Ok(EXIT_OK)
}

fn health(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    let health = rpc::ask(ctx, args, "health", &json!({}))?;
    if args.flag("json") {
        term::json(&health);
        return Ok(EXIT_OK);
    }
    let ms = health["durationMs"].as_u64().unwrap_or(0);
    term::say(&ctx.term.paint(term::Tone::Heading, "Gateway Health"));
    term::say(&format!(
        "{} ({ms}ms)",
        ctx.term.paint(term::Tone::Good, "OK")
    ));
    for line in super::channels_view::health_lines(&health) {
        term::say(&line);
    }
    Ok(EXIT_OK)
}
