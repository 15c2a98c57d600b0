//! Sessions: listing, previews, settings, starting anew, forgetting, shortening.

use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Access, Call, Method, Reply};
use crate::agent::models;
use crate::config::{self, Config};
use crate::protocol::shape::{Field, Kind, Shape, at_least, opt, req};
use crate::protocol::{RpcError, Scope};
use crate::state::sessions::{Compacted, Entry, Filter, row};
use crate::state::{session_key, transcript};
use crate::sys::clock;

const READ: Access = Access::Operator(Scope::Read);
const ADMIN: Access = Access::Operator(Scope::Admin);

/// Keys of one `sessions.preview` that are answered.
const MAX_PREVIEWS: usize = 64;
/// Lines that `sessions.compact` keeps when the caller does not say.
const KEPT_LINES: usize = 400;

const TEXT_OR_NULL: Kind = Kind::OrNull(&Kind::NonEmpty);
const PATCH: &[Field] = &[
    req("key", Kind::NonEmpty),
    opt(
        "label",
        Kind::OrNull(&Kind::Length(1, crate::state::sessions::LABEL_MAX)),
    ),
    opt("thinkingLevel", TEXT_OR_NULL),
    opt("verboseLevel", TEXT_OR_NULL),
    opt("reasoningLevel", TEXT_OR_NULL),
    opt(
        "responseUsage",
        Kind::OrNull(&Kind::OneOf(&["off", "tokens", "full", "on"])),
    ),
    opt("elevatedLevel", TEXT_OR_NULL),
    opt("execHost", TEXT_OR_NULL),
    opt("execSecurity", TEXT_OR_NULL),
    opt("execAsk", TEXT_OR_NULL),
    opt("execNode", TEXT_OR_NULL),
    opt("model", TEXT_OR_NULL),
    opt("spawnedBy", TEXT_OR_NULL),
    opt("spawnDepth", Kind::OrNull(&at_least(0))),
    opt("sendPolicy", Kind::OrNull(&Kind::OneOf(&["allow", "deny"]))),
    opt(
        "groupActivation",
        Kind::OrNull(&Kind::OneOf(&["mention", "always"])),
    ),
];

/// The family.
pub const METHODS: &[Method] = &[
    Method::new(
        "sessions.list",
        READ,
        Shape::strict(&[
            opt("limit", at_least(1)),
            opt("activeMinutes", at_least(1)),
            opt("includeGlobal", Kind::Bool),
            opt("includeUnknown", Kind::Bool),
            opt("includeDerivedTitles", Kind::Bool),
            opt("includeLastMessage", Kind::Bool),
            opt("label", Kind::Length(1, 64)),
            opt("spawnedBy", Kind::NonEmpty),
            opt("agentId", Kind::NonEmpty),
            opt("search", Kind::Text),
        ]),
        list,
        "the sessions of all agents, the last used first",
    ),
    Method::new(
        "sessions.preview",
        READ,
        Shape::strict(&[
            req("keys", Kind::ListOf(1, &Kind::NonEmpty)),
            opt("limit", at_least(1)),
            opt("maxChars", at_least(20)),
        ]),
        preview,
        "the last messages of some sessions, shortened",
    ),
    Method::new(
        "sessions.patch",
        ADMIN,
        Shape::strict(PATCH),
        patch,
        "sets or clears settings; null clears",
    ),
    Method::new(
        "sessions.reset",
        ADMIN,
        Shape::strict(&[
            req("key", Kind::NonEmpty),
            opt("reason", Kind::OneOf(&["new", "reset"])),
        ]),
        reset,
        "starts a session anew; the transcript is archived",
    )
    .waits(),
    Method::new(
        "sessions.delete",
        ADMIN,
        Shape::strict(&[
            req("key", Kind::NonEmpty),
            opt("deleteTranscript", Kind::Bool),
            opt("emitLifecycleHooks", Kind::Bool),
        ]),
        delete,
        "forgets a session; the transcript is archived unless deleteTranscript is false",
    )
    .waits(),
    Method::new(
        "sessions.compact",
        ADMIN,
        Shape::strict(&[req("key", Kind::NonEmpty), opt("maxLines", at_least(1))]),
        compact,
        "cuts a transcript to its last lines; the whole of it is kept aside",
    ),
    Method::new(
        "sessions.resolve",
        READ,
        Shape::strict(&[
            opt("key", Kind::NonEmpty),
            opt("sessionId", Kind::NonEmpty),
            opt("label", Kind::Length(1, 64)),
            opt("agentId", Kind::NonEmpty),
            opt("spawnedBy", Kind::NonEmpty),
            opt("includeGlobal", Kind::Bool),
            opt("includeUnknown", Kind::Bool),
        ]),
        resolve,
        "the key of a session by key, id or label",
    )
    .unlisted(),
];

/// The key as it is stored.
pub fn canonical(config: &Config, key: &str) -> String {
    let default = config::agents::default_id(config);
    match config.str("session.scope") {
        Some("global") => session_key::canonical_global(key, &default),
        _ => session_key::canonical(key, &default),
    }
}

fn key_of(call: &Call<'_>) -> Result<String, RpcError> {
    let key = call
        .text("key")
        .ok_or_else(|| RpcError::invalid("key required"))?;
    Ok(canonical(&call.gateway.config.current(), key))
}

/// Agents whose sessions are looked at: the configured ones, then those that only left files.
fn agents(call: &Call<'_>, config: &Config) -> Vec<String> {
    let mut ids = config::agents::ids(config);
    for id in call.gateway.sessions.agents_on_disk() {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

fn list(call: &Call<'_>) -> Result<Reply, RpcError> {
    let gateway = call.gateway;
    let config = gateway.config.current();
    let size = |key: &str| {
        call.u64(key)
            .map(|n| usize::try_from(n).unwrap_or(usize::MAX))
    };
    let filter = Filter {
        limit: size("limit"),
        active_minutes: call.u64("activeMinutes"),
        search: call.text("search").map(str::to_string),
        label: call.text("label").map(str::to_string),
        spawned_by: call.text("spawnedBy").map(str::to_string),
        agent: call.text("agentId").map(str::to_string),
        include_global: call.bool("includeGlobal").unwrap_or(false),
        include_unknown: call.bool("includeUnknown").unwrap_or(false),
    };
    let titles = call.bool("includeDerivedTitles").unwrap_or(false);
    let last = call.bool("includeLastMessage").unwrap_or(false);
    let default_id = config::agents::default_id(&config);
    let default_model = models::primary(&config, &default_id);
    let rows = gateway.sessions.list(&agents(call, &config), &filter)?;
    let sessions: Vec<Value> = rows
        .iter()
        .map(|r| {
            let mut row = row(&r.key, &r.entry);
            let agent = session_key::agent_of(&r.key, &default_id);
            let model = models::primary(&config, &agent);
            row.entry("modelProvider")
                .or_insert_with(|| json!(model.provider));
            row.entry("model").or_insert_with(|| json!(model.model));
            if titles || last {
                add_texts(call, &r.key, &r.entry, &mut row, titles, last);
            }
            Value::Object(row)
        })
        .collect();
    Ok(Reply::Value(json!({
        "ts": clock::now_ms(),
        "path": shown_path(call, &config, &default_id),
        "count": sessions.len(),
        "defaults": {
            "modelProvider": default_model.provider,
            "model": default_model.model,
            "contextTokens": config::agents::context_tokens(&config, &default_model),
        },
        "sessions": sessions,
    })))
}

/// Where the sessions are: a path for admins, when there is but one file.
fn shown_path(call: &Call<'_>, config: &Config, default_id: &str) -> Value {
    match agents(call, config).len() {
        1 if call.may(Scope::Admin) => json!(call.gateway.paths.sessions_file(default_id)),
        1 => json!("[redacted]"),
        _ => json!("(multiple)"),
    }
}

fn add_texts(
    call: &Call<'_>,
    key: &str,
    entry: &Entry,
    row: &mut Map<String, Value>,
    titles: bool,
    last: bool,
) {
    let path = call.gateway.sessions.transcript(key, entry);
    let (first_text, last_text) = path
        .and_then(|p| transcript::title_fields(&p).ok())
        .unwrap_or_default();
    if titles && let Some(title) = transcript::title(entry, first_text.as_deref()) {
        row.insert("derivedTitle".into(), json!(title));
    }
    if last && let Some(text) = last_text {
        row.insert("lastMessagePreview".into(), json!(text));
    }
}

fn preview(call: &Call<'_>) -> Result<Reply, RpcError> {
    let config = call.gateway.config.current();
    let limit = call.u64("limit").unwrap_or(12) as usize;
    let chars = call.u64("maxChars").unwrap_or(240) as usize;
    let keys = call.params["keys"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    let previews: Vec<Value> = keys
        .take(MAX_PREVIEWS)
        .map(|key| {
            let (status, items) = match items(call, &canonical(&config, key), limit, chars) {
                Ok(None) => ("missing", Vec::new()),
                Ok(Some(items)) if items.is_empty() => ("empty", items),
                Ok(Some(items)) => ("ok", items),
                Err(e) => {
                    log::warn!(target: "gateway", "sessions.preview: {e}");
                    ("error", Vec::new())
                }
            };
            json!({"key": key, "status": status, "items": items})
        })
        .collect();
    Ok(Reply::Value(
        json!({"ts": clock::now_ms(), "previews": previews}),
    ))
}

fn items(
    call: &Call<'_>,
    key: &str,
    limit: usize,
    chars: usize,
) -> Result<Option<Vec<Value>>, RpcError> {
    let Some(entry) = call.gateway.sessions.get(key)? else {
        return Ok(None);
    };
    let Some(path) = call.gateway.sessions.transcript(key, &entry) else {
        return Ok(Some(Vec::new()));
    };
    let items = transcript::preview(&path, limit, chars).map_err(|e| unreadable(&path, &e))?;
    Ok(Some(
        items
            .iter()
            .map(|i| json!({"role": i.role, "text": i.text}))
            .collect(),
    ))
}

fn unreadable(path: &Path, e: &std::io::Error) -> RpcError {
    RpcError::unavailable(format!("transcript {}: {e}", path.display()))
}

fn refuse_webchat(call: &Call<'_>, verb: &str) -> Result<(), RpcError> {
    match call.client.is_webchat() {
        true => Err(RpcError::invalid(format!(
            "webchat clients cannot {verb} sessions; use chat.send for session-scoped updates"
        ))),
        false => Ok(()),
    }
}

fn patch(call: &Call<'_>) -> Result<Reply, RpcError> {
    refuse_webchat(call, "patch")?;
    let key = key_of(call)?;
    let config = call.gateway.config.current();
    let agent = session_key::agent_of(&key, &config::agents::default_id(&config));
    let mut settings = call.params.as_object().cloned().unwrap_or_default();
    settings.remove("key");
    let names = models::ByName {
        config: &config,
        agent: &agent,
    };
    let entry = call.gateway.sessions.patch(&key, &settings, &names)?;
    let default = models::primary(&config, &agent);
    let provider = entry.text("providerOverride").unwrap_or(&default.provider);
    let model = entry.text("modelOverride").unwrap_or(&default.model);
    Ok(Reply::Value(json!({
        "ok": true,
        "path": call.gateway.sessions.file(&key),
        "key": key,
        "entry": entry.map(),
        "resolved": {"modelProvider": provider, "model": model},
    })))
}

/// How long a run may take to end before its session is taken away.
const END_RUNS: Duration = Duration::from_secs(15);

/// Stops what runs in the session, so that nothing is written into the new one.
fn end_runs(call: &Call<'_>, key: &str) -> Result<(), RpcError> {
    match call.gateway.runs.end_session(key, END_RUNS) {
        true => Ok(()),
        false => Err(
            RpcError::unavailable(format!("session {key} is still running; try again"))
                .retry_after(1000),
        ),
    }
}

fn reset(call: &Call<'_>) -> Result<Reply, RpcError> {
    let key = key_of(call)?;
    end_runs(call, &key)?;
    let ended = call.gateway.sessions.reset(&key)?;
    Ok(Reply::Value(
        json!({"ok": true, "key": key, "entry": ended.new.map(Entry::into_map)}),
    ))
}

fn delete(call: &Call<'_>) -> Result<Reply, RpcError> {
    refuse_webchat(call, "delete")?;
    let key = key_of(call)?;
    let main = session_key::main_key(&config::agents::default_id(&call.gateway.config.current()));
    if key == main || key == session_key::GLOBAL {
        return Err(RpcError::invalid(format!(
            "Cannot delete the main session ({key})."
        )));
    }
    end_runs(call, &key)?;
    let archive = call.bool("deleteTranscript").unwrap_or(true);
    let ended = call.gateway.sessions.delete(&key, archive)?;
    Ok(Reply::Value(json!({
        "ok": true, "key": key, "deleted": ended.old.is_some(), "archived": ended.archived,
    })))
}

fn compact(call: &Call<'_>) -> Result<Reply, RpcError> {
    let key = key_of(call)?;
    let lines = call
        .u64("maxLines")
        .map_or(KEPT_LINES, |n| usize::try_from(n).unwrap_or(usize::MAX));
    let mut answer = json!({"ok": true, "key": key, "compacted": false});
    match call.gateway.sessions.compact(&key, lines)? {
        Compacted::NoSession => answer["reason"] = json!("no sessionId"),
        Compacted::NoTranscript => answer["reason"] = json!("no transcript"),
        Compacted::Short { kept } => answer["kept"] = json!(kept),
        Compacted::Cut { kept, archived } => {
            answer["compacted"] = json!(true);
            answer["archived"] = json!(archived);
            answer["kept"] = json!(kept);
        }
    }
    Ok(Reply::Value(answer))
}

fn resolve(call: &Call<'_>) -> Result<Reply, RpcError> {
    let gateway = call.gateway;
    let config = gateway.config.current();
    let given = ["key", "sessionId", "label"]
        .iter()
        .filter(|k| call.text(k).is_some())
        .count();
    if given != 1 {
        let text = match given {
            0 => "Either key, sessionId or label is required",
            _ => "Provide either key, sessionId or label (not more than one)",
        };
        return Err(RpcError::invalid(text));
    }
    let all = agents(call, &config);
    let found = if let Some(key) = call.text("key") {
        let key = canonical(&config, key);
        gateway.sessions.get(&key)?.map(|_| key)
    } else if let Some(id) = call.text("sessionId") {
        gateway.sessions.find_session_id(&all, id)?
    } else {
        gateway
            .sessions
            .find_label(&all, call.text("label").unwrap_or(""))?
    };
    let asked = ["key", "sessionId", "label"]
        .iter()
        .find_map(|k| call.text(k))
        .unwrap_or("");
    let key = found.ok_or_else(|| RpcError::invalid(format!("No session found: {asked}")))?;
    Ok(Reply::Value(json!({"ok": true, "key": key})))
}
