//! Commands that wait for a person's decision.
//!
//! A request is opened, shown to the operators that may decide, and decided once or not at all: silence is
//! a denial. A decision is good for one use, by the connection's device that asked, for exactly what was
//! shown, within [`AFTER_DECISION`]. Nothing survives a restart, so an old id can never be decided or used.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Alarm, WakeAt};
use crate::sys::{clock, id};

/// Requests that may be open or freshly decided at a time.
pub const MAX_OPEN: usize = 256;
/// How long a request waits when the caller says nothing, in milliseconds.
pub const DEFAULT_TIMEOUT_MS: u64 = 120_000;
/// The longest that a request may wait, in milliseconds: a day.
pub const MAX_TIMEOUT_MS: u64 = 24 * 60 * 60 * 1000;
/// How long a decision can be waited for and used after it was made.
pub const AFTER_DECISION: Duration = Duration::from_secs(15);
/// The longest command that a person is asked about, in bytes: what nobody reads is not approved.
pub const MAX_COMMAND_BYTES: usize = 16 * 1024;
/// The largest request with all that is bound to it, in bytes.
pub const MAX_REQUEST_BYTES: usize = 64 * 1024;

/// What a word of a list costs besides its bytes.
const WORD_COST: usize = 24;

/// What a person said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    AllowOnce,
    AllowAlways,
    Deny,
}

impl Decision {
    /// The decision of that wire name.
    pub fn parse(text: &str) -> Option<Decision> {
        match text {
            "allow-once" => Some(Decision::AllowOnce),
            "allow-always" => Some(Decision::AllowAlways),
            "deny" => Some(Decision::Deny),
            _ => None,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Decision::AllowOnce => "allow-once",
            Decision::AllowAlways => "allow-always",
            Decision::Deny => "deny",
        }
    }
}

/// What is asked about. All of it is bound: a use that differs in any of it is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The command as it is shown.
    pub command: String,
    /// The exact words, where the asker has them; `command` is then their quoted form.
    pub argv: Option<Vec<String>>,
    /// The environment override; empty for none.
    pub env: BTreeMap<String, String>,
    pub cwd: Option<String>,
    pub node_id: Option<String>,
    /// `gateway`, `node` or `sandbox`.
    pub host: Option<String>,
    pub security: Option<String>,
    pub ask: Option<String>,
    pub agent_id: Option<String>,
    pub resolved_path: Option<String>,
    pub session_key: Option<String>,
}

impl Request {
    /// Bytes of all its texts.
    fn size(&self) -> usize {
        let texts = [
            &self.cwd,
            &self.node_id,
            &self.host,
            &self.security,
            &self.ask,
            &self.agent_id,
            &self.resolved_path,
            &self.session_key,
        ];
        let texts: usize = texts
            .iter()
            .filter_map(|t| t.as_ref())
            .map(String::len)
            .sum();
        let words: usize = self
            .argv
            .iter()
            .flatten()
            .map(|w| w.len() + WORD_COST)
            .sum();
        let env: usize = self
            .env
            .iter()
            .map(|(k, v)| k.len() + v.len() + WORD_COST)
            .sum();
        self.command.len() + texts + words + env
    }

    /// The `request` object of the events; unset fields are null. Values of the environment are not shown.
    pub fn to_value(&self) -> Value {
        let mut v = json!({
            "command": self.command,
            "cwd": self.cwd,
            "nodeId": self.node_id,
            "host": self.host,
            "security": self.security,
            "ask": self.ask,
            "agentId": self.agent_id,
            "resolvedPath": self.resolved_path,
            "sessionKey": self.session_key,
        });
        if let Some(argv) = &self.argv {
            v["commandArgv"] = json!(argv);
        }
        if !self.env.is_empty() {
            v["envKeys"] = json!(self.env.keys().collect::<Vec<_>>());
        }
        v
    }
}

/// Who asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub device_id: Option<String>,
    pub conn_id: String,
}

impl Caller {
    /// Devices are compared where both have one; connections otherwise.
    fn same(&self, other: &Caller) -> bool {
        match (&self.device_id, &other.device_id) {
            (None, None) => self.conn_id == other.conn_id,
            (a, b) => a == b,
        }
    }
}

/// The state of a request, as the wire shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    pub id: String,
    pub request: Request,
    /// Milliseconds since 1970.
    pub created_at_ms: u64,
    /// Milliseconds since 1970.
    pub expires_at_ms: u64,
    /// `None` while it is open, and for good when it expired.
    pub decision: Option<Decision>,
}

impl Ticket {
    /// `{id, decision|null, createdAtMs, expiresAtMs}`.
    pub fn outcome(&self) -> Value {
        json!({
            "id": self.id,
            "decision": self.decision.map(Decision::as_str),
            "createdAtMs": self.created_at_ms,
            "expiresAtMs": self.expires_at_ms,
        })
    }
}

/// Why a request was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The id is in use.
    Pending,
    /// [`MAX_OPEN`] is reached.
    Busy,
    /// Longer than [`MAX_COMMAND_BYTES`] or [`MAX_REQUEST_BYTES`].
    TooLong,
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            OpenError::Pending => f.write_str("approval id already pending"),
            OpenError::Busy => f.write_str("too many approvals are pending; try again later"),
            OpenError::TooLong => write!(
                f,
                "command is too long to be approved (limit {MAX_COMMAND_BYTES} bytes); put it in a file"
            ),
        }
    }
}

impl std::error::Error for OpenError {}

/// Why a decision cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UseError {
    /// Never asked, expired, or long ago.
    Unknown,
    /// Open, denied, or used already.
    NotApproved,
    /// Asked for no node.
    NoNode,
    /// Asked for another node.
    OtherNode,
    /// Asked by another device.
    OtherDevice,
    /// Something differs from what was shown.
    Differs,
}

impl UseError {
    /// The word in `details.code`.
    pub fn code(self) -> &'static str {
        match self {
            UseError::Unknown => "UNKNOWN_APPROVAL_ID",
            UseError::NotApproved => "APPROVAL_REQUIRED",
            UseError::NoNode => "APPROVAL_NODE_BINDING_MISSING",
            UseError::OtherNode => "APPROVAL_NODE_MISMATCH",
            UseError::OtherDevice => "APPROVAL_DEVICE_MISMATCH",
            UseError::Differs => "APPROVAL_REQUEST_MISMATCH",
        }
    }
}

impl std::fmt::Display for UseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            UseError::Unknown => "unknown or expired approval id",
            UseError::NotApproved => "approval required",
            UseError::NoNode => "approval id missing node binding",
            UseError::OtherNode => "approval id not valid for this node",
            UseError::OtherDevice => "approval id not valid for this device",
            UseError::Differs => "approval id does not match request",
        })
    }
}

impl std::error::Error for UseError {}

/// Called once, when the request is decided or expired.
pub type Done = Box<dyn FnOnce(&Ticket) + Send>;

struct Entry {
    ticket: Ticket,
    caller: Caller,
    used: bool,
    /// Open: when it expires. Decided: when it is forgotten.
    deadline: Instant,
    waiting: Vec<Done>,
}

/// The open requests. One lock, `entries`; never held while a callback runs.
pub struct Approvals {
    entries: Mutex<BTreeMap<String, Entry>>,
    alarm: Alarm,
}

impl Approvals {
    pub fn new(wake: WakeAt) -> Approvals {
        Approvals {
            entries: Mutex::default(),
            alarm: Alarm::new(wake),
        }
    }

    /// Opens a request for `timeout_ms`; without an `id` it gets a random one.
    pub fn open(
        &self,
        id: Option<String>,
        request: Request,
        caller: Caller,
        timeout_ms: Option<u64>,
    ) -> Result<Ticket, OpenError> {
        if request.command.len() > MAX_COMMAND_BYTES || request.size() > MAX_REQUEST_BYTES {
            return Err(OpenError::TooLong);
        }
        let wait_ms = timeout_ms.unwrap_or(DEFAULT_TIMEOUT_MS).min(MAX_TIMEOUT_MS);
        let deadline = Instant::now() + Duration::from_millis(wait_ms);
        let now_ms = clock::now_ms();
        let ticket = Ticket {
            id: id.unwrap_or_else(id::uuid),
            request,
            created_at_ms: now_ms,
            expires_at_ms: now_ms + wait_ms,
            decision: None,
        };
        let entry = Entry {
            ticket: ticket.clone(),
            caller,
            used: false,
            deadline,
            waiting: Vec::new(),
        };
        {
            let mut entries = self.lock();
            if entries.contains_key(&ticket.id) {
                return Err(OpenError::Pending);
            }
            if entries.len() >= MAX_OPEN {
                return Err(OpenError::Busy);
            }
            entries.insert(ticket.id.clone(), entry);
        }
        self.alarm.set(deadline);
        Ok(ticket)
    }

    /// Calls `done` when `id` is decided or expires; at once when it is decided. False when it is unknown.
    pub fn wait(&self, id: &str, done: Done) -> bool {
        let decided = {
            let mut entries = self.lock();
            match entries.get_mut(id) {
                None => return false,
                Some(e) if e.ticket.decision.is_none() => {
                    e.waiting.push(done);
                    return true;
                }
                Some(e) => e.ticket.clone(),
            }
        };
        done(&decided);
        true
    }

    /// Decides an open request. `None` when it is unknown, expired or decided.
    pub fn resolve(&self, id: &str, decision: Decision) -> Option<Ticket> {
        let now = Instant::now();
        let forget = now + AFTER_DECISION;
        let (ticket, waiting) = {
            let mut entries = self.lock();
            let e = entries
                .get_mut(id)
                .filter(|e| e.ticket.decision.is_none() && e.deadline > now)?;
            e.ticket.decision = Some(decision);
            e.deadline = forget;
            (e.ticket.clone(), std::mem::take(&mut e.waiting))
        };
        self.alarm.set(forget);
        for done in waiting {
            done(&ticket);
        }
        Some(ticket)
    }

    /// Ends an open request without a decision: nobody is there who could make one.
    pub fn abandon(&self, id: &str) -> Option<Ticket> {
        let entry = {
            let mut entries = self.lock();
            match entries.get(id) {
                Some(e) if e.ticket.decision.is_none() => entries.remove(id),
                _ => None,
            }
        }?;
        for done in entry.waiting {
            done(&entry.ticket);
        }
        Some(entry.ticket)
    }

    /// Uses up the approval `id` for exactly `what`, which `caller` wants to do.
    ///
    /// A refusal leaves it as it is, but for `argv`: where the request has none, the shown text decides,
    /// and the caller has compared it (see [`super::run`]).
    pub fn consume(&self, id: &str, what: &Request, caller: &Caller) -> Result<Decision, UseError> {
        let mut entries = self.lock();
        let now = Instant::now();
        let e = entries
            .get_mut(id)
            .filter(|e| e.deadline > now)
            .ok_or(UseError::Unknown)?;
        let asked = &e.ticket.request;
        match (&asked.node_id, &what.node_id) {
            (None, Some(_)) => return Err(UseError::NoNode),
            (a, b) if a != b => return Err(UseError::OtherNode),
            _ => {}
        }
        if !e.caller.same(caller) {
            return Err(UseError::OtherDevice);
        }
        let same = asked.command == what.command
            && (asked.argv.is_none() || asked.argv == what.argv)
            && asked.env == what.env
            && asked.cwd == what.cwd
            && asked.agent_id == what.agent_id
            && asked.session_key == what.session_key
            && (asked.host.is_none() || asked.host == what.host);
        if !same {
            return Err(UseError::Differs);
        }
        match e.ticket.decision {
            Some(d @ (Decision::AllowOnce | Decision::AllowAlways)) if !e.used => {
                e.used = true;
                Ok(d)
            }
            _ => Err(UseError::NotApproved),
        }
    }

    /// The requests that wait for a decision, oldest first.
    pub fn open_requests(&self) -> Vec<Ticket> {
        let mut out: Vec<Ticket> = self
            .lock()
            .values()
            .filter(|e| e.ticket.decision.is_none())
            .map(|e| e.ticket.clone())
            .collect();
        out.sort_by_key(|t| t.created_at_ms);
        out
    }

    /// Expires what is open too long and forgets what was decided long ago.
    pub fn expire(&self, now: Instant) {
        self.alarm.clear();
        let (over, next) = {
            let mut entries = self.lock();
            let ids: Vec<String> = entries
                .iter()
                .filter(|(_, e)| e.deadline <= now)
                .map(|(id, _)| id.clone())
                .collect();
            let over: Vec<Entry> = ids.iter().filter_map(|i| entries.remove(i)).collect();
            (over, entries.values().map(|e| e.deadline).min())
        };
        for e in over {
            for done in e.waiting {
                done(&e.ticket);
            }
        }
        if let Some(next) = next {
            self.alarm.set(next);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
