//! Runs: accepting them, one at a time in a session, a bounded number at once, and how they end.
//!
//! A run is accepted when what the user said is on disk: in the transcript when its session is free, in
//! the run queue when it has to wait. It then waits for its session and for a thread. Threads are
//! started when there is work and end when there is none.

mod aging;
mod end;
mod events;
mod lanes;
mod recover;
mod request;
mod retry;
pub mod session;
mod stop;
mod turn;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::cancel::Cancel;
use super::provider::Part;
use super::provider::http::{Deadlines, Http};
use super::tools;
use crate::config::{self, Config, Locations};
use crate::protocol::RpcError;
use crate::state::run_queue::{RunQueue, Ticket};
use crate::state::system_events::SystemEvents;
use crate::state::{Paths, sessions};
use crate::sys::{clock, sync};

use aging::{Aging, Bounds};
pub use events::{Emitter, Output, command_final};
use lanes::{Lanes, POOLS};
pub use request::{Accepted, Callbacks, Forget, Lane, RunRequest, RunResult, Source, refusal};
use session::Session;
use turn::Begun;

/// Receives the events of runs. Called under the run's own lock: it must queue and return.
pub type Sink = Arc<dyn Fn(Output) + Send + Sync>;

/// Runs at once unless `agents.defaults.maxConcurrent` says otherwise.
const MAX_CONCURRENT: u64 = 4;
/// Cron runs at once unless `cron.maxConcurrentRuns` says otherwise.
const MAX_CRON: u64 = 1;
/// Runs at once whatever the configuration says.
const MOST_CONCURRENT: u64 = 64;
/// Time a run may take unless `agents.defaults.timeoutSeconds` says otherwise.
const RUN_TIMEOUT: Duration = Duration::from_secs(600);
/// Wait before the first retry of a call of the model.
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
/// Ended runs that `agent.wait` still knows.
const FINISHED: Bounds = Bounds {
    age_ms: 10 * 60 * 1000,
    entries: 1000,
    bytes: 1024 * 1024,
};
/// Stack of a run's thread in bytes.
const STACK: usize = 1024 * 1024;

/// What runs need of the rest of the gateway.
pub struct Deps {
    pub config: Arc<config::Store>,
    pub locations: Locations,
    pub paths: Paths,
    pub sessions: Arc<sessions::Store>,
    pub notes: Arc<SystemEvents>,
    pub tools: tools::Registry,
    pub events: Sink,
}

/// How many runs of each pool may go on at once.
fn limits(config: &Config) -> [usize; POOLS] {
    let limit = |path: &str, default: u64| config.u64(path, default).clamp(1, MOST_CONCURRENT);
    [
        limit("agents.defaults.maxConcurrent", MAX_CONCURRENT) as usize,
        limit("cron.maxConcurrentRuns", MAX_CRON) as usize,
    ]
}

/// A run that was accepted and has not ended.
pub struct Run {
    pub id: Arc<str>,
    /// Canonical.
    pub session_key: Option<String>,
    pub sent_key: Option<String>,
    pub cancel: Cancel,
    pub emitter: Emitter,
    lane: String,
    accepted_at: u64,
    /// In ms; 0 while it waits.
    started_at: AtomicU64,
}

impl Run {
    fn belongs_to(&self, key: &str, canonical: &str) -> bool {
        self.sent_key.as_deref() == Some(key) || self.session_key.as_deref() == Some(canonical)
    }
}

/// A run with everything that is needed to do it.
struct Job {
    run: Arc<Run>,
    request: RunRequest,
    begun: Begun,
    callbacks: Callbacks,
}

/// What `agent.wait` knows of a run that has ended.
#[derive(Clone, Debug)]
struct Finished {
    error: Option<String>,
    started_at: u64,
    ended_at: u64,
}

/// The service.
pub struct Runs {
    deps: Deps,
    http: Arc<Http>,
    queue: RunQueue,
    first_backoff: Duration,
    /// Never held across I/O or while another lock is taken.
    inner: Mutex<Inner>,
    /// Told whenever a run ends.
    ended: Condvar,
}

struct Inner {
    runs: HashMap<Arc<str>, Arc<Run>>,
    lanes: Lanes<Job>,
    threads: usize,
    finished: Aging<String, Finished>,
    closing: bool,
    /// For the names of threads.
    started: u64,
}

impl Runs {
    pub fn new(deps: Deps) -> Arc<Runs> {
        Runs::with_times(deps, Deadlines::default(), FIRST_BACKOFF)
    }

    /// As [`Runs::new`], with other deadlines for the exchange with a model endpoint, and another wait
    /// before a call is made again for the first time.
    pub fn with_times(deps: Deps, deadlines: Deadlines, first_backoff: Duration) -> Arc<Runs> {
        Arc::new(Runs {
            queue: RunQueue::new(deps.paths.run_queue()),
            deps,
            first_backoff,
            http: Arc::new(Http::new(deadlines)),
            inner: Mutex::new(Inner {
                runs: HashMap::new(),
                lanes: Lanes::default(),
                threads: 0,
                finished: Aging::new(FINISHED),
                closing: false,
                started: 0,
            }),
            ended: Condvar::new(),
        })
    }

    pub fn deps(&self) -> &Deps {
        &self.deps
    }

    /// Accepts a run: stores what the user said, then calls `on_accepted`, then has it done. An error
    /// means that nothing was stored and no callback will be called.
    pub fn start(
        self: &Arc<Self>,
        request: RunRequest,
        callbacks: Callbacks,
    ) -> Result<(), RpcError> {
        self.take_in(request, callbacks, None)
    }

    /// As [`Runs::start`]; a run with a `ticket` is stored already.
    fn take_in(
        self: &Arc<Self>,
        request: RunRequest,
        mut callbacks: Callbacks,
        ticket: Option<Ticket>,
    ) -> Result<(), RpcError> {
        let (run, free) = self.reserve(&request)?;
        let forget = callbacks.forget.take();
        let begun = match self.store(&request, free, ticket, forget) {
            Ok(begun) => begun,
            Err(e) => {
                self.release(&run);
                return Err(e);
            }
        };
        let on_accepted = std::mem::replace(&mut callbacks.on_accepted, Box::new(|_| {}));
        on_accepted(&Accepted {
            run_id: run.id.to_string(),
            accepted_at: run.accepted_at,
        });
        let job = Job {
            run: run.clone(),
            request,
            begun,
            callbacks,
        };
        let left = self.lock().lanes.fill(&run.lane, &run.id, job);
        match left {
            None => self.dispatch(),
            // Going down: it is stored, and the next start finds it.
            Some(_) => self.release(&run),
        }
        Ok(())
    }

    /// Takes a place in the run's session; whether that is free at once.
    fn reserve(&self, request: &RunRequest) -> Result<(Arc<Run>, bool), RpcError> {
        let id: Arc<str> = request.run_id.as_str().into();
        let lane = request.queue_key();
        let key = request.session_key.as_deref().map(Arc::from);
        let sink = match request.quiet {
            true => Arc::new(|_| {}),
            false => self.deps.events.clone(),
        };
        let run = Arc::new(Run {
            id: id.clone(),
            session_key: request.session_key.clone(),
            sent_key: request.sent_key.clone(),
            cancel: Cancel::new(None),
            emitter: Emitter::new(id.clone(), key, request.sent_key.clone(), sink),
            lane: lane.clone(),
            accepted_at: request.accepted_at,
            started_at: AtomicU64::new(0),
        });
        let mut inner = self.lock();
        if inner.closing {
            return Err(RpcError::unavailable("the gateway is going down").retry_after(1000));
        }
        if inner.runs.contains_key(&id) {
            let text = "a run with this id is not over yet; use another idempotencyKey";
            return Err(RpcError::invalid(text));
        }
        let free = inner
            .lanes
            .reserve(&lane, &id, request.lane.pool(), request.size())?;
        inner.runs.insert(id, run.clone());
        let in_lane = inner.runs.values().filter(|r| r.lane == lane);
        let in_lane: Vec<Arc<Run>> = in_lane.cloned().collect();
        drop(inner);
        // Whoever starts a run also sees the tools of those that go on in the same session.
        if let Some(connection) = request.watcher {
            for run in in_lane {
                run.emitter.watch(connection);
            }
        }
        Ok((run, free))
    }

    /// Puts what the user said on disk: in the transcript, or in the queue while the session is busy.
    fn store(
        &self,
        request: &RunRequest,
        free: bool,
        ticket: Option<Ticket>,
        forget: Option<Forget>,
    ) -> Result<Begun, RpcError> {
        if free {
            let config = self.deps.config.current();
            let mut session = Session::open(&self.deps, &config, request)?;
            session.store_user(&self.deps, &config, request)?;
            if let Some(ticket) = ticket {
                self.queue.remove(&ticket);
            }
            return Ok(Begun {
                session: Some(session),
                ticket: None,
                forget,
            });
        }
        let mut ticket = ticket;
        if ticket.is_none() && forget.is_none() {
            let stored = self.queue.put(request);
            ticket = Some(stored.map_err(|e| {
                RpcError::unavailable(format!("the message cannot be stored: {e}"))
            })?);
        }
        Ok(Begun {
            session: None,
            ticket,
            forget,
        })
    }

    /// Gives back the place of a run that has ended, or is not to be done.
    fn release(self: &Arc<Self>, run: &Run) {
        let mut inner = self.lock();
        inner.runs.remove(&run.id);
        inner.lanes.leave(&run.lane, &run.id);
        drop(inner);
        self.ended.notify_all();
        self.dispatch();
    }

    /// Has threads for what can be done now, up to the bound.
    fn dispatch(self: &Arc<Self>) {
        let limits = limits(&self.deps.config.current());
        let numbers = {
            let mut inner = self.lock();
            let missing = inner.lanes.wanted(limits).saturating_sub(inner.threads);
            inner.threads += missing;
            inner.started += missing as u64;
            inner.started - missing as u64..inner.started
        };
        for number in numbers {
            let runs = self.clone();
            let spawned = std::thread::Builder::new()
                .name(format!("run-{number}"))
                .stack_size(STACK)
                .spawn(move || runs.work());
            if let Err(e) = spawned {
                // The next run that is accepted or ends tries again.
                self.lock().threads -= 1;
                log::error!(target: "agent", "cannot start a thread for a run: {e}");
            }
        }
    }

    /// Does one run after the other until there is none that can begin.
    fn work(self: Arc<Self>) {
        loop {
            let limits = limits(&self.deps.config.current());
            let job = {
                let mut inner = self.lock();
                match inner.lanes.next(limits) {
                    Some(job) => job,
                    None => {
                        inner.threads -= 1;
                        return;
                    }
                }
            };
            let Job {
                run,
                request,
                begun,
                callbacks,
            } = job;
            let bug = || log::error!(target: "agent", "run {} ended in a bug", run.id);
            let work = || turn::work(&self, &run, &request, begun);
            let ended = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
                bug();
                end::Ended::in_a_bug(&run)
            });
            let tell = || end::tell(&self, &run, &request, ended, callbacks);
            if catch_unwind(AssertUnwindSafe(tell)).is_err() {
                bug();
            }
            self.release(&run);
        }
    }

    /// Remembers how `run` ended, before its last event is sent.
    fn note_end(&self, run: &Run, error: Option<String>) {
        let now = clock::now_ms();
        let finished = Finished {
            error,
            started_at: run.started_at.load(Ordering::Relaxed),
            ended_at: now,
        };
        let size =
            size_of::<Finished>() + run.id.len() + finished.error.as_ref().map_or(0, String::len);
        let mut inner = self.lock();
        inner
            .finished
            .insert(run.id.to_string(), finished, size, now);
        drop(inner);
        self.ended.notify_all();
    }

    /// Waits until the run `run_id` has ended, at most `limit`; the payload of `agent.wait`. An unknown
    /// run is waited for: it may come.
    pub fn wait(&self, run_id: &str, limit: Duration) -> Value {
        let until = Instant::now() + limit;
        let key = run_id.to_string();
        let mut inner = self.lock();
        loop {
            if let Some(f) = inner.finished.get(&key, clock::now_ms()) {
                let status = if f.error.is_some() { "error" } else { "ok" };
                let mut out = json!({"runId": run_id, "status": status});
                if f.started_at > 0 {
                    out["startedAt"] = json!(f.started_at);
                }
                out["endedAt"] = json!(f.ended_at);
                if let Some(error) = &f.error {
                    out["error"] = json!(error);
                }
                return out;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return json!({"runId": run_id, "status": "timeout"});
            }
            inner = sync::wait_timeout(&self.ended, inner, left);
        }
    }

    /// The run `run_id`, as long as it has not ended.
    pub fn find(&self, run_id: &str) -> Option<Arc<Run>> {
        self.lock().runs.get(run_id).cloned()
    }

    /// Whether a run goes on or waits in the session.
    pub fn is_busy(&self, session_key: &str) -> bool {
        self.lock().lanes.is_busy(session_key)
    }

    /// Runs that wait in the session, the one that goes on not counted.
    pub fn waiting(&self, session_key: &str) -> usize {
        self.lock().lanes.waiting(session_key)
    }

    /// Runs that were accepted and have not ended.
    pub fn active(&self) -> usize {
        self.lock().runs.len()
    }

    fn wait_until(&self, limit: Duration, done: impl Fn(&Inner) -> bool) -> bool {
        let until = Instant::now() + limit;
        let mut inner = self.lock();
        while !done(&inner) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            inner = sync::wait_timeout(&self.ended, inner, left);
        }
        true
    }

    /// Forgets what is too old, closes connections that nobody uses. For a clock, once a minute.
    pub fn tidy(&self) {
        self.http.tidy();
        self.lock().finished.sweep(clock::now_ms());
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        sync::lock(&self.inner)
    }
}

/// The content of a message in a transcript.
fn content(parts: &[Part]) -> Value {
    let each = parts.iter().map(|p| match p {
        Part::Text(text) => json!({"type": "text", "text": text}),
        Part::Image { mime, data } => json!({"type": "image", "data": data, "mimeType": mime}),
    });
    each.collect()
}

#[cfg(test)]
mod tests;
