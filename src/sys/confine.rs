//! Files beneath a folder, and nothing outside of it.
//!
//! A path is walked one component at a time from an open folder, and no symbolic link is followed on
//! the way, the last component included. What somebody swaps meanwhile changes nothing: each step starts
//! from the folder that the step before has opened. The folder itself may be reached through links.
//! Files and folders beneath it can be barred: they are known by their identity, so that another
//! spelling of the path does not help. Single files at the top of a folder are `folder`'s.

use std::ffi::CString;
use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use super::file::{DIR_MODE, FILE_MODE};
use super::{id, os};

/// A folder that paths are confined to.
#[derive(Debug)]
pub struct Root {
    /// As it was named, and with links resolved.
    paths: [PathBuf; 2],
    dir: File,
    barred: Vec<Barred>,
    linked: bool,
}

/// Something that is out of reach.
#[derive(Debug)]
struct Barred {
    /// What it is now, if it is there.
    itself: Option<Identity>,
    /// The folder that it is in, and its name there: it may be made or replaced at any time.
    place: Option<(Identity, CString)>,
}

/// What a file or a folder is, whatever its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity(u64, u64);

impl Identity {
    fn of(metadata: &Metadata) -> Identity {
        Identity(metadata.dev(), metadata.ino())
    }

    fn at(path: &Path) -> Option<Identity> {
        fs::metadata(path).ok().map(|m| Identity::of(&m))
    }
}

/// A place for a file: an open folder, and a name in it.
struct Place {
    dir: File,
    name: CString,
}

impl Root {
    /// Opens the folder at `path`.
    pub fn open(path: &Path) -> io::Result<Root> {
        let dir = File::open(path)?;
        if !dir.metadata()?.is_dir() {
            return Err(io::Error::new(io::ErrorKind::NotADirectory, "not a folder"));
        }
        Ok(Root {
            paths: [path.to_path_buf(), path.canonicalize()?],
            dir,
            barred: Vec::new(),
            linked: false,
        })
    }

    /// Puts the file or folder at `path` out of reach, with all that is beneath it; also when it does not
    /// exist yet.
    pub fn bar(mut self, path: &Path) -> Root {
        let target = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        let place = |path: &Path| {
            let dir = Identity::at(path.parent()?)?;
            Some((dir, CString::new(path.file_name()?.as_bytes()).ok()?))
        };
        let itself = Identity::at(&target);
        for path in [path, &target] {
            let place = place(path);
            self.barred.push(Barred { itself, place });
        }
        self
    }

    /// Takes files with several hard links too: one of them may be somewhere else.
    pub fn with_linked(mut self) -> Root {
        self.linked = true;
        self
    }

    /// What `asked` names, relative to this folder: a relative path, or an absolute one beneath it.
    /// An error when it leads outside, by its words; links are dealt with when it is opened.
    pub fn relative(&self, asked: &str) -> io::Result<PathBuf> {
        let asked = Path::new(asked);
        let mut beneath = self.paths.iter().map(|p| asked.strip_prefix(p).ok());
        let rest = match beneath.find_map(|rest| rest) {
            Some(rest) => rest,
            None if asked.is_absolute() => return Err(outside()),
            None => asked,
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
        self.plain(&self.place(path, false)?)
    }

    /// The content of the file at `path`; an error of kind `FileTooLarge` when it is over `max` bytes.
    pub fn read(&self, path: &Path, max: u64) -> io::Result<Vec<u8>> {
        let (file, _) = self.open_file(path)?;
        let mut bytes = Vec::new();
        file.take(max + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > max {
            let text = format!("larger than {max} bytes");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        Ok(bytes)
    }

    /// The folder at `path`, for listing what is in it.
    pub fn open_dir(&self, path: &Path) -> io::Result<File> {
        let mut dir = self.start()?;
        for part in path.components() {
            dir = self.enter(&dir, &c_name(part)?)?;
        }
        Ok(dir)
    }

    /// Replaces the file at `path` by `bytes`, or makes it, 0600, with the folders on the way, 0700. Whole or
    /// not at all, also after a crash. A file that was there keeps its mode.
    pub fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let place = self.place(path, true)?;
        let mode = match self.plain(&place) {
            Ok((_, metadata)) => Some(metadata.mode()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(e),
        };
        let temp = CString::new(format!(".{}.tmp", id::uuid()))?;
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
        let result = (|| {
            let mut file = os::open_at(&place.dir, &temp, flags, FILE_MODE)?;
            file.write_all(bytes)?;
            if let Some(mode) = mode {
                // Never set-user-id: the content is new.
                file.set_permissions(Permissions::from_mode(mode & 0o777))?;
            }
            file.sync_all()?;
            os::rename_at(&place.dir, &temp, &place.dir, &place.name)?;
            place.dir.sync_all()
        })();
        if result.is_err() {
            let _ = os::remove_at(&place.dir, &temp);
        }
        result
    }

    /// Removes the regular file at `path`.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        let place = self.place(path, false)?;
        self.plain(&place)?;
        os::remove_at(&place.dir, &place.name)?;
        place.dir.sync_all()
    }

    /// Moves the regular file at `path` to `new` beneath `other`, with the folders on the way there.
    pub fn rename(&self, path: &Path, other: &Root, new: &Path) -> io::Result<()> {
        let from = self.place(path, false)?;
        self.plain(&from)?;
        let to = other.place(new, true)?;
        match other.plain(&to) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
            Ok(_) => return Err(io::ErrorKind::AlreadyExists.into()),
        }
        os::rename_at(&from.dir, &from.name, &to.dir, &to.name)?;
        from.dir.sync_all()?;
        to.dir.sync_all()
    }

    /// Whether something is at `path`, be it a link.
    pub fn holds(&self, path: &Path) -> io::Result<bool> {
        let place = match self.place(path, false) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other?,
        };
        match open_in(&place.dir, &place.name, libc::O_NONBLOCK) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(_) => Ok(true),
        }
    }

    fn start(&self) -> io::Result<File> {
        let dir = self.dir.try_clone()?;
        self.admit(Identity::of(&dir.metadata()?))?;
        Ok(dir)
    }

    /// The folder that `path` is in, made when `make` says so and it is missing.
    fn place(&self, path: &Path, make: bool) -> io::Result<Place> {
        let mut parts = path.components();
        let name = c_name(parts.next_back().ok_or_else(not_a_file)?)?;
        let mut dir = self.start()?;
        for part in parts {
            let part = c_name(part)?;
            dir = match self.enter(&dir, &part) {
                Err(e) if make && e.kind() == io::ErrorKind::NotFound => {
                    self.admit_name(&dir, &part)?;
                    match os::make_dir_at(&dir, &part, DIR_MODE) {
                        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
                        _ => self.enter(&dir, &part)?,
                    }
                }
                other => other?,
            };
        }
        self.admit_name(&dir, &name)?;
        Ok(Place { dir, name })
    }

    fn enter(&self, dir: &File, name: &CString) -> io::Result<File> {
        let dir = open_in(dir, name, libc::O_DIRECTORY)?;
        self.admit(Identity::of(&dir.metadata()?))?;
        Ok(dir)
    }

    /// The regular file at `place`.
    fn plain(&self, place: &Place) -> io::Result<(File, Metadata)> {
        // Not blocking, so that opening a fifo returns; a regular file does not care.
        let file = open_in(&place.dir, &place.name, libc::O_NONBLOCK)?;
        let metadata = file.metadata()?;
        self.admit(Identity::of(&metadata))?;
        if !metadata.is_file() {
            return Err(not_a_file());
        }
        if metadata.nlink() > 1 && !self.linked {
            let text = "the file has several names (hard links), of which some may be outside";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        Ok((file, metadata))
    }

    fn admit(&self, found: Identity) -> io::Result<()> {
        match self.barred.iter().any(|b| b.itself == Some(found)) {
            true => Err(barred()),
            false => Ok(()),
        }
    }

    fn admit_name(&self, dir: &File, name: &CString) -> io::Result<()> {
        let dir = Identity::of(&dir.metadata()?);
        let is = |b: &Barred| matches!(&b.place, Some((d, n)) if *d == dir && n == name);
        match self.barred.iter().any(is) {
            true => Err(barred()),
            false => Ok(()),
        }
    }
}

/// A component as a name for the system; an error for one that is no plain name.
fn c_name(part: Component<'_>) -> io::Result<CString> {
    match part {
        Component::Normal(name) => Ok(CString::new(name.as_bytes())?),
        _ => Err(outside()),
    }
}

/// Opens `name`, one component, in the folder `dir` for reading; never through a symbolic link.
fn open_in(dir: &File, name: &CString, flags: i32) -> io::Result<File> {
    let flags = flags | libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NOCTTY;
    os::open_at(dir, name, flags, 0).map_err(explain)
}

fn outside() -> io::Error {
    io::Error::new(
        io::ErrorKind::PermissionDenied,
        "the path leads outside of the folder",
    )
}

fn barred() -> io::Error {
    io::Error::new(
        io::ErrorKind::PermissionDenied,
        "the gateway's own files are out of reach",
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
    use crate::sys::file;
    use std::os::unix::fs::symlink;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

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
    fn files_are_written_whole_and_keep_their_mode() {
        let (path, root) = folder();
        root.write(Path::new("new/deep/f"), b"1").unwrap();
        let made = path.join("work/new/deep/f");
        let mode = |p: &Path| fs::metadata(p).unwrap().mode() & 0o777;
        assert_eq!(
            (fs::read(&made).unwrap(), mode(&made)),
            (b"1".to_vec(), 0o600)
        );
        assert_eq!(mode(&path.join("work/new")), 0o700);
        fs::set_permissions(&made, Permissions::from_mode(0o4755)).unwrap();
        root.write(Path::new("new/deep/f"), b"2").unwrap();
        assert_eq!(
            (fs::read(&made).unwrap(), mode(&made)),
            (b"2".to_vec(), 0o755)
        );
        assert_eq!(fs::metadata(&made).unwrap().mode() & 0o7000, 0);
        assert_eq!(root.read(Path::new("new/deep/f"), 1).unwrap(), b"2");
        assert!(root.read(Path::new("new/deep/f"), 0).is_err());
        assert!(root.holds(Path::new("new/deep/f")).unwrap());
        assert!(!root.holds(Path::new("new/none/f")).unwrap());
        root.remove(Path::new("new/deep/f")).unwrap();
        assert!(!made.exists() && root.remove(Path::new("new/deep")).is_err());
        assert_eq!(fs::read_dir(path.join("work/new/deep")).unwrap().count(), 0);
        fs::remove_dir_all(path).unwrap();
    }

    /// FP-03, FP-04
    #[test]
    fn nothing_is_written_or_removed_through_links() {
        let (path, root) = folder();
        let work = path.join("work");
        fs::create_dir(path.join("outside")).unwrap();
        symlink(path.join("outside/new"), work.join("dangling")).unwrap();
        symlink(path.join("outside"), work.join("folder")).unwrap();
        symlink(path.join("secret"), work.join("link")).unwrap();
        fs::hard_link(path.join("secret"), work.join("hard")).unwrap();
        for asked in ["dangling", "folder/x", "folder/y/z", "link", "hard", "sub"] {
            let asked = Path::new(asked);
            assert!(root.write(asked, b"x").is_err(), "{asked:?}");
            assert!(root.remove(asked).is_err(), "{asked:?}");
            assert!(root.read(asked, 99).is_err(), "{asked:?}");
        }
        assert_eq!(fs::read_dir(path.join("outside")).unwrap().count(), 0);
        assert_eq!(fs::read(path.join("secret")).unwrap(), b"secret");
        let root = root.with_linked();
        assert_eq!(root.read(Path::new("hard"), 99).unwrap(), b"secret");
        fs::remove_dir_all(path).unwrap();
    }

    /// TX-16
    #[test]
    fn what_is_barred_is_out_of_reach_under_every_name() {
        let (path, root) = folder();
        let work = path.join("work");
        fs::create_dir_all(work.join("state/ws")).unwrap();
        fs::write(work.join("state/f"), "x").unwrap();
        fs::write(work.join("config"), "x").unwrap();
        fs::hard_link(work.join("config"), work.join("same")).unwrap();
        symlink("sub/later", work.join("to-later")).unwrap();
        let root = root
            .with_linked()
            .bar(&work.join("state"))
            .bar(&work.join("config"))
            .bar(&work.join("to-later"));
        for asked in [
            "state/f",
            "state/ws/g",
            "config",
            "same",
            "to-later",
            "state",
        ] {
            assert!(root.write(Path::new(asked), b"y").is_err(), "{asked}");
            assert!(root.read(Path::new(asked), 9).is_err(), "{asked}");
        }
        fs::write(work.join("sub/later"), "x").unwrap();
        let barred = root.bar(&work.join("to-later"));
        assert!(barred.write(Path::new("sub/later"), b"y").is_err());
        barred.write(Path::new("sub/other"), b"y").unwrap();
        let all = Root::open(&work).unwrap().bar(&work);
        assert!(all.write(Path::new("free"), b"y").is_err());
        fs::remove_dir_all(path).unwrap();
    }

    /// FP-05
    #[test]
    fn swapping_folders_for_links_meanwhile_leads_nowhere() {
        let (path, root) = folder();
        let outside = path.join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("f"), "outside").unwrap();
        let (here, aside) = (path.join("work/d"), path.join("work/aside"));
        fs::create_dir(&here).unwrap();
        fs::write(here.join("f"), "inside").unwrap();
        let (stop, swaps) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    // Steps fail when the other side has just made the folder; then it has to go.
                    let _ = fs::rename(&here, &aside);
                    let _ = symlink(&outside, &here);
                    let _ = fs::remove_file(&here);
                    if fs::rename(&aside, &here).is_err() {
                        let _ = fs::remove_dir_all(&here);
                    }
                    swaps.fetch_add(1, Ordering::SeqCst);
                }
            });
            for n in 0..500 {
                if let Ok(bytes) = root.read(Path::new("d/f"), 99) {
                    assert_eq!(bytes, b"inside");
                }
                let _ = root.write(Path::new("d/f"), b"inside");
                let _ = root.write(Path::new(&format!("d/{n}/x")), b"inside");
                let _ = root.remove(Path::new(&format!("d/{n}/x")));
            }
            stop.store(true, Ordering::SeqCst);
        });
        assert!(swaps.load(Ordering::SeqCst) > 10);
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
        assert_eq!(fs::read(outside.join("f")).unwrap(), b"outside");
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
