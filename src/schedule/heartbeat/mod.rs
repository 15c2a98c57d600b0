//! Heartbeats: a turn of the agent at regular times, and whenever something wakes it.
//!
//! What is told to the agent and how its answer is read is rules.rs, one heartbeat from its start to its
//! event is beat.rs. Here is the when: intervals by agent, and wakes, which are gathered for a moment so
//! that ten of them make one turn. Like the cron service it has no thread while nothing is due.

mod beat;
mod host;
pub mod rules;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use serde_json::{Value, json};

use super::clock::{Clock, plausible};
use crate::config::{self, Config, Locations};
use crate::state::sessions;
use crate::state::system_events::SystemEvents;
use crate::sys::{file, sync};
use rules::Settings;

pub use host::{BUSY, DISABLED, Done, Host, Place, Reason, Target, Turn, Undelivered};

/// Ms for which wakes are gathered.
pub const GATHER_MS: u64 = 250;
/// Ms after which a heartbeat is tried again that found the agent busy.
pub const BUSY_MS: u64 = 1_000;
/// Ms after which the clock is looked at again while it is not set.
const UNSET_MS: u64 = 60_000;
/// How long turns that were stopped may take to end.
const STOP_TIME: Duration = Duration::from_secs(5);
/// Wakes that wait at most; there is one for each agent and session.
const MAX_WAKES: usize = 100;
/// Bytes of the file that keeps the switch and the last event.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// What heartbeats are made of.
pub struct Deps {
    pub clock: Arc<dyn Clock>,
    pub config: Arc<config::Store>,
    pub locations: Locations,
    pub sessions: Arc<sessions::Store>,
    pub notes: Arc<SystemEvents>,
    pub host: Arc<dyn Host>,
    /// Gets the payload of each `heartbeat` event.
    pub events: Arc<dyn Fn(&Value) + Send + Sync>,
    /// Called when [`Heartbeats::next_deadline`] may have moved.
    pub changed: Arc<dyn Fn() + Send + Sync>,
    /// Keeps the operator's switch and the last event.
    pub file: PathBuf,
}

/// Who is woken: an agent, a session of it; all of them when neither is named.
type Whom = (Option<String>, Option<String>);

/// The heartbeats of all agents. One lock, never held across I/O or a turn.
pub struct Heartbeats {
    deps: Deps,
    inner: Mutex<Inner>,
    idle: Condvar,
}

struct Inner {
    enabled: bool,
    last: Option<Value>,
    /// The agents with heartbeats: interval and next time, in ms on the monotonic clock.
    agents: BTreeMap<String, Plan>,
    /// Wakes by agent and session, and when they are answered.
    wakes: BTreeMap<Whom, (Reason, u64)>,
    /// Somebody is working through them.
    working: bool,
    /// Turns in progress.
    active: usize,
    /// No more of them begin.
    closed: bool,
    /// Dropped to stop them.
    alive: Option<Sender<()>>,
    dying: Receiver<()>,
}

#[derive(Clone, Copy, Debug)]
struct Plan {
    every: u64,
    next: u64,
}

impl Heartbeats {
    /// Reads the switch. The first heartbeats are one interval from now.
    pub fn open(deps: Deps) -> Arc<Heartbeats> {
        let stored: Option<Value> = file::read_bounded(&deps.file, MAX_FILE_BYTES)
            .ok()
            .and_then(|b| serde_json::from_slice(&b).ok());
        let stored = stored.unwrap_or_default();
        let (alive, dying) = bounded(0);
        let inner = Inner {
            enabled: stored
                .get("enabled")
                .and_then(Value::as_bool)
                .unwrap_or(true),
            last: stored.get("last").filter(|l| l.is_object()).cloned(),
            agents: BTreeMap::new(),
            wakes: BTreeMap::new(),
            working: false,
            active: 0,
            closed: false,
            alive: Some(alive),
            dying,
        };
        let beats = Heartbeats {
            deps,
            inner: Mutex::new(inner),
            idle: Condvar::new(),
        };
        beats.replan();
        let count = beats.lock().agents.len();
        log::info!(target: "gateway/heartbeat", "heartbeat: {}", if count > 0 { "started" } else { "disabled" });
        Arc::new(beats)
    }

    /// The configuration has changed.
    pub fn refresh(&self) {
        self.replan();
        (self.deps.changed)();
    }

    fn replan(&self) {
        let config = self.deps.config.current();
        let now = self.deps.clock.mono();
        let agents = rules::agents_with_heartbeat(&config);
        let mut inner = self.lock();
        let old = std::mem::take(&mut inner.agents);
        for id in agents {
            let Some(every) = Settings::of(&config, &id).every_ms else {
                continue;
            };
            let plan = match old.get(&id) {
                Some(plan) if plan.every == every => *plan,
                // The time since the last one counts.
                Some(plan) => Plan {
                    every,
                    next: (plan.next.saturating_sub(plan.every) + every).max(now),
                },
                None => Plan {
                    every,
                    next: now + every,
                },
            };
            inner.agents.insert(id, plan);
        }
    }

    /// Whether heartbeats are switched on.
    pub fn enabled(&self) -> bool {
        self.lock().enabled
    }

    /// `set-heartbeats`: stored, so that a restart does not undo it.
    pub fn set_enabled(&self, enabled: bool) -> std::io::Result<()> {
        let last = self.last();
        self.make_folder()?;
        file::write_atomic(&self.deps.file, stored(enabled, last.as_ref()).as_bytes())?;
        self.lock().enabled = enabled;
        log::info!(target: "gateway/heartbeat", "switched {}", if enabled { "on" } else { "off" });
        (self.deps.changed)();
        Ok(())
    }

    /// `last-heartbeat`: the payload of the last event.
    pub fn last(&self) -> Option<Value> {
        self.lock().last.clone()
    }

    /// Asks for a heartbeat soon, for one agent or session or for all.
    pub fn wake(&self, reason: Reason, agent: Option<&str>, session_key: Option<&str>) {
        let due = self.deps.clock.mono() + GATHER_MS;
        let key = (
            agent.map(config::agents::normalise),
            session_key.map(str::to_string),
        );
        self.lock().add_wake(key, reason, due);
        (self.deps.changed)();
    }

    /// Time until [`Heartbeats::tick`] has something to do; `None`: nothing before a change.
    pub fn next_deadline(&self) -> Option<Duration> {
        let now = self.deps.clock.mono();
        let inner = self.lock();
        if inner.working || inner.closed {
            return None;
        }
        let intervals = inner
            .agents
            .values()
            .filter(|_| inner.enabled)
            .map(|p| p.next);
        let next = intervals
            .chain(inner.wakes.values().map(|(_, due)| *due))
            .min()?;
        Some(Duration::from_millis(next.saturating_sub(now)))
    }

    /// Does what is due, on a thread of its own.
    pub fn tick(self: &Arc<Self>) {
        let due = self.take_due();
        if due.is_empty() {
            return (self.deps.changed)();
        }
        let beats = self.clone();
        let work = move || {
            let _done = Working(&beats);
            for (key, reason) in due {
                beats.answer(key, reason);
            }
        };
        if let Err(e) = thread::Builder::new().name("heartbeat".into()).spawn(work) {
            log::error!(target: "gateway/heartbeat", "no thread for a heartbeat: {e}");
            self.lock().working = false;
            (self.deps.changed)();
        }
    }

    /// Runs the heartbeat of one session now and waits for it. `busy` is an answer, not waited for.
    pub fn run_now(&self, reason: Reason, agent: Option<&str>, session_key: Option<&str>) -> Done {
        let config = self.deps.config.current();
        let agent = agent.map_or_else(
            || config::agents::default_id(&config),
            config::agents::normalise,
        );
        let done = self.beat(&config, &agent, session_key, &reason);
        if done != Done::Skipped(BUSY) && done != Done::Skipped(DISABLED) {
            self.lock().advance(&agent, self.deps.clock.mono());
            (self.deps.changed)();
        }
        done
    }

    /// The session that the heartbeats of `agent` run in, when `asked` for one or not: where text for it
    /// has to wait.
    pub fn session(&self, agent: &str, asked: Option<&str>) -> String {
        let config = self.deps.config.current();
        session_of(&config, agent, &Settings::of(&config, agent), asked)
    }

    /// Starts no more heartbeats.
    pub fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        inner.wakes.clear();
    }

    /// Starts no more heartbeats and waits for those in progress; after `patience` they are stopped.
    pub fn stop(&self, patience: Duration) {
        self.close();
        if !self.wait_idle(patience) {
            self.lock().alive = None;
            self.wait_idle(STOP_TIME);
        }
    }

    fn wait_idle(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut inner = self.lock();
        while inner.active > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            inner = sync::wait_timeout(&self.idle, inner, left);
        }
        true
    }

    /// The wakes and intervals that are due; from then on the caller works.
    fn take_due(&self) -> Vec<(Whom, Reason)> {
        let now = self.deps.clock.mono();
        let set = plausible(self.deps.clock.wall());
        let mut inner = self.lock();
        if inner.working || inner.closed {
            return Vec::new();
        }
        let mut due = Vec::new();
        let ready: Vec<_> = inner
            .wakes
            .iter()
            .filter(|(_, (_, at))| *at <= now)
            .map(|(k, _)| k.clone())
            .collect();
        for key in ready {
            if let Some((reason, _)) = inner.wakes.remove(&key) {
                due.push((key, reason));
            }
        }
        if inner.enabled {
            for (id, plan) in &mut inner.agents {
                if plan.next > now {
                    continue;
                }
                if !set {
                    // Active hours and the time in the prompt would be wrong.
                    plan.next = now + UNSET_MS;
                    continue;
                }
                // Moves on when it has run.
                plan.next = now + plan.every;
                due.push(((Some(id.clone()), None), Reason::Interval));
            }
        }
        inner.working = !due.is_empty();
        due
    }

    /// Answers one wake: of one agent, or of all.
    fn answer(&self, key: Whom, reason: Reason) {
        let config = self.deps.config.current();
        let of_session = key
            .1
            .as_deref()
            .and_then(crate::state::session_key::parse)
            .map(|k| k.agent.to_string());
        let agents: Vec<String> = match key.0.clone().or(of_session) {
            Some(agent) => vec![agent],
            None => self.lock().agents.keys().cloned().collect(),
        };
        for agent in agents {
            let done = self.beat(&config, &agent, key.1.as_deref(), &reason);
            let now = self.deps.clock.mono();
            let mut inner = self.lock();
            match done {
                Done::Skipped(BUSY) => {
                    inner.add_wake((Some(agent), key.1.clone()), reason.clone(), now + BUSY_MS)
                }
                Done::Skipped(DISABLED) => {}
                _ => inner.advance(&agent, now),
            }
        }
    }

    /// Remembers an event and tells everybody.
    fn emit(&self, event: Value) {
        let text = {
            let mut inner = self.lock();
            inner.last = Some(event.clone());
            stored(inner.enabled, Some(&event))
        };
        // The last event may be lost in a crash.
        let written = self
            .make_folder()
            .and_then(|()| file::write_quick(&self.deps.file, text.as_bytes()));
        if let Err(e) = written {
            log::warn!(target: "gateway/heartbeat", "{}: {e}", self.deps.file.display());
        }
        (self.deps.events)(&event);
    }

    fn make_folder(&self) -> std::io::Result<()> {
        self.deps
            .file
            .parent()
            .map_or(Ok(()), file::make_private_dir)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        sync::lock(&self.inner)
    }
}

impl Inner {
    fn add_wake(&mut self, key: Whom, reason: Reason, due: u64) {
        if self.closed || (self.wakes.len() >= MAX_WAKES && !self.wakes.contains_key(&key)) {
            return;
        }
        let entry = self.wakes.entry(key).or_insert((reason.clone(), due));
        if reason.weight() >= entry.0.weight() {
            entry.0 = reason;
        }
    }

    fn advance(&mut self, agent: &str, now: u64) {
        if let Some(plan) = self.agents.get_mut(agent) {
            plan.next = now + plan.every;
        }
    }
}

/// Ends the work whatever happens in it.
struct Working<'a>(&'a Heartbeats);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.lock().working = false;
        (self.0.deps.changed)();
    }
}

fn stored(enabled: bool, last: Option<&Value>) -> String {
    json!({"enabled": enabled, "last": last}).to_string()
}

/// The session that heartbeats of `agent` run in.
fn session_of(config: &Config, agent: &str, settings: &Settings, asked: Option<&str>) -> String {
    use crate::state::session_key as key;
    if config.str("session.scope") == Some("global") {
        return key::GLOBAL.to_string();
    }
    let own = |text: &str| {
        let k = key::canonical(text, agent);
        key::parse(&k)
            .is_some_and(|p| p.agent == agent)
            .then_some(k)
    };
    asked
        .and_then(own)
        .or_else(|| settings.session.as_deref().and_then(own))
        .unwrap_or_else(|| key::main_key(agent))
}
