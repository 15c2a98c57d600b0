//! Devices: pairing requests, paired devices, their tokens.
//!
//! Nobody approves, rotates or sees more than it holds: a session that was opened with a device token and
//! is no admin deals with its own device only (SC-04), and what would give admin rights or the right to
//! execute takes an admin (SC-02). Taking rights away closes the sockets that had them (HS-08).

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Access, Call, Method, Reply};
use crate::gateway::client::{AuthMethod, Client};
use crate::nodes::policy;
use crate::protocol::shape::{Kind, Shape, opt, req};
use crate::protocol::{Event, Role, RpcError, Scope, Scopes};
use crate::state::devices::{Actor, Error};
use crate::sys::clock;

const PAIRING: Access = Access::Operator(Scope::Pairing);
const TEXT: Kind = Kind::NonEmpty;
const REQUEST: Shape = Shape::strict(&[req("requestId", TEXT)]);

/// The family.
pub const METHODS: &[Method] = &[
    Method::new(
        "device.pair.list",
        PAIRING,
        Shape::strict(&[]),
        list,
        "pairing requests and paired devices, without tokens",
    ),
    Method::new(
        "device.pair.approve",
        PAIRING,
        REQUEST,
        approve,
        "pairs a device for what its request asks; admin when that is more than the caller holds",
    ),
    Method::new(
        "device.pair.reject",
        PAIRING,
        REQUEST,
        reject,
        "drops a device's request",
    ),
    Method::new(
        "device.pair.remove",
        PAIRING,
        Shape::strict(&[req("deviceId", TEXT)]),
        remove,
        "forgets a paired device and closes its sockets",
    ),
    Method::new(
        "device.token.rotate",
        PAIRING,
        Shape::strict(&[
            req("deviceId", TEXT),
            req("role", TEXT),
            opt("scopes", Kind::List(&TEXT)),
        ]),
        rotate,
        "makes a new token for a role of a device and closes the sockets of that role",
    ),
    Method::new(
        "device.token.revoke",
        PAIRING,
        Shape::strict(&[req("deviceId", TEXT), req("role", TEXT)]),
        revoke,
        "voids a device's token for a role and closes the sockets of that role",
    ),
];

fn list(call: &Call<'_>) -> Result<Reply, RpcError> {
    let mut all = call.gateway.devices.list().map_err(failed)?;
    if let Some(own) = own_device_only(call) {
        for key in ["pending", "paired"] {
            if let Some(rows) = all[key].as_array_mut() {
                rows.retain(|r| r["deviceId"] == own);
            }
        }
    }
    Ok(Reply::Value(all))
}

fn approve(call: &Call<'_>) -> Result<Reply, RpcError> {
    let id = call.str("requestId").unwrap_or_default();
    let pending = visible_request(call, id)?;
    if takes_admin(&pending) && !call.may(Scope::Admin) {
        return Err(missing(Scope::Admin));
    }
    let device = call
        .gateway
        .devices
        .approve(id, &actor(call))
        .map_err(failed)?;
    resolved(call, id, &device["deviceId"], "approved");
    Ok(Reply::Value(json!({"requestId": id, "device": device})))
}

fn reject(call: &Call<'_>) -> Result<Reply, RpcError> {
    let id = call.str("requestId").unwrap_or_default();
    visible_request(call, id)?;
    let device_id = json!(call.gateway.devices.reject(id).map_err(failed)?);
    resolved(call, id, &device_id, "rejected");
    Ok(Reply::Value(
        json!({"requestId": id, "deviceId": device_id}),
    ))
}

fn remove(call: &Call<'_>) -> Result<Reply, RpcError> {
    let id = call.text("deviceId").unwrap_or_default().to_string();
    let unknown = || RpcError::invalid("unknown deviceId");
    if own_device_only(call).is_some_and(|own| own != id) {
        return Err(unknown());
    }
    if !call.gateway.devices.remove(&id).map_err(failed)? {
        return Err(unknown());
    }
    let answer = json!({"deviceId": id});
    close(call, "device removed", answer, |c| {
        c.device_id.as_deref() == Some(&id)
    })
}

fn rotate(call: &Call<'_>) -> Result<Reply, RpcError> {
    let (id, role) = target(call)?;
    let words = call.params["scopes"].as_array();
    let scopes = words.map(|w| Scopes::from_words(w.iter().filter_map(Value::as_str)));
    let devices = &call.gateway.devices;
    let rotated = devices
        .rotate(&id, role, scopes.as_ref(), &actor(call))
        .map_err(failed)?;
    let answer = json!({
        "deviceId": id, "role": role.as_str(), "token": rotated.token, "scopes": rotated.scopes,
        "rotatedAtMs": rotated.rotated_at_ms,
    });
    close(call, "device token rotated", answer, holds(&id, role))
}

fn revoke(call: &Call<'_>) -> Result<Reply, RpcError> {
    let (id, role) = target(call)?;
    let revoked = call.gateway.devices.revoke(&id, role).map_err(failed)?;
    let answer = json!({"deviceId": id, "role": role.as_str(), "revokedAtMs": revoked});
    close(call, "device token revoked", answer, holds(&id, role))
}

/// Device and role that a call is about, as far as the caller may know of them.
fn target(call: &Call<'_>) -> Result<(String, Role), RpcError> {
    let id = call.text("deviceId").unwrap_or_default();
    let role = call.text("role").and_then(Role::parse);
    match (role, own_device_only(call)) {
        (Some(role), None) => Ok((id.to_string(), role)),
        (Some(role), Some(own)) if own == id => Ok((id.to_string(), role)),
        _ => Err(failed(Error::UnknownDeviceOrRole)),
    }
}

/// Whether a connection is that device in that role.
fn holds(id: &str, role: Role) -> impl Fn(&Client) -> bool {
    move |c| c.role == role && c.device_id.as_deref() == Some(id)
}

/// Closes the connections that have lost their right, then answers; the caller's own comes last.
fn close(
    call: &Call<'_>,
    reason: &str,
    answer: Value,
    lost: impl Fn(&Client) -> bool,
) -> Result<Reply, RpcError> {
    let me: &Arc<Client> = call.client;
    let hub = &call.gateway.hub;
    hub.close_where(1008, reason, |c| c.number != me.number && lost(c));
    if !lost(me) {
        return Ok(Reply::Value(answer));
    }
    call.responder().ok(&answer);
    hub.leave(me.number);
    me.outbox.close(1008, reason);
    Ok(Reply::Later)
}

/// The one device that a caller may deal with, unless it may deal with all: admins, and sessions that
/// the shared secret opened.
fn own_device_only<'c>(call: &'c Call<'_>) -> Option<&'c str> {
    let narrow = call.client.auth == AuthMethod::DeviceToken && !call.may(Scope::Admin);
    narrow.then(|| call.client.device_id.as_deref().unwrap_or_default())
}

fn visible_request(call: &Call<'_>, id: &str) -> Result<Value, RpcError> {
    let pending = call.gateway.devices.pending(id).map_err(failed)?;
    match own_device_only(call) {
        Some(own) if pending["deviceId"] != own => Err(failed(Error::UnknownRequest)),
        _ => Ok(pending),
    }
}

/// Whether approving a request gives admin rights, the right to execute, or more to a device that is
/// paired already.
fn takes_admin(pending: &Value) -> bool {
    let words = |key: &str| {
        pending[key]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
    };
    let executes = words("commands").any(|c| !policy::is_harmless(c));
    let admin = words("scopes").any(|s| s == Scope::Admin.as_str());
    admin || executes || pending["isRepair"] == true
}

fn actor<'c>(call: &'c Call<'_>) -> Actor<'c> {
    Actor {
        device_id: call.client.device_id.as_deref(),
        scopes: &call.client.scopes,
    }
}

fn resolved(call: &Call<'_>, request_id: &str, device_id: &Value, decision: &str) {
    let payload = json!({
        "requestId": request_id, "deviceId": device_id, "decision": decision, "ts": clock::now_ms(),
    });
    let hub = &call.gateway.hub;
    hub.publish(Event::DevicePairResolved, &payload.to_string());
}

fn missing(scope: Scope) -> RpcError {
    RpcError::invalid(format!("missing scope: {}", scope.as_str()))
}

fn failed(e: Error) -> RpcError {
    match e {
        Error::BeyondActor => missing(Scope::Admin),
        Error::Io(_) => RpcError::unavailable(e.to_string()),
        _ => RpcError::invalid(e.to_string()),
    }
}
