//! `node.pair.*`: the pairing store of older node hosts.

use serde_json::{Value, json};

use super::super::{Call, Reply};
use crate::nodes::policy;
use crate::protocol::frame::clip;
use crate::protocol::{Event, RpcError, Scope};
use crate::state::nodes::Error;
use crate::sys::clock;

/// Largest request, in bytes of JSON.
const MAX_REQUEST: usize = 64 * 1024;
/// Longest name of a node, in bytes.
const MAX_NAME: usize = 256;
/// Stands for a token where the caller may not see it.
const HIDDEN: &str = "__OPENCLAW_REDACTED__";

pub fn request(call: &Call<'_>) -> Result<Reply, RpcError> {
    let node = call.params.as_object().cloned().unwrap_or_default();
    if call.params.to_string().len() > MAX_REQUEST {
        let text = format!("invalid node.pair.request params: larger than {MAX_REQUEST} bytes");
        return Err(RpcError::invalid(text));
    }
    let (request, created) = call.gateway.node_pairing.request(&node).map_err(failed)?;
    if created {
        let hub = &call.gateway.hub;
        hub.publish(Event::NodePairRequested, &request.to_string());
    }
    Ok(Reply::Value(
        json!({"status": "pending", "request": request, "created": created}),
    ))
}

pub fn list(call: &Call<'_>) -> Result<Reply, RpcError> {
    let mut all = call.gateway.node_pairing.list().map_err(failed)?;
    if !call.may(Scope::Admin) {
        let paired = all["paired"].as_array_mut();
        for node in paired.into_iter().flatten() {
            node["token"] = json!(HIDDEN);
        }
    }
    Ok(Reply::Value(all))
}

pub fn approve(call: &Call<'_>) -> Result<Reply, RpcError> {
    let id = call.str("requestId").unwrap_or_default();
    let pending = call.gateway.node_pairing.pending(id).map_err(failed)?;
    let commands = pending["commands"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let harmless = commands
        .iter()
        .all(|c| c.as_str().is_some_and(policy::is_harmless));
    if !harmless && !call.may(Scope::Admin) {
        return Err(RpcError::invalid(format!(
            "missing scope: {}",
            Scope::Admin.as_str()
        )));
    }
    let node = call.gateway.node_pairing.approve(id).map_err(failed)?;
    resolved(call, id, &node["nodeId"], "approved");
    Ok(Reply::Value(json!({"requestId": id, "node": node})))
}

pub fn reject(call: &Call<'_>) -> Result<Reply, RpcError> {
    let id = call.str("requestId").unwrap_or_default();
    let node_id = json!(call.gateway.node_pairing.reject(id).map_err(failed)?);
    resolved(call, id, &node_id, "rejected");
    Ok(Reply::Value(json!({"requestId": id, "nodeId": node_id})))
}

fn resolved(call: &Call<'_>, request_id: &str, node_id: &Value, decision: &str) {
    let payload = json!({
        "requestId": request_id, "nodeId": node_id, "decision": decision, "ts": clock::now_ms(),
    });
    let hub = &call.gateway.hub;
    hub.publish(Event::NodePairResolved, &payload.to_string());
}

pub fn verify(call: &Call<'_>) -> Result<Reply, RpcError> {
    let node_id = call.str("nodeId").unwrap_or_default();
    let token = call.str("token").unwrap_or_default();
    let node = call
        .gateway
        .node_pairing
        .verify(node_id, token)
        .map_err(failed)?;
    Ok(Reply::Value(match node {
        Some(node) => json!({"ok": true, "node": node}),
        None => json!({"ok": false}),
    }))
}

pub fn rename(call: &Call<'_>) -> Result<Reply, RpcError> {
    let name = call
        .text("displayName")
        .ok_or_else(|| RpcError::invalid("displayName required"))?;
    let name = clip(name, MAX_NAME);
    let node_id = call.text("nodeId").unwrap_or_default();
    call.gateway
        .node_pairing
        .rename(node_id, name)
        .map_err(failed)?;
    Ok(Reply::Value(
        json!({"nodeId": node_id, "displayName": name}),
    ))
}

fn failed(e: Error) -> RpcError {
    match e {
        Error::Io(_) => RpcError::unavailable(e.to_string()),
        _ => RpcError::invalid(e.to_string()),
    }
}
