//! Stopping runs: one, those of a session, all of them.

use std::sync::Arc;
use std::time::Duration;

use super::{Run, Runs};
use crate::agent::cancel::Reason;

/// How long a drain waits for runs that it stopped.
const STOP_TIME: Duration = Duration::from_secs(5);

impl Runs {
    /// Stops the runs of the session `key` (as it was sent, or canonical), or only `run_id`; the ids of
    /// those that were stopped.
    pub fn abort(
        &self,
        key: &str,
        canonical: &str,
        run_id: Option<&str>,
        reason: Reason,
    ) -> Vec<String> {
        let mut stopped: Vec<Arc<Run>> = {
            let inner = self.lock();
            let all = inner.runs.values();
            all.filter(|r| run_id.is_none_or(|id| *r.id == *id))
                .filter(|r| r.belongs_to(key, canonical))
                .cloned()
                .collect()
        };
        stopped.sort_by_key(|r| r.accepted_at);
        stopped.retain(|run| self.stop(run, reason));
        stopped.iter().map(|r| r.id.to_string()).collect()
    }

    /// Stops `run`; false when it was over already.
    fn stop(&self, run: &Run, reason: Reason) -> bool {
        // First the event: what the model says from here on is told to nobody.
        let told = run.emitter.abort(reason);
        run.cancel.cancel(reason);
        told
    }

    /// Stops what runs in the session and waits until all of it has ended, at most `limit`. False when
    /// something still runs then.
    pub fn end_session(&self, session_key: &str, limit: Duration) -> bool {
        self.abort(session_key, session_key, None, Reason::Reset);
        self.wait_until(limit, |inner| !inner.lanes.is_busy(session_key))
    }

    /// Takes no more runs and waits for those that go on, at most `limit`; what is left then is stopped.
    /// False when something had to be stopped. What has not begun stays stored for the next start.
    pub fn drain(&self, limit: Duration) -> bool {
        let waiting = {
            let mut inner = self.lock();
            inner.closing = true;
            let waiting = inner.lanes.close();
            for job in &waiting {
                inner.runs.remove(&job.run.id);
            }
            waiting
        };
        drop(waiting);
        self.ended.notify_all();
        let idle = self.wait_until(limit, |inner| inner.runs.is_empty());
        if !idle {
            let left: Vec<Arc<Run>> = self.lock().runs.values().cloned().collect();
            for run in left {
                self.stop(&run, Reason::Shutdown);
            }
            self.wait_until(STOP_TIME, |inner| inner.runs.is_empty());
        }
        idle
    }
}
