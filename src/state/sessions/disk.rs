//! The sessions of one agent on disk: sessions.json, and a journal beside it while that is large.
//!
//! A journal line holds a whole entry, so that replaying it twice does no harm. Its first line tells
//! which sessions.json it continues: if somebody else has written that meanwhile, an entry of the journal
//! only counts where it is newer than what the file says, and a removal not at all.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::slots::{self, Slot, Slots};
use crate::state::{Error, Paths, aside, session_key};
use crate::sys::file::{self, Stamp};
use crate::sys::lock::FileLock;

/// Size of a sessions.json or a journal that is still read, in bytes.
const MAX_BYTES: u64 = 512 * 1024 * 1024;
/// How long a writer waits for another process.
const LOCK_WAIT: Duration = Duration::from_secs(10);
/// Reads that are tried while somebody else keeps folding.
const READ_TRIES: usize = 5;

/// The files of one agent.
pub(super) struct Disk {
    agent: String,
    folder: PathBuf,
    file: PathBuf,
    journal: PathBuf,
    lock: PathBuf,
}

/// The versions of the two files; `None` for one that is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamps {
    pub file: Option<Stamp>,
    pub journal: Option<Stamp>,
}

/// What reading found.
pub(super) struct Found {
    pub slots: Slots,
    pub stamps: Stamps,
    /// Why sessions.json could not be read to its end.
    pub broken: Option<String>,
}

#[derive(Serialize, Deserialize, Default)]
struct Line<'a> {
    /// Only in the first line: see [`base`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    base: Option<String>,
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    key: Option<Cow<'a, str>>,
    /// Missing when the session was removed.
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    entry: Option<&'a RawValue>,
}

impl Disk {
    pub fn new(paths: &Paths, agent: &str) -> Disk {
        Disk {
            agent: session_key::agent_id(agent),
            folder: paths.sessions(agent),
            file: paths.sessions_file(agent),
            journal: paths.sessions_journal(agent),
            lock: paths.sessions_lock(agent),
        }
    }

    /// The path of sessions.json.
    pub fn path(&self) -> &Path {
        &self.file
    }

    pub fn stamps(&self) -> Stamps {
        Stamps {
            file: file::stamp(&self.file),
            journal: file::stamp(&self.journal),
        }
    }

    /// Takes the lock that keeps other processes from writing; makes the folder when it is missing.
    pub fn lock(&self) -> Result<FileLock, Error> {
        file::make_private_dir(&self.folder).map_err(Error::io(&self.folder))?;
        Ok(FileLock::acquire_silently(&self.lock, LOCK_WAIT)?)
    }

    /// Reads what is there, changing nothing. Needs no lock.
    pub fn read(&self) -> Result<Found, Error> {
        let mut tries = 1;
        loop {
            let stamps = self.stamps();
            let text = read_if_there(&self.file)?;
            let journal = read_if_there(&self.journal)?;
            // A fold in between moves the journal into a newer file than the one that was read.
            if tries < READ_TRIES && file::stamp(&self.file) != stamps.file {
                tries += 1;
                continue;
            }
            let mut parsed = text
                .map(|t| slots::parse(&t, &self.agent))
                .unwrap_or_default();
            if let Some(journal) = &journal {
                replay(&mut parsed.slots, journal, stamps.file, &self.journal);
            }
            return Ok(Found {
                slots: parsed.slots,
                stamps,
                broken: parsed.broken,
            });
        }
    }

    /// Sets a sessions.json that could not be read to its end aside; under the lock.
    pub fn set_aside(&self, reason: &str, read: usize) -> Result<(), Error> {
        let kept = aside::move_broken(&self.file).map_err(Error::io(&self.file))?;
        log::error!(
            target: "state",
            "{} is broken ({reason}): kept as {}, going on with the {read} sessions that could be read",
            self.file.display(),
            kept.display(),
        );
        Ok(())
    }

    /// Writes sessions.json whole and removes the journal; under the lock.
    pub fn write_whole(&self, slots: &Slots) -> Result<Stamps, Error> {
        file::write_atomic(&self.file, &slots::render(slots)).map_err(Error::io(&self.file))?;
        match fs::remove_file(&self.journal) {
            Ok(()) => file::sync_dir(&self.folder).map_err(Error::io(&self.folder))?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::io(&self.journal)(e)),
        }
        Ok(self.stamps())
    }

    /// Appends the new entry of `key` (`None`: it was removed) to the journal; under the lock, when
    /// `known` is what is there.
    pub fn append(&self, known: Stamps, key: &str, slot: Option<&Slot>) -> Result<Stamps, Error> {
        let mut text = String::new();
        if known.journal.is_none() {
            render(
                &Line {
                    base: Some(base(known.file)),
                    ..Line::default()
                },
                &mut text,
            );
        }
        render(
            &Line {
                key: Some(Cow::Borrowed(key)),
                entry: slot.and_then(|s| serde_json::from_str(&s.text).ok()),
                ..Line::default()
            },
            &mut text,
        );
        file::append_durable(&self.journal, text.as_bytes()).map_err(Error::io(&self.journal))?;
        Ok(Stamps {
            file: known.file,
            journal: file::stamp(&self.journal),
        })
    }
}

/// What tells one sessions.json from the next: size and mtime, so that a copy still counts as the same.
fn base(stamp: Option<Stamp>) -> String {
    stamp.map_or_else(String::new, |s| {
        format!("{} {}.{:09}", s.size, s.mtime.0, s.mtime.1)
    })
}

fn render(line: &Line<'_>, out: &mut String) {
    // Strings, and JSON that was read as such, always serialise.
    out.push_str(&serde_json::to_string(line).unwrap_or_default());
    out.push('\n');
}

/// Applies the lines of a journal to what the file says.
fn replay(slots: &mut Slots, journal: &[u8], file: Option<Stamp>, path: &Path) {
    // A last line without its end was never acknowledged.
    let end = journal
        .iter()
        .rposition(|b| *b == b'\n')
        .map_or(0, |i| i + 1);
    let mut ours = false;
    let mut last: BTreeMap<Cow<'_, str>, Option<Slot>> = BTreeMap::new();
    for line in journal[..end]
        .split(|b| *b == b'\n')
        .filter(|l| !l.is_empty())
    {
        let Ok(line) = serde_json::from_slice::<Line<'_>>(line) else {
            log::warn!(target: "state", "a line of {} cannot be read and is skipped", path.display());
            continue;
        };
        if let Some(written_for) = line.base {
            ours = written_for == base(file);
        }
        if let Some(key) = line.key {
            last.insert(key, line.entry.map(|e| Slot::from_text(e.get())));
        }
    }
    for (key, slot) in last {
        let old = slots.get(key.as_ref());
        match slot {
            Some(slot) if ours || old.is_none_or(|o| o.updated_at < slot.updated_at) => {
                slots.insert(key.into(), slot);
            }
            None if ours => {
                slots.remove(key.as_ref());
            }
            _ => {}
        }
    }
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match file::read_bounded(path, MAX_BYTES) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io(path)(e)),
    }
}
