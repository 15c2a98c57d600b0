//! A lock between processes that can never be stale.
//!
//! The kernel holds it (flock) and lets go of it when its holder ends, however it ends. What the file
//! says, process id and start time, is only there to name the holder; the file itself stays.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{clock, file, os, process};

/// Time between two tries.
const POLL: Duration = Duration::from_millis(25);
/// Bytes of a lock file that are looked at.
const MAX_CONTENT: u64 = 4096;

/// An exclusive lock, held until it is dropped.
#[derive(Debug)]
pub struct FileLock {
    file: File,
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Closing would do, but for a child between fork and exec.
        let _ = os::unlock(&self.file);
    }
}

impl FileLock {
    /// Locks the file at `path` (made 0600 when missing), waiting up to `wait` for another holder, and
    /// writes into it who has it now.
    pub fn acquire(path: &Path, wait: Duration) -> Result<FileLock, LockError> {
        let mut lock = Self::acquire_silently(path, wait)?;
        // Only for people: a full disk must not cost the lock.
        let _ = note_holder(&mut lock.file);
        Ok(lock)
    }

    /// As [`FileLock::acquire`] without naming the holder: for locks held for moments, whose file would
    /// otherwise be written each time.
    pub fn acquire_silently(path: &Path, wait: Duration) -> Result<FileLock, LockError> {
        let deadline = Instant::now() + wait;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(file::FILE_MODE)
            .open(path)?;
        while !os::try_lock(&file)? {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(LockError::Held {
                    path: path.to_path_buf(),
                    holder: Holder::read(&mut file),
                });
            }
            std::thread::sleep(POLL.min(left));
        }
        Ok(FileLock { file })
    }
}

fn note_holder(file: &mut File) -> io::Result<()> {
    let pid = std::process::id();
    let content = json!({
        "pid": pid,
        "startTime": process::start_time(pid),
        "createdAt": clock::iso(clock::now_ms()),
    });
    file.set_len(0)?;
    file.write_all(format!("{content}\n").as_bytes())
}

/// Who holds a lock, as far as the lock file tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pub pid: u32,
    /// See [`process::start_time`].
    pub start_time: Option<u64>,
}

impl Holder {
    /// The holder that the lock file at `path` names; `None` when it names none, or one that has ended.
    pub fn of(path: &Path) -> Option<Holder> {
        Holder::read(&mut File::open(path).ok()?)
    }

    fn read(file: &mut File) -> Option<Holder> {
        let mut text = String::new();
        file.take(MAX_CONTENT).read_to_string(&mut text).ok()?;
        let value: Value = serde_json::from_str(&text).ok()?;
        let holder = Holder {
            pid: u32::try_from(value["pid"].as_u64()?).ok()?,
            start_time: value["startTime"].as_u64(),
        };
        let same = match (holder.start_time, process::start_time(holder.pid)) {
            (Some(noted), Some(now)) => noted == now,
            _ => true,
        };
        (same && process::alive(holder.pid)).then_some(holder)
    }
}

/// Why a lock was not had.
#[derive(Debug)]
pub enum LockError {
    /// Somebody else held it for the whole wait.
    Held {
        path: PathBuf,
        holder: Option<Holder>,
    },
    Io(io::Error),
}

impl From<io::Error> for LockError {
    fn from(e: io::Error) -> Self {
        LockError::Io(e)
    }
}

impl From<LockError> for io::Error {
    fn from(e: LockError) -> Self {
        match e {
            LockError::Io(e) => e,
            held => io::Error::new(io::ErrorKind::WouldBlock, held.to_string()),
        }
    }
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockError::Held {
                path,
                holder: Some(h),
            } => write!(f, "{} is locked by process {}", path.display(), h.pid),
            LockError::Held { path, holder: None } => {
                write!(f, "{} is locked by another process", path.display())
            }
            LockError::Io(e) => write!(f, "cannot lock: {e}"),
        }
    }
}

impl std::error::Error for LockError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::id;

    fn path() -> PathBuf {
        std::env::temp_dir().join(format!("openclaw-lock-{}", id::uuid()))
    }

    #[test]
    fn a_second_taker_is_told_who_holds_it_until_it_is_free() {
        let path = path();
        let first = FileLock::acquire(&path, Duration::ZERO).unwrap();
        match FileLock::acquire(&path, Duration::ZERO) {
            Err(LockError::Held {
                holder: Some(h), ..
            }) => assert_eq!(h.pid, std::process::id()),
            other => panic!("expected the lock to be held: {other:?}"),
        }
        drop(first);
        FileLock::acquire(&path, Duration::ZERO).unwrap();
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_a_dead_holder_left_behind_locks_nobody_out() {
        let path = path();
        let text = format!(
            "{{\"pid\":{},\"startTime\":1,\"x\":\"{}\"}}",
            std::process::id(),
            "y".repeat(100)
        );
        file::write_atomic(&path, text.as_bytes()).unwrap();
        assert_eq!(
            Holder::of(&path),
            None,
            "another start time, another process"
        );
        let _lock = FileLock::acquire(&path, Duration::ZERO).unwrap();
        assert_eq!(Holder::of(&path).unwrap().pid, std::process::id());
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_waiter_gets_the_lock_when_it_becomes_free() {
        let path = path();
        let first = FileLock::acquire(&path, Duration::ZERO).unwrap();
        let waiter = {
            let path = path.clone();
            std::thread::spawn(move || FileLock::acquire(&path, Duration::from_secs(20)).is_ok())
        };
        drop(first);
        assert!(waiter.join().unwrap());
        std::fs::remove_file(path).unwrap();
    }
}
