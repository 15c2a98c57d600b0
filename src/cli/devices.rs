//! `devices`: who may connect, and with which token.

use serde_json::{Value, json};

use super::context::Context;
use super::failure::Failure;
use super::human;
use super::options::{
    CONNECT, Command, EXIT_OK, Group, JSON, Opt, TIMEOUT, arg, flag, optional, val,
};
use super::parse::Args;
use super::rpc::{self, Link};
use super::term::{self, Tone, clean};
use crate::sys::clock;

const CALL: &[&[Opt]] = &[JSON, CONNECT, TIMEOUT];
const DEVICE: Opt = val("device", "id", "id of the device").required();
const ROLE: Opt = val("role", "role", "role of the token: operator or node").required();

pub static DEVICES: Command = Command::new(
    "devices",
    Group::Control,
    "pair devices and look after their tokens",
);

pub static LIST: Command = Command {
    options: CALL,
    run: Some(list),
    ..Command::new(
        "devices list",
        Group::Control,
        "list requests for pairing and paired devices",
    )
};

pub static APPROVE: Command = Command {
    args: &[optional(
        "requestId",
        "the request (else the only one there is)",
    )],
    options: &[
        &[flag("latest", "of several requests, the newest")],
        JSON,
        CONNECT,
        TIMEOUT,
    ],
    run: Some(approve),
    ..Command::new(
        "devices approve",
        Group::Control,
        "let a device in, with what it asked for",
    )
};

pub static REJECT: Command = Command {
    args: &[arg("requestId", "the request")],
    options: CALL,
    run: Some(reject),
    ..Command::new("devices reject", Group::Control, "turn a device away")
};

pub static REMOVE: Command = Command {
    args: &[arg("deviceId", "the paired device")],
    options: CALL,
    run: Some(remove),
    ..Command::new(
        "devices remove",
        Group::Control,
        "unpair a device and close its connections",
    )
};

pub static CLEAR: Command = Command {
    options: &[
        &[
            flag("yes", "yes, all of them"),
            flag("pending", "turn away all that wait as well"),
        ],
        JSON,
        CONNECT,
        TIMEOUT,
    ],
    run: Some(clear),
    ..Command::new("devices clear", Group::Control, "unpair all devices")
};

pub static ROTATE: Command = Command {
    options: &[
        &[
            DEVICE,
            ROLE,
            val(
                "scope",
                "scope",
                "what the new token opens (else what the old one did)",
            )
            .many(),
        ],
        JSON,
        CONNECT,
        TIMEOUT,
    ],
    run: Some(rotate),
    ..Command::new(
        "devices rotate",
        Group::Control,
        "give a device a new token; the old one ends",
    )
};

pub static REVOKE: Command = Command {
    options: &[&[DEVICE, ROLE], JSON, CONNECT, TIMEOUT],
    run: Some(revoke),
    ..Command::new("devices revoke", Group::Control, "end a device's token")
};

fn list(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    let all = rpc::ask(ctx, args, "device.pair.list", &json!({}))?;
    if args.flag("json") {
        term::json(&all);
        return Ok(EXIT_OK);
    }
    let (pending, paired) = (rows(&all["pending"]), rows(&all["paired"]));
    if pending.is_empty() && paired.is_empty() {
        term::say("No device pairing entries.");
    }
    if !pending.is_empty() {
        term::say(
            &ctx.term
                .paint(Tone::Heading, &format!("Pending ({})", pending.len())),
        );
        let now = clock::now_ms();
        let lines: Vec<_> = pending.iter().map(|r| pending_row(r, now)).collect();
        let heads = ["Request", "Device", "Role", "Scopes", "IP", "Age", "Flags"];
        term::say(&ctx.term.table(&heads, &lines));
    }
    if !paired.is_empty() {
        term::say(
            &ctx.term
                .paint(Tone::Heading, &format!("Paired ({})", paired.len())),
        );
        let lines: Vec<_> = paired.iter().map(paired_row).collect();
        term::say(
            &ctx.term
                .table(&["Device", "Id", "Roles", "Scopes", "Tokens", "IP"], &lines),
        );
    }
    Ok(EXIT_OK)
}

fn rows(v: &Value) -> &[Value] {
    v.as_array().map_or(&[], Vec::as_slice)
}

fn word(v: &Value, key: &str) -> String {
    v[key].as_str().unwrap_or_default().to_string()
}

/// The words of a list, or of the single value beside it.
fn words(v: &Value, many: &str, one: &str) -> String {
    let list: Vec<&str> = rows(&v[many]).iter().filter_map(Value::as_str).collect();
    match list.is_empty() {
        true => word(v, one),
        false => list.join(", "),
    }
}

fn name(v: &Value) -> String {
    let shown = word(v, "displayName");
    match shown.is_empty() {
        true => word(v, "deviceId"),
        false => shown,
    }
}

fn pending_row(r: &Value, now: u64) -> Vec<String> {
    let age = r["ts"]
        .as_u64()
        .map_or_else(String::new, |at| human::ago(now.saturating_sub(at)));
    let repair = if r["isRepair"] == true { "repair" } else { "" };
    vec![
        word(r, "requestId"),
        name(r),
        words(r, "roles", "role"),
        words(r, "scopes", ""),
        word(r, "remoteIp"),
        age,
        repair.to_string(),
    ]
}

fn paired_row(d: &Value) -> Vec<String> {
    let tokens: Vec<String> = rows(&d["tokens"])
        .iter()
        .map(|t| match t["revokedAtMs"].is_u64() {
            true => format!("{} (revoked)", word(t, "role")),
            false => word(t, "role"),
        })
        .collect();
    vec![
        name(d),
        word(d, "deviceId"),
        words(d, "roles", "role"),
        words(d, "scopes", ""),
        tokens.join(", "),
        word(d, "remoteIp"),
    ]
}

/// What a request asks for, in one line: whoever approves sees it.
fn asked(r: &Value) -> String {
    let mut parts = vec![format!("{} {}", words(r, "roles", "role"), name(r))];
    let scopes = words(r, "scopes", "");
    parts.push(match scopes.is_empty() {
        true => "no scopes".to_string(),
        false => format!("scopes {scopes}"),
    });
    let ip = word(r, "remoteIp");
    parts.push(match ip.is_empty() {
        true => "from this machine".to_string(),
        false => format!("from {ip}"),
    });
    if r["isRepair"] == true {
        parts.push("known already".to_string());
    }
    parts.join(", ")
}

fn approve(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    let mut link = Link::open(ctx, args)?;
    let all = link.call("device.pair.list", &json!({}))?;
    let request = chosen(rows(&all["pending"]), args.word(0), args.flag("latest"))?;
    // A request never changes: what is shown here is what the id stands for.
    let params = json!({"requestId": request["requestId"]});
    let done = link.call("device.pair.approve", &params)?;
    link.client.close();
    if args.flag("json") {
        term::json(&done);
        return Ok(EXIT_OK);
    }
    let (device, id) = (word(request, "deviceId"), word(request, "requestId"));
    term::say(&clean(&format!(
        "Approved {device} ({id})\n  {}",
        asked(request)
    )));
    Ok(EXIT_OK)
}

/// The request that is meant.
fn chosen<'v>(pending: &'v [Value], id: Option<&str>, latest: bool) -> Result<&'v Value, Failure> {
    match (id, pending) {
        (Some(id), all) => {
            let found = all.iter().find(|r| r["requestId"] == id);
            found.ok_or_else(|| Failure::new("Error: unknown requestId"))
        }
        (None, []) => Err(Failure::new(
            "No pending device pairing requests to approve",
        )),
        (None, [only]) => Ok(only),
        (None, many) if latest => Ok(many
            .iter()
            .max_by_key(|r| r["ts"].as_u64())
            .unwrap_or(&many[0])),
        (None, many) => {
            let lines: Vec<String> = many
                .iter()
                .map(|r| format!("  {}  {}", word(r, "requestId"), asked(r)))
                .collect();
            Err(Failure::new(format!(
                "{} requests are pending; name one, or pass --latest:\n{}",
                many.len(),
                lines.join("\n")
            )))
        }
    }
}

fn reject(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    let id = args.word(0).unwrap_or_default();
    let done = rpc::ask(ctx, args, "device.pair.reject", &json!({"requestId": id}))?;
    match args.flag("json") {
        true => term::json(&done),
        false => term::say(&clean(&format!("Rejected {}", word(&done, "deviceId")))),
    }
    Ok(EXIT_OK)
}

fn remove(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    let id = args.word(0).unwrap_or_default();
    let done = rpc::ask(ctx, args, "device.pair.remove", &json!({"deviceId": id}))?;
    match args.flag("json") {
        true => term::json(&done),
        false => term::say(&clean(&format!("Removed {}", word(&done, "deviceId")))),
    }
    Ok(EXIT_OK)
}

fn clear(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    if !args.flag("yes") {
        return Err(Failure::new(
            "Refusing to clear pairing table without --yes",
        ));
    }
    let mut link = Link::open(ctx, args)?;
    let all = link.call("device.pair.list", &json!({}))?;
    let rejected = match args.flag("pending") {
        true => each(
            &mut link,
            "device.pair.reject",
            "requestId",
            &all["pending"],
        )?,
        false => Vec::new(),
    };
    let removed = each(&mut link, "device.pair.remove", "deviceId", &all["paired"])?;
    link.client.close();
    if args.flag("json") {
        term::json(&json!({"removedDevices": removed, "rejectedPending": rejected}));
        return Ok(EXIT_OK);
    }
    term::say(&format!("Cleared {} paired devices", removed.len()));
    if args.flag("pending") {
        term::say(&format!("Rejected {} pending requests", rejected.len()));
    }
    Ok(EXIT_OK)
}

/// Calls `method` with the `key` of each entry; the keys.
fn each(link: &mut Link, method: &str, key: &str, entries: &Value) -> Result<Vec<Value>, Failure> {
    let mut done = Vec::new();
    for entry in rows(entries) {
        link.call(method, &json!({key: entry[key]}))?;
        done.push(entry[key].clone());
    }
    Ok(done)
}

fn rotate(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    let mut params = json!({"deviceId": args.given("device"), "role": args.given("role")});
    if !args.all("scope").is_empty() {
        params["scopes"] = json!(args.all("scope"));
    }
    // The new token is the answer: whoever asked has to carry it to the device.
    term::json(&rpc::ask(ctx, args, "device.token.rotate", &params)?);
    Ok(EXIT_OK)
}

fn revoke(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    let params = json!({"deviceId": args.given("device"), "role": args.given("role")});
    term::json(&rpc::ask(ctx, args, "device.token.revoke", &params)?);
    Ok(EXIT_OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(id: &str, ts: u64) -> Value {
        json!({"requestId": id, "deviceId": "d", "displayName": "Tablet", "roles": ["operator"],
            "scopes": ["operator.read"], "remoteIp": "198.51.100.7", "ts": ts, "isRepair": false})
    }

    #[test]
    fn nothing_is_approved_by_accident() {
        let two = [request("a", 1), request("b", 2)];
        let id = |r: Result<&Value, Failure>| r.map(|v| word(v, "requestId")).ok();
        assert_eq!(id(chosen(&two, Some("a"), false)).as_deref(), Some("a"));
        assert_eq!(id(chosen(&two, None, true)).as_deref(), Some("b"));
        assert_eq!(id(chosen(&two[..1], None, false)).as_deref(), Some("a"));
        assert!(chosen(&two, Some("x"), true).is_err() && chosen(&[], None, true).is_err());
        let text = chosen(&two, None, false).unwrap_err().text;
        assert!(
            text.contains("a  operator Tablet, scopes operator.read, from 198.51.100.7"),
            "{text}"
        );
    }

    #[test]
    fn tables_show_roles_scopes_and_revoked_tokens() {
        assert_eq!(
            pending_row(&request("a", 0), 60_000),
            [
                "a",
                "Tablet",
                "operator",
                "operator.read",
                "198.51.100.7",
                "1m ago",
                ""
            ]
        );
        let device = json!({"deviceId": "d", "role": "node", "tokens": [{"role": "node", "revokedAtMs": 1}]});
        assert_eq!(
            paired_row(&device),
            ["d", "d", "node", "", "node (revoked)", ""]
        );
    }
}
