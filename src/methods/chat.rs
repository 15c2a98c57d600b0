//! Chat on a session: sending, stopping, reading back.

use serde_json::{Map, Value, json};

use super::run::{ATTACHMENTS, check_send_policy};
use super::sessions::canonical;
use super::{Access, Call, Method, Reply};
use crate::agent::attachments;
use crate::agent::cancel::Reason;
use crate::agent::commands::{self, Caller, Intercepted, Place};
use crate::agent::provider::Thinking;
use crate::agent::run::{Callbacks, RunRequest, Source};
use crate::config;
use crate::gateway::answers::{Begun, Kind as Asked};
use crate::protocol::frame::clip;
use crate::protocol::shape::{Kind, Shape, at_least, opt, req};
use crate::protocol::{Event, RpcError, Scope};
use crate::state::session_key;
use crate::state::sessions::Entry;
use crate::state::transcript::{self, Line, Transcript};
use crate::sys::{clock, id};

/// Messages of `chat.history` when the caller does not say, and at most.
const HISTORY: u64 = 200;
const MAX_HISTORY: i64 = 1000;
/// Bytes of a transcript that one `chat.history` reads, and of one text in it.
const MAX_HISTORY_BYTES: u64 = 6 * 1024 * 1024;
const MAX_TEXT: usize = 256 * 1024;
/// Longest message, in bytes.
const MAX_MESSAGE: usize = 4 * 1024 * 1024;

/// The family.
pub const METHODS: &[Method] = &[
    Method::new(
        "chat.history",
        Access::Operator(Scope::Read),
        Shape::strict(&[
            req("sessionKey", Kind::NonEmpty),
            opt("limit", Kind::Int(1, MAX_HISTORY)),
        ]),
        history,
        "the last messages of a session",
    ),
    Method::new(
        "chat.abort",
        Access::Operator(Scope::Write),
        Shape::strict(&[
            req("sessionKey", Kind::NonEmpty),
            opt("runId", Kind::NonEmpty),
        ]),
        abort,
        "stops the runs of a session, or one of them",
    ),
    Method::new(
        "chat.send",
        Access::Operator(Scope::Write),
        Shape::strict(&[
            req("sessionKey", Kind::NonEmpty),
            req("message", Kind::Text),
            req("idempotencyKey", Kind::NonEmpty),
            opt("thinking", Kind::Text),
            opt("deliver", Kind::Bool),
            opt("attachments", ATTACHMENTS),
            opt("timeoutMs", at_least(0)),
        ]),
        send,
        "says something in a session; the reply comes as agent and chat events",
    ),
    Method::new(
        "chat.inject",
        Access::Operator(Scope::Admin),
        Shape::strict(&[
            req("sessionKey", Kind::NonEmpty),
            req("message", Kind::NonEmpty),
            opt("label", Kind::Length(1, 100)),
        ]),
        inject,
        "puts a message of the assistant into a transcript",
    )
    .unlisted(),
];

/// The session key of a call: canonical, and as it was sent.
fn keys(call: &Call<'_>) -> (String, String) {
    let sent = call.str("sessionKey").unwrap_or_default().to_string();
    (canonical(&call.gateway.config.current(), &sent), sent)
}

fn send(call: &Call<'_>) -> Result<Reply, RpcError> {
    let gateway = call.gateway;
    let config = gateway.config.current();
    let message = call.str("message").unwrap_or_default();
    if message.contains('\0') {
        return Err(RpcError::invalid("message must not contain null bytes"));
    }
    if message.len() > MAX_MESSAGE {
        return Err(RpcError::invalid(format!(
            "message too long: at most {MAX_MESSAGE} bytes"
        )));
    }
    let images = attachments::images(call.params.get("attachments"))?;
    if message.trim().is_empty() && images.is_empty() {
        return Err(RpcError::invalid("message or attachment required"));
    }
    let (key, sent) = keys(call);
    if commands::is_stop(message) {
        let ids = gateway.runs.abort(&sent, &key, None, Reason::Stop);
        return Ok(Reply::Value(
            json!({"ok": true, "aborted": !ids.is_empty(), "runIds": ids}),
        ));
    }
    check_send_policy(call, &config, &key)?;
    let run_id = call.str("idempotencyKey").unwrap_or_default().to_string();
    let status = |status: &str| json!({"runId": run_id, "status": status});
    let first = status("started");
    match gateway.answers.begin(Asked::Chat, &run_id, &first) {
        Begun::New => {}
        Begun::Running(_) => return Ok(Reply::Value(status("in_flight"))),
        Begun::Done(answer) => return answer.map(Reply::Value),
    }
    let agent = session_key::agent_of(&key, &config::agents::default_id(&config));
    let place = Place {
        agent: agent.clone(),
        key: key.clone(),
        sent_key: sent.clone(),
    };
    let caller = Caller {
        client_id: call.client.client_id(),
        scopes: &call.client.scopes,
    };
    let taken = commands::intercept(&gateway.runs, &caller, &place, message);
    let message = match taken.inspect_err(|_| gateway.answers.forget(Asked::Chat, &run_id))? {
        Intercepted::No => message.to_string(),
        Intercepted::Run(text) => text,
        Intercepted::Reply(said) => {
            call.responder().ok(&first);
            gateway.tell(&said.tell(&gateway.runs, &run_id));
            gateway.answers.end(Asked::Chat, &run_id, Ok(status("ok")));
            return Ok(Reply::Later);
        }
    };
    let mut request = RunRequest::new(agent, message, Source::Chat);
    request.run_id = run_id.clone();
    request.session_key = Some(key);
    request.sent_key = Some(sent);
    request.images = images;
    request.thinking = call.text("thinking").and_then(Thinking::parse);
    request.timeout_ms = call.u64("timeoutMs").filter(|ms| *ms > 0);
    request.channel = Some("webchat".into());
    // Whoever cannot change the gateway by a method cannot have a model do it (SC-09).
    request.owner = call.may(Scope::Admin);
    request.watcher = call
        .client
        .has_cap("tool-events")
        .then_some(call.client.number);
    let (responder, answers, ended) = (call.responder(), gateway.answers.clone(), status("ok"));
    let id = run_id.clone();
    let callbacks = Callbacks {
        on_accepted: Box::new(move |_| responder.ok(&first)),
        on_outcome: Box::new(move |result| {
            answers.end(Asked::Chat, &id, result.answer().map(|_| ended));
        }),
        ..Callbacks::default()
    };
    match gateway.runs.start(request, callbacks) {
        Ok(()) => Ok(Reply::Later),
        Err(e) => {
            gateway.answers.forget(Asked::Chat, &run_id);
            Err(e)
        }
    }
}

fn abort(call: &Call<'_>) -> Result<Reply, RpcError> {
    let (key, sent) = keys(call);
    let run_id = call.str("runId");
    let ids = call.gateway.runs.abort(&sent, &key, run_id, Reason::Rpc);
    if ids.is_empty() && run_id.is_some_and(|id| call.gateway.runs.find(id).is_some()) {
        return Err(RpcError::invalid("runId does not match sessionKey"));
    }
    Ok(Reply::Value(
        json!({"ok": true, "aborted": !ids.is_empty(), "runIds": ids}),
    ))
}

fn history(call: &Call<'_>) -> Result<Reply, RpcError> {
    let (key, sent) = keys(call);
    let config = call.gateway.config.current();
    let agent = session_key::agent_of(&key, &config::agents::default_id(&config));
    let entry = call.gateway.sessions.get(&key)?;
    let limit = call.u64("limit").unwrap_or(HISTORY) as usize;
    let mut answer = json!({"sessionKey": sent});
    let mut messages = Vec::new();
    if let Some(entry) = &entry {
        if let Some(id) = entry.session_id() {
            answer["sessionId"] = json!(id);
        }
        if let Some(path) = call.gateway.sessions.transcript(&key, entry) {
            let found =
                transcript::last_messages(&path, limit, MAX_HISTORY_BYTES).map_err(|e| {
                    RpcError::unavailable(format!("transcript {}: {e}", path.display()))
                })?;
            messages = found.iter().map(shown).collect();
        }
    }
    answer["messages"] = Value::Array(messages);
    let level = |name: &str, default: &str| {
        let own = entry
            .as_ref()
            .and_then(|e| e.text(name))
            .map(str::to_string);
        own.or_else(|| {
            config::agents::setting(&config, &agent, &[default])
                .and_then(Value::as_str)
                .map(str::to_string)
        })
    };
    answer["thinkingLevel"] = json!(
        level("thinkingLevel", "thinkingDefault")
            .as_deref()
            .unwrap_or("off")
    );
    if let Some(verbose) = level("verboseLevel", "verboseDefault") {
        answer["verboseLevel"] = json!(verbose);
    }
    Ok(Reply::Value(answer))
}

/// Fields of a stored message that clients see.
const SHOWN: &[&str] = &[
    "role",
    "content",
    "timestamp",
    "api",
    "provider",
    "model",
    "stopReason",
    "errorMessage",
    "toolCallId",
    "toolName",
    "isError",
];

/// A stored message as `chat.history` shows it: without counters and without the gateway's time stamps.
fn shown(message: &Value) -> Value {
    let mut out = Map::new();
    for key in SHOWN {
        if let Some(v) = message.get(*key).filter(|v| !v.is_null()) {
            out.insert((*key).into(), v.clone());
        }
    }
    let user = message["role"] == "user";
    if let Some(Value::String(text)) = out.get("content") {
        out.insert("content".into(), json!([{"type": "text", "text": text}]));
    }
    for part in out
        .get_mut("content")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        let Some(text) = part["text"].as_str() else {
            continue;
        };
        let text = if user {
            transcript::without_stamp(text)
        } else {
            text
        };
        let cut = clip(text, MAX_TEXT);
        let cut = if cut.len() < text.len() {
            format!("{cut}\n…(truncated)…")
        } else {
            cut.to_string()
        };
        part["text"] = json!(cut);
    }
    Value::Object(out)
}

fn inject(call: &Call<'_>) -> Result<Reply, RpcError> {
    let gateway = call.gateway;
    let (key, sent) = keys(call);
    let config = gateway.config.current();
    let entry = gateway
        .sessions
        .get(&key)?
        .filter(|e| e.session_id().is_some());
    let entry: Entry = entry.ok_or_else(|| RpcError::invalid("session not found"))?;
    let agent = session_key::agent_of(&key, &config::agents::default_id(&config));
    let workspace = config::agents::workspace(&config, &gateway.locations, &agent);
    let path = gateway.sessions.transcript(&key, &entry);
    let path = path.ok_or_else(|| RpcError::invalid("session not found"))?;
    let text = call.str("message").unwrap_or_default();
    let text = match call.text("label") {
        Some(label) => format!("[{label}]\n\n{text}"),
        None => text.to_string(),
    };
    let now = clock::now_ms();
    let zero = json!({"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0, "total": 0});
    let message = json!({
        "role": "assistant",
        "content": [{"type": "text", "text": text}],
        "timestamp": now,
        "stopReason": "stop",
        "usage": {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0, "totalTokens": 0, "cost": zero},
        "api": "openai-responses",
        "provider": "openclaw",
        "model": "gateway-injected",
    });
    let line = Line::message(message.clone());
    let ids = Transcript::new(path, entry.session_id().unwrap_or_default(), &workspace)
        .append(&[line])
        .map_err(|e| RpcError::unavailable(format!("transcript not written: {e}")))?;
    let message_id = ids.into_iter().next().unwrap_or_else(id::hex8);
    let event = json!({
        "runId": format!("inject-{message_id}"), "sessionKey": sent, "seq": 0, "state": "final", "message": message,
    });
    gateway.hub.publish(Event::Chat, &event.to_string());
    Ok(Reply::Value(json!({"ok": true, "messageId": message_id})))
}
