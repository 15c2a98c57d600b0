//! What a restart is to report once it is back: `restart-sentinel.json`.
//!
//! Written before the restart; read after it, delivered, and only then cleared, so that a crash in between
//! reports twice rather than never.

use std::fs;
use std::io;

use serde_json::{Map, Value, json};

use super::{Error, Paths};
use crate::sys::{clock, file};

/// Bytes of the file that are read.
const MAX_FILE: u64 = 1024 * 1024;

/// What a restart was for.
#[derive(Clone, Debug, PartialEq)]
pub struct Sentinel(Map<String, Value>);

impl Sentinel {
    /// A report about `kind` (`config-patch`, `config-apply`, `update`, `restart`) that ended with
    /// `status` (`ok`, `error`, `skipped`) by way of `mode`.
    pub fn new(kind: &str, status: &str, mode: &str) -> Sentinel {
        let fields = json!({
            "kind": kind,
            "status": status,
            "ts": clock::now_ms(),
            "message": null,
            "stats": {"mode": mode},
        });
        match fields {
            Value::Object(map) => Sentinel(map),
            _ => Sentinel(Map::new()),
        }
    }

    /// The same with one more field: `sessionKey`, `deliveryContext`, `threadId`, `message`, `doctorHint`,
    /// `stats`. `None` changes nothing.
    #[must_use]
    pub fn with(mut self, name: &str, value: Option<impl Into<Value>>) -> Sentinel {
        if let Some(v) = value {
            self.0.insert(name.to_string(), v.into());
        }
        self
    }

    /// The session to report to, as it was named.
    pub fn session_key(&self) -> Option<&str> {
        let key = self.0.get("sessionKey")?.as_str()?.trim();
        (!key.is_empty()).then_some(key)
    }

    /// One line for the session: `Gateway restart config-patch ok (gateway.restart)`, and the message of
    /// whoever asked for it.
    pub fn summary(&self) -> String {
        let text = |v: Option<&Value>| v.and_then(Value::as_str).unwrap_or("").trim().to_string();
        let field = |name: &str| text(self.0.get(name));
        let mut line = format!("Gateway restart {} {}", field("kind"), field("status"));
        let mode = text(self.0.get("stats").and_then(|s| s.get("mode")));
        if !mode.is_empty() {
            line.push_str(&format!(" ({mode})"));
        }
        let message = field("message");
        if !message.is_empty() {
            line.push('\n');
            line.push_str(&message);
        }
        line
    }

    /// The payload as the wire shows it.
    pub fn payload(&self) -> Value {
        Value::Object(self.0.clone())
    }

    /// Keeps this for after the restart.
    pub fn write(&self, paths: &Paths) -> Result<(), Error> {
        let path = paths.restart_sentinel();
        let content = json!({"version": 1, "payload": self.0});
        file::write_atomic(&path, format!("{content:#}\n").as_bytes()).map_err(Error::io(&path))
    }

    /// What was kept before this start. A file that cannot be read as one is cleared.
    pub fn read(paths: &Paths) -> Option<Sentinel> {
        let path = paths.restart_sentinel();
        let bytes = match file::read_bounded(&path, MAX_FILE) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
            Err(e) => {
                log::warn!(target: "state", "cannot read {}: {e}", path.display());
                return None;
            }
        };
        let stored = serde_json::from_slice::<Value>(&bytes).ok();
        match stored.as_ref().and_then(|v| v.get("payload")?.as_object()) {
            Some(payload) => Some(Sentinel(payload.clone())),
            None => {
                log::warn!(target: "state", "{} is broken: removed", path.display());
                clear(paths);
                None
            }
        }
    }
}

/// Forgets what was kept: it has been delivered.
pub fn clear(paths: &Paths) {
    let path = paths.restart_sentinel();
    if let Err(e) = fs::remove_file(&path)
        && e.kind() != io::ErrorKind::NotFound
    {
        log::warn!(target: "state", "cannot remove {}: {e}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::testing::Folder;

    #[test]
    fn it_is_read_until_it_is_cleared() {
        let dir = Folder::new();
        let paths = Paths::new(dir.path());
        assert_eq!(Sentinel::read(&paths), None);
        let s = Sentinel::new("config-patch", "ok", "gateway.restart")
            .with("sessionKey", Some("agent:main:main"))
            .with("threadId", None::<&str>)
            .with("message", Some("new model"));
        s.write(&paths).unwrap();
        for _ in 0..2 {
            let read = Sentinel::read(&paths).unwrap();
            assert_eq!(read, s);
            assert_eq!(read.session_key(), Some("agent:main:main"));
            assert_eq!(
                read.summary(),
                "Gateway restart config-patch ok (gateway.restart)\nnew model"
            );
        }
        clear(&paths);
        clear(&paths);
        assert_eq!(Sentinel::read(&paths), None);
    }

    #[test]
    fn what_the_reference_wrote_is_read_and_garbage_goes() {
        let dir = Folder::new();
        let paths = Paths::new(dir.path());
        let theirs = r#"{"version":1,"payload":{"kind":"update","status":"error","ts":5,"stats":{"mode":"npm","reason":"x"}}}"#;
        fs::write(paths.restart_sentinel(), theirs).unwrap();
        let read = Sentinel::read(&paths).unwrap();
        assert_eq!(read.summary(), "Gateway restart update error (npm)");
        assert_eq!(read.session_key(), None);
        for garbage in ["", "{", "[]", r#"{"payload":5}"#] {
            fs::write(paths.restart_sentinel(), garbage).unwrap();
            assert_eq!(Sentinel::read(&paths), None);
            assert!(!paths.restart_sentinel().exists(), "{garbage:?}");
        }
    }
}
