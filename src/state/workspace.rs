//! The files that a new workspace starts with.
//!
//! Each is written only when it is missing: the workspace belongs to the agent and its user.

use std::io;
use std::path::Path;

use serde_json::json;

use crate::sys::{clock, file};

/// Names and first contents, in the order in which a prompt takes them in.
const FILES: [(&str, &str); 6] = [
    ("AGENTS.md", include_str!("workspace/AGENTS.md")),
    ("SOUL.md", include_str!("workspace/SOUL.md")),
    ("TOOLS.md", include_str!("workspace/TOOLS.md")),
    ("IDENTITY.md", include_str!("workspace/IDENTITY.md")),
    ("USER.md", include_str!("workspace/USER.md")),
    ("HEARTBEAT.md", include_str!("workspace/HEARTBEAT.md")),
];
/// The guide of the first conversation; the agent deletes it when that is over.
const BOOTSTRAP: (&str, &str) = ("BOOTSTRAP.md", include_str!("workspace/BOOTSTRAP.md"));
/// Says when the guide was put there, so that a deleted one does not come back.
const STATE_FILE: &str = ".openclaw/workspace-state.json";

/// Makes the folder and what is missing of its files; whether the workspace is new.
///
/// `bootstrap` adds the guide of the first conversation to a new workspace.
pub fn ensure(dir: &Path, bootstrap: bool) -> io::Result<bool> {
    let new =
        !FILES.iter().any(|(name, _)| dir.join(name).exists()) && !dir.join("memory").exists();
    file::make_private_dir(dir)?;
    for (name, text) in FILES {
        seed(dir, name, text)?;
    }
    let state = dir.join(STATE_FILE);
    if new && bootstrap && !state.exists() {
        seed(dir, BOOTSTRAP.0, BOOTSTRAP.1)?;
        let seeded = json!({"version": 1, "bootstrapSeededAt": clock::iso(clock::now_ms())});
        file::make_private_dir(&dir.join(".openclaw"))?;
        file::write_atomic(&state, format!("{seeded:#}\n").as_bytes())?;
    }
    Ok(new)
}

fn seed(dir: &Path, name: &str, text: &str) -> io::Result<()> {
    let path = dir.join(name);
    // A dangling link is somebody's intention, too.
    match path.symlink_metadata() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => file::write_atomic(&path, text.as_bytes()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::id;
    use std::fs;

    #[test]
    fn files_are_made_once_and_never_overwritten() {
        let dir = std::env::temp_dir().join(format!("openclaw-workspace-{}", id::uuid()));
        assert!(ensure(&dir, true).unwrap());
        for (name, text) in FILES.iter().chain([&BOOTSTRAP]) {
            assert_eq!(fs::read_to_string(dir.join(name)).unwrap(), *text, "{name}");
        }
        fs::write(dir.join("SOUL.md"), "mine").unwrap();
        fs::remove_file(dir.join("BOOTSTRAP.md")).unwrap();
        fs::remove_file(dir.join("USER.md")).unwrap();
        assert!(!ensure(&dir, true).unwrap());
        assert_eq!(fs::read_to_string(dir.join("SOUL.md")).unwrap(), "mine");
        assert!(dir.join("USER.md").exists());
        assert!(!dir.join("BOOTSTRAP.md").exists());
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_workspace_without_bootstrap_gets_no_guide_later() {
        let dir = std::env::temp_dir().join(format!("openclaw-workspace-{}", id::uuid()));
        assert!(ensure(&dir, false).unwrap());
        assert!(!ensure(&dir, true).unwrap());
        assert!(!dir.join("BOOTSTRAP.md").exists());
        fs::remove_dir_all(dir).unwrap();
    }
}
