//! Why the gateway last ended: `last-exit.json`, for `status` and the log of the next start.
//!
//! A gateway notes its start; when it ends in order, it notes why. If the next one finds a start without
//! an end, the one before was killed, crashed, or the power went.

use serde_json::{Value, json};

use super::{Error, Paths};
use crate::sys::{clock, file, process};

/// Bytes of the file that are read.
const MAX_FILE: u64 = 64 * 1024;
/// Characters of a reason that are kept.
const MAX_REASON: usize = 500;

/// How an earlier gateway ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastExit {
    /// When it was started, in ms.
    pub started_at: u64,
    /// When it ended, in ms; `None` when it could not say.
    pub ended_at: Option<u64>,
    /// Why, for people. Empty when it could not say.
    pub reason: String,
}

impl LastExit {
    /// Whether it ended in order.
    pub fn is_clean(&self) -> bool {
        self.ended_at.is_some()
    }

    fn read(v: &Value) -> Option<LastExit> {
        Some(LastExit {
            started_at: v.get("startedAtMs")?.as_u64()?,
            ended_at: v.get("endedAtMs").and_then(Value::as_u64),
            reason: v
                .get("reason")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_string(),
        })
    }

    fn value(&self) -> Value {
        json!({"startedAtMs": self.started_at, "endedAtMs": self.ended_at, "reason": self.reason})
    }
}

/// Notes that this process is the gateway from now on; how the one before ended.
pub fn started(paths: &Paths) -> Result<Option<LastExit>, Error> {
    let previous = read(paths).and_then(|v| LastExit::read(&v));
    let pid = std::process::id();
    write(
        paths,
        &json!({
            "version": 1,
            "pid": pid,
            "startTime": process::start_time(pid),
            "startedAtMs": clock::now_ms(),
            "previous": previous.as_ref().map(LastExit::value),
        }),
    )?;
    Ok(previous)
}

/// Notes why this gateway ends; the last thing that it writes.
pub fn ended(paths: &Paths, reason: &str) -> Result<(), Error> {
    let mut note =
        read(paths).unwrap_or_else(|| json!({"version": 1, "startedAtMs": clock::now_ms()}));
    note["endedAtMs"] = json!(clock::now_ms());
    note["reason"] = json!(reason.chars().take(MAX_REASON).collect::<String>());
    write(paths, &note)
}

/// How the last gateway ended, for whoever asks: while one runs, the one before it.
pub fn last(paths: &Paths) -> Option<LastExit> {
    let note = read(paths)?;
    let pid = note["pid"].as_u64().and_then(|p| u32::try_from(p).ok());
    let running = note["endedAtMs"].is_null()
        && pid.is_some_and(|p| {
            process::alive(p) && process::start_time(p) == note["startTime"].as_u64()
        });
    if running {
        return LastExit::read(&note["previous"]);
    }
    LastExit::read(&note)
}

fn read(paths: &Paths) -> Option<Value> {
    let bytes = file::read_bounded(&paths.exit_reason(), MAX_FILE).ok()?;
    serde_json::from_slice::<Value>(&bytes)
        .ok()
        .filter(|note| note["startedAtMs"].is_u64())
}

fn write(paths: &Paths, note: &Value) -> Result<(), Error> {
    let path = paths.exit_reason();
    file::write_atomic(&path, format!("{note}\n").as_bytes()).map_err(Error::io(&path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::testing::Folder;

    #[test]
    fn an_end_in_order_and_one_without_a_word_are_told_apart() {
        let dir = Folder::new();
        let paths = Paths::new(dir.path());
        assert_eq!(last(&paths), None);
        assert_eq!(started(&paths).unwrap(), None);
        assert_eq!(
            last(&paths),
            None,
            "this process runs, and there was none before"
        );
        ended(&paths, "SIGTERM").unwrap();
        let exit = last(&paths).unwrap();
        assert!(
            exit.is_clean() && exit.reason == "SIGTERM" && exit.ended_at >= Some(exit.started_at)
        );

        assert_eq!(started(&paths).unwrap(), Some(exit.clone()));
        assert_eq!(last(&paths), Some(exit));
        // The same note from a process that is gone: it was killed.
        let mut note = read(&paths).unwrap();
        note["startTime"] = json!(1);
        write(&paths, &note).unwrap();
        let killed = last(&paths).unwrap();
        assert!(!killed.is_clean() && killed.reason.is_empty());
        assert!(!started(&paths).unwrap().unwrap().is_clean());
    }

    #[test]
    fn garbage_is_no_exit() {
        let dir = Folder::new();
        let paths = Paths::new(dir.path());
        for garbage in ["", "[]", "{}", "{\"startedAtMs\":\"x\"}", "{"] {
            std::fs::write(paths.exit_reason(), garbage).unwrap();
            assert_eq!(last(&paths), None);
            ended(&paths, &"x".repeat(9000)).unwrap();
            assert_eq!(last(&paths).unwrap().reason.len(), MAX_REASON);
        }
    }
}
