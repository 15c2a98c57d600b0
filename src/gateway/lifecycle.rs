//! The end of a gateway: signals, restarts that were asked for, and going down in order.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError};
use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use super::Gateway;
use super::clock::Timer;
use super::listener::Listeners;
use crate::protocol::Event;

/// How long a restart waits for work that is running.
pub const RESTART_DRAIN: Duration = Duration::from_secs(30);
/// How long a stop waits for work that is running.
pub const STOP_DRAIN: Duration = Duration::from_secs(3);
/// How long commands get to end; by then they have been made to.
const JOBS_END: Duration = Duration::from_secs(6);
/// Restarts that are asked for over the wire are at least so far apart.
const RESTART_SPACING: Duration = Duration::from_secs(30);
/// Longest delay of a restart that a caller may ask for.
const MAX_RESTART_DELAY: Duration = Duration::from_secs(60);
/// What clients are told about the length of a restart, in milliseconds.
const RESTART_EXPECTED_MS: u64 = 1500;
/// How long the close frames get to reach their peers.
const FAREWELL: Duration = Duration::from_secs(2);
/// Requests that wait for `main` at most; more say nothing new.
const MAX_REQUESTS: usize = 8;

/// What `main` is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// End the process in order.
    Stop(&'static str),
    /// Start over in this process; holds the reason.
    Restart(String),
    /// The same, asked for with SIGUSR1; `commands.restart` may forbid it.
    RestartBySignal,
    /// Look at the config file now.
    Reload,
}

/// The channel to `main`.
pub fn requests() -> (Sender<Request>, Receiver<Request>) {
    crossbeam_channel::bounded(MAX_REQUESTS)
}

/// A restart that was asked for and is not due yet.
#[derive(Default)]
pub struct Restart {
    timer: Option<Timer>,
    last: Option<Instant>,
}

/// What a caller is told about the restart that it asked for.
pub struct Scheduled {
    pub delay: Duration,
    /// A restart was due already; this call joined it.
    pub coalesced: bool,
    /// How much of the delay keeps restarts apart.
    pub cooldown: Duration,
}

impl Gateway {
    /// Asks `main` for something; a request that cannot be queued is one too many already.
    pub fn request(&self, request: Request) {
        match self.requests.try_send(request) {
            Ok(()) => {}
            Err(TrySendError::Full(r) | TrySendError::Disconnected(r)) => {
                log::warn!(target: "gateway", "request dropped, others are waiting: {r:?}");
            }
        }
    }

    /// Restarts after `delay`, or later when the last restart was a moment ago.
    pub fn schedule_restart(self: &Arc<Self>, delay: Duration, reason: &str) -> Scheduled {
        let delay = delay.min(MAX_RESTART_DELAY);
        let mut restart = self
            .restart
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if restart.timer.is_some() {
            return Scheduled {
                delay,
                coalesced: true,
                cooldown: Duration::ZERO,
            };
        }
        let since = restart.last.map_or(RESTART_SPACING, |t| t.elapsed());
        let cooldown = RESTART_SPACING.saturating_sub(since).saturating_sub(delay);
        let (weak, reason) = (Arc::downgrade(self), reason.to_string());
        restart.timer = Some(self.clock.after(delay + cooldown, move || {
            if let Some(gateway) = weak.upgrade() {
                gateway.request(Request::Restart(reason));
            }
        }));
        Scheduled {
            delay: delay + cooldown,
            coalesced: false,
            cooldown,
        }
    }

    /// Notes that this start is a restart, for the spacing of the next one.
    pub(super) fn restarted_at(&self, when: Option<Instant>) {
        self.restart
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .last = when;
    }

    /// Says goodbye to everybody and ends what runs. `restarting` decides what clients are told.
    pub(super) fn go_down(self: &Arc<Self>, listeners: Listeners, restarting: bool) {
        self.stopping.store(true, Ordering::Release);
        let drain = if restarting {
            RESTART_DRAIN
        } else {
            STOP_DRAIN
        };
        let active = self.runs.active();
        if active > 0 {
            log::info!(target: "gateway", "deferring until {active} run(s) complete, {}s at most", drain.as_secs());
        }
        self.schedule.stop(drain);
        // What has not begun by then is stored and goes on at the next start.
        if !self.runs.drain(drain) {
            log::warn!(target: "gateway", "work still running after {}s was stopped", drain.as_secs());
        }
        self.jobs.shut_down(JOBS_END);
        let (reason, expected) = match restarting {
            true => ("gateway restarting", Some(RESTART_EXPECTED_MS)),
            false => ("gateway stopping", None),
        };
        let payload = json!({"reason": reason, "restartExpectedMs": expected}).to_string();
        self.hub.publish(Event::Shutdown, &payload);
        let clients = self.hub.clients();
        for c in &clients {
            c.outbox.close(1012, "service restart");
        }
        listeners.stop();
        let deadline = Instant::now() + FAREWELL;
        for c in &clients {
            c.outbox.wait_closed(deadline);
        }
        self.sessions.settle();
        self.clock.stop();
        self.connections.abandon_all();
    }
}

/// Starts the thread that turns signals into requests.
///
/// SIGTERM and SIGINT stop, a second one at once; SIGHUP reads the config, SIGUSR1 restarts in process.
pub fn watch_signals(requests: Sender<Request>) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1])?;
    let body = move || {
        let mut stopping = false;
        for signal in signals.forever() {
            let name = match signal {
                SIGTERM => "SIGTERM",
                SIGINT => "SIGINT",
                SIGHUP => "SIGHUP",
                _ => "SIGUSR1",
            };
            log::info!(target: "gateway", "signal {name} received");
            let request = match signal {
                SIGTERM | SIGINT if stopping => {
                    log::warn!(target: "gateway", "received {name} during shutdown; ending at once");
                    log::logger().flush();
                    std::process::exit(0);
                }
                SIGTERM | SIGINT => {
                    stopping = true;
                    log::info!(target: "gateway", "received {name}; shutting down");
                    Request::Stop(name)
                }
                SIGHUP => Request::Reload,
                _ => Request::RestartBySignal,
            };
            if requests.try_send(request).is_err() {
                log::warn!(target: "gateway", "{name} ignored: too many requests wait");
            }
        }
    };
    std::thread::Builder::new()
        .name("signals".into())
        .stack_size(128 * 1024)
        .spawn(body)
        .map(drop)
}
