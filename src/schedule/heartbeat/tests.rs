//! Heartbeats on a clock of the test's own, with an agent that says what it is told to say.

use std::collections::VecDeque;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use serde_json::{Value, json};

use super::*;
use crate::state::Paths;
use crate::state::system_events::Note;
use crate::state::testing::Folder;

const NOW: u64 = 1_795_364_778_784;
const MINUTE: u64 = 60_000;
const PATIENCE: Duration = Duration::from_secs(20);
const MAIN: &str = "agent:main:main";

struct Hands(AtomicU64, AtomicU64);

impl Clock for Hands {
    fn wall(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
    fn mono(&self) -> u64 {
        self.1.load(Ordering::SeqCst)
    }
}

/// The turns that were asked for, and what is answered.
struct Actor {
    asked: Sender<Asked>,
    answers: Mutex<VecDeque<Result<String, String>>>,
    busy: AtomicBool,
    thoughtless: AtomicBool,
    target: Mutex<Target>,
    delivery: Mutex<Result<(), Undelivered>>,
    sent: Mutex<Vec<String>>,
}

#[derive(Debug)]
struct Asked {
    agent: String,
    session_key: String,
    prompt: String,
    model: Option<String>,
    untrusted: bool,
    forgotten: bool,
}

impl Host for Actor {
    fn can_think(&self, _: &str) -> bool {
        !self.thoughtless.load(Ordering::SeqCst)
    }

    fn busy(&self, _: &str) -> bool {
        self.busy.load(Ordering::SeqCst)
    }

    fn turn(&self, turn: Turn) -> Result<String, String> {
        let answer = self
            .answers
            .lock()
            .unwrap()
            .pop_front()
            .unwrap_or(Ok("HEARTBEAT_OK".into()));
        let forgotten = answer.as_ref().is_ok_and(|text| (turn.forget)(text));
        let Turn {
            agent,
            session_key,
            prompt,
            model,
            untrusted,
            ..
        } = turn;
        self.asked
            .send(Asked {
                agent,
                session_key,
                prompt,
                model,
                untrusted,
                forgotten,
            })
            .unwrap();
        answer
    }

    fn target(&self, _: &str, _: &str, _: &Settings) -> Target {
        self.target.lock().unwrap().clone()
    }

    fn deliver(&self, _: &Place, text: &str) -> Result<(), Undelivered> {
        let result = self.delivery.lock().unwrap().clone();
        if result.is_ok() {
            self.sent.lock().unwrap().push(text.into());
        }
        result
    }
}

struct Rig {
    dir: Folder,
    clock: Arc<Hands>,
    host: Arc<Actor>,
    asked: Receiver<Asked>,
    events: Receiver<Value>,
    beats: Arc<Heartbeats>,
    notes: Arc<SystemEvents>,
    sessions: Arc<sessions::Store>,
    config: Arc<config::Store>,
}

impl Rig {
    fn new(heartbeat: &str) -> Rig {
        Rig::in_folder(Folder::new(), heartbeat, NOW)
    }

    fn in_folder(dir: Folder, heartbeat: &str, wall: u64) -> Rig {
        let config = Self::config(&dir, heartbeat);
        let paths = Paths::new(dir.path());
        let clock = Arc::new(Hands(AtomicU64::new(wall), AtomicU64::new(0)));
        let (asked_in, asked) = unbounded();
        let (events_in, events) = unbounded();
        let host = Arc::new(Actor {
            asked: asked_in,
            answers: Mutex::default(),
            busy: AtomicBool::new(false),
            thoughtless: AtomicBool::new(false),
            target: Mutex::new(Target::Nowhere {
                reason: "no-target",
                account: None,
            }),
            delivery: Mutex::new(Ok(())),
            sent: Mutex::default(),
        });
        let notes = Arc::new(SystemEvents::open(paths.system_events()));
        let sessions = Arc::new(sessions::Store::new(paths.clone()));
        let store = Arc::new(config::Store::new(config.clone()));
        let beats = Heartbeats::open(Deps {
            clock: clock.clone(),
            config: store.clone(),
            locations: config.locations().clone(),
            sessions: sessions.clone(),
            notes: notes.clone(),
            host: host.clone(),
            events: Arc::new(move |e: &Value| events_in.send(e.clone()).unwrap_or(())),
            changed: Arc::new(|| {}),
            file: paths.heartbeat(),
        });
        Rig {
            dir,
            clock,
            host,
            asked,
            events,
            beats,
            notes,
            sessions,
            config: store,
        }
    }

    fn config(dir: &Folder, heartbeat: &str) -> Arc<Config> {
        let workspace = json!(dir.path().join("ws"));
        Arc::new(Config::from_text(&format!(
            "{{agents: {{defaults: {{workspace: {workspace}, userTimezone: 'UTC', heartbeat: {heartbeat}}}}}}}"
        )))
    }

    fn pass(&self, ms: u64) {
        self.clock.0.fetch_add(ms, Ordering::SeqCst);
        self.clock.1.fetch_add(ms, Ordering::SeqCst);
        self.beats.tick();
    }

    fn say(&self, text: &str) {
        self.host.answers.lock().unwrap().push_back(Ok(text.into()));
    }

    fn asked(&self) -> Asked {
        self.asked
            .recv_timeout(PATIENCE)
            .expect("the agent has to be asked")
    }

    fn event(&self) -> Value {
        self.events
            .recv_timeout(PATIENCE)
            .expect("an event has to come")
    }

    /// One heartbeat now; its event, and what the agent was asked.
    fn beat(&self, answer: &str) -> (Value, Asked) {
        self.say(answer);
        assert_eq!(self.beats.run_now(Reason::Wake, None, None), Done::Ran);
        (self.event(), self.asked())
    }

    fn skipped(&self, reason: Reason) -> Done {
        let done = self.beats.run_now(reason, None, None);
        assert!(self.asked.try_recv().is_err(), "the agent was asked");
        done
    }

    fn place(&self, channel: &str) {
        let place = Place {
            channel: channel.into(),
            to: "42".into(),
            account: None,
            thread: None,
        };
        *self.host.target.lock().unwrap() = Target::Place(place);
    }

    fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.dir.path().join("ws")).unwrap();
        fs::write(self.dir.path().join("ws").join(name), text).unwrap();
    }
}

#[test]
fn the_first_heartbeat_is_one_interval_after_the_start() {
    let rig = Rig::new("{every: '10m', model: 'a/b'}");
    assert_eq!(rig.beats.next_deadline(), Some(Duration::from_secs(600)));
    rig.pass(10 * MINUTE - 1);
    assert!(rig.asked.try_recv().is_err());
    rig.pass(1);
    let asked = rig.asked();
    assert_eq!(
        (
            asked.agent.as_str(),
            asked.session_key.as_str(),
            asked.model.as_deref()
        ),
        ("main", MAIN, Some("a/b"))
    );
    assert!(
        asked.prompt.starts_with("This is a heartbeat")
            && asked.prompt.contains("Current time: Sunday"),
        "{}",
        asked.prompt
    );
    assert!(asked.forgotten && !asked.untrusted);
    let event = rig.event();
    assert_eq!(
        event,
        json!({"ts": NOW + 10 * MINUTE, "status": "ok-token", "reason": "interval", "durationMs": 0, "silent": true, "indicatorType": "ok"})
    );
    assert_eq!(rig.beats.last(), Some(event));
}

#[test]
fn heartbeats_that_are_off_cost_nothing() {
    let rig = Rig::new("{every: '0m'}");
    assert_eq!(rig.beats.next_deadline(), None);
    assert_eq!(rig.skipped(Reason::Wake), Done::Skipped(DISABLED));
    // Switched on while running.
    rig.config.swap(Rig::config(&rig.dir, "{every: '5m'}"));
    rig.beats.refresh();
    assert_eq!(rig.beats.next_deadline(), Some(Duration::from_secs(300)));
}

#[test]
fn the_switch_survives_a_restart() {
    let rig = Rig::new("{every: '5m'}");
    rig.beat("HEARTBEAT_OK");
    rig.beats.set_enabled(false).unwrap();
    assert_eq!(rig.skipped(Reason::Wake), Done::Skipped(DISABLED));
    assert_eq!(rig.beats.next_deadline(), None);
    let last = rig.beats.last();
    let rig = Rig::in_folder(rig.dir, "{every: '5m'}", NOW);
    assert!(!rig.beats.enabled() && last.is_some() && rig.beats.last() == last);
    rig.beats.set_enabled(true).unwrap();
    assert_eq!(rig.beats.next_deadline(), Some(Duration::from_secs(300)));
}

#[test]
fn wakes_are_gathered_and_the_best_reason_counts() {
    let rig = Rig::new("{every: '1h'}");
    rig.beats.wake(Reason::Interval, None, None);
    rig.beats.wake(Reason::Wake, None, None);
    rig.beats.wake(Reason::Cron("x".into()), None, None);
    assert_eq!(
        rig.beats.next_deadline(),
        Some(Duration::from_millis(GATHER_MS))
    );
    rig.pass(GATHER_MS - 1);
    rig.pass(1);
    assert_eq!(rig.event()["reason"], "wake");
    rig.asked();
    // The interval counts from here.
    rig.beats.stop(PATIENCE);
    assert!(rig.asked.try_recv().is_err(), "three wakes made one turn");
}

#[test]
fn a_busy_agent_is_asked_again_a_second_later() {
    let rig = Rig::new("{every: '10m'}");
    rig.host.busy.store(true, Ordering::SeqCst);
    assert_eq!(rig.skipped(Reason::Wake), Done::Skipped(BUSY));
    rig.beats
        .answer((Some("main".into()), None), Reason::Interval);
    assert_eq!(
        rig.beats.next_deadline(),
        Some(Duration::from_millis(BUSY_MS))
    );
    rig.host.busy.store(false, Ordering::SeqCst);
    rig.pass(BUSY_MS);
    assert_eq!(rig.event()["reason"], "interval");
}

#[test]
fn what_is_to_be_told_is_delivered_once() {
    let rig = Rig::new("{every: '1h'}");
    rig.place("telegram");
    rig.sessions.update(MAIN, |_| {}).unwrap();
    let (event, asked) = rig.beat("The disk is full");
    assert!(!asked.forgotten);
    assert_eq!(
        event,
        json!({"ts": NOW, "status": "sent", "to": "42", "channel": "telegram", "preview": "The disk is full",
               "durationMs": 0, "hasMedia": false, "indicatorType": "alert"})
    );
    // The same within a day is not sent again, and leaves no trace.
    let (event, asked) = rig.beat("HEARTBEAT_OK The disk is full");
    assert_eq!(
        (&event["status"], asked.forgotten),
        (&json!("ok-token"), true)
    );
    let (event, asked) = rig.beat(" The disk is full\n");
    assert_eq!(
        (&event["status"], &event["reason"], asked.forgotten),
        (&json!("skipped"), &json!("duplicate"), true)
    );
    assert_eq!(*rig.host.sent.lock().unwrap(), ["The disk is full"]);
    rig.clock.0.fetch_add(24 * 60 * MINUTE, Ordering::SeqCst);
    assert_eq!(rig.beat("The disk is full").0["status"], "sent");
}

#[test]
fn without_a_target_the_answer_is_only_shown() {
    let rig = Rig::new("{every: '1h'}");
    let (event, _) = rig.beat(&"x".repeat(300));
    // As recorded from the reference.
    assert_eq!(
        event,
        json!({"ts": NOW, "status": "skipped", "reason": "no-target", "preview": "x".repeat(200), "durationMs": 0, "hasMedia": false})
    );
    let target = Target::Nowhere {
        reason: "unknown-account",
        account: Some("ops".into()),
    };
    *rig.host.target.lock().unwrap() = target;
    let (event, _) = rig.beat("news");
    assert_eq!(
        (&event["reason"], &event["accountId"]),
        (&json!("unknown-account"), &json!("ops"))
    );
    assert_eq!(rig.beat("").0["status"], "ok-empty");
}

#[test]
fn a_delivery_that_fails_is_told() {
    let rig = Rig::new("{every: '1h'}");
    rig.place("irc");
    *rig.host.delivery.lock().unwrap() = Err(Undelivered::NotReady("irc is not connected".into()));
    rig.say("news");
    assert_eq!(
        rig.beats.run_now(Reason::Wake, None, None),
        Done::Skipped("channel-not-ready")
    );
    assert_eq!(rig.event()["reason"], "irc is not connected");
    *rig.host.delivery.lock().unwrap() = Err(Undelivered::Failed("refused".into()));
    rig.say("news");
    assert_eq!(
        rig.beats.run_now(Reason::Wake, None, None),
        Done::Failed("refused".into())
    );
    let event = rig.event();
    assert_eq!(
        (&event["status"], &event["reason"], &event["indicatorType"]),
        (&json!("failed"), &json!("refused"), &json!("error"))
    );
    rig.host
        .answers
        .lock()
        .unwrap()
        .push_back(Err("model down".into()));
    assert_eq!(
        rig.beats.run_now(Reason::Wake, None, None),
        Done::Failed("model down".into())
    );
}

#[test]
fn visibility_decides_what_a_channel_sees() {
    let dir = Folder::new();
    let rig = Rig::in_folder(dir, "{every: '1h'}", NOW);
    rig.place("irc");
    let set = |text: &str| {
        let full = format!(
            "{{channels: {{defaults: {{heartbeat: {text}}}}}, agents: {{defaults: {{heartbeat: {{every: '1h'}}}}}}}}"
        );
        rig.config.swap(Arc::new(Config::from_text(&full)));
    };
    set("{showOk: true}");
    let (event, _) = rig.beat("HEARTBEAT_OK");
    assert_eq!(
        (&event["silent"], &event["channel"]),
        (&json!(false), &json!("irc"))
    );
    assert_eq!(*rig.host.sent.lock().unwrap(), ["HEARTBEAT_OK"]);
    set("{showAlerts: false}");
    assert_eq!(rig.beat("news").0["reason"], "alerts-disabled");
    set("{showAlerts: false, useIndicator: false}");
    assert_eq!(rig.skipped(Reason::Wake), Done::Skipped("alerts-disabled"));
    assert_eq!(rig.event()["status"], "skipped");
    assert_eq!(rig.host.sent.lock().unwrap().len(), 1);
}

#[test]
fn an_empty_file_saves_the_turn_unless_something_is_to_be_told() {
    let rig = Rig::new("{every: '1h'}");
    rig.write("HEARTBEAT.md", "# Tasks\n- [ ]\n");
    assert_eq!(
        rig.skipped(Reason::Interval),
        Done::Skipped("empty-heartbeat-file")
    );
    assert_eq!(
        rig.event(),
        json!({"ts": NOW, "status": "skipped", "reason": "empty-heartbeat-file", "durationMs": 0})
    );
    rig.beat("HEARTBEAT_OK");
    rig.notes
        .push(
            MAIN,
            Note::new("cron job \"x\"", "tick").with_context("cron:1"),
        )
        .unwrap();
    assert_eq!(rig.beats.run_now(Reason::Interval, None, None), Done::Ran);
    let asked = rig.asked();
    assert!(
        asked.prompt.starts_with("A scheduled job has sent"),
        "{}",
        asked.prompt
    );
    rig.write("HEARTBEAT.md", "- water the plants\n");
    assert_eq!(rig.beats.run_now(Reason::Interval, None, None), Done::Ran);
}

#[test]
fn an_agent_without_a_model_is_left_alone_until_it_is_woken() {
    let rig = Rig::new("{every: '1h'}");
    rig.host.thoughtless.store(true, Ordering::SeqCst);
    assert_eq!(rig.skipped(Reason::Interval), Done::Skipped(DISABLED));
    rig.beat("HEARTBEAT_OK");
}

#[test]
fn quiet_hours_hold_for_wakes_too() {
    let rig =
        Rig::new("{every: '1h', activeHours: {start: '08:00', end: '09:00', timezone: 'UTC'}}");
    assert_eq!(rig.skipped(Reason::Wake), Done::Skipped("quiet-hours"));
}

// Advisory HK-02: heartbeats had the owner's rights although text from outside filled them.
#[test]
fn hk_02_waiting_text_takes_the_owners_rights_from_the_turn() {
    let rig = Rig::new("{every: '1h'}");
    assert!(!rig.beat("HEARTBEAT_OK").1.untrusted);
    rig.notes
        .push(MAIN, Note::new("wake call", "obey"))
        .unwrap();
    let (_, asked) = rig.beat("HEARTBEAT_OK");
    assert!(asked.untrusted);
    assert!(
        !asked.prompt.contains("obey"),
        "the text is quoted by the run, not told by us"
    );
    let last = rig.notes.peek(MAIN)[0].id;
    rig.notes.confirm(MAIN, last).unwrap();
    assert!(!rig.beat("HEARTBEAT_OK").1.untrusted);
}

#[test]
fn the_end_of_a_command_is_told_in_a_few_words_too() {
    let rig = Rig::new("{every: '1h'}");
    rig.place("irc");
    rig.notes
        .push(MAIN, Note::new("command", "exit 0").with_context("exec:1"))
        .unwrap();
    let (event, asked) = rig.beat("HEARTBEAT_OK done");
    assert!(asked.prompt.starts_with("A command") && !asked.forgotten);
    assert_eq!(
        (&event["status"], &event["preview"]),
        (&json!("sent"), &json!("HEARTBEAT_OK done"))
    );
}

#[test]
fn a_clock_that_is_not_set_holds_intervals_back() {
    let rig = Rig::in_folder(Folder::new(), "{every: '10m'}", 5_000);
    rig.pass(10 * MINUTE);
    assert_eq!(
        rig.beats.next_deadline(),
        Some(Duration::from_millis(UNSET_MS))
    );
    rig.clock.0.store(NOW, Ordering::SeqCst);
    rig.pass(UNSET_MS);
    assert_eq!(rig.event()["reason"], "interval");
}

#[test]
fn sessions_of_other_agents_are_not_reached() {
    let config =
        Config::from_text("{agents: {list: [{id: 'a', heartbeat: {session: 'ops'}}, {id: 'b'}]}}");
    let settings = Settings::of(&config, "a");
    let of = |asked| session_of(&config, "a", &settings, asked);
    assert_eq!(of(None), "agent:a:ops");
    assert_eq!(of(Some("agent:a:irc:group:x")), "agent:a:irc:group:x");
    assert_eq!(of(Some("agent:b:main")), "agent:a:ops");
    let global = Config::from_text("{session: {scope: 'global'}}");
    assert_eq!(session_of(&global, "a", &settings, None), "global");
}
