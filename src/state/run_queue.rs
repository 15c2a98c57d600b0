//! Runs that were accepted and wait for their session, one file each in `<state>/run-queue/`.
//!
//! A message that finds its session free is stored in the transcript before it is acknowledged; one that
//! has to wait is stored here, so that a crash loses neither. What a file says is the agent room's.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::aside;
use super::paths::plain_name;
use crate::sys::{clock, file, id};

/// Files that are read at a start; more cannot have been accepted.
const MAX_FILES: usize = 1024;
/// Bytes of one file that are read.
const MAX_FILE: u64 = 64 * 1024 * 1024;

/// The queue on disk.
#[derive(Clone, Debug)]
pub struct RunQueue {
    dir: PathBuf,
}

/// A stored run; the name of its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket(String);

impl RunQueue {
    pub fn new(dir: impl Into<PathBuf>) -> RunQueue {
        RunQueue { dir: dir.into() }
    }

    /// Stores `run`; it is on disk when this returns.
    pub fn put<T: Serialize>(&self, run: &T) -> io::Result<Ticket> {
        file::make_private_dir(&self.dir)?;
        // Names sort by age, also within a millisecond.
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{:015}-{count:010}-{}.json", clock::now_ms(), id::hex8());
        file::write_atomic(&self.dir.join(&name), &serde_json::to_vec(run)?)?;
        Ok(Ticket(name))
    }

    /// Forgets a stored run: it is in a transcript now, or was called off.
    pub fn remove(&self, ticket: &Ticket) {
        let path = self.dir.join(&ticket.0);
        if let Err(e) = fs::remove_file(&path)
            && e.kind() != io::ErrorKind::NotFound
        {
            log::warn!(target: "state", "cannot remove {}: {e}", path.display());
        }
    }

    /// What was left by the process before, the oldest first. A file that cannot be read is put aside.
    pub fn load<T: DeserializeOwned>(&self) -> Vec<(Ticket, T)> {
        let Ok(entries) = fs::read_dir(&self.dir) else {
            return Vec::new();
        };
        let mut names: Vec<String> = entries
            .flatten()
            .filter_map(|e| e.file_name().into_string().ok())
            .filter(|n| n.ends_with(".json") && plain_name(n).is_some())
            .collect();
        names.sort();
        names.truncate(MAX_FILES);
        let mut found = Vec::new();
        for name in names {
            let path = self.dir.join(&name);
            match read(&path) {
                Ok(run) => found.push((Ticket(name), run)),
                Err(e) => {
                    log::warn!(target: "state", "a waiting run is put aside: {}: {e}", path.display());
                    let _ = aside::rename(&path, "broken");
                }
            }
        }
        found
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    let bytes = file::read_bounded(path, MAX_FILE)?;
    // The parser's own words would quote the message.
    serde_json::from_slice(&bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not a stored run"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::testing::Folder;
    use serde_json::{Value, json};

    #[test]
    fn runs_come_back_in_order_until_they_are_removed() {
        let dir = Folder::new();
        let queue = RunQueue::new(dir.path().join("run-queue"));
        assert!(queue.load::<Value>().is_empty());
        let tickets: Vec<Ticket> = (0..5).map(|n| queue.put(&json!(n)).unwrap()).collect();
        let numbers = || -> Vec<Value> { queue.load().into_iter().map(|(_, v)| v).collect() };
        assert_eq!(numbers(), [0, 1, 2, 3, 4]);
        queue.remove(&tickets[0]);
        queue.remove(&tickets[0]);
        assert_eq!(numbers(), [1, 2, 3, 4]);
    }

    #[test]
    fn what_is_broken_is_put_aside() {
        let dir = Folder::new();
        let queue = RunQueue::new(dir.path());
        fs::write(dir.path().join("1.json"), "{").unwrap();
        fs::write(dir.path().join("2.json"), "{}").unwrap();
        assert_eq!(queue.load::<Value>().len(), 1);
        assert!(!dir.path().join("1.json").exists());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
