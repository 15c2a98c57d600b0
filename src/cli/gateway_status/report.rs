//! What `gateway status` found out, as lines and as JSON.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::cli::ports::Usage;
use crate::cli::rpc::{self, for_profile};
use crate::cli::term::{Term, Tone, clean};
use crate::cli::{channels_view, human, term};
use crate::client::{ClientError, Source, Target};
use crate::config::{Config, Issue};
use crate::state::exit_reason::LastExit;
use crate::sys::net;

/// Problems of a config file that are listed.
const MAX_ISSUES: usize = 5;

/// Whether a gateway runs.
pub enum Runtime {
    Running {
        /// `None` when it belongs to another user, or the system does not tell.
        pid: Option<u32>,
    },
    Stopped {
        /// Why one may think otherwise.
        detail: Option<String>,
    },
    /// The system does not say who listens.
    Unknown { detail: String },
    /// It is on another machine.
    Remote,
}

impl Runtime {
    /// From the listeners of the port, and whether a gateway answered there.
    pub fn of(usage: &Usage, answered: bool) -> Runtime {
        let pid = usage.owners().iter().find_map(|o| o.pid);
        if answered || usage.has_gateway() {
            return Runtime::Running { pid };
        }
        match &usage.owners {
            Err(e) => Runtime::Unknown {
                detail: format!("cannot tell who listens on port {}: {e}", usage.port),
            },
            Ok(owners) => Runtime::Stopped {
                detail: owners
                    .first()
                    .map(|_| format!("another program holds port {}", usage.port)),
            },
        }
    }

    fn text(&self) -> String {
        let with = |word: &str, detail: Option<String>| match detail {
            Some(detail) => format!("{word} ({detail})"),
            None => word.to_string(),
        };
        match self {
            Runtime::Running { pid } => {
                let pid = pid.map_or(String::new(), |pid| format!("pid {pid}, "));
                format!("running ({pid}foreground)")
            }
            Runtime::Stopped { detail } => with("stopped", detail.clone()),
            Runtime::Unknown { detail } => with("unknown", Some(detail.clone())),
            Runtime::Remote => with("unknown", Some("the gateway is on another machine".into())),
        }
    }

    fn to_value(&self) -> Value {
        match self {
            Runtime::Running { pid: Some(pid) } => {
                json!({"status": "running", "pid": pid, "detail": "foreground"})
            }
            Runtime::Running { pid: None } => json!({"status": "running", "detail": "foreground"}),
            Runtime::Stopped { detail: None } => json!({"status": "stopped"}),
            Runtime::Stopped { detail } => json!({"status": "stopped", "detail": detail}),
            Runtime::Unknown { detail } => json!({"status": "unknown", "detail": detail}),
            Runtime::Remote => json!({"status": "unknown", "detail": "remote"}),
        }
    }
}

/// Whether it answers.
pub enum Probe {
    Skipped,
    /// `{connectMs, totalMs, version, snapshot, health}`.
    Ok(Value),
    Failed(ClientError),
}

/// Everything that was found out.
pub struct Report {
    pub target: Target,
    pub probe: Probe,
    pub usage: Usage,
    pub runtime: Runtime,
    pub last_exit: Option<LastExit>,
    pub log_file: String,
    pub config_path: PathBuf,
    pub shown_config: String,
    pub config_exists: bool,
    pub issues: Vec<Issue>,
    pub bind: String,
    pub host: String,
    pub dashboard: Option<String>,
    pub profile: Option<String>,
    pub deep: bool,
}

impl Report {
    /// The config file of the gateway that answered, when it says so.
    fn daemon_config(&self) -> Option<&str> {
        match &self.probe {
            Probe::Ok(answer) => answer["snapshot"]["configPath"].as_str(),
            _ => None,
        }
    }

    fn note(&self) -> Option<&'static str> {
        match (self.target.source, self.bind.as_str()) {
            (Source::Local, "loopback") => {
                Some("Loopback-only gateway; only local clients can connect.")
            }
            _ => None,
        }
    }

    /// Writes the report; what is wrong goes to stderr.
    pub fn say(&self, t: &Term) {
        let label = |name: &str, value: &str| format!("{} {value}", t.paint(Tone::Muted, name));
        let mut head = vec![
            label("Service:", "none (not installed)"),
            label("File logs:", &clean(&self.log_file)),
            String::new(),
        ];
        let state = match (self.config_exists, self.issues.is_empty()) {
            (false, _) => " (missing)",
            (true, false) => " (invalid)",
            (true, true) => "",
        };
        head.push(label(
            "Config (cli):",
            &format!("{}{state}", self.shown_config),
        ));
        for issue in self.issues.iter().take(MAX_ISSUES) {
            head.push(format!("  - {}", clean(&issue.to_string())));
        }
        if let Some(path) = self.daemon_config() {
            head.push(label("Config (gateway):", &clean(path)));
        }
        head.push(String::new());
        if self.target.source == Source::Local {
            let (bind, host, port) = (&self.bind, &self.host, self.usage.port);
            head.push(label(
                "Gateway:",
                &format!("bind={bind} ({host}), port={port} (env/config)"),
            ));
        }
        head.push(label("Probe target:", &clean(&self.target.address.url)));
        let dashboard = self.dashboard.as_deref().unwrap_or("disabled");
        head.push(label("Dashboard:", dashboard));
        head.extend(self.note().map(|n| label("Probe note:", n)));
        head.push(String::new());
        let tone = match self.runtime {
            Runtime::Running { .. } => Tone::Good,
            Runtime::Stopped { .. } => Tone::Bad,
            _ => Tone::Warn,
        };
        head.push(label("Runtime:", &t.paint(tone, &self.runtime.text())));
        term::say(&head.join("\n"));
        self.say_mismatch();
        self.say_probe(t);
        if self.deep {
            self.say_deep();
        }
        let program = for_profile("openclaw status", self.profile.as_deref());
        term::say(&label("Troubles:", &format!("run {program}")));
    }

    /// Two configs in play are the usual reason for everything else.
    fn say_mismatch(&self) {
        if let Some(path) = self.daemon_config()
            && self.target.source == Source::Local
            && std::path::Path::new(path) != self.config_path
        {
            term::warn(
                "Root cause: CLI and gateway are using different config paths (likely a profile/state-dir mismatch).\n\
                 Fix: run the CLI with the gateway's OPENCLAW_CONFIG_PATH, OPENCLAW_STATE_DIR or --profile.",
            );
        }
    }

    fn say_probe(&self, t: &Term) {
        match &self.probe {
            Probe::Skipped => {}
            Probe::Ok(_) => term::say(&format!("RPC probe: {}", t.paint(Tone::Good, "ok"))),
            Probe::Failed(e) => {
                let url = &self.target.address.url;
                let mut lines = vec![
                    format!("RPC probe: {}", t.paint(Tone::Bad, "failed")),
                    format!("RPC target: {}", clean(url)),
                ];
                let report = rpc::report(&self.target, e, "", "");
                lines.extend(clean(&report).lines().map(|l| format!("  {l}")));
                term::warn(&lines.join("\n"));
            }
        }
        let listening: Vec<String> = self
            .usage
            .owners()
            .iter()
            .map(|o| o.address.to_string())
            .collect();
        let local = self.target.source == Source::Local;
        if local && !listening.is_empty() {
            term::say(&format!("Listening: {}", listening.join(", ")));
        }
        if local && matches!(self.probe, Probe::Failed(_)) {
            for line in self.usage.lines() {
                term::warn(&clean(&line));
            }
        }
        if let Some(exit) = &self.last_exit {
            term::warn(&format!("Last exit: {}", clean(&exit_text(exit))));
        }
    }

    fn say_deep(&self) {
        if let Probe::Ok(answer) = &self.probe {
            let version = answer["version"].as_str().unwrap_or("unknown");
            let snapshot = &answer["snapshot"];
            let uptime = human::span(snapshot["uptimeMs"].as_u64().unwrap_or(0));
            let mode = snapshot["authMode"].as_str().unwrap_or("unknown");
            let ms = answer["connectMs"].as_u64().unwrap_or(0);
            let line = format!("Version: {version} · up {uptime} · auth {mode} · connect {ms}ms");
            term::say(&clean(&line));
            if let Some(dir) = snapshot["stateDir"].as_str() {
                term::say(&clean(&format!("State: {dir}")));
            }
            for line in channels_view::health_lines(&answer["health"]) {
                term::say(&format!("Channel {line}"));
            }
        }
        if !matches!(self.probe, Probe::Failed(_)) {
            for line in self.usage.lines().iter().filter(|l| l.starts_with("- pid")) {
                term::say(&format!("Listener{}", clean(&line[1..])));
            }
        }
    }

    pub fn to_value(&self) -> Value {
        let mut cli = json!({
            "path": self.config_path, "exists": self.config_exists, "valid": self.issues.is_empty(),
        });
        if !self.issues.is_empty() {
            cli["issues"] = self.issues.iter().map(issue_value).collect();
        }
        let daemon = self.daemon_config().map_or_else(
            || cli.clone(),
            |path| json!({"path": path, "exists": true, "valid": true}),
        );
        let mismatch = daemon["path"] != cli["path"];
        let mut config = json!({"cli": cli, "daemon": daemon});
        if mismatch {
            config["mismatch"] = true.into();
        }
        let mut gateway = json!({
            "bindMode": self.bind, "bindHost": self.host, "port": self.usage.port,
            "portSource": "env/config", "probeUrl": self.target.address.url,
        });
        if let Some(note) = self.note() {
            gateway["probeNote"] = note.into();
        }
        let mut out = Map::new();
        out.insert(
            "service".into(),
            json!({
                "label": "none", "loaded": false, "loadedText": "installed",
                "notLoadedText": "not installed", "command": null, "runtime": self.runtime.to_value(),
                "configAudit": {"ok": true, "issues": []},
            }),
        );
        out.insert("config".into(), config);
        out.insert("gateway".into(), gateway);
        out.insert("port".into(), self.usage.to_value());
        if let Some(exit) = &self.last_exit {
            out.insert("lastError".into(), exit_text(exit).into());
        }
        let url = &self.target.address.url;
        match &self.probe {
            Probe::Skipped => {}
            Probe::Ok(answer) => {
                let ms = &answer["totalMs"];
                out.insert(
                    "rpc".into(),
                    json!({"ok": true, "url": url, "latencyMs": ms}),
                );
                if self.deep {
                    out.insert("health".into(), answer["health"].clone());
                    let uptime = &answer["snapshot"]["uptimeMs"];
                    out.insert(
                        "self".into(),
                        json!({"version": answer["version"], "uptimeMs": uptime}),
                    );
                }
            }
            Probe::Failed(e) => {
                let error = rpc::report(&self.target, e, "", "");
                out.insert(
                    "rpc".into(),
                    json!({"ok": false, "url": url, "error": error}),
                );
            }
        }
        out.insert("extraServices".into(), json!([]));
        Value::Object(out)
    }
}

fn issue_value(issue: &Issue) -> Value {
    json!({"path": issue.path, "message": issue.message})
}

fn exit_text(exit: &LastExit) -> String {
    match exit.ended_at {
        Some(at) => format!("{} ({})", exit.reason, crate::sys::clock::iso(at)),
        None => "the gateway ended without a word: killed, crashed, or the power went".to_string(),
    }
}

/// The host part of what the gateway binds.
pub fn bind_host(config: &Config) -> String {
    match config.str("gateway.bind") {
        Some("lan") => "0.0.0.0".to_string(),
        Some("custom") => config
            .str("gateway.customBindHost")
            .unwrap_or("?")
            .to_string(),
        Some("tailnet") => {
            net::tailnet_address().map_or_else(|| "127.0.0.1".to_string(), |ip| ip.to_string())
        }
        _ => "127.0.0.1".to_string(),
    }
}

/// Where the gateway of this config logs to, as far as the config tells.
pub fn log_file(config: &Config) -> String {
    match config.str("logging.file") {
        Some(file) => {
            let locations = config.locations();
            locations.shown(&locations.expand(file))
        }
        None => {
            let today = jiff::Zoned::now().date();
            format!("/tmp/openclaw/openclaw-{today}.log")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::port::Owner;

    fn usage(line: Option<&str>) -> Usage {
        let owner = |line: &str| Owner {
            pid: Some(7),
            command: "x".into(),
            command_line: line.into(),
            uid: 0,
            address: "127.0.0.1:5".parse().unwrap(),
        };
        Usage {
            port: 5,
            owners: Ok(line.map(owner).into_iter().collect()),
        }
    }

    #[test]
    fn a_foreground_gateway_runs_without_a_service() {
        let text = |line, answered| Runtime::of(&usage(line), answered).text();
        assert_eq!(
            text(Some("openclaw gateway"), false),
            "running (pid 7, foreground)"
        );
        assert_eq!(text(Some("python3"), true), "running (pid 7, foreground)");
        assert_eq!(
            text(Some("python3"), false),
            "stopped (another program holds port 5)"
        );
        assert_eq!(text(None, false), "stopped");
    }

    #[test]
    fn no_proc_is_no_answer() {
        let usage = Usage {
            port: 5,
            owners: Err(std::io::ErrorKind::NotFound.into()),
        };
        assert!(matches!(
            Runtime::of(&usage, false),
            Runtime::Unknown { .. }
        ));
        assert!(matches!(
            Runtime::of(&usage, true),
            Runtime::Running { pid: None }
        ));
    }
}
