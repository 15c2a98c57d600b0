//! The log file: where it is, appending to it, turning it over.
//!
//! The file never grows past its bound: it is renamed to `NAME.1` (older ones to `.2` and so on, the oldest
//! goes) and a new one is begun. A file that is named after the day is followed by a new one at local
//! midnight, and what is older than a day in its folder is removed. A file that somebody removed is
//! made anew. A line that cannot be written is counted, and the count is logged when it works again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::sys::file::{FILE_MODE, make_private_dir, stamp};
use crate::sys::os;

/// Bytes of one log file when `logging.maxFileBytes` is not set.
pub const DEFAULT_MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;
/// Least bytes of one log file, whatever the config says: room for the longest lines.
pub const MIN_MAX_FILE_BYTES: u64 = 64 * 1024;
/// Full files that are kept beside the current one.
pub const KEPT_FILES: u32 = 3;
/// Age from which on files named after a day are removed.
const ROLLING_MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// How often it is checked that the path still leads to the open file, and how long a failed open rests.
const CHECK_EVERY_MS: u64 = 5_000;

/// Where the log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `openclaw-YYYY-MM-DD.log` of the local day, in this folder.
    Rolling(PathBuf),
    /// This very file.
    Fixed(PathBuf),
    /// Nowhere.
    None,
}

impl Place {
    /// The default: `/tmp/openclaw`, or `<temp>/openclaw-<uid>` when that is not ours alone.
    ///
    /// The folder is made, 0700. `None` when neither will do: a log in a folder that others can write
    /// to could be led astray by a link.
    pub fn default_rolling(temp: &Path) -> Place {
        let uid = os::uid();
        let own = temp.join(format!("openclaw-{uid}"));
        [PathBuf::from("/tmp/openclaw"), own]
            .into_iter()
            .find(|dir| make_private_dir(dir).is_ok() && is_ours_alone(dir, uid))
            .map_or(Place::None, Place::Rolling)
    }

    /// The file for `now` (ms), and when (ms) another takes over.
    fn at(&self, now: u64) -> Option<(PathBuf, u64)> {
        match self {
            Place::None => None,
            Place::Fixed(path) => Some((path.clone(), u64::MAX)),
            Place::Rolling(dir) => {
                let (day, ends) = local_day(now);
                Some((dir.join(format!("openclaw-{day}.log")), ends))
            }
        }
    }
}

/// Whether `dir` is a real folder of user `uid` that nobody else can write to.
fn is_ours_alone(dir: &Path, uid: u32) -> bool {
    fs::symlink_metadata(dir)
        .is_ok_and(|m| m.is_dir() && m.uid() == uid && m.permissions().mode() & 0o022 == 0)
}

/// The local date at `now` (ms) and the ms at which it ends.
fn local_day(now: u64) -> (String, u64) {
    let zoned = jiff::Timestamp::from_millisecond(i64::try_from(now).unwrap_or(0))
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .to_zoned(jiff::tz::TimeZone::system());
    let ends = zoned
        .tomorrow()
        .and_then(|t| t.start_of_day())
        .ok()
        .and_then(|t| u64::try_from(t.timestamp().as_millisecond()).ok())
        .unwrap_or(now + CHECK_EVERY_MS);
    (zoned.date().to_string(), ends)
}

/// The file sink. Its lock is held across the append, so that lines keep their order and a turn-over is seen whole.
pub struct LogFile {
    place: Place,
    max_bytes: u64,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    file: Option<File>,
    path: PathBuf,
    inode: u64,
    size: u64,
    /// When (ms) another file takes over.
    ends: u64,
    /// When (ms) the path is looked at again, or the next attempt to open is made.
    check_at: u64,
    /// Lines that could not be written.
    lost: u64,
}

impl LogFile {
    pub fn new(place: Place, max_bytes: u64) -> LogFile {
        LogFile {
            place,
            max_bytes: max_bytes.max(MIN_MAX_FILE_BYTES),
            open: Mutex::default(),
        }
    }

    /// The file that was written last, else the one that will be, whether or not it is there.
    pub fn path(&self, now: u64) -> Option<PathBuf> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        match &open.file {
            Some(_) => Some(open.path.clone()),
            None => self.place.at(now).map(|(path, _)| path),
        }
    }

    /// Appends `line`, which ends in a line feed. `lost` makes the line that reports lost ones.
    pub fn write(&self, now: u64, line: &str, lost: impl Fn(u64) -> String) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.file.is_none() && now < open.check_at {
            open.lost += 1;
            return;
        }
        if open.append(&self.place, self.max_bytes, now, line).is_err() {
            open.lost += 1;
            open.file = None;
            open.check_at = now + CHECK_EVERY_MS;
        } else if open.lost > 0 {
            let report = lost(open.lost);
            if open
                .append(&self.place, self.max_bytes, now, &report)
                .is_ok()
            {
                open.lost = 0;
            }
        }
    }
}

impl Open {
    fn append(&mut self, place: &Place, max: u64, now: u64, line: &str) -> io::Result<()> {
        if self.file.is_some() && now >= self.check_at && now < self.ends {
            self.check_at = now + CHECK_EVERY_MS;
            if stamp(&self.path).is_none_or(|s| s.inode != self.inode) {
                self.file = None;
            }
        }
        if self.file.is_none() || now >= self.ends {
            self.open(place, now)?;
        }
        let bytes = line.len() as u64;
        if self.size > 0 && self.size + bytes > max {
            turn_over(&self.path)?;
            self.open(place, now)?;
        }
        let Some(file) = &mut self.file else {
            return Err(io::ErrorKind::NotFound.into());
        };
        file.write_all(line.as_bytes())?;
        self.size += bytes;
        Ok(())
    }

    fn open(&mut self, place: &Place, now: u64) -> io::Result<()> {
        self.file = None;
        let (path, ends) = place.at(now).ok_or(io::ErrorKind::NotFound)?;
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(FILE_MODE);
        // In the shared temporary folder, a link at our name is somebody's trap; elsewhere it is a wish.
        if let Place::Rolling(dir) = place {
            options.custom_flags(libc::O_NOFOLLOW);
            make_private_dir(dir)?;
            remove_old(dir, &path);
        } else if let Some(dir) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
            make_private_dir(dir)?;
        }
        let file = options.open(&path)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            ));
        }
        *self = Open {
            inode: meta.ino(),
            size: meta.len(),
            file: Some(file),
            path,
            ends,
            check_at: now + CHECK_EVERY_MS,
            lost: self.lost,
        };
        Ok(())
    }
}

/// `path` with `.n` behind it.
pub(super) fn numbered(path: &Path, n: u32) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(format!(".{n}"));
    PathBuf::from(name)
}

/// Makes room at `path`: each kept file moves up by one, the last one goes.
fn turn_over(path: &Path) -> io::Result<()> {
    for n in (1..KEPT_FILES).rev() {
        match fs::rename(numbered(path, n), numbered(path, n + 1)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    fs::rename(path, numbered(path, 1))
}

/// Removes the logs of past days beside `current`. What cannot be removed is left: it will be tried tomorrow.
fn remove_old(dir: &Path, current: &Path) {
    let Some(limit) = SystemTime::now().checked_sub(ROLLING_MAX_AGE) else {
        return;
    };
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let old = fs::symlink_metadata(&path)
            .is_ok_and(|m| m.is_file() && m.modified().is_ok_and(|t| t < limit));
        if old && path != current && is_rolling_name(&entry.file_name().to_string_lossy()) {
            let _ = fs::remove_file(path);
        }
    }
}

/// Whether `name` is `openclaw-….log`, with or without the number of a kept file.
fn is_rolling_name(name: &str) -> bool {
    let name = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let name = name.strip_suffix('.').unwrap_or(name);
    name.starts_with("openclaw-") && name.ends_with(".log")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::id;

    const NOON: u64 = 1_795_348_800_000;
    const DAY: u64 = 86_400_000;

    fn folder() -> PathBuf {
        let dir = std::env::temp_dir().join(format!("openclaw-log-{}", id::uuid()));
        make_private_dir(&dir).unwrap();
        dir
    }

    fn no_report(n: u64) -> String {
        panic!("{n} lines lost")
    }

    #[test]
    fn a_full_file_is_turned_over_and_the_number_of_files_is_bounded() {
        let dir = folder();
        let path = dir.join("gw.jsonl");
        let log = LogFile::new(Place::Fixed(path.clone()), 0);
        let line = "x".repeat(999) + "\n";
        for _ in 0..MIN_MAX_FILE_BYTES / 1000 * 6 {
            log.write(NOON, &line, no_report);
        }
        let sizes: Vec<u64> = (1..=KEPT_FILES)
            .map(|n| fs::metadata(numbered(&path, n)).unwrap().len())
            .collect();
        assert!(sizes.iter().all(|s| *s == 65_000), "{sizes:?}");
        assert_eq!(fs::read_dir(&dir).unwrap().count() as u32, KEPT_FILES + 1);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, FILE_MODE);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_removed_file_is_made_anew_and_lost_lines_are_reported() {
        let dir = folder();
        let path = dir.join("sub/gw.jsonl");
        let log = LogFile::new(Place::Fixed(path.clone()), 0);
        log.write(NOON, "1\n", no_report);
        fs::remove_file(&path).unwrap();
        log.write(NOON + CHECK_EVERY_MS, "2\n", no_report);
        assert_eq!(fs::read_to_string(&path).unwrap(), "2\n");
        // A folder in the way: nothing can be written until it is gone.
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        log.write(NOON + 2 * CHECK_EVERY_MS, "3\n", no_report);
        log.write(NOON + 2 * CHECK_EVERY_MS + 1, "4\n", no_report);
        fs::remove_dir(&path).unwrap();
        log.write(NOON + 3 * CHECK_EVERY_MS, "5\n", |n| format!("lost {n}\n"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "5\nlost 2\n");
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn each_day_has_its_file_and_old_ones_go() {
        let dir = folder();
        let old = dir.join("openclaw-2020-01-01.log");
        let kept = dir.join("other.log");
        for p in [&old, &numbered(&old, 2), &kept] {
            let f = File::create(p).unwrap();
            f.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        }
        let log = LogFile::new(Place::Rolling(dir.clone()), 0);
        log.write(NOON, "a\n", no_report);
        let one = log.path(NOON).unwrap();
        assert_eq!(
            log.path(NOON + DAY).unwrap(),
            one,
            "nothing is in the next one yet"
        );
        log.write(NOON + DAY, "b\n", no_report);
        let two = log.path(NOON + DAY).unwrap();
        assert_ne!(one, two);
        assert_eq!(fs::read_to_string(one).unwrap(), "a\n");
        assert_eq!(fs::read_to_string(two).unwrap(), "b\n");
        assert!(!old.exists() && !numbered(&old, 2).exists() && kept.exists());
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_link_in_the_rolling_folder_is_not_followed() {
        let dir = folder();
        let place = Place::Rolling(dir.clone());
        let target = dir.join("target");
        std::os::unix::fs::symlink(&target, place.at(NOON).unwrap().0).unwrap();
        LogFile::new(place, 0).write(NOON, "x\n", no_report);
        assert!(!target.exists());
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_folder_of_others_is_not_used() {
        let dir = folder();
        assert!(is_ours_alone(&dir, os::uid()));
        assert!(!is_ours_alone(&dir, os::uid() + 1));
        let link = dir.join("link");
        std::os::unix::fs::symlink(&dir, &link).unwrap();
        assert!(!is_ours_alone(&link, os::uid()));
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o770)).unwrap();
        assert!(!is_ours_alone(&dir, os::uid()));
        fs::remove_dir_all(dir).unwrap();
    }
}
