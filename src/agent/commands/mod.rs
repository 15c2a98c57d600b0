//! Chat commands: messages that begin with `/`, and stop words, answered without a model.
//!
//! A command does nothing that its sender could not do by a method: what changes a session asks for the
//! scope that `sessions.patch`, `sessions.reset` or `sessions.compact` ask for. What is not a command
//! goes on to the model as text.

mod settings;
mod table;
mod text;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::run::session::Session;
use super::run::{Output, RunRequest, Runs, Source, command_final};
use crate::config::Config;
use crate::protocol::{RpcError, Scope, Scopes};
use crate::state::sessions::{Compacted, Entry, Renewal};
use crate::state::transcript::Line;
use crate::sys::clock;

use table::{Does, find};
pub use text::card;

/// Name of the field that marks a stored message as the answer to a command: no model gets to see it.
pub const COMMAND_FIELD: &str = "openclawCommand";
/// How long a reset waits for the run that it stops.
const END_TIME: Duration = Duration::from_secs(15);
/// Lines of a transcript that `/compact` keeps.
const KEPT_LINES: usize = 400;

/// Who sent the message.
pub struct Caller<'a> {
    /// `connect.client.id`.
    pub client_id: &'a str,
    pub scopes: &'a Scopes,
}

/// Where the message was sent to.
#[derive(Clone, Debug)]
pub struct Place {
    pub agent: String,
    /// Canonical.
    pub key: String,
    /// The key as it was sent.
    pub sent_key: String,
}

/// What became of a message.
pub enum Intercepted {
    /// It is not a command: it is for the model, as it is.
    No,
    /// The session was started anew; this is for the model.
    Run(String),
    /// It was answered.
    Reply(Said),
}

/// The answer to a command.
pub struct Said {
    place: Place,
    command: &'static str,
    pub text: String,
}

impl Said {
    /// Stores the answer in the transcript; the event that tells it.
    pub fn tell(self, runs: &Runs, run_id: &str) -> Output {
        let zero = json!({"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0, "total": 0});
        let message = json!({
            "role": "assistant",
            "content": [{"type": "text", "text": self.text}],
            "timestamp": clock::now_ms(),
            "stopReason": "stop",
            "usage": {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0, "totalTokens": 0,
                      "cost": zero},
            "api": "openai-responses",
            "provider": "openclaw",
            "model": "gateway-injected",
        });
        let mut stored = message.clone();
        stored[COMMAND_FIELD] = json!(self.command);
        if let Err(e) = self.store(runs, stored) {
            log::warn!(target: "agent", "the answer to {} is not stored: {e}", self.command);
        }
        command_final(run_id, &self.place.sent_key, &self.place.key, &message)
    }

    fn store(&self, runs: &Runs, message: Value) -> Result<(), RpcError> {
        let request = RunRequest {
            session_key: Some(self.place.key.clone()),
            ..RunRequest::new(self.place.agent.as_str(), "", Source::Chat)
        };
        let config = runs.deps().config.current();
        let session = Session::open(runs.deps(), &config, &request)?;
        session.append(&[Line::message(message)])
    }
}

/// Whether `message` asks to stop what goes on, and nothing else.
pub fn is_stop(message: &str) -> bool {
    let lower = message
        .to_lowercase()
        .replace(['\u{2019}', '\u{2018}'], "'");
    let words = lower
        .trim()
        .trim_end_matches(|c: char| ".!?,;:\u{2026}".contains(c));
    let words: Vec<&str> = words.split_whitespace().collect();
    table::STOP.contains(&words.join(" ").as_str())
}

/// Answers `message` if it is a command. To be asked once for a message, after its idempotency key was
/// taken; stop words are for [`is_stop`].
pub fn intercept(
    runs: &Arc<Runs>,
    caller: &Caller<'_>,
    place: &Place,
    message: &str,
) -> Result<Intercepted, RpcError> {
    let config = runs.deps().config.current();
    if let Some(rest) = after_reset(&config, message) {
        let model = reset(runs, caller, &config, place, rest)?;
        return Ok(match model {
            Reset::Text(text) => Intercepted::Run(text),
            Reset::Bare(text) => reply(place, "/new", text),
        });
    }
    let Some((name, argument)) = split(message) else {
        return Ok(Intercepted::No);
    };
    let Some(command) = find(name) else {
        return Ok(Intercepted::No);
    };
    let changes = !argument.is_empty() || command.always_changes;
    if let Some(scope) = command.scope.filter(|_| changes) {
        need(caller, scope)?;
    }
    let entry = runs.deps().sessions.get(&place.key)?;
    let view = View {
        runs,
        config: &config,
        place,
        entry: entry.as_ref(),
    };
    let text = match command.does {
        Does::Help => text::help(),
        Does::Commands => text::commands(),
        Does::Whoami => text::whoami(caller.client_id),
        Does::Status => text::status(&view),
        Does::Context => text::context(&view),
        Does::Queue => text::queue(&view),
        Does::Models => text::models(&view, argument),
        Does::Model => settings::model(&view, argument)?,
        Does::Set(setting) => settings::set(&view, setting, argument)?,
        Does::Compact => compact(&view)?,
        Does::Nothing => text::unavailable(&config, command.name),
    };
    Ok(reply(place, command.name, text))
}

/// What a run of the method `agent` is to be about: `/new` and `/reset` start the session anew first.
/// `None`: the message as it is.
pub fn before_agent(
    runs: &Arc<Runs>,
    caller: &Caller<'_>,
    place: &Place,
    message: &str,
) -> Result<Option<String>, RpcError> {
    let config = runs.deps().config.current();
    let Some(rest) = after_reset(&config, message) else {
        return Ok(None);
    };
    Ok(Some(match reset(runs, caller, &config, place, rest)? {
        Reset::Text(text) => text,
        Reset::Bare(_) => text::GREET.to_string(),
    }))
}

/// What a command looks at.
struct View<'a> {
    runs: &'a Runs,
    config: &'a Config,
    place: &'a Place,
    entry: Option<&'a Entry>,
}

fn reply(place: &Place, command: &'static str, text: String) -> Intercepted {
    Intercepted::Reply(Said {
        place: place.clone(),
        command,
        text,
    })
}

fn need(caller: &Caller<'_>, scope: Scope) -> Result<(), RpcError> {
    match caller.scopes.has(scope) {
        true => Ok(()),
        false => Err(RpcError::invalid(format!(
            "missing scope: {}",
            scope.as_str()
        ))),
    }
}

/// Name and argument of a command; `None` for anything else.
fn split(message: &str) -> Option<(&str, &str)> {
    let rest = message.trim().strip_prefix('/')?;
    let end = rest.find(|c: char| c.is_whitespace() || c == ':');
    let (name, argument) = rest.split_at(end.unwrap_or(rest.len()));
    let argument = argument.strip_prefix(':').unwrap_or(argument).trim();
    (!name.is_empty()).then_some((name, argument))
}

/// What follows a word that starts the session anew; `None` when the message does not begin with one.
fn after_reset<'m>(config: &Config, message: &'m str) -> Option<&'m str> {
    let message = message.trim();
    let configured = config.list("session.resetTriggers");
    let triggers: &[&str] = match configured.is_empty() {
        true => &["/new", "/reset"],
        false => &configured,
    };
    triggers.iter().find_map(|trigger| {
        let head = message.get(..trigger.len())?;
        let rest = &message[trigger.len()..];
        let fits = !trigger.is_empty()
            && head.eq_ignore_ascii_case(trigger)
            && (rest.is_empty() || rest.starts_with(char::is_whitespace));
        fits.then(|| rest.trim())
    })
}

/// What a reset leaves to do.
enum Reset {
    /// Nothing; what to say about it.
    Bare(String),
    /// A message for the model.
    Text(String),
}

fn reset(
    runs: &Arc<Runs>,
    caller: &Caller<'_>,
    config: &Config,
    place: &Place,
    rest: &str,
) -> Result<Reset, RpcError> {
    need(caller, Scope::Admin)?;
    if !runs.end_session(&place.key, END_TIME) {
        let text = "the session is busy and does not stop; try again";
        return Err(RpcError::unavailable(text).retry_after(1000));
    }
    let sessions = &runs.deps().sessions;
    sessions.renew(&place.key, Renewal::Typed)?;
    let (word, after) = match rest.split_once(char::is_whitespace) {
        Some((word, after)) => (word, after.trim()),
        None => (rest, ""),
    };
    let entry = sessions.get(&place.key)?;
    let view = View {
        runs,
        config,
        place,
        entry: entry.as_ref(),
    };
    // `/new <model>` picks a model; any other word is the first of a message.
    let text = match settings::choice(&view, word) {
        Some(model) => {
            settings::choose(&view, &model)?;
            after
        }
        None => rest,
    };
    if !text.is_empty() {
        return Ok(Reset::Text(text.to_string()));
    }
    let entry = sessions.get(&place.key)?;
    let model = text::model_of(&View {
        entry: entry.as_ref(),
        ..view
    });
    Ok(Reset::Bare(format!(
        "✅ New session started · model: {model}"
    )))
}

fn compact(view: &View<'_>) -> Result<String, RpcError> {
    if view.runs.is_busy(&view.place.key) {
        return Ok("⚙️ Not compacted: the session is busy.".into());
    }
    let done = view
        .runs
        .deps()
        .sessions
        .compact(&view.place.key, KEPT_LINES)?;
    Ok(match done {
        Compacted::Cut { kept, .. } => {
            format!("⚙️ Compacted: the last {kept} lines are kept, the whole is archived.")
        }
        Compacted::Short { .. } | Compacted::NoSession | Compacted::NoTranscript => {
            "⚙️ Nothing to compact: the session is short.".into()
        }
    })
}

#[cfg(test)]
mod tests;
