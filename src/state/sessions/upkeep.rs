//! Keeping the sessions of an agent within bounds: `session.maintenance`.
//!
//! Mode `warn`, the default, only says what `enforce` would remove. Main sessions stay, and whatever was
//! used within the last hour. A removed session's transcript becomes an archive; archives are what is
//! deleted, by age or when the folder takes more room than it may.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::agent::{Agent, Change};
use super::slots::Slots;
use super::{Error, Store};
use crate::config::units;
use crate::state::{aside, session_key, transcript};

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
/// Age of a session that is removed, unless configured.
const DEFAULT_AGE_MS: u64 = 30 * DAY_MS;
/// Sessions of an agent that are kept, unless configured.
const DEFAULT_ENTRIES: usize = 500;
/// What was used within this time stays, whatever the bounds.
const SPARED_MS: u64 = HOUR_MS;

/// The bounds of one agent's sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Whether what is out of bounds is removed, or only told.
    pub enforce: bool,
    /// Ms without use after which a session is removed.
    pub age_ms: u64,
    /// Sessions that are kept, the last used ones.
    pub entries: usize,
    /// Ms after which an archive is deleted; `None`: never.
    pub archive_age_ms: Option<u64>,
    /// Bytes that the folder may take, and what it is brought down to when it takes more.
    pub disk: Option<(u64, u64)>,
}

/// What is out of bounds, or was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutOfBounds {
    /// Keys of sessions that were not used for too long.
    pub stale: Vec<String>,
    /// Keys of sessions beyond the number that is kept.
    pub excess: Vec<String>,
    /// Archives that are too old, or that take room needed for others.
    pub archives: Vec<PathBuf>,
}

impl Bounds {
    /// The bounds of the config section `session`.
    pub fn from_config(session: Option<&Value>) -> Bounds {
        let section = session.and_then(|s| s.get("maintenance"));
        let field = |name: &str| section.and_then(|s| s.get(name)).filter(|v| !v.is_null());
        let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_string);
        let time = |name: &str| field(name).and_then(|v| units::duration_ms(&text(v), DAY_MS));
        let size = |name: &str| field(name).and_then(|v| units::bytes(&text(v)));
        let days = || field("pruneDays")?.as_u64()?.checked_mul(DAY_MS);
        let age_ms = time("pruneAfter").or_else(days).unwrap_or(DEFAULT_AGE_MS);
        let archive_age_ms = match field("resetArchiveRetention") {
            Some(Value::Bool(false)) => None,
            _ => Some(time("resetArchiveRetention").unwrap_or(age_ms)),
        };
        let disk = size("maxDiskBytes").map(|max| {
            let low = size("highWaterBytes").unwrap_or(max / 5 * 4);
            (max, low.min(max))
        });
        let entries = field("maxEntries").and_then(Value::as_u64);
        Bounds {
            enforce: field("mode").and_then(Value::as_str) == Some("enforce"),
            age_ms,
            entries: entries.map_or(DEFAULT_ENTRIES, |n| {
                usize::try_from(n).unwrap_or(usize::MAX)
            }),
            archive_age_ms,
            disk,
        }
    }
}

impl OutOfBounds {
    /// Whether everything is within bounds.
    pub fn is_empty(&self) -> bool {
        self.stale.is_empty() && self.excess.is_empty() && self.archives.is_empty()
    }
}

impl Store {
    /// What of `agent` is out of `bounds` at `now` (ms); nothing is changed.
    pub fn out_of_bounds(
        &self,
        agent: &str,
        bounds: &Bounds,
        now: u64,
    ) -> Result<OutOfBounds, Error> {
        let mut out = sessions_out(self.agent(agent).slots()?.as_ref(), bounds, now);
        out.archives = archives_out(&self.paths.sessions(agent), bounds, now);
        Ok(out)
    }

    /// Removes what of `agent` is out of `bounds` at `now` (ms), whatever their mode; returns what it was.
    pub fn enforce(&self, agent: &str, bounds: &Bounds, now: u64) -> Result<OutOfBounds, Error> {
        let handle: Arc<Agent> = self.agent(agent);
        let seen = sessions_out(handle.slots()?.as_ref(), bounds, now);
        let mut out = OutOfBounds::default();
        if !seen.is_empty() {
            let removed = handle.change("", |slots| {
                // What was used since it was looked at is spared.
                let out = sessions_out(slots, bounds, now);
                let keys: Vec<&String> = out.stale.iter().chain(&out.excess).collect();
                let gone = keys.iter().filter_map(|k| slots.get(k.as_str())?.entry());
                let paths: Vec<_> = gone
                    .filter_map(|e| transcript::locate(&self.paths, agent, &e))
                    .collect();
                let keys = keys.into_iter().cloned().collect();
                Ok::<_, Error>((Change::RemoveAll(keys), (out, paths)))
            })?;
            out = removed.0;
            for path in removed.1.iter().filter(|p| p.is_file()) {
                if let Err(e) = aside::rename(path, "deleted") {
                    log::warn!(target: "state", "cannot archive {}: {e}", path.display());
                }
            }
        }
        out.archives = archives_out(&self.paths.sessions(agent), bounds, now);
        out.archives.retain(|path| match fs::remove_file(path) {
            Ok(()) => true,
            Err(e) => {
                log::warn!(target: "state", "cannot delete {}: {e}", path.display());
                false
            }
        });
        Ok(out)
    }
}

fn sessions_out(slots: &Slots, bounds: &Bounds, now: u64) -> OutOfBounds {
    let main = |key: &str| {
        let rest = session_key::parse(key).map_or(key, |k| k.rest);
        rest == session_key::MAIN || rest == session_key::GLOBAL
    };
    let mut all: Vec<(&str, u64)> = slots
        .iter()
        .map(|(key, slot)| (key.as_ref(), slot.updated_at))
        .filter(|(key, at)| !main(key) && at.saturating_add(SPARED_MS) < now)
        .collect();
    all.sort_by_key(|(_, at)| *at);
    let mut out = OutOfBounds::default();
    let mut left = slots.len();
    for (key, at) in all {
        let list = if at.saturating_add(bounds.age_ms) < now {
            &mut out.stale
        } else if left > bounds.entries {
            &mut out.excess
        } else {
            break;
        };
        list.push(key.to_string());
        left -= 1;
    }
    out
}

struct File {
    path: PathBuf,
    size: u64,
    modified: SystemTime,
}

/// The archives that are too old, and the oldest ones as long as the folder takes too much room.
fn archives_out(folder: &Path, bounds: &Bounds, now: u64) -> Vec<PathBuf> {
    let mut used = 0;
    let mut archives = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let Some(meta) = entry.metadata().ok().filter(fs::Metadata::is_file) else {
            continue;
        };
        used += meta.len();
        if is_archive(&path) {
            archives.push(File {
                path,
                size: meta.len(),
                modified: meta.modified().unwrap_or(SystemTime::UNIX_EPOCH),
            });
        }
    }
    archives.sort_by_key(|a| a.modified);
    let now = SystemTime::UNIX_EPOCH + Duration::from_millis(now);
    let too_old = |at: SystemTime| {
        let age = now.duration_since(at).unwrap_or_default();
        bounds
            .archive_age_ms
            .is_some_and(|max| age > Duration::from_millis(max))
    };
    let low = match bounds.disk {
        Some((max, low)) if used > max => low,
        _ => u64::MAX,
    };
    let mut out = Vec::new();
    for a in archives {
        if !too_old(a.modified) && used <= low {
            break;
        }
        used = used.saturating_sub(a.size);
        out.push(a.path);
    }
    if used > low {
        log::warn!(
            target: "state",
            "{} takes {used} bytes without archives, more than session.maintenance allows",
            folder.display()
        );
    }
    out
}

/// `<id>.jsonl.reset.<time>` and the like.
fn is_archive(path: &Path) -> bool {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
    let kind = name.split_once(".jsonl.").map(|(_, rest)| rest);
    kind.is_some_and(|k| {
        ["reset.", "deleted.", "bak."]
            .iter()
            .any(|w| k.starts_with(w))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Paths;
    use crate::state::testing::Folder;
    use crate::sys::clock;
    use serde_json::json;

    fn bounds(maintenance: Value) -> Bounds {
        Bounds::from_config(Some(&json!({ "maintenance": maintenance })))
    }

    #[test]
    fn bounds_are_those_of_the_config() {
        let default = Bounds::from_config(None);
        assert_eq!(
            default,
            Bounds {
                enforce: false,
                age_ms: 30 * DAY_MS,
                entries: 500,
                archive_age_ms: Some(30 * DAY_MS),
                disk: None
            }
        );
        let b = bounds(
            json!({"mode": "enforce", "pruneAfter": "12h", "maxEntries": 7, "resetArchiveRetention": false, "maxDiskBytes": "10mb"}),
        );
        assert!(b.enforce && b.age_ms == 12 * HOUR_MS && b.entries == 7);
        assert_eq!(b.archive_age_ms, None);
        assert_eq!(b.disk, Some((10 << 20, (10 << 20) / 5 * 4)));
        let b = bounds(json!({"pruneDays": 3, "maxDiskBytes": 100, "highWaterBytes": 900}));
        assert_eq!(
            (b.age_ms, b.archive_age_ms, b.disk),
            (3 * DAY_MS, Some(3 * DAY_MS), Some((100, 100)))
        );
        assert_eq!(bounds(json!({"pruneAfter": 2})).age_ms, 2 * DAY_MS);
    }

    /// Sessions `old-<n>` used `n` days ago, a main one that is older still, and one of just now.
    fn filled(dir: &Folder, days: &[u64]) -> (Store, u64) {
        let now = clock::now_ms();
        let s = Store::new(Paths::new(dir.path()));
        let used = |key: &str, at: u64| {
            s.update(key, |m| {
                m.insert("updatedAt".into(), json!(at));
            })
            .unwrap()
        };
        used("agent:main:main", 5);
        used("agent:main:fresh", now);
        for d in days {
            let key = format!("agent:main:old-{d}");
            let e = used(&key, now - d * DAY_MS);
            let path = s.transcript(&key, &e).unwrap();
            let t = transcript::Transcript::new(path, e.session_id().unwrap(), dir.path());
            t.append(&[transcript::Line::custom("x", json!(1))])
                .unwrap();
        }
        (s, now)
    }

    #[test]
    fn the_old_and_the_many_go_but_not_main_and_not_the_fresh() {
        let dir = Folder::new();
        let (s, now) = filled(&dir, &[1, 2, 3, 40, 50]);
        let b = Bounds {
            entries: 4,
            ..Bounds::from_config(None)
        };
        let seen = s.out_of_bounds("main", &b, now).unwrap();
        assert_eq!(seen.stale, ["agent:main:old-50", "agent:main:old-40"]);
        assert_eq!(seen.excess, ["agent:main:old-3"]);
        assert_eq!(s.count("main").unwrap(), 7);
        let done = s.enforce("main", &b, now).unwrap();
        assert_eq!((done.stale, done.excess), (seen.stale, seen.excess));
        assert_eq!(s.count("main").unwrap(), 4);
        assert!(s.get("agent:main:main").unwrap().is_some());
        assert!(s.out_of_bounds("main", &b, now).unwrap().is_empty());
        let names: Vec<String> = fs::read_dir(Paths::new(dir.path()).sessions("main"))
            .unwrap()
            .flatten()
            .map(|e| e.file_name().into_string().unwrap())
            .collect();
        let count = |part: &str| names.iter().filter(|n| n.contains(part)).count();
        assert_eq!((count(".jsonl.deleted."), count(".jsonl")), (3, 5));
        // With no room at all, main and what is in use are still there.
        let none = Bounds {
            entries: 0,
            age_ms: 0,
            ..b
        };
        s.enforce("main", &none, now).unwrap();
        assert_eq!(s.count("main").unwrap(), 2);
    }

    #[test]
    fn archives_go_by_age_and_by_room_and_transcripts_never() {
        let dir = Folder::new();
        let (s, now) = filled(&dir, &[1]);
        let folder = Paths::new(dir.path()).sessions("main");
        let ago = |days: u64| SystemTime::now() - Duration::from_millis(days * DAY_MS);
        for (name, days) in [
            ("a.jsonl.reset.2026", 90),
            ("b.jsonl.deleted.2026", 20),
            ("c.jsonl.bak.2026", 10),
            ("d.jsonl.reset.2026", 1),
            ("e.jsonl", 90),
            ("sessions.json.broken.2026", 90),
        ] {
            let path = folder.join(name);
            fs::write(&path, vec![b'x'; 10_000]).unwrap();
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(ago(days)).unwrap();
        }
        let names = |paths: &[PathBuf]| -> Vec<String> {
            let name = |p: &PathBuf| p.file_name().unwrap().to_str().unwrap()[..1].to_string();
            paths.iter().map(name).collect()
        };
        let by_age = Bounds::from_config(None);
        let found = s.out_of_bounds("main", &by_age, now).unwrap();
        assert_eq!(names(&found.archives), ["a"]);
        let by_room = bounds(
            json!({"resetArchiveRetention": false, "maxDiskBytes": 55_000, "highWaterBytes": 45_000}),
        );
        let found = s.out_of_bounds("main", &by_room, now).unwrap();
        assert_eq!(names(&found.archives), ["a", "b"]);
        let done = s
            .enforce("main", &bounds(json!({"maxDiskBytes": 1})), now)
            .unwrap();
        assert_eq!(names(&done.archives), ["a", "b", "c", "d"]);
        assert!(folder.join("e.jsonl").exists());
        assert!(folder.join("sessions.json.broken.2026").exists());
        assert_eq!(s.count("main").unwrap(), 3);
    }
}
