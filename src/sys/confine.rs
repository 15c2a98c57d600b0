//! Files beneath a folder, and nothing outside of it.
//!
//! A path is walked one component at a time from an open folder, and no symbolic link is followed on
//! the way, the last component included. What somebody swaps meanwhile changes nothing: each step starts
//! from the folder that the step before has opened. The folder itself may be reached through links.
//! Single files at the top of a folder, read and replaced, are `folder`'s.

use std::ffi::{CString, OsStr};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::os;

/// A folder that paths are confined to.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    dir: File,
}

impl Root {
    /// Opens the folder at `path`.
    pub fn open(path: &Path) -> io::Result<Root> {
        let dir = File::open(path)?;
        if !dir.metadata()?.is_dir() {
            return Err(io::Error::new(io::ErrorKind::NotADirectory, "not a folder"));
        }
        Ok(Root {
            path: path.to_path_buf(),
            dir,
        })
    }

    /// What `asked` names, relative to this folder: a relative path, or an absolute one beneath it.
    /// An error when it leads outside, by its words; links are dealt with when it is opened.
    pub fn relative(&self, asked: &str) -> io::Result<PathBuf> {
        let asked = Path::new(asked);
        let rest = match asked.strip_prefix(&self.path) {
            Ok(rest) => rest,
            Err(_) if asked.is_absolute() => return Err(outside()),
            Err(_) => asked,
        };
        let mut out = PathBuf::new();
        for part in rest.components() {
            match part {
                Component::Normal(name) => out.push(name),
                Component::CurDir => {}
                Component::ParentDir if out.pop() => {}
                _ => return Err(outside()),
            }
        }
        Ok(out)
    }

    /// Opens the regular file at `path`, relative to this folder, for reading.
    pub fn open_file(&self, path: &Path) -> io::Result<(File, Metadata)> {
        let mut names = Vec::new();
        for part in path.components() {
            match part {
                Component::Normal(name) => names.push(name),
                _ => return Err(outside()),
            }
        }
        let Some((last, folders)) = names.split_last() else {
            return Err(not_a_file());
        };
        let mut dir = self.dir.try_clone()?;
        for name in folders {
            dir = open_in(&dir, name, libc::O_DIRECTORY)?;
        }
        // Not blocking, so that opening a fifo returns; a regular file does not care.
        let file = open_in(&dir, last, libc::O_NONBLOCK)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(not_a_file());
        }
        Ok((file, metadata))
    }
}

/// Opens `name`, one component, in the folder `dir` for reading; never through a symbolic link.
fn open_in(dir: &File, name: &OsStr, flags: i32) -> io::Result<File> {
    let name = CString::new(name.as_bytes())?;
    os::open_at(dir, &name, flags | libc::O_RDONLY | libc::O_NOFOLLOW, 0).map_err(explain)
}

fn outside() -> io::Error {
    io::Error::new(
        io::ErrorKind::PermissionDenied,
        "the path leads outside of the folder",
    )
}

fn not_a_file() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")
}

/// The kernel's words for a link in the way depend on where it is.
fn explain(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::ELOOP | libc::EMLINK) => io::Error::new(
            io::ErrorKind::PermissionDenied,
            "a symbolic link, which is not followed here",
        ),
        Some(libc::ENOTDIR) => io::Error::new(
            io::ErrorKind::NotADirectory,
            "not a folder, or a symbolic link, which is not followed here",
        ),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{file, id};
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    fn folder() -> (PathBuf, Root) {
        let path = std::env::temp_dir().join(format!("openclaw-confine-{}", id::uuid()));
        file::make_private_dir(&path.join("work/sub")).unwrap();
        fs::write(path.join("secret"), "secret").unwrap();
        fs::write(path.join("work/sub/a"), "inside").unwrap();
        let root = Root::open(&path.join("work")).unwrap();
        (path, root)
    }

    fn read(root: &Root, path: &str) -> io::Result<String> {
        let (mut file, _) = root.open_file(&root.relative(path)?)?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn what_is_inside_is_read() {
        let (path, root) = folder();
        let absolute = path.join("work/sub/a");
        for asked in ["sub/a", "./sub/../sub/./a", absolute.to_str().unwrap()] {
            assert_eq!(read(&root, asked).unwrap(), "inside", "{asked}");
        }
        let (_, metadata) = root.open_file(Path::new("sub/a")).unwrap();
        assert_eq!(metadata.len(), 6);
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn words_and_links_that_lead_outside_are_refused() {
        let (path, root) = folder();
        let work = path.join("work");
        symlink(path.join("secret"), work.join("file-link")).unwrap();
        symlink(&path, work.join("folder-link")).unwrap();
        symlink("sub/a", work.join("inside-link")).unwrap();
        symlink("loop", work.join("loop")).unwrap();
        for asked in [
            "../secret",
            "sub/../../secret",
            "/etc/passwd",
            path.join("secret").to_str().unwrap(),
            work.join("../secret").to_str().unwrap(),
            "file-link",
            "folder-link/secret",
            "inside-link",
            "loop",
            "sub",
            "",
            ".",
            "sub/a/b",
            "a\0b",
        ] {
            assert!(read(&root, asked).is_err(), "{asked}");
        }
        assert!(root.open_file(Path::new("../secret")).is_err());
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn a_fifo_does_not_block() {
        let (path, root) = folder();
        let fifo = path.join("work/fifo");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status();
        assert!(made.unwrap().success());
        let error = read(&root, "fifo").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        fs::remove_dir_all(path).unwrap();
    }
}
