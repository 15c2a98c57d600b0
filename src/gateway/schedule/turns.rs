//! Turns of the agent that heartbeats ask for.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded, select};

use crate::agent::Reason;
use crate::agent::model::BUILTIN_PROVIDER;
use crate::agent::models;
use crate::agent::run::{Callbacks, RunRequest, RunResult, Runs, Source};
use crate::schedule::heartbeat::rules::Settings;
use crate::schedule::heartbeat::{Host, Place, Target, Turn, Undelivered};

/// How long a run that was stopped may take to end.
const STOP_TIME: Duration = Duration::from_secs(5);

/// The agent, as heartbeats see it.
pub struct Turns {
    pub runs: Arc<Runs>,
}

impl Host for Turns {
    fn can_think(&self, agent: &str) -> bool {
        let config = self.runs.deps().config.current();
        models::primary(&config, agent).provider != BUILTIN_PROVIDER
    }

    fn busy(&self, session_key: &str) -> bool {
        self.runs.is_busy(session_key)
    }

    fn turn(&self, turn: Turn) -> Result<String, String> {
        let mut request = RunRequest::new(turn.agent, turn.prompt, Source::System);
        request.session_key = Some(turn.session_key);
        request.model = turn.model;
        request.owner = !turn.untrusted;
        request.quiet = true;
        let result = run(
            &self.runs,
            request,
            turn.forget,
            &turn.cancelled,
            Reason::Shutdown,
        )?;
        match result.error.or(result.refused) {
            Some(why) => Err(why),
            None if result.aborted.is_some() => {
                Err("stopped before the answer was complete".into())
            }
            None => Ok(result.texts.last().cloned().unwrap_or_default()),
        }
    }

    fn target(&self, _agent: &str, _session_key: &str, settings: &Settings) -> Target {
        // There are no channels: answers are shown in the event, and stay in the session.
        let reason = if settings.target == "none" {
            "target-none"
        } else {
            "no-target"
        };
        Target::Nowhere {
            reason,
            account: None,
        }
    }

    fn deliver(&self, place: &Place, _text: &str) -> Result<(), Undelivered> {
        Err(Undelivered::NotReady(format!(
            "{} is not running",
            place.channel
        )))
    }
}

/// Has a run done and waits for its end. When `cancelled` ends, the run is stopped for `why`.
pub fn run(
    runs: &Arc<Runs>,
    request: RunRequest,
    forget: Box<dyn FnOnce(&str) -> bool + Send>,
    cancelled: &Receiver<()>,
    why: Reason,
) -> Result<RunResult, String> {
    let (done, ended) = bounded(1);
    let (id, key) = (
        request.run_id.clone(),
        request.session_key.clone().unwrap_or_default(),
    );
    let callbacks = Callbacks {
        // Nobody may wait any more; then nobody is told.
        on_done: Box::new(move |result| drop(done.send(result))),
        forget: Some(forget),
        ..Callbacks::default()
    };
    runs.start(request, callbacks).map_err(|e| e.message)?;
    let gone = || "the gateway stopped before the run ended".to_string();
    select! {
        recv(ended) -> result => result.map_err(|_| gone()),
        recv(cancelled) -> _ => {
            runs.abort(&key, &key, Some(&id), why);
            ended.recv_timeout(STOP_TIME).map_err(|_| gone())
        }
    }
}
