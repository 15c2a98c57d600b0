//! kill -9 at any moment: what was acknowledged is there, nothing is torn, the next open is clean.
//!
//! The test runs itself as the victim: a child process loops over every kind of durable change and says
//! on its standard error what is done; the parent kills it somewhere in between, again and again, on one
//! and the same state directory.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use openclaw_gateway::protocol::{Role, Scopes};
use openclaw_gateway::state::devices::{Ask, Asked};
use openclaw_gateway::state::sessions::{Entry, Store};
use openclaw_gateway::state::transcript::{Line, Transcript};
use openclaw_gateway::state::{self, Paths, devices, voicewake};
use openclaw_gateway::sys::id;
use serde_json::{Map, Value, json};

/// Names the state directory for the child; without it the child's test does nothing.
const STATE: &str = "CRASH_STATE_DIR";
/// Times that the child is killed.
const KILLS: usize = 100;
/// Changes that are waited for before a kill, at most.
const MAX_CHANGES: u64 = 40;
/// Longest time between the last change that was waited for and the kill.
const MAX_SPIN: Duration = Duration::from_millis(3);
/// Bytes that make the sessions of agent `large` large enough for a journal, and that for folding.
const PADDING: usize = 20_000;
/// Sessions of the agent `large`.
const LARGE: u64 = 10;
/// The transcript that is appended to.
const TALK: &str = "agent:small:talk";

/// What the child has acknowledged, over all its lives.
#[derive(Default)]
struct Acknowledged {
    /// Session key to the count in it.
    counts: HashMap<String, u64>,
    /// Session key to its session id.
    sessions: HashMap<String, String>,
    /// Ids of transcript lines, in order.
    lines: Vec<String>,
    devices: Vec<String>,
    words: Option<String>,
    changes: usize,
}

#[test]
fn what_was_acknowledged_survives_a_hundred_kills() {
    let dir = Folder(std::env::temp_dir().join(format!("openclaw-crash-{}", id::uuid())));
    fs::create_dir(&dir.0).unwrap();
    let mut seen = Acknowledged::default();
    for round in 0..KILLS {
        let mut child = spawn(&dir.0);
        let stderr = child.stderr.take().unwrap();
        let wanted = random(MAX_CHANGES);
        let rest = read_acknowledgements(stderr, &mut child, wanted, &mut seen);
        assert!(!rest.contains("panicked"), "round {round}: {rest}");
        check(&dir.0, &mut seen, round);
    }
    assert!(
        seen.changes > KILLS * 5,
        "the child was hardly ever at work: {} changes",
        seen.changes
    );
    // The last word is that of a gateway that starts and stops in order.
    let paths = Paths::new(&dir.0);
    state::tidy(&paths);
    let store = Store::new(paths.clone());
    store.settle();
    check(&dir.0, &mut seen, KILLS);
    let left: Vec<String> = files(&dir.0)
        .into_iter()
        .map(|p| p.display().to_string())
        .filter(|p| p.ends_with(".tmp") || p.ends_with(".journal") || p.contains(".broken"))
        .collect();
    assert!(left.is_empty(), "left over: {left:?}");
}

/// The victim. Ignored, so that only the test above runs it.
#[test]
#[ignore = "the child of the test above"]
fn child() {
    let Ok(dir) = std::env::var(STATE) else {
        return;
    };
    let paths = Paths::new(&dir);
    state::tidy(&paths);
    let store = Store::new(paths.clone());
    let devices = devices::Store::new(paths.clone());
    let entry = store.update(TALK, |_| {}).unwrap();
    let path = store.transcript(TALK, &entry).unwrap();
    let talk = Transcript::new(path, entry.session_id().unwrap(), Path::new("/"));
    for i in 0.. {
        for key in [
            format!("agent:large:s{}", i % LARGE),
            format!("agent:small:s{}", i % 3),
        ] {
            let entry = store.update(&key, |map| count(map, &key)).unwrap();
            acknowledge(&["count", &key, &entry.number("count").unwrap().to_string()]);
        }
        let said = |text: &str| Line::message(json!({"role": "user", "content": text}));
        for id in talk.append(&[said("a"), said(&"b".repeat(3000))]).unwrap() {
            acknowledge(&["line", &id]);
        }
        match i % 4 {
            0 => {
                let device = pair(&devices);
                acknowledge(&["device", &device]);
            }
            1 => {
                let key = format!("agent:small:s{}", i % 3);
                let ended = store.reset(&key).unwrap();
                let id = ended.new.unwrap().session_id().unwrap().to_string();
                acknowledge(&["reset", &key, &id]);
            }
            2 => {
                let word = id::hex8();
                voicewake::set_triggers(&paths, &json!([word])).unwrap();
                acknowledge(&["words", &word]);
            }
            _ => store.settle(),
        }
    }
}

fn count(map: &mut Map<String, Value>, key: &str) {
    let n = map.get("count").and_then(Value::as_u64).unwrap_or(0);
    map.insert("count".into(), json!(n + 1));
    // A reset forgets fields that it does not know, but keeps the label.
    map.insert("label".into(), json!(key));
    if key.starts_with("agent:large:") {
        map.insert("skillsSnapshot".into(), json!("x".repeat(PADDING)));
    }
}

fn pair(devices: &devices::Store) -> String {
    let (device_id, scopes, info) = (id::uuid(), Scopes::none(), Map::new());
    let ask = Ask {
        device_id: &device_id,
        public_key: "k",
        role: Role::Operator,
        scopes: &scopes,
        info: &info,
        commands: &[],
        remote_ip: None,
    };
    let asked = devices.ask(&ask, true).unwrap();
    assert!(matches!(asked, Asked::ApprovedSilently { .. }));
    device_id
}

/// One line in one write: the parent sees it whole or not at all.
fn acknowledge(words: &[&str]) {
    let line = format!("ack {}\n", words.join(" "));
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

fn spawn(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "child", "--nocapture"])
        .env(STATE, dir)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Takes note of what the child says, kills it after `wanted` changes and a moment, and returns what else
/// it said.
fn read_acknowledgements(
    stderr: ChildStderr,
    child: &mut Child,
    wanted: u64,
    seen: &mut Acknowledged,
) -> String {
    let mut reader = BufReader::new(stderr);
    let mut rest = String::new();
    let mut line = String::new();
    for _ in 0..wanted {
        line.clear();
        if reader.read_line(&mut line).unwrap() == 0 {
            break;
        }
        note(&line, seen, &mut rest);
    }
    // Not a wait for something to happen: this is what makes the moment of death a random one.
    let until = Instant::now() + MAX_SPIN.mul_f64(random(1000) as f64 / 1000.0);
    while Instant::now() < until {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    let mut last = String::new();
    reader.read_to_string(&mut last).unwrap();
    child.wait().unwrap();
    for line in last.lines() {
        note(line, seen, &mut rest);
    }
    rest
}

fn note(line: &str, seen: &mut Acknowledged, rest: &mut String) {
    let words: Vec<&str> = line.split_whitespace().collect();
    seen.changes += 1;
    match words[..] {
        ["ack", "count", key, n] => {
            seen.counts.insert(key.into(), n.parse().unwrap());
        }
        ["ack", "reset", key, session] => {
            seen.sessions.insert(key.into(), session.into());
            seen.counts.insert(key.into(), 0);
        }
        ["ack", "line", id] => seen.lines.push(id.into()),
        ["ack", "device", id] => seen.devices.push(id.into()),
        ["ack", "words", word] => seen.words = Some(word.into()),
        _ => {
            seen.changes -= 1;
            rest.push_str(line);
        }
    }
}

/// Looks at what a dead child left, as a reader that may change nothing, then at each file by itself.
fn check(dir: &Path, seen: &mut Acknowledged, round: usize) {
    let paths = Paths::new(dir);
    let store = Store::new(paths.clone());
    let get = |key: &str| -> Entry {
        let entry = store.get(key).unwrap();
        entry.unwrap_or_else(|| panic!("round {round}: {key} is gone"))
    };
    for (key, n) in &mut seen.counts {
        let entry = get(key);
        let found = entry.number("count").unwrap_or(0);
        // The change after the last acknowledged one may be there: a count, or the reset that follows it.
        let reset = *n > 0 && found == 0 && key.starts_with("agent:small:");
        assert!(
            found == *n || found == *n + 1 || reset,
            "round {round}: {key} has {found} instead of {n}"
        );
        assert!(found == 0 || entry.text("label") == Some(key));
        let session = entry.session_id().unwrap().to_string();
        if let Some(old) = seen.sessions.insert(key.clone(), session.clone()) {
            assert!(
                old == session || reset,
                "round {round}: {key} has another session"
            );
        }
        // From now on that is what must not be lost.
        *n = found;
    }
    if !seen.lines.is_empty() {
        let path = store.transcript(TALK, &get(TALK)).unwrap();
        let text = fs::read(path).unwrap();
        let end = text.iter().rposition(|b| *b == b'\n').unwrap() + 1;
        let ids: Vec<String> = text[..end]
            .split(|b| *b == b'\n')
            .filter(|l| !l.is_empty())
            .skip(1)
            .map(|line| {
                let line: Value = serde_json::from_slice(line)
                    .unwrap_or_else(|e| panic!("round {round}: a torn line in the middle: {e}"));
                line["id"].as_str().unwrap().to_string()
            })
            .collect();
        let mut found = ids.iter();
        for id in &seen.lines {
            assert!(
                found.any(|f| f == id),
                "round {round}: line {id} is gone or out of order"
            );
        }
    }
    let devices = devices::Store::new(paths.clone());
    for id in &seen.devices {
        assert!(
            devices.get(id).unwrap().is_some(),
            "round {round}: device {id} is gone"
        );
    }
    if seen.words.is_some() {
        assert_eq!(voicewake::triggers(&paths).len(), 1, "round {round}");
    }
    for path in files(dir) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(!name.contains(".broken"), "round {round}: {name}");
        if name.ends_with(".json") {
            let text = fs::read(&path).unwrap();
            let whole = serde_json::from_slice::<Value>(&text);
            assert!(whole.is_ok(), "round {round}: {name} is torn");
        }
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found
}

fn random(below: u64) -> u64 {
    u64::from_le_bytes(id::random::<8>()) % below
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
