//! Files of a folder that somebody else may write to: looked at and changed through the open folder.
//!
//! The folder is opened once, so that swapping a parent for a link changes nothing. Only plain files with
//! one name are touched: a symbolic link, a hard link, a fifo or a device is an error of kind
//! `InvalidInput`, and its target stays as it was.

use std::ffi::CString;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::file::FILE_MODE;
use super::{id, os};

/// An open folder.
pub struct Folder(File);

/// A plain file in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Bytes.
    pub size: u64,
    /// Time of the last change, milliseconds since 1970.
    pub modified_ms: u64,
}

impl Folder {
    /// Opens the folder at `path`; links on the way to it are followed.
    pub fn open(path: &Path) -> io::Result<Folder> {
        let dir = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_DIRECTORY | libc::O_NONBLOCK)
            .open(path)?;
        Ok(Folder(dir))
    }

    /// What the file `name` is like, or `None` when there is none.
    pub fn entry(&self, name: &str) -> io::Result<Option<Entry>> {
        match self.plain(name) {
            Ok((_, meta)) => Ok(Some(Entry::of(&meta))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The content of the file `name`; an error of kind `FileTooLarge` when it is over `max` bytes.
    pub fn read(&self, name: &str, max: u64) -> io::Result<Vec<u8>> {
        let (file, _) = self.plain(name)?;
        let mut bytes = Vec::new();
        file.take(max + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > max {
            let text = format!("larger than {max} bytes");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        Ok(bytes)
    }

    /// Replaces the file `name` by `bytes`, or makes it, 0600. Whole or not at all, also after a crash.
    pub fn write(&self, name: &str, bytes: &[u8]) -> io::Result<Entry> {
        let target = checked(name)?;
        // Never replaces what is not ours to replace, though a rename would not follow it.
        self.entry(name)?;
        let temp = checked(&format!(".{name}.{}.tmp", id::hex8()))?;
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
        let result = (|| {
            let mut file = os::open_at(&self.0, &temp, flags, FILE_MODE)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            os::rename_at(&self.0, &temp, &self.0, &target)?;
            self.0.sync_all()?;
            Ok(Entry::of(&file.metadata()?))
        })();
        if result.is_err() {
            let _ = os::remove_at(&self.0, &temp);
        }
        result
    }

    /// The folder `name` in this one. A link is not followed.
    pub fn below(&self, name: &str) -> io::Result<Folder> {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_NONBLOCK;
        Ok(Folder(os::open_at(&self.0, &checked(name)?, flags, 0)?))
    }

    /// The file `name`, for reading.
    pub fn file(&self, name: &str) -> io::Result<(File, Entry)> {
        let (file, meta) = self.plain(name)?;
        Ok((file, Entry::of(&meta)))
    }

    /// The file `name`, for reading, which may have other names elsewhere: for folders that nobody else
    /// writes to, where package managers link files into place.
    pub fn linked_file(&self, name: &str) -> io::Result<(File, Entry)> {
        let (file, meta) = self.regular(name)?;
        Ok((file, Entry::of(&meta)))
    }

    fn plain(&self, name: &str) -> io::Result<(File, Metadata)> {
        let (file, meta) = self.regular(name)?;
        if meta.nlink() > 1 {
            return Err(unsafe_file());
        }
        Ok((file, meta))
    }

    fn regular(&self, name: &str) -> io::Result<(File, Metadata)> {
        let flags = libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
        let file = os::open_at(&self.0, &checked(name)?, flags, 0).map_err(|e| {
            match e.raw_os_error() {
                Some(libc::ELOOP | libc::EMLINK | libc::ENXIO) => unsafe_file(),
                _ => e,
            }
        })?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(unsafe_file());
        }
        Ok((file, meta))
    }
}

fn unsafe_file() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "not a plain file")
}

impl Entry {
    fn of(meta: &Metadata) -> Entry {
        let seconds = u64::try_from(meta.mtime()).unwrap_or(0);
        let nanos = u64::try_from(meta.mtime_nsec()).unwrap_or(0);
        Entry {
            size: meta.len(),
            modified_ms: seconds
                .saturating_mul(1000)
                .saturating_add(nanos / 1_000_000),
        }
    }
}

/// `name` for the system, if it names a file of the folder itself.
fn checked(name: &str) -> io::Result<CString> {
    let bad = || io::Error::new(io::ErrorKind::InvalidInput, "not a file name");
    if name.is_empty() || name.contains('/') || name == "." || name == ".." {
        return Err(bad());
    }
    CString::new(name).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::file::make_private_dir;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;
    use std::process::Command;

    fn folder() -> PathBuf {
        let dir = std::env::temp_dir().join(format!("openclaw-folder-{}", id::uuid()));
        make_private_dir(&dir.join("w")).unwrap();
        dir
    }

    #[test]
    fn a_file_is_written_whole_and_read_within_bounds() {
        let dir = folder();
        let f = Folder::open(&dir.join("w")).unwrap();
        assert_eq!(f.entry("a").unwrap(), None);
        f.write("a", b"old and long").unwrap();
        let e = f.write("a", b"new").unwrap();
        assert_eq!((e.size, f.entry("a").unwrap()), (3, Some(e)));
        assert_eq!(f.read("a", 3).unwrap(), b"new");
        assert_eq!(
            f.read("a", 2).unwrap_err().kind(),
            io::ErrorKind::FileTooLarge
        );
        assert_eq!(fs::read_dir(dir.join("w")).unwrap().count(), 1);
        let mode = fs::metadata(dir.join("w/a")).unwrap().mode();
        assert_eq!(mode & 0o777, FILE_MODE);
        fs::remove_dir_all(dir).unwrap();
    }

    /// FP-01
    #[test]
    fn links_and_special_files_are_refused_and_their_targets_untouched() {
        let dir = folder();
        fs::write(dir.join("secret"), b"outside").unwrap();
        symlink(dir.join("secret"), dir.join("w/link")).unwrap();
        symlink(dir.join("missing"), dir.join("w/dangling")).unwrap();
        fs::hard_link(dir.join("secret"), dir.join("w/hard")).unwrap();
        fs::create_dir(dir.join("w/dir")).unwrap();
        let made = Command::new("mkfifo")
            .arg(dir.join("w/fifo"))
            .status()
            .unwrap();
        assert!(made.success());
        let f = Folder::open(&dir.join("w")).unwrap();
        for name in [
            "link",
            "dangling",
            "hard",
            "dir",
            "fifo",
            "../secret",
            "..",
            "",
            "a\0b",
        ] {
            let kind = io::ErrorKind::InvalidInput;
            assert_eq!(f.entry(name).unwrap_err().kind(), kind, "{name:?}");
            assert_eq!(f.read(name, 9).unwrap_err().kind(), kind, "{name:?}");
            assert_eq!(f.write(name, b"x").unwrap_err().kind(), kind, "{name:?}");
        }
        assert_eq!(fs::read(dir.join("secret")).unwrap(), b"outside");
        assert!(!dir.join("missing").exists());
        fs::remove_dir_all(dir).unwrap();
    }

    /// FP-05
    #[test]
    fn swapping_the_folder_for_a_link_changes_nothing() {
        let dir = folder();
        fs::create_dir(dir.join("other")).unwrap();
        let f = Folder::open(&dir.join("w")).unwrap();
        fs::rename(dir.join("w"), dir.join("moved")).unwrap();
        symlink(dir.join("other"), dir.join("w")).unwrap();
        f.write("a", b"1").unwrap();
        assert!(dir.join("moved/a").exists());
        assert_eq!(fs::read_dir(dir.join("other")).unwrap().count(), 0);
        fs::remove_dir_all(dir).unwrap();
    }
}
