//! Reading the end of the log file: what `logs.tail` answers with.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// Most lines of one answer, and how many when the caller does not say.
pub const MAX_LINES: usize = 5_000;
pub const DEFAULT_LINES: usize = 500;
/// Most bytes of one answer, and how many when the caller does not say.
pub const MAX_BYTES: u64 = 1_000_000;
pub const DEFAULT_BYTES: u64 = 250_000;

/// A piece of the log, in whole lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// Where to go on: the byte offset behind the last line.
    pub cursor: u64,
    /// Bytes of the file.
    pub size: u64,
    pub lines: Vec<String>,
    /// Whether lines before these were left out.
    pub truncated: bool,
    /// Whether the caller's cursor was of no use: the file is another, or the cursor too far back.
    pub reset: bool,
}

/// The lines of the file at `path` from byte `cursor` on; without a cursor the last ones.
///
/// At most `max_bytes` are read and at most `limit` lines given, the last ones each time. A missing file is empty.
pub fn read(path: &Path, cursor: Option<u64>, limit: usize, max_bytes: u64) -> io::Result<Tail> {
    let mut file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Tail::default()),
        other => other?,
    };
    let size = file.metadata()?.len();
    let limit = limit.clamp(1, MAX_LINES);
    let max_bytes = max_bytes.clamp(1, MAX_BYTES);
    let last = size.saturating_sub(max_bytes);
    let (start, reset) = match cursor {
        Some(c) if c > size || size - c > max_bytes => (last, true),
        Some(c) => (c, false),
        None => (last, false),
    };
    let mut tail = Tail {
        cursor: start,
        size,
        // Whoever comes with a cursor of another file has lost what lay between.
        truncated: reset || (cursor.is_none() && start > 0),
        reset,
        lines: Vec::new(),
    };
    // One byte more in front tells whether `start` is the beginning of a line.
    let from = start.saturating_sub(1);
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(from))?;
    file.take(size - from).read_to_end(&mut bytes)?;
    let mut text = &bytes[..];
    if start > 0 {
        match text.iter().position(|b| *b == b'\n') {
            Some(i) => text = &text[i + 1..],
            None => return Ok(tail),
        }
        tail.cursor = from + (bytes.len() - text.len()) as u64;
    }
    // A line without its end is still being written: it comes whole next time.
    let Some(end) = text.iter().rposition(|b| *b == b'\n') else {
        return Ok(tail);
    };
    tail.cursor = from + (bytes.len() - text.len() + end + 1) as u64;
    let lines: Vec<&[u8]> = text[..end].split(|b| *b == b'\n').collect();
    let skip = lines.len().saturating_sub(limit);
    tail.truncated |= skip > 0;
    tail.lines = lines[skip..]
        .iter()
        .map(|l| String::from_utf8_lossy(l).into_owned())
        .collect();
    Ok(tail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{file, id};

    fn with(content: &str, check: impl Fn(&Path)) {
        let dir = std::env::temp_dir().join(format!("openclaw-tail-{}", id::uuid()));
        file::make_private_dir(&dir).unwrap();
        let path = dir.join("log");
        file::write_atomic(&path, content.as_bytes()).unwrap();
        check(&path);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn lines_come_whole_and_the_cursor_goes_on() {
        with("one\ntwo\nthr", |p| {
            let t = read(p, None, 10, 1000).unwrap();
            assert_eq!((t.lines.len(), t.cursor, t.size), (2, 8, 11));
            assert!(!t.truncated && !t.reset);
            let t = read(p, Some(t.cursor), 10, 1000).unwrap();
            assert_eq!((t.lines.len(), t.cursor), (0, 8));
            assert_eq!(read(p, Some(4), 10, 1000).unwrap().lines, ["two"]);
            assert_eq!(read(p, Some(11), 10, 1000).unwrap().cursor, 11);
        });
    }

    #[test]
    fn bounds_cut_from_the_front() {
        with("one\ntwo\nthree\n", |p| {
            let t = read(p, None, 1, 1000).unwrap();
            assert_eq!((t.lines, t.truncated), (vec!["three".to_string()], true));
            let t = read(p, None, 10, 8).unwrap();
            assert_eq!((t.lines, t.truncated), (vec!["three".to_string()], true));
            let t = read(p, None, 10, 6).unwrap();
            assert_eq!((t.lines, t.truncated), (vec!["three".to_string()], true));
            let t = read(p, None, 10, 1).unwrap();
            assert_eq!((t.lines.len(), t.cursor), (0, 14));
            let t = read(p, Some(0), 10, 6).unwrap();
            assert!(t.reset && t.truncated && t.lines == ["three"]);
        });
    }

    #[test]
    fn another_file_resets_the_cursor() {
        with("new\n", |p| {
            let t = read(p, Some(1_000), 10, 1000).unwrap();
            assert!(t.reset && t.truncated);
            assert_eq!((t.lines, t.cursor), (vec!["new".to_string()], 4));
        });
        assert_eq!(
            read(Path::new("/no such/file"), Some(5), 1, 1).unwrap(),
            Tail::default()
        );
    }
}
