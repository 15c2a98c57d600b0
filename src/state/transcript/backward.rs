//! The lines of a file from its end: the last ones cost the same however long the file is.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::MAX_LINE;

/// Bytes of the first read; each further one of the same line is twice as large.
const FIRST_READ: usize = 16 * 1024;
/// Bytes of the largest read.
const LARGEST_READ: usize = 1024 * 1024;

/// Opens a transcript for reading; a symbolic link is not followed.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    if !file.metadata()?.is_file() {
        let text = "not a regular file";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(file)
}

/// Hands out the lines of a file, the last one first. What is appended meanwhile is not seen.
pub(super) struct Backward<'f> {
    file: &'f File,
    /// Bytes before this are not read yet.
    pos: u64,
    /// What was read from `pos` on and not handed out.
    held: Vec<u8>,
    /// Bytes at the end of `held` that are known to have no line end.
    searched: usize,
    read: usize,
    /// The line being read is too long and is dropped.
    dropping: bool,
    started: bool,
    max_line: usize,
}

impl<'f> Backward<'f> {
    pub fn new(file: &'f File) -> io::Result<Backward<'f>> {
        Ok(Backward {
            pos: file.metadata()?.len(),
            file,
            held: Vec::new(),
            searched: 0,
            read: FIRST_READ,
            dropping: false,
            started: false,
            max_line: MAX_LINE,
        })
    }

    /// Where the bytes that were not read yet end.
    pub fn position(&self) -> u64 {
        self.pos
    }

    /// The next line towards the beginning, without its end. Blank lines and too long ones are left out.
    pub fn next_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let fresh = self.held.len() - self.searched;
            if let Some(end) = self.held[..fresh].iter().rposition(|b| *b == b'\n') {
                let line = self.held.split_off(end + 1);
                self.held.pop();
                self.searched = 0;
                self.read = FIRST_READ;
                if std::mem::take(&mut self.dropping) || is_blank(&line) {
                    continue;
                }
                return Ok(Some(line));
            }
            self.searched = self.held.len();
            if self.held.len() > self.max_line {
                self.dropping = true;
            }
            if self.dropping {
                self.held.clear();
                self.searched = 0;
            }
            if self.pos == 0 {
                if std::mem::replace(&mut self.started, true) {
                    return Ok(None);
                }
                let line = std::mem::take(&mut self.held);
                self.searched = 0;
                if self.dropping || is_blank(&line) {
                    return Ok(None);
                }
                return Ok(Some(line));
            }
            self.read_more()?;
        }
    }

    fn read_more(&mut self) -> io::Result<()> {
        let n = self.pos.min(self.read as u64) as usize;
        self.read = (self.read * 2).min(LARGEST_READ);
        let mut block = vec![0; n];
        self.file.read_exact_at(&mut block, self.pos - n as u64)?;
        self.pos -= n as u64;
        block.append(&mut self.held);
        self.held = block;
        Ok(())
    }
}

fn is_blank(line: &[u8]) -> bool {
    line.iter().all(u8::is_ascii_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::testing::Folder;

    fn lines(content: &[u8], max_line: usize) -> Vec<String> {
        let dir = Folder::new();
        let path = dir.path().join("f");
        std::fs::write(&path, content).unwrap();
        let file = open(&path).unwrap();
        let mut back = Backward::new(&file).unwrap();
        back.max_line = max_line;
        let mut out = Vec::new();
        while let Some(l) = back.next_line().unwrap() {
            out.push(String::from_utf8(l).unwrap());
        }
        assert!(back.next_line().unwrap().is_none());
        out
    }

    #[test]
    fn lines_come_whole_from_the_end() {
        let none: [&str; 0] = [];
        assert_eq!(lines(b"", MAX_LINE), none);
        assert_eq!(lines(b"\n\n \n", MAX_LINE), none);
        assert_eq!(lines(b"a", MAX_LINE), ["a"]);
        assert_eq!(lines(b"a\n", MAX_LINE), ["a"]);
        assert_eq!(lines(b"a\n\nb\r\nc", MAX_LINE), ["c", "b\r", "a"]);
    }

    #[test]
    fn long_lines_cross_reads_and_too_long_ones_are_left_out() {
        let long: Vec<String> = (0..9)
            .map(|i| i.to_string().repeat(FIRST_READ * i / 2 + 1))
            .collect();
        let mut all = lines(long.join("\n").as_bytes(), MAX_LINE);
        all.reverse();
        assert_eq!(all, long);
        let text = format!("a\n{}\nb\n{}\n", "x".repeat(100_000), "y".repeat(100_000));
        assert_eq!(lines(text.as_bytes(), 50_000), ["b", "a"]);
        assert_eq!(lines("z".repeat(100_000).as_bytes(), 50_000), [""; 0]);
    }

    #[test]
    fn links_and_folders_are_not_read() {
        let dir = Folder::new();
        std::fs::write(dir.path().join("real"), "secret").unwrap();
        std::os::unix::fs::symlink(dir.path().join("real"), dir.path().join("link")).unwrap();
        assert!(open(&dir.path().join("link")).is_err());
        assert!(open(dir.path()).is_err());
    }
}
