//! How a run starts and how it ends; which are due is due.rs.
//!
//! The order is the promise: that a run has started, and when the next one is, is on disk before anything
//! is done. A crash in the middle leaves a run that is known to have been interrupted, never one that is
//! done twice; a crash before leaves one that is still due.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use serde_json::{Value, json};

use super::due::{collect, last_entry, plan};
use super::ended::{Ended, begin, was_due};
use super::job::{Job, Object, Payload};
use super::service::{Inner, Outcome, Run, Running, Service, Status};
use super::{Error, Settings};

use crate::sys::sync;

/// Ms after which a run is given up when its job names no `timeoutSeconds`.
pub const RUN_TIMEOUT_MS: u64 = 600_000;
/// Threads of runs at a time, those included that were given up and have not ended.
pub const MAX_THREADS: usize = 16;
/// Ms after which the clock is looked at again although nothing is due: it may have been set.
const LOOK_MS: u64 = 60_000;
/// The same while the clock is in doubt.
const DOUBT_LOOK_MS: u64 = 5_000;
/// Ms between two tries to write what could not be written.
const RETRY_MS: u64 = 30_000;
/// Ms until old sessions of isolated runs are looked for: after the start, and then each time.
pub(super) const FIRST_SWEEP_MS: u64 = 60_000;
const SWEEP_MS: u64 = 3_600_000;
/// How long runs that were cancelled may take to end.
const STOP_TIME: Duration = Duration::from_secs(5);
/// Stack of a run's thread, in bytes.
const RUN_STACK: usize = 1024 * 1024;

const TIMED_OUT: &str = "cron: job execution timed out";

/// What `cron.run` came to.
#[derive(Debug)]
pub enum Forced {
    /// It runs; the channel closes when it has ended.
    Started(Receiver<()>),
    NotDue,
    AlreadyRunning,
}

/// A run that is on disk and has no thread yet.
struct Start {
    job: Job,
    serial: u64,
    run: Run,
}

impl Service {
    /// Time until [`Service::tick`] has something to do; `None`: nothing before a change.
    pub fn next_deadline(&self) -> Option<Duration> {
        let enabled = (self.deps.settings)().enabled;
        let (wall, mono) = (self.deps.clock.wall(), self.deps.clock.mono());
        let inner = self.lock();
        let mut times: Vec<u64> = inner.running.values().filter_map(|r| r.deadline).collect();
        if enabled && !inner.stopping {
            times.extend(inner.sweep_at);
            times.extend(inner.retry_at);
            let waits = |j: &&Job| {
                j.enabled() && !inner.running.contains_key(j.id()) && !inner.is_queued(j.id())
            };
            let jobs: Vec<&Job> = inner.jobs.iter().filter(waits).collect();
            // Looking again is how a clock that was set, or a file that was repaired, is found out.
            if inner.fresh || !jobs.is_empty() {
                times.push(
                    mono + if inner.doubt.is_some() {
                        DOUBT_LOOK_MS
                    } else {
                        LOOK_MS
                    },
                );
            }
            if inner.doubt.is_none() && inner.broken().is_none() && inner.retry_at.is_none() {
                times.extend(
                    jobs.iter()
                        .filter_map(|j| j.next_run())
                        .map(|next| mono + next.saturating_sub(wall)),
                );
            }
        }
        times
            .into_iter()
            .min()
            .map(|at| Duration::from_millis(at.saturating_sub(mono)))
    }

    /// Does what is due, on a thread of its own.
    pub fn tick(self: &Arc<Self>) {
        let service = self.clone();
        let spawned = thread::Builder::new()
            .name("cron".into())
            .spawn(move || service.work());
        if let Err(e) = spawned {
            log::error!(target: "cron", "no thread for the scheduler: {e}; trying again");
            let at = self.deps.clock.mono() + RETRY_MS;
            self.lock().retry_at = Some(at);
            (self.deps.changed)();
        }
    }

    /// Looks at the clock, gives up runs that take too long, and starts what is due.
    pub fn work(self: &Arc<Self>) {
        self.give_up_late_runs();
        let settings = (self.deps.settings)();
        let (wall, mono) = (self.deps.clock.wall(), self.deps.clock.mono());
        let mut ended = Vec::new();
        let mut started = Vec::new();
        let mut inner = self.lock();
        if inner.stopping || !settings.enabled {
            inner.queue.clear();
            return;
        }
        inner.refresh(&self.deps.store);
        let look = inner.watch.look(wall, mono);
        if inner.doubt != look.doubt {
            match look.doubt {
                Some(d) => log::warn!(target: "cron", "{d}: nothing runs until it is right"),
                None => log::info!(target: "cron", "the clock is right"),
            }
        }
        inner.doubt = look.doubt;
        let sane = look.doubt.is_none();
        if sane && inner.broken().is_none() && inner.retry_at.is_none_or(|at| mono >= at) {
            inner.retry_at = None;
            plan(&mut inner, &self.deps.store, wall, look.rebased, &mut ended);
            collect(&mut inner, wall, &mut ended);
            // First the log: what is in it is taken up at the next start, what is not is lost.
            ended
                .iter()
                .for_each(|entry| self.log_run(entry, &settings));
            self.start_queued(&mut inner, settings.max_concurrent, &mut started);
            if inner.dirty {
                self.save_or_retry(&mut inner);
            }
        }
        let sweep = sane && inner.sweep_at.is_some_and(|at| mono >= at);
        if sweep {
            inner.sweep_at = None;
        }
        self.publish(&inner);
        drop(inner);
        for entry in ended {
            (self.deps.events)(&event(entry));
        }
        started.into_iter().for_each(|start| self.spawn(start));
        if sweep {
            self.sweep(settings.retention_ms);
        }
        (self.deps.changed)();
    }

    /// `cron.run`: starts the job now, or only when it is due.
    pub fn run_now(self: &Arc<Self>, id: &str, only_due: bool) -> Result<Forced, Error> {
        let now = self.deps.clock.wall();
        let mut inner = self.edit()?;
        let index = inner.position(id)?;
        let job = &inner.jobs[index];
        if inner.running.contains_key(id) {
            return Ok(Forced::AlreadyRunning);
        }
        let due = job.enabled()
            && inner.doubt.is_none()
            && job.next_run().is_some_and(|next| next <= now);
        if only_due && !due {
            return Ok(Forced::NotDue);
        }
        if inner.threads >= MAX_THREADS {
            return Err(Error::Full(
                "too many cron runs are in progress; try again when one has ended",
            ));
        }
        inner.commit(&self.deps.store, |jobs| begin(&mut jobs[index], None, now))?;
        inner.queue.retain(|d| d.id != id);
        let (done, ended) = bounded(0);
        let start = self.register(&mut inner, index, now, Some(done));
        self.publish(&inner);
        drop(inner);
        self.spawn(start);
        (self.deps.changed)();
        Ok(Forced::Started(ended))
    }

    /// Starts no more runs and waits for those in progress; after `patience` they are cancelled.
    pub fn stop(&self, patience: Duration) {
        let mut inner = self.lock();
        inner.stopping = true;
        inner.queue.clear();
        drop(inner);
        if self.wait_idle(patience) {
            return;
        }
        for run in self.lock().running.values_mut() {
            run.cancel = None;
        }
        if !self.wait_idle(STOP_TIME) {
            log::warn!(target: "cron", "a run did not end in time; it counts as interrupted");
        }
    }

    fn wait_idle(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut inner = self.lock();
        while !inner.running.is_empty() || inner.ending > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            inner = sync::wait_timeout(&self.idle, inner, left);
        }
        true
    }

    /// Runs in progress.
    pub fn active(&self) -> usize {
        self.lock().running.len()
    }

    /// Starts queued jobs while there is room, after their start is on disk.
    fn start_queued(&self, inner: &mut Inner, at_a_time: usize, started: &mut Vec<Start>) {
        let busy = inner.running.values().filter(|r| !r.forced).count();
        let room = at_a_time
            .saturating_sub(busy)
            .min(MAX_THREADS.saturating_sub(inner.threads));
        if room == 0 || inner.queue.is_empty() {
            return;
        }
        let now = self.deps.clock.wall();
        let before = inner.jobs.clone();
        let (mut indices, mut taken) = (Vec::new(), Vec::new());
        while indices.len() < room {
            let Some(next) = inner.queue.pop_front() else {
                break;
            };
            // It may have been changed or removed while it waited.
            let Ok(i) = inner.position(&next.id) else {
                continue;
            };
            if inner.jobs[i].enabled() && inner.jobs[i].next_run() == Some(next.due) {
                begin(&mut inner.jobs[i], Some(next.due), now);
                indices.push(i);
                taken.push(next);
            }
        }
        if indices.is_empty() {
            return;
        }
        if let Err(e) = inner.save(&self.deps.store) {
            log::error!(target: "cron", "{} due runs wait: their start cannot be stored: {e}", indices.len());
            inner.jobs = before;
            for due in taken.into_iter().rev() {
                inner.queue.push_front(due);
            }
            inner.retry_at = Some(self.deps.clock.mono() + RETRY_MS);
            return;
        }
        for i in indices {
            started.push(self.register(inner, i, now, None));
        }
    }

    /// Notes a run that is on disk; its thread starts when the lock is gone.
    fn register(
        &self,
        inner: &mut Inner,
        index: usize,
        now: u64,
        done: Option<Sender<()>>,
    ) -> Start {
        let job = inner.jobs[index].clone();
        let mono = self.deps.clock.mono();
        let timeout = match job.payload() {
            Some(Payload::Turn {
                timeout_s: Some(0), ..
            }) => None,
            Some(Payload::Turn {
                timeout_s: Some(s), ..
            }) => Some(s.saturating_mul(1000)),
            _ => Some(RUN_TIMEOUT_MS),
        };
        let (cancel, cancelled) = bounded(0);
        inner.serial += 1;
        inner.threads += 1;
        let run = Running {
            serial: inner.serial,
            started_at: now,
            started_mono: mono,
            deadline: timeout.map(|ms| mono.saturating_add(ms)),
            cancel: Some(cancel),
            forced: done.is_some(),
            done,
        };
        inner.running.insert(job.id().to_string(), run);
        Start {
            job,
            serial: inner.serial,
            run: Run {
                started_at: now,
                cancelled,
            },
        }
    }

    fn spawn(self: &Arc<Self>, start: Start) {
        let Start { job, serial, run } = start;
        (self.deps.events)(
            &json!({"jobId": job.id(), "action": "started", "runAtMs": run.started_at}),
        );
        let (service, id) = (self.clone(), job.id().to_string());
        let body = move || {
            let result = catch_unwind(AssertUnwindSafe(|| service.deps.executor.run(&job, &run)));
            let panicked =
                |_| Outcome::error("cron: the run failed inside the gateway; see its log");
            service.finish(job.id(), serial, &result.unwrap_or_else(panicked), true);
            service.work();
        };
        let spawned = thread::Builder::new()
            .name("cron-run".into())
            .stack_size(RUN_STACK)
            .spawn(body);
        if let Err(e) = spawned {
            self.finish(
                &id,
                serial,
                &Outcome::error(format!("cron: no thread for the run: {e}")),
                true,
            );
        }
    }

    fn give_up_late_runs(&self) {
        let mono = self.deps.clock.mono();
        let late: Vec<(String, u64)> = {
            let inner = self.lock();
            let late = inner
                .running
                .iter()
                .filter(|(_, r)| r.deadline.is_some_and(|at| mono >= at));
            late.map(|(id, r)| (id.clone(), r.serial)).collect()
        };
        for (id, serial) in late {
            // This also cancels it: what its thread says afterwards does not count any more.
            self.finish(&id, serial, &Outcome::error(TIMED_OUT), false);
        }
    }

    /// Stores how a run ended. `thread`: its thread is over; else it was given up.
    fn finish(&self, id: &str, serial: u64, outcome: &Outcome, thread: bool) {
        let (wall, mono) = (self.deps.clock.wall(), self.deps.clock.mono());
        let settings = (self.deps.settings)();
        let mut inner = self.lock();
        if thread {
            inner.threads -= 1;
        }
        // A run that was given up has been dealt with.
        if inner.running.get(id).is_none_or(|r| r.serial != serial) {
            return;
        }
        let Some(run) = inner.running.remove(id) else {
            return;
        };
        // The wall clock may have been set meanwhile: a duration is measured on the other one.
        let duration = mono.saturating_sub(run.started_mono);
        let ended = Ended {
            outcome,
            started: run.started_at,
            duration,
            now: wall,
        };
        let (mut removed, mut over) = (false, None);
        let entry = match inner.position(id) {
            Ok(i) => {
                let job = &mut inner.jobs[i];
                removed = was_due(job, run.started_at)
                    && job.deletes_after_run()
                    && outcome.status == Status::Ok;
                ended.apply(job);
                let entry = ended.entry(job);
                over = Some(job.clone());
                if removed {
                    inner.jobs.remove(i);
                }
                entry
            }
            // Removed while it ran: the log remembers.
            Err(_) => ended.plain_entry(id),
        };
        self.log_run(&entry, &settings);
        self.save_or_retry(&mut inner);
        if outcome.session_key.is_some() {
            inner.sweep_at.get_or_insert(mono + SWEEP_MS);
        }
        self.publish(&inner);
        inner.ending += 1;
        drop(inner);
        if outcome.status == Status::Error {
            let why = outcome.error.as_deref().unwrap_or("no reason given");
            log::warn!(target: "cron", "job {id} failed: {why}");
        }
        let event = event(entry);
        (self.deps.events)(&event);
        if let Some(job) = over {
            self.deps.executor.finished(&job, &event);
        }
        if removed {
            (self.deps.events)(&json!({"jobId": id, "action": "removed"}));
        }
        drop(run.done);
        self.lock().ending -= 1;
        self.idle.notify_all();
    }

    /// Adds the end of a run to the log, unless it is the last line already.
    fn log_run(&self, entry: &Object, settings: &Settings) {
        let id = entry
            .get("jobId")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if last_entry(&self.deps.store, id)
            .is_some_and(|last| last.get("runAtMs") == entry.get("runAtMs"))
        {
            return;
        }
        if let Err(e) = self.deps.store.append_run(id, entry, settings.log) {
            log::warn!(target: "cron", "run log of job {id}: {e}");
        }
    }

    fn save_or_retry(&self, inner: &mut Inner) {
        inner.dirty = true;
        if let Err(e) = inner.save(&self.deps.store) {
            log::error!(target: "cron", "{e}; trying again");
            inner.retry_at = Some(self.deps.clock.mono() + RETRY_MS);
        }
    }

    fn sweep(&self, retention: Option<u64>) {
        let Some(retention) = retention else { return };
        let left = self
            .deps
            .executor
            .reap(self.deps.clock.wall().saturating_sub(retention));
        if left {
            let at = self.deps.clock.mono() + SWEEP_MS;
            self.lock().sweep_at.get_or_insert(at);
        }
    }
}

/// The event that tells of the end of a run.
fn event(mut entry: Object) -> Value {
    entry.remove("ts");
    Value::Object(entry)
}
