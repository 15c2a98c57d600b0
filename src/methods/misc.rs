//! Methods of features that this gateway does not have, with the reference's errors for features that
//! are off; and delivery, as far as channels are there.

use serde_json::json;

use super::{Access, Call, Method, Reply};
use crate::config;
use crate::protocol::frame::clip;
use crate::protocol::shape::{Kind, Shape, at_least, opt, req};
use crate::protocol::{RpcError, Scope};

const ADMIN: Access = Access::Operator(Scope::Admin);
const WRITE: Access = Access::Operator(Scope::Write);
const TEXT: Kind = Kind::NonEmpty;
/// Bytes of a name that an error repeats.
const MAX_SHOWN: usize = 128;

/// The family.
pub const METHODS: &[Method] = &[
    Method::new(
        "browser.request",
        WRITE,
        Shape::lenient(&[]),
        browser,
        "refused: there is no browser control",
    ),
    Method::new(
        "web.login.start",
        ADMIN,
        Shape::strict(&[
            opt("force", Kind::Bool),
            opt("timeoutMs", at_least(0)),
            opt("verbose", Kind::Bool),
            opt("accountId", Kind::Text),
        ]),
        web_login,
        "refused: no channel logs in by a web page",
    )
    .unlisted(),
    Method::new(
        "web.login.wait",
        ADMIN,
        Shape::strict(&[opt("timeoutMs", at_least(0)), opt("accountId", Kind::Text)]),
        web_login,
        "refused: no channel logs in by a web page",
    )
    .unlisted(),
    Method::new(
        "push.test",
        WRITE,
        Shape::strict(&[
            req("nodeId", TEXT),
            opt("title", Kind::Text),
            opt("body", Kind::Text),
            opt("environment", Kind::OneOf(&["sandbox", "production"])),
        ]),
        push_test,
        "refused: no push service is registered",
    )
    .unlisted(),
    Method::new(
        "update.run",
        ADMIN,
        Shape::strict(&[
            opt("sessionKey", Kind::Text),
            opt("note", Kind::Text),
            opt("restartDelayMs", at_least(0)),
            opt("timeoutMs", at_least(1)),
        ]),
        update,
        "refused: the binary is replaced by whoever installed it",
    ),
    Method::new(
        "doctor.memory.status",
        Access::Operator(Scope::Read),
        Shape::lenient(&[]),
        memory,
        "whether memory search has embeddings",
    ),
];

fn browser(call: &Call<'_>) -> Result<Reply, RpcError> {
    let (Some(method), Some(_)) = (call.text("method"), call.text("path")) else {
        return Err(RpcError::invalid("method and path are required"));
    };
    if !matches!(
        method.to_ascii_uppercase().as_str(),
        "GET" | "POST" | "DELETE"
    ) {
        return Err(RpcError::invalid("method must be GET, POST, or DELETE"));
    }
    Err(RpcError::unavailable("browser control is disabled"))
}

fn web_login(_: &Call<'_>) -> Result<Reply, RpcError> {
    Err(RpcError::invalid("web login provider is not available"))
}

fn push_test(call: &Call<'_>) -> Result<Reply, RpcError> {
    let node = clip(call.text("nodeId").unwrap_or_default(), MAX_SHOWN);
    Err(RpcError::invalid(format!(
        "node {node} has no APNs registration (connect iOS node first)"
    )))
}

fn update(_: &Call<'_>) -> Result<Reply, RpcError> {
    Err(RpcError::unavailable(
        "this gateway does not update itself; install the new binary and restart it",
    ))
}

fn memory(call: &Call<'_>) -> Result<Reply, RpcError> {
    let agent = config::agents::default_id(&call.gateway.config.current());
    Ok(Reply::Value(json!({
        "agentId": agent,
        "provider": "none",
        "embedding": {"ok": false, "error": "memory search has no embeddings in this gateway"},
    })))
}
