//! After a start: runs that the process before could not finish.
//!
//! A run that waited is done now, unless it is old. A session whose last words are the user's, or a
//! tool's, was torn: its entry says so from then on. Nothing is ever repeated to a model unasked.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use serde_json::{Value, json};

use super::session::{RUN_FIELD, Session};
use super::{Callbacks, RunRequest, Runs};
use crate::state::sessions::{Filter, Row};
use crate::state::transcript;
use crate::sys::clock;

/// Runs that waited for longer are not done any more, in ms; what was said is kept.
const MAX_AGE_MS: u64 = 60 * 60 * 1000;
/// Messages at the end of a transcript among which a run is looked for.
const LOOK_BACK: usize = 50;
/// Bytes of a transcript that are read for that.
const LOOK_BYTES: u64 = 4 * 1024 * 1024;

impl Runs {
    /// Finds what the process before has left, marks it, and goes on with what waited. Returns how many
    /// sessions were torn and how many runs go on.
    pub fn recover(self: &Arc<Self>) -> (usize, usize) {
        let torn = self.mark_torn();
        let mut resumed = 0;
        for (ticket, request) in self.queue.load::<RunRequest>() {
            if self.is_stored(&request) {
                self.queue.remove(&ticket);
                continue;
            }
            let age = clock::now_ms().saturating_sub(request.accepted_at);
            if age <= MAX_AGE_MS {
                let id = request.run_id.clone();
                match self.take_in(request, Callbacks::default(), Some(ticket)) {
                    Ok(()) => resumed += 1,
                    Err(e) => log::error!(target: "agent", "run {id} cannot be resumed: {e}"),
                }
                continue;
            }
            match self.keep_only(&request) {
                Ok(()) => self.queue.remove(&ticket),
                Err(e) => {
                    log::error!(target: "agent", "run {} cannot be stored: {e}", request.run_id);
                }
            }
        }
        if torn + resumed > 0 {
            log::info!(target: "agent", "after the last end: {torn} sessions interrupted, {resumed} waiting runs resumed");
        }
        (torn, resumed)
    }

    /// Marks the sessions whose transcript was written after their entry and ends in the middle of a run.
    fn mark_torn(&self) -> usize {
        let sessions = &self.deps.sessions;
        let filter = Filter {
            include_global: true,
            include_unknown: true,
            ..Filter::default()
        };
        let rows = match sessions.list(&sessions.agents_on_disk(), &filter) {
            Ok(rows) => rows,
            Err(e) => {
                log::error!(target: "agent", "cannot look for interrupted sessions: {e}");
                return 0;
            }
        };
        rows.iter().filter(|row| self.mark_if_torn(row)).count()
    }

    fn mark_if_torn(&self, row: &Row) -> bool {
        let sessions = &self.deps.sessions;
        let Some(path) = sessions.transcript(&row.key, &row.entry) else {
            return false;
        };
        // An entry is brought up to date when its run ends: only what is younger can be torn.
        let Some(written) = modified_ms(&path).filter(|at| *at >= row.entry.updated_at()) else {
            return false;
        };
        if !ends_torn(&path) {
            return false;
        }
        let id = row.entry.session_id().unwrap_or_default();
        let marked = sessions.update_session(&row.key, id, |map| {
            map.insert("abortedLastRun".into(), Value::Bool(true));
            map.insert("updatedAt".into(), json!(written + 1));
        });
        match marked {
            Ok(_) => true,
            Err(e) => {
                log::error!(target: "agent", "cannot mark the session {}: {e}", row.key);
                false
            }
        }
    }

    /// Whether the message of a queued run has reached its transcript already.
    fn is_stored(&self, request: &RunRequest) -> bool {
        let path = match &request.session_key {
            Some(key) => {
                let entry = self.deps.sessions.get(key).ok().flatten();
                entry.and_then(|e| self.deps.sessions.transcript(key, &e))
            }
            None => {
                let id = request.session_id.as_deref().unwrap_or_default();
                self.deps.paths.transcript(&request.agent, id)
            }
        };
        let Some(path) = path else {
            return false;
        };
        let last = transcript::last_messages(&path, LOOK_BACK, LOOK_BYTES);
        let ours = |m: &Value| m[RUN_FIELD] == request.run_id.as_str();
        last.is_ok_and(|messages| messages.iter().any(ours))
    }

    /// Keeps what the user said without answering it.
    fn keep_only(&self, request: &RunRequest) -> Result<(), crate::protocol::RpcError> {
        let config = self.deps.config.current();
        let mut session = Session::open(&self.deps, &config, request)?;
        session.store_user(&self.deps, &config, request)?;
        if let Some(key) = &session.key {
            self.deps.sessions.update_session(key, &session.id, |map| {
                map.insert("abortedLastRun".into(), Value::Bool(true));
            })?;
        }
        Ok(())
    }
}

/// Time of the last change of the file at `path`, in ms.
fn modified_ms(path: &Path) -> Option<u64> {
    let time = fs::metadata(path).ok()?.modified().ok()?;
    Some(time.duration_since(UNIX_EPOCH).ok()?.as_millis() as u64)
}

/// Whether the transcript ends in the middle of a run.
fn ends_torn(path: &Path) -> bool {
    let Ok(messages) = transcript::last_messages(path, 1, LOOK_BYTES) else {
        return false;
    };
    messages.last().is_some_and(|m| match m["role"].as_str() {
        Some("assistant") => m["stopReason"] == "toolUse",
        Some("user" | "toolResult") => true,
        _ => false,
    })
}
