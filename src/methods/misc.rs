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
        "send",
        WRITE,
        Shape::strict(&[
            req("to", TEXT),
            opt("message", Kind::Text),
            opt("mediaUrl", Kind::Text),
            opt("mediaUrls", Kind::List(&Kind::Text)),
            opt("gifPlayback", Kind::Bool),
            opt("channel", Kind::Text),
            opt("accountId", Kind::Text),
            opt("threadId", Kind::Text),
            opt("sessionKey", Kind::Text),
            req("idempotencyKey", TEXT),
        ]),
        send,
        "sends a message to a channel",
    ),
    Method::new(
        "poll",
        WRITE,
        Shape::strict(&[
            req("to", TEXT),
            req("question", TEXT),
            req("options", Kind::ListOf(2, &TEXT)),
            opt("maxSelections", Kind::Int(1, 12)),
            opt("durationSeconds", Kind::Int(1, 604_800)),
            opt("durationHours", at_least(1)),
            opt("silent", Kind::Bool),
            opt("isAnonymous", Kind::Bool),
            opt("threadId", Kind::Text),
            opt("channel", Kind::Text),
            opt("accountId", Kind::Text),
            req("idempotencyKey", TEXT),
        ]),
        poll,
        "asks a question on a channel",
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

/// The channel of chat pages, which messages cannot be sent to.
const WEBCHAT: &str = "webchat";

fn send(call: &Call<'_>) -> Result<Reply, RpcError> {
    let urls = call.params["mediaUrls"].as_array();
    let media = urls.is_some_and(|u| !u.is_empty()) || call.text("mediaUrl").is_some();
    if call.text("message").is_none() && !media {
        let text = "invalid send params: text or media is required";
        return Err(RpcError::invalid(text));
    }
    Err(match call.text("channel").map(str::to_lowercase) {
        None => no_channel(),
        Some(name) if name == WEBCHAT => RpcError::invalid(
            "unsupported channel: webchat (internal-only). Use `chat.send` for WebChat UI messages or choose a deliverable channel.",
        ),
        Some(name) => RpcError::invalid(format!("unsupported channel: {}", clip(&name, MAX_SHOWN))),
    })
}

fn poll(call: &Call<'_>) -> Result<Reply, RpcError> {
    Err(match call.text("channel").map(str::to_lowercase) {
        None => no_channel(),
        Some(name) => RpcError::invalid(format!(
            "unsupported poll channel: {}",
            clip(&name, MAX_SHOWN)
        )),
    })
}

fn no_channel() -> RpcError {
    RpcError::invalid("Error: Channel is required (no configured channels detected).")
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
