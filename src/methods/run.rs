//! `agent` and `agent.wait`: a run in two stages, and waiting for one.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::identity::agent_of;
use super::sessions::canonical;
use super::{Access, Call, Method, Reply, Responder};
use crate::agent::attachments;
use crate::agent::commands::{self, Caller, Place};
use crate::agent::provider::Thinking;
use crate::agent::run::{Callbacks, RunRequest, Source, refusal};
use crate::config::{self, Config};
use crate::gateway::answers::{Begun, Kind as Asked};
use crate::protocol::frame::clip;
use crate::protocol::shape::{Field, Kind, Shape, at_least, opt, req};
use crate::protocol::{RpcError, Scope};
use crate::state::session_key;
use crate::sys::clock;

const WRITE: Access = Access::Operator(Scope::Write);
/// How long `agent.wait` waits when the caller does not say, and at most, in milliseconds.
const WAIT_MS: u64 = 30_000;
const MAX_WAIT_MS: u64 = 24 * 3_600_000;
/// Longest message, in bytes.
const MAX_MESSAGE: usize = 4 * 1024 * 1024;
/// Texts of `channel` that name no channel.
const NO_CHANNEL: &[&str] = &["last", "webchat"];

/// Attachments as `agent` and `chat.send` take them; their content is checked by `agent::attachments`.
pub const ATTACHMENTS: Kind = Kind::List(&Kind::Any);

const PROVENANCE: Shape = Shape::lenient(&[req("kind", Kind::NonEmpty)]);
const AGENT: &[Field] = &[
    req("message", Kind::NonEmpty),
    req("idempotencyKey", Kind::NonEmpty),
    opt("agentId", Kind::NonEmpty),
    opt("to", Kind::Text),
    opt("replyTo", Kind::Text),
    opt("sessionId", Kind::Text),
    opt("sessionKey", Kind::Text),
    opt("thinking", Kind::Text),
    opt("deliver", Kind::Bool),
    opt("attachments", ATTACHMENTS),
    opt("channel", Kind::Text),
    opt("replyChannel", Kind::Text),
    opt("accountId", Kind::Text),
    opt("replyAccountId", Kind::Text),
    opt("threadId", Kind::Text),
    opt("groupId", Kind::Text),
    opt("groupChannel", Kind::Text),
    opt("groupSpace", Kind::Text),
    opt("timeout", at_least(0)),
    opt("bestEffortDeliver", Kind::Bool),
    opt("lane", Kind::Text),
    opt("extraSystemPrompt", Kind::Text),
    opt("inputProvenance", Kind::Object(&PROVENANCE)),
    opt("label", Kind::Length(1, 64)),
    opt("spawnedBy", Kind::Text),
];

/// The family.
pub const METHODS: &[Method] = &[
    Method::new(
        "agent",
        WRITE,
        Shape::strict(AGENT),
        agent,
        "starts a run: accepted at once, the outcome in a second response with the same id",
    ),
    Method::new(
        "agent.wait",
        WRITE,
        Shape::strict(&[req("runId", Kind::NonEmpty), opt("timeoutMs", at_least(0))]),
        wait,
        "waits for the end of a run; a passed timeout is a status, not an error",
    )
    .waits(),
];

fn wait(call: &Call<'_>) -> Result<Reply, RpcError> {
    let limit = call.u64("timeoutMs").unwrap_or(WAIT_MS).min(MAX_WAIT_MS);
    let run_id = call.str("runId").unwrap_or_default();
    Ok(Reply::Value(
        call.gateway.runs.wait(run_id, Duration::from_millis(limit)),
    ))
}

/// Which session a call of `agent` means.
struct Target {
    agent: String,
    /// Canonical key, and the key as it was sent.
    key: Option<(String, String)>,
    /// A transcript of its own, when a session id was given that no session has.
    session_id: Option<String>,
}

fn agent(call: &Call<'_>) -> Result<Reply, RpcError> {
    let gateway = call.gateway;
    let config = gateway.config.current();
    let message = call.str("message").unwrap_or_default();
    if message.len() > MAX_MESSAGE {
        return Err(RpcError::invalid(format!(
            "message too long: at most {MAX_MESSAGE} bytes"
        )));
    }
    let target = target(call, &config)?;
    check_channel(call)?;
    if let Some((key, _)) = &target.key {
        check_send_policy(call, &config, key)?;
    }
    if call.bool("deliver") == Some(true) && call.text("channel").is_none_or(|c| c == "last") {
        return Err(RpcError::invalid(
            "Error: Channel is required (no configured channels detected).",
        ));
    }
    let run_id = call.str("idempotencyKey").unwrap_or_default().to_string();
    let images = attachments::images(call.params.get("attachments"))?;
    let accepted_at = clock::now_ms();
    let first = json!({"runId": run_id, "status": "accepted", "acceptedAt": accepted_at});
    match gateway.answers.begin(Asked::Agent, &run_id, &first) {
        Begun::New => {}
        Begun::Running(answer) | Begun::Done(answer) => return answer.map(Reply::Value),
    }
    let responder = call.responder();
    if let Some(word) = call
        .text("thinking")
        .filter(|w| Thinking::parse(w).is_none())
    {
        let why = format!(
            "Invalid thinking level \"{}\". Use one of: off, minimal, low, medium, high.",
            clip(word, 64)
        );
        return refuse_late(call, &run_id, &first, &why);
    }
    let Some(request) = request(call, target, &run_id, images, accepted_at) else {
        let why = "Pass --to <E.164>, --session-id, or --agent to choose a session";
        return refuse_late(call, &run_id, &first, why);
    };
    let request = after_reset(call, request)
        .inspect_err(|_| gateway.answers.forget(Asked::Agent, &run_id))?;
    let label = label_fields(call);
    if let (Some(key), false) = (&request.session_key, label.is_empty()) {
        gateway.sessions.update(key, |entry| entry.extend(label))?;
    }
    start(call, request, first, responder).inspect_err(|_| {
        gateway.answers.forget(Asked::Agent, &run_id);
    })?;
    Ok(Reply::Later)
}

/// Accepts a call and refuses it at once, as clients of the reference expect it.
fn refuse_late(call: &Call<'_>, run_id: &str, first: &Value, why: &str) -> Result<Reply, RpcError> {
    let (responder, error) = (call.responder(), refusal(run_id, why));
    responder.ok(first);
    responder.err(&error);
    call.gateway.answers.end(Asked::Agent, run_id, Err(error));
    Ok(Reply::Later)
}

/// `/new` and `/reset` at the beginning of the message start the session anew first (SC-05: admins only).
fn after_reset(call: &Call<'_>, mut request: RunRequest) -> Result<RunRequest, RpcError> {
    if let Some(key) = &request.session_key {
        let place = Place {
            agent: request.agent.clone(),
            key: key.clone(),
            sent_key: request.sent_key.clone().unwrap_or_else(|| key.clone()),
        };
        let caller = Caller {
            client_id: call.client.client_id(),
            scopes: &call.client.scopes,
        };
        if let Some(text) =
            commands::before_agent(&call.gateway.runs, &caller, &place, &request.message)?
        {
            request.message = text;
        }
    }
    Ok(request)
}

fn start(
    call: &Call<'_>,
    request: RunRequest,
    first: Value,
    responder: Responder,
) -> Result<(), RpcError> {
    let (answers, run_id) = (call.gateway.answers.clone(), request.run_id.clone());
    let early = responder.clone();
    let callbacks = Callbacks {
        on_accepted: Box::new(move |_| early.ok(&first)),
        on_outcome: Box::new(move |result| answers.end(Asked::Agent, &run_id, result.answer())),
        on_done: Box::new(move |result| match result.answer() {
            Ok(payload) => responder.ok(&payload),
            Err(error) => responder.err(&error),
        }),
        ..Callbacks::default()
    };
    call.gateway.runs.start(request, callbacks)
}

fn request(
    call: &Call<'_>,
    target: Target,
    run_id: &str,
    images: Vec<crate::agent::provider::Part>,
    accepted_at: u64,
) -> Option<RunRequest> {
    if target.key.is_none() && target.session_id.is_none() {
        return None;
    }
    let mut request = RunRequest::new(
        target.agent,
        call.str("message").unwrap_or_default(),
        Source::Agent,
    );
    request.run_id = run_id.to_string();
    (request.session_key, request.sent_key) = target.key.unzip();
    request.session_id = target.session_id;
    request.images = images;
    request.extra_system = call.text("extraSystemPrompt").map(str::to_string);
    // The wire counts in seconds here; nothing or 0 means the configured limit.
    request.timeout_ms = call
        .u64("timeout")
        .filter(|s| *s > 0)
        .map(|s| s.saturating_mul(1000));
    request.thinking = call.text("thinking").and_then(Thinking::parse);
    request.channel = call.text("channel").map(str::to_string);
    request.accepted_at = accepted_at;
    // Whoever cannot change the gateway by a method cannot have a model do it (SC-09).
    request.owner = call.may(Scope::Admin);
    request.watcher = call
        .client
        .has_cap("tool-events")
        .then_some(call.client.number);
    Some(request)
}

/// Fields of the session that a call may set.
fn label_fields(call: &Call<'_>) -> Map<String, Value> {
    let mut fields = Map::new();
    for key in ["label", "spawnedBy"] {
        if let Some(v) = call.text(key) {
            fields.insert(key.into(), json!(v));
        }
    }
    fields
}

fn target(call: &Call<'_>, config: &Config) -> Result<Target, RpcError> {
    let unknown = |id: &str| {
        RpcError::invalid(format!(
            "invalid agent params: unknown agent id \"{}\"",
            clip(id, 128)
        ))
    };
    if let Some(id) = call
        .text("agentId")
        .filter(|id| !config::agents::exists(config, id))
    {
        return Err(unknown(id));
    }
    let sent = call.text("sessionKey");
    let agent = agent_of(config, "agent", call.text("agentId"), sent)?;
    if !config::agents::exists(config, &agent) {
        return Err(unknown(&agent));
    }
    let main = || {
        let key = session_key::main_key(&agent);
        (key.clone(), key)
    };
    let (mut key, mut session_id) = (None, None);
    if let Some(sent) = sent {
        key = Some((canonical(config, sent), sent.to_string()));
    } else if let Some(id) = call.text("sessionId") {
        let known = call
            .gateway
            .sessions
            .find_session_id(&config::agents::ids(config), id)?;
        match known {
            Some(found) => key = Some((found.clone(), found)),
            None => session_id = Some(id.to_string()),
        }
    } else if call.text("agentId").is_some() || call.text("to").is_some() {
        key = Some(main());
    }
    Ok(Target {
        agent,
        key,
        session_id,
    })
}

fn check_channel(call: &Call<'_>) -> Result<(), RpcError> {
    let named = ["channel", "replyChannel"]
        .iter()
        .filter_map(|k| call.text(k));
    for channel in named {
        if !NO_CHANNEL.contains(&channel) && !config::schema::is_channel(channel) {
            let channel = clip(channel, 64);
            return Err(RpcError::invalid(format!(
                "invalid agent params: unknown channel: {channel}"
            )));
        }
    }
    Ok(())
}

/// Refuses what the session's own policy, or a rule of `session.sendPolicy`, denies.
pub fn check_send_policy(call: &Call<'_>, config: &Config, key: &str) -> Result<(), RpcError> {
    let entry = call.gateway.sessions.get(key)?;
    let allowed = crate::agent::send_policy::allows(config, key, entry.as_ref());
    if allowed {
        Ok(())
    } else {
        Err(RpcError::invalid("send blocked by session policy"))
    }
}
