//! The one thread that waits for time: ticks, refreshes, expiries, restarts that are due.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

type Job = Box<dyn FnOnce() + Send>;

/// Timers by deadline. An idle clock sleeps until the next one.
///
/// Jobs run on the clock's thread and have to be short; what takes time starts a thread of its own.
#[derive(Clone, Default)]
pub struct Clock(Arc<Shared>);

#[derive(Default)]
struct Shared {
    timers: Mutex<Timers>,
    changed: Condvar,
}

#[derive(Default)]
struct Timers {
    due: BinaryHeap<Reverse<(Instant, u64)>>,
    jobs: BTreeMap<u64, Job>,
    next: u64,
    stopped: bool,
}

/// Names a timer, to cancel it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer(u64);

impl Clock {
    /// Runs `job` after `delay`.
    pub fn after(&self, delay: Duration, job: impl FnOnce() + Send + 'static) -> Timer {
        let mut t = self.lock();
        t.next += 1;
        let number = t.next;
        t.due.push(Reverse((Instant::now() + delay, number)));
        t.jobs.insert(number, Box::new(job));
        drop(t);
        self.0.changed.notify_one();
        Timer(number)
    }

    /// Forgets a timer. False when it has run or was forgotten before.
    pub fn cancel(&self, timer: Timer) -> bool {
        self.lock().jobs.remove(&timer.0).is_some()
    }

    /// Ends the thread; timers that are left never run.
    pub fn stop(&self) {
        let mut t = self.lock();
        t.stopped = true;
        let left = std::mem::take(&mut t.jobs);
        drop(t);
        // Jobs hold references to the gateway: drop them outside the lock.
        drop(left);
        self.0.changed.notify_all();
    }

    /// Starts the thread.
    pub fn start(&self) -> std::io::Result<JoinHandle<()>> {
        let clock = self.clone();
        std::thread::Builder::new()
            .name("clock".into())
            .stack_size(256 * 1024)
            .spawn(move || clock.run())
    }

    fn run(&self) {
        let mut t = self.lock();
        while !t.stopped {
            let now = Instant::now();
            match t.due.peek() {
                None => {
                    t = self
                        .0
                        .changed
                        .wait(t)
                        .unwrap_or_else(PoisonError::into_inner)
                }
                // Cancelled.
                Some(Reverse((_, number))) if !t.jobs.contains_key(number) => {
                    t.due.pop();
                }
                Some(Reverse((at, _))) if *at > now => {
                    let left = *at - now;
                    t = self
                        .0
                        .changed
                        .wait_timeout(t, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0;
                }
                Some(Reverse((_, number))) => {
                    let number = *number;
                    t.due.pop();
                    let job = t.jobs.remove(&number);
                    drop(t);
                    if let Some(job) = job
                        && catch_unwind(AssertUnwindSafe(job)).is_err()
                    {
                        log::error!(target: "gateway", "a timer failed; the clock goes on");
                    }
                    t = self.lock();
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Timers> {
        self.0.timers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn timers_run_in_order_and_survive_a_panic() {
        let clock = Clock::default();
        let thread = clock.start().unwrap();
        let (tx, rx) = mpsc::channel();
        let send = |n: u32| {
            let tx = tx.clone();
            move || tx.send(n).unwrap()
        };
        clock.after(Duration::from_millis(30), send(2));
        clock.after(Duration::from_millis(1), || panic!("expected by the test"));
        clock.after(Duration::from_millis(10), send(1));
        let gone = clock.after(Duration::from_millis(20), send(9));
        assert!(clock.cancel(gone) && !clock.cancel(gone));
        let limit = Duration::from_secs(10);
        assert_eq!(
            (rx.recv_timeout(limit), rx.recv_timeout(limit)),
            (Ok(1), Ok(2))
        );
        clock.after(Duration::from_secs(3600), send(3));
        clock.stop();
        thread.join().unwrap();
        drop(tx);
        assert!(rx.recv().is_err(), "a stopped clock drops its timers");
    }
}
