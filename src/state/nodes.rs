//! Node pairing of its own, beside the pairing of devices: `nodes/pending.json` and `nodes/paired.json`.
//!
//! Older node hosts ask here for a token and prove themselves with it. It opens no connection: connecting
//! is a matter of `devices`.

use std::fmt;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value, json};

use super::Paths;
use super::table::Table;
use crate::sys::{clock, id, secret};

/// Life of a pending request in milliseconds.
const PENDING_TTL_MS: u64 = 5 * 60_000;
/// Pending requests that are kept; the oldest gives way.
const MAX_PENDING: usize = 64;
/// Nodes that may be paired.
const MAX_PAIRED: usize = 1024;
/// Random bytes of a token.
const TOKEN_BYTES: usize = 32;
/// What a request says about its node, taken over when it is approved.
const DESCRIPTION: &[&str] = &[
    "displayName",
    "platform",
    "version",
    "coreVersion",
    "uiVersion",
    "deviceFamily",
    "modelIdentifier",
    "caps",
    "commands",
    "permissions",
    "remoteIp",
];

/// Why a change was refused or failed.
#[derive(Debug)]
pub enum Error {
    UnknownRequest,
    UnknownNode,
    /// As many nodes are paired as may be.
    Full,
    Io(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::UnknownRequest => f.write_str("unknown requestId"),
            Error::UnknownNode => f.write_str("unknown nodeId"),
            Error::Full => write!(f, "{MAX_PAIRED} nodes are paired; remove one first"),
            Error::Io(e) => write!(f, "node store: {e}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(e: io::Error) -> Self {
        Error::Io(e)
    }
}

/// The two files. One lock, held while they are read or replaced.
pub struct Store(Mutex<State>);

struct State {
    pending: Table,
    paired: Table,
}

impl Store {
    /// The store below the state directory of `paths`. Nothing is read before it is needed.
    pub fn new(paths: Paths) -> Store {
        Store(Mutex::new(State {
            pending: Table::new(paths.nodes_pending()),
            paired: Table::new(paths.nodes_paired()),
        }))
    }

    /// Asks for a node to be paired; `node` has `nodeId` and what describes it.
    ///
    /// Answers the request as the wire shows it, and whether it is new. A request that waits already is
    /// never changed: the same content gets the same request, other content a new one.
    pub fn request(&self, node: &Map<String, Value>) -> Result<(Value, bool), Error> {
        let mut s = self.lock()?;
        let now = clock::now_ms();
        s.drop_stale(now);
        let mut row = Map::new();
        for key in ["nodeId", "silent"].iter().chain(DESCRIPTION) {
            if let Some(v) = node.get(*key).filter(|v| !v.is_null()) {
                row.insert((*key).to_string(), v.clone());
            }
        }
        let node_id = text(&row, "nodeId");
        row.insert(
            "isRepair".into(),
            json!(s.paired.rows.contains_key(&node_id)),
        );
        let content = |r: &Value| {
            let mut r = r.as_object().cloned().unwrap_or_default();
            r.retain(|k, _| k != "requestId" && k != "ts");
            r
        };
        if let Some(known) = s.pending.rows.values().find(|r| content(r) == row) {
            return Ok((known.clone(), false));
        }
        s.pending
            .rows
            .retain(|_, r| r["nodeId"] != node_id.as_str());
        while s.pending.rows.len() >= MAX_PENDING {
            let by_age = |r: &(&String, &Value)| r.1["ts"].as_u64();
            let oldest = s.pending.rows.iter().min_by_key(by_age);
            match oldest.map(|(id, _)| id.clone()) {
                Some(id) => s.pending.rows.remove(&id),
                None => break,
            };
        }
        let request_id = id::uuid();
        row.insert("requestId".into(), json!(request_id));
        row.insert("ts".into(), json!(now));
        let row = Value::Object(row);
        s.pending.rows.insert(request_id, row.clone());
        s.pending.save()?;
        Ok((row, true))
    }

    /// `{pending, paired}`, newest first. The tokens are in it, as the wire has them.
    pub fn list(&self) -> Result<Value, Error> {
        let mut s = self.lock()?;
        s.drop_stale(clock::now_ms());
        let sorted = |t: &Table, key: &'static str| {
            let mut rows: Vec<Value> = t.rows.values().cloned().collect();
            rows.sort_by_key(|r| std::cmp::Reverse(r[key].as_u64()));
            rows
        };
        Ok(json!({
            "pending": sorted(&s.pending, "ts"),
            "paired": sorted(&s.paired, "approvedAtMs"),
        }))
    }

    /// A request that waits, as it was asked.
    pub fn pending(&self, request_id: &str) -> Result<Value, Error> {
        self.lock()?.waiting(request_id).cloned()
    }

    /// Approves a request; gives the node with its new token.
    pub fn approve(&self, request_id: &str) -> Result<Value, Error> {
        let mut s = self.lock()?;
        let now = clock::now_ms();
        let request = s.waiting(request_id)?.clone();
        let node_id = request["nodeId"].as_str().unwrap_or_default().to_string();
        let known = s.paired.rows.get(&node_id).cloned();
        if known.is_none() && s.paired.rows.len() >= MAX_PAIRED {
            return Err(Error::Full);
        }
        let created = known
            .as_ref()
            .map_or(json!(now), |k| k["createdAtMs"].clone());
        // Fields that we do not know stay; what the request describes is replaced whole.
        let mut row = known
            .and_then(|k| k.as_object().cloned())
            .unwrap_or_default();
        for key in DESCRIPTION {
            row.remove(*key);
            if let Some(v) = request.get(*key) {
                row.insert((*key).to_string(), v.clone());
            }
        }
        row.insert("nodeId".into(), json!(node_id));
        row.insert(
            "token".into(),
            json!(id::b64url(&id::random::<TOKEN_BYTES>())),
        );
        row.insert("createdAtMs".into(), created);
        row.insert("approvedAtMs".into(), json!(now));
        let row = Value::Object(row);
        s.paired.rows.insert(node_id, row.clone());
        s.paired.save()?;
        s.pending.rows.remove(request_id);
        s.pending.save()?;
        Ok(row)
    }

    /// Forgets a request; gives the node's id.
    pub fn reject(&self, request_id: &str) -> Result<String, Error> {
        let mut s = self.lock()?;
        let node_id = s.waiting(request_id)?["nodeId"]
            .as_str()
            .unwrap_or_default()
            .to_string();
        s.pending.rows.remove(request_id);
        s.pending.save()?;
        Ok(node_id)
    }

    /// The node whose token that is; `None` for a wrong token or an unknown node alike.
    pub fn verify(&self, node_id: &str, token: &str) -> Result<Option<Value>, Error> {
        let s = self.lock()?;
        let node = s.paired.rows.get(node_id);
        let held = node.and_then(|n| n["token"].as_str()).unwrap_or_default();
        let same = secret::same(token, held);
        Ok(node.filter(|_| same && !token.is_empty()).cloned())
    }

    /// Gives a paired node another name.
    pub fn rename(&self, node_id: &str, name: &str) -> Result<(), Error> {
        let mut s = self.lock()?;
        let node = s
            .paired
            .rows
            .get_mut(node_id)
            .and_then(Value::as_object_mut);
        node.ok_or(Error::UnknownNode)?
            .insert("displayName".into(), json!(name));
        Ok(s.paired.save()?)
    }

    fn lock(&self) -> Result<MutexGuard<'_, State>, Error> {
        let mut s = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        s.pending.refresh()?;
        s.paired.refresh()?;
        Ok(s)
    }
}

impl State {
    fn drop_stale(&mut self, now: u64) {
        self.pending.rows.retain(|_, r| is_fresh(r, now));
    }

    fn waiting(&self, request_id: &str) -> Result<&Value, Error> {
        let row = self.pending.rows.get(request_id);
        row.filter(|r| is_fresh(r, clock::now_ms()))
            .ok_or(Error::UnknownRequest)
    }
}

fn is_fresh(row: &Value, now: u64) -> bool {
    now.saturating_sub(row["ts"].as_u64().unwrap_or(0)) <= PENDING_TTL_MS
}

fn text(row: &Map<String, Value>, key: &str) -> String {
    row.get(key)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::testing::Folder;
    use std::fs;

    fn node(commands: &[&str]) -> Map<String, Value> {
        let v = json!({"nodeId": "n", "platform": "linux", "commands": commands, "token": "mine", "uiVersion": null});
        v.as_object().cloned().unwrap()
    }

    fn store(dir: &Folder) -> Store {
        Store::new(Paths::new(dir.path()))
    }

    #[test]
    fn a_node_is_paired_verified_and_renamed() {
        let dir = Folder::new();
        let s = store(&dir);
        let (request, created) = s.request(&node(&["a"])).unwrap();
        assert!(created && request["isRepair"] == false && request.get("token").is_none());
        assert_eq!(s.request(&node(&["a"])).unwrap(), (request.clone(), false));
        let id = request["requestId"].as_str().unwrap();
        let paired = s.approve(id).unwrap();
        assert!(matches!(s.approve(id), Err(Error::UnknownRequest)));
        let token = paired["token"].as_str().unwrap();
        assert_eq!(token.len(), 43);
        assert_eq!(
            store(&dir).verify("n", token).unwrap(),
            Some(paired.clone())
        );
        for (node, token) in [("n", ""), ("n", "wrong"), ("x", token), ("x", "")] {
            assert_eq!(s.verify(node, token).unwrap(), None);
        }
        s.rename("n", "New").unwrap();
        assert!(matches!(s.rename("x", "New"), Err(Error::UnknownNode)));
        assert_eq!(s.list().unwrap()["paired"][0]["displayName"], "New");
        let (again, _) = s.request(&node(&["a"])).unwrap();
        assert_eq!(again["isRepair"], true);
        assert_eq!(s.reject(again["requestId"].as_str().unwrap()).unwrap(), "n");
        assert_eq!(s.list().unwrap()["pending"], json!([]));
    }

    /// HS-03
    #[test]
    fn a_request_never_changes_under_the_eyes_of_its_approver() {
        let dir = Folder::new();
        let s = store(&dir);
        let (shown, _) = s.request(&node(&["camera.snap"])).unwrap();
        let (wider, created) = s.request(&node(&["camera.snap", "system.run"])).unwrap();
        assert!(created && wider["requestId"] != shown["requestId"]);
        let approved = s.approve(shown["requestId"].as_str().unwrap());
        assert!(matches!(approved, Err(Error::UnknownRequest)));
        assert_eq!(s.list().unwrap()["paired"], json!([]));
    }

    #[test]
    fn requests_grow_stale_and_are_bounded() {
        let dir = Folder::new();
        let s = store(&dir);
        let path = Paths::new(dir.path()).nodes_pending();
        let (request, _) = s.request(&node(&[])).unwrap();
        let id = request["requestId"].as_str().unwrap();
        let mut rows: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        rows[id]["ts"] = json!(clock::now_ms() - PENDING_TTL_MS - 1000);
        fs::write(&path, rows.to_string()).unwrap();
        assert!(matches!(s.approve(id), Err(Error::UnknownRequest)));
        for i in 0..MAX_PENDING + 5 {
            let mut n = node(&[]);
            n.insert("nodeId".into(), json!(format!("n{i}")));
            s.request(&n).unwrap();
        }
        let count = s.list().unwrap()["pending"].as_array().unwrap().len();
        assert_eq!(count, MAX_PENDING);
    }

    #[test]
    fn unknown_fields_of_a_paired_node_are_kept() {
        let dir = Folder::new();
        let s = store(&dir);
        let path = Paths::new(dir.path()).nodes_paired();
        file_with(
            &path,
            json!({"n": {"nodeId": "n", "token": "t", "bins": ["x"], "platform": "ios", "createdAtMs": 5}}),
        );
        assert!(s.verify("n", "t").unwrap().is_some());
        let (request, _) = s.request(&node(&["a"])).unwrap();
        let paired = s.approve(request["requestId"].as_str().unwrap()).unwrap();
        assert_eq!(
            (&paired["bins"], &paired["createdAtMs"]),
            (&json!(["x"]), &json!(5))
        );
        assert_eq!(paired["platform"], "linux");
        assert_ne!(paired["token"], "t");
    }

    fn file_with(path: &std::path::Path, value: Value) {
        crate::sys::file::make_private_dir(path.parent().unwrap()).unwrap();
        fs::write(path, value.to_string()).unwrap();
    }
}
