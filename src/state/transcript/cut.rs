//! Cutting a transcript to its last lines, and counting what is in it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::MAX_LINE;
use super::backward;
use super::writer;
use crate::state::aside;
use crate::sys::{file, id};

/// What [`compact`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The file has `lines` lines, few enough; nothing was changed.
    Short { lines: usize },
    /// The last `kept` lines are left, under the header; the whole file is at `archived`.
    Done { kept: usize, archived: PathBuf },
}

/// Cuts the transcript at `path` to its last `max` lines. The header stays on top and is not counted.
///
/// The old file is kept as `<path>.bak.<time>`. A crash leaves either the old or the new transcript.
pub fn compact(path: &Path, max: usize) -> io::Result<Cut> {
    let source = backward::open(path)?;
    writer::lock(&source, writer::lock_deadline())?;
    let lines = starts(&source)?;
    let header = first_line(&source)?.filter(|l| is_header(l));
    let body = &lines[usize::from(header.is_some()).min(lines.len())..];
    if lines.len() <= max || body.len() <= max {
        return Ok(Cut::Short { lines: lines.len() });
    }
    let from = body[body.len() - max];

    let mut name = path.as_os_str().to_os_string();
    name.push(format!(".{}.{}.tmp", std::process::id(), id::hex8()));
    let temp = PathBuf::from(name);
    let result = write_cut(&source, &temp, header, from).and_then(|()| {
        let archived = keep_as_backup(path)?;
        fs::rename(&temp, path)?;
        if let Some(dir) = path.parent() {
            file::sync_dir(dir)?;
        }
        Ok(archived)
    });
    if result.is_err() {
        let _ = fs::remove_file(&temp);
    }
    Ok(Cut::Done {
        kept: max,
        archived: result?,
    })
}

/// How many messages the transcript at `path` has. Reads all of it, a line at a time.
pub fn count_messages(path: &Path) -> io::Result<usize> {
    #[derive(Deserialize)]
    struct Known<'a> {
        #[serde(rename = "type", borrow, default)]
        kind: std::borrow::Cow<'a, str>,
    }
    let mut reader = BufReader::new(backward::open(path)?);
    let mut count = 0;
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut bounded = (&mut reader).take(MAX_LINE as u64);
        if bounded.read_until(b'\n', &mut line)? == 0 {
            return Ok(count);
        }
        if serde_json::from_slice::<Known<'_>>(&line).is_ok_and(|k| k.kind == "message") {
            count += 1;
        }
    }
}

/// A second name for the file at `path`, so that there is no moment without it.
fn keep_as_backup(path: &Path) -> io::Result<PathBuf> {
    let target = aside::name(path, "bak");
    match fs::hard_link(path, &target) {
        Ok(()) => Ok(target),
        // A file system without hard links.
        Err(_) => {
            fs::copy(path, &target)?;
            file::tighten(&target)?;
            File::open(&target)?.sync_all()?;
            Ok(target)
        }
    }
}

fn write_cut(source: &File, temp: &Path, header: Option<Vec<u8>>, from: u64) -> io::Result<()> {
    let mut out = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(file::FILE_MODE)
        .open(temp)?;
    out.write_all(&header.unwrap_or_default())?;
    let mut reader = BufReader::new(source);
    reader.seek(SeekFrom::Start(from))?;
    let mut first = Vec::new();
    (&mut reader)
        .take(MAX_LINE as u64)
        .read_until(b'\n', &mut first)?;
    out.write_all(&orphan(&first))?;
    io::copy(&mut reader, &mut out)?;
    out.sync_all()
}

/// `line` without a parent: what it continued is gone.
fn orphan(line: &[u8]) -> Vec<u8> {
    match serde_json::from_slice::<Map<String, Value>>(line) {
        Ok(mut map) if map.contains_key("parentId") => {
            map.insert("parentId".into(), Value::Null);
            let mut text = Value::Object(map).to_string().into_bytes();
            text.push(b'\n');
            text
        }
        _ => line.to_vec(),
    }
}

/// Where each line that is not blank begins.
fn starts(file: &File) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    let (mut at, mut start, mut blank) = (0u64, 0u64, true);
    let mut reader = BufReader::new(file);
    reader.seek(SeekFrom::Start(0))?;
    loop {
        let block = reader.fill_buf()?;
        if block.is_empty() {
            break;
        }
        for b in block {
            at += 1;
            if *b == b'\n' {
                if !blank {
                    found.push(start);
                }
                (start, blank) = (at, true);
            } else {
                blank &= b.is_ascii_whitespace();
            }
        }
        let n = block.len();
        reader.consume(n);
    }
    if !blank {
        found.push(start);
    }
    Ok(found)
}

fn first_line(file: &File) -> io::Result<Option<Vec<u8>>> {
    let mut reader = BufReader::new(file);
    reader.seek(SeekFrom::Start(0))?;
    let mut line = Vec::new();
    (&mut reader)
        .take(MAX_LINE as u64)
        .read_until(b'\n', &mut line)?;
    Ok((line.last() == Some(&b'\n')).then_some(line))
}

fn is_header(line: &[u8]) -> bool {
    serde_json::from_slice::<Map<String, Value>>(line)
        .is_ok_and(|m| m.get("type").and_then(Value::as_str) == Some("session"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::testing::Folder;
    use crate::state::transcript::{Line, Transcript};
    use serde_json::json;

    fn made(dir: &Folder, messages: usize) -> Transcript {
        let t = Transcript::new(dir.path().join("a.jsonl"), "a", Path::new("/w"));
        t.append(&[Line::model_change("p", "m")]).unwrap();
        for i in 0..messages {
            t.append(&[Line::message(
                json!({"role": "user", "content": i.to_string()}),
            )])
            .unwrap();
        }
        t
    }

    fn read(path: &Path) -> Vec<Value> {
        let text = fs::read_to_string(path).unwrap();
        text.lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect()
    }

    #[test]
    fn the_last_lines_stay_under_the_header_and_the_whole_is_kept() {
        let dir = Folder::new();
        let t = made(&dir, 10);
        assert_eq!(compact(t.path(), 400).unwrap(), Cut::Short { lines: 12 });
        assert_eq!(compact(t.path(), 12).unwrap(), Cut::Short { lines: 12 });
        let before = fs::read(t.path()).unwrap();
        let Cut::Done { kept, archived } = compact(t.path(), 3).unwrap() else {
            panic!("expected a cut");
        };
        assert_eq!(kept, 3);
        assert_eq!(fs::read(&archived).unwrap(), before);
        assert!(archived.to_str().unwrap().contains("a.jsonl.bak.2"));
        let lines = read(t.path());
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[0]["type"], "session");
        assert_eq!(lines[1]["parentId"], Value::Null);
        assert_eq!(lines[2]["parentId"], lines[1]["id"]);
        assert_eq!(lines[3]["message"]["content"], "9");
        assert_eq!(compact(t.path(), 3).unwrap(), Cut::Short { lines: 4 });
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_writer_goes_on_in_the_new_file() {
        let dir = Folder::new();
        let t = made(&dir, 5);
        compact(t.path(), 1).unwrap();
        t.append(&[Line::message(json!({"role": "user", "content": "new"}))])
            .unwrap();
        let lines = read(t.path());
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[2]["message"]["content"], "new");
        assert_eq!(lines[2]["parentId"], lines[1]["id"]);
    }

    #[test]
    fn counting_skips_what_is_no_message() {
        let dir = Folder::new();
        let t = made(&dir, 7);
        let mut text = fs::read(t.path()).unwrap();
        text.extend_from_slice(b"garbage\n\n{\"type\":\"custom\"}\n{\"type\":\"message\"");
        fs::write(t.path(), text).unwrap();
        assert_eq!(count_messages(t.path()).unwrap(), 7);
        assert!(count_messages(&dir.path().join("none")).is_err());
    }

    #[test]
    fn a_file_without_a_header_is_cut_all_the_same() {
        let dir = Folder::new();
        let path = dir.path().join("b.jsonl");
        fs::write(&path, "{\"id\":\"1\"}\n\n{\"id\":\"2\"}\n{\"id\":\"3\"}").unwrap();
        assert!(matches!(
            compact(&path, 2).unwrap(),
            Cut::Done { kept: 2, .. }
        ));
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "{\"id\":\"2\"}\n{\"id\":\"3\"}"
        );
    }
}
