//! Presence: who is there, and what other machines report about themselves.

use super::{Access, Call, Method, Reply, ok};
use crate::protocol::shape::Shape;
use crate::protocol::{RpcError, Scope};

/// Longest report, in bytes.
const MAX_TEXT: usize = 4096;

/// The family.
pub const METHODS: &[Method] = &[
    Method::new(
        "system-presence",
        Access::Operator(Scope::Read),
        Shape::lenient(&[]),
        presence,
        "the presence entries, newest first; the payload is a list",
    ),
    Method::new(
        "system-event",
        Access::Operator(Scope::Admin),
        Shape::lenient(&[]),
        event,
        "enters what a machine reports about itself; broadcasts presence",
    ),
];

fn presence(call: &Call<'_>) -> Result<Reply, RpcError> {
    Ok(Reply::Value(call.gateway.presence_list()))
}

fn event(call: &Call<'_>) -> Result<Reply, RpcError> {
    let text = call
        .text("text")
        .ok_or_else(|| RpcError::invalid("text required"))?;
    if text.len() > MAX_TEXT {
        return Err(RpcError::invalid(format!(
            "text too long: at most {MAX_TEXT} bytes"
        )));
    }
    call.gateway.presence.reported(text, call.params);
    call.gateway.presence_news();
    ok()
}
