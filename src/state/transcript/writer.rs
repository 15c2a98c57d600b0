//! Appending to a transcript.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::MAX_LINE;
use super::backward::Backward;
use crate::sys::{clock, file, id, os, sync};

/// Version of the format, in the header.
const VERSION: u32 = 3;
/// How long an append waits for another one.
const LOCK_WAIT: Duration = Duration::from_secs(10);
/// Time between two tries for the lock.
const LOCK_POLL: Duration = Duration::from_millis(5);
/// Lines from the end among which the last id is looked for.
const LINES_FOR_ID: usize = 64;
/// Bytes that are read at once when looking for the end of the last whole line.
const BLOCK: usize = 64 * 1024;

/// One line to be appended: its type and what it says. Id, parent and time are added.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    kind: &'static str,
    fields: Map<String, Value>,
}

impl Line {
    /// A message: `{role, content, timestamp, …}` as in STATE.md.
    pub fn message(message: Value) -> Line {
        Line::new("message", json!({ "message": message }))
    }

    /// The model that answers from here on.
    pub fn model_change(provider: &str, model: &str) -> Line {
        Line::new(
            "model_change",
            json!({"provider": provider, "modelId": model}),
        )
    }

    /// The thinking level from here on.
    pub fn thinking_level_change(level: &str) -> Line {
        Line::new("thinking_level_change", json!({ "thinkingLevel": level }))
    }

    /// A note of the program, such as `model-snapshot`.
    pub fn custom(kind: &str, data: Value) -> Line {
        Line::new("custom", json!({"customType": kind, "data": data}))
    }

    /// A summary that stands for everything before the line `first_kept`.
    pub fn compaction(summary: &str, first_kept: &str, tokens_before: u64) -> Line {
        Line::new(
            "compaction",
            json!({"summary": summary, "firstKeptEntryId": first_kept, "tokensBefore": tokens_before}),
        )
    }

    fn new(kind: &'static str, fields: Value) -> Line {
        let fields = match fields {
            Value::Object(map) => map,
            _ => Map::new(),
        };
        Line { kind, fields }
    }

    fn render(&self, id: &str, parent: Option<&str>, time: &str, out: &mut Vec<u8>) {
        let head = json!([self.kind, id, parent, time]);
        let text = format!(
            r#"{{"type":{},"id":{},"parentId":{},"timestamp":{}"#,
            head[0], head[1], head[2], head[3]
        );
        out.extend_from_slice(text.as_bytes());
        for (name, value) in &self.fields {
            out.extend_from_slice(format!(",{}:{value}", json!(name)).as_bytes());
        }
        out.extend_from_slice(b"}\n");
    }
}

/// A transcript to append to. Several may be open on one file, in this process or others: each append
/// is one piece, and continues the line before it.
#[derive(Debug)]
pub struct Transcript {
    path: PathBuf,
    session_id: String,
    cwd: String,
    /// Held across the append: it is what orders the lines of this process.
    tip: Mutex<Option<Tip>>,
}

/// Where the file ended after our last append.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tip {
    inode: u64,
    len: u64,
    last: Option<String>,
}

impl Transcript {
    /// The transcript at `path` of the session `session_id`, whose runs work in `cwd`. Nothing is made
    /// before the first append.
    pub fn new(path: impl Into<PathBuf>, session_id: &str, cwd: &Path) -> Transcript {
        Transcript {
            path: path.into(),
            session_id: session_id.to_string(),
            cwd: cwd.display().to_string(),
            tip: Mutex::new(None),
        }
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is a file with at least a header.
    pub fn exists(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|m| m.is_file() && m.len() > 0)
    }

    /// Appends `lines` and returns their ids. When it returns they are on disk; on error none of them
    /// counts.
    pub fn append(&self, lines: &[Line]) -> io::Result<Vec<String>> {
        let mut tip = sync::lock(&self.tip);
        let (file, fresh) = self.open_locked()?;
        let meta = file.metadata()?;
        if meta.mode() & 0o077 != 0 {
            file.set_permissions(Permissions::from_mode(file::FILE_MODE))?;
        }
        let known = tip
            .take()
            .filter(|t| t.inode == meta.ino() && t.len == meta.len());
        let (len, mut last) = match known {
            Some(t) => (t.len, t.last),
            None => tail(&file, &self.path)?,
        };

        let time = clock::iso(clock::now_ms());
        let mut text = Vec::new();
        if len == 0 {
            text = self.header(&time);
        }
        let mut ids = Vec::with_capacity(lines.len());
        for line in lines {
            let id = id::hex8();
            line.render(&id, last.as_deref(), &time, &mut text);
            last = Some(id.clone());
            ids.push(id);
        }
        let written = (&file).write_all(&text).and_then(|()| file.sync_data());
        if let Err(e) = written {
            // What is left of it would be a torn line in the middle.
            let _ = file.set_len(len);
            return Err(e);
        }
        if fresh && let Some(dir) = self.path.parent() {
            file::sync_dir(dir)?;
        }
        *tip = Some(Tip {
            inode: meta.ino(),
            len: len + text.len() as u64,
            last,
        });
        Ok(ids)
    }

    /// Where the file ends now; for [`Transcript::rewind`].
    pub fn mark(&self) -> io::Result<u64> {
        match fs::symlink_metadata(&self.path) {
            Ok(meta) => Ok(meta.len()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(e) => Err(e),
        }
    }

    /// Takes back what was appended since `mark`, as if it had never been said. On disk when it returns.
    pub fn rewind(&self, mark: u64) -> io::Result<()> {
        let mut tip = sync::lock(&self.tip);
        let (file, _) = self.open_locked()?;
        if file.metadata()?.len() > mark {
            file.set_len(mark)?;
            file.sync_data()?;
        }
        *tip = None;
        Ok(())
    }

    fn header(&self, time: &str) -> Vec<u8> {
        let head = json!([self.session_id, time, self.cwd]);
        format!(
            "{{\"type\":\"session\",\"version\":{VERSION},\"id\":{},\"timestamp\":{},\"cwd\":{}}}\n",
            head[0], head[1], head[2]
        )
        .into_bytes()
    }

    /// Opens the file and locks it; whether it was just made.
    fn open_locked(&self) -> io::Result<(File, bool)> {
        if let Some(dir) = self.path.parent() {
            file::make_private_dir(dir)?;
        }
        let deadline = Instant::now() + LOCK_WAIT;
        loop {
            let file = OpenOptions::new()
                .read(true)
                .append(true)
                .create(true)
                .mode(file::FILE_MODE)
                .custom_flags(libc::O_NOFOLLOW)
                .open(&self.path)?;
            lock(&file, deadline)?;
            // Whoever had the lock before may have put another file in its place.
            let meta = file.metadata()?;
            match fs::symlink_metadata(&self.path) {
                Ok(m) if m.ino() == meta.ino() => return Ok((file, meta.len() == 0)),
                _ => continue,
            }
        }
    }
}

/// Locks `file` before `deadline`. The lock goes when the file is closed.
pub(super) fn lock(file: &File, deadline: Instant) -> io::Result<()> {
    while !os::try_lock(file)? {
        if Instant::now() >= deadline {
            let text = "the transcript is locked by another process";
            return Err(io::Error::new(io::ErrorKind::WouldBlock, text));
        }
        std::thread::sleep(LOCK_POLL);
    }
    Ok(())
}

/// Where a locked lock is waited for at most.
pub(super) fn lock_deadline() -> Instant {
    Instant::now() + LOCK_WAIT
}

/// The length of `file` and the id of its last line, after a torn last line was cut off.
fn tail(file: &File, path: &Path) -> io::Result<(u64, Option<String>)> {
    let len = mend(file, path)?;
    if len == 0 {
        return Ok((0, None));
    }
    #[derive(Deserialize)]
    struct Known {
        #[serde(rename = "type", default)]
        kind: Value,
        #[serde(default)]
        id: Value,
    }
    let mut lines = Backward::new(file)?;
    for _ in 0..LINES_FOR_ID {
        let Some(line) = lines.next_line()? else {
            break;
        };
        let Ok(line) = serde_json::from_slice::<Known>(&line) else {
            continue;
        };
        match line.id {
            Value::String(id) if line.kind != "session" => return Ok((len, Some(id))),
            _ => {}
        }
    }
    Ok((len, None))
}

/// Makes `file` end with a whole line, and returns its length then.
fn mend(file: &File, path: &Path) -> io::Result<u64> {
    let len = file.metadata()?.len();
    let start = last_line_start(file, len)?;
    if start == len {
        return Ok(len);
    }
    let torn = len - start;
    if torn <= MAX_LINE as u64 {
        let mut line = vec![0; torn as usize];
        file.read_exact_at(&mut line, start)?;
        if serde_json::from_slice::<Map<String, Value>>(&line).is_ok() {
            // Whole, but for its end.
            let mut end = file;
            end.write_all(b"\n")?;
            return Ok(len + 1);
        }
    }
    log::warn!(target: "state", "{}: cutting off a torn last line of {torn} bytes", path.display());
    file.set_len(start)?;
    file.sync_data()?;
    Ok(start)
}

/// Where the last line of `file` begins; its length when the last line has its end.
fn last_line_start(file: &File, len: u64) -> io::Result<u64> {
    let mut pos = len;
    let mut block = [0; BLOCK];
    while pos > 0 {
        let n = pos.min(BLOCK as u64) as usize;
        file.read_exact_at(&mut block[..n], pos - n as u64)?;
        if let Some(i) = block[..n].iter().rposition(|b| *b == b'\n') {
            return Ok(pos - n as u64 + i as u64 + 1);
        }
        pos -= n as u64;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::testing::Folder;

    fn open(dir: &Folder) -> Transcript {
        Transcript::new(dir.path().join("s/a.jsonl"), "a", Path::new("/work space"))
    }

    fn read(t: &Transcript) -> Vec<Value> {
        let text = fs::read_to_string(t.path()).unwrap();
        assert!(text.ends_with('\n'));
        text.lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect()
    }

    fn said(text: &str) -> Line {
        Line::message(
            json!({"role": "user", "content": [{"type": "text", "text": text}], "timestamp": 1}),
        )
    }

    #[test]
    fn what_is_taken_back_was_never_said() {
        let dir = Folder::new();
        let t = open(&dir);
        assert_eq!(t.mark().unwrap(), 0);
        t.append(&[said("stays")]).unwrap();
        let mark = t.mark().unwrap();
        t.append(&[said("goes"), said("too")]).unwrap();
        t.rewind(mark).unwrap();
        t.append(&[said("after")]).unwrap();
        let lines = read(&t);
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[2]["parentId"], lines[1]["id"]);
        t.rewind(0).unwrap();
        assert!(!t.exists());
        t.append(&[said("anew")]).unwrap();
        assert_eq!(read(&t).len(), 2);
    }

    #[test]
    fn the_first_append_writes_the_header_and_lines_form_a_chain() {
        let dir = Folder::new();
        let t = open(&dir);
        assert!(!t.exists());
        let first = t
            .append(&[
                Line::model_change("stub", "stub-1"),
                Line::thinking_level_change("off"),
            ])
            .unwrap();
        let second = open(&dir).append(&[said("hi \"you\"\n")]).unwrap();
        let third = t.append(&[said("again")]).unwrap();
        let lines = read(&t);
        assert_eq!(lines.len(), 5);
        let header = &lines[0];
        assert_eq!(
            (
                &header["type"],
                &header["version"],
                &header["id"],
                &header["cwd"]
            ),
            (
                &json!("session"),
                &json!(3),
                &json!("a"),
                &json!("/work space")
            )
        );
        assert_eq!(lines[1]["modelId"], "stub-1");
        assert_eq!(lines[1]["parentId"], Value::Null);
        let chain: Vec<&Value> = lines[1..].iter().map(|l| &l["id"]).collect();
        let ids = [first, second, third].concat();
        assert_eq!(
            chain,
            ids.iter()
                .map(|i| json!(i))
                .collect::<Vec<_>>()
                .iter()
                .collect::<Vec<_>>()
        );
        for pair in lines[1..].windows(2) {
            assert_eq!(pair[1]["parentId"], pair[0]["id"]);
        }
        assert_eq!(lines[3]["message"]["content"][0]["text"], "hi \"you\"\n");
        assert_eq!(fs::metadata(t.path()).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_torn_last_line_is_cut_off_and_never_glued_to() {
        let dir = Folder::new();
        let t = open(&dir);
        let id = t.append(&[said("kept")]).unwrap().remove(0);
        for torn in [
            &b"{\"type\":\"message\",\"id\":\"x"[..],
            b"\0\0\0\0",
            b"{\"a\":\"\xff",
        ] {
            let whole = fs::read(t.path()).unwrap();
            fs::write(t.path(), [&whole[..], torn].concat()).unwrap();
            open(&dir).append(&[said("next")]).unwrap();
            assert!(fs::read(t.path()).unwrap().starts_with(&whole));
        }
        let lines = read(&t);
        assert_eq!(lines.len(), 5);
        assert_eq!(lines[2]["parentId"], json!(id));
    }

    #[test]
    fn a_last_line_that_only_lacks_its_end_is_kept() {
        let dir = Folder::new();
        let t = open(&dir);
        t.append(&[said("one")]).unwrap();
        let mut text = fs::read_to_string(t.path()).unwrap();
        text.truncate(text.len() - 1);
        fs::write(t.path(), &text).unwrap();
        t.append(&[said("two")]).unwrap();
        assert_eq!(read(&t).len(), 3);
    }

    #[test]
    fn a_file_of_one_torn_header_starts_over() {
        let dir = Folder::new();
        let t = open(&dir);
        fs::create_dir_all(t.path().parent().unwrap()).unwrap();
        fs::write(t.path(), "{\"type\":\"sess").unwrap();
        t.append(&[said("one")]).unwrap();
        let lines = read(&t);
        assert_eq!((lines.len(), &lines[0]["type"]), (2, &json!("session")));
    }

    #[test]
    fn a_link_is_not_written_through_and_others_lose_their_rights() {
        let dir = Folder::new();
        let t = open(&dir);
        fs::create_dir_all(t.path().parent().unwrap()).unwrap();
        let victim = dir.path().join("victim");
        fs::write(&victim, "").unwrap();
        std::os::unix::fs::symlink(&victim, t.path()).unwrap();
        assert!(t.append(&[said("x")]).is_err());
        assert_eq!(fs::read(&victim).unwrap(), b"");
        fs::remove_file(t.path()).unwrap();
        fs::write(t.path(), "").unwrap();
        fs::set_permissions(t.path(), Permissions::from_mode(0o644)).unwrap();
        t.append(&[said("x")]).unwrap();
        assert_eq!(fs::metadata(t.path()).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn many_writers_make_one_chain() {
        let dir = Folder::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let t = open(&dir);
                    for _ in 0..10 {
                        t.append(&[said("a"), said("b")]).unwrap();
                    }
                });
            }
        });
        let lines = read(&open(&dir));
        assert_eq!(lines.len(), 81);
        for pair in lines[1..].windows(2) {
            assert_eq!(pair[1]["parentId"], pair[0]["id"]);
        }
    }
}
