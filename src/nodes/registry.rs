//! The nodes that are connected now, and the commands that wait for their answers.
//!
//! One entry a node: a newer connection of the same node takes the place over, and invokes go there.
//! An answer counts only when it comes from the connection that was asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::{Alarm, WakeAt};
use crate::protocol::Event;
use crate::sys::id;

/// Invokes that may wait on all nodes together.
pub const MAX_PENDING: usize = 1024;
/// Invokes that may wait on one node.
pub const MAX_PENDING_PER_NODE: usize = 64;
/// How long an invoke waits when the caller says nothing, in milliseconds.
pub const DEFAULT_TIMEOUT_MS: u64 = 30_000;
/// Sessions that one node may follow.
pub const MAX_FOLLOWED: usize = 32;
/// The longest that an invoke may wait, in milliseconds: a day.
pub const MAX_TIMEOUT_MS: u64 = 24 * 60 * 60 * 1000;

/// Sends an event with that JSON text to a node; false when the connection is gone.
pub type Send = Arc<dyn Fn(Event, &str) -> bool + std::marker::Send + Sync>;

/// A node as its connection introduced it.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// The device id.
    pub node_id: String,
    pub conn_id: String,
    pub display_name: Option<String>,
    pub platform: Option<String>,
    pub version: Option<String>,
    pub core_version: Option<String>,
    pub ui_version: Option<String>,
    pub device_family: Option<String>,
    pub model_identifier: Option<String>,
    pub remote_ip: Option<String>,
    pub caps: Vec<String>,
    /// What it says it can do, as far as that was approved when it was paired.
    pub commands: Vec<String>,
    pub path_env: Option<String>,
    pub permissions: Option<Map<String, Value>>,
    /// Milliseconds since 1970.
    pub connected_at_ms: u64,
}

/// A command for a node.
#[derive(Clone, Debug)]
pub struct Invoke {
    pub node_id: String,
    pub command: String,
    /// JSON text, `None` when the caller gave no params.
    pub params_json: Option<String>,
    /// As the caller gave it; sent on to the node. `None` waits [`DEFAULT_TIMEOUT_MS`].
    pub timeout_ms: Option<u64>,
    pub idempotency_key: Option<String>,
    /// The run that the node may report on while this invoke waits (`system.run`).
    pub run: Option<RunTag>,
}

/// What `exec.*` events of a node have to name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunTag {
    pub run_id: Option<String>,
    pub session_key: Option<String>,
}

/// What a node answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub payload: Option<Value>,
    pub payload_json: Option<String>,
}

impl Answer {
    /// What it says: the JSON text read, else the payload as it came. Text that is not JSON stays a text.
    pub fn into_payload(self) -> Option<Value> {
        match self.payload_json {
            Some(text) => Some(serde_json::from_str(&text).unwrap_or(Value::String(text))),
            None => self.payload,
        }
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvokeError {
    NotConnected,
    TimedOut,
    /// It went away while `command` was waiting.
    Disconnected {
        command: String,
    },
    /// The node said no.
    Failed {
        code: Option<String>,
        message: Option<String>,
    },
    /// [`MAX_PENDING`] or [`MAX_PENDING_PER_NODE`] is reached.
    Busy,
}

impl std::fmt::Display for InvokeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            InvokeError::NotConnected => f.write_str("node not connected"),
            InvokeError::TimedOut => f.write_str("node invoke timed out"),
            InvokeError::Disconnected { command } => write!(f, "node disconnected ({command})"),
            InvokeError::Failed { message, .. } => {
                f.write_str(message.as_deref().unwrap_or("node invoke failed"))
            }
            InvokeError::Busy => f.write_str("too many commands wait for nodes; try again later"),
        }
    }
}

impl std::error::Error for InvokeError {}

/// Called once, with the answer or the reason that there is none.
pub type Done = Box<dyn FnOnce(Result<Answer, InvokeError>) + std::marker::Send>;

struct Live {
    node: Node,
    send: Send,
    /// Keys of the sessions whose chat it follows.
    follows: BTreeSet<String>,
}

struct Pending {
    node_id: String,
    conn_id: String,
    command: String,
    run: Option<RunTag>,
    deadline: Instant,
    done: Done,
}

#[derive(Default)]
struct Inner {
    nodes: BTreeMap<String, Live>,
    pending: BTreeMap<String, Pending>,
}

/// The connected nodes. One lock, `inner`; never held while a callback or a sender runs.
pub struct Registry {
    inner: Mutex<Inner>,
    alarm: Alarm,
}

impl Registry {
    pub fn new(wake: WakeAt) -> Registry {
        Registry {
            inner: Mutex::default(),
            alarm: Alarm::new(wake),
        }
    }

    /// Takes a node in. Answers the connection whose place it took, if there was one.
    ///
    /// Commands that wait on the older connection are not moved: they fail when that one closes.
    pub fn connect(&self, node: Node, send: Send) -> Option<String> {
        let live = Live {
            node,
            send,
            follows: BTreeSet::new(),
        };
        let id = live.node.node_id.clone();
        let old = self.lock().nodes.insert(id, live);
        old.map(|l| l.node.conn_id)
    }

    /// Forgets a connection: its node, unless another connection took over, and what waits on it.
    ///
    /// True when the node is no longer connected.
    pub fn disconnect(&self, conn_id: &str) -> bool {
        let (gone, failed) = {
            let mut inner = self.lock();
            let node = inner
                .nodes
                .iter()
                .find(|(_, l)| l.node.conn_id == conn_id)
                .map(|(id, _)| id.clone());
            if let Some(id) = &node {
                inner.nodes.remove(id);
            }
            let failed = inner.take(|p| p.conn_id == conn_id);
            (node.is_some(), failed)
        };
        for p in failed {
            let command = p.command;
            (p.done)(Err(InvokeError::Disconnected { command }));
        }
        gone
    }

    pub fn get(&self, node_id: &str) -> Option<Node> {
        self.lock().nodes.get(node_id).map(|l| l.node.clone())
    }

    /// Every connected node, by id.
    pub fn list(&self) -> Vec<Node> {
        self.lock().nodes.values().map(|l| l.node.clone()).collect()
    }

    /// Has a connection follow a session, or no longer. What is over [`MAX_FOLLOWED`] is not followed.
    pub fn follow(&self, conn_id: &str, session_key: &str, on: bool) {
        let mut inner = self.lock();
        let mut lives = inner.nodes.values_mut();
        let Some(live) = lives.find(|l| l.node.conn_id == conn_id) else {
            return;
        };
        if !on {
            live.follows.remove(session_key);
        } else if live.follows.len() < MAX_FOLLOWED {
            live.follows.insert(session_key.to_string());
        }
    }

    /// Sends an event with that JSON text to the nodes that follow a session.
    pub fn tell_followers(&self, session_key: &str, event: Event, payload: &str) {
        let sends: Vec<Send> = {
            let inner = self.lock();
            let follow = inner
                .nodes
                .values()
                .filter(|l| l.follows.contains(session_key));
            follow.map(|l| l.send.clone()).collect()
        };
        for send in sends {
            send(event, payload);
        }
    }

    /// Sends a command to its node; `done` is called with the answer, on whatever thread it comes in.
    ///
    /// Whether the command is allowed is for the caller to check, at the time of the call.
    pub fn invoke(&self, invoke: Invoke, done: Done) {
        let wait_ms = invoke.timeout_ms.unwrap_or(DEFAULT_TIMEOUT_MS);
        let deadline = Instant::now() + Duration::from_millis(wait_ms.min(MAX_TIMEOUT_MS));
        let id = id::uuid();
        let mut frame = json!({
            "id": id,
            "nodeId": invoke.node_id,
            "command": invoke.command,
            "paramsJSON": invoke.params_json,
        });
        if let Some(ms) = invoke.timeout_ms {
            frame["timeoutMs"] = json!(ms);
        }
        if let Some(key) = &invoke.idempotency_key {
            frame["idempotencyKey"] = json!(key);
        }
        // Entered before it is sent: the answer may be there before `send` returns.
        let send = {
            let mut inner = self.lock();
            match inner.enter(&id, invoke, deadline, done) {
                Ok(send) => send,
                Err((done, error)) => {
                    drop(inner);
                    return done(Err(error));
                }
            }
        };
        self.alarm.set(deadline);
        if !send(Event::NodeInvokeRequest, &frame.to_string()) {
            let pending = self.lock().pending.remove(&id);
            if let Some(p) = pending {
                (p.done)(Err(InvokeError::NotConnected));
            }
        }
    }

    /// The answer of a node to invoke `id`. False when nobody waits for it: late, unknown, or another's.
    pub fn result(&self, conn_id: &str, id: &str, result: Result<Answer, InvokeError>) -> bool {
        let pending = {
            let mut inner = self.lock();
            match inner.pending.get(id) {
                Some(p) if p.conn_id == conn_id => inner.pending.remove(id),
                _ => None,
            }
        };
        match pending {
            Some(p) => {
                (p.done)(result);
                true
            }
            None => false,
        }
    }

    /// The run that waits on that connection and that a report means: its id has to be the same, and its
    /// session where the report names one.
    pub fn waiting_run(&self, conn_id: &str, report: &RunTag) -> Option<RunTag> {
        let inner = self.lock();
        let mut runs = inner
            .pending
            .values()
            .filter(|p| p.conn_id == conn_id)
            .filter_map(|p| p.run.as_ref());
        let meant = |r: &&RunTag| {
            r.run_id.is_some()
                && r.run_id == report.run_id
                && (report.session_key.is_none() || r.session_key == report.session_key)
        };
        runs.find(meant).cloned()
    }

    /// Ends the commands whose time is over.
    pub fn expire(&self, now: Instant) {
        self.alarm.clear();
        let (over, next) = {
            let mut inner = self.lock();
            let over = inner.take(|p| p.deadline <= now);
            (over, inner.pending.values().map(|p| p.deadline).min())
        };
        for p in over {
            (p.done)(Err(InvokeError::TimedOut));
        }
        if let Some(next) = next {
            self.alarm.set(next);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn enter(
        &mut self,
        id: &str,
        invoke: Invoke,
        deadline: Instant,
        done: Done,
    ) -> Result<Send, (Done, InvokeError)> {
        let Some(live) = self.nodes.get(&invoke.node_id) else {
            return Err((done, InvokeError::NotConnected));
        };
        let waiting = |p: &&Pending| p.node_id == invoke.node_id;
        if self.pending.len() >= MAX_PENDING
            || self.pending.values().filter(waiting).count() >= MAX_PENDING_PER_NODE
        {
            return Err((done, InvokeError::Busy));
        }
        let pending = Pending {
            conn_id: live.node.conn_id.clone(),
            node_id: invoke.node_id,
            command: invoke.command,
            run: invoke.run,
            deadline,
            done,
        };
        let send = live.send.clone();
        self.pending.insert(id.to_string(), pending);
        Ok(send)
    }

    fn take(&mut self, over: impl Fn(&Pending) -> bool) -> Vec<Pending> {
        let ids: Vec<String> = self
            .pending
            .iter()
            .filter(|(_, p)| over(p))
            .map(|(id, _)| id.clone())
            .collect();
        ids.iter().filter_map(|i| self.pending.remove(i)).collect()
    }
}

#[cfg(test)]
mod tests;
