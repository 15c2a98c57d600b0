//! The sessions of all agents: `agents/<id>/sessions/sessions.json`, session key to entry.
//!
//! [`Store`] is the only writer in this process. A change is on disk when the call that made it returns;
//! fields that we do not know are kept. Keys are canonical ones (see [`super::session_key`]); what a
//! session said is in its transcript (see [`super::transcript`]).

mod agent;
mod disk;
mod entry;
mod list;
mod patch;
mod reset;
mod slots;
mod upkeep;

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, RwLock};

use serde_json::{Map, Value, json};

use agent::{Agent, Change};
use slots::{Slot, Slots};

use super::{Error, Paths, session_key, transcript};
use crate::sys::{clock, id, sync};

pub use entry::Entry;
pub use list::{Filter, Row, delivery_context, row};
pub use patch::{Choice, LABEL_MAX, ModelChoice, PatchError, thinking_level, verbose_level};
pub use reset::{Freshness, Policy, Renewal};
pub use upkeep::{Bounds, OutOfBounds};

/// Bytes of a session key that can be stored.
const MAX_KEY: usize = 1024;
/// Bytes of one entry that can be stored.
const MAX_ENTRY: u64 = 4 * 1024 * 1024;

/// The sessions of all agents. Locks: `agents` and `default_agent` for a moment each, never both.
pub struct Store {
    paths: Paths,
    default_agent: RwLock<String>,
    agents: Mutex<HashMap<String, Arc<Agent>>>,
}

/// What a reset or a deletion did.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The entry as it was.
    pub old: Option<Entry>,
    /// The entry that took its place; `None` after a deletion.
    pub new: Option<Entry>,
    /// Where the transcript is now.
    pub archived: Vec<PathBuf>,
}

/// What `sessions.compact` did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compacted {
    /// There is no such session.
    NoSession,
    /// It has said nothing yet.
    NoTranscript,
    /// The transcript has `kept` lines, which is few enough.
    Short { kept: usize },
    /// The transcript was cut to its last `kept` lines; the whole of it is in `archived`.
    Cut { kept: usize, archived: PathBuf },
}

impl Store {
    /// A store on the state directory of `paths`. Nothing is read before it is needed.
    pub fn new(paths: Paths) -> Store {
        Store {
            paths,
            default_agent: RwLock::new(session_key::DEFAULT_AGENT.to_string()),
            agents: Mutex::new(HashMap::new()),
        }
    }

    /// Has keys without an agent (`global`) belong to `agent` from now on; until then, to `main`.
    pub fn set_default_agent(&self, agent: &str) {
        *sync::write(&self.default_agent) = session_key::agent_id(agent);
    }

    /// The path of the sessions file that `key` belongs to.
    pub fn file(&self, key: &str) -> PathBuf {
        self.paths.sessions_file(&self.agent_of(key))
    }

    /// The entry of `key`.
    pub fn get(&self, key: &str) -> Result<Option<Entry>, Error> {
        let slots = self.agent(&self.agent_of(key)).slots()?;
        Ok(slots.get(key).and_then(Slot::entry))
    }

    /// How many sessions `agent` has.
    pub fn count(&self, agent: &str) -> Result<usize, Error> {
        Ok(self.agent(agent).slots()?.len())
    }

    /// How many sessions `agent` has, and the keys and times (ms) of the `n` last used, the newest first.
    pub fn newest(&self, agent: &str, n: usize) -> Result<(usize, Vec<(String, u64)>), Error> {
        let slots = self.agent(agent).slots()?;
        let mut newest: Vec<(&Arc<str>, u64)> = slots
            .iter()
            .map(|(key, slot)| (key, slot.updated_at))
            .collect();
        newest.sort_by(|(a, x), (b, y)| y.cmp(x).then_with(|| a.cmp(b)));
        newest.truncate(n);
        let newest = newest.into_iter().map(|(key, at)| (key.to_string(), at));
        Ok((slots.len(), newest.collect()))
    }

    /// Changes the entry of `key`, which is made with a new session id when it is missing, and returns
    /// it. `updatedAt` is now before `change` sees it, and whatever `change` leaves there.
    pub fn update(
        &self,
        key: &str,
        change: impl FnOnce(&mut Map<String, Value>),
    ) -> Result<Entry, Error> {
        self.edit(key, |slots| {
            let mut map = touched(slots, key, clock::now_ms());
            change(&mut map);
            Ok((Some(map.clone()), Entry::from(map)))
        })
    }

    /// As [`Store::update`], but `None` and nothing written when there is no entry, or when it has
    /// another session id than `session_id`: a late result of a run must not land in a new session.
    pub fn update_session(
        &self,
        key: &str,
        session_id: &str,
        change: impl FnOnce(&mut Map<String, Value>),
    ) -> Result<Option<Entry>, Error> {
        self.edit(key, |slots| {
            let same = slots
                .get(key)
                .is_some_and(|s| s.head().session_id.is(session_id));
            if !same {
                return Ok((None, None));
            }
            let mut map = touched(slots, key, clock::now_ms());
            change(&mut map);
            Ok((Some(map.clone()), Some(Entry::from(map))))
        })
    }

    /// Applies the settings of `sessions.patch` and returns the entry. The key `model` needs `models`
    /// to say what a model's name stands for.
    pub fn patch(
        &self,
        key: &str,
        patch: &Map<String, Value>,
        models: &dyn ModelChoice,
    ) -> Result<Entry, PatchError> {
        self.edit(key, |slots| {
            let old = slots.get(key).and_then(Slot::entry);
            let mut map = touched(slots, key, clock::now_ms());
            let taken = |label: &str| {
                slots
                    .iter()
                    .any(|(k, s)| k.as_ref() != key && s.head().label.is(label))
            };
            patch::apply(key, old.as_ref(), &mut map, patch, models, &taken)?;
            Ok((Some(map.clone()), Entry::from(map)))
        })
    }

    /// Starts the session of `key` anew as `sessions.reset` does: a new session id, the settings kept,
    /// the transcript archived. The entry is made when it is missing.
    pub fn reset(&self, key: &str) -> Result<Ended, Error> {
        self.replace(key, true, |old| reset::reset(old, clock::now_ms()))
    }

    /// Gives the session of `key` a new id because it is stale, or because somebody typed so. A typed
    /// reset archives the transcript; a stale one stays where it is.
    pub fn renew(&self, key: &str, renewal: Renewal) -> Result<Ended, Error> {
        let typed = renewal == Renewal::Typed;
        self.replace(key, typed, |old| {
            reset::renew(old, renewal, clock::now_ms())
        })
    }

    /// Removes the session of `key`; its transcript is archived if `archive`.
    pub fn delete(&self, key: &str, archive: bool) -> Result<Ended, Error> {
        let old = self
            .edit_entry(key, |old| (old.map(|_| Change::Remove), ()))?
            .0;
        let archived = match (&old, archive) {
            (Some(old), true) => self.archive(key, old, "deleted"),
            _ => Vec::new(),
        };
        Ok(Ended {
            old,
            new: None,
            archived,
        })
    }

    /// The path of the transcript of `entry`, inside the sessions folder of the key's agent; `None` when
    /// its session id is no file name. The file need not be there.
    pub fn transcript(&self, key: &str, entry: &Entry) -> Option<PathBuf> {
        transcript::locate(&self.paths, &self.agent_of(key), entry)
    }

    /// Cuts the transcript of `key` to its last `max_lines` lines.
    pub fn compact(&self, key: &str, max_lines: usize) -> Result<Compacted, Error> {
        let Some(entry) = self.get(key)?.filter(|e| e.session_id().is_some()) else {
            return Ok(Compacted::NoSession);
        };
        let Some(path) = self.transcript(key, &entry).filter(|p| p.is_file()) else {
            return Ok(Compacted::NoTranscript);
        };
        match transcript::compact(&path, max_lines).map_err(Error::io(&path))? {
            transcript::Cut::Short { lines } => Ok(Compacted::Short { kept: lines }),
            transcript::Cut::Done { kept, archived } => {
                let id = entry.session_id().unwrap_or_default();
                self.update_session(key, id, |map| {
                    for name in [
                        "inputTokens",
                        "outputTokens",
                        "totalTokens",
                        "totalTokensFresh",
                    ] {
                        map.remove(name);
                    }
                })?;
                Ok(Compacted::Cut { kept, archived })
            }
        }
    }

    /// The sessions of `agents` that `filter` lets through, the last used first.
    pub fn list(&self, agents: &[String], filter: &Filter) -> Result<Vec<Row>, Error> {
        let mut all = Vec::new();
        for agent in agents {
            all.push(self.agent(agent).slots()?);
        }
        Ok(list::select(&all, filter, clock::now_ms()))
    }

    /// The key of the session with that id among those of `agents`.
    pub fn find_session_id(&self, agents: &[String], id: &str) -> Result<Option<String>, Error> {
        self.find(agents, |slot| slot.head().session_id.is(id))
    }

    /// The key of the session with that label among those of `agents`.
    pub fn find_label(&self, agents: &[String], label: &str) -> Result<Option<String>, Error> {
        self.find(agents, |slot| slot.head().label.is(label))
    }

    /// The agents that have a folder in the state directory, sorted.
    pub fn agents_on_disk(&self) -> Vec<String> {
        let mut found: Vec<String> = fs::read_dir(self.paths.agents())
            .into_iter()
            .flatten()
            .flatten()
            .filter(|e| e.path().is_dir())
            .filter_map(|e| e.file_name().into_string().ok())
            .filter(|name| session_key::agent_id(name) == *name)
            .collect();
        found.sort();
        found
    }

    /// Brings every sessions.json up to date, so that there is nothing in a journal: at start, when the
    /// gateway is idle, and before it ends. Errors are logged; what was acknowledged is on disk anyway.
    pub fn settle(&self) {
        for id in self.agents_on_disk() {
            if let Err(e) = self.agent(&id).fold() {
                log::warn!(target: "state", "cannot settle the sessions of agent {id}: {e}");
            }
        }
    }

    fn find(
        &self,
        agents: &[String],
        fits: impl Fn(&Slot) -> bool,
    ) -> Result<Option<String>, Error> {
        let mut best: Option<(u64, Arc<str>)> = None;
        for agent in agents {
            for (key, slot) in self.agent(agent).slots()?.iter() {
                let newer = best.as_ref().is_none_or(|(at, _)| slot.updated_at > *at);
                if newer && fits(slot) {
                    best = Some((slot.updated_at, key.clone()));
                }
            }
        }
        Ok(best.map(|(_, key)| key.to_string()))
    }

    fn replace(
        &self,
        key: &str,
        archive: bool,
        next: impl FnOnce(Option<&Entry>) -> Entry,
    ) -> Result<Ended, Error> {
        let (old, new) = self.edit_entry(key, |old| {
            let new = next(old);
            (Some(Change::Put(Slot::of(new.map()))), new)
        })?;
        let archived = match (&old, archive) {
            (Some(old), true) => self.archive(key, old, "reset"),
            _ => Vec::new(),
        };
        Ok(Ended {
            old,
            new: Some(new),
            archived,
        })
    }

    fn archive(&self, key: &str, entry: &Entry, reason: &str) -> Vec<PathBuf> {
        let path = self.transcript(key, entry).filter(|p| p.is_file());
        path.and_then(|p| match super::aside::rename(&p, reason) {
            Ok(to) => Some(to),
            Err(e) => {
                log::warn!(target: "state", "cannot archive {}: {e}", p.display());
                None
            }
        })
        .into_iter()
        .collect()
    }

    /// Changes the entry of `key` by its old value; returns the old one and what `change` made.
    fn edit_entry<T>(
        &self,
        key: &str,
        change: impl FnOnce(Option<&Entry>) -> (Option<Change>, T),
    ) -> Result<(Option<Entry>, T), Error> {
        check_key(key)?;
        self.agent(&self.agent_of(key)).change(key, |slots| {
            let old = slots.get(key).and_then(Slot::entry);
            let (change, made) = change(old.as_ref());
            Ok((change.unwrap_or(Change::Nothing), (old, made)))
        })
    }

    fn edit<T, E: From<Error>>(
        &self,
        key: &str,
        change: impl FnOnce(&Slots) -> Result<(Option<Map<String, Value>>, T), E>,
    ) -> Result<T, E> {
        check_key(key)?;
        self.agent(&self.agent_of(key)).change(key, |slots| {
            let (map, made) = change(slots)?;
            let Some(map) = map else {
                return Ok((Change::Nothing, made));
            };
            let slot = Slot::of(&map);
            if slot.text.len() as u64 > MAX_ENTRY {
                return Err(Error::TooLarge {
                    what: "a session's entry",
                    max: MAX_ENTRY,
                }
                .into());
            }
            Ok((Change::Put(slot), made))
        })
    }

    fn agent_of(&self, key: &str) -> String {
        session_key::agent_of(key, &sync::read(&self.default_agent))
    }

    fn agent(&self, id: &str) -> Arc<Agent> {
        let id = session_key::agent_id(id);
        let mut agents = sync::lock(&self.agents);
        if let Some(agent) = agents.get(&id) {
            return agent.clone();
        }
        let agent = Arc::new(Agent::new(&self.paths, &id));
        // Whoever asks for agents that do not exist must not make us remember them.
        if self.paths.sessions(&id).is_dir() {
            agents.insert(id, agent.clone());
        }
        agent
    }
}

/// The entry of `key`, or a new one, used `now`.
fn touched(slots: &Slots, key: &str, now: u64) -> Map<String, Value> {
    match slots.get(key).and_then(Slot::entry) {
        Some(entry) => {
            let at = entry.updated_at().max(now);
            let mut map = entry.into_map();
            if !map.get("sessionId").is_some_and(Value::is_string) {
                map.insert("sessionId".into(), json!(id::uuid()));
            }
            map.insert("updatedAt".into(), json!(at));
            map
        }
        None => Map::from_iter([
            ("sessionId".to_string(), json!(id::uuid())),
            ("updatedAt".to_string(), json!(now)),
        ]),
    }
}

fn check_key(key: &str) -> Result<(), Error> {
    if key.is_empty() || key.len() > MAX_KEY || key.chars().any(char::is_control) {
        return Err(Error::BadName {
            what: "a session key",
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
