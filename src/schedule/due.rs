//! Which jobs are due: times that are missing, runs that the last process left behind, and what was
//! missed and is not made up for.

use serde_json::json;

use super::ended::{adopt, interrupt, pass_over, replan, schedule_error};
use super::job::{Missed, Object};
use super::service::{Due, Inner};
use crate::state::cron_store::CronStore;

/// Lateness in ms from which a run counts as missed: a busy host is not yet an outage.
pub const MISSED_AFTER_MS: u64 = 60_000;

/// The last line of a job's log.
pub(super) fn last_entry(store: &CronStore, id: &str) -> Option<Object> {
    store.last_run(id).ok().flatten()
}

/// Gives times to jobs that lack one, and takes up what the last process left behind.
pub(super) fn plan(
    inner: &mut Inner,
    store: &CronStore,
    now: u64,
    rebased: bool,
    ended: &mut Vec<Object>,
) {
    if std::mem::take(&mut inner.fresh) {
        log::info!(target: "cron", "started: {} jobs", inner.jobs.len());
    }
    let mut dirty = false;
    let mut over = Vec::new();
    for job in &mut inner.jobs {
        let running = inner.running.contains_key(job.id());
        if let Some(started) = job.running_at().filter(|_| !running) {
            // The process that ran it is gone. (Not only at the start: the file may be edited.)
            match last_entry(store, job.id()).filter(|e| e.get("runAtMs") == Some(&json!(started)))
            {
                // It got as far as the log.
                Some(entry) => {
                    if adopt(job, &entry, started, now) {
                        over.push(job.id().to_string());
                    }
                }
                None => ended.push(interrupt(job, started, now)),
            }
            dirty = true;
        }
        if !job.enabled() {
            dirty |= job.next_run().is_some();
            job.set_next(None);
        } else if (rebased && !job.is_once()) || (job.next_run().is_none() && !running) {
            dirty |= match job.when().map(|_| ()).map_err(str::to_string) {
                Ok(()) => replan(job, now),
                Err(why) => schedule_error(job, &why),
            };
        }
    }
    inner
        .jobs
        .retain(|job| !over.iter().any(|id| id == job.id()));
    inner.dirty |= dirty;
}

/// Queues what is due, and passes over what was missed and is not to be made up for.
pub(super) fn collect(inner: &mut Inner, now: u64, ended: &mut Vec<Object>) {
    let mut due: Vec<Due> = Vec::new();
    for i in 0..inner.jobs.len() {
        let job = &inner.jobs[i];
        let id = job.id();
        let Some(next) = job.next_run().filter(|next| *next <= now && job.enabled()) else {
            continue;
        };
        if inner.running.contains_key(id) || inner.is_queued(id) {
            continue;
        }
        let late = now - next;
        let made_up_for = match job.missed() {
            Missed::Once => true,
            Missed::Skip => false,
            Missed::Within(ms) => late <= ms,
        };
        if late <= MISSED_AFTER_MS || made_up_for {
            due.push(Due {
                id: id.to_string(),
                due: next,
            });
        } else {
            ended.push(pass_over(&mut inner.jobs[i], late, now));
            inner.dirty = true;
        }
    }
    due.sort_by_key(|d| d.due);
    inner.queue.extend(due);
}

impl Inner {
    pub(super) fn is_queued(&self, id: &str) -> bool {
        self.queue.iter().any(|d| d.id == id)
    }
}
