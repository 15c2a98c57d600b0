//! The end of a run: what came of it, and telling everybody in the order of the wire.

use std::sync::atomic::Ordering;

use serde_json::{Map, Value, json};

use super::turn::Turn;
use super::{Callbacks, Run, RunRequest, RunResult, Runs, Source};
use crate::agent::cancel::Reason;
use crate::agent::provider::Usage;
use crate::sys::clock;

/// A run that is over.
pub(super) struct Ended {
    pub result: RunResult,
    pub outcome: Outcome,
}

impl Ended {
    /// A run that ended in a bug of ours.
    pub fn in_a_bug(run: &Run) -> Ended {
        let why = "internal error; see the log".to_string();
        Ended {
            result: RunResult {
                run_id: run.id.to_string(),
                session_id: String::new(),
                provider: String::new(),
                model: String::new(),
                usage: Usage::default(),
                started_at: run.started_at.load(Ordering::Relaxed),
                ended_at: clock::now_ms(),
                texts: Vec::new(),
                aborted: None,
                error: None,
                refused: Some(why.clone()),
                meta: Value::Null,
            },
            outcome: Outcome::Refused(why),
        }
    }
}

/// How a run ended.
pub(super) enum Outcome {
    Done,
    Aborted(Reason),
    /// The model could not be made to answer.
    Failed(String),
    /// The run could not be begun.
    Refused(String),
}

/// Tells everybody how the run has ended, in the order of the wire.
pub(super) fn tell(
    runs: &Runs,
    run: &Run,
    request: &RunRequest,
    ended: Ended,
    callbacks: Callbacks,
) {
    let Ended { result, outcome } = ended;
    match &outcome {
        Outcome::Done => {
            (run.emitter).lifecycle_end(result.started_at, result.ended_at, false);
        }
        Outcome::Aborted(_) => {
            (run.emitter).lifecycle_end(result.started_at, result.ended_at, true);
        }
        Outcome::Failed(why) | Outcome::Refused(why) => {
            run.emitter.lifecycle_error(why, result.ended_at);
        }
    }
    let error = result.error.clone().or_else(|| result.refused.clone());
    runs.note_end(run, error);
    (callbacks.on_outcome)(&result);
    match &outcome {
        Outcome::Aborted(Reason::Timeout) if request.source == Source::Chat => {
            run.emitter.abort(Reason::Timeout);
        }
        Outcome::Done | Outcome::Aborted(_) => {
            (run.emitter).chat_final(result.texts.last().map(String::as_str));
        }
        Outcome::Failed(why) | Outcome::Refused(why) => {
            run.emitter.chat_error(why);
        }
    }
    (callbacks.on_done)(result);
}

impl Turn<'_> {
    /// What callers hear of the run.
    pub(super) fn result(&mut self, session_id: String, outcome: &Outcome) -> RunResult {
        let (mut error, mut refused, mut aborted) = (None, None, None);
        match outcome {
            Outcome::Done => {}
            Outcome::Aborted(reason) => aborted = Some(*reason),
            Outcome::Failed(why) => {
                error = Some(why.clone());
                self.texts = vec![why.clone()];
            }
            Outcome::Refused(why) => refused = Some(why.clone()),
        }
        let meta = self.meta(&session_id, aborted.is_some());
        let model = self.model.take();
        let (provider, model) = model.map(|m| (m.provider, m.id)).unwrap_or_default();
        RunResult {
            run_id: self.run.id.to_string(),
            session_id,
            provider,
            model,
            usage: self.spent.all,
            started_at: self.started_at,
            ended_at: clock::now_ms(),
            texts: std::mem::take(&mut self.texts),
            aborted,
            error,
            refused,
            meta,
        }
    }

    fn meta(&mut self, session_id: &str, aborted: bool) -> Value {
        let mut agent = Map::new();
        agent.insert("sessionId".into(), json!(session_id));
        if let Some(model) = &self.model {
            agent.insert("provider".into(), json!(model.provider));
            agent.insert("model".into(), json!(model.id));
        }
        let (all, last) = (&self.spent.all, &self.spent.last);
        if self.spent.calls > 0 {
            let usage = json!({"input": all.input, "output": all.output, "total": all.total});
            agent.insert("usage".into(), usage);
            agent.insert("promptTokens".into(), json!(last.prompt()));
        }
        let last = json!({
            "input": last.input, "output": last.output,
            "cacheRead": last.cache_read, "cacheWrite": last.cache_write, "total": last.total,
        });
        agent.insert("lastCallUsage".into(), last);
        json!({
            "durationMs": self.started.elapsed().as_millis() as u64,
            "agentMeta": agent,
            "aborted": aborted,
            "systemPromptReport": self.report.take(),
        })
    }
}
