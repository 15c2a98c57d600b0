//! Files that survive a crash: whole or not at all, private whatever the umask.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::id;

/// Mode of every file that the gateway writes.
pub const FILE_MODE: u32 = 0o600;
/// Mode of every folder that the gateway makes.
pub const DIR_MODE: u32 = 0o700;

/// What tells one version of a file from the next without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Modification time: seconds and nanoseconds.
    pub mtime: (i64, i64),
    /// Length in bytes.
    pub size: u64,
    /// Inode; changes when the file is replaced by a rename.
    pub inode: u64,
}

/// The stamp of the file at `path` (links followed), or `None` when there is none.
pub fn stamp(path: &Path) -> Option<Stamp> {
    let m = fs::metadata(path).ok()?;
    Some(Stamp {
        mtime: (m.mtime(), m.mtime_nsec()),
        size: m.size(),
        inode: m.ino(),
    })
}

/// Makes `dir` and its missing parents, each 0700. An existing folder is left as it is.
pub fn make_private_dir(dir: &Path) -> io::Result<()> {
    match DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        other => other,
    }
}

/// Replaces the file at `path` by `bytes`: afterwards it holds either the old or the new content.
///
/// The content goes to a temporary beside the target, is synced, renamed over it, and the folder is
/// synced. The file is 0600. A symbolic link at `path` keeps pointing where it did; its target is
/// replaced. On error the temporary is removed and the target untouched.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, true)
}

/// As [`write_atomic`], without waiting for the disk: whole or not at all for other processes, but a
/// power cut may lose it. For copies and caches that can be made again.
pub fn write_quick(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, false)
}

fn replace(path: &Path, bytes: &[u8], durable: bool) -> io::Result<()> {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let dir = parent(&target);
    let temp = temp_beside(&target);
    let result = (|| {
        let mut f = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(&temp)?;
        f.write_all(bytes)?;
        if durable {
            f.sync_all()?;
        }
        fs::rename(&temp, &target)?;
        if durable {
            sync_dir(&dir)?;
        }
        Ok(())
    })();
    if result.is_err() {
        let _ = fs::remove_file(&temp);
    }
    result
}

/// Appends `bytes` to the file at `path` (made 0600 when missing) and waits until they are on disk.
pub fn append_durable(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = !path.exists();
    let mut f = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(FILE_MODE)
        .open(path)?;
    f.write_all(bytes)?;
    f.sync_data()?;
    if fresh {
        sync_dir(&parent(path))?;
    }
    Ok(())
}

/// The content of the file at `path`, or an error of kind `FileTooLarge` when it is over `max` bytes.
///
/// Only regular files are read: a fifo or a device is an error of kind `InvalidInput`.
pub fn read_bounded(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    // A fifo would block in open() itself, so look before.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        let text = format!("larger than {max} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(bytes)
}

/// Takes group and other rights away from the file or folder at `path`. True when it had any.
pub fn tighten(path: &Path) -> io::Result<bool> {
    let mode = fs::symlink_metadata(path)?.mode();
    if mode & 0o077 == 0 || mode & 0o170_000 == 0o120_000 {
        return Ok(false);
    }
    fs::set_permissions(path, Permissions::from_mode(mode & 0o700))?;
    Ok(true)
}

/// Waits until a rename or a creation in `dir` is on disk.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

fn temp_beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.{}.tmp", std::process::id(), id::hex8()));
    parent(path).join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> PathBuf {
        let dir = std::env::temp_dir().join(format!("openclaw-file-{}", id::uuid()));
        make_private_dir(&dir).unwrap();
        dir
    }

    #[test]
    fn a_write_replaces_the_whole_file_and_leaves_no_temporary() {
        let dir = folder();
        let path = dir.join("a.json");
        write_atomic(&path, b"old and long").unwrap();
        write_atomic(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, FILE_MODE);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_link_stays_a_link() {
        let dir = folder();
        write_atomic(&dir.join("real"), b"1").unwrap();
        std::os::unix::fs::symlink(dir.join("real"), dir.join("link")).unwrap();
        write_atomic(&dir.join("link"), b"2").unwrap();
        assert_eq!(fs::read(dir.join("real")).unwrap(), b"2");
        assert!(fs::symlink_metadata(dir.join("link")).unwrap().is_symlink());
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn reading_is_bounded_and_refuses_what_is_no_file() {
        let dir = folder();
        write_atomic(&dir.join("f"), b"12345").unwrap();
        assert_eq!(read_bounded(&dir.join("f"), 5).unwrap(), b"12345");
        assert_eq!(
            read_bounded(&dir.join("f"), 4).unwrap_err().kind(),
            io::ErrorKind::FileTooLarge
        );
        assert_eq!(
            read_bounded(&dir, 4).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
        fs::remove_dir_all(dir).unwrap();
    }
}
