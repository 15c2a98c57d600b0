//! What happens after the turn: a command that waits for a person, and what a session is told of an end.

use std::sync::Arc;
use std::thread;

use super::bound::Bound;
use super::call::Call;
use super::guard::Command;
use super::job::Job;
use super::{Answer, Deps, Notice};
use crate::agent::tools::Context;

/// Bytes of output in a note about an ended command.
pub const NOTE_TAIL: usize = 2000;

/// Tells a session what came of a command after the turn that wanted it.
pub struct Teller {
    notify: Arc<dyn Fn(Notice) + Send + Sync>,
    agent: String,
    session_key: Option<String>,
    quiet: bool,
    approval: Option<String>,
}

impl Teller {
    pub fn of(deps: &Deps, call: &Call, context: &Context<'_>) -> Teller {
        Teller {
            notify: deps.notify.clone(),
            agent: context.agent.to_string(),
            session_key: context.session_key.map(str::to_string),
            quiet: call.quiet,
            approval: None,
        }
    }

    fn approved(mut self, id: &str) -> Teller {
        self.quiet = false;
        self.approval = Some(id.to_string());
        self
    }

    /// What a job calls at its end.
    pub fn at_end(self) -> Box<dyn FnOnce(&Job) + Send> {
        Box::new(move |job| {
            let Some(ended) = job.ended() else {
                return;
            };
            let tail = job.with_output(|output, _| output.tail(NOTE_TAIL));
            let tail = tail.trim_end();
            if self.quiet && ended.is_success() && tail.is_empty() {
                return;
            }
            let approved = self.approval.as_ref();
            let approved = approved
                .map(|id| format!(", approval {id}"))
                .unwrap_or_default();
            self.say(
                &job.id,
                format!(
                    "Exec finished (session {}{approved}, {})\n{tail}",
                    job.id,
                    ended.shown()
                ),
            );
        })
    }

    pub fn say(&self, id: &str, text: String) {
        (self.notify)(Notice {
            agent: self.agent.clone(),
            session_key: self.session_key.clone(),
            context: format!("exec:{id}"),
            text,
        });
    }
}

/// A command that waits for a person.
pub struct Pending {
    pub deps: Arc<Deps>,
    pub call: Call,
    pub command: Command,
    pub held: Bound,
    pub teller: Teller,
}

impl Pending {
    /// The answer is there. It must not be held up, so the rest has a thread of its own.
    pub fn answered(self, id: &str, answer: Answer) {
        let why = match answer {
            Answer::Denied => "denied",
            Answer::Silence => "nobody has decided in time",
            Answer::Once | Answer::Always => {
                let id = id.to_string();
                let thread = thread::Builder::new().name("exec-approved".into());
                if let Err(e) = thread.spawn(move || self.start(&id, answer)) {
                    log::error!(target: "exec", "an approved command was not started: {e}");
                }
                return;
            }
        };
        let text = format!("Exec denied (approval {id}, {why}): {}", self.call.line);
        self.teller.say(id, text);
    }

    /// Starts exactly what was approved, or says why not.
    fn start(self, id: &str, answer: Answer) {
        let failed =
            |why: String| format!("Exec denied (approval {id}, {why}): {}", self.call.line);
        let dir = match self.held.check() {
            Ok(dir) => dir,
            Err(why) => return self.teller.say(id, failed(why)),
        };
        if let (Answer::Always, Some(pattern)) = (answer, &self.command.pattern)
            && let Err(e) = self.deps.listed.allow(&self.teller.agent, pattern)
        {
            log::warn!(target: "exec", "{pattern} was not put on the allowlist: {e}");
        }
        let cwd = self.held.cwd().to_path_buf();
        let start = self.call.start(&self.teller.agent, &self.command, dir, cwd);
        match self.deps.jobs.start(start) {
            Ok(job) => job.into_background(Some(self.teller.approved(id).at_end())),
            Err(why) => self.teller.say(id, failed(why)),
        }
    }
}
