//! The exec-approvals file: which agent may execute what on this host, and whether a person is asked.
//!
//! One JSON object in the reference's format. Fields that we do not know are kept in the file; in an
//! allowlist entry they make it match nothing (TX-18), since they may be meant to restrict it. An edit
//! has to name the version that it was made from.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value, json};

use super::session_key;
use crate::sys::{file, id};

/// Largest file that is read or written, in bytes.
pub const MAX_FILE: u64 = 1024 * 1024;
/// Random bytes of the token of the approver's socket.
const TOKEN_BYTES: usize = 24;
/// Fields of an allowlist entry that do not restrict it.
const ENTRY_FIELDS: &[&str] = &[
    "id",
    "pattern",
    "lastUsedAt",
    "lastUsedCommand",
    "lastResolvedPath",
];

/// How freely an agent may execute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Security {
    #[default]
    Deny,
    Allowlist,
    Full,
}

impl Security {
    /// The setting of that wire name.
    pub fn parse(text: &str) -> Option<Security> {
        match text {
            "deny" => Some(Security::Deny),
            "allowlist" => Some(Security::Allowlist),
            "full" => Some(Security::Full),
            _ => None,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Security::Deny => "deny",
            Security::Allowlist => "allowlist",
            Security::Full => "full",
        }
    }
}

/// When a person is asked. The later, the stricter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum AskWhen {
    Off,
    #[default]
    OnMiss,
    Always,
}

impl AskWhen {
    /// The setting of that wire name.
    pub fn parse(text: &str) -> Option<AskWhen> {
        match text {
            "off" => Some(AskWhen::Off),
            "on-miss" => Some(AskWhen::OnMiss),
            "always" => Some(AskWhen::Always),
            _ => None,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            AskWhen::Off => "off",
            AskWhen::OnMiss => "on-miss",
            AskWhen::Always => "always",
        }
    }
}

/// What holds for one agent, as far as the file says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    pub security: Option<Security>,
    pub ask: Option<AskWhen>,
    /// What holds when a person should be asked and nobody is there.
    pub ask_fallback: Security,
    pub auto_allow_skills: bool,
    /// Patterns of program paths that are allowed.
    pub allowlist: Vec<String>,
}

/// The file, as one version of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    pub path: PathBuf,
    pub exists: bool,
    /// SHA-256 of the text in hex; of the empty text when there is none.
    pub hash: String,
    /// Normalised: `version`, `defaults` and `agents` are there, `socket` where the file has one.
    pub file: Value,
}

/// Why the file was not read or written.
#[derive(Debug)]
pub enum Error {
    /// The edit does not say from which version it was made.
    HashRequired,
    /// Somebody else has changed the file since.
    Changed,
    /// The file does not hold what it should; nothing is allowed by it.
    Broken(String),
    TooLarge,
    Io(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::HashRequired => f.write_str(
                "exec approvals base hash required; re-run exec.approvals.get and retry",
            ),
            Error::Changed => f.write_str(
                "exec approvals changed since last load; re-run exec.approvals.get and retry",
            ),
            Error::Broken(why) => {
                write!(
                    f,
                    "exec approvals file is not readable: {why}; repair it or move it away"
                )
            }
            Error::TooLarge => write!(f, "exec approvals are larger than {MAX_FILE} bytes"),
            Error::Io(e) => write!(f, "exec approvals file: {e}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(e: io::Error) -> Self {
        match e.kind() {
            io::ErrorKind::FileTooLarge => Error::TooLarge,
            _ => Error::Io(e),
        }
    }
}

/// The file at one place. One lock, held while it is replaced.
pub struct Store {
    path: PathBuf,
    writing: Mutex<()>,
}

impl Store {
    pub fn new(path: &Path) -> Store {
        Store {
            path: path.to_path_buf(),
            writing: Mutex::new(()),
        }
    }

    /// The file as it is now. A missing one allows nothing and is not made.
    pub fn load(&self) -> Result<Loaded, Error> {
        let bytes = match file::read_bounded(&self.path, MAX_FILE) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            other => Some(other?),
        };
        let value = match &bytes {
            None => json!({}),
            Some(b) => serde_json::from_slice(b).map_err(|e| Error::Broken(e.to_string()))?,
        };
        let file = normalised(&value).ok_or_else(|| Error::Broken("not an object".into()))?;
        Ok(Loaded {
            path: self.path.clone(),
            exists: bytes.is_some(),
            hash: id::sha256_hex(&bytes.unwrap_or_default()),
            file,
        })
    }

    /// Replaces the file. `base_hash` is the hash of the version that the edit was made from; only a file
    /// that does not exist yet needs none.
    ///
    /// The socket of the file stays when the new one names none: its token is never shown to an editor.
    pub fn save(&self, new: &Value, base_hash: Option<&str>) -> Result<Loaded, Error> {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.load()?;
        match base_hash.map(str::trim).filter(|h| !h.is_empty()) {
            Some(hash) if hash == old.hash => {}
            Some(_) => return Err(Error::Changed),
            None if old.exists => return Err(Error::HashRequired),
            None => {}
        }
        let mut file = normalised(new).ok_or_else(|| Error::Broken("not an object".into()))?;
        self.keep_socket(&mut file, &old.file);
        self.write(&file)?;
        self.load()
    }

    /// Adds a pattern to the allowlist of `agent`. False when it was there.
    pub fn allow(&self, agent: &str, pattern: &str) -> Result<bool, Error> {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.load()?;
        let agent = agent_key(agent);
        if entries(&old.file["agents"][&agent]).any(|e| e["pattern"] == pattern) {
            return Ok(false);
        }
        let mut file = old.file.clone();
        let list = &mut file["agents"][&agent]["allowlist"];
        if !list.is_array() {
            *list = json!([]);
        }
        if let Some(list) = list.as_array_mut() {
            list.push(json!({"id": id::uuid(), "pattern": pattern}));
        }
        self.keep_socket(&mut file, &old.file);
        self.write(&file)?;
        Ok(true)
    }

    /// What the file says about `agent`: its own settings, else those of `*`, else the defaults.
    pub fn policy(&self, agent: &str) -> Result<Policy, Error> {
        let file = self.load()?.file;
        let own = &file["agents"][agent_key(agent)];
        let all = &file["agents"]["*"];
        let layers = [own, all, &file["defaults"]];
        let text = |key: &str| layers.iter().find_map(|l| l[key].as_str());
        let patterns = [own, all].into_iter().flat_map(entries);
        Ok(Policy {
            // A word that nobody knows allows nothing.
            security: text("security").map(|t| Security::parse(t).unwrap_or_default()),
            ask: text("ask").map(|t| AskWhen::parse(t).unwrap_or(AskWhen::Always)),
            ask_fallback: text("askFallback")
                .and_then(Security::parse)
                .unwrap_or_default(),
            auto_allow_skills: layers
                .iter()
                .find_map(|l| l["autoAllowSkills"].as_bool())
                .unwrap_or(false),
            allowlist: patterns.filter_map(pattern).collect(),
        })
    }

    fn keep_socket(&self, file: &mut Value, old: &Value) {
        let socket = |v: &Value, key: &str| v["socket"][key].as_str().map(str::to_string);
        let path = socket(file, "path").or_else(|| socket(old, "path"));
        let token = socket(file, "token").or_else(|| socket(old, "token"));
        file["socket"] = json!({
            "path": path.unwrap_or_else(|| self.path.with_extension("sock").display().to_string()),
            "token": token.unwrap_or_else(|| id::b64url(&id::random::<TOKEN_BYTES>())),
        });
    }

    fn write(&self, file: &Value) -> Result<(), Error> {
        let mut text = serde_json::to_vec_pretty(file).map_err(io::Error::other)?;
        text.push(b'\n');
        if text.len() as u64 > MAX_FILE {
            return Err(Error::TooLarge);
        }
        if let Some(dir) = self.path.parent() {
            file::make_private_dir(dir)?;
        }
        Ok(file::write_atomic(&self.path, &text)?)
    }
}

/// The key under which an agent stands in the file; `default` is the older name of the main agent.
fn agent_key(agent: &str) -> String {
    match agent {
        "*" => agent.to_string(),
        "default" => session_key::DEFAULT_AGENT.to_string(),
        other => session_key::agent_id(other),
    }
}

fn entries(agent: &Value) -> impl Iterator<Item = &Value> {
    agent["allowlist"].as_array().into_iter().flatten()
}

/// The pattern of an entry that nothing further restricts.
fn pattern(entry: &Value) -> Option<String> {
    let entry = entry.as_object()?;
    if entry.keys().any(|k| !ENTRY_FIELDS.contains(&k.as_str())) {
        return None;
    }
    let pattern = entry.get("pattern")?.as_str()?.trim();
    (!pattern.is_empty()).then(|| pattern.to_string())
}

/// The file in today's form; `None` when it is no object.
fn normalised(value: &Value) -> Option<Value> {
    let mut file = value.as_object()?.clone();
    file.insert("version".into(), json!(1));
    let defaults = file.entry("defaults").or_insert_with(|| json!({}));
    if !defaults.is_object() {
        *defaults = json!({});
    }
    let agents = match file.remove("agents") {
        Some(Value::Object(agents)) => agents,
        _ => Map::new(),
    };
    file.insert("agents".into(), Value::Object(normalised_agents(agents)));
    Some(Value::Object(file))
}

fn normalised_agents(agents: Map<String, Value>) -> Map<String, Value> {
    let mut out = Map::new();
    // `default` comes before `main` in order, so that what stands under today's name counts.
    for (name, agent) in agents {
        let Value::Object(mut agent) = agent else {
            continue;
        };
        if let Some(list) = agent.get_mut("allowlist").and_then(Value::as_array_mut) {
            list.iter_mut().for_each(normalise_entry);
        }
        let key = match name.as_str() {
            "default" => session_key::DEFAULT_AGENT.to_string(),
            _ => name,
        };
        out.insert(key, Value::Object(agent));
    }
    out
}

/// A bare text is a pattern, and every entry has an id.
fn normalise_entry(entry: &mut Value) {
    if let Some(text) = entry.as_str() {
        *entry = json!({"pattern": text});
    }
    if let Some(entry) = entry.as_object_mut() {
        entry.entry("id").or_insert_with(|| json!(id::uuid()));
    }
}

#[cfg(test)]
mod tests;
