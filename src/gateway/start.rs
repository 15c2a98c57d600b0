//! From options, environment and config to a running gateway, and round again at a restart.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use super::auth::{AuthMode, Secrets, limiter_for};
use super::bind::{self, Bound};
use super::clock::Clock;
use super::lifecycle::{self, Request};
use super::listener::Listeners;
use super::options::{AuthFlag, Bind, RunOptions};
use super::presence::Presence;
use super::reload::Reloader;
use super::runs::Wire;
use super::schedule::{self, Schedule};
use super::ws_log::WsLogger;
use super::{Gateway, Limits, nodes, tools};
use crate::VERSION;
use crate::agent::tools::exec::Jobs;
use crate::config::{self, Config, Issue, Locations};
use crate::state::sentinel::{self, Sentinel};
use crate::state::system_events::{Note, SystemEvents};
use crate::state::{self, Paths, credential, exit_reason};
use crate::sys::lock::{FileLock, LockError};
use crate::sys::log::Settings;
use crate::sys::{clock, file, net, os};

/// How long another gateway on the same state directory may take to end.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// Why the gateway does not run.
#[derive(Debug)]
pub enum StartError {
    /// Exit status 78.
    InvalidConfig(Vec<Issue>),
    PortInUse {
        address: SocketAddr,
        owners: Vec<String>,
    },
    /// Another gateway holds the state directory.
    Locked {
        holder: Option<u32>,
        path: std::path::PathBuf,
    },
    /// A non-loopback bind without a credential.
    NoAuth(Bind),
    /// Anything else, in a sentence.
    Failed(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::InvalidConfig(issues) => {
                f.write_str("invalid config")?;
                issues.iter().try_for_each(|i| write!(f, "\n- {i}"))
            }
            StartError::PortInUse { address, owners } => {
                write!(
                    f,
                    "another gateway instance is already listening on ws://{address} (EADDRINUSE)"
                )?;
                match owners.is_empty() {
                    true => Ok(()),
                    false => write!(
                        f,
                        "\nPort {} is already in use by {}.",
                        address.port(),
                        owners.join(", ")
                    ),
                }
            }
            StartError::Locked { holder, path } => {
                match holder {
                    Some(pid) => write!(f, "gateway already running (pid {pid})")?,
                    None => f.write_str("gateway already running")?,
                }
                write!(
                    f,
                    "; it holds {}; lock timeout after {}ms",
                    path.display(),
                    LOCK_WAIT.as_millis()
                )
            }
            StartError::NoAuth(bind) => write!(
                f,
                "Refusing to bind gateway to {} without auth.\nSet gateway.auth.token/password (or \
                 OPENCLAW_GATEWAY_TOKEN/OPENCLAW_GATEWAY_PASSWORD) or pass --token/--password.",
                bind.as_str()
            ),
            StartError::Failed(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for StartError {}

/// Runs a gateway until it is told to stop. Restarts happen in here.
pub fn run(locations: Locations, options: RunOptions) -> Result<(), StartError> {
    os::bound_allocator();
    let failed = |what: &str| {
        let what = what.to_string();
        move |e: std::io::Error| StartError::Failed(format!("{what}: {e}"))
    };
    let paths = state_paths(&locations);
    file::make_private_dir(paths.root()).map_err(failed("cannot make the state directory"))?;
    let _lock = lock(&paths)?;
    let (tx, rx) = lifecycle::requests();
    lifecycle::watch_signals(tx.clone()).map_err(failed("cannot watch signals"))?;

    let loaded = config::load(&locations);
    if !loaded.issues.is_empty() {
        return Err(StartError::InvalidConfig(loaded.issues));
    }
    let config = loaded.config;
    apply_logging(&config, options.verbose);
    for w in config.warnings() {
        log::warn!(target: "gateway", "config: {w}");
    }
    state::tidy(&paths);
    note_start(&paths);
    let ended = lives(&locations, &paths, &options, config, tx, &rx);
    let reason = match &ended {
        Ok(signal) => (*signal).to_string(),
        Err(e) => e.to_string(),
    };
    if let Err(e) = exit_reason::ended(&paths, &reason) {
        log::warn!(target: "gateway", "cannot note why the gateway ends: {e}");
    }
    ended.map(|_| ())
}

/// Notes that the gateway runs from now on, and says so when the one before was cut off.
fn note_start(paths: &Paths) {
    match exit_reason::started(paths) {
        Ok(Some(before)) if !before.is_clean() => log::warn!(
            target: "gateway",
            "the gateway started at {} did not end in order: it was killed, it crashed, or the power went",
            clock::iso(before.started_at)
        ),
        Ok(_) => {}
        Err(e) => log::warn!(target: "gateway", "cannot note that the gateway runs: {e}"),
    }
}

/// One life after the other, until something asks for the end; says what.
fn lives(
    locations: &Locations,
    paths: &Paths,
    options: &RunOptions,
    mut config: Arc<Config>,
    tx: Sender<Request>,
    rx: &Receiver<Request>,
) -> Result<&'static str, StartError> {
    let mut restarted = None;
    // What ran before the restart, and what is wrong with the file that it is restarted for.
    let mut last_good: Option<Arc<Config>> = None;
    let mut issues = Vec::new();
    loop {
        let start =
            |config| Running::start(locations, paths, options, config, tx.clone(), restarted);
        let running = match (start(config), last_good.take()) {
            (Err(e), Some(last_good)) => {
                // An edit must not end a gateway that nobody may be near to.
                log::error!(target: "gateway", "cannot restart with the edited config, going on with the last good one: {e}");
                issues = vec![Issue::new(
                    "",
                    format!("the gateway cannot start with it: {e}"),
                )];
                start(last_good)?
            }
            (started, _) => started?,
        };
        if !issues.is_empty() {
            running.gateway.config.reject(std::mem::take(&mut issues));
        }
        let (end, before) = running.wait(rx);
        match end {
            End::Stop(why) => return Ok(why),
            End::Restart => restarted = Some(Instant::now()),
        }
        // A file that broke meanwhile must not keep the gateway down either.
        let loaded = config::load(locations);
        config = match loaded.issues.is_empty() {
            true => loaded.config,
            false => {
                for i in &loaded.issues {
                    log::warn!(target: "gateway", "restarting with the last good config: {i}");
                }
                before.clone()
            }
        };
        issues = loaded.issues;
        last_good = Some(before);
    }
}

/// Makes the log what the config asks for; at start, and when the config has changed.
pub(super) fn apply_logging(config: &Config, verbose: bool) {
    let section = config.get("logging").cloned().unwrap_or_default();
    let (settings, warnings) = Settings::resolve(&section, config.env().map(), verbose);
    crate::sys::log::apply(&settings);
    for w in warnings {
        log::warn!(target: "logging", "{w}");
    }
}

/// The state directory of `locations`.
pub fn state_paths(locations: &Locations) -> Paths {
    Paths::of(locations)
}

fn lock(paths: &Paths) -> Result<FileLock, StartError> {
    let path = paths.gateway_lock();
    FileLock::acquire(&path, LOCK_WAIT).map_err(|e| match e {
        LockError::Held { holder, path } => StartError::Locked {
            holder: holder.map(|h| h.pid),
            path,
        },
        LockError::Io(e) => StartError::Failed(format!("cannot lock {}: {e}", path.display())),
    })
}

enum End {
    /// Holds what asked for it.
    Stop(&'static str),
    Restart,
}

/// One life of the gateway, between restarts.
struct Running {
    gateway: Arc<Gateway>,
    listeners: Listeners,
    reloader: Arc<Reloader>,
}

impl Running {
    fn start(
        locations: &Locations,
        paths: &Paths,
        options: &RunOptions,
        config: Arc<Config>,
        requests: Sender<Request>,
        restarted: Option<Instant>,
    ) -> Result<Running, StartError> {
        let mode = bind_mode(options, &config)?;
        let secrets = secrets(paths, options, &config)?;
        let ip = bind::address(mode, &config)?;
        guard(mode, ip.is_loopback(), &secrets, &config)?;
        let bound = bind::listen(ip, port(options, &config)?)?;

        let sessions = Arc::new(state::sessions::Store::new(paths.clone()));
        sessions.set_default_agent(&config::agents::default_id(&config));
        // What a crash left in journals.
        sessions.settle();
        let store = Arc::new(config::Store::new(config.clone()));
        let notes = Arc::new(SystemEvents::open(paths.system_events()));
        let wire = Wire::default();
        let exec_approvals = Arc::new(state::approvals::Store::new(paths.exec_approvals()));
        let jobs = Arc::<Jobs>::default();
        let parts = tools::Parts {
            sessions: sessions.clone(),
            exec_approvals: exec_approvals.clone(),
            jobs: jobs.clone(),
        };
        let tools = tools::registry(&wire, &parts);
        let runs = wire.runs(&store, locations, paths, &sessions, &notes, tools);
        let host = os::host_name();
        let shown_ip =
            net::lan_address().map_or_else(|| "127.0.0.1".to_string(), |ip| ip.to_string());
        let clock = Clock::default();
        let schedule = Schedule::new(schedule::Parts {
            config: store.clone(),
            locations: locations.clone(),
            paths: paths.clone(),
            sessions: sessions.clone(),
            notes: notes.clone(),
            runs: runs.clone(),
            clock: clock.clone(),
        });
        let gateway = Arc::new(Gateway {
            locations: locations.clone(),
            paths: paths.clone(),
            config: store,
            hub: Default::default(),
            presence: Presence::new(&host, &shown_ip, VERSION),
            health: Default::default(),
            devices: state::devices::Store::new(paths.clone()),
            sessions,
            nodes: nodes::registry(&clock),
            approvals: nodes::approvals(&clock),
            node_pairing: state::nodes::Store::new(paths.clone()),
            exec_approvals,
            jobs,
            usage: Default::default(),
            onboarding: Default::default(),
            runs,
            answers: Default::default(),
            notes,
            schedule,
            clock,
            connections: Default::default(),
            control_plane: Default::default(),
            ws_log: WsLogger::new(options.verbose, options.ws_log),
            stopping: AtomicBool::new(false),
            requests,
            port: bound.port,
            loopback: bound.loopback,
            started: Instant::now(),
            limiter: RwLock::new(Arc::new(limiter_for(&config, bound.loopback))),
            limits: RwLock::new(Limits::of(&config)),
            secrets: RwLock::new(Arc::new(secrets)),
            refresh_due: AtomicBool::new(false),
            restart: Mutex::default(),
        });
        wire.connect(&gateway);
        gateway.restarted_at(restarted);
        gateway.hub.presence_changed();
        let failed = |e: std::io::Error| StartError::Failed(format!("out of threads: {e}"));
        gateway.clock.start().map_err(failed)?;
        gateway.start_ticking();
        let reloader = Reloader::start(&gateway, options.clone());
        let (ws, port) = (bound.urls("ws"), bound.port);
        let Bound { sockets, .. } = bound;
        report_restart(&gateway);
        let (torn, resumed) = gateway.runs.recover();
        if torn + resumed > 0 {
            log::warn!(target: "gateway", "{torn} run(s) were cut off by the last end; {resumed} waiting run(s) go on");
        }
        let listeners = Listeners::start(sockets, &gateway).map_err(failed)?;
        gateway.schedule.start(&gateway);
        announce(&config, &ws, options, port);
        Ok(Running {
            gateway,
            listeners,
            reloader,
        })
    }

    /// Whether a signal from outside may restart the gateway.
    fn may_restart(&self) -> bool {
        self.gateway.config.current().bool("commands.restart", true)
    }

    /// Waits for the end of this life; with it the last good config.
    fn wait(self, requests: &Receiver<Request>) -> (End, Arc<Config>) {
        let end = loop {
            match requests.recv() {
                Ok(Request::Reload) => self.reloader.check_now(),
                Ok(Request::Restart(why)) => {
                    log::info!(target: "gateway", "received {why}; restarting");
                    break End::Restart;
                }
                Ok(Request::RestartBySignal) => {
                    if self.may_restart() {
                        log::info!(target: "gateway", "received SIGUSR1; restarting");
                        break End::Restart;
                    }
                    log::warn!(target: "gateway", "SIGUSR1 ignored: commands.restart is false");
                }
                Ok(Request::Stop(why)) => break End::Stop(why),
                Err(_) => break End::Stop("nobody is left to ask"),
            }
        };
        self.reloader.stop();
        let restarting = matches!(end, End::Restart);
        self.gateway.go_down(self.listeners, restarting);
        if restarting {
            log::info!(target: "gateway", "restart mode: in-process restart");
            // What was asked for while going down is done by going down.
            while let Ok(r) = requests.try_recv() {
                if let Request::Stop(why) = r {
                    return (End::Stop(why), self.gateway.config.current());
                }
            }
        }
        (end, self.gateway.config.current())
    }
}

/// Tells the session that asked for a restart that it is over.
fn report_restart(gateway: &Gateway) {
    let Some(report) = Sentinel::read(&gateway.paths) else {
        return;
    };
    let config = gateway.config.current();
    let main = state::session_key::main_key(&config::agents::default_id(&config));
    let key = report.session_key().unwrap_or(&main);
    match gateway
        .notes
        .push(key, Note::new("gateway restart", report.summary()))
    {
        Ok(_) => sentinel::clear(&gateway.paths),
        Err(e) => log::warn!(target: "gateway", "the report of the restart waits: {e}"),
    }
}

fn announce(config: &Config, urls: &str, options: &RunOptions, port: u16) {
    let model = crate::agent::models::primary(config, &config::agents::default_id(config));
    log::info!(target: "gateway", "agent model: {model}");
    log::info!(target: "gateway", "listening on {urls} (PID {})", std::process::id());
    if let Some(path) = crate::sys::log::path() {
        log::info!(target: "gateway", "log file: {}", path.display());
    }
    for line in &options.greeting {
        log::info!(target: "gateway", "{}", line.replace("{port}", &port.to_string()));
    }
}

fn bind_mode(options: &RunOptions, config: &Config) -> Result<Bind, StartError> {
    let configured = config.str("gateway.bind").unwrap_or("loopback");
    let unknown = || StartError::Failed(format!("unknown gateway.bind {configured:?}"));
    options
        .bind
        .or_else(|| Bind::parse(configured))
        .ok_or_else(unknown)
}

/// The port by [`config::gateway_port`]. What names one wrongly is an error here, while clients look past it.
pub fn port(options: &RunOptions, config: &Config) -> Result<u16, StartError> {
    let names = ["OPENCLAW_GATEWAY_PORT", "CLAWDBOT_GATEWAY_PORT"];
    let named = names.iter().find_map(|n| Some((*n, config.env().text(n)?)));
    if let (None, Some((name, text))) = (options.port, named)
        && text.parse::<u16>().map_or(true, |p| p == 0)
    {
        let text = format!("{name} is no port number: {text:?}; use 1 to 65535");
        return Err(StartError::Failed(text));
    }
    let configured = config.u64("gateway.port", 1);
    if options.port.is_none() && named.is_none() && u16::try_from(configured).is_err() {
        let text = format!("gateway.port is {configured}; use 1 to 65535");
        return Err(StartError::Failed(text));
    }
    Ok(config::gateway_port(options.port, config))
}

/// The credential in force: flag, then config, then environment, then the one that the gateway keeps.
pub fn secrets(
    paths: &Paths,
    options: &RunOptions,
    config: &Config,
) -> Result<Secrets, StartError> {
    let pick = |flag: &Option<String>,
                path: &str,
                names: [&str; 2]|
     -> Result<Option<String>, StartError> {
        // Not `Config::str`, for which blank is none: a blank secret is a mistake, no wish for a new one.
        let configured = config.get(path).and_then(serde_json::Value::as_str);
        let chosen = match (flag, configured) {
            (Some(f), _) => Some(f.as_str()),
            (None, Some(c)) => Some(c),
            (None, None) => names.iter().find_map(|n| config.env().text(n)),
        };
        match chosen {
            Some(c) if c.trim().is_empty() => Err(StartError::Failed(format!(
                "{path} is blank: set a secret, or remove it to have one made"
            ))),
            other => Ok(other.map(|c| c.trim().to_string())),
        }
    };
    let token = pick(
        &options.token,
        "gateway.auth.token",
        ["OPENCLAW_GATEWAY_TOKEN", "CLAWDBOT_GATEWAY_TOKEN"],
    )?;
    let password = pick(
        &options.password,
        "gateway.auth.password",
        ["OPENCLAW_GATEWAY_PASSWORD", "CLAWDBOT_GATEWAY_PASSWORD"],
    )?;
    let mode = match (
        options.auth,
        config.str("gateway.auth.mode").and_then(AuthMode::parse),
    ) {
        (Some(AuthFlag::Token), _) => AuthMode::Token,
        (Some(AuthFlag::Password), _) => AuthMode::Password,
        (None, Some(mode)) => mode,
        (None, None) if password.is_some() => AuthMode::Password,
        (None, None) => AuthMode::Token,
    };
    let value = match mode {
        AuthMode::None | AuthMode::TrustedProxy => String::new(),
        AuthMode::Token => match token {
            Some(t) => t,
            None => credential::ensure(paths).map_err(|e| StartError::Failed(e.to_string()))?,
        },
        AuthMode::Password => password.ok_or_else(|| {
            StartError::Failed(
                "Gateway auth is set to password, but no password is configured.\nSet gateway.auth.password \
                 (or OPENCLAW_GATEWAY_PASSWORD), or pass --password."
                    .into(),
            )
        })?,
    };
    Ok(Secrets::new(mode, &value, config))
}

/// What must not be started, whatever was asked.
fn guard(mode: Bind, loopback: bool, secrets: &Secrets, config: &Config) -> Result<(), StartError> {
    if secrets.mode == AuthMode::None {
        if !loopback {
            return Err(StartError::NoAuth(mode));
        }
        log::warn!(
            target: "gateway",
            "auth mode=none explicitly configured; all gateway connections are unauthenticated."
        );
    }
    let fail = |text: &str| Err(StartError::Failed(text.to_string()));
    let origins = !config.list("gateway.controlUi.allowedOrigins").is_empty()
        || config.bool(
            "gateway.controlUi.dangerouslyAllowHostHeaderOriginFallback",
            false,
        );
    if !loopback && config.bool("gateway.controlUi.enabled", true) && !origins {
        return fail(
            "non-loopback Control UI requires gateway.controlUi.allowedOrigins (set explicit origins), or set \
             gateway.controlUi.dangerouslyAllowHostHeaderOriginFallback=true to use Host-header origin fallback mode",
        );
    }
    if secrets.mode == AuthMode::TrustedProxy {
        let proxies = config.list("gateway.trustedProxies");
        if proxies.is_empty() {
            return fail(
                "gateway auth mode=trusted-proxy requires gateway.trustedProxies to be configured with at least \
                 one proxy IP",
            );
        }
        if config
            .str("gateway.auth.trustedProxy.userHeader")
            .is_none_or(|h| h.trim().is_empty())
        {
            return fail(
                "gateway auth mode is trusted-proxy, but no trustedProxy config was provided (set \
                 gateway.auth.trustedProxy)",
            );
        }
        if loopback && !super::peer::lists_loopback(&proxies) {
            return fail(
                "gateway auth mode=trusted-proxy with bind=loopback requires gateway.trustedProxies to include \
                 127.0.0.1, ::1, or a loopback CIDR",
            );
        }
    }
    Ok(())
}
