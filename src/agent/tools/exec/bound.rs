//! What an approval holds fast: the program, the folder, and the files that a command names.
//!
//! They are looked at when a person is asked and again when the command is about to start; whatever was
//! edited, replaced or moved in between makes the approval void (TX-09, TX-10, TX-11).

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::sys::confine::Root;

/// Files that are held fast.
const MAX_FILES: usize = 64;

/// One version of a file. The change time moves with every edit, and no program can set it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Version {
    fn of(metadata: &Metadata) -> Version {
        Version {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    fn at(path: &Path) -> Option<Version> {
        let metadata = fs::metadata(path).ok()?;
        metadata.is_file().then(|| Version::of(&metadata))
    }
}

/// What is held fast for one command.
#[derive(Debug)]
pub struct Bound {
    /// The folder: its path without links, and the folder itself.
    cwd: PathBuf,
    dir: File,
    files: Vec<(PathBuf, Option<Version>)>,
}

impl Bound {
    /// Takes hold of the folder `cwd`, the program at `program`, and what of `words` names a file in it.
    pub fn new<'w>(
        cwd: &Path,
        program: &Path,
        words: impl Iterator<Item = &'w str>,
    ) -> io::Result<Bound> {
        let cwd = cwd.canonicalize()?;
        let dir = open(&cwd)?;
        let mut files = vec![(program.to_path_buf(), Version::at(program))];
        for word in words.take(4 * MAX_FILES) {
            let path = cwd.join(word);
            let version = Version::at(&path);
            // A path without a file counts too: one may be put there.
            let named = version.is_some() || word.contains('/');
            if named && files.len() < MAX_FILES && !files.iter().any(|(p, _)| *p == path) {
                files.push((path, version));
            }
        }
        Ok(Bound { cwd, dir, files })
    }

    /// The folder, if nothing has changed; else what has.
    pub fn check(&self) -> Result<File, String> {
        let same = |dir: &File| {
            let identity = |f: &File| f.metadata().ok().map(|m| (m.dev(), m.ino()));
            identity(dir).is_some() && identity(dir) == identity(&self.dir)
        };
        // The same path still has to lead to the same folder, without links.
        if !open(&self.cwd).is_ok_and(|dir| same(&dir)) {
            return Err(format!("{} has changed since approval", self.cwd.display()));
        }
        let moved = self
            .files
            .iter()
            .find(|(path, version)| Version::at(path) != *version);
        if let Some((path, _)) = moved {
            return Err(format!("{} has changed since approval", path.display()));
        }
        self.dir.try_clone().map_err(|e| e.to_string())
    }

    /// The folder's path.
    pub fn cwd(&self) -> &Path {
        &self.cwd
    }
}

/// The folder at `path`, which is absolute; no link on the way is followed.
fn open(path: &Path) -> io::Result<File> {
    let relative = path.strip_prefix("/").map_err(io::Error::other)?;
    Root::open(Path::new("/"))?.open_dir(relative)
}

/// What in a line for a shell could be the name of a file.
pub fn words_of(line: &str) -> impl Iterator<Item = &str> {
    let ends = |c: char| c.is_whitespace() || "|&;<>()$`\\\"'*?[]{}!=,:".contains(c);
    line.split(ends).filter(|w| !w.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::Bench;
    use super::*;
    use std::os::unix::fs::symlink;

    fn bound(bench: &Bench, line: &str) -> Bound {
        let program = bench.workspace.join("tool");
        Bound::new(&bench.workspace, &program, words_of(line)).unwrap()
    }

    /// TX-09, TX-10
    #[test]
    fn files_that_a_command_names_may_not_change() {
        type Change = fn(&Bench);
        let changes: &[(&str, Change)] = &[
            ("edited", |b| {
                b.put("s.sh", "evil");
            }),
            ("as long", |b| {
                b.put("s.sh", "othe");
            }),
            ("renamed over", |b| {
                let other = b.put("other", "good");
                fs::rename(other, b.workspace.join("s.sh")).unwrap();
            }),
            ("link", |b| {
                let other = b.put("other", "good");
                fs::remove_file(b.workspace.join("s.sh")).unwrap();
                symlink(other, b.workspace.join("s.sh")).unwrap();
            }),
            ("gone", |b| {
                fs::remove_file(b.workspace.join("s.sh")).unwrap()
            }),
            ("program", |b| {
                b.put("tool", "evil");
            }),
            ("appears", |b| {
                b.put("dir/later.py", "evil");
            }),
        ];
        for (name, change) in changes {
            let bench = Bench::new("{}");
            bench.put("s.sh", "good");
            bench.put("tool", "good");
            bench.put("dir/x", "");
            let held = bound(
                &bench,
                "sh ./s.sh; python3 dir/later.py | cat \"unrelated\"",
            );
            assert!(held.check().is_ok(), "{name}");
            change(&bench);
            let error = held.check().unwrap_err();
            assert!(error.ends_with("changed since approval"), "{name}: {error}");
        }
    }

    /// TX-11
    #[test]
    fn the_folder_and_those_above_it_may_not_move() {
        let bench = Bench::new("{}");
        bench.put("a/b/x", "");
        bench.put("other/b/x", "");
        let cwd = bench.workspace.join("a/b");
        let held = Bound::new(&cwd, Path::new("/bin/sh"), std::iter::empty()).unwrap();
        assert!(held.check().is_ok());
        fs::rename(bench.workspace.join("a"), bench.workspace.join("moved")).unwrap();
        assert!(held.check().is_err());
        symlink("moved", bench.workspace.join("a")).unwrap();
        assert!(held.check().is_err());
        fs::remove_file(bench.workspace.join("a")).unwrap();
        fs::rename(bench.workspace.join("other"), bench.workspace.join("a")).unwrap();
        assert!(held.check().is_err());
    }
}
