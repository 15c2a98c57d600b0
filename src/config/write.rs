//! The one way in which the config file is replaced: at an operator's wish, checked, backed up, whole.
//!
//! Writers of several processes take turns by a lock beside the file, and each says which content it
//! started from, so that no edit is lost. The text itself comes from `edit` or from the operator.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::edit::{EditError, rewrite};
use super::json5::{self, SyntaxError};
use super::load::{self, Loaded, MAX_BYTES};
use super::plan::Plan;
use super::{Config, Issue, Locations};
use crate::VERSION;
use crate::sys::lock::FileLock;
use crate::sys::{clock, file, process};

/// The record of writes, in the state folder.
pub const AUDIT_LOG: &str = "logs/config-audit.jsonl";
/// Size in bytes at which the record is put aside as `.1`, in place of the one before it.
const MAX_AUDIT: u64 = 1024 * 1024;
/// Copies of earlier files: `.bak` and `.bak.1` to `.bak.4`.
const BACKUPS: u32 = 5;
/// How long a writer waits for another one.
const LOCK_WAIT: Duration = Duration::from_secs(10);
/// A file of at least so many bytes that shrinks to under half is worth a line in the log.
const SHRINK_FROM: usize = 512;

/// A write that is done.
#[derive(Debug)]
pub struct Written {
    /// What the file says now.
    pub config: Arc<Config>,
    /// What the log, or stderr of a command, is told of it.
    pub notices: Vec<String>,
}

/// Why nothing was written.
#[derive(Debug)]
pub enum WriteError {
    /// The file is not the one that the edit started from.
    Changed,
    /// The text is not JSON5.
    Syntax(SyntaxError),
    /// The text is no valid configuration.
    Invalid(Vec<Issue>),
    Edit(EditError),
    Io(PathBuf, io::Error),
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WriteError::Changed => {
                f.write_str("config changed since last load; re-run config.get and retry")
            }
            WriteError::Syntax(e) => e.fmt(f),
            WriteError::Invalid(issues) => {
                f.write_str("Config validation failed: ")?;
                for (i, issue) in issues.iter().enumerate() {
                    let separator = if i > 0 { "\n" } else { "" };
                    write!(f, "{separator}{issue}")?;
                }
                match issues.iter().find_map(open_policy) {
                    Some((policy, allow)) => write!(
                        f,
                        "\n\nFix with:\n  openclaw config set {allow} '[\"*\"]'\n\nOr switch policy:\n  \
                         openclaw config set {policy} \"pairing\""
                    ),
                    None => Ok(()),
                }
            }
            WriteError::Edit(e) => e.fmt(f),
            WriteError::Io(path, e) => write!(f, "{} cannot be written: {e}", path.display()),
        }
    }
}

impl std::error::Error for WriteError {}

/// The two settings of a direct-message policy that contradict each other.
fn open_policy(issue: &Issue) -> Option<(String, String)> {
    let (policy, _) = issue.message.split_once("=\"open\" requires ")?;
    Some((policy.to_string(), issue.path.clone()))
}

/// Replaces the config file by `text`, stamped with version and time. `expected` is the hash of the content
/// that the text was made from; `None` replaces whatever is there. `actor` names who asked, for the record.
pub fn write(
    at: &Locations,
    expected: Option<&str>,
    text: &str,
    actor: &str,
) -> Result<Written, WriteError> {
    let _lock = lock(at)?;
    let old = Before::read(at)?;
    if expected.is_some_and(|hash| hash != old.loaded.config.hash()) {
        return Err(WriteError::Changed);
    }
    replace(at, &old, text, actor)
}

/// Replaces the config file by what `edit` makes of it. No other writer comes in between.
pub fn update(
    at: &Locations,
    actor: &str,
    edit: impl FnOnce(&Config) -> Result<String, EditError>,
) -> Result<Written, WriteError> {
    let _lock = lock(at)?;
    let old = Before::read(at)?;
    if !old.loaded.issues.is_empty() {
        return Err(WriteError::Invalid(old.loaded.issues));
    }
    let text = edit(&old.loaded.config).map_err(WriteError::Edit)?;
    replace(at, &old, &text, actor)
}

fn lock(at: &Locations) -> Result<FileLock, WriteError> {
    let path = beside(&at.config_path, ".lock");
    let failed = |e| WriteError::Io(at.config_path.clone(), e);
    if let Some(folder) = path.parent() {
        file::make_private_dir(folder).map_err(failed)?;
    }
    FileLock::acquire_silently(&path, LOCK_WAIT).map_err(|e| failed(e.into()))
}

/// The file that is to be replaced.
struct Before {
    bytes: Option<Vec<u8>>,
    loaded: Loaded,
}

impl Before {
    fn read(at: &Locations) -> Result<Before, WriteError> {
        let bytes = match file::read_bounded(&at.config_path, MAX_BYTES) {
            Ok(bytes) => Some(bytes),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(WriteError::Io(at.config_path.clone(), e)),
        };
        Ok(Before {
            loaded: load::of_bytes(bytes.clone(), at),
            bytes,
        })
    }
}

fn replace(at: &Locations, old: &Before, text: &str, actor: &str) -> Result<Written, WriteError> {
    let text = stamped(text).map_err(WriteError::Syntax)?;
    if text.len() as u64 > MAX_BYTES {
        let why = format!("config is larger than {MAX_BYTES} bytes");
        return Err(WriteError::Invalid(vec![Issue::new("", why)]));
    }
    let new = load::of_text(text.clone(), at);
    if !new.issues.is_empty() {
        return Err(WriteError::Invalid(new.issues));
    }
    let audit = Audit {
        at,
        old,
        new: &new.config,
        bytes: text.len(),
        actor,
    };
    let path = &at.config_path;
    let result = old
        .bytes
        .as_deref()
        .map_or(Ok(()), |bytes| back_up(path, bytes))
        .and_then(|()| file::write_atomic(path, text.as_bytes()));
    // The record is for people; a write that happened must not fail because of it.
    if let Err(e) = audit.append(result.as_ref().err()) {
        log::warn!(target: "config", "{AUDIT_LOG} cannot be written: {e}");
    }
    result.map_err(|e| WriteError::Io(path.clone(), e))?;
    let notices = audit.notices();
    Ok(Written {
        config: new.config,
        notices,
    })
}

/// `text` with `meta.lastTouchedVersion` and `meta.lastTouchedAt` of now.
fn stamped(text: &str) -> Result<String, SyntaxError> {
    let mut value = json5::value(text)?;
    if let Value::Object(root) = &mut value
        && let Value::Object(meta) = root.entry("meta").or_insert_with(|| json!({}))
    {
        meta.insert("lastTouchedVersion".to_string(), VERSION.into());
        let now = clock::iso(clock::now_ms());
        meta.insert("lastTouchedAt".to_string(), now.into());
    }
    rewrite(text, &value)
}

/// Keeps `bytes`, the content that is about to go, as `.bak`, and what was there one step back each.
fn back_up(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = |n: u32| match n {
        0 => beside(path, ".bak"),
        n => beside(path, &format!(".bak.{n}")),
    };
    for n in (0..BACKUPS - 1).rev() {
        match fs::rename(name(n), name(n + 1)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    file::write_atomic(&name(0), bytes)
}

/// `path` with `ending` after its name.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(ending);
    PathBuf::from(name)
}

/// What is told of a write, in the log and in the record.
struct Audit<'a> {
    at: &'a Locations,
    old: &'a Before,
    new: &'a Config,
    /// Size of the new text.
    bytes: usize,
    actor: &'a str,
}

impl Audit<'_> {
    fn previous_bytes(&self) -> Option<usize> {
        self.old.bytes.as_ref().map(Vec::len)
    }

    fn changed_paths(&self) -> usize {
        Plan::between(&self.old.loaded.config, self.new)
            .changes
            .len()
    }

    /// What is odd about the write.
    fn suspicious(&self) -> Vec<String> {
        let mut odd = Vec::new();
        let Some(before) = self.previous_bytes() else {
            return odd;
        };
        if before >= SHRINK_FROM && self.bytes < before / 2 {
            odd.push(format!("size-drop:{before}->{}", self.bytes));
        }
        if !has_meta(&self.old.loaded.config) {
            odd.push("missing-meta-before-write".to_string());
        }
        if mode(&self.old.loaded.config).is_some() && mode(self.new).is_none() {
            odd.push("gateway-mode-removed".to_string());
        }
        odd
    }

    fn notices(&self) -> Vec<String> {
        if self.old.bytes.is_none() {
            return Vec::new();
        }
        let path = self.at.config_path.display();
        let mut notices = vec![format!(
            "Config overwrite: {path} (sha256 {} -> {}, backup={path}.bak, changedPaths={})",
            self.old.loaded.config.hash(),
            self.new.hash(),
            self.changed_paths()
        )];
        let odd = self.suspicious();
        if !odd.is_empty() {
            notices.push(format!("Config write anomaly: {path} ({})", odd.join(", ")));
        }
        notices
    }

    /// One line in the record. The arguments of the command are left out: they may hold the secret.
    fn append(&self, failed: Option<&io::Error>) -> io::Result<()> {
        let old = &self.old.loaded.config;
        let pid = std::process::id();
        let existed = self.old.bytes.is_some();
        let line = json!({
            "ts": clock::iso(clock::now_ms()),
            "source": "config-io",
            "event": "config.write",
            "configPath": self.at.config_path,
            "actor": self.actor,
            "pid": pid,
            "ppid": process::parent(pid),
            "cwd": std::env::current_dir().ok(),
            "argv": program(),
            "existsBefore": existed,
            "previousHash": existed.then(|| old.hash()),
            "nextHash": failed.is_none().then(|| self.new.hash()),
            "previousBytes": self.previous_bytes(),
            "nextBytes": failed.is_none().then_some(self.bytes),
            "changedPathCount": self.changed_paths(),
            "hasMetaBefore": has_meta(old),
            "hasMetaAfter": has_meta(self.new),
            "gatewayModeBefore": mode(old),
            "gatewayModeAfter": mode(self.new),
            "suspicious": self.suspicious(),
            "result": if failed.is_some() { "failed" } else { "rename" },
            "errorMessage": failed.map(ToString::to_string),
        });
        let path = self.at.state_dir.join(AUDIT_LOG);
        if let Some(folder) = path.parent() {
            file::make_private_dir(folder)?;
        }
        if file::stamp(&path).is_some_and(|s| s.size > MAX_AUDIT) {
            fs::rename(&path, beside(&path, ".1"))?;
        }
        file::append_durable(&path, format!("{line}\n").as_bytes())
    }
}

/// The name that this program was started by.
fn program() -> Vec<String> {
    let first = std::env::args_os().next();
    first
        .iter()
        .map(|p| p.to_string_lossy().into_owned())
        .collect()
}

fn has_meta(config: &Config) -> bool {
    config.parsed().get("meta").is_some_and(Value::is_object)
}

fn mode(config: &Config) -> Option<&str> {
    config.str("gateway.mode")
}

#[cfg(test)]
mod tests;
