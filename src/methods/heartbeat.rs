//! Heartbeats, and waking the agent.

use serde_json::{Value, json};

use super::{Access, Call, Method, Reply};
use crate::config::agents;
use crate::protocol::shape::{Kind, Shape, req};
use crate::protocol::{RpcError, Scope};
use crate::schedule::heartbeat::Reason;
use crate::state::system_events::Note;

/// The family.
pub const METHODS: &[Method] = &[
    Method::new(
        "last-heartbeat",
        Access::Operator(Scope::Read),
        Shape::lenient(&[]),
        last,
        "the last heartbeat event, or null",
    ),
    Method::new(
        "set-heartbeats",
        Access::Operator(Scope::Admin),
        Shape::lenient(&[]),
        switch,
        "switches heartbeats on or off (enabled), also over restarts",
    ),
    Method::new(
        "wake",
        Access::Operator(Scope::Write),
        Shape::strict(&[
            req("mode", Kind::OneOf(&["now", "next-heartbeat"])),
            req("text", Kind::NonEmpty),
        ]),
        wake,
        "queues text for the main session; mode now has the agent look at it at once",
    ),
];

fn last(call: &Call<'_>) -> Result<Reply, RpcError> {
    Ok(Reply::Value(
        call.gateway
            .schedule
            .heartbeats
            .last()
            .unwrap_or(Value::Null),
    ))
}

fn switch(call: &Call<'_>) -> Result<Reply, RpcError> {
    let text = "invalid set-heartbeats params: enabled (boolean) required";
    let enabled = call
        .bool("enabled")
        .ok_or_else(|| RpcError::invalid(text))?;
    let stored = call.gateway.schedule.heartbeats.set_enabled(enabled);
    stored.map_err(|e| RpcError::unavailable(format!("the switch cannot be stored: {e}")))?;
    Ok(Reply::Value(json!({"ok": true, "enabled": enabled})))
}

fn wake(call: &Call<'_>) -> Result<Reply, RpcError> {
    let Some(text) = call.text("text") else {
        return Ok(Reply::Value(json!({"ok": false})));
    };
    let beats = &call.gateway.schedule.heartbeats;
    let agent = agents::default_id(&call.gateway.config.current());
    let key = beats.session(&agent, None);
    // Whoever called is no part of the conversation: its words are quoted there (HK-01).
    let queued = call.gateway.notes.push(&key, Note::new("wake call", text));
    queued.map_err(|e| RpcError::unavailable(format!("the text cannot be stored: {e}")))?;
    if call.str("mode") == Some("now") {
        beats.wake(Reason::Wake, Some(&agent), None);
    }
    Ok(Reply::Value(json!({"ok": true})))
}
