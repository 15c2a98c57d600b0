//! The scheduler on a clock of the test's own, with files of its own.

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

#[test]
fn a_run_is_on_disk_before_it_begins() {
    let dir = Folder::new();
    let rig = Rig::new(&dir);
    let id = rig.minutely(json!({}));
    assert_eq!(
        rig.wait_for("added"),
        json!({"jobId": id, "action": "added", "nextRunAtMs": NOW + MINUTE})
    );
    rig.pass(MINUTE - 1);
    rig.nothing_runs();
    rig.pass(1);
    let (_, stored) = rig.begins();
    assert_eq!(
        stored,
        json!({"runningAtMs": NOW + MINUTE, "lastRunAtMs": NOW + MINUTE, "nextRunAtMs": NOW + 2 * MINUTE})
    );
    assert_eq!(
        rig.wait_for("started"),
        json!({"jobId": id, "action": "started", "runAtMs": NOW + MINUTE})
    );
    let event = rig.finished();
    assert_eq!(
        event,
        json!({"jobId": id, "action": "finished", "status": "ok", "summary": "done", "runAtMs": NOW + MINUTE,
               "durationMs": 0, "deliveryStatus": "not-requested", "nextRunAtMs": NOW + 2 * MINUTE})
    );
    assert_eq!(
        rig.state(&id),
        json!({"nextRunAtMs": NOW + 2 * MINUTE, "lastRunAtMs": NOW + MINUTE, "lastRunStatus": "ok", "lastStatus": "ok",
               "lastDurationMs": 0, "lastDeliveryStatus": "not-requested", "consecutiveErrors": 0})
    );
    let mut line = event;
    line["ts"] = json!(NOW + MINUTE);
    assert_eq!(rig.log(&id), [line]);
}

#[test]
fn a_restart_between_two_runs_neither_skips_nor_doubles_nor_is_early() {
    let dir = Folder::new();
    let rig = Rig::new(&dir);
    let id = rig.minutely(json!({}));
    rig.pass(MINUTE);
    rig.begins();
    rig.finished();
    drop(rig);
    let rig = Rig::at(&dir, NOW + MINUTE + 1);
    rig.service.work();
    rig.nothing_runs();
    rig.pass(MINUTE - 2);
    rig.nothing_runs();
    rig.pass(1);
    assert_eq!(rig.begins().1["runningAtMs"], json!(NOW + 2 * MINUTE));
    rig.finished();
    assert_eq!(rig.log(&id).len(), 2);
}

#[test]
fn a_run_that_a_crash_interrupted_is_recorded_and_not_repeated() {
    let dir = Folder::new();
    let rig = Rig::new(&dir);
    let id = rig.minutely(json!({}));
    let once = rig.add(json!({"name": "o", "schedule": {"kind": "at", "at": crate::sys::clock::iso(NOW + MINUTE)}}));
    rig.settings.lock().unwrap().max_concurrent = 2;
    let _gate = rig.hold();
    rig.pass(MINUTE);
    rig.begins();
    rig.begins();
    // kill -9: nothing of the old process writes any more.
    let rig = Rig::at(&dir, NOW + MINUTE + SECOND);
    rig.service.work();
    rig.nothing_runs();
    let told = [rig.finished(), rig.finished()];
    assert!(told.iter().all(|e| e["status"] == "error"), "{told:?}");
    for (id, next) in [(&id, json!(NOW + 2 * MINUTE)), (&once, Value::Null)] {
        let log = rig.log(id);
        assert_eq!(log.len(), 1);
        assert_eq!(
            (&log[0]["status"], &log[0]["runAtMs"]),
            (&json!("error"), &json!(NOW + MINUTE))
        );
        assert!(log[0]["error"].as_str().unwrap().starts_with("interrupted"));
        let state = rig.state(id);
        assert_eq!(
            (&state["lastStatus"], &state["consecutiveErrors"]),
            (&json!("error"), &json!(1))
        );
        assert_eq!(
            (&state["runningAtMs"], &state["nextRunAtMs"]),
            (&Value::Null, &next)
        );
    }
    assert!(!rig.service.job(&once).unwrap().enabled());
    rig.pass(MINUTE);
    assert_eq!(rig.begins().0, "m");
    rig.finished();
    rig.nothing_runs();
}

#[test]
fn what_the_reference_left_running_is_not_repeated_either() {
    let dir = Folder::new();
    fs::create_dir_all(dir.path().join("cron")).unwrap();
    // The reference stores only runningAtMs when it starts a run.
    let job = json!({"id": "a", "name": "a", "enabled": true, "createdAtMs": NOW - HOUR, "updatedAtMs": NOW - HOUR,
        "schedule": {"kind": "every", "everyMs": HOUR, "anchorMs": NOW - HOUR}, "sessionTarget": "main", "wakeMode": "now",
        "payload": {"kind": "systemEvent", "text": "x"}, "state": {"nextRunAtMs": NOW - 2000, "runningAtMs": NOW - 1000}});
    fs::write(
        dir.path().join("cron/jobs.json"),
        json!({"version": 1, "jobs": [job]}).to_string(),
    )
    .unwrap();
    let rig = Rig::new(&dir);
    rig.nothing_runs();
    assert_eq!(rig.state("a")["nextRunAtMs"], json!(NOW - 1000 + HOUR));
    assert_eq!(rig.log("a").len(), 1);
}

#[test]
fn listing_changes_nothing() {
    let dir = Folder::new();
    let rig = Rig::new(&dir);
    let id = rig.minutely(json!({}));
    let store = CronStore::new(dir.path().join("cron/jobs.json"));
    let (stamp, state) = (store.stamp(), rig.state(&id));
    // Past its time, on a scheduler that has not looked yet.
    rig.clock.wall.store(NOW + HOUR, Ordering::SeqCst);
    rig.service.list(&json!({"includeDisabled": true})).unwrap();
    rig.service.runs(&json!({})).unwrap();
    assert_eq!(rig.service.status()["nextWakeAtMs"], json!(NOW + MINUTE));
    rig.service.next_deadline();
    assert_eq!((store.stamp(), rig.state(&id)), (stamp, state));
    rig.nothing_runs();
}

#[test]
fn missed_runs_follow_the_policy_of_their_job() {
    let late = 90 * MINUTE;
    for (missed, runs) in [
        (Value::Null, true),
        (json!("once"), true),
        (json!("skip"), false),
        (json!({"withinMs": HOUR}), false),
        (json!({"withinMs": 2 * HOUR}), true),
    ] {
        let dir = Folder::new();
        let rig = Rig::new(&dir);
        let id = rig.add(
            json!({"name": "m", "missed": missed, "schedule": {"kind": "every", "everyMs": HOUR}}),
        );
        // Two runs are missed while the gateway is off; one is made up for at most.
        let now = NOW + HOUR + late;
        let rig = Rig::at(&dir, now);
        rig.service.work();
        let event = rig.finished();
        let next = json!(NOW + 3 * HOUR);
        assert_eq!(event["nextRunAtMs"], next, "{missed}");
        if runs {
            rig.begins();
            assert_eq!(event["status"], "ok", "{missed}");
        } else {
            assert_eq!(event["status"], "skipped", "{missed}");
            assert_eq!(event["error"], "missed by 1 h 30 min: not made up for");
            assert_eq!(rig.state(&id)["lastStatus"], "skipped");
            assert_eq!(rig.state(&id)["lastRunAtMs"], Value::Null);
        }
        rig.nothing_runs();
        assert_eq!(rig.log(&id).len(), 1);
    }
}

#[test]
fn a_minute_late_is_not_missed_and_a_missed_single_run_is_over() {
    let dir = Folder::new();
    let rig = Rig::new(&dir);
    rig.minutely(json!({"missed": "skip", "schedule": {"kind": "every", "everyMs": HOUR}}));
    rig.pass(HOUR + MINUTE);
    rig.begins();
    let dir = Folder::new();
    let rig = Rig::new(&dir);
    let at = crate::sys::clock::iso(NOW + MINUTE);
    let once =
        rig.add(json!({"name": "o", "missed": "skip", "schedule": {"kind": "at", "at": at}}));
    rig.set(NOW + HOUR);
    rig.pass(11 * SECOND);
    assert_eq!(rig.finished()["status"], "skipped");
    assert!(!rig.service.job(&once).unwrap().enabled());
    rig.nothing_runs();
}

#[test]
fn nothing_fires_before_the_clock_is_set() {
    let dir = Folder::new();
    let rig = Rig::new(&dir);
    let old = rig.minutely(json!({}));
    // The router boots in 1970.
    let rig = Rig::at(&dir, 5 * SECOND);
    rig.service.work();
    assert!(
        rig.service.status()["waitingFor"]
            .as_str()
            .unwrap()
            .starts_with("the clock is not set")
    );
    assert!(rig.service.next_deadline().unwrap() <= Duration::from_secs(5));
    let fresh = rig.minutely(json!({"name": "fresh"}));
    assert_eq!(rig.state(&fresh), json!({}), "nothing is planned in 1970");
    let at =
        json!({"name": "x", "text": "x", "schedule": {"kind": "at", "at": "2027-01-01T00:00:00Z"}});
    assert!(matches!(rig.service.add(&at), Err(Error::Spec(_))));
    rig.pass(2 * MINUTE);
    rig.nothing_runs();
    // NTP sets it, a while after the run was due.
    rig.set(NOW + HOUR);
    assert!(
        rig.service.status()["waitingFor"]
            .as_str()
            .unwrap()
            .contains("jumped")
    );
    rig.nothing_runs();
    rig.pass(10 * SECOND);
    assert_eq!(rig.service.status()["waitingFor"], Value::Null);
    assert_eq!(rig.begins().0, "m", "the missed one, once");
    rig.finished();
    rig.nothing_runs();
    assert_eq!(rig.log(&old).len(), 1);
    let next = rig.state(&fresh)["nextRunAtMs"].as_u64().unwrap();
    assert!(
        next > NOW + HOUR && next <= NOW + HOUR + 10 * SECOND + MINUTE,
        "{next}"
    );
}

#[test]
fn a_clock_that_jumps_ahead_and_back_runs_nothing() {
    let dir = Folder::new();
    let rig = Rig::new(&dir);
    let id = rig.minutely(json!({}));
    rig.pass(SECOND);
    rig.set(NOW + 1000 * HOUR);
    rig.nothing_runs();
    rig.set(NOW + 2 * SECOND);
    rig.pass(10 * SECOND);
    rig.nothing_runs();
    assert_eq!(rig.state(&id)["nextRunAtMs"], json!(NOW + MINUTE));
    rig.pass(MINUTE);
    rig.begins();
}

#[test]
fn a_clock_that_stays_ahead_runs_what_was_jumped_over_once() {
    let dir = Folder::new();
    let rig = Rig::new(&dir);
    let id = rig.minutely(json!({}));
    rig.set(NOW + 10 * HOUR + 30 * SECOND);
    rig.nothing_runs();
    rig.pass(10 * SECOND);
    rig.begins();
    rig.finished();
    rig.nothing_runs();
    assert_eq!(
        rig.state(&id)["nextRunAtMs"],
        json!(NOW + 10 * HOUR + MINUTE)
    );
}

#[test]
fn a_clock_that_steps_back_repeats_nothing() {
    let dir = Folder::new();
    let rig = Rig::new(&dir);
    let cron =
        json!({"name": "c", "schedule": {"kind": "cron", "expr": "*/10 * * * *", "tz": "UTC"}});
    let id = rig.add(cron);
    let due = NOW / (10 * MINUTE) * 10 * MINUTE + 10 * MINUTE;
    rig.pass(due - NOW);
    rig.begins();
    rig.finished();
    // Back to before the run: its time comes a second time and does not count.
    rig.set(due - HOUR);
    rig.pass(HOUR);
    rig.nothing_runs();
    assert_eq!(rig.state(&id)["nextRunAtMs"], json!(due + 10 * MINUTE));
    rig.pass(10 * MINUTE);
    rig.begins();
}

#[test]
fn a_clock_that_was_years_ahead_plans_anew_when_it_is_right() {
    let dir = Folder::new();
    let rig = Rig::at(&dir, NOW + 50_000 * HOUR);
    rig.service.work();
    let id = rig.minutely(json!({}));
    rig.pass(MINUTE);
    rig.begins();
    rig.finished();
    rig.set(NOW);
    rig.pass(5 * MINUTE);
    rig.nothing_runs();
    assert!(
        rig.service.status()["waitingFor"]
            .as_str()
            .unwrap()
            .contains("behind")
    );
    rig.pass(5 * MINUTE);
    assert_eq!(rig.service.status()["waitingFor"], Value::Null);
    let (now, next) = (
        NOW + 10 * MINUTE,
        rig.state(&id)["nextRunAtMs"].as_u64().unwrap(),
    );
    assert!(next > now && next <= now + MINUTE, "{next}");
}

#[test]
fn jobs_that_are_due_together_run_one_after_the_other() {
    let dir = Folder::new();
    let rig = Rig::new(&dir);
    rig.minutely(json!({"name": "a"}));
    rig.pass(1);
    // Waiting for its turn is not missing its time.
    rig.minutely(json!({"name": "b", "missed": "skip"}));
    let open = rig.hold();
    rig.pass(MINUTE);
    assert_eq!(rig.begins().0, "a");
    assert_eq!(rig.service.active(), 1);
    rig.pass(5 * MINUTE);
    assert!(rig.began.try_recv().is_err());
    open.send(()).unwrap();
    assert_eq!(rig.begins().0, "b");
    open.send(()).unwrap();
    rig.finished();
    rig.finished();
}

#[test]
fn failures_in_a_row_wait_longer_and_longer() {
    let dir = Folder::new();
    let rig = Rig::new(&dir);
    let id = rig.add(json!({"name": "m", "schedule": {"kind": "every", "everyMs": SECOND}}));
    *rig.worker.outcome.lock().unwrap() = Outcome::error("boom");
    rig.pass(SECOND);
    for (errors, wait) in [
        (1, 30 * SECOND),
        (2, MINUTE),
        (3, 5 * MINUTE),
        (4, 15 * MINUTE),
        (5, HOUR),
        (6, HOUR),
    ] {
        rig.begins();
        let event = rig.finished();
        let now = rig.clock.wall();
        assert_eq!(
            (&event["status"], &event["error"]),
            (&json!("error"), &json!("boom"))
        );
        let state = rig.state(&id);
        assert_eq!(
            (&state["nextRunAtMs"], &state["consecutiveErrors"]),
            (&json!(now + wait), &json!(errors))
        );
        assert_eq!(state["lastError"], "boom");
        rig.pass(wait - 1);
        rig.nothing_runs();
        rig.pass(1);
    }
    rig.begins();
    rig.finished();
    *rig.worker.outcome.lock().unwrap() = ok();
    rig.pass(HOUR);
    rig.begins();
    rig.finished();
    let state = rig.state(&id);
    assert_eq!(
        (&state["consecutiveErrors"], &state["lastError"]),
        (&json!(0), &Value::Null)
    );
    assert_eq!(
        state["nextRunAtMs"],
        json!(rig.clock.wall() + 2 * SECOND),
        "two seconds between runs"
    );
}

#[test]
fn a_run_that_never_ends_is_given_up() {
    let dir = Folder::new();
    let rig = Rig::new(&dir);
    let id = rig
        .minutely(json!({"payload": {"kind": "agentTurn", "message": "x", "timeoutSeconds": 5}}));
    let _gate = rig.hold();
    rig.pass(MINUTE);
    rig.begins();
    assert_eq!(rig.service.next_deadline(), Some(Duration::from_secs(5)));
    rig.pass(5 * SECOND - 1);
    assert_eq!(rig.service.active(), 1);
    rig.pass(1);
    let event = rig.finished();
    assert_eq!(
        (&event["status"], &event["error"]),
        (&json!("error"), &json!("cron: job execution timed out"))
    );
    assert_eq!(event["durationMs"], json!(5000));
    assert_eq!(rig.service.active(), 0);
    assert_eq!(
        rig.log(&id).len(),
        1,
        "what its thread says later does not count"
    );
    // The job can run again.
    *rig.worker.gate.lock().unwrap() = None;
    rig.pass(MINUTE);
    rig.begins();
    assert_eq!(rig.finished()["status"], "ok");
    assert_eq!(rig.cancelled.recv_timeout(PATIENCE), Ok(()));
}

#[test]
fn a_schedule_that_makes_no_sense_switches_its_job_off_in_the_end() {
    let dir = Folder::new();
    fs::create_dir_all(dir.path().join("cron")).unwrap();
    let job = json!({"id": "a", "name": "a", "schedule": {"kind": "cron", "expr": "99 * * * *"},
        "payload": {"kind": "systemEvent", "text": "x"}});
    fs::write(
        dir.path().join("cron/jobs.json"),
        json!({"jobs": [job]}).to_string(),
    )
    .unwrap();
    let rig = Rig::new(&dir);
    for errors in [1, 2] {
        assert_eq!(rig.state("a")["scheduleErrorCount"], json!(errors));
        assert!(rig.service.job("a").unwrap().enabled());
        rig.pass(MINUTE);
    }
    assert!(!rig.service.job("a").unwrap().enabled());
    assert!(
        rig.state("a")["lastError"]
            .as_str()
            .unwrap()
            .starts_with("schedule error: TypeError: CronPattern: minute")
    );
}

#[test]
fn a_single_run_is_removed_kept_or_switched_off() {
    let dir = Folder::new();
    let rig = Rig::new(&dir);
    let at = crate::sys::clock::iso(NOW + MINUTE);
    let once = |extra: Value| {
        let mut job = json!({"name": "o", "schedule": {"kind": "at", "at": at}});
        job.as_object_mut()
            .unwrap()
            .extend(extra.as_object().cloned().unwrap());
        rig.add(job)
    };
    let gone = once(json!({}));
    // A try before its time changes nothing about it.
    assert!(matches!(
        rig.service.run_now(&gone, false),
        Ok(Forced::Started(_))
    ));
    rig.begins();
    rig.finished();
    let state = rig.state(&gone);
    assert_eq!(
        (&state["nextRunAtMs"], &state["lastStatus"]),
        (&json!(NOW + MINUTE), &json!("ok"))
    );
    rig.pass(MINUTE);
    rig.begins();
    rig.finished();
    assert_eq!(rig.wait_for("removed")["jobId"], json!(gone));
    assert!(rig.service.job(&gone).is_none());
    // Whoever posts the result still gets the job that is gone.
    let over = rig.worker.over.lock().unwrap().clone();
    assert_eq!(over.last(), Some(&(gone.clone(), json!("finished"))));
    assert_eq!(rig.log(&gone).len(), 2);

    let dir = Folder::new();
    let rig = Rig::new(&dir);
    let at = crate::sys::clock::iso(NOW + MINUTE);
    let kept = rig
        .add(json!({"name": "o", "deleteAfterRun": false, "schedule": {"kind": "at", "at": at}}));
    rig.pass(MINUTE);
    rig.begins();
    rig.finished();
    let job = rig.service.job(&kept).unwrap();
    assert!(!job.enabled() && job.next_run().is_none());
    rig.pass(MINUTE);
    rig.nothing_runs();

    let dir = Folder::new();
    let rig = Rig::new(&dir);
    *rig.worker.outcome.lock().unwrap() = Outcome::error("boom");
    let failed = rig.add(json!({"name": "o", "schedule": {"kind": "at", "at": at}}));
    rig.pass(MINUTE);
    rig.begins();
    rig.finished();
    assert!(!rig.service.job(&failed).unwrap().enabled());
}

#[test]
fn a_forced_run_has_its_own_rules() {
    let dir = Folder::new();
    let rig = Rig::new(&dir);
    let id = rig.add(json!({"name": "m", "schedule": {"kind": "every", "everyMs": HOUR}}));
    assert!(matches!(
        rig.service.run_now("nope", false),
        Err(Error::UnknownJob(_))
    ));
    assert!(matches!(rig.service.run_now(&id, true), Ok(Forced::NotDue)));
    rig.pass(MINUTE);
    let open = rig.hold();
    let Ok(Forced::Started(ended)) = rig.service.run_now(&id, false) else {
        panic!()
    };
    rig.begins();
    assert!(matches!(
        rig.service.run_now(&id, false),
        Ok(Forced::AlreadyRunning)
    ));
    open.send(()).unwrap();
    assert!(
        ended
            .recv_timeout(PATIENCE)
            .is_err_and(|e| e.is_disconnected())
    );
    rig.finished();
    // As the reference: the interval counts from the forced run.
    assert_eq!(rig.state(&id)["nextRunAtMs"], json!(NOW + MINUTE + HOUR));
    // Switched off: nothing runs by itself, but can be forced.
    rig.settings.lock().unwrap().enabled = false;
    *rig.worker.gate.lock().unwrap() = None;
    rig.pass(2 * HOUR);
    rig.nothing_runs();
    assert_eq!(rig.service.status()["nextWakeAtMs"], Value::Null);
    assert_eq!(rig.service.next_deadline(), None);
    assert!(matches!(
        rig.service.run_now(&id, true),
        Ok(Forced::Started(_))
    ));
    rig.begins();
}

#[test]
fn changes_by_hand_are_taken_over_and_a_broken_file_stops_everything() {
    let dir = Folder::new();
    let rig = Rig::new(&dir);
    let id = rig.minutely(json!({}));
    let path = dir.path().join("cron/jobs.json");
    let good = fs::read_to_string(&path).unwrap();
    fs::write(&path, "{").unwrap();
    rig.pass(2 * MINUTE);
    rig.nothing_runs();
    assert!(matches!(
        rig.service.update(&id, &json!({"name": "x"})),
        Err(Error::Broken(_))
    ));
    assert!(matches!(
        rig.service.run_now(&id, false),
        Err(Error::Broken(_))
    ));
    assert!(
        rig.service.status()["storeError"]
            .as_str()
            .unwrap()
            .contains("jobs.json")
    );
    assert!(
        rig.service.next_deadline().unwrap() > Duration::from_secs(1),
        "no busy loop"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), "{");
    fs::write(&path, good.replace("\"m\"", "\"by hand\"")).unwrap();
    rig.pass(MINUTE);
    assert_eq!(rig.begins().0, "by hand");
    rig.finished();
    assert_eq!(rig.service.status()["storeError"], Value::Null);
}

#[test]
fn a_broken_file_at_the_start_is_told_and_kept() {
    let dir = Folder::new();
    fs::create_dir_all(dir.path().join("cron")).unwrap();
    fs::write(dir.path().join("cron/jobs.json"), "[1]").unwrap();
    let rig = Rig::new(&dir);
    assert!(matches!(
        rig.service.list(&json!({})),
        Err(Error::Broken(_))
    ));
    assert!(
        rig.service
            .add(&json!({"text": "x", "schedule": {"kind": "every", "everyMs": 5}}))
            .is_err()
    );
    assert_eq!(
        fs::read_to_string(dir.path().join("cron/jobs.json")).unwrap(),
        "[1]"
    );
}

#[test]
fn jobs_are_changed_and_removed() {
    let dir = Folder::new();
    let rig = Rig::new(&dir);
    let id = rig.minutely(json!({}));
    rig.wait_for("added");
    rig.pass(SECOND);
    let job = rig.service.update(&id, &json!({"enabled": false})).unwrap();
    assert_eq!(
        (&job["enabled"], &job["state"], &job["updatedAtMs"]),
        (&json!(false), &json!({}), &json!(NOW + SECOND))
    );
    assert_eq!(
        rig.wait_for("updated"),
        json!({"jobId": id, "action": "updated"})
    );
    let job = rig.service.update(&id, &json!({"enabled": true, "schedule": {"kind": "every", "everyMs": 300_000}, "missed": "skip"})).unwrap();
    assert_eq!(
        job["schedule"],
        json!({"kind": "every", "everyMs": 300_000, "anchorMs": NOW + SECOND})
    );
    assert_eq!(
        (&job["state"]["nextRunAtMs"], &job["missed"]),
        (&json!(NOW + SECOND + 300_000), &json!("skip"))
    );
    let job = rig
        .service
        .update(&id, &json!({"missed": null, "description": " d "}))
        .unwrap();
    assert_eq!(
        (&job["missed"], &job["description"]),
        (&Value::Null, &json!("d"))
    );
    let turn = json!({"payload": {"kind": "agentTurn", "message": "x"}});
    assert!(
        matches!(rig.service.update(&id, &turn), Err(Error::Spec(_))),
        "a main job takes no turn"
    );
    let turn = json!({"payload": {"kind": "agentTurn", "message": "x"}, "sessionTarget": "isolated", "delivery": {"mode": "announce", "channel": "irc"}});
    assert_eq!(
        rig.service.update(&id, &turn).unwrap()["delivery"],
        json!({"mode": "announce", "channel": "irc"})
    );
    let job = rig
        .service
        .update(
            &id,
            &json!({"payload": {"kind": "agentTurn", "model": "a/b"}, "delivery": {"to": "x"}}),
        )
        .unwrap();
    assert_eq!(
        job["payload"],
        json!({"kind": "agentTurn", "message": "x", "model": "a/b"})
    );
    assert_eq!(
        job["delivery"],
        json!({"mode": "announce", "channel": "irc", "to": "x"})
    );
    assert!(matches!(
        rig.service.update("nope", &json!({})),
        Err(Error::UnknownJob(_))
    ));
    assert_eq!(
        rig.service.remove(&id).unwrap(),
        json!({"ok": true, "removed": true})
    );
    assert_eq!(
        rig.wait_for("removed"),
        json!({"jobId": id, "action": "removed"})
    );
    assert_eq!(
        rig.service.remove(&id).unwrap(),
        json!({"ok": true, "removed": false})
    );
    assert_eq!(rig.service.status()["jobs"], 0);
}

#[test]
fn what_makes_no_job_is_refused_in_the_words_of_the_reference() {
    let dir = Folder::new();
    let rig = Rig::new(&dir);
    let every = json!({"kind": "every", "everyMs": 5});
    for (job, text) in [
        (
            json!({"schedule": every, "sessionTarget": "main", "message": "m"}),
            r#"Error: main cron jobs require payload.kind="systemEvent""#,
        ),
        (
            json!({"schedule": every, "sessionTarget": "isolated", "text": "m"}),
            r#"Error: isolated cron jobs require payload.kind="agentTurn""#,
        ),
        (
            json!({"schedule": every, "text": "m", "delivery": {"mode": "announce"}}),
            "only supported for sessionTarget=\"isolated\"",
        ),
        (
            json!({"schedule": every, "message": "m", "delivery": {"mode": "webhook", "to": "x"}}),
            "valid http(s) URL",
        ),
        (
            json!({"schedule": {"expr": "not a cron"}, "text": "m"}),
            "TypeError: CronPattern: invalid configuration format ('not a cron')",
        ),
        (
            json!({"schedule": {"expr": "0 0 30 2 *"}, "text": "m"}),
            "names no time that ever comes",
        ),
        (
            json!({"schedule": {"expr": "0 0 1 1 *", "tz": "Mars/X"}, "text": "m"}),
            "unknown time zone",
        ),
    ] {
        match rig.service.add(&job) {
            Err(Error::Spec(why)) => assert!(why.contains(text), "{why}"),
            other => panic!("{job}: {other:?}"),
        }
    }
    assert_eq!(rig.service.status()["jobs"], 0);
}

#[test]
fn a_job_that_is_removed_while_it_runs_leaves_its_log() {
    let dir = Folder::new();
    let rig = Rig::new(&dir);
    let id = rig.minutely(json!({}));
    let open = rig.hold();
    rig.pass(MINUTE);
    rig.begins();
    rig.service.remove(&id).unwrap();
    open.send(()).unwrap();
    assert_eq!(rig.finished()["status"], "ok");
    assert_eq!(rig.log(&id).len(), 1);
}

#[test]
fn the_end_of_the_gateway_cancels_runs_and_starts_none() {
    let dir = Folder::new();
    let rig = Rig::new(&dir);
    let id = rig.minutely(json!({}));
    let _gate = rig.hold();
    rig.pass(MINUTE);
    rig.begins();
    rig.service.stop(Duration::ZERO);
    assert_eq!(rig.service.active(), 0);
    assert_eq!(rig.cancelled.try_recv(), Ok(()));
    assert_eq!(rig.log(&id)[0]["error"], "cancelled");
    rig.pass(HOUR);
    rig.nothing_runs();
    assert!(matches!(
        rig.service.run_now(&id, false),
        Err(Error::Stopping)
    ));
    assert_eq!(rig.service.next_deadline(), None);
}

#[test]
fn a_scheduler_without_jobs_sleeps() {
    let dir = Folder::new();
    let rig = Rig::new(&dir);
    assert!(
        dir.path().join("cron/jobs.json").exists(),
        "an empty store shows where jobs are"
    );
    assert_eq!(
        rig.service.next_deadline(),
        Some(Duration::from_secs(60)),
        "old sessions, once"
    );
    rig.pass(MINUTE);
    assert_eq!(
        *rig.worker.reaped.lock().unwrap(),
        [NOW + MINUTE - 24 * HOUR]
    );
    assert_eq!(rig.service.next_deadline(), None);
    // A job an hour ahead: only the clock is looked at.
    rig.add(json!({"name": "m", "schedule": {"kind": "every", "everyMs": HOUR}}));
    assert_eq!(rig.service.next_deadline(), Some(Duration::from_secs(60)));
}

#[test]
fn a_panicking_run_is_a_failed_run() {
    struct Panics;
    impl Executor for Panics {
        fn run(&self, _: &Job, _: &Run) -> Outcome {
            panic!("expected by the test")
        }
        fn finished(&self, _: &Job, _: &Value) {}
        fn reap(&self, _: u64) -> bool {
            false
        }
    }
    let dir = Folder::new();
    let (events_in, events) = unbounded();
    let service = Service::open(Deps {
        store: CronStore::new(dir.path().join("jobs.json")),
        clock: Arc::new(Hands {
            wall: AtomicU64::new(NOW),
            mono: AtomicU64::new(0),
        }),
        executor: Arc::new(Panics),
        events: Arc::new(move |e: &Value| events_in.send(e.clone()).unwrap()),
        settings: Arc::new(|| Settings {
            enabled: true,
            max_concurrent: 1,
            log: LogLimits::default(),
            retention_ms: None,
        }),
        changed: Arc::new(|| {}),
    });
    let job = service
        .add(&json!({"text": "x", "schedule": {"kind": "every", "everyMs": 5}}))
        .unwrap();
    let Ok(Forced::Started(ended)) = service.run_now(job["id"].as_str().unwrap(), false) else {
        panic!()
    };
    assert!(
        ended
            .recv_timeout(PATIENCE)
            .is_err_and(|e| e.is_disconnected())
    );
    let last = events.try_iter().last().unwrap();
    assert_eq!(
        (&last["action"], &last["status"]),
        (&json!("finished"), &json!("error"))
    );
}
