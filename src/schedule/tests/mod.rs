//! The scheduler on a clock of the test's own, with files of its own.

mod edits;
mod runs;
mod time;

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use serde_json::{Value, json};

use super::clock::Clock;
use super::service::{Deps, Executor, Outcome, Run, Service, Status};
use super::{Error, Forced, Job, Settings};
use crate::state::cron_store::{CronStore, LogLimits};
use crate::state::testing::Folder;

const NOW: u64 = 1_795_364_778_784;
const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
/// How long a test waits for something that has to come.
const PATIENCE: Duration = Duration::from_secs(20);

struct Hands {
    wall: AtomicU64,
    mono: AtomicU64,
}

impl Clock for Hands {
    fn wall(&self) -> u64 {
        self.wall.load(Ordering::SeqCst)
    }
    fn mono(&self) -> u64 {
        self.mono.load(Ordering::SeqCst)
    }
}

/// Runs that the test can hold, and what the disk showed when they began.
struct Worker {
    store: CronStore,
    outcome: Mutex<Outcome>,
    /// Runs wait for a message while there is one to wait for.
    gate: Mutex<Option<Receiver<()>>>,
    began: Sender<(String, Value)>,
    cancelled: Sender<()>,
    over: Mutex<Vec<(String, Value)>>,
    reaped: Mutex<Vec<u64>>,
}

impl Executor for Worker {
    fn run(&self, job: &Job, run: &Run) -> Outcome {
        let stored = self.store.load().unwrap().jobs;
        let state = stored
            .iter()
            .find(|j| j["id"] == job.id())
            .map(|j| j["state"].clone());
        self.began
            .send((job.name().to_string(), state.unwrap_or_default()))
            .unwrap();
        let gate = self.gate.lock().unwrap().clone();
        if let Some(gate) = gate {
            crossbeam_channel::select! {
                recv(gate) -> _ => {}
                recv(run.cancelled) -> _ => {
                    self.cancelled.send(()).unwrap_or(());
                    return Outcome::error("cancelled");
                }
            }
        }
        self.outcome.lock().unwrap().clone()
    }

    fn finished(&self, job: &Job, event: &Value) {
        let told = (job.id().to_string(), event["action"].clone());
        self.over.lock().unwrap().push(told);
    }

    fn reap(&self, before: u64) -> bool {
        self.reaped.lock().unwrap().push(before);
        false
    }
}

/// A gateway's worth of scheduler.
struct Rig {
    clock: Arc<Hands>,
    worker: Arc<Worker>,
    service: Arc<Service>,
    events: Receiver<Value>,
    began: Receiver<(String, Value)>,
    cancelled: Receiver<()>,
    settings: Arc<Mutex<Settings>>,
}

fn ok() -> Outcome {
    Outcome {
        status: Status::Ok,
        summary: Some("done".into()),
        ..Outcome::default()
    }
}

impl Drop for Rig {
    /// No thread writes into a folder that is gone.
    fn drop(&mut self) {
        self.service.stop(Duration::ZERO);
    }
}

impl Rig {
    fn at(dir: &Folder, wall: u64) -> Rig {
        let store = CronStore::new(dir.path().join("cron/jobs.json"));
        let clock = Arc::new(Hands {
            wall: AtomicU64::new(wall),
            mono: AtomicU64::new(0),
        });
        let (events_in, events) = unbounded();
        let (began_in, began) = unbounded();
        let (cancelled_in, cancelled) = unbounded();
        let worker = Arc::new(Worker {
            store: store.clone(),
            outcome: Mutex::new(ok()),
            gate: Mutex::new(None),
            began: began_in,
            cancelled: cancelled_in,
            over: Mutex::default(),
            reaped: Mutex::default(),
        });
        let settings = Arc::new(Mutex::new(Settings {
            enabled: true,
            max_concurrent: 1,
            log: LogLimits::default(),
            retention_ms: Some(24 * HOUR),
        }));
        let of = settings.clone();
        let service = Service::open(Deps {
            store,
            clock: clock.clone(),
            executor: worker.clone(),
            events: Arc::new(move |e| events_in.send(e.clone()).unwrap_or(())),
            settings: Arc::new(move || of.lock().unwrap().clone()),
            changed: Arc::new(|| {}),
        });
        Rig {
            clock,
            worker,
            service,
            events,
            began,
            cancelled,
            settings,
        }
    }

    fn new(dir: &Folder) -> Rig {
        let rig = Rig::at(dir, NOW);
        rig.service.work();
        rig
    }

    /// Both clocks go on by `ms`, and the scheduler looks.
    fn pass(&self, ms: u64) {
        self.clock.mono.fetch_add(ms, Ordering::SeqCst);
        self.set(self.clock.wall() + ms);
    }

    /// The wall clock is set, and the scheduler looks.
    fn set(&self, wall: u64) {
        self.clock.wall.store(wall, Ordering::SeqCst);
        self.service.work();
    }

    fn add(&self, job: Value) -> String {
        let mut full = json!({"payload": {"kind": "systemEvent", "text": "tick"}});
        full.as_object_mut()
            .unwrap()
            .extend(job.as_object().cloned().unwrap());
        self.service.add(&full).unwrap()["id"]
            .as_str()
            .unwrap()
            .to_string()
    }

    /// A job that runs each minute, from a minute from now on.
    fn minutely(&self, extra: Value) -> String {
        let mut job = json!({"name": "m", "schedule": {"kind": "every", "everyMs": MINUTE}});
        job.as_object_mut()
            .unwrap()
            .extend(extra.as_object().cloned().unwrap());
        self.add(job)
    }

    fn state(&self, id: &str) -> Value {
        self.service.job(id).unwrap().fields()["state"].clone()
    }

    /// The next event of a run's end.
    fn finished(&self) -> Value {
        self.wait_for("finished")
    }

    fn wait_for(&self, action: &str) -> Value {
        loop {
            let event = self
                .events
                .recv_timeout(PATIENCE)
                .expect("an event has to come");
            if event["action"] == action {
                return event;
            }
        }
    }

    /// The name of the next run that begins, with the state that the disk shows then.
    fn begins(&self) -> (String, Value) {
        self.began
            .recv_timeout(PATIENCE)
            .expect("a run has to begin")
    }

    /// Nothing has begun. Everything that `work` starts, it registers before it returns.
    fn nothing_runs(&self) {
        assert_eq!(self.service.active(), 0);
        assert!(self.began.try_recv().is_err(), "a run began");
    }

    fn hold(&self) -> Sender<()> {
        let (open, gate) = unbounded();
        *self.worker.gate.lock().unwrap() = Some(gate);
        open
    }

    fn log(&self, id: &str) -> Vec<Value> {
        let page = self
            .service
            .runs(&json!({"id": id, "sortDir": "asc"}))
            .unwrap();
        page["entries"].as_array().unwrap().clone()
    }
}
