//! `approvals`: what agents may execute, on this machine, on the gateway's, or on a node.

use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::context::Context;
use super::failure::Failure;
use super::human;
use super::nodes::which;
use super::options::{CONNECT, Command, EXIT_OK, Group, JSON, Opt, TIMEOUT, arg, flag, val};
use super::parse::Args;
use super::rpc::Link;
use super::term::{self, Tone, clean};
use crate::state::approvals::{MAX_FILE, Store};
use crate::sys::{clock, file, id};

/// The agent whose entries hold for all.
const EVERYBODY: &str = "*";

const WHERE: &[Opt] = &[
    flag(
        "gateway",
        "those of the gateway, through it (else the file of this machine)",
    ),
    val("node", "node", "those of this node, through the gateway"),
];

pub static APPROVALS: Command = Command {
    aliases: &["exec-approvals"],
    ..Command::new(
        "approvals",
        Group::Control,
        "see and change what agents may execute",
    )
};

pub static GET: Command = Command {
    options: &[WHERE, JSON, CONNECT, TIMEOUT],
    run: Some(get),
    ..Command::new(
        "approvals get",
        Group::Control,
        "show what agents may execute",
    )
};

pub static SET: Command = Command {
    options: &[
        WHERE,
        &[
            val("file", "path", "take the new approvals from this JSON file"),
            flag("stdin", "take them from stdin"),
        ],
        JSON,
        CONNECT,
        TIMEOUT,
    ],
    run: Some(set),
    ..Command::new(
        "approvals set",
        Group::Control,
        "replace the approvals by a JSON file",
    )
};

pub static ALLOWLIST: Command = Command::new(
    "approvals allowlist",
    Group::Control,
    "change which programs an agent may execute unasked",
);

const AGENT: &[Opt] = &[val("agent", "id", "for this agent (else for all)")];

pub static ALLOW: Command = Command {
    args: &[arg(
        "pattern",
        "path of a program; * and ? stand for anything",
    )],
    options: &[AGENT, WHERE, JSON, CONNECT, TIMEOUT],
    examples: &[(
        "openclaw approvals allowlist add --agent main /usr/bin/uptime",
        "the agent \"main\" may run uptime without asking",
    )],
    run: Some(allow),
    ..Command::new("approvals allowlist add", Group::Control, "allow a program")
};

pub static DISALLOW: Command = Command {
    args: &[arg("pattern", "the pattern, as it was added")],
    options: &[AGENT, WHERE, JSON, CONNECT, TIMEOUT],
    run: Some(disallow),
    ..Command::new(
        "approvals allowlist remove",
        Group::Control,
        "do not allow a program any more",
    )
};

/// Whose approvals are meant, and the way to them.
enum Place {
    /// The file of this machine, without a gateway.
    Here(Box<Store>),
    Gateway(Box<Link>),
    Node(Box<Link>, Value),
}

impl Place {
    fn of(ctx: &Context, args: &Args) -> Result<Place, Failure> {
        let node = args.given("node").is_some();
        if node && args.flag("gateway") {
            return Err(Failure::new("Error: use --gateway or --node, not both"));
        }
        let remote =
            ctx.config().str("gateway.mode") == Some("remote") || args.given("url").is_some();
        if !(node || remote || args.flag("gateway")) {
            let store = Store::new(ctx.paths().exec_approvals());
            return Ok(Place::Here(Box::new(store)));
        }
        let mut link = Link::open(ctx, args)?;
        match node {
            true => {
                let node = which::of(&mut link, args)?;
                Ok(Place::Node(Box::new(link), node))
            }
            false => Ok(Place::Gateway(Box::new(link))),
        }
    }

    fn name(&self) -> String {
        match self {
            Place::Here(_) => "local".to_string(),
            Place::Gateway(_) => "gateway".to_string(),
            Place::Node(_, node) => format!("node:{}", which::title(node)),
        }
    }

    /// `{path, exists, hash, file}`.
    fn load(&mut self) -> Result<Value, Failure> {
        match self {
            Place::Here(store) => {
                let loaded = store
                    .load()
                    .map_err(|e| Failure::new(format!("Error: {e}")))?;
                Ok(
                    json!({"path": loaded.path, "exists": loaded.exists, "hash": loaded.hash,
                    "file": shown(&loaded.file)}),
                )
            }
            Place::Gateway(link) => link.call("exec.approvals.get", &json!({})),
            Place::Node(link, node) => {
                let node = json!({"nodeId": node["nodeId"]});
                link.call("exec.approvals.node.get", &node)
            }
        }
    }

    /// Replaces `old` by `new`.
    fn save(&mut self, old: &Value, new: &Value) -> Result<Value, Failure> {
        let hash = old["hash"].as_str().filter(|_| old["exists"] == true);
        match self {
            Place::Here(store) => {
                let saved = store.save(new, hash);
                let saved = saved.map_err(|e| Failure::new(format!("Error: {e}")))?;
                Ok(
                    json!({"path": saved.path, "exists": saved.exists, "hash": saved.hash,
                    "file": shown(&saved.file)}),
                )
            }
            Place::Gateway(link) => {
                let mut params = json!({"file": new});
                if let Some(hash) = hash {
                    params["baseHash"] = hash.into();
                }
                link.call("exec.approvals.set", &params)
            }
            Place::Node(link, node) => {
                let mut params = json!({"nodeId": node["nodeId"], "file": new});
                if let Some(hash) = hash {
                    params["baseHash"] = hash.into();
                }
                link.call("exec.approvals.node.set", &params)
            }
        }
    }
}

/// The file without the token of its socket.
fn shown(file: &Value) -> Value {
    let mut shown = file.clone();
    if let Some(socket) = shown.get_mut("socket").and_then(Value::as_object_mut) {
        socket.remove("token");
    }
    shown
}

fn get(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    let mut place = Place::of(ctx, args)?;
    let now = place.load()?;
    say(ctx, args, &place, &now);
    Ok(EXIT_OK)
}

fn set(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    let text = match (args.given("file"), args.flag("stdin")) {
        (Some(path), false) => file::read_bounded(Path::new(path), MAX_FILE),
        (None, true) => {
            let mut bytes = Vec::new();
            let read = std::io::stdin()
                .lock()
                .take(MAX_FILE + 1)
                .read_to_end(&mut bytes);
            read.map(|_| bytes)
        }
        _ => return Err(Failure::new("Error: pass --file <path> or --stdin")),
    };
    let text =
        text.map_err(|e| Failure::new(format!("Error: cannot read the new approvals: {e}")))?;
    let new: Value = serde_json::from_slice(&text)
        .map_err(|e| Failure::new(format!("Error: the new approvals are not JSON: {e}")))?;
    let mut place = Place::of(ctx, args)?;
    let old = place.load()?;
    let saved = place.save(&old, &new)?;
    say(ctx, args, &place, &saved);
    Ok(EXIT_OK)
}

fn allow(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    change(ctx, args, |list, pattern| {
        if list.iter().any(|e| e["pattern"] == pattern) {
            return Err("Already allowlisted.");
        }
        list.push(json!({"id": id::uuid(), "pattern": pattern, "lastUsedAt": clock::now_ms()}));
        Ok(())
    })
}

fn disallow(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    change(ctx, args, |list, pattern| {
        let before = list.len();
        list.retain(|e| e["pattern"] != pattern);
        match list.len() == before {
            true => Err("Pattern not found."),
            false => Ok(()),
        }
    })
}

/// Edits the allowlist of the agent that is meant; `Err` says that there is nothing to do.
fn change(
    ctx: &Context,
    args: &Args,
    edit: impl FnOnce(&mut Vec<Value>, &str) -> Result<(), &'static str>,
) -> Result<u8, Failure> {
    let pattern = args.word(0).unwrap_or_default().trim();
    if pattern.is_empty() {
        return Err(Failure::new("Error: pattern required"));
    }
    let mut place = Place::of(ctx, args)?;
    let old = place.load()?;
    let mut file = old["file"].clone();
    let agent = args.given("agent").map(str::trim).filter(|a| !a.is_empty());
    let mut list = take_list(&mut file, agent.unwrap_or(EVERYBODY));
    if let Err(nothing) = edit(&mut list, pattern) {
        term::say(nothing);
        return Ok(EXIT_OK);
    }
    put_list(&mut file, agent.unwrap_or(EVERYBODY), list);
    let saved = place.save(&old, &file)?;
    say(ctx, args, &place, &saved);
    Ok(EXIT_OK)
}

fn take_list(file: &mut Value, agent: &str) -> Vec<Value> {
    match file["agents"][agent]["allowlist"].take() {
        Value::Array(list) => list,
        _ => Vec::new(),
    }
}

/// Puts the list back; an agent of whom nothing is left goes.
fn put_list(file: &mut Value, agent: &str, list: Vec<Value>) {
    let Some(agents) = file.get_mut("agents").and_then(Value::as_object_mut) else {
        return;
    };
    let Some(entry) = agents.get_mut(agent).and_then(Value::as_object_mut) else {
        return;
    };
    match list.is_empty() {
        true => entry.remove("allowlist"),
        false => entry.insert("allowlist".into(), Value::Array(list)),
    };
    if entry.is_empty() {
        agents.remove(agent);
    }
}

fn say(ctx: &Context, args: &Args, place: &Place, now: &Value) {
    if args.flag("json") {
        term::json(now);
        return;
    }
    term::say(&ctx.term.paint(Tone::Heading, "Approvals"));
    term::say(
        &ctx.term
            .table(&["Field", "Value"], &summary(ctx, place, now)),
    );
    let rows = entries(&now["file"], &place.name(), clock::now_ms());
    if rows.is_empty() {
        term::say("No allowlist entries.");
        return;
    }
    term::say(&ctx.term.paint(Tone::Heading, "Allowlist"));
    term::say(
        &ctx.term
            .table(&["Target", "Agent", "Pattern", "Last Used"], &rows),
    );
}

fn summary(ctx: &Context, place: &Place, now: &Value) -> Vec<Vec<String>> {
    let path = now["path"].as_str().unwrap_or("?");
    let path = match place {
        Place::Here(_) => ctx.locations.shown(Path::new(path)),
        _ => clean(path).into_owned(),
    };
    let file = &now["file"];
    let agents = file["agents"].as_object().map_or(0, Map::len);
    let defaults = file["defaults"].as_object().filter(|d| !d.is_empty());
    let defaults = defaults.map(|d| {
        let words: Vec<String> = d.iter().map(|(k, v)| format!("{k}={}", plain(v))).collect();
        words.join(", ")
    });
    let exists = if now["exists"] == true { "yes" } else { "no" };
    [
        ("Target", place.name()),
        ("Path", path),
        ("Exists", exists.to_string()),
        ("Hash", plain(&now["hash"])),
        ("Version", plain(&file["version"])),
        (
            "Socket",
            file["socket"]["path"]
                .as_str()
                .unwrap_or("default")
                .to_string(),
        ),
        ("Defaults", defaults.unwrap_or_else(|| "none".to_string())),
        ("Agents", agents.to_string()),
        ("Allowlist", entries(file, "", 0).len().to_string()),
    ]
    .into_iter()
    .map(|(k, v)| vec![k.to_string(), v])
    .collect()
}

fn plain(v: &Value) -> String {
    v.as_str().map_or_else(|| v.to_string(), str::to_string)
}

fn entries(file: &Value, target: &str, now: u64) -> Vec<Vec<String>> {
    let agents = file["agents"].as_object();
    let mut rows = Vec::new();
    for (agent, settings) in agents.into_iter().flatten() {
        for e in settings["allowlist"].as_array().into_iter().flatten() {
            let used = e["lastUsedAt"].as_u64();
            let used = used.map_or_else(
                || "unknown".to_string(),
                |at| human::ago(now.saturating_sub(at)),
            );
            rows.push(vec![
                target.to_string(),
                agent.clone(),
                plain(&e["pattern"]),
                used,
            ]);
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::parse::{Parsed, parse};
    use crate::config::testing::Folder;

    fn call(ctx: &Context, line: &str) -> Result<u8, Failure> {
        match parse(line.split(' ').map(Into::into)) {
            Ok((_, Parsed::Run(command, args))) => command.run.unwrap()(ctx, &args),
            _ => panic!("{line}"),
        }
    }

    #[test]
    fn patterns_are_added_once_and_removed_without_a_gateway() {
        let dir = Folder::new();
        let ctx = Context::of(dir.locations(&[]));
        let file = || {
            Store::new(ctx.paths().exec_approvals())
                .load()
                .unwrap()
                .file
        };
        for _ in 0..2 {
            call(&ctx, "approvals allowlist add /usr/bin/uptime --json").unwrap();
        }
        call(&ctx, "approvals allowlist add /bin/ls --agent main --json").unwrap();
        let rows = entries(&file(), "local", 0);
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0][..3], ["local", "*", "/usr/bin/uptime"]);
        call(
            &ctx,
            "exec-approvals allowlist remove /usr/bin/uptime --json",
        )
        .unwrap();
        call(&ctx, "approvals allowlist remove /usr/bin/uptime --json").unwrap();
        assert_eq!(entries(&file(), "local", 0).len(), 1);
        assert_eq!(file()["agents"].as_object().unwrap().len(), 1);
        assert!(call(&ctx, "approvals set").is_err());
        assert!(call(&ctx, "approvals get --gateway --node x").is_err());
    }

    #[test]
    fn the_token_of_the_socket_is_never_shown() {
        let file = json!({"socket": {"path": "/s", "token": "secret"}});
        assert!(!shown(&file).to_string().contains("secret"));
    }
}
