//! `agent`: one turn of an agent, run by the gateway and by nothing else.

use std::time::Duration;

use serde_json::{Value, json};

use super::context::Context;
use super::failure::Failure;
use super::options::{CONNECT, Command, EXIT_OK, Group, JSON, flag, val};
use super::parse::Args;
use super::term::{Tone, clean};
use super::{rpc, term};
use crate::client::idempotency_key;

/// How long a run may take when neither the command line nor the config says.
const DEFAULT_SECONDS: u64 = 600;
/// What the gateway gets beyond that to answer that it took too long.
const GRACE: Duration = Duration::from_secs(30);
/// The levels that `--thinking` takes.
const THINKING: [&str; 6] = ["off", "minimal", "low", "medium", "high", "xhigh"];

pub static AGENT: Command = Command {
    options: &[
        &[
            val("message", "text", "what to say to the agent")
                .short('m')
                .required(),
            val(
                "agent",
                "id",
                "which agent (else by session, or the default one)",
            ),
            val("session-id", "id", "go on with the session of that id"),
            val(
                "to",
                "number",
                "a person's number or id, from which the session follows",
            )
            .short('t'),
            val(
                "thinking",
                "level",
                "off, minimal, low, medium, high, xhigh",
            ),
            val(
                "timeout",
                "seconds",
                "how long the run may take (else agents.defaults.timeoutSeconds, 600)",
            ),
            flag("deliver", "send the reply to the session's channel as well"),
            val(
                "channel",
                "channel",
                "channel of the session and of the delivery",
            ),
            val(
                "reply-channel",
                "channel",
                "deliver through this channel instead",
            ),
            val("reply-to", "target", "deliver to this target instead"),
            val(
                "reply-account",
                "id",
                "deliver through this account instead",
            ),
        ],
        JSON,
        CONNECT,
    ],
    examples: &[
        (
            "openclaw agent --message hi",
            "say hi to the default agent and print its reply",
        ),
        (
            "openclaw agent --agent ops -m 'status?' --json",
            "the same as JSON, with model and usage",
        ),
    ],
    run: Some(run),
    ..Command::new(
        "agent",
        Group::Agents,
        "run one turn of an agent through the gateway",
    )
};

fn run(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    let message = args.get("message").unwrap_or_default().trim();
    if message.is_empty() {
        return Err(Failure::new("Error: --message must not be empty"));
    }
    let seconds = match args.positive("timeout")? {
        Some(seconds) => seconds,
        None => ctx
            .config()
            .u64("agents.defaults.timeoutSeconds", DEFAULT_SECONDS),
    };
    let mut params = params(args, message, seconds)?;
    let target = rpc::target(ctx, &rpc::wanted(args))?;
    let failed = |e| rpc::failure(&target, &e);
    let wait = Duration::from_secs(seconds).saturating_add(GRACE);
    let mut client = rpc::connect(&target, Duration::from_secs(10)).map_err(failed)?;
    // Whoever names nobody means the default agent; a gateway would refuse to choose.
    if ["agent", "session-id", "to"]
        .iter()
        .all(|long| args.given(long).is_none())
    {
        let defaults = &client.hello()["snapshot"]["sessionDefaults"];
        params["agentId"] = defaults["defaultAgentId"].as_str().unwrap_or("main").into();
    }
    let answer = client.call_final("agent", &params, wait).map_err(failed)?;
    client.close();
    if args.flag("json") {
        term::json(&answer);
        return Ok(EXIT_OK);
    }
    let replies = replies(&answer);
    match replies.is_empty() {
        true => term::warn(&ctx.term.paint(Tone::Muted, "No reply from agent.")),
        false => term::say(&clean(&replies.join("\n"))),
    }
    Ok(EXIT_OK)
}

fn params(args: &Args, message: &str, seconds: u64) -> Result<Value, Failure> {
    let mut params = json!({
        "message": message, "idempotencyKey": idempotency_key(), "timeout": seconds,
    });
    for (long, key) in [
        ("agent", "agentId"),
        ("session-id", "sessionId"),
        ("to", "to"),
        ("thinking", "thinking"),
        ("channel", "channel"),
        ("reply-channel", "replyChannel"),
        ("reply-to", "replyTo"),
        ("reply-account", "replyAccountId"),
    ] {
        if let Some(value) = args.given(long) {
            params[key] = value.into();
        }
    }
    if args.flag("deliver") {
        params["deliver"] = true.into();
    }
    if let Some(level) = args.given("thinking")
        && !THINKING.contains(&level)
    {
        let levels = THINKING.join(", ");
        return Err(Failure::new(format!(
            "Error: Invalid thinking level. Use one of: {levels}."
        )));
    }
    Ok(params)
}

/// The texts of a final answer, with links to what else came.
fn replies(answer: &Value) -> Vec<String> {
    let payloads = answer["result"]["payloads"].as_array();
    let mut lines = Vec::new();
    for p in payloads.into_iter().flatten() {
        if let Some(text) = p["text"].as_str().filter(|t| !t.trim().is_empty()) {
            lines.push(text.trim_end().to_string());
        }
        let many = p["mediaUrls"].as_array().into_iter().flatten();
        for url in many.chain([&p["mediaUrl"]]).filter_map(Value::as_str) {
            lines.push(format!("MEDIA:{url}"));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_texts_and_links() {
        let answer = json!({"result": {"payloads": [
            {"text": "hello\n", "mediaUrl": null},
            {"text": "", "mediaUrl": "file:///a.png"},
        ]}});
        assert_eq!(replies(&answer), ["hello", "MEDIA:file:///a.png"]);
        assert!(replies(&json!({"status": "ok"})).is_empty());
    }
}
