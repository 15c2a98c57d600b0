//! Nodes: which there are, commands for them, and what they report.

mod invoke;
mod pairing;
mod report;
mod view;

use serde_json::json;

use super::{Access, Call, Method, Reply};
use crate::protocol::shape::{Kind, Shape, at_least, opt, req};
use crate::protocol::{RpcError, Scope};
use crate::sys::clock;

pub(super) use invoke::ask_node;

const READ: Access = Access::Operator(Scope::Read);
const PAIRING: Access = Access::Operator(Scope::Pairing);
const TEXT: Kind = Kind::NonEmpty;

/// What a node failed with; nulls count as missing.
const NODE_ERROR: Shape = Shape::strict(&[
    opt("code", Kind::OrNull(&TEXT)),
    opt("message", Kind::OrNull(&TEXT)),
]);

/// The family.
pub const METHODS: &[Method] = &[
    Method::new(
        "node.pair.request",
        PAIRING,
        Shape::strict(&[
            req("nodeId", TEXT),
            opt("displayName", TEXT),
            opt("platform", TEXT),
            opt("version", TEXT),
            opt("coreVersion", TEXT),
            opt("uiVersion", TEXT),
            opt("deviceFamily", TEXT),
            opt("modelIdentifier", TEXT),
            opt("caps", Kind::List(&TEXT)),
            opt("commands", Kind::List(&TEXT)),
            opt("remoteIp", TEXT),
            opt("silent", Kind::Bool),
        ]),
        pairing::request,
        "asks for a node to be paired; a request that waits already is answered again",
    ),
    Method::new(
        "node.pair.list",
        PAIRING,
        Shape::strict(&[]),
        pairing::list,
        "node pairing requests and paired nodes; tokens for admins",
    ),
    Method::new(
        "node.pair.approve",
        PAIRING,
        Shape::strict(&[req("requestId", TEXT)]),
        pairing::approve,
        "pairs a node; admin when it could execute",
    ),
    Method::new(
        "node.pair.reject",
        PAIRING,
        Shape::strict(&[req("requestId", TEXT)]),
        pairing::reject,
        "drops a node's request",
    ),
    Method::new(
        "node.pair.verify",
        PAIRING,
        Shape::strict(&[req("nodeId", TEXT), req("token", TEXT)]),
        pairing::verify,
        "whether a token is that node's",
    ),
    Method::new(
        "node.rename",
        PAIRING,
        Shape::strict(&[req("nodeId", TEXT), req("displayName", TEXT)]),
        pairing::rename,
        "gives a node of the node pairing store another name",
    ),
    Method::new(
        "node.list",
        READ,
        Shape::strict(&[]),
        list,
        "devices paired as node, connected ones first",
    ),
    Method::new(
        "node.describe",
        READ,
        Shape::strict(&[req("nodeId", TEXT)]),
        describe,
        "one node",
    ),
    Method::new(
        "node.invoke",
        Access::Operator(Scope::Write),
        Shape::strict(&[
            req("nodeId", TEXT),
            req("command", TEXT),
            opt("params", Kind::Any),
            opt("timeoutMs", at_least(0)),
            req("idempotencyKey", TEXT),
        ]),
        invoke::invoke,
        "has a connected node carry out a command that its platform and the config allow",
    ),
    Method::new(
        "node.invoke.result",
        Access::Node,
        Shape::strict(&[
            req("id", TEXT),
            req("nodeId", TEXT),
            req("ok", Kind::Bool),
            opt("payload", Kind::Any),
            opt("payloadJSON", Kind::OrNull(&Kind::Text)),
            opt("error", Kind::OrNull(&Kind::Object(&NODE_ERROR))),
        ]),
        invoke::result,
        "a node's answer",
    ),
    Method::new(
        "node.event",
        Access::Node,
        Shape::strict(&[
            req("event", TEXT),
            opt("payload", Kind::Any),
            opt("payloadJSON", Kind::OrNull(&Kind::Text)),
        ]),
        report::event,
        "what a node reports",
    ),
];

fn list(call: &Call<'_>) -> Result<Reply, RpcError> {
    let nodes = view::all(call.gateway)?;
    Ok(Reply::Value(json!({"ts": clock::now_ms(), "nodes": nodes})))
}

fn describe(call: &Call<'_>) -> Result<Reply, RpcError> {
    let id = call.text("nodeId").unwrap_or_default();
    let mut node =
        view::one(call.gateway, id)?.ok_or_else(|| RpcError::invalid("unknown nodeId"))?;
    node["ts"] = json!(clock::now_ms());
    Ok(Reply::Value(node))
}
