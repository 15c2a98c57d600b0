//! What cron jobs do: text for the main session, or a turn of the agent in a session of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;
use serde_json::{Value, json};

use super::{turns, webhook};
use crate::agent::Reason;
use crate::agent::provider::Thinking;
use crate::agent::run::{Lane, RunRequest, RunResult, Runs, Source};
use crate::config::{self, Config, agents};
use crate::schedule::heartbeat::rules::{self, Answer};
use crate::schedule::heartbeat::{self, BUSY, Done, Heartbeats};
use crate::schedule::job::{Mode, Payload};
use crate::schedule::{Executor, Job, Outcome, Run, Status};
use crate::state::system_events::{Note, SystemEvents};
use crate::state::{session_key, sessions};
use crate::sys::{clock, id};

/// How long a job that wakes the agent waits until it is free.
const BUSY_PATIENCE: Duration = Duration::from_secs(120);
/// Time between two looks at whether it is.
const BUSY_POLL: Duration = Duration::from_millis(250);
/// Characters of a result that log, event and main session keep.
const SUMMARY_CHARS: usize = 2000;

const NO_CHANNEL: &str = "Channel is required (no configured channels detected). Set delivery.channel explicitly or use \
a main session with a previous channel.";
const DELIVERY_HINT: &str = "Answer with the result as plain text: it is delivered for you. If somebody in particular is to \
get it, say who, and do not send it yourself.";

/// Runs jobs.
pub struct Jobs {
    pub config: Arc<config::Store>,
    pub sessions: Arc<sessions::Store>,
    pub notes: Arc<SystemEvents>,
    pub runs: Arc<Runs>,
    pub heartbeats: Arc<Heartbeats>,
}

impl Executor for Jobs {
    fn run(&self, job: &Job, run: &Run) -> Outcome {
        match job.payload() {
            Some(Payload::Event { text }) => self.event(job, text.trim(), run),
            Some(Payload::Turn {
                message,
                model,
                thinking,
                timeout_s,
            }) => {
                let turn = AgentTurn {
                    message,
                    model,
                    thinking,
                    timeout_s,
                };
                self.turn(job, &turn, run)
            }
            None => Outcome::error("the job's payload is incomplete; set it with cron edit"),
        }
    }

    fn finished(&self, job: &Job, event: &Value) {
        webhook::post(&self.config.current(), job, event);
    }

    fn reap(&self, before: u64) -> bool {
        let mut left = false;
        for agent in self.sessions.agents_on_disk() {
            left |= self.reap_agent(&agent, before).unwrap_or_else(|e| {
                log::warn!(target: "cron", "old sessions of {agent} cannot be removed: {e}");
                true
            });
        }
        left
    }
}

struct AgentTurn<'a> {
    message: &'a str,
    model: Option<&'a str>,
    thinking: Option<&'a str>,
    timeout_s: Option<u64>,
}

impl Jobs {
    /// Text for the main session, which a heartbeat tells the agent about.
    fn event(&self, job: &Job, text: &str, run: &Run) -> Outcome {
        let summary = Some(text.to_string());
        let skipped = |why: &str| Outcome {
            status: Status::Skipped,
            error: Some(why.to_string()),
            summary: summary.clone(),
            ..Outcome::default()
        };
        if text.is_empty() {
            return Outcome {
                summary: None,
                ..skipped("main job requires non-empty systemEvent text")
            };
        }
        let agent = agent_of(&self.config.current(), job);
        if let Err(e) = self.note(job, &agent, text) {
            return Outcome {
                summary,
                ..Outcome::error(format!("the text cannot be stored for the session: {e}"))
            };
        }
        let ok = Outcome {
            status: Status::Ok,
            summary: summary.clone(),
            ..Outcome::default()
        };
        if !job.wakes_now() {
            return ok;
        }
        let deadline = Instant::now() + BUSY_PATIENCE;
        let reason = heartbeat::Reason::Cron(job.id().to_string());
        loop {
            match self
                .heartbeats
                .run_now(reason.clone(), Some(&agent), job.session_key())
            {
                Done::Ran => return ok,
                Done::Failed(why) => {
                    return Outcome {
                        summary,
                        ..Outcome::error(why)
                    };
                }
                Done::Skipped(BUSY) if Instant::now() < deadline => {
                    if run.cancelled.recv_timeout(BUSY_POLL) != Err(RecvTimeoutError::Timeout) {
                        return Outcome {
                            summary,
                            ..Outcome::error("stopped while the agent was busy")
                        };
                    }
                }
                Done::Skipped(BUSY) => {
                    self.heartbeats
                        .wake(reason, Some(&agent), job.session_key());
                    return ok;
                }
                Done::Skipped(why) => return skipped(why),
            }
        }
    }

    /// A turn of the agent in a session of its own.
    fn turn(&self, job: &Job, turn: &AgentTurn, run: &Run) -> Outcome {
        let config = self.config.current();
        let agent = agent_of(&config, job);
        let thinking = match turn.thinking {
            None => None,
            Some(word) => match Thinking::parse(word) {
                Some(level) => Some(level),
                None => {
                    return Outcome::error(format!(
                        "invalid thinking level {word:?}; use off, minimal, low, medium or high"
                    ));
                }
            },
        };
        let base = format!("agent:{agent}:cron:{}", job.id().to_lowercase());
        let session_id = id::uuid();
        let key = format!("{base}:run:{session_id}");
        let label = json!(format!("Cron: {}", job.name()));
        let opened = self.sessions.update(&key, |entry| {
            entry.insert("sessionId".into(), json!(session_id));
            entry.insert("label".into(), label);
        });
        if let Err(e) = opened {
            return Outcome::error(format!("the session of the run cannot be stored: {e}"));
        }
        let mut request =
            RunRequest::new(&agent, prompt(&config, job, turn.message), Source::System);
        request.session_key = Some(key.clone());
        request.model = turn.model.map(str::to_string);
        request.thinking = thinking;
        request.timeout_ms = turn.timeout_s.map(|s| s.saturating_mul(1000));
        request.lane = Lane::Cron;
        request.owner = false;
        let keep = Box::new(|_: &str| false);
        match turns::run(&self.runs, request, keep, &run.cancelled, Reason::Timeout) {
            Ok(result) => {
                self.show_last(job, &base, &key);
                self.outcome(job, &agent, key, result)
            }
            Err(why) => Outcome {
                session_key: Some(key),
                ..Outcome::error(why)
            },
        }
    }

    /// What came of a turn, and where it goes.
    fn outcome(&self, job: &Job, agent: &str, key: String, result: RunResult) -> Outcome {
        let text = result.text();
        let summary = clipped(&text);
        let asked = !result.model.is_empty();
        let mut out = Outcome {
            status: Status::Ok,
            summary: summary.clone(),
            session_id: Some(result.session_id).filter(|id| !id.is_empty()),
            session_key: Some(key),
            model: asked.then_some(result.model),
            provider: asked.then_some(result.provider),
            usage: asked.then(|| {
                let u = &result.usage;
                json!({"input_tokens": u.input, "output_tokens": u.output, "total_tokens": u.prompt()})
            }),
            ..Outcome::default()
        };
        let stopped = result.aborted.map(|_| "the run was stopped".to_string());
        let failure = result.error.or(result.refused).or(stopped);
        if let Some(why) = &failure {
            out.status = Status::Error;
            out.error = clipped(why);
        }
        match job.delivery_mode() {
            Mode::None => out.delivered = Some(false),
            Mode::Webhook => {}
            Mode::Announce => self.announce(job, agent, &text, failure.is_some(), &mut out),
        }
        out
    }

    /// There is no channel to announce on: a job that does not insist tells the main session.
    fn announce(&self, job: &Job, agent: &str, text: &str, failed: bool, out: &mut Outcome) {
        let ack = rules::Settings::of(&self.config.current(), agent).ack_max_chars;
        if !failed && matches!(rules::read_answer(text, ack), Answer::Empty | Answer::Fine) {
            return;
        }
        if !failed && !job.delivery_is_best_effort() {
            out.status = Status::Error;
            out.error = Some(match job.delivery_text("channel") {
                None | Some("last") => NO_CHANNEL.to_string(),
                Some(channel) => format!("unsupported channel: {channel}"),
            });
            return;
        }
        out.delivered = Some(false);
        let Some(told) = &out.summary else { return };
        let told = if failed {
            format!("failed: {told}")
        } else {
            told.clone()
        };
        match self.note(job, agent, &told) {
            Ok(()) if job.wakes_now() => {
                let reason = heartbeat::Reason::Cron(job.id().to_string());
                self.heartbeats.wake(reason, Some(agent), job.session_key());
            }
            Ok(()) => {}
            Err(e) => {
                log::warn!(target: "cron", "the result of job {} is not told to the session: {e}", job.id())
            }
        }
    }

    /// Queues text for the session that the job speaks to.
    fn note(&self, job: &Job, agent: &str, text: &str) -> std::io::Result<()> {
        let key = self.heartbeats.session(agent, job.session_key());
        let note = Note::new(format!("cron job {:?}", job.name()), text)
            .with_context(format!("cron:{}", job.id()));
        self.notes.push(&key, note).map(drop)
    }

    /// The session that stands for the job shows its last run.
    fn show_last(&self, job: &Job, base: &str, key: &str) {
        let run = self.sessions.get(key);
        let shown = run.and_then(|run| match run {
            Some(run) => self
                .sessions
                .update(base, |entry| *entry = run.map().clone())
                .map(drop),
            None => Ok(()),
        });
        if let Err(e) = shown {
            log::warn!(target: "cron", "session of job {}: {e}", job.id());
        }
    }

    fn session_id(&self, key: &str) -> Result<Option<String>, crate::state::Error> {
        let entry = self.sessions.get(key)?;
        Ok(entry.and_then(|e| e.session_id().map(str::to_string)))
    }

    fn reap_agent(&self, agent: &str, before: u64) -> Result<bool, crate::state::Error> {
        let (_, all) = self.sessions.newest(agent, usize::MAX)?;
        let mut left = false;
        for (key, used) in all.iter().filter(|(key, _)| session_key::is_cron_run(key)) {
            if *used >= before {
                left = true;
                continue;
            }
            let base = key.split(":run:").next().unwrap_or_default();
            // The transcript of the last run stays with the job.
            let shared = self.session_id(key)? == self.session_id(base)?;
            self.sessions.delete(key, !shared)?;
        }
        Ok(left)
    }
}

/// The agent that runs `job`; the default one when its own is gone.
fn agent_of(config: &Config, job: &Job) -> String {
    match job.agent_id() {
        Some(id) if agents::exists(config, id) => agents::normalise(id),
        _ => agents::default_id(config),
    }
}

fn prompt(config: &Config, job: &Job, message: &str) -> String {
    let name: String = job
        .name()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let time = rules::time_line(config, clock::now_ms());
    let mut text = format!("[cron:{} {name}] {message}\n{time}", job.id());
    if job.delivery_mode() == Mode::Announce {
        text = format!("{text}\n\n{DELIVERY_HINT}");
    }
    text
}

fn clipped(text: &str) -> Option<String> {
    let text = text.trim();
    match text.char_indices().nth(SUMMARY_CHARS) {
        _ if text.is_empty() => None,
        None => Some(text.to_string()),
        Some((end, _)) => Some(format!("{}…", &text[..end])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::run::Deps;
    use crate::agent::tools;
    use crate::schedule::clock::SystemClock;
    use crate::state::Paths;
    use crate::state::testing::Folder;
    use crossbeam_channel::{Sender, bounded};

    /// Jobs of a gateway with the built-in model, which needs no network.
    struct Rig {
        jobs: Jobs,
        _cancel: Sender<()>,
        run: Run,
        _dir: Folder,
    }

    fn rig() -> Rig {
        let dir = Folder::new();
        let workspace = json!(dir.path().join("ws"));
        let config = Arc::new(Config::from_text(&format!(
            "{{agents: {{defaults: {{workspace: {workspace}, heartbeat: {{every: '1h'}}}}}}}}"
        )));
        let (locations, paths) = (config.locations().clone(), Paths::new(dir.path()));
        let store = Arc::new(config::Store::new(config));
        let sessions = Arc::new(sessions::Store::new(paths.clone()));
        let notes = Arc::new(SystemEvents::open(paths.system_events()));
        let runs = Runs::new(Deps {
            config: store.clone(),
            locations: locations.clone(),
            paths: paths.clone(),
            sessions: sessions.clone(),
            notes: notes.clone(),
            tools: tools::Registry::new(),
            events: Arc::new(|_| {}),
        });
        let heartbeats = Heartbeats::open(heartbeat::Deps {
            clock: Arc::new(SystemClock::new()),
            config: store.clone(),
            locations,
            sessions: sessions.clone(),
            notes: notes.clone(),
            host: Arc::new(turns::Turns { runs: runs.clone() }),
            events: Arc::new(|_| {}),
            changed: Arc::new(|| {}),
            file: paths.heartbeat(),
        });
        let (cancel, cancelled) = bounded(0);
        let jobs = Jobs {
            config: store,
            sessions,
            notes,
            runs,
            heartbeats,
        };
        Rig {
            jobs,
            _cancel: cancel,
            run: Run {
                started_at: 0,
                cancelled,
            },
            _dir: dir,
        }
    }

    fn job(extra: Value) -> Job {
        let mut fields = json!({"id": "J1", "name": "daily\nbrief", "schedule": {"kind": "every", "everyMs": 1000},
            "sessionTarget": "isolated", "payload": {"kind": "agentTurn", "message": "hello"}, "delivery": {"mode": "none"}});
        fields
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().cloned().unwrap());
        Job::stored(fields.as_object().cloned().unwrap()).unwrap()
    }

    #[test]
    fn an_isolated_job_runs_in_a_session_of_its_own() {
        let rig = rig();
        let out = rig.jobs.run(&job(json!({})), &rig.run);
        assert_eq!(
            (out.status, out.error, out.delivered),
            (Status::Ok, None, Some(false))
        );
        assert_eq!(out.provider.as_deref(), Some("builtin"));
        assert!(out.summary.is_some() && out.usage.unwrap()["input_tokens"].is_u64());
        let key = out.session_key.unwrap();
        assert!(session_key::is_cron_run(&key), "{key}");
        let entry = |key: &str| rig.jobs.sessions.get(key).unwrap().unwrap();
        let base = entry("agent:main:cron:j1");
        assert_eq!(base.session_id(), out.session_id.as_deref());
        assert!(key.ends_with(base.session_id().unwrap()), "{key}");
        assert_eq!(
            (base.text("label"), entry(&key).text("label")),
            (Some("Cron: daily\nbrief"), Some("Cron: daily\nbrief"))
        );
        let path = rig.jobs.sessions.transcript(&key, &base).unwrap();
        let said = crate::state::transcript::last_messages(&path, 10, 100_000).unwrap();
        let text = said[0]["content"][0]["text"].as_str().unwrap();
        assert!(
            text.starts_with("[cron:J1 daily brief] hello\nCurrent time: "),
            "{text}"
        );
        // Old ones go, with their transcript unless the job's own session shows it.
        assert!(rig.jobs.reap(0));
        assert!(!rig.jobs.reap(u64::MAX));
        assert!(rig.jobs.sessions.get(&key).unwrap().is_none());
        assert!(path.exists());
    }

    #[test]
    fn what_cannot_be_announced_is_an_error_or_told_to_the_main_session() {
        let rig = rig();
        let out = rig
            .jobs
            .run(&job(json!({"delivery": {"mode": "announce"}})), &rig.run);
        // As recorded from the reference.
        assert_eq!(
            (out.status, out.error.as_deref(), out.delivered),
            (Status::Error, Some(NO_CHANNEL), None)
        );
        assert!(out.summary.is_some() && rig.jobs.notes.peek("agent:main:main").is_empty());
        let lax = json!({"delivery": {"mode": "announce", "bestEffort": true}, "wakeMode": "next-heartbeat"});
        let out = rig.jobs.run(&job(lax), &rig.run);
        assert_eq!((out.status, out.delivered), (Status::Ok, Some(false)));
        let notes = rig.jobs.notes.peek("agent:main:main");
        assert_eq!(
            (notes[0].source.as_str(), notes[0].context.as_deref()),
            ("cron job \"daily\\nbrief\"", Some("cron:J1"))
        );
        let irc = json!({"delivery": {"mode": "announce", "channel": "irc"}});
        let out = rig.jobs.run(&job(irc), &rig.run);
        assert_eq!(out.error.as_deref(), Some("unsupported channel: irc"));
    }

    #[test]
    fn a_main_job_tells_the_agent_at_once_or_later() {
        let rig = rig();
        let main = |wake: &str, text: &str| {
            job(
                json!({"sessionTarget": "main", "payload": {"kind": "systemEvent", "text": text}, "wakeMode": wake}),
            )
        };
        let out = rig.jobs.run(&main("next-heartbeat", "later"), &rig.run);
        assert_eq!(
            (out.status, out.summary.as_deref()),
            (Status::Ok, Some("later"))
        );
        assert_eq!(rig.jobs.notes.peek("agent:main:main").len(), 1);
        let out = rig.jobs.run(&main("now", "at once"), &rig.run);
        assert_eq!((out.status, out.error), (Status::Ok, None));
        // The prompt has taken both over, as quoted data.
        assert!(rig.jobs.notes.peek("agent:main:main").is_empty());
        let entry = rig.jobs.sessions.get("agent:main:main").unwrap().unwrap();
        let path = rig
            .jobs
            .sessions
            .transcript("agent:main:main", &entry)
            .unwrap();
        let said = crate::state::transcript::last_messages(&path, 10, 100_000).unwrap();
        let text = said[0]["content"][0]["text"].as_str().unwrap();
        assert!(
            text.contains("from cron job \"daily\\nbrief\": \"at once\"\n\nA scheduled job"),
            "{text}"
        );
        assert!(!text.lines().any(|l| l.starts_with("System:")));
        rig.jobs.heartbeats.set_enabled(false).unwrap();
        let out = rig.jobs.run(&main("now", "x"), &rig.run);
        assert_eq!(
            (out.status, out.error.as_deref()),
            (Status::Skipped, Some("disabled"))
        );
        assert_eq!(
            rig.jobs.run(&main("now", " "), &rig.run).status,
            Status::Skipped
        );
    }

    #[test]
    fn what_a_turn_cannot_be_is_an_error() {
        let rig = rig();
        let thinking =
            json!({"payload": {"kind": "agentTurn", "message": "x", "thinking": "hard"}});
        let out = rig.jobs.run(&job(thinking), &rig.run);
        assert!(
            out.error
                .unwrap()
                .starts_with("invalid thinking level \"hard\"")
        );
        let model =
            json!({"payload": {"kind": "agentTurn", "message": "x", "model": "nobody/nothing"}});
        let out = rig.jobs.run(&job(model), &rig.run);
        assert_eq!(out.status, Status::Error);
    }
}
