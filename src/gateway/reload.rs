//! Edits of the config file while the gateway runs: taken over in place, or by a restart.
//!
//! A file that cannot be used changes nothing: what runs keeps the last good config for everything, and
//! the log and `status` say what is wrong.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::auth::{Secrets, limiter_for};
use super::lifecycle::Request;
use super::options::RunOptions;
use super::{Gateway, Limits, start};
use crate::config::plan::{Action, Mode, Plan};
use crate::config::watch::{Outcome, Watcher};
use crate::config::{Config, Issue};

const TARGET: &str = "gateway/reload";

/// The watcher of one gateway, and what it last saw.
pub struct Reloader(Mutex<Option<Watcher>>);

impl Reloader {
    /// Starts watching. Without a thread for it the gateway runs on, unwatched, and says so.
    pub fn start(gateway: &Arc<Gateway>, options: RunOptions) -> Arc<Reloader> {
        let config = gateway.config.current();
        let mut reload = Reload {
            gateway: Arc::downgrade(gateway),
            options,
            seen: config.clone(),
        };
        let watcher = Watcher::start(gateway.locations.clone(), &config, move |o| reload.found(o));
        let watcher = watcher
            .map_err(|e| log::error!(target: TARGET, "config is not watched: {e}"))
            .ok();
        Arc::new(Reloader(Mutex::new(watcher)))
    }

    /// Reads the file now.
    pub fn check_now(&self) {
        if let Some(w) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            w.look();
        }
    }

    /// Ends the watching.
    pub fn stop(&self) {
        let watcher = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(watcher);
    }
}

struct Reload {
    gateway: Weak<Gateway>,
    options: RunOptions,
    /// The last valid file, taken over or not: what was ignored is not picked up by a later edit.
    seen: Arc<Config>,
}

impl Reload {
    fn found(&mut self, outcome: Outcome) {
        let Some(gateway) = self.gateway.upgrade() else {
            return;
        };
        match outcome {
            Outcome::Valid(config) => self.changed(&gateway, config),
            Outcome::Missing => {
                log::warn!(target: TARGET, "config reload skipped (config file not found)");
                gateway
                    .config
                    .reject(vec![Issue::new("", "config file not found")]);
            }
            Outcome::Invalid(issues) => {
                let text: Vec<_> = issues
                    .iter()
                    .map(|i| format!("{}: {}", i.path, i.message))
                    .collect();
                log::warn!(target: TARGET, "config reload skipped (invalid config): {}", text.join(", "));
                gateway.config.reject(issues);
            }
        }
    }

    fn changed(&mut self, gateway: &Arc<Gateway>, config: Arc<Config>) {
        let plan = Plan::between(&self.seen, &config);
        let before = std::mem::replace(&mut self.seen, config.clone());
        gateway.config.accept();
        let action = plan.decide(Mode::of(&config));
        if action == Action::Nothing {
            // The text may differ all the same (comments, order): what clients compare is its hash.
            if before.hash() != config.hash()
                && gateway.config.current().resolved() == config.resolved()
            {
                gateway.config.swap(config);
            }
            return;
        }
        log::info!(target: TARGET, "config change detected; evaluating reload ({})", plan.paths());
        match action {
            Action::Nothing | Action::Ignore => tell(&plan, &action),
            Action::Restart => {
                tell(&plan, &action);
                gateway.request(Request::Restart("config change".into()));
            }
            // Told when it is true: whoever waits for the line may rely on the new config.
            Action::Apply { .. } => {
                if self.apply(gateway, config) {
                    tell(&plan, &action);
                }
            }
        }
    }

    /// Takes the new config over in place. False when it could not be, which the log tells then.
    fn apply(&self, gateway: &Arc<Gateway>, config: Arc<Config>) -> bool {
        match start::secrets(&gateway.paths, &self.options, &config) {
            Ok(secrets) => replace_secrets(gateway, secrets, &config),
            Err(e) => {
                log::error!(target: TARGET, "config change not applied: {e}");
                gateway
                    .config
                    .reject(vec![Issue::new("gateway.auth", e.to_string())]);
                return false;
            }
        }
        let old = gateway.config.swap(config.clone());
        gateway.schedule.refresh();
        *gateway
            .limits
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Limits::of(&config);
        if old.get("logging") != config.get("logging") {
            start::apply_logging(&config, self.options.verbose);
        }
        for w in config
            .warnings()
            .iter()
            .filter(|w| !old.warnings().contains(w))
        {
            log::warn!(target: TARGET, "config: {w}");
        }
        true
    }
}

/// Writes what becomes of an edit to the log.
fn tell(plan: &Plan, action: &Action) {
    for (warn, line) in plan.log_lines(action) {
        if warn {
            log::warn!(target: TARGET, "{line}");
        } else {
            log::info!(target: TARGET, "{line}");
        }
    }
}

/// Puts a new credential in force, and closes what the old one opened (SL-01).
fn replace_secrets(gateway: &Arc<Gateway>, secrets: Secrets, config: &Config) {
    let old = gateway.secrets();
    let same_rules = gateway.config.current().get("gateway.auth") == config.get("gateway.auth");
    if !same_rules {
        let limiter = Arc::new(limiter_for(config, gateway.loopback));
        *gateway
            .limiter
            .write()
            .unwrap_or_else(PoisonError::into_inner) = limiter;
    }
    if old.print() == secrets.print() {
        if !same_rules {
            *gateway
                .secrets
                .write()
                .unwrap_or_else(PoisonError::into_inner) = Arc::new(secrets);
        }
        return;
    }
    let print = secrets.print().to_string();
    *gateway
        .secrets
        .write()
        .unwrap_or_else(PoisonError::into_inner) = Arc::new(secrets);
    let closed = gateway
        .hub
        .close_where(1008, "unauthorized: gateway credential changed", |c| {
            !c.secret_print.is_empty() && c.secret_print != print
        });
    log::warn!(target: TARGET, "gateway credential changed; {closed} connection(s) opened with the old one closed");
}
