//! What starting, ending, losing or missing a run changes in its job, and the line that the log keeps.

use serde_json::{Value, json};

use super::job::{Job, Mode, Object, state};
use super::service::{Outcome, Status};
use super::when::When;

/// Ms between the end of a run and the next run of the same job.
pub const MIN_GAP_MS: u64 = 2_000;
/// Ms that a job waits after its first, second, … failure in a row; the last holds for all further.
pub const BACKOFF_MS: [u64; 5] = [30_000, 60_000, 300_000, 900_000, 3_600_000];
/// Times in a row that a schedule may make no sense before its job is switched off.
pub const MAX_SCHEDULE_ERRORS: u64 = 3;

const INTERRUPTED: &str = "interrupted: the gateway ended during this run; it is not repeated";

/// The job runs from now on: what is stored before anything is done. `due` is the time that it was due
/// at; `None` when it is forced.
pub fn begin(job: &mut Job, due: Option<u64>, now: u64) {
    job.set(state::RUNNING, Some(now));
    job.set(state::LAST_RUN, Some(now));
    job.set::<Value>(state::LAST_ERROR, None);
    let due = due.or(job.next_run().filter(|next| *next <= now));
    let next = match (due, job.when()) {
        (Some(due), Ok(when)) => when.next_after_due(job.id(), due, now),
        // Forced before its time: a single run is still to come, an interval counts from here.
        (None, Ok(when)) if when.is_once() => job.next_run(),
        _ => job.compute_next(now),
    };
    job.set_next(next.filter(|_| job.enabled()));
}

/// Whether the single run of a job was due when it started, not forced before its time.
pub fn was_due(job: &Job, started: u64) -> bool {
    matches!(job.when(), Ok(When::At(at)) if *at <= started)
}

/// The end of a run.
pub struct Ended<'a> {
    pub outcome: &'a Outcome,
    /// When it started, ms since 1970.
    pub started: u64,
    /// How long it took, in ms.
    pub duration: u64,
    /// When it ended, ms since 1970, on a clock that may have been set meanwhile.
    pub now: u64,
}

impl Ended<'_> {
    /// What it changes in its job.
    pub fn apply(&self, job: &mut Job) {
        let (outcome, status) = (self.outcome, self.outcome.status.as_str());
        let delivery = self.delivery(job);
        let undelivered = outcome
            .error
            .as_deref()
            .filter(|_| delivery == "not-delivered");
        job.set::<u64>(state::RUNNING, None);
        job.set(state::LAST_RUN, Some(self.started));
        job.set(state::LAST_RUN_STATUS, Some(status));
        job.set(state::LAST_STATUS, Some(status));
        job.set(state::LAST_DURATION, Some(self.duration));
        job.set(state::LAST_ERROR, outcome.error.as_deref());
        job.set(state::LAST_DELIVERED, outcome.delivered);
        job.set(state::LAST_DELIVERY_STATUS, Some(delivery));
        job.set(state::LAST_DELIVERY_ERROR, undelivered);
        let failed = outcome.status == Status::Error;
        let errors = if failed {
            job.get(state::CONSECUTIVE_ERRORS).unwrap_or(0) + 1
        } else {
            0
        };
        job.set(state::CONSECUTIVE_ERRORS, Some(errors));
        job.touch(self.now);
        if was_due(job, self.started) {
            job.disable();
        } else if job.enabled() && !job.is_once() {
            job.set_next(self.next(job, errors));
        }
    }

    /// The next run: the one that was stored at the start, unless the run took longer or failed.
    fn next(&self, job: &Job, errors: u64) -> Option<u64> {
        let failed = errors > 0;
        let step = usize::try_from(errors.saturating_sub(1)).unwrap_or(usize::MAX);
        let wait = if failed {
            BACKOFF_MS[step.min(BACKOFF_MS.len() - 1)]
        } else {
            MIN_GAP_MS
        };
        let earliest = self.now.saturating_add(wait);
        match (
            job.next_run().or_else(|| job.compute_next(self.now)),
            job.when(),
        ) {
            (Some(next), _) if next >= earliest => Some(next),
            // A job that failed waits as long as it must, off its grid.
            (Some(_), _) if failed => Some(earliest),
            (Some(next), Ok(when)) => when.next_after_due(job.id(), next, earliest - 1),
            (next, _) => next,
        }
    }

    fn delivery(&self, job: &Job) -> &'static str {
        match self.outcome.delivered {
            Some(true) => "delivered",
            Some(false) => "not-delivered",
            None if job.delivery_mode() == Mode::Announce => "unknown",
            None => "not-requested",
        }
    }

    /// The line of the run log, which is also the event `finished`.
    pub fn entry(&self, job: &Job) -> Object {
        let mut e = self.plain_entry(job.id());
        e.insert("deliveryStatus".into(), json!(self.delivery(job)));
        if let Some(text) = job.state_text(state::LAST_DELIVERY_ERROR) {
            e.insert("deliveryError".into(), json!(text));
        }
        if let Some(next) = job.next_run() {
            e.insert("nextRunAtMs".into(), json!(next));
        }
        e
    }

    /// The same for a job that is gone.
    pub fn plain_entry(&self, id: &str) -> Object {
        let mut e = Object::new();
        let outcome = self.outcome;
        e.insert("ts".into(), json!(self.now));
        e.insert("jobId".into(), json!(id));
        e.insert("action".into(), json!("finished"));
        e.insert("status".into(), json!(outcome.status.as_str()));
        e.insert("runAtMs".into(), json!(self.started));
        e.insert("durationMs".into(), json!(self.duration));
        let texts = [
            ("error", &outcome.error),
            ("summary", &outcome.summary),
            ("sessionId", &outcome.session_id),
            ("sessionKey", &outcome.session_key),
            ("model", &outcome.model),
            ("provider", &outcome.provider),
        ];
        for (key, text) in texts {
            if let Some(text) = text {
                e.insert(key.into(), json!(text));
            }
        }
        if let Some(delivered) = outcome.delivered {
            e.insert("delivered".into(), json!(delivered));
        }
        if let Some(usage) = &outcome.usage {
            e.insert("usage".into(), usage.clone());
        }
        e
    }
}

/// A run whose end was logged, by a process that then ended before the job was stored; true when that
/// removes the job.
pub fn adopt(job: &mut Job, entry: &Object, started: u64, now: u64) -> bool {
    let text = |key: &str| entry.get(key).and_then(Value::as_str);
    let outcome = Outcome {
        status: match text("status") {
            Some("ok") => Status::Ok,
            Some("skipped") => Status::Skipped,
            _ => Status::Error,
        },
        error: text("error").map(str::to_string),
        delivered: entry.get("delivered").and_then(Value::as_bool),
        ..Outcome::default()
    };
    let duration = entry.get("durationMs").and_then(Value::as_u64).unwrap_or(0);
    Ended {
        outcome: &outcome,
        started,
        duration,
        now,
    }
    .apply(job);
    was_due(job, started) && job.deletes_after_run() && outcome.status == Status::Ok
}

/// A run whose process ended before it did. It is not repeated.
pub fn interrupt(job: &mut Job, started: u64, now: u64) -> Object {
    log::warn!(target: "cron", "job {} was interrupted by the end of the gateway", job.id());
    let outcome = Outcome::error(INTERRUPTED);
    let ended = Ended {
        outcome: &outcome,
        started,
        duration: 0,
        now,
    };
    // The reference stores no next run when it starts one.
    if job.next_run().is_some_and(|next| next <= started) {
        job.set_next(None);
    }
    job.set(state::LAST_RUN, Some(started));
    ended.apply(job);
    job.set::<u64>(state::LAST_DURATION, None);
    ended.entry(job)
}

/// A missed run that is not made up for, `late` ms after its time.
pub fn pass_over(job: &mut Job, late: u64, now: u64) -> Object {
    let why = format!("missed by {}: not made up for", span(late));
    log::info!(target: "cron", "job {}: {why}", job.id());
    let outcome = Outcome {
        status: Status::Skipped,
        error: Some(why),
        ..Outcome::default()
    };
    let due = now - late;
    let next = job
        .when()
        .ok()
        .and_then(|w| w.next_after_due(job.id(), due, now));
    job.set(state::LAST_STATUS, Some("skipped"));
    job.set(state::LAST_RUN_STATUS, Some("skipped"));
    job.set(state::LAST_ERROR, outcome.error.as_deref());
    job.set_next(next);
    job.touch(now);
    if job.is_once() {
        job.disable();
    }
    Ended {
        outcome: &outcome,
        started: due,
        duration: 0,
        now,
    }
    .entry(job)
}

fn span(ms: u64) -> String {
    let minutes = ms / 60_000;
    match (minutes / 1440, minutes / 60 % 24, minutes % 60) {
        (0, 0, m) => format!("{m} min"),
        (0, h, m) => format!("{h} h {m} min"),
        (d, h, _) => format!("{d} d {h} h"),
    }
}

/// Plans the next run from `now`; true when something changed.
pub fn replan(job: &mut Job, now: u64) -> bool {
    let (old, next) = (job.next_run(), job.compute_next(now));
    let counted = job.get(state::SCHEDULE_ERRORS).is_some();
    job.set_next(next);
    job.set::<u64>(state::SCHEDULE_ERRORS, None);
    old != next || counted
}

/// Counts that the schedule makes no sense; the third time switches the job off. Always a change.
pub fn schedule_error(job: &mut Job, why: &str) -> bool {
    let errors = job.get(state::SCHEDULE_ERRORS).unwrap_or(0) + 1;
    job.set(state::SCHEDULE_ERRORS, Some(errors));
    job.set(state::LAST_ERROR, Some(format!("schedule error: {why}")));
    if errors >= MAX_SCHEDULE_ERRORS {
        log::error!(target: "cron", "job {} is switched off: {why}", job.id());
        job.disable();
    } else {
        log::warn!(target: "cron", "job {} cannot be planned: {why}", job.id());
    }
    true
}
