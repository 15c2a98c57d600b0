//! The scheduler, wired to the gateway: its runs are agent runs, its time is the gateway's clock, its
//! events go to the hub.

mod jobs;
mod turns;
mod webhook;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Gateway;
use super::clock::{Clock, Timer};
use crate::agent::run::Runs;
use crate::config::{self, Locations};
use crate::protocol::Event;
use crate::schedule::clock::SystemClock;
use crate::schedule::heartbeat::{self, Heartbeats};
use crate::schedule::{self, Service, Settings};
use crate::state::cron_store::CronStore;
use crate::state::system_events::SystemEvents;
use crate::state::{Paths, sessions};
use crate::sys::sync;

/// Shortest time for which the clock is set: what is due at once is due in a moment too, and nothing can
/// make the clock spin.
const SOON: Duration = Duration::from_millis(5);

/// What the scheduler is made of.
pub struct Parts {
    pub config: Arc<config::Store>,
    pub locations: Locations,
    pub paths: Paths,
    pub sessions: Arc<sessions::Store>,
    pub notes: Arc<SystemEvents>,
    pub runs: Arc<Runs>,
    pub clock: Clock,
}

/// Jobs and heartbeats of one gateway.
pub struct Schedule {
    pub cron: Arc<Service>,
    pub heartbeats: Arc<Heartbeats>,
    gateway: Arc<OnceLock<Weak<Gateway>>>,
    alarms: [Arc<Alarm>; 2],
}

impl Schedule {
    /// Reads the jobs. Nothing runs before [`Schedule::start`].
    pub fn new(parts: Parts) -> Schedule {
        let gateway: Arc<OnceLock<Weak<Gateway>>> = Arc::default();
        let publish = |event: Event| -> Arc<dyn Fn(&Value) + Send + Sync> {
            let gateway = gateway.clone();
            Arc::new(move |payload| {
                if let Some(gateway) = gateway.get().and_then(Weak::upgrade) {
                    gateway.hub.publish(event, &payload.to_string());
                }
            })
        };
        let alarms = [Alarm::new(&parts.clock), Alarm::new(&parts.clock)];
        let time = Arc::new(SystemClock::new());
        let heartbeats = Heartbeats::open(heartbeat::Deps {
            clock: time.clone(),
            config: parts.config.clone(),
            locations: parts.locations.clone(),
            sessions: parts.sessions.clone(),
            notes: parts.notes.clone(),
            host: Arc::new(turns::Turns {
                runs: parts.runs.clone(),
            }),
            events: publish(Event::Heartbeat),
            changed: alarms[0].changed(),
            file: parts.paths.heartbeat(),
        });
        let config = parts.config.current();
        let store = CronStore::new(schedule::store_path(&config, &parts.paths));
        let executor = jobs::Jobs {
            config: parts.config.clone(),
            sessions: parts.sessions,
            notes: parts.notes,
            runs: parts.runs,
            heartbeats: heartbeats.clone(),
        };
        let of = parts.config;
        let cron = Service::open(schedule::Deps {
            store,
            clock: time,
            executor: Arc::new(executor),
            events: publish(Event::Cron),
            settings: Arc::new(move || Settings::of(&of.current())),
            changed: alarms[1].changed(),
        });
        let (beats, jobs) = (Arc::downgrade(&heartbeats), Arc::downgrade(&cron));
        alarms[0].watch(
            {
                let beats = beats.clone();
                move || beats.upgrade()?.next_deadline()
            },
            move || {
                if let Some(beats) = beats.upgrade() {
                    beats.tick();
                }
            },
        );
        alarms[1].watch(
            {
                let jobs = jobs.clone();
                move || jobs.upgrade()?.next_deadline()
            },
            move || {
                if let Some(jobs) = jobs.upgrade() {
                    jobs.tick();
                }
            },
        );
        Schedule {
            cron,
            heartbeats,
            gateway,
            alarms,
        }
    }

    /// Takes up what the last process left behind, and starts what is due from now on.
    pub fn start(&self, gateway: &Arc<Gateway>) {
        // A second call would be a second start: the first gateway stays.
        let _ = self.gateway.set(Arc::downgrade(gateway));
        self.cron.tick();
        self.alarms[0].set();
    }

    /// The configuration has changed.
    pub fn refresh(&self) {
        self.heartbeats.refresh();
        self.cron.tick();
    }

    /// Starts nothing more, and waits for what goes on; after `patience` it is stopped.
    pub fn stop(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        self.heartbeats.close();
        self.cron.stop(patience);
        self.heartbeats
            .stop(deadline.saturating_duration_since(Instant::now()));
    }
}

type Ask = Box<dyn Fn() -> Option<Duration> + Send + Sync>;

/// One timer of the gateway's clock that follows a deadline which moves.
struct Alarm {
    clock: Clock,
    timer: Mutex<Option<Timer>>,
    /// Only the timer that was set last counts.
    number: AtomicU64,
    watched: OnceLock<(Ask, Box<dyn Fn() + Send + Sync>)>,
}

impl Alarm {
    fn new(clock: &Clock) -> Arc<Alarm> {
        Arc::new(Alarm {
            clock: clock.clone(),
            timer: Mutex::default(),
            number: AtomicU64::new(0),
            watched: OnceLock::new(),
        })
    }

    fn watch(
        &self,
        ask: impl Fn() -> Option<Duration> + Send + Sync + 'static,
        tick: impl Fn() + Send + Sync + 'static,
    ) {
        let _ = self.watched.set((Box::new(ask), Box::new(tick)));
    }

    /// What is called when the deadline has moved.
    fn changed(self: &Arc<Self>) -> Arc<dyn Fn() + Send + Sync> {
        let weak = Arc::downgrade(self);
        Arc::new(move || {
            if let Some(alarm) = weak.upgrade() {
                alarm.set();
            }
        })
    }

    fn set(self: &Arc<Self>) {
        let Some((ask, _)) = self.watched.get() else {
            return;
        };
        let left = ask();
        let number = self.number.fetch_add(1, Ordering::AcqRel) + 1;
        let timer = left.map(|left| {
            let weak = Arc::downgrade(self);
            self.clock.after(left.max(SOON), move || {
                let Some(alarm) = weak.upgrade() else { return };
                if alarm.number.load(Ordering::Acquire) == number
                    && let Some((_, tick)) = alarm.watched.get()
                {
                    tick();
                }
            })
        });
        let old = std::mem::replace(&mut *sync::lock(&self.timer), timer);
        if let Some(old) = old {
            self.clock.cancel(old);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn an_alarm_follows_its_deadline_and_rings_once() {
        let clock = Clock::default();
        let thread = clock.start().unwrap();
        let alarm = Alarm::new(&clock);
        let (rung, ring) = mpsc::channel();
        let left = Arc::new(Mutex::new(Some(Duration::from_secs(3600))));
        let deadline = left.clone();
        alarm.watch(
            move || *deadline.lock().unwrap(),
            move || rung.send(()).unwrap(),
        );
        let changed = alarm.changed();
        changed();
        *left.lock().unwrap() = Some(Duration::ZERO);
        for _ in 0..10 {
            changed();
        }
        let limit = Duration::from_secs(10);
        assert_eq!(ring.recv_timeout(limit), Ok(()));
        // Whatever was set before has been forgotten: only the next one rings.
        *left.lock().unwrap() = None;
        changed();
        *left.lock().unwrap() = Some(Duration::from_millis(20));
        changed();
        assert_eq!(ring.recv_timeout(limit), Ok(()));
        clock.stop();
        thread.join().unwrap();
        drop(alarm);
        assert!(ring.try_recv().is_err());
    }
}
