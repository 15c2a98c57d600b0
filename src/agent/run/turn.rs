//! Doing a run: prompt, model, tools, until there is a reply.
//!
//! What the model says is stored before anybody is told that it is complete; see `end` for the telling,
//! `retry` for calls that fail.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::end::{Ended, Outcome};
use super::retry::Broken;
use super::session::{Session, Spent, usage_value};
use super::{Forget, RUN_TIMEOUT, Run, RunRequest, Runs, content};
use crate::agent::cancel::Reason;
use crate::agent::model::{Api, Model};
use crate::agent::prompt::{self, Prompt};
use crate::agent::provider::echo::Echo;
use crate::agent::provider::openai::OpenAi;
use crate::agent::provider::{Completion, Message, Provider, ProviderError, Request, ToolCall};
use crate::agent::{history, models, tools};
use crate::config::{Config, agents};
use crate::protocol::RpcError;
use crate::state::run_queue::Ticket;
use crate::state::sessions::Entry;
use crate::state::transcript::Line;
use crate::sys::clock;

/// Calls of the model in one run.
const MAX_CALLS: u32 = 64;

/// Does the run to its end. What it did is stored; nobody is told yet.
pub(super) fn work(runs: &Arc<Runs>, run: &Run, request: &RunRequest, begun: Begun) -> Ended {
    let config = runs.deps.config.current();
    let started_at = clock::now_ms();
    run.started_at.store(started_at, Ordering::Relaxed);
    run.cancel.limit(time_limit(&config, request));
    let mut turn = Turn {
        runs,
        run,
        request,
        config: &config,
        started: Instant::now(),
        started_at,
        texts: Vec::new(),
        spent: Spent::default(),
        retries: 0,
        model: None,
        report: Value::Null,
    };
    let session = match begun.session {
        Some(session) => Ok(session),
        // The session is free now: what waited in the queue goes into the transcript.
        None => Session::open(&runs.deps, &config, request).and_then(|mut session| {
            session.store_user(&runs.deps, &config, request)?;
            Ok(session)
        }),
    };
    let (session_id, outcome) = match session {
        Ok(session) => {
            if let Some(ticket) = begun.ticket {
                runs.queue.remove(&ticket);
            }
            let outcome = turn.work(&session);
            let forget = begun.forget.is_some_and(|f| f(&turn.texts.join("\n\n")));
            let outcome = turn.store_end(&session, outcome, forget);
            (session.id, outcome)
        }
        Err(e) => (String::new(), Outcome::Refused(e.message)),
    };
    let result = turn.result(session_id, &outcome);
    Ended { result, outcome }
}

/// What was prepared for a run when it was accepted.
pub(super) struct Begun {
    /// Open when the session was free at once.
    pub session: Option<Session>,
    /// The stored request of a run that had to wait.
    pub ticket: Option<Ticket>,
    pub forget: Option<Forget>,
}

/// A run while it is done.
pub(super) struct Turn<'a> {
    pub(super) runs: &'a Arc<Runs>,
    pub(super) run: &'a Run,
    request: &'a RunRequest,
    config: &'a Config,
    pub(super) started: Instant,
    pub(super) started_at: u64,
    pub(super) texts: Vec<String>,
    pub(super) spent: Spent,
    pub(super) retries: u32,
    pub(super) model: Option<Model>,
    pub(super) report: Value,
}

impl Turn<'_> {
    fn work(&mut self, session: &Session) -> Outcome {
        if let Some(reason) = self.run.cancel.reason() {
            self.store_failure(session, "aborted", "run stopped before it began", "");
            return Outcome::Aborted(reason);
        }
        self.run.emitter.lifecycle_start(self.started_at);
        let deps = &self.runs.deps;
        let chosen = session.model(self.config, self.request);
        let agent = &self.request.agent;
        let model = match models::resolve(self.config, &deps.paths, agent, &chosen) {
            Ok(model) => model,
            Err(why) => {
                self.store_failure(session, "error", &why, "");
                return Outcome::Refused(why);
            }
        };
        let provider: Box<dyn Provider> = match model.api {
            Api::Echo => Box::new(Echo),
            Api::OpenAiCompletions => Box::new(OpenAi::new(self.runs.http.clone())),
        };
        let workspace = agents::workspace(self.config, &deps.locations, agent);
        let thinking = session.thinking(self.config, self.request);
        let context = tools::Context {
            config: self.config,
            agent,
            session_key: session.key.as_deref(),
            workspace: &workspace,
            model: &model,
            cancel: &self.run.cancel,
            owner: self.request.owner,
        };
        let mut tools = deps.tools.allowed(&context);
        if let Some(only) = &self.request.only_tools {
            tools.keep(only);
        }
        let specs = tools.specs();
        let schema: usize = specs.iter().map(|s| s.parameters.to_string().len()).sum();
        let Prompt {
            text: system,
            report,
        } = prompt::build(&prompt::Inputs {
            config: self.config,
            agent,
            session_id: &session.id,
            session_key: session.key.as_deref(),
            workspace: &workspace,
            model: &model,
            thinking,
            channel: self.request.channel.as_deref(),
            tools: &tools.summaries(),
            tool_schema_chars: schema,
            extra: self.request.extra_system.as_deref(),
        });
        self.report = report;
        self.model = Some(model.clone());
        let reserved = history::tokens(&system)
            + (schema as u64).div_ceil(3)
            + model.max_tokens.min(model.context_window / 4);
        let mut messages = match history::load(session.transcript.path(), &model, reserved) {
            Ok(messages) if messages.is_empty() => {
                let why = "the message is too large for the model's context window";
                self.store_failure(session, "error", why, "");
                return Outcome::Failed(why.into());
            }
            Ok(messages) => messages,
            Err(e) => return Outcome::Refused(format!("the session cannot be read: {e}")),
        };
        let shows = Shows::of(self.config, session.entry.as_ref());
        for _ in 0..MAX_CALLS {
            let call = Request {
                model: &model,
                system: &system,
                messages: &messages,
                tools: &specs,
                thinking,
            };
            let asked_at = clock::now_ms();
            let reply = match self.ask(&*provider, &call, shows) {
                Ok(reply) => reply,
                Err(broken) => return self.give_up(session, broken),
            };
            self.spent.add(&reply.usage);
            let message = assistant(&model, &reply, asked_at);
            if let Err(e) = session.append(&[Line::message(message)]) {
                return Outcome::Failed(e.message);
            }
            if !self.run.emitter.end_message() {
                self.texts.push(reply.text.clone());
            }
            if reply.calls.is_empty() {
                return Outcome::Done;
            }
            let calls = reply.calls.clone();
            messages.push(Message::Assistant {
                text: reply.text,
                calls: reply.calls,
            });
            for call in calls {
                if let Some(reason) = self.run.cancel.reason() {
                    return Outcome::Aborted(reason);
                }
                match self.call_tool(session, &tools, &call, &context, shows) {
                    Ok(message) => messages.push(message),
                    Err(e) => return Outcome::Failed(e.message),
                }
            }
            if let Some(reason) = self.run.cancel.reason() {
                return Outcome::Aborted(reason);
            }
        }
        let why = format!("stopped after {MAX_CALLS} calls of the model without an end");
        self.store_failure(session, "error", &why, "");
        Outcome::Failed(why)
    }

    /// The model has not given a whole reply: what it said is stored, and why.
    fn give_up(&mut self, session: &Session, broken: Broken) -> Outcome {
        let Broken { error, partial } = broken;
        let why = error.to_string();
        let stop = match error {
            ProviderError::Cancelled(_) => "aborted",
            _ => "error",
        };
        self.store_failure(session, stop, &why, &partial);
        if !partial.is_empty() {
            self.texts.push(partial);
        }
        match error {
            ProviderError::Cancelled(reason) => Outcome::Aborted(reason),
            _ => {
                log::warn!(target: "agent", "run {}: {why}", self.run.id);
                Outcome::Failed(why)
            }
        }
    }

    fn call_tool(
        &self,
        session: &Session,
        tools: &tools::Set,
        call: &ToolCall,
        context: &tools::Context<'_>,
        shows: Shows,
    ) -> Result<Message, RpcError> {
        let emitter = &self.run.emitter;
        emitter.tool_start(call);
        let output = tools.run(call, context);
        let meta = tools.meta(call);
        emitter.tool_result(call, meta.as_deref(), &output, shows.results);
        let mut message = json!({
            "role": "toolResult",
            "toolCallId": call.id,
            "toolName": call.name,
            "content": content(&output.content),
            "isError": output.is_error,
            "timestamp": clock::now_ms(),
        });
        if let Some(details) = output.details {
            message["details"] = details;
        }
        session.append(&[Line::message(message)])?;
        Ok(Message::ToolResult {
            call_id: call.id.clone(),
            name: call.name.clone(),
            content: output.content,
            is_error: output.is_error,
        })
    }

    /// Stores that there is no reply, and why; the next start then knows that the run was not torn.
    fn store_failure(&self, session: &Session, stop: &str, why: &str, partial: &str) {
        let model = match &self.model {
            Some(model) => model.clone(),
            None => {
                let chosen = session.model(self.config, self.request);
                Model {
                    provider: chosen.provider,
                    id: chosen.model,
                    api: Api::OpenAiCompletions,
                    ..Model::echo()
                }
            }
        };
        let reply = Completion {
            text: partial.to_string(),
            ..Completion::default()
        };
        let mut message = assistant(&model, &reply, clock::now_ms());
        message["stopReason"] = json!(stop);
        message["errorMessage"] = json!(why);
        // It is logged there; the run ends the same way.
        let _ = session.append(&[Line::message(message)]);
    }

    /// Brings the session's entry up to date, or takes the run back. A cancel that came too late for the
    /// model is one still.
    fn store_end(&mut self, session: &Session, outcome: Outcome, forget: bool) -> Outcome {
        let outcome = match (outcome, self.run.cancel.reason()) {
            (Outcome::Done, Some(reason)) if reason != Reason::Timeout => Outcome::Aborted(reason),
            (outcome, _) => outcome,
        };
        self.spent.aborted = matches!(outcome, Outcome::Aborted(_));
        let deps = &self.runs.deps;
        match forget && matches!(outcome, Outcome::Done) {
            true => session.forget(deps),
            false => session.settle(deps, self.request, self.model.as_ref(), &self.spent),
        }
        outcome
    }
}

/// What of a run its session wants to see.
#[derive(Clone, Copy)]
pub(super) struct Shows {
    /// The model's reasoning.
    pub thinking: bool,
    /// What tools gave.
    pub results: bool,
}

impl Shows {
    fn of(config: &Config, entry: Option<&Entry>) -> Shows {
        let set = |name: &str| entry.and_then(|e| e.text(name));
        let verbose = set("verboseLevel").or_else(|| config.str("agents.defaults.verboseDefault"));
        Shows {
            thinking: set("reasoningLevel").is_some_and(|l| l != "off"),
            results: verbose == Some("full"),
        }
    }
}

/// How long `request` may take; `None` without a limit.
fn time_limit(config: &Config, request: &RunRequest) -> Option<Duration> {
    let configured = config
        .u64("agents.defaults.timeoutSeconds", RUN_TIMEOUT.as_secs())
        .max(1);
    match request.timeout_ms {
        Some(0) => None,
        Some(ms) => Some(Duration::from_millis(ms)),
        None => Some(Duration::from_secs(configured)),
    }
}

/// An assistant's message as the transcript has it.
fn assistant(model: &Model, reply: &Completion, asked_at: u64) -> Value {
    let mut parts = Vec::new();
    if !reply.reasoning.is_empty() {
        parts.push(json!({"type": "thinking", "thinking": reply.reasoning}));
    }
    if !reply.text.is_empty() {
        parts.push(json!({"type": "text", "text": reply.text}));
    }
    for call in &reply.calls {
        parts.push(json!({
            "type": "toolCall", "id": call.id, "name": call.name, "arguments": call.arguments,
        }));
    }
    json!({
        "role": "assistant",
        "content": parts,
        "api": model.api.as_str(),
        "provider": model.provider,
        "model": model.id,
        "usage": usage_value(&reply.usage, &model.cost),
        "stopReason": reply.stop.as_str(),
        "timestamp": asked_at,
    })
}
