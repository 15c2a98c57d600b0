//! Exec approvals: the file that says what may be executed, and commands that wait for a person.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::nodes::ask_node;
use super::{Access, Call, Method, Reply, ok};
use crate::nodes::approvals::{Caller, Decision, Request};
use crate::nodes::run;
use crate::protocol::shape::{Kind, Shape, at_least, opt, req};
use crate::protocol::{Event, RpcError, Scope};
use crate::state::approvals::{Error, Loaded};
use crate::sys::clock;

const ADMIN: Access = Access::Operator(Scope::Admin);
const APPROVALS: Access = Access::Operator(Scope::Approvals);
const TEXT: Kind = Kind::NonEmpty;
/// An id that a caller chooses.
const ID: Kind = Kind::Length(1, 128);
const MAYBE: Kind = Kind::OrNull(&Kind::Text);

const SOCKET: Shape = Shape::strict(&[opt("path", Kind::Text), opt("token", Kind::Text)]);
const DEFAULTS: Shape = Shape::strict(&[
    opt("security", Kind::Text),
    opt("ask", Kind::Text),
    opt("askFallback", Kind::Text),
    opt("autoAllowSkills", Kind::Bool),
]);
const ENTRY: Shape = Shape::strict(&[
    opt("id", TEXT),
    req("pattern", Kind::Text),
    opt("lastUsedAt", at_least(0)),
    opt("lastUsedCommand", Kind::Text),
    opt("lastResolvedPath", Kind::Text),
]);
const AGENT: Shape = Shape::strict(&[
    opt("security", Kind::Text),
    opt("ask", Kind::Text),
    opt("askFallback", Kind::Text),
    opt("autoAllowSkills", Kind::Bool),
    opt("allowlist", Kind::List(&Kind::Object(&ENTRY))),
]);
const FILE: Shape = Shape::strict(&[
    req("version", Kind::Int(1, 1)),
    opt("socket", Kind::Object(&SOCKET)),
    opt("defaults", Kind::Object(&DEFAULTS)),
    opt("agents", Kind::Map(&Kind::Object(&AGENT))),
]);

/// The family.
pub const METHODS: &[Method] = &[
    Method::new(
        "exec.approvals.get",
        ADMIN,
        Shape::strict(&[]),
        get,
        "the approvals file, without the token of its socket",
    ),
    Method::new(
        "exec.approvals.set",
        ADMIN,
        Shape::strict(&[req("file", Kind::Object(&FILE)), opt("baseHash", TEXT)]),
        set,
        "replaces the approvals file; baseHash is the hash of the version that was edited",
    ),
    Method::new(
        "exec.approvals.node.get",
        ADMIN,
        Shape::strict(&[req("nodeId", TEXT)]),
        node_get,
        "the approvals file of a node host",
    ),
    Method::new(
        "exec.approvals.node.set",
        ADMIN,
        Shape::strict(&[
            req("nodeId", TEXT),
            req("file", Kind::Object(&FILE)),
            opt("baseHash", TEXT),
        ]),
        node_set,
        "replaces the approvals file of a node host",
    ),
    Method::new(
        "exec.approval.request",
        APPROVALS,
        Shape::strict(&[
            opt("id", ID),
            req("command", TEXT),
            opt("commandArgv", Kind::ListOf(1, &Kind::Text)),
            opt("env", Kind::Map(&Kind::Text)),
            opt("cwd", MAYBE),
            opt("nodeId", MAYBE),
            opt("host", MAYBE),
            opt("security", MAYBE),
            opt("ask", MAYBE),
            opt("agentId", MAYBE),
            opt("resolvedPath", MAYBE),
            opt("sessionKey", MAYBE),
            opt("timeoutMs", at_least(1)),
            opt("twoPhase", Kind::Bool),
        ]),
        request,
        "asks the operators whether a command may run; silence is a denial",
    ),
    Method::new(
        "exec.approval.waitDecision",
        APPROVALS,
        Shape::lenient(&[]),
        wait_decision,
        "waits for the decision on a request",
    ),
    Method::new(
        "exec.approval.resolve",
        APPROVALS,
        Shape::strict(&[req("id", TEXT), req("decision", TEXT)]),
        resolve,
        "decides a request: allow-once, allow-always or deny",
    ),
];

fn get(call: &Call<'_>) -> Result<Reply, RpcError> {
    Ok(Reply::Value(shown(
        call.gateway.exec_approvals.load().map_err(failed)?,
    )))
}

fn set(call: &Call<'_>) -> Result<Reply, RpcError> {
    let store = &call.gateway.exec_approvals;
    let saved = store
        .save(&call.params["file"], call.str("baseHash"))
        .map_err(failed)?;
    Ok(Reply::Value(shown(saved)))
}

/// A version of the file for an editor: only the path of the socket is told, not its token.
fn shown(mut loaded: Loaded) -> Value {
    if let Some(socket) = loaded.file.get_mut("socket").and_then(Value::as_object_mut) {
        socket.retain(|k, _| k == "path");
    }
    json!({
        "path": loaded.path, "exists": loaded.exists, "hash": loaded.hash, "file": loaded.file,
    })
}

fn failed(e: Error) -> RpcError {
    match e {
        Error::Io(_) => RpcError::unavailable(e.to_string()),
        _ => RpcError::invalid(e.to_string()),
    }
}

fn node_get(call: &Call<'_>) -> Result<Reply, RpcError> {
    let node_id = call.text("nodeId").unwrap_or_default();
    ask_node(call, node_id, "system.execApprovals.get", "{}".into())
}

fn node_set(call: &Call<'_>) -> Result<Reply, RpcError> {
    let node_id = call.text("nodeId").unwrap_or_default();
    let file = &call.params["file"];
    let params = match call.params.get("baseHash") {
        Some(hash) => format!("{{\"file\":{file},\"baseHash\":{hash}}}"),
        None => format!("{{\"file\":{file}}}"),
    };
    ask_node(call, node_id, "system.execApprovals.set", params)
}

fn request(call: &Call<'_>) -> Result<Reply, RpcError> {
    let request = asked(call)?;
    let caller = Caller {
        device_id: call.client.device_id.clone(),
        conn_id: call.client.conn_id.clone(),
    };
    let approvals = &call.gateway.approvals;
    let id = call.text("id").map(str::to_string);
    let ticket = approvals
        .open(id, request, caller, call.u64("timeoutMs"))
        .map_err(|e| RpcError::invalid(e.to_string()))?;
    let responder = call.responder();
    if call.bool("twoPhase") == Some(true) {
        responder.ok(&json!({
            "status": "accepted", "id": ticket.id,
            "createdAtMs": ticket.created_at_ms, "expiresAtMs": ticket.expires_at_ms,
        }));
    }
    let last = responder.clone();
    let waits = approvals.wait(&ticket.id, Box::new(move |t| responder.ok(&t.outcome())));
    if !waits {
        // It expired before we could wait for it.
        last.ok(&ticket.outcome());
    }
    if !call.gateway.show_approval(&ticket) {
        approvals.abandon(&ticket.id);
    }
    Ok(Reply::Later)
}

/// What the parameters ask about.
fn asked(call: &Call<'_>) -> Result<Request, RpcError> {
    let text = |key: &str| call.text(key).map(str::to_string);
    let command = call.str("command").unwrap_or_default();
    let words = call.params.get("commandArgv").and_then(Value::as_array);
    let argv: Option<Vec<String>> = words.map(|w| {
        w.iter()
            .filter_map(Value::as_str)
            .map(str::to_string)
            .collect()
    });
    // What is shown is what runs (TX-07).
    if argv
        .as_deref()
        .is_some_and(|argv| run::shown(argv) != command)
    {
        return Err(RpcError::invalid("command does not match commandArgv"));
    }
    let env = call.params.get("env").and_then(Value::as_object);
    let env: BTreeMap<String, String> = env
        .into_iter()
        .flatten()
        .filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_string())))
        .collect();
    let request = Request {
        command: command.to_string(),
        argv,
        env,
        cwd: call.str("cwd").map(str::to_string),
        node_id: text("nodeId"),
        host: text("host"),
        security: text("security"),
        ask: text("ask"),
        agent_id: text("agentId"),
        resolved_path: text("resolvedPath"),
        session_key: text("sessionKey"),
    };
    if request.host.as_deref() == Some("node") && request.node_id.is_none() {
        return Err(RpcError::invalid("nodeId is required for host=node"));
    }
    Ok(request)
}

fn wait_decision(call: &Call<'_>) -> Result<Reply, RpcError> {
    let id = call
        .text("id")
        .ok_or_else(|| RpcError::invalid("id is required"))?;
    let responder = call.responder();
    let done = Box::new(move |t: &crate::nodes::approvals::Ticket| responder.ok(&t.outcome()));
    if !call.gateway.approvals.wait(id, done) {
        return Err(RpcError::invalid("approval expired or not found"));
    }
    Ok(Reply::Later)
}

fn resolve(call: &Call<'_>) -> Result<Reply, RpcError> {
    let word = call.str("decision").unwrap_or_default();
    let decision = Decision::parse(word).ok_or_else(|| RpcError::invalid("invalid decision"))?;
    let id = call.text("id").unwrap_or_default();
    let ticket = call
        .gateway
        .approvals
        .resolve(id, decision)
        .ok_or_else(|| RpcError::invalid("unknown approval id"))?;
    let name = Some(call.client.info_str("displayName")).filter(|n| !n.is_empty());
    let payload = json!({
        "id": ticket.id,
        "decision": decision.as_str(),
        "resolvedBy": name.unwrap_or(call.client.client_id()),
        "ts": clock::now_ms(),
        "request": ticket.request.to_value(),
    });
    let hub = &call.gateway.hub;
    hub.publish(Event::ExecApprovalResolved, &payload.to_string());
    ok()
}
