//! The sessions of one agent: what is in memory, and how a change gets to disk.
//!
//! Readers look at the memory and never wait for the disk. A writer holds `writing` and the lock between
//! processes across its I/O, on purpose: it is what orders the changes; `view` is only held for the
//! moment in which memory is brought in line with the disk.

use std::sync::{Arc, Mutex, RwLock};

use super::disk::{Disk, Stamps};
use super::slots::{self, Slot, Slots};
use crate::state::{Error, Paths};
use crate::sys::sync;

/// Size of sessions.json up to which each change replaces it whole, so that it is always the truth. A
/// larger one gets a journal.
const SMALL_BYTES: u64 = 64 * 1024;
/// Size of the journal from which on it is folded in, unless sessions.json is larger still.
const FOLD_BYTES: u64 = 1024 * 1024;

pub(super) struct Agent {
    disk: Disk,
    view: RwLock<Option<View>>,
    writing: Mutex<()>,
}

struct View {
    slots: Arc<Slots>,
    stamps: Stamps,
    /// sessions.json is torn; to be set aside before it is written.
    torn: bool,
    /// About the size that sessions.json has, or would have if it were written now.
    bytes: u64,
}

/// A change of one session.
pub(super) enum Change {
    Nothing,
    Put(Slot),
    Remove,
    /// Removes these sessions instead, in one piece.
    RemoveAll(Vec<String>),
}

impl Agent {
    pub fn new(paths: &Paths, id: &str) -> Agent {
        Agent {
            disk: Disk::new(paths, id),
            view: RwLock::new(None),
            writing: Mutex::new(()),
        }
    }

    /// The sessions as they are now.
    pub fn slots(&self) -> Result<Arc<Slots>, Error> {
        if let Some((slots, _)) = self.current() {
            return Ok(slots);
        }
        let _writing = match (sync::try_lock(&self.writing), self.known()) {
            (Some(guard), _) => guard,
            // A change is on its way to the disk: what was there before it is still true.
            (None, Some((slots, _))) => return Ok(slots),
            (None, None) => sync::lock(&self.writing),
        };
        if let Some((slots, _)) = self.current() {
            return Ok(slots);
        }
        let found = self.disk.read()?;
        if let Some(reason) = &found.broken {
            log::warn!(target: "state", "{} is broken ({reason}); the next change sets it aside", self.disk.path().display());
        }
        let slots = Arc::new(found.slots);
        self.set(slots.clone(), found.stamps, found.broken.is_some());
        Ok(slots)
    }

    /// Lets `decide` look at the sessions and change `key`. What it returns is returned when the change
    /// is on disk.
    pub fn change<T, E: From<Error>>(
        &self,
        key: &str,
        decide: impl FnOnce(&Slots) -> Result<(Change, T), E>,
    ) -> Result<T, E> {
        let _writing = sync::lock(&self.writing);
        let _lock = self.disk.lock()?;
        let (slots, stamps) = self.settled()?;
        let (change, value) = decide(&slots)?;
        let slot = match change {
            Change::Nothing => return Ok(value),
            Change::Put(slot) => Some(slot),
            Change::Remove => None,
            Change::RemoveAll(keys) => {
                let mut next = Slots::clone(&slots);
                for key in &keys {
                    next.remove(key.as_str());
                }
                let stamps = self.forget_on_error(self.disk.write_whole(&next))?;
                self.set(Arc::new(next), stamps, false);
                return Ok(value);
            }
        };
        if stamps.journal.is_none() && self.bytes() <= SMALL_BYTES {
            let mut next = Slots::clone(&slots);
            match slot {
                Some(slot) => next.insert(key.into(), slot),
                None => next.remove(key),
            };
            let stamps = self.forget_on_error(self.disk.write_whole(&next))?;
            self.set(Arc::new(next), stamps, false);
        } else {
            let appended = self.disk.append(stamps, key, slot.as_ref());
            let stamps = self.forget_on_error(appended)?;
            // Ours is the last hold on the map, unless somebody is reading: then it is copied.
            drop(slots);
            self.apply(key, slot, stamps);
            let grown = stamps.journal.map_or(0, |j| j.size);
            if grown > FOLD_BYTES.max(self.bytes())
                && let Err(e) = self.fold_known()
            {
                log::warn!(target: "state", "cannot fold the journal into sessions.json: {e}");
            }
        }
        Ok(value)
    }

    /// Brings sessions.json up to date and removes the journal, if there is one.
    pub fn fold(&self) -> Result<(), Error> {
        if self.disk.stamps().journal.is_none() {
            return Ok(());
        }
        let _writing = sync::lock(&self.writing);
        let _lock = self.disk.lock()?;
        self.settled()?;
        self.fold_known()
    }

    fn fold_known(&self) -> Result<(), Error> {
        match self.known() {
            Some((slots, stamps)) if stamps.journal.is_some() => {
                let stamps = self.forget_on_error(self.disk.write_whole(&slots))?;
                self.set(slots, stamps, false);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The sessions as they are on disk, under both locks. What a crash left behind is put in order: a
    /// torn file is set aside, somebody else's journal is folded in.
    fn settled(&self) -> Result<(Arc<Slots>, Stamps), Error> {
        if let Some(current) = self.current()
            && !self.is_torn()
        {
            return Ok(current);
        }
        let found = self.disk.read()?;
        let slots = Arc::new(found.slots);
        let mut stamps = found.stamps;
        if let Some(reason) = &found.broken {
            self.disk.set_aside(reason, slots.len())?;
        }
        if found.broken.is_some() || stamps.journal.is_some() {
            stamps = self.disk.write_whole(&slots)?;
        }
        self.set(slots.clone(), stamps, false);
        Ok((slots, stamps))
    }

    /// What is in memory.
    fn known(&self) -> Option<(Arc<Slots>, Stamps)> {
        let view = sync::read(&self.view);
        view.as_ref().map(|v| (v.slots.clone(), v.stamps))
    }

    /// What is in memory, if it is what is on disk.
    fn current(&self) -> Option<(Arc<Slots>, Stamps)> {
        self.known().filter(|(_, s)| *s == self.disk.stamps())
    }

    fn is_torn(&self) -> bool {
        sync::read(&self.view).as_ref().is_some_and(|v| v.torn)
    }

    fn bytes(&self) -> u64 {
        sync::read(&self.view).as_ref().map_or(0, |v| v.bytes)
    }

    fn set(&self, slots: Arc<Slots>, stamps: Stamps, torn: bool) {
        let bytes = slots::bytes(&slots);
        *sync::write(&self.view) = Some(View {
            slots,
            stamps,
            torn,
            bytes,
        });
    }

    fn apply(&self, key: &str, slot: Option<Slot>, stamps: Stamps) {
        let mut view = sync::write(&self.view);
        let Some(view) = view.as_mut() else { return };
        let slots = Arc::make_mut(&mut view.slots);
        let added = slot.as_ref().map_or(0, |s| slots::cost(key, s));
        let old = match slot {
            Some(slot) => slots.insert(key.into(), slot),
            None => slots.remove(key),
        };
        let gone = old.map_or(0, |s| slots::cost(key, &s));
        view.bytes = (view.bytes + added).saturating_sub(gone);
        view.stamps = stamps;
    }

    /// After a failed write only the disk knows what is there: it is read again before the next change.
    fn forget_on_error<T>(&self, done: Result<T, Error>) -> Result<T, Error> {
        if done.is_err() {
            *sync::write(&self.view) = None;
        }
        done
    }
}
