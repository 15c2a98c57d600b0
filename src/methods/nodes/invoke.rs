//! `node.invoke` and its answer.

use serde_json::{Value, json};

use super::super::{Call, Reply};
use super::view;
use crate::nodes::approvals::Caller;
use crate::nodes::policy::Refusal;
use crate::nodes::registry::{Answer, Invoke, InvokeError};
use crate::nodes::{Platform, Policy, run};
use crate::protocol::RpcError;
use crate::protocol::frame::clip;

/// Commands of the approvals file have methods of their own, which need admin.
const APPROVALS: &str = "system.execApprovals.";
/// Bytes of a command's name that an error repeats.
const MAX_SHOWN: usize = 128;

pub fn invoke(call: &Call<'_>) -> Result<Reply, RpcError> {
    let (Some(node_id), Some(command)) = (call.text("nodeId"), call.text("command")) else {
        return Err(RpcError::invalid("nodeId and command required"));
    };
    if command.starts_with(APPROVALS) {
        let text = "node.invoke does not allow system.execApprovals.*; use exec.approvals.node.*";
        let details = json!({"command": clip(command, MAX_SHOWN)});
        return Err(RpcError::invalid(text).with_details(details));
    }
    let Some(node) = call.gateway.nodes.get(node_id) else {
        return Err(not_connected(json!({"code": "NOT_CONNECTED"})));
    };
    let platform = view::pinned_platform(call.gateway, node_id)?;
    let policy = Policy::of(&call.gateway.config.current());
    policy
        .check(Platform::of(&platform), &node.commands, command)
        .map_err(|why| refused(why, command, &platform))?;
    let params = call.params.get("params");
    let (params_json, tag) = match (command, params) {
        ("system.run", params) => {
            let caller = Caller {
                device_id: call.client.device_id.clone(),
                conn_id: call.client.conn_id.clone(),
            };
            let params = params.unwrap_or(&Value::Null);
            let sent = run::params_for_node(params, node_id, &caller, &call.gateway.approvals);
            let sent = sent.map_err(|e| RpcError {
                details: e.details(),
                ..RpcError::invalid(e.to_string())
            })?;
            let tag = run::tag(&sent);
            (Some(Value::Object(sent).to_string()), Some(tag))
        }
        (_, params) => (params.map(Value::to_string), None),
    };
    let invoke = Invoke {
        node_id: node_id.to_string(),
        command: command.to_string(),
        params_json,
        timeout_ms: call.u64("timeoutMs"),
        idempotency_key: call.str("idempotencyKey").map(str::to_string),
        run: tag,
    };
    let responder = call.responder();
    let (node_id, command) = (node_id.to_string(), command.to_string());
    call.gateway.nodes.invoke(
        invoke,
        Box::new(move |answer| match answer {
            Ok(answer) => {
                let mut payload = json!({
                    "ok": true, "nodeId": node_id, "command": command,
                    "payloadJSON": answer.payload_json,
                });
                if let Some(p) = answer.into_payload() {
                    payload["payload"] = p;
                }
                responder.ok(&payload);
            }
            Err(InvokeError::NotConnected) => {
                responder.err(&not_connected(json!({"code": "NOT_CONNECTED"})));
            }
            Err(e) => responder.err(&failure(&e)),
        }),
    );
    Ok(Reply::Later)
}

/// Asks a node for its own affairs, past the list of commands, and answers with what it says.
pub fn ask_node(
    call: &Call<'_>,
    node_id: &str,
    command: &str,
    params_json: String,
) -> Result<Reply, RpcError> {
    let responder = call.responder();
    let invoke = Invoke {
        node_id: node_id.to_string(),
        command: command.to_string(),
        params_json: Some(params_json),
        timeout_ms: None,
        idempotency_key: None,
        run: None,
    };
    call.gateway.nodes.invoke(
        invoke,
        Box::new(move |answer| match answer {
            Ok(answer) => responder.ok(&answer.into_payload().unwrap_or(Value::Null)),
            Err(e) => responder.err(&failure(&e)),
        }),
    );
    Ok(Reply::Later)
}

pub fn result(call: &Call<'_>) -> Result<Reply, RpcError> {
    let text = |key: &str| call.str(key).map(str::to_string);
    if call.client.device_id.as_deref() != call.text("nodeId") {
        return Err(RpcError::invalid("nodeId mismatch"));
    }
    let result = if call.bool("ok") == Some(true) {
        Ok(Answer {
            payload: call.params.get("payload").cloned(),
            payload_json: text("payloadJSON"),
        })
    } else {
        let error = &call.params["error"];
        let part = |key: &str| error[key].as_str().map(str::to_string);
        Err(InvokeError::Failed {
            code: part("code"),
            message: part("message"),
        })
    };
    let id = call.str("id").unwrap_or_default();
    let taken = call.gateway.nodes.result(&call.client.conn_id, id, result);
    Ok(Reply::Value(match taken {
        true => json!({"ok": true}),
        false => json!({"ok": true, "ignored": true}),
    }))
}

fn refused(why: Refusal, command: &str, platform: &str) -> RpcError {
    let command = clip(command, MAX_SHOWN);
    let platform = match platform {
        "" => "unknown",
        known => clip(known, MAX_SHOWN),
    };
    let text = match why {
        Refusal::NotAllowlisted => {
            format!("\"{command}\" is not in the allowlist for platform \"{platform}\"")
        }
        Refusal::NothingDeclared => "the node did not declare any supported commands".to_string(),
        Refusal::NotDeclared => {
            format!("the node (platform: {platform}) does not support \"{command}\"")
        }
    };
    RpcError::invalid(format!("node command not allowed: {text}"))
        .with_details(json!({"reason": why.reason(), "command": command}))
}

fn not_connected(details: Value) -> RpcError {
    RpcError::unavailable(InvokeError::NotConnected.to_string()).with_details(details)
}

/// The error of an invoke that was sent, or tried to be.
fn failure(e: &InvokeError) -> RpcError {
    let node_error = |code: &str| json!({"nodeError": {"code": code, "message": e.to_string()}});
    match e {
        InvokeError::NotConnected => not_connected(node_error("NOT_CONNECTED")),
        InvokeError::TimedOut => {
            RpcError::unavailable(e.to_string()).with_details(node_error("TIMEOUT"))
        }
        InvokeError::Disconnected { .. } => RpcError::unavailable(format!("Error: {e}")),
        InvokeError::Busy => RpcError::unavailable(e.to_string()).retry_after(1000),
        InvokeError::Failed { code, message } => {
            let mut error = serde_json::Map::new();
            for (key, value) in [("code", code), ("message", message)] {
                if let Some(value) = value {
                    error.insert(key.into(), json!(value));
                }
            }
            let error = if error.is_empty() {
                Value::Null
            } else {
                Value::Object(error)
            };
            RpcError::unavailable(e.to_string()).with_details(json!({"nodeError": error}))
        }
    }
}
