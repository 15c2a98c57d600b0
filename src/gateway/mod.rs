//! The running process: listener, connections, hub, authentication, presence, health, clock, reload, end.

pub mod answers;
pub mod auth;
mod bind;
pub mod client;
pub mod clock;
mod conn;
mod control_plane;
mod edit;
pub mod handshake;
pub mod health;
mod hello;
pub mod hub;
mod lifecycle;
pub mod limiter;
mod listener;
mod nodes;
mod onboarding;
pub mod options;
pub mod outbox;
pub mod peer;
pub mod presence;
mod reload;
mod runs;
pub mod schedule;
mod start;
mod tools;
mod upkeep;
mod web;
mod ws_log;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use serde_json::{Value, json};

use crate::agent;
use crate::config::{self, Locations};
use crate::protocol::{Event, TICK_INTERVAL_MS};
use crate::state::{self, Paths};
use crate::sys::clock as wall;

use auth::Secrets;
use client::Client;
use clock::Clock;
use control_plane::ControlPlane;
use health::Health;
use hub::{Hub, Payload};
pub use lifecycle::Request;
use limiter::Limiter;
pub use listener::Limits;
use listener::Registry;
use presence::Presence;
pub use start::{StartError, run};
use ws_log::WsLogger;

/// Refreshes of the health snapshot that connects cause are gathered for so long.
const HEALTH_AFTER_CONNECT: Duration = Duration::from_millis(100);

/// The gateway, from one start to the next restart. Everything that lives is reached from here.
///
/// Each service has one lock of its own; none is held across I/O or while another is taken.
pub struct Gateway {
    pub locations: Locations,
    pub paths: Paths,
    pub config: Arc<config::Store>,
    pub hub: Hub,
    pub presence: Presence,
    pub health: Health,
    pub clock: Clock,
    pub devices: state::devices::Store,
    pub sessions: Arc<state::sessions::Store>,
    /// The nodes that are connected.
    pub nodes: Arc<crate::nodes::Registry>,
    /// Commands that wait for a person.
    pub approvals: Arc<crate::nodes::Approvals>,
    pub node_pairing: state::nodes::Store,
    pub exec_approvals: Arc<state::approvals::Store>,
    /// Commands that agents have started.
    pub jobs: Arc<agent::tools::exec::Jobs>,
    pub usage: state::usage::Cache,
    /// The onboarding that is under way.
    pub onboarding: onboarding::Onboarding,
    /// Agent runs.
    pub runs: Arc<agent::Runs>,
    /// Answers for calls that are repeated.
    pub answers: Arc<answers::Answers>,
    /// Texts that wait for the next prompt of a session.
    pub notes: Arc<state::system_events::SystemEvents>,
    /// Jobs and heartbeats.
    pub schedule: schedule::Schedule,
    pub connections: Registry,
    pub control_plane: ControlPlane,
    pub ws_log: WsLogger,
    /// Set when no new work is taken any more.
    pub stopping: AtomicBool,
    /// Requests to end or restart; `main` waits at the other end.
    pub requests: Sender<Request>,
    /// The port that is really listened on.
    pub port: u16,
    /// Whether only this machine can connect.
    pub loopback: bool,
    started: Instant,
    secrets: RwLock<Arc<Secrets>>,
    limiter: RwLock<Arc<Limiter>>,
    limits: RwLock<Limits>,
    /// A health refresh is due; further connects need not ask for one.
    refresh_due: AtomicBool,
    restart: Mutex<lifecycle::Restart>,
}

impl Gateway {
    /// The credential in force.
    pub fn secrets(&self) -> Arc<Secrets> {
        self.secrets
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The limiter of failed attempts, shared by WebSocket and HTTP.
    pub fn limiter(&self) -> Arc<Limiter> {
        self.limiter
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The bounds on connections.
    pub fn limits(&self) -> Limits {
        *self.limits.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since this start.
    pub fn uptime_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// The presence list as the wire shows it.
    pub fn presence_list(&self) -> Value {
        let open: Vec<_> = self
            .hub
            .clients()
            .iter()
            .map(|c| presence::presence_key(c))
            .collect();
        self.presence.list(&open)
    }

    /// Counts a change of presence and tells everybody.
    pub fn presence_news(&self) {
        self.hub.presence_changed();
        let payload = json!({"presence": self.presence_list()}).to_string();
        self.hub
            .publish_versioned(Event::Presence, Payload::Same(&payload));
    }

    /// Builds a health snapshot and tells everybody.
    pub fn refresh_health(&self) {
        self.hub.health_changed();
        self.health.renew(self);
        let (admin, other) = (
            self.health.cached(self, true),
            self.health.cached(self, false),
        );
        self.hub.publish_versioned(
            Event::Health,
            Payload::Split {
                admin: &admin,
                other: &other,
            },
        );
    }

    /// A connection is authenticated and has its hello-ok: a health refresh follows, one for many connects.
    fn connected(self: &Arc<Self>) {
        if self.refresh_due.swap(true, Ordering::AcqRel) {
            return;
        }
        let weak = Arc::downgrade(self);
        self.clock.after(HEALTH_AFTER_CONNECT, move || {
            if let Some(gateway) = weak.upgrade() {
                gateway.refresh_due.store(false, Ordering::Release);
                gateway.refresh_health();
            }
        });
    }

    /// A connection has ended.
    fn disconnected(&self, client: &Client) {
        self.node_disconnected(client);
        if self.presence.disconnected(client) && !self.stopping.load(Ordering::Acquire) {
            self.presence_news();
        }
    }

    /// Starts the periodic work: ticks and health.
    fn start_ticking(self: &Arc<Self>) {
        tick(self);
        refresh(self);
        upkeep::start(self);
    }
}

fn tick(gateway: &Arc<Gateway>) {
    let weak = Arc::downgrade(gateway);
    gateway
        .clock
        .after(Duration::from_millis(TICK_INTERVAL_MS), move || {
            let Some(gateway) = weak.upgrade() else {
                return;
            };
            gateway
                .hub
                .publish(Event::Tick, &json!({"ts": wall::now_ms()}).to_string());
            tick(&gateway);
        });
}

fn refresh(gateway: &Arc<Gateway>) {
    let weak = Arc::downgrade(gateway);
    gateway.clock.after(health::MAX_AGE, move || {
        let Some(gateway) = weak.upgrade() else {
            return;
        };
        gateway.runs.tidy();
        gateway.jobs.tidy(agent::tools::exec::KEPT_MS);
        // Nobody listens: the next call or connect builds a fresh one.
        if !gateway.hub.is_empty() {
            gateway.refresh_health();
        }
        refresh(&gateway);
    });
}
