//! The real binary: a home of its own, one-shot commands, a running gateway.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Client, DEADLINE, TOKEN, merge};

/// A port on which nothing listens, on 127.0.0.1 and ::1, below the range that outgoing connections
/// take theirs from.
pub fn free_port() -> u16 {
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 12_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Test processes that run side by side start their search at different places.
    let seed = u32::from_le_bytes(openclaw_gateway::sys::id::random::<4>()) % COUNT;
    let _ = NEXT.compare_exchange(0, seed + 1, Ordering::SeqCst, Ordering::SeqCst);
    for _ in 0..COUNT {
        let port = (FIRST + NEXT.fetch_add(1, Ordering::SeqCst) % COUNT) as u16;
        let free = |address: &str| match std::net::TcpListener::bind((address, port)) {
            Ok(_) => true,
            // A machine without IPv6 has nobody on ::1 either.
            Err(error) => error.kind() == std::io::ErrorKind::AddrNotAvailable,
        };
        if free("127.0.0.1") && free("::1") {
            return port;
        }
    }
    panic!("no free port");
}

/// A temporary home folder with a state directory; removed at the end, kept when the test fails.
pub struct Home {
    root: PathBuf,
    environment: Vec<(String, String)>,
}

impl Home {
    /// An empty home: no state directory, no config.
    pub fn new() -> Home {
        let name = openclaw_gateway::sys::id::hex(&openclaw_gateway::sys::id::random::<6>());
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("home-{name}"));
        fs::create_dir_all(root.join("tmp")).expect("create the home");
        fs::set_permissions(&root, fs::Permissions::from_mode(0o700)).expect("chmod the home");
        Home {
            root,
            environment: vec![],
        }
    }

    /// A home with [`Home::config`] changed by `patch`.
    pub fn with_config(patch: Value) -> Home {
        let home = Home::new();
        home.write_config(&home.config(patch));
        home
    }

    /// A config with which a gateway starts: loopback, the test token, the model `stub/stub-1` at a port
    /// where nobody listens until the patch says otherwise, and nothing that acts of its own accord.
    pub fn config(&self, patch: Value) -> Value {
        let mut config = json!({
            "gateway": {"mode": "local", "bind": "loopback", "auth": {"mode": "token", "token": TOKEN}},
            "models": {"mode": "merge", "providers": {"stub": {
                "baseUrl": "http://127.0.0.1:9/v1",
                "apiKey": "stub-key",
                "api": "openai-completions",
                "models": [{"id": "stub-1", "name": "Stub One", "reasoning": false, "input": ["text"],
                    "contextWindow": 128000, "maxTokens": 4096}],
            }}},
            "agents": {"defaults": {
                "model": {"primary": "stub/stub-1"},
                "workspace": self.root.join("workspace"),
                "skipBootstrap": true,
                "heartbeat": {"every": "0m"},
            }},
            "discovery": {"mdns": {"mode": "off"}},
            "update": {"checkOnStart": false},
            "logging": {"file": self.root.join("gateway.log")},
        });
        merge(&mut config, &patch);
        config
    }

    /// Writes the config file, whole, as an editor does (temporary file and rename).
    pub fn write_config(&self, config: &Value) {
        self.write_config_text(&format!("{config:#}\n"));
    }

    /// Writes the config file from text.
    pub fn write_config_text(&self, text: &str) {
        fs::create_dir_all(self.state()).expect("create the state directory");
        fs::set_permissions(self.state(), fs::Permissions::from_mode(0o700))
            .expect("chmod the state directory");
        let temporary = self.state().join("edited-config");
        fs::write(&temporary, text).expect("write the config");
        fs::set_permissions(&temporary, fs::Permissions::from_mode(0o600))
            .expect("chmod the config");
        fs::rename(&temporary, self.config_path()).expect("rename the config");
    }

    /// The config file as text.
    pub fn config_text(&self) -> String {
        fs::read_to_string(self.config_path()).expect("read the config")
    }

    pub fn path(&self) -> &Path {
        &self.root
    }

    pub fn state(&self) -> PathBuf {
        self.root.join(".openclaw")
    }

    pub fn config_path(&self) -> PathBuf {
        self.state().join("openclaw.json")
    }

    /// Every file of the state directory with its content.
    pub fn snapshot(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.state()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if let Ok(content) = fs::read(&path) {
                    files.insert(path, content);
                }
            }
        }
        files
    }

    /// A JSON file of the state directory; null when it is not there.
    pub fn state_json(&self, path: &str) -> Value {
        match fs::read(self.state().join(path)) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{path}: {error}"))
            }
            Err(_) => Value::Null,
        }
    }

    /// The log file of [`Home::config`] as text.
    pub fn log(&self) -> String {
        fs::read_to_string(self.root.join("gateway.log")).unwrap_or_default()
    }

    /// A further variable for every command of this home.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.into(), value.into()));
    }

    /// The binary with these arguments, a clean environment, and the home as working directory.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_openclaw"));
        command
            .args(arguments)
            .current_dir(&self.root)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.root)
            .env("TMPDIR", self.root.join("tmp"))
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Output {
        finish(self.command(arguments), &arguments.join(" "))
    }

    /// Starts `gateway` on a free port and waits until it listens.
    #[track_caller]
    pub fn start(&self) -> Gateway {
        self.start_with(&[])
    }

    /// The same with further arguments.
    #[track_caller]
    pub fn start_with(&self, arguments: &[&str]) -> Gateway {
        self.start_on(free_port(), arguments)
    }

    /// The same on a port of the test's choice.
    #[track_caller]
    pub fn start_on(&self, port: u16, arguments: &[&str]) -> Gateway {
        let number = port.to_string();
        let mut words = vec!["gateway", "--port", &number];
        words.extend_from_slice(arguments);
        let mut gateway = Gateway::spawn(self.command(&words), port);
        gateway.wait_line("listening on ws://");
        gateway
    }
}

impl Default for Home {
    fn default() -> Home {
        Home::new()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("kept for inspection: {}", self.root.display());
        } else {
            let _ = fs::remove_dir_all(&self.root);
        }
    }
}

/// What a finished command left.
#[derive(Debug)]
pub struct Output {
    /// Exit code; None when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// The same, when the exit code is this one.
    #[track_caller]
    pub fn expect(self, code: i32) -> Output {
        assert_eq!(self.code, Some(code), "exit code; {self:#?}");
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in {self:#?}"))
    }
}

/// Runs `command` to its end, within the deadline.
#[track_caller]
pub fn finish(command: Command, what: &str) -> Output {
    let mut running = Running::spawn(command);
    let code = running
        .exit(DEADLINE)
        .unwrap_or_else(|| panic!("{what}: still running; {}", running.dump()));
    let texts = running.lines.state.lock().expect("lines");
    let text = |stream: Stream| -> String {
        texts
            .lines
            .iter()
            .filter(|line| line.stream == stream)
            .map(|line| line.text.clone() + "\n")
            .collect()
    };
    Output {
        code,
        stdout: text(Stream::Out),
        stderr: text(Stream::Err),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Stream {
    Out,
    Err,
}

struct Line {
    stream: Stream,
    text: String,
}

#[derive(Default)]
struct LineState {
    lines: Vec<Line>,
    /// Streams that have ended.
    ended: usize,
}

#[derive(Default)]
struct Lines {
    state: Mutex<LineState>,
    changed: Condvar,
}

/// A child process whose two outputs are collected line by line.
struct Running {
    child: Child,
    lines: Arc<Lines>,
}

impl Running {
    fn spawn(mut command: Command) -> Running {
        let mut child = command.spawn().expect("start the binary");
        let lines = Arc::new(Lines::default());
        collect(
            child.stdout.take().expect("stdout"),
            Stream::Out,
            lines.clone(),
        );
        collect(
            child.stderr.take().expect("stderr"),
            Stream::Err,
            lines.clone(),
        );
        Running { child, lines }
    }

    /// Waits until both outputs have ended, which is when the process has, and reaps it. The inner None
    /// is an end by signal, the outer one a passed deadline.
    fn exit(&mut self, within: Duration) -> Option<Option<i32>> {
        let end = Instant::now() + within;
        let mut state = self.lines.state.lock().expect("lines");
        while state.ended < 2 {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            (state, _) = self.lines.changed.wait_timeout(state, left).expect("lines");
        }
        drop(state);
        Some(self.child.wait().expect("wait").code())
    }

    fn dump(&self) -> String {
        let state = self.lines.state.lock().expect("lines");
        state
            .lines
            .iter()
            .map(|line| format!("\n  | {}", line.text))
            .collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(stream: impl Read + Send + 'static, which: Stream, lines: Arc<Lines>) {
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut bytes = Vec::new();
        while reader
            .read_until(b'\n', &mut bytes)
            .is_ok_and(|count| count > 0)
        {
            let text = String::from_utf8_lossy(&bytes)
                .trim_end_matches(['\n', '\r'])
                .to_string();
            bytes.clear();
            lines.state.lock().expect("lines").lines.push(Line {
                stream: which,
                text,
            });
            lines.changed.notify_all();
        }
        lines.state.lock().expect("lines").ended += 1;
        lines.changed.notify_all();
    });
}

/// A gateway process, killed when dropped.
pub struct Gateway {
    running: Running,
    port: u16,
    /// Lines that earlier waits have consumed.
    read: usize,
}

impl Gateway {
    /// Starts a command that is a gateway on `port`, without waiting for anything.
    pub fn spawn(command: Command, port: u16) -> Gateway {
        Gateway {
            running: Running::spawn(command),
            port,
            read: 0,
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn pid(&self) -> u32 {
        self.running.child.id()
    }

    /// Waits for the next output line that contains `text`, after the one that the last wait found.
    #[track_caller]
    pub fn wait_line(&mut self, text: &str) -> String {
        let end = Instant::now() + DEADLINE;
        let mut state = self.running.lines.state.lock().expect("lines");
        loop {
            if let Some(index) = state.lines[self.read..]
                .iter()
                .position(|line| line.text.contains(text))
            {
                self.read += index + 1;
                return state.lines[self.read - 1].text.clone();
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || state.ended == 2 {
                drop(state);
                panic!("no line with {text:?}; output:{}", self.running.dump());
            }
            (state, _) = self
                .running
                .lines
                .changed
                .wait_timeout(state, left)
                .expect("lines");
        }
    }

    /// All output so far.
    pub fn output(&self) -> String {
        self.running.dump()
    }

    /// Sends a signal, by name ("TERM", "USR1").
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.pid().to_string())
            .status();
        assert!(status.expect("kill").success(), "kill -{name}");
    }

    /// Ends it the hard way.
    pub fn kill_now(&mut self) {
        self.running.child.kill().expect("kill -9");
        self.running.child.wait().expect("wait");
    }

    /// Ends it the polite way, and gives the exit code.
    #[track_caller]
    pub fn stop(mut self) -> Option<i32> {
        self.signal("TERM");
        self.exit()
    }

    /// Waits for the end of the process; the exit code, None after a signal.
    #[track_caller]
    pub fn exit(&mut self) -> Option<i32> {
        let code = self.running.exit(DEADLINE);
        code.unwrap_or_else(|| panic!("still running; output:{}", self.running.dump()))
    }

    /// A connected operator with every scope.
    #[track_caller]
    pub fn admin(&self) -> Client {
        Client::admin(self.port)
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))
            .expect("status of the process");
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .expect("VmRSS");
        1024 * line
            .split_whitespace()
            .nth(1)
            .expect("kB")
            .parse::<u64>()
            .expect("number")
    }
}
