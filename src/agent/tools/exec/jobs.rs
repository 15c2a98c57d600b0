//! All commands of this gateway: those that run, and those that ended not long ago.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::job::{Ended, Job, Start, Waited};
use crate::agent::cancel::Cancel;
use crate::sys::{clock, sync};

/// Commands that run at a time.
pub const MAX_RUNNING: usize = 32;
/// Ended ones that are kept; the oldest go first.
const MAX_ENDED: usize = 32;
/// How long an ended one is kept unless `tools.exec.cleanupMs` says otherwise, in ms.
pub const KEPT_MS: u64 = 30 * 60 * 1000;

/// The commands. One lock, never held while a command is waited for.
#[derive(Default)]
pub struct Jobs(Mutex<Table>);

#[derive(Default)]
struct Table {
    jobs: Vec<Arc<Job>>,
    /// The gateway is going down: nothing is started any more.
    closed: bool,
}

impl Jobs {
    /// Starts a command. An error says why not, in words for the model.
    pub fn start(&self, start: Start) -> Result<Arc<Job>, String> {
        let mut table = self.lock();
        if table.closed {
            return Err("the gateway is shutting down".into());
        }
        let running = table.jobs.iter().filter(|j| j.ended().is_none()).count();
        if running >= MAX_RUNNING {
            return Err(format!(
                "{MAX_RUNNING} commands are running already; end one with process kill"
            ));
        }
        let line = start.line.clone();
        let job = Job::start(start).map_err(|e| format!("cannot start `{line}`: {e}"))?;
        table.jobs.push(job.clone());
        Ok(job)
    }

    /// The background job `id` of `agent`.
    pub fn find(&self, agent: &str, id: &str) -> Option<Arc<Job>> {
        let mut jobs = self.list(agent).into_iter();
        jobs.find(|job| job.id == id)
    }

    /// The background jobs of `agent`, latest first.
    pub fn list(&self, agent: &str) -> Vec<Arc<Job>> {
        let table = self.lock();
        let own = |job: &&Arc<Job>| job.agent == agent && job.is_background();
        table.jobs.iter().rev().filter(own).cloned().collect()
    }

    /// Forgets a job; one that runs is not ended by it.
    pub fn forget(&self, job: &Arc<Job>) {
        self.lock().jobs.retain(|j| !Arc::ptr_eq(j, job));
    }

    /// Forgets what ended more than `kept_ms` ago, and the oldest of what is too many.
    pub fn tidy(&self, kept_ms: u64) {
        let now = clock::now_ms();
        let mut table = self.lock();
        let ended = |job: &Arc<Job>| job.ended();
        table
            .jobs
            .retain(|job| ended(job).is_none_or(|e: Ended| now < e.at.saturating_add(kept_ms)));
        let count = table.jobs.iter().filter(|j| ended(j).is_some()).count();
        let mut over = count.saturating_sub(MAX_ENDED);
        table.jobs.retain(|job| {
            let goes = over > 0 && ended(job).is_some();
            over -= usize::from(goes);
            !goes
        });
    }

    /// Ends all of them and waits for that, at most for `time`. Nothing is started afterwards.
    pub fn shut_down(&self, time: Duration) {
        let until = Instant::now() + time;
        let jobs = {
            let mut table = self.lock();
            table.closed = true;
            std::mem::take(&mut table.jobs)
        };
        for job in &jobs {
            job.kill();
        }
        let cancel = Cancel::new(None);
        for job in &jobs {
            let left = until.saturating_duration_since(Instant::now());
            if job.wait(left, &cancel) == Waited::Time {
                log::warn!(target: "exec", "command {} (pid {}) did not end in time", job.id, job.pid);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        sync::lock(&self.0)
    }
}
