//! Stopping a run: one token, asked by everything that works or waits for it.
//!
//! The token knows the run's deadline too, so that every wait ends at the nearer of both and nobody
//! needs a timer thread.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::sys::sync;

/// Why a run was stopped before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// `chat.abort`.
    Rpc,
    /// A stop word in the chat.
    Stop,
    /// The run's own time limit.
    Timeout,
    /// Its session was reset or deleted.
    Reset,
    /// The gateway is going down.
    Shutdown,
}

impl Reason {
    /// The `stopReason` of the wire, a closed list: `rpc`, `stop`, `timeout`.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Rpc => "rpc",
            Reason::Timeout => "timeout",
            Reason::Stop | Reason::Reset | Reason::Shutdown => "stop",
        }
    }
}

/// The token. Clones are the same token.
#[derive(Clone)]
pub struct Cancel(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    deadline: Option<Instant>,
    reason: Option<Reason>,
    hooks: Vec<(u64, Box<dyn FnOnce() + Send>)>,
    next: u64,
}

impl Cancel {
    /// A token that nothing has stopped yet; with `limit`, it stops itself (`Timeout`) after that time.
    pub fn new(limit: Option<Duration>) -> Cancel {
        let cancel = Cancel(Arc::default());
        cancel.limit(limit);
        cancel
    }

    /// Sets how long it takes from now until the token stops itself.
    pub fn limit(&self, limit: Option<Duration>) {
        self.lock().deadline = limit.and_then(|d| Instant::now().checked_add(d));
    }

    /// Stops the run. False when it was stopped before; the first reason stays.
    pub fn cancel(&self, reason: Reason) -> bool {
        let mut state = self.lock();
        if state.reason.is_some() {
            return false;
        }
        state.reason = Some(reason);
        // Under the lock, so that a hook that was dropped is never called afterwards: it may shut
        // down a socket that has a new owner by then. Hooks do not block and do not use the token.
        for (_, hook) in std::mem::take(&mut state.hooks) {
            hook();
        }
        drop(state);
        self.0.changed.notify_all();
        true
    }

    /// Why the run is to end, or `None` while it may go on.
    pub fn reason(&self) -> Option<Reason> {
        let state = self.lock();
        let over = state.deadline.is_some_and(|d| d <= Instant::now());
        state.reason.or(over.then_some(Reason::Timeout))
    }

    /// Time until the run's deadline, zero when it has passed; `None` without a deadline.
    pub fn left(&self) -> Option<Duration> {
        let deadline = self.lock().deadline;
        deadline.map(|d| d.saturating_duration_since(Instant::now()))
    }

    /// Waits for `time` and returns `None`, or returns the reason as soon as the run is to end.
    pub fn sleep(&self, time: Duration) -> Option<Reason> {
        let wake = Instant::now() + self.left().map_or(time, |left| left.min(time));
        let mut state = self.lock();
        while state.reason.is_none() {
            let left = wake.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = sync::wait_timeout(&self.0.changed, state, left);
        }
        drop(state);
        self.reason()
    }

    /// Has `hook` called when the run is stopped, at once if it is already. It must not block, and must
    /// not use this token. Dropping the answer takes it back; after that it is not called any more.
    ///
    /// A passed deadline calls no hooks: what blocks is given the time that is left.
    #[must_use]
    pub fn on_cancel(&self, hook: impl FnOnce() + Send + 'static) -> Hook {
        let mut state = self.lock();
        let id = state.next;
        state.next += 1;
        if state.reason.is_some() {
            hook();
        } else {
            state.hooks.push((id, Box::new(hook)));
        }
        drop(state);
        Hook {
            of: self.clone(),
            id,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        sync::lock(&self.0.state)
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cancel").field(&self.reason()).finish()
    }
}

/// A registration made by [`Cancel::on_cancel`].
pub struct Hook {
    of: Cancel,
    id: u64,
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.of.lock().hooks.retain(|(id, _)| *id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    #[test]
    fn the_first_reason_stays_and_wakes_a_sleeper() {
        let cancel = Cancel::new(None);
        let sleeper = {
            let cancel = cancel.clone();
            thread::spawn(move || cancel.sleep(Duration::from_secs(60)))
        };
        assert_eq!(cancel.reason(), None);
        assert!(cancel.cancel(Reason::Stop));
        assert!(!cancel.cancel(Reason::Rpc));
        assert_eq!(sleeper.join().unwrap(), Some(Reason::Stop));
    }

    #[test]
    fn the_deadline_is_a_reason_of_its_own() {
        let cancel = Cancel::new(Some(Duration::ZERO));
        assert_eq!(cancel.sleep(Duration::from_secs(60)), Some(Reason::Timeout));
        assert_eq!(cancel.left(), Some(Duration::ZERO));
        // What was asked for wins over what happened to pass as well.
        assert!(cancel.cancel(Reason::Rpc));
        assert_eq!(cancel.reason(), Some(Reason::Rpc));
    }

    #[test]
    fn hooks_run_once_unless_they_are_dropped() {
        let count = Arc::new(AtomicUsize::new(0));
        let add = |n: usize| {
            let count = count.clone();
            move || {
                count.fetch_add(n, Ordering::SeqCst);
            }
        };
        let cancel = Cancel::new(None);
        let _kept = cancel.on_cancel(add(1));
        drop(cancel.on_cancel(add(10)));
        cancel.cancel(Reason::Rpc);
        cancel.cancel(Reason::Rpc);
        assert_eq!(count.load(Ordering::SeqCst), 1);
        let _late = cancel.on_cancel(add(100));
        assert_eq!(count.load(Ordering::SeqCst), 101);
    }
}
