//! `nodes`: machines and phones that do things for the gateway: who they are, who may come in.

pub mod run;
pub mod which;

use serde_json::{Value, json};

use super::context::Context;
use super::failure::Failure;
use super::human;
use super::options::{Arg, CONNECT, Command, EXIT_OK, Group, JSON, Opt, TIMEOUT, arg, flag, val};
use super::parse::Args;
use super::rpc::{self, Link};
use super::term::{self, Tone, clean};
use crate::sys::clock;
use which::{title, word};

const CALL: &[&[Opt]] = &[JSON, CONNECT, TIMEOUT];
pub const NODE: Opt = val("node", "node", "id, name or address of the node").required();
const CONNECTED: &[Opt] = &[flag("connected", "only those that are connected")];
const REQUEST: Arg = arg("requestId", "the request");

pub static NODES: Command = Command::new(
    "nodes",
    Group::Control,
    "see paired nodes and run commands on them",
);

pub static STATUS: Command = Command {
    options: &[CONNECTED, JSON, CONNECT, TIMEOUT],
    run: Some(status),
    ..Command::new(
        "nodes status",
        Group::Control,
        "list nodes, whether they are connected, what they can do",
    )
};

pub static LIST: Command = Command {
    options: &[CONNECTED, JSON, CONNECT, TIMEOUT],
    run: Some(list),
    ..Command::new(
        "nodes list",
        Group::Control,
        "list requests for pairing and paired nodes",
    )
};

pub static DESCRIBE: Command = Command {
    options: &[&[NODE], JSON, CONNECT, TIMEOUT],
    run: Some(describe),
    ..Command::new("nodes describe", Group::Control, "show what a node can do")
};

pub static PENDING: Command = Command {
    options: CALL,
    run: Some(pending),
    ..Command::new("nodes pending", Group::Control, "list requests for pairing")
};

pub static APPROVE: Command = Command {
    args: &[REQUEST],
    options: CALL,
    run: Some(approve),
    ..Command::new("nodes approve", Group::Control, "let a node in")
};

pub static REJECT: Command = Command {
    args: &[REQUEST],
    options: CALL,
    run: Some(reject),
    ..Command::new("nodes reject", Group::Control, "turn a node away")
};

pub static RENAME: Command = Command {
    options: &[
        &[NODE, val("name", "name", "its new name").required()],
        JSON,
        CONNECT,
        TIMEOUT,
    ],
    run: Some(rename),
    ..Command::new("nodes rename", Group::Control, "give a node another name")
};

fn words(v: &Value) -> String {
    let list: Vec<&str> = v
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    list.join(", ")
}

fn nodes_of(all: &Value, connected_only: bool) -> Vec<Value> {
    let nodes = all["nodes"].as_array().cloned().unwrap_or_default();
    let wanted = |n: &Value| !connected_only || n["connected"] == true;
    nodes.into_iter().filter(wanted).collect()
}

fn status(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    let all = rpc::ask(ctx, args, "node.list", &json!({}))?;
    let nodes = nodes_of(&all, args.flag("connected"));
    if args.flag("json") {
        term::json(&json!({"ts": all["ts"], "nodes": nodes}));
        return Ok(EXIT_OK);
    }
    let count = |key: &str| nodes.iter().filter(|n| n[key] == true).count();
    term::say(&format!(
        "Known: {} · Paired: {} · Connected: {}",
        nodes.len(),
        count("paired"),
        count("connected")
    ));
    if !nodes.is_empty() {
        let rows: Vec<_> = nodes.iter().map(|n| row(n, clock::now_ms())).collect();
        term::say(
            &ctx.term
                .table(&["Node", "Id", "IP", "Platform", "Status", "Caps"], &rows),
        );
    }
    Ok(EXIT_OK)
}

fn row(n: &Value, now: u64) -> Vec<String> {
    let mut state = Vec::new();
    state.push(
        if n["paired"] == true {
            "paired"
        } else {
            "unpaired"
        }
        .to_string(),
    );
    state.push(
        match (n["connected"] == true, n["connectedAtMs"].as_u64()) {
            (true, Some(at)) => format!("connected ({})", human::ago(now.saturating_sub(at))),
            (true, None) => "connected".to_string(),
            (false, _) => "offline".to_string(),
        },
    );
    let platform = [word(n, "platform"), word(n, "version")].join(" ");
    vec![
        title(n),
        word(n, "nodeId"),
        word(n, "remoteIp"),
        platform.trim().to_string(),
        state.join(" · "),
        words(&n["caps"]),
    ]
}

fn list(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    let mut link = Link::open(ctx, args)?;
    let pairs = link.call("node.pair.list", &json!({}))?;
    let all = link.call("node.list", &json!({}))?;
    link.client.close();
    let pending = pairs["pending"].as_array().cloned().unwrap_or_default();
    let paired: Vec<Value> = nodes_of(&all, args.flag("connected"))
        .into_iter()
        .filter(|n| n["paired"] == true)
        .collect();
    if args.flag("json") {
        term::json(&json!({"pending": pending, "paired": paired}));
        return Ok(EXIT_OK);
    }
    term::say(&format!(
        "Pending: {} · Paired: {}",
        pending.len(),
        paired.len()
    ));
    say_pending(ctx, &pending);
    if !paired.is_empty() {
        let rows: Vec<_> = paired.iter().map(|n| row(n, clock::now_ms())).collect();
        term::say(
            &ctx.term
                .table(&["Node", "Id", "IP", "Platform", "Status", "Caps"], &rows),
        );
    }
    Ok(EXIT_OK)
}

fn say_pending(ctx: &Context, pending: &[Value]) {
    if pending.is_empty() {
        return;
    }
    let now = clock::now_ms();
    let rows: Vec<Vec<String>> = pending
        .iter()
        .map(|r| {
            let age = r["ts"]
                .as_u64()
                .map_or_else(String::new, |at| human::ago(now.saturating_sub(at)));
            let repair = if r["isRepair"] == true { "yes" } else { "" };
            vec![
                word(r, "requestId"),
                title(r),
                word(r, "remoteIp"),
                age,
                repair.to_string(),
            ]
        })
        .collect();
    term::say(&ctx.term.paint(Tone::Heading, "Pending"));
    term::say(
        &ctx.term
            .table(&["Request", "Node", "IP", "Requested", "Repair"], &rows),
    );
}

fn pending(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    let pairs = rpc::ask(ctx, args, "node.pair.list", &json!({}))?;
    let pending = pairs["pending"].as_array().cloned().unwrap_or_default();
    if args.flag("json") {
        term::json(&Value::Array(pending));
    } else if pending.is_empty() {
        term::say("No pending pairing requests.");
    } else {
        say_pending(ctx, &pending);
    }
    Ok(EXIT_OK)
}

fn describe(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    let mut link = Link::open(ctx, args)?;
    let node = which::of(&mut link, args)?;
    let told = link.call("node.describe", &json!({"nodeId": node["nodeId"]}))?;
    link.client.close();
    if args.flag("json") {
        term::json(&told);
        return Ok(EXIT_OK);
    }
    let rows: Vec<Vec<String>> = [
        ("Id", word(&told, "nodeId")),
        ("Name", title(&told)),
        ("IP", word(&told, "remoteIp")),
        ("Platform", word(&told, "platform")),
        ("Version", word(&told, "version")),
        ("Paired", (told["paired"] == true).to_string()),
        ("Connected", (told["connected"] == true).to_string()),
        ("Caps", words(&told["caps"])),
        ("Commands", words(&told["commands"])),
    ]
    .into_iter()
    .map(|(k, v)| vec![k.to_string(), v])
    .collect();
    term::say(&ctx.term.table(&["Field", "Value"], &rows));
    Ok(EXIT_OK)
}

fn approve(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    let params = json!({"requestId": args.word(0)});
    let done = rpc::ask(ctx, args, "node.pair.approve", &params)?;
    match args.flag("json") {
        true => term::json(&done),
        false => term::say(&clean(&format!("Approved {}", title(&done["node"])))),
    }
    Ok(EXIT_OK)
}

fn reject(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    let params = json!({"requestId": args.word(0)});
    let done = rpc::ask(ctx, args, "node.pair.reject", &params)?;
    match args.flag("json") {
        true => term::json(&done),
        false => term::say(&clean(&format!("Rejected {}", word(&done, "nodeId")))),
    }
    Ok(EXIT_OK)
}

fn rename(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    let mut link = Link::open(ctx, args)?;
    let node = which::of(&mut link, args)?;
    let params = json!({"nodeId": node["nodeId"], "displayName": args.given("name")});
    let done = link.call("node.rename", &params)?;
    link.client.close();
    match args.flag("json") {
        true => term::json(&done),
        false => {
            let (id, name) = (word(&done, "nodeId"), word(&done, "displayName"));
            term::say(&clean(&format!("node rename ok: {id} -> {name}")));
        }
    }
    Ok(EXIT_OK)
}
