//! Setting aside what cannot be read, and what is no longer in use; nothing is deleted.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::sys::{clock, file};

/// Renames the broken file at `path` to `<path>.broken.<time>` and returns the new path.
pub(super) fn move_broken(path: &Path) -> io::Result<PathBuf> {
    rename(path, "broken")
}

/// Renames `path` to its [`name`] for `reason` and returns that.
pub(super) fn rename(path: &Path, reason: &str) -> io::Result<PathBuf> {
    let target = name(path, reason);
    fs::rename(path, &target)?;
    if let Some(dir) = path.parent() {
        file::sync_dir(dir)?;
    }
    Ok(target)
}

/// `<path>.<reason>.<time>`, as the reference names archives (`reset`, `deleted`, `bak`); a name that is
/// taken gets a number.
pub(super) fn name(path: &Path, reason: &str) -> PathBuf {
    let time = clock::iso(clock::now_ms()).replace(':', "-");
    let mut tries = 0;
    loop {
        let mut name = path.as_os_str().to_os_string();
        name.push(format!(".{reason}.{time}"));
        if tries > 0 {
            name.push(format!("-{tries}"));
        }
        let target = PathBuf::from(name);
        if !target.exists() {
            return target;
        }
        tries += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::testing::Folder;

    #[test]
    fn two_archives_of_the_same_moment_both_stay() {
        let dir = Folder::new();
        let path = dir.path().join("x.jsonl");
        for i in 0..5 {
            fs::write(&path, i.to_string()).unwrap();
            let kept = rename(&path, "reset").unwrap();
            assert_eq!(fs::read_to_string(&kept).unwrap(), i.to_string());
            let name = kept.file_name().unwrap().to_str().unwrap().to_string();
            assert!(
                name.starts_with("x.jsonl.reset.2") && !name.contains(':'),
                "{name}"
            );
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 5);
    }
}
