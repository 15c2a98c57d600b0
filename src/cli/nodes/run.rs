//! `nodes invoke` and `nodes run`: have a node do something.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::NODE;
use super::which;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::options::{Arg, CONNECT, Command, EXIT_FAILED, EXIT_OK, Group, JSON, TIMEOUT, val};
use crate::cli::parse::Args;
use crate::cli::rpc::{self, Link};
use crate::cli::term::{self, clean};
use crate::client::{ClientError, idempotency_key};
use crate::nodes::run::shown;

/// What a node says when somebody has to approve a command first.
const NEEDS_APPROVAL: &str = "approval required";
/// How long one waits for somebody to approve a command.
const APPROVAL_WAIT: Duration = Duration::from_secs(120);
/// What the gateway gets beyond a node's own time to answer.
const GRACE: Duration = Duration::from_secs(5);

pub static INVOKE: Command = Command {
    options: &[
        &[
            NODE,
            val(
                "command",
                "command",
                "what to invoke: system.which, camera.snap, …",
            )
            .required(),
            val("params", "json", "parameters, a JSON object").default("{}"),
            val("invoke-timeout", "ms", "how long the node may take").default("15000"),
            val(
                "idempotency-key",
                "key",
                "the same key is carried out once (else a new one)",
            ),
        ],
        JSON,
        CONNECT,
        TIMEOUT,
    ],
    run: Some(invoke),
    ..Command::new(
        "nodes invoke",
        Group::Control,
        "invoke a command of a node and print its answer",
    )
};

pub static RUN: Command = Command {
    args: &[Arg {
        name: "command",
        required: false,
        many: true,
        about: "program and arguments; put -- in front",
    }],
    options: &[
        &[
            NODE,
            val(
                "raw",
                "script",
                "a shell script instead of program and arguments",
            ),
            val("cwd", "folder", "working folder on the node"),
            val("env", "NAME=VALUE", "a variable for the command").many(),
            val("agent", "id", "the agent whose rules apply"),
            val("command-timeout", "ms", "how long the command may take"),
            val("invoke-timeout", "ms", "how long the node may take").default("30000"),
        ],
        JSON,
        CONNECT,
        TIMEOUT,
    ],
    examples: &[(
        "openclaw nodes run --node attic -- uptime",
        "run a program on the node \"attic\"",
    )],
    run: Some(run),
    ..Command::new(
        "nodes run",
        Group::Control,
        "run a program on a node; its exit status is the answer",
    )
};

fn invoke(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    let text = args.get("params").unwrap_or("{}");
    let params: Value = serde_json::from_str(text)
        .map_err(|e| Failure::new(format!("Error: --params is not JSON: {e}")))?;
    let command = args.given("command").unwrap_or_default();
    let mut link = Link::open(ctx, args)?;
    let node = which::of(&mut link, args)?;
    let key = args.given("idempotency-key").map(str::to_string);
    let asked = json!({
        "nodeId": node["nodeId"], "command": command, "params": params,
        "timeoutMs": args.positive("invoke-timeout")?,
        "idempotencyKey": key.unwrap_or_else(idempotency_key),
    });
    link.timeout = link.timeout.max(node_time(args)? + GRACE);
    let answer = link.call("node.invoke", &asked)?;
    link.client.close();
    term::json(&answer);
    Ok(EXIT_OK)
}

fn node_time(args: &Args) -> Result<Duration, Failure> {
    Ok(Duration::from_millis(
        args.positive("invoke-timeout")?.unwrap_or(0),
    ))
}

fn run(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    let argv = argv(args)?;
    let mut params = json!({"command": argv, "timeoutMs": args.positive("command-timeout")?});
    for (long, key) in [("cwd", "cwd"), ("agent", "agentId"), ("raw", "rawCommand")] {
        if let Some(value) = args.given(long) {
            params[key] = value.into();
        }
    }
    let env = variables(args.all("env"))?;
    if !env.is_empty() {
        params["env"] = Value::Object(env);
    }
    let mut link = Link::open(ctx, args)?;
    let node = which::of(&mut link, args)?;
    link.timeout = link.timeout.max(node_time(args)? + GRACE);
    let time = args.positive("invoke-timeout")?;
    let ask = |params: &Value| {
        json!({
            "nodeId": node["nodeId"], "command": "system.run", "params": params,
            "timeoutMs": time, "idempotencyKey": idempotency_key(),
        })
    };
    let first = link.client.call("node.invoke", &ask(&params), link.timeout);
    let answer = match first {
        Err(ClientError::Failed(e)) if e.message.contains(NEEDS_APPROVAL) => {
            term::warn(
                "The node wants an approval for this command; waiting for somebody to decide.",
            );
            let id = approval(&mut link, &node, &argv, &params)?;
            params["approved"] = true.into();
            params["runId"] = id.into();
            link.call("node.invoke", &ask(&params))?
        }
        first => first.map_err(|e| rpc::failure(&link.target, &e))?,
    };
    link.client.close();
    if args.flag("json") {
        term::json(&answer);
        return Ok(EXIT_OK);
    }
    Ok(told(&answer["payload"]))
}

/// Program and arguments, or the shell for `--raw`.
fn argv(args: &Args) -> Result<Vec<String>, Failure> {
    match (args.given("raw"), args.words()) {
        (Some(_), [_, ..]) => Err(Failure::new("Error: use --raw or a program, not both")),
        (Some(raw), []) => Ok(["sh", "-lc", raw].map(str::to_string).to_vec()),
        (None, []) => Err(Failure::new("Error: command required")),
        (None, words) => Ok(words.to_vec()),
    }
}

fn variables(pairs: &[String]) -> Result<Map<String, Value>, Failure> {
    pairs
        .iter()
        .map(|p| match p.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok((name.to_string(), value.into())),
            _ => Err(Failure::new(format!("Error: --env {p} is not NAME=VALUE"))),
        })
        .collect()
}

/// Asks for an approval of exactly this command and waits; its id when it was given.
fn approval(
    link: &mut Link,
    node: &Value,
    argv: &[String],
    params: &Value,
) -> Result<String, Failure> {
    let id = idempotency_key();
    let asked = json!({
        "id": id, "command": shown(argv), "cwd": params["cwd"], "nodeId": node["nodeId"],
        "host": "node", "agentId": params["agentId"], "timeoutMs": APPROVAL_WAIT.as_millis() as u64,
    });
    let wait = APPROVAL_WAIT + GRACE;
    let decided = link
        .client
        .call_final("exec.approval.request", &asked, wait)
        .map_err(|e| rpc::failure(&link.target, &e))?;
    match decided["decision"].as_str() {
        Some("allow-once" | "allow-always") => Ok(id),
        Some(_) => Err(Failure::new("exec denied: user denied")),
        None => Err(Failure::new(
            "exec denied: approval required (nobody decided in time)",
        )),
    }
}

/// Passes on what the command wrote; its exit status.
fn told(payload: &Value) -> u8 {
    for (key, to) in [("stdout", term::say as fn(&str)), ("stderr", term::warn)] {
        if let Some(text) = payload[key].as_str().filter(|t| !t.is_empty()) {
            to(&clean(text));
        }
    }
    if payload["timedOut"] == true {
        term::warn("run timed out");
        return EXIT_FAILED;
    }
    match payload["exitCode"].as_i64() {
        Some(code) => u8::try_from(code).unwrap_or(EXIT_FAILED),
        None if payload["success"] == true => EXIT_OK,
        None => EXIT_FAILED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_status_is_that_of_the_command() {
        assert_eq!(told(&json!({"exitCode": 3, "success": false})), 3);
        assert_eq!(told(&json!({"exitCode": -9})), EXIT_FAILED);
        assert_eq!(told(&json!({"success": true})), EXIT_OK);
        assert_eq!(told(&json!({"timedOut": true, "exitCode": 0})), EXIT_FAILED);
        assert_eq!(told(&Value::Null), EXIT_FAILED);
    }

    #[test]
    fn variables_have_a_name() {
        assert_eq!(variables(&["A=b=c".into()]).unwrap()["A"], "b=c");
        assert!(variables(&["A".into()]).is_err() && variables(&["=x".into()]).is_err());
    }
}
