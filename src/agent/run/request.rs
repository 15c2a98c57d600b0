//! A run as it is asked for, and how it ended: what the rest of the gateway says and hears.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::agent::cancel::Reason;
use crate::agent::provider::{Part, Thinking, Usage};
use crate::protocol::{ErrorCode, RpcError};
use crate::sys::{clock, id};

/// Who asks for a run; decides how its message is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The method `agent`.
    Agent,
    /// The method `chat.send`.
    Chat,
    /// The gateway itself: cron, heartbeat, hooks.
    System,
}

impl Source {
    /// Whether the time is put before the message.
    pub(super) fn is_stamped(self) -> bool {
        self != Source::System
    }
}

/// Which bound on the number of runs at once counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    #[default]
    Main,
    /// Isolated cron jobs.
    Cron,
}

impl Lane {
    pub(super) fn pool(self) -> usize {
        match self {
            Lane::Main => 0,
            Lane::Cron => 1,
        }
    }
}

/// A run that is asked for. Everything in it is stored when the run has to wait.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunRequest {
    pub run_id: String,
    pub agent: String,
    /// Canonical.
    pub session_key: Option<String>,
    /// The key as the caller wrote it.
    pub sent_key: Option<String>,
    /// The transcript of a run without a session key.
    pub session_id: Option<String>,
    pub message: String,
    pub images: Vec<Part>,
    /// Added to the system prompt of this run.
    pub extra_system: Option<String>,
    /// `None`: as configured; 0: no limit.
    pub timeout_ms: Option<u64>,
    pub thinking: Option<Thinking>,
    /// `provider/model` or an alias, instead of the session's own.
    pub model: Option<String>,
    /// Where the message came from: `webchat`, a channel's id.
    pub channel: Option<String>,
    pub source: Source,
    #[serde(default)]
    pub lane: Lane,
    /// Whether the owner speaks; if not, tools that are the owner's are not offered.
    pub owner: bool,
    /// The only tools that the run may be offered, in the words of `tools.allow`; `None` for no such limit.
    #[serde(default)]
    pub only_tools: Option<Vec<String>>,
    /// No events: nobody is to see that it goes on.
    pub quiet: bool,
    /// When it was accepted, in ms.
    pub accepted_at: u64,
    /// The connection that gets the tool events.
    #[serde(skip)]
    pub watcher: Option<u64>,
}

impl RunRequest {
    /// A run of `agent` in no session yet.
    pub fn new(agent: impl Into<String>, message: impl Into<String>, source: Source) -> RunRequest {
        RunRequest {
            run_id: id::uuid(),
            agent: agent.into(),
            session_key: None,
            sent_key: None,
            session_id: None,
            message: message.into(),
            images: Vec::new(),
            extra_system: None,
            timeout_ms: None,
            thinking: None,
            model: None,
            channel: None,
            source,
            lane: Lane::Main,
            owner: true,
            only_tools: None,
            quiet: false,
            accepted_at: clock::now_ms(),
            watcher: None,
        }
    }

    /// What runs are queued by: the session.
    pub(super) fn queue_key(&self) -> String {
        match (&self.session_key, &self.session_id) {
            (Some(key), _) => key.clone(),
            (None, Some(id)) => format!("transcript:{}:{id}", self.agent),
            (None, None) => format!("run:{}", self.run_id),
        }
    }

    /// Bytes that it keeps in memory while it waits.
    pub(super) fn size(&self) -> usize {
        let parts = self.images.iter().map(|p| match p {
            Part::Text(t) => t.len(),
            Part::Image { data, .. } => data.len(),
        });
        self.message.len() + parts.sum::<usize>() + size_of::<RunRequest>()
    }
}

/// A run was accepted: what the user said is on disk.
#[derive(Clone, Debug)]
pub struct Accepted {
    pub run_id: String,
    pub accepted_at: u64,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct RunResult {
    pub run_id: String,
    pub session_id: String,
    /// What answered; empty when it did not come to that.
    pub provider: String,
    pub model: String,
    /// Of all calls of the model.
    pub usage: Usage,
    /// In ms.
    pub started_at: u64,
    pub ended_at: u64,
    /// The reply, one text a message; empty for silence. After a model error, its text.
    pub texts: Vec<String>,
    pub aborted: Option<Reason>,
    /// The model could not be made to answer.
    pub error: Option<String>,
    /// The run could not be done at all.
    pub refused: Option<String>,
    /// `result.meta` of the method `agent`.
    pub meta: Value,
}

impl RunResult {
    /// All that was said.
    pub fn text(&self) -> String {
        self.texts.join("\n\n")
    }

    /// The last answer of the method `agent`.
    pub fn answer(&self) -> Result<Value, RpcError> {
        if let Some(why) = &self.refused {
            return Err(refusal(&self.run_id, why));
        }
        let texts = self.texts.iter();
        let payloads: Vec<Value> = texts
            .map(|t| json!({"text": t, "mediaUrl": null}))
            .collect();
        Ok(json!({
            "runId": self.run_id,
            "status": "ok",
            "summary": "completed",
            "result": {"payloads": payloads, "meta": self.meta},
        }))
    }
}

/// A call that failed as a whole, as the wire shows it.
pub fn refusal(run_id: &str, why: &str) -> RpcError {
    let text = format!("Error: {why}");
    RpcError::new(ErrorCode::Unavailable, text.clone())
        .with_payload(json!({"runId": run_id, "status": "error", "summary": text}))
}

/// What is called as a run goes on; each once.
pub struct Callbacks {
    /// After what the user said is on disk, before any event.
    pub on_accepted: Box<dyn FnOnce(&Accepted) + Send>,
    /// The outcome is known; the last event is not sent yet. For whoever is asked about the run then.
    pub on_outcome: Box<dyn FnOnce(&RunResult) + Send>,
    /// After the last event.
    pub on_done: Box<dyn FnOnce(RunResult) + Send>,
    /// The reply is complete and the session still taken: true when the run is to leave no trace in it.
    /// A run that can be forgotten is not kept for the next start either.
    pub forget: Option<Forget>,
}

/// Decides by the text of a reply whether its run is forgotten.
pub type Forget = Box<dyn FnOnce(&str) -> bool + Send>;

impl Default for Callbacks {
    fn default() -> Self {
        Callbacks {
            on_accepted: Box::new(|_| {}),
            on_outcome: Box::new(|_| {}),
            on_done: Box::new(|_| {}),
            forget: None,
        }
    }
}
