//! The session of a run: opening it, storing what the user said and what came of it.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::{Deps, RunRequest, Source, content};
use crate::agent::model::{Cost, Model};
use crate::agent::models;
use crate::agent::prompt;
use crate::agent::provider::{Part, Thinking, Usage};
use crate::agent::stamp::stamp;
use crate::config::Config;
use crate::config::agents::{self, ModelRef};
use crate::protocol::RpcError;
use crate::state::sessions::{Entry, Freshness, Policy, Renewal};
use crate::state::system_events;
use crate::state::transcript::{Line, Transcript};
use crate::sys::clock;

/// Name of the field that tells which run a stored message belongs to.
pub const RUN_FIELD: &str = "idempotencyKey";

/// An open session.
pub struct Session {
    /// Canonical; `None` for a transcript without an entry in sessions.json.
    pub key: Option<String>,
    pub id: String,
    pub transcript: Transcript,
    pub entry: Option<Entry>,
    /// Where the transcript ended before this run.
    mark: u64,
}

impl Session {
    /// Opens the session of `request`: makes it when it is new, and starts it anew when it is stale.
    pub fn open(deps: &Deps, config: &Config, request: &RunRequest) -> Result<Session, RpcError> {
        let workspace = agents::workspace(config, &deps.locations, &request.agent);
        let no_transcript = || RpcError::invalid("the session id cannot name a transcript");
        let Some(key) = &request.session_key else {
            let id = request.session_id.clone().ok_or_else(no_transcript)?;
            let path = deps.paths.transcript(&request.agent, &id);
            let path = path.ok_or_else(no_transcript)?;
            return Ok(Session {
                key: None,
                transcript: Transcript::new(path, &id, &workspace),
                id,
                entry: None,
                mark: 0,
            });
        };
        let mut entry = deps.sessions.get(key)?;
        if let Some(old) = &entry
            && is_stale(config, key, old)
        {
            entry = deps.sessions.renew(key, Renewal::Stale)?.new;
        }
        let entry = match entry.filter(|e| e.session_id().is_some()) {
            Some(entry) => entry,
            None => deps.sessions.update(key, |map| surface(map, request))?,
        };
        let path = deps.sessions.transcript(key, &entry);
        let path: PathBuf = path.ok_or_else(no_transcript)?;
        let id = entry.session_id().unwrap_or_default().to_string();
        Ok(Session {
            key: Some(key.clone()),
            transcript: Transcript::new(path, &id, &workspace),
            id,
            entry: Some(entry),
            mark: 0,
        })
    }

    /// The model that the session runs: the request's, the one chosen for the session, the agent's.
    pub fn model(&self, config: &Config, request: &RunRequest) -> ModelRef {
        if let Some(name) = &request.model {
            return agents::resolve(config, name);
        }
        chosen_model(self.entry.as_ref()).unwrap_or_else(|| models::primary(config, &request.agent))
    }

    /// How hard the model is to think.
    pub fn thinking(&self, config: &Config, request: &RunRequest) -> Thinking {
        request
            .thinking
            .or_else(|| Thinking::parse(self.entry.as_ref()?.text("thinkingLevel")?))
            .unwrap_or_else(|| prompt::default_thinking(config, &request.agent))
    }

    /// Stores what the user said, with what happened since the last turn before it. On disk when this
    /// returns.
    pub fn store_user(
        &mut self,
        deps: &Deps,
        config: &Config,
        request: &RunRequest,
    ) -> Result<(), RpcError> {
        let now = clock::now_ms();
        let mut text = request.message.clone();
        if request.source.is_stamped() {
            text = stamp(&text, now, config.str("agents.defaults.userTimezone"));
        }
        let notes = self.key.as_deref().map(|k| deps.notes.peek(k));
        let notes = notes.unwrap_or_default();
        if !notes.is_empty() {
            text = format!("{}\n\n{text}", system_events::quote(&notes));
        }
        let mut parts = vec![Part::Text(text)];
        parts.extend(request.images.iter().cloned());
        let message = json!({
            "role": "user", "content": content(&parts), "timestamp": now, RUN_FIELD: request.run_id,
        });
        let model = self.model(config, request);
        let mut lines = Vec::new();
        let told = self
            .entry
            .as_ref()
            .map(|e| (e.text("modelProvider"), e.text("model")));
        let same = Some((Some(model.provider.as_str()), Some(model.model.as_str())));
        let fresh = !self.transcript.exists();
        if fresh || told != same {
            lines.push(Line::model_change(&model.provider, &model.model));
        }
        if fresh {
            let level = self.thinking(config, request);
            lines.push(Line::thinking_level_change(level.as_str()));
        }
        if fresh || told != same {
            let api = config.get_in(&["models", "providers", &model.provider, "api"]);
            lines.push(Line::custom(
                "model-snapshot",
                json!({
                    "timestamp": now, "provider": model.provider, "modelId": model.model,
                    "modelApi": api.and_then(Value::as_str).unwrap_or(&model.provider),
                }),
            ));
        }
        lines.push(Line::message(message));
        self.mark = self.transcript.mark().unwrap_or(0);
        self.append(&lines)?;
        if let (Some(key), Some(last)) = (&self.key, notes.last())
            && let Err(e) = deps.notes.confirm(key, last.id)
        {
            log::warn!(target: "agent", "events of {key} may be told twice: {e}");
        }
        Ok(())
    }

    /// Appends `lines`; on disk when this returns.
    pub fn append(&self, lines: &[Line]) -> Result<(), RpcError> {
        self.transcript.append(lines).map_err(|e| {
            let path = self.transcript.path().display();
            log::error!(target: "agent", "cannot write {path}: {e}");
            RpcError::unavailable(format!("the session cannot be stored: {e}"))
        })?;
        Ok(())
    }

    /// Takes back what this run has stored, as if it had not been.
    pub fn forget(&self, deps: &Deps) {
        if let Err(e) = self.transcript.rewind(self.mark) {
            let path = self.transcript.path().display();
            log::error!(target: "agent", "cannot take a run back from {path}: {e}");
        }
        let (Some(key), Some(entry)) = (&self.key, &self.entry) else {
            return;
        };
        let restored = deps.sessions.update_session(key, &self.id, |map| {
            map.insert("updatedAt".into(), json!(entry.updated_at()));
        });
        if let Err(e) = restored {
            log::error!(target: "agent", "cannot restore the session {key}: {e}");
        }
    }

    /// Brings the entry up to date after a run. A session that was reset meanwhile is left alone.
    pub fn settle(&self, deps: &Deps, request: &RunRequest, model: Option<&Model>, spent: &Spent) {
        let Some(key) = &self.key else {
            return;
        };
        let path = self.transcript.path().display().to_string();
        let change = |map: &mut Map<String, Value>| {
            surface(map, request);
            map.insert("sessionFile".into(), json!(path));
            map.insert("abortedLastRun".into(), json!(spent.aborted));
            if request.source == Source::Chat {
                map.insert("systemSent".into(), json!(true));
            }
            if let Some(model) = model {
                map.insert("modelProvider".into(), json!(model.provider));
                map.insert("model".into(), json!(model.id));
                map.insert("contextTokens".into(), json!(model.context_window));
            }
            if spent.calls > 0 {
                map.insert("inputTokens".into(), json!(spent.all.input));
                map.insert("outputTokens".into(), json!(spent.all.output));
                map.insert("cacheRead".into(), json!(spent.all.cache_read));
                map.insert("cacheWrite".into(), json!(spent.all.cache_write));
                map.insert("totalTokens".into(), json!(spent.last.prompt()));
                map.insert("totalTokensFresh".into(), json!(true));
            }
        };
        if let Err(e) = deps.sessions.update_session(key, &self.id, change) {
            log::error!(target: "agent", "cannot update the session {key}: {e}");
        }
    }
}

/// The model that was chosen for a session.
pub fn chosen_model(entry: Option<&Entry>) -> Option<ModelRef> {
    let entry = entry?;
    Some(ModelRef {
        provider: entry.text("providerOverride")?.to_string(),
        model: entry.text("modelOverride")?.to_string(),
    })
}

/// Whether the session is to start anew before it is used.
fn is_stale(config: &Config, key: &str, entry: &Entry) -> bool {
    let channel = entry.text("lastChannel");
    let policy = Policy::from_config(config.get("session"), key, channel);
    let zone = jiff::tz::TimeZone::system();
    policy.freshness(entry.updated_at(), clock::now_ms(), &zone) != Freshness::Fresh
}

/// What the entry says about where the session is held.
fn surface(map: &mut Map<String, Value>, request: &RunRequest) {
    if request.source != Source::Chat {
        return;
    }
    let mut fill = |name: &str, value: Value| {
        map.entry(name).or_insert(value);
    };
    fill("chatType", json!("direct"));
    fill("deliveryContext", json!({"channel": "webchat"}));
    fill("lastChannel", json!("webchat"));
    fill(
        "origin",
        json!({"provider": "webchat", "surface": "webchat", "chatType": "direct"}),
    );
}

/// What a run used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    pub all: Usage,
    pub last: Usage,
    /// Calls of the model that gave an answer.
    pub calls: u32,
    pub aborted: bool,
}

impl Spent {
    pub fn add(&mut self, usage: &Usage) {
        self.calls += 1;
        self.last = *usage;
        self.all.input += usage.input;
        self.all.output += usage.output;
        self.all.cache_read += usage.cache_read;
        self.all.cache_write += usage.cache_write;
        // The size of the conversation, not a sum: the next call contains the one before.
        self.all.total = usage.total;
    }
}

/// `usage` of an assistant message in a transcript.
pub fn usage_value(usage: &Usage, cost: &Cost) -> Value {
    let price = |tokens: u64, per_million: f64| tokens as f64 * per_million / 1e6;
    let input = price(usage.input, cost.input);
    let output = price(usage.output, cost.output);
    let read = price(usage.cache_read, cost.cache_read);
    let write = price(usage.cache_write, cost.cache_write);
    json!({
        "input": usage.input, "output": usage.output,
        "cacheRead": usage.cache_read, "cacheWrite": usage.cache_write,
        "totalTokens": usage.total,
        "cost": {"input": input, "output": output, "cacheRead": read, "cacheWrite": write,
                 "total": input + output + read + write},
    })
}
