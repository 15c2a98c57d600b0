//! Order in the state directory at start: what a killed process left half-written goes, and what
//! others could read becomes private.
//!
//! Only folders and files that we know are touched: a state directory may be somebody's home.

use std::fs;
use std::path::Path;

use super::Paths;
use crate::sys::{file, process};

/// Folders of the state directory that hold nothing but state.
const FOLDERS: &[&str] = &[
    "agents",
    "credentials",
    "cron",
    "delivery-queue",
    "devices",
    "identity",
    "logs",
    "media",
    "memory",
    "nodes",
    "push",
    "settings",
    "subagents",
    "telegram",
];
/// Beginnings of the names of files directly in the state directory.
const FILES: &[&str] = &[
    ".env",
    "exec-approvals.json",
    "gateway-token",
    "gateway.lock",
    "last-exit.json",
    "openclaw.json",
    "restart-sentinel.json",
    "system-events",
    "update-check.json",
];
/// Folders below each other that are entered.
const MAX_DEPTH: usize = 6;
/// Entries that are looked at.
const MAX_ENTRIES: usize = 100_000;

/// What [`tidy`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tidied {
    /// Temporaries that were removed.
    pub removed: usize,
    /// Files and folders that others had rights to.
    pub tightened: usize,
}

/// Tidies the state directory. Only for the gateway, under its lock, before it writes anything.
pub fn tidy(paths: &Paths) -> Tidied {
    let mut walk = Walk::default();
    for entry in fs::read_dir(paths.root()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let path = entry.path();
        if FOLDERS.contains(&name) {
            walk.enter(&path, 0);
        } else if FILES.iter().any(|f| name.starts_with(f)) {
            walk.visit(&path, name, 0);
        }
    }
    if !paths.credentials().starts_with(paths.root()) {
        walk.enter(paths.credentials(), 0);
    }
    let done = walk.done;
    if done.tightened > 0 {
        log::info!(target: "state", "{} files and folders could be read by other users: now private", done.tightened);
    }
    if done.removed > 0 {
        log::info!(target: "state", "removed {} files that an earlier process left half-written", done.removed);
    }
    done
}

#[derive(Default)]
struct Walk {
    seen: usize,
    done: Tidied,
}

impl Walk {
    fn enter(&mut self, dir: &Path, depth: usize) {
        if fs::symlink_metadata(dir).is_ok_and(|m| m.is_dir()) {
            self.tighten(dir);
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                if let Some(name) = entry.file_name().to_str() {
                    self.visit(&entry.path(), name, depth + 1);
                }
            }
        }
    }

    fn visit(&mut self, path: &Path, name: &str, depth: usize) {
        self.seen += 1;
        // A link is left alone, and so is what it leads to.
        let Ok(meta) = fs::symlink_metadata(path) else {
            return;
        };
        if self.seen > MAX_ENTRIES || depth > MAX_DEPTH {
            return;
        }
        if meta.is_dir() {
            self.enter(path, depth);
        } else if meta.is_file() {
            if is_left_over(name) && fs::remove_file(path).is_ok() {
                self.done.removed += 1;
            } else {
                self.tighten(path);
            }
        }
    }

    fn tighten(&mut self, path: &Path) {
        match file::tighten(path) {
            Ok(true) => self.done.tightened += 1,
            Ok(false) => {}
            Err(e) => {
                log::warn!(target: "state", "cannot make {} private: {e}", path.display());
            }
        }
    }
}

/// Whether `name` is that of a temporary, `<name>.<pid>.<8 hex>.tmp`, whose process is gone. Our own id
/// counts as gone: nothing was written yet, and in a container every gateway is process 1.
fn is_left_over(name: &str) -> bool {
    let Some(rest) = name.strip_suffix(".tmp") else {
        return false;
    };
    let Some((rest, random)) = rest.rsplit_once('.') else {
        return false;
    };
    let Some((_, pid)) = rest.rsplit_once('.') else {
        return false;
    };
    let hex = random.len() == 8 && random.bytes().all(|b| b.is_ascii_hexdigit());
    let pid = pid.parse::<u32>().ok().filter(|_| hex);
    pid.is_some_and(|p| p == std::process::id() || !process::alive(p))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::testing::Folder;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    fn put(path: &Path, mode: u32) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// SL-07: what the reference left readable becomes private; what is not state stays as it is.
    #[test]
    fn sl_07_state_becomes_private_and_nothing_else_is_touched() {
        let dir = Folder::new();
        let root = dir.path();
        let ours = [
            "cron/jobs.json",
            "agents/main/sessions/a.jsonl",
            "openclaw.json.bak",
            "exec-approvals.json",
            "media/inbound/x.png",
        ];
        let others = [
            "workspace/run.sh",
            "public_html/index.html",
            ".ssh-notes",
            "canvas/index.html",
        ];
        for f in ours.iter().chain(&others) {
            put(&root.join(f), 0o755);
        }
        fs::set_permissions(root.join("cron"), fs::Permissions::from_mode(0o755)).unwrap();
        put(&root.join("elsewhere"), 0o644);
        symlink(root.join("elsewhere"), root.join("cron/link")).unwrap();
        let done = tidy(&Paths::new(root));
        for f in ours {
            assert_eq!(mode(&root.join(f)) & 0o077, 0, "{f}");
        }
        for f in others {
            assert_eq!(mode(&root.join(f)), 0o755, "{f}");
        }
        assert_eq!(
            (mode(&root.join("cron")), mode(&root.join("elsewhere"))),
            (0o700, 0o644)
        );
        assert!(done.tightened >= ours.len() && done.removed == 0);
        assert_eq!(tidy(&Paths::new(root)), Tidied::default());
    }

    #[test]
    fn only_what_a_dead_process_left_goes() {
        let dir = Folder::new();
        let root = dir.path();
        let dead = u32::MAX / 2;
        let alive = std::os::unix::process::parent_id();
        let gone = [
            format!("devices/paired.json.{dead}.0123abcd.tmp"),
            format!("gateway-token.{}.0123abcd.tmp", std::process::id()),
        ];
        let kept = [
            format!("devices/paired.json.{alive}.0123abcd.tmp"),
            format!("devices/paired.json.{dead}.0123abc.tmp"),
            "devices/notes.tmp".to_string(),
            format!("devices/x.{dead}.0123abcd.json"),
            format!("somebody.{dead}.0123abcd.tmp"),
        ];
        for f in gone.iter().chain(&kept) {
            put(&root.join(f), 0o600);
        }
        assert_eq!(tidy(&Paths::new(root)).removed, gone.len());
        assert!(gone.iter().all(|f| !root.join(f).exists()));
        assert!(kept.iter().all(|f| root.join(f).exists()));
    }
}
