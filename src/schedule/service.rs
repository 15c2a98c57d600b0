//! The cron service: jobs in memory and on disk, and what callers may do with them.
//!
//! What is due and how a run starts and ends is run.rs. The service has no thread while nothing is due:
//! the gateway's clock asks [`Service::next_deadline`] and calls [`Service::tick`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use crossbeam_channel::{Receiver, Sender};
use serde_json::{Value, json};

use super::clock::{Clock, Doubt, Watch};
use super::input;
use super::job::{Job, Object};
use super::query;
use super::{Error, Settings};
use crate::state::cron_store::{self, CronStore, Jobs};
use crate::sys::file::Stamp;
use crate::sys::{id, sync};

/// Jobs that the service keeps at most.
pub const MAX_JOBS: usize = 1000;

/// What a run is given beside its job.
pub struct Run {
    /// When it started, ms since 1970.
    pub started_at: u64,
    /// Ends (all its senders are dropped) when the run has to stop: its time is over, or the gateway goes.
    pub cancelled: Receiver<()>,
}

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    pub status: Status,
    pub error: Option<String>,
    /// What it said, for the log and the operator.
    pub summary: Option<String>,
    /// Whether the result reached its target. `None`: unknown, or nothing was to be delivered.
    pub delivered: Option<bool>,
    pub session_id: Option<String>,
    pub session_key: Option<String>,
    pub model: Option<String>,
    pub provider: Option<String>,
    /// `{input_tokens, output_tokens, total_tokens}`.
    pub usage: Option<Value>,
}

/// The three ends of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Status {
    Ok,
    #[default]
    Error,
    Skipped,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Error => "error",
            Status::Skipped => "skipped",
        }
    }
}

impl Outcome {
    pub fn error(text: impl Into<String>) -> Outcome {
        Outcome {
            error: Some(text.into()),
            ..Outcome::default()
        }
    }
}

/// Does what jobs ask for. Called on the thread of the run, which may take as long as it needs.
pub trait Executor: Send + Sync {
    /// Runs `job` to its end, delivery included.
    fn run(&self, job: &Job, run: &Run) -> Outcome;

    /// The run of `job` is over, logged, and this is the event that says so. For what is to be posted.
    fn finished(&self, job: &Job, event: &Value);

    /// Forgets the sessions of isolated runs that ended before `before` (ms since 1970); true when
    /// younger ones are left.
    fn reap(&self, before: u64) -> bool;
}

/// What the service is made of.
pub struct Deps {
    pub store: CronStore,
    pub clock: Arc<dyn Clock>,
    pub executor: Arc<dyn Executor>,
    /// Gets the payload of each `cron` event.
    pub events: Arc<dyn Fn(&Value) + Send + Sync>,
    /// The configuration of this moment.
    pub settings: Arc<dyn Fn() -> Settings + Send + Sync>,
    /// Called when [`Service::next_deadline`] may have moved.
    pub changed: Arc<dyn Fn() + Send + Sync>,
}

/// The scheduler of jobs.
///
/// `inner` is held while the jobs are written: what is in memory is on disk, and nobody sees a job that
/// may still get lost. Readers look at `view` and never wait for the disk.
pub struct Service {
    pub(super) deps: Deps,
    pub(super) inner: Mutex<Inner>,
    pub(super) idle: Condvar,
    view: Mutex<Arc<View>>,
}

/// What readers see.
#[derive(Default)]
struct View {
    jobs: Vec<Job>,
    doubt: Option<Doubt>,
    broken: Option<String>,
    stamp: Option<Stamp>,
}

pub(super) struct Inner {
    pub jobs: Vec<Job>,
    /// What the file holds beside the jobs, and entries that are no jobs.
    rest: Jobs,
    strays: Vec<Object>,
    stamp: Option<Stamp>,
    /// Why the file on disk cannot be used.
    broken: Option<String>,
    /// A result that could not be stored yet.
    pub dirty: bool,
    pub queue: VecDeque<Due>,
    pub running: BTreeMap<String, Running>,
    pub watch: Watch,
    pub doubt: Option<Doubt>,
    /// Interrupted runs and missing times are still to be looked after: the clock was not sane yet.
    pub fresh: bool,
    /// Runs whose thread is alive, those given up included.
    pub threads: usize,
    /// Runs whose end is stored and not yet logged and told.
    pub ending: usize,
    pub serial: u64,
    pub stopping: bool,
    /// Monotonic time of the next look for old sessions, of the next try after a failed write.
    pub sweep_at: Option<u64>,
    pub retry_at: Option<u64>,
}

/// A job whose time has come and that waits for its turn.
pub(super) struct Due {
    pub id: String,
    pub due: u64,
}

/// A run in progress.
pub(super) struct Running {
    pub serial: u64,
    pub started_at: u64,
    pub started_mono: u64,
    /// Monotonic time at which it is given up.
    pub deadline: Option<u64>,
    /// Dropped to cancel.
    pub cancel: Option<Sender<()>>,
    pub forced: bool,
    /// Told how it ended.
    pub done: Option<Sender<()>>,
}

impl Service {
    /// Reads the jobs. Nothing runs before the first [`Service::tick`].
    pub fn open(deps: Deps) -> Arc<Service> {
        let mut inner = Inner {
            jobs: Vec::new(),
            rest: Jobs::default(),
            strays: Vec::new(),
            stamp: None,
            broken: None,
            dirty: false,
            queue: VecDeque::new(),
            running: BTreeMap::new(),
            watch: Watch::new(0),
            doubt: None,
            fresh: true,
            threads: 0,
            ending: 0,
            serial: 0,
            stopping: false,
            sweep_at: None,
            retry_at: None,
        };
        inner.load(&deps.store);
        let known = inner
            .jobs
            .iter()
            .flat_map(|j| [j.last_run(), Some(j.updated_at())])
            .flatten()
            .max();
        inner.watch = Watch::new(known.unwrap_or(0));
        inner.sweep_at = Some(deps.clock.mono() + super::run::FIRST_SWEEP_MS);
        if inner.stamp.is_none() && inner.broken.is_none() {
            // As the reference: an empty store shows an operator where the jobs are.
            inner
                .save(&deps.store)
                .unwrap_or_else(|e| log::warn!(target: "cron", "{e}"));
        }
        let service = Service {
            deps,
            inner: Mutex::new(inner),
            idle: Condvar::new(),
            view: Mutex::default(),
        };
        service.publish(&service.lock());
        Arc::new(service)
    }

    /// `cron.status`.
    pub fn status(&self) -> Value {
        let view = self.view();
        let enabled = (self.deps.settings)().enabled;
        let next = view
            .jobs
            .iter()
            .filter(|j| j.enabled())
            .filter_map(Job::next_run)
            .min();
        let mut out = json!({
            "enabled": enabled,
            "storePath": self.deps.store.path().display().to_string(),
            "jobs": view.jobs.len(),
            "nextWakeAtMs": next.filter(|_| enabled),
        });
        // Only there when something is wrong.
        if let Some(doubt) = view.doubt {
            out["waitingFor"] = json!(format!("{doubt}; nothing runs until it is right"));
        }
        if let Some(why) = &view.broken {
            out["storeError"] = json!(why);
        }
        out
    }

    /// `cron.list`. Changes nothing.
    pub fn list(&self, params: &Value) -> Result<Value, Error> {
        let view = self.view();
        match &view.broken {
            Some(why) if view.jobs.is_empty() => Err(Error::Broken(why.clone())),
            _ => Ok(query::list(&view.jobs, params)),
        }
    }

    /// `cron.runs`: the log of one job, or of all.
    pub fn runs(&self, params: &Value) -> Result<Value, Error> {
        let text = |key: &str| params.get(key).and_then(Value::as_str);
        let job = text("id").or(text("jobId"));
        let all = text("scope").map_or(job.is_none(), |s| s == "all");
        if all {
            let names = self
                .view()
                .jobs
                .iter()
                .map(|j| (j.id().to_string(), j.name().to_string()))
                .collect();
            return Ok(query::runs(
                self.deps.store.all_runs()?,
                Some(&names),
                params,
            ));
        }
        let job =
            job.ok_or_else(|| Error::Params("invalid cron.runs params: missing id".into()))?;
        match self.deps.store.runs(job) {
            Err(cron_store::Error::JobId) => {
                Err(Error::Params("invalid cron.runs params: invalid id".into()))
            }
            entries => Ok(query::runs(entries?, None, params)),
        }
    }

    /// The job of that id.
    pub fn job(&self, id: &str) -> Option<Job> {
        self.view().jobs.iter().find(|j| j.id() == id).cloned()
    }

    /// `cron.add`: the job as it was stored.
    pub fn add(&self, params: &Value) -> Result<Value, Error> {
        let now = self.deps.clock.wall();
        let fields = input::add(params, now)?;
        let mut inner = self.edit()?;
        if inner.jobs.len() >= MAX_JOBS {
            return Err(Error::Full(
                "there are 1000 cron jobs already; remove some first",
            ));
        }
        let job = Job::create(id::uuid(), fields, now)?;
        inner.commit(&self.deps.store, |jobs| jobs.push(job.clone()))?;
        self.finish_edit(inner, &change(&job, "added"));
        Ok(Value::Object(job.fields().clone()))
    }

    /// `cron.update`: the job as it is afterwards.
    pub fn update(&self, id: &str, patch: &Value) -> Result<Value, Error> {
        let now = self.deps.clock.wall();
        let patch = input::patch(patch, now)?;
        let mut inner = self.edit()?;
        let index = inner.position(id)?;
        let mut job = inner.jobs[index].clone();
        job.patch(&patch, now)?;
        inner.commit(&self.deps.store, |jobs| jobs[index] = job.clone())?;
        self.finish_edit(inner, &change(&job, "updated"));
        Ok(Value::Object(job.fields().clone()))
    }

    /// `cron.remove`. A run in progress goes on; its result is logged.
    pub fn remove(&self, id: &str) -> Result<Value, Error> {
        let mut inner = self.edit()?;
        let found = inner.position(id).ok();
        if let Some(index) = found {
            inner.commit(&self.deps.store, |jobs| drop(jobs.remove(index)))?;
            inner.queue.retain(|d| d.id != id);
            self.finish_edit(inner, &json!({"jobId": id, "action": "removed"}));
        }
        Ok(json!({"ok": true, "removed": found.is_some()}))
    }

    /// The inner state with the jobs as they are on disk, ready to be changed.
    pub(super) fn edit(&self) -> Result<MutexGuard<'_, Inner>, Error> {
        let mut inner = self.lock();
        if inner.stopping {
            return Err(Error::Stopping);
        }
        inner.refresh(&self.deps.store);
        match &inner.broken {
            Some(why) => Err(Error::Broken(why.clone())),
            None => Ok(inner),
        }
    }

    fn finish_edit(&self, inner: MutexGuard<'_, Inner>, event: &Value) {
        self.publish(&inner);
        drop(inner);
        (self.deps.events)(event);
        (self.deps.changed)();
    }

    pub(super) fn publish(&self, inner: &Inner) {
        let view = View {
            jobs: inner.jobs.clone(),
            doubt: inner.doubt,
            broken: inner.broken.clone(),
            stamp: inner.stamp,
        };
        *sync::lock(&self.view) = Arc::new(view);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        sync::lock(&self.inner)
    }

    /// The jobs as they are on disk; read again when somebody else has written them.
    fn view(&self) -> Arc<View> {
        let view = sync::lock(&self.view).clone();
        if self.deps.store.stamp() == view.stamp {
            return view;
        }
        let mut inner = self.lock();
        inner.refresh(&self.deps.store);
        self.publish(&inner);
        drop(inner);
        (self.deps.changed)();
        sync::lock(&self.view).clone()
    }
}

fn change(job: &Job, action: &str) -> Value {
    let mut event = json!({"jobId": job.id(), "action": action});
    if let Some(next) = job.next_run() {
        event["nextRunAtMs"] = json!(next);
    }
    event
}

impl Inner {
    pub(super) fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    pub(super) fn position(&self, id: &str) -> Result<usize, Error> {
        self.jobs
            .iter()
            .position(|j| j.id() == id)
            .ok_or_else(|| Error::UnknownJob(id.to_string()))
    }

    /// Changes the jobs, on disk first. On an error nothing has changed.
    pub(super) fn commit(
        &mut self,
        store: &CronStore,
        edit: impl FnOnce(&mut Vec<Job>),
    ) -> Result<(), Error> {
        let before = self.jobs.clone();
        edit(&mut self.jobs);
        self.save(store).inspect_err(|_| self.jobs = before)?;
        Ok(())
    }

    /// Writes the jobs.
    pub(super) fn save(&mut self, store: &CronStore) -> Result<(), cron_store::Error> {
        let mut all = self.rest.clone();
        all.jobs = self
            .jobs
            .iter()
            .map(|j| j.fields().clone())
            .chain(self.strays.iter().cloned())
            .collect();
        store.save(&all)?;
        self.stamp = store.stamp();
        self.dirty = false;
        Ok(())
    }

    /// Reads the jobs again when somebody else has written them.
    pub(super) fn refresh(&mut self, store: &CronStore) {
        if store.stamp() != self.stamp && !self.dirty {
            self.load(store);
        }
    }

    fn load(&mut self, store: &CronStore) {
        let stamp = store.stamp();
        match store.load() {
            Ok(mut all) => {
                self.strays.clear();
                self.jobs.clear();
                for fields in std::mem::take(&mut all.jobs) {
                    match Job::stored(fields.clone()) {
                        Some(job) => self.jobs.push(job),
                        None => self.strays.push(fields),
                    }
                }
                self.rest = all;
                self.broken = None;
            }
            Err(e) => {
                if self.broken.is_none() {
                    log::error!(target: "cron", "{e}");
                }
                // The jobs that are in memory go on; nothing is written over the file.
                self.broken = Some(e.to_string());
            }
        }
        self.stamp = stamp;
    }
}
