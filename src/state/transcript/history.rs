//! What was said: the last messages for people, and what a model is to see.

use std::io;
use std::path::Path;

use serde_json::Value;

use super::backward::{self, Backward};

/// What a model is to see of a session.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The summary that stands for what came before `lines`.
    pub summary: Option<String>,
    /// The lines that hold messages, the oldest first, whole: `{type, id, parentId, timestamp, message}`.
    pub lines: Vec<Value>,
    /// There is more that was not read, because of the bound.
    pub truncated: bool,
}

/// The last `limit` messages of the transcript at `path`, the oldest first, reading at most about
/// `max_bytes` from its end. Empty when there is no file. What cannot be read as a line is left out.
pub fn last_messages(path: &Path, limit: usize, max_bytes: u64) -> io::Result<Vec<Value>> {
    let mut found = Vec::new();
    scan(path, max_bytes, |mut line| {
        if let Some(message) = line.get_mut("message").filter(|m| m.is_object()) {
            found.push(message.take());
        }
        found.len() < limit
    })?;
    found.truncate(limit);
    found.reverse();
    Ok(found)
}

/// The messages on the path from the last line to the root, back to the last compaction and what that
/// kept; reading at most about `max_bytes`. Lines of branches that were given up are left out.
pub fn context(path: &Path, max_bytes: u64) -> io::Result<Context> {
    let mut out = Context::default();
    // The line that comes next on the way to the root; unknown at the tip and in files without ids.
    let mut wanted: Option<String> = None;
    let mut first_kept: Option<String> = None;
    let finished = scan(path, max_bytes, |line| {
        let text = |name: &str| line.get(name).and_then(Value::as_str).map(str::to_string);
        let id = text("id");
        if wanted.is_some() && id.is_some() && id != wanted {
            return true;
        }
        if id.is_some() {
            wanted = text("parentId");
        }
        let at_root = id.is_some() && line.get("parentId").is_some_and(Value::is_null);
        match line.get("type").and_then(Value::as_str) {
            Some("compaction") if first_kept.is_none() => {
                out.summary = text("summary");
                first_kept = Some(text("firstKeptEntryId").unwrap_or_default());
            }
            Some("message") => out.lines.push(line),
            _ => {}
        }
        !at_root && (first_kept.is_none() || first_kept != id)
    })?;
    out.truncated = !finished;
    out.lines.reverse();
    Ok(out)
}

/// Hands the lines of `path` to `each`, the last one first, until that says stop; whether it did, or
/// the beginning was reached, before `max_bytes` were read.
fn scan(path: &Path, max_bytes: u64, mut each: impl FnMut(Value) -> bool) -> io::Result<bool> {
    let file = match backward::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(e) => return Err(e),
    };
    let mut lines = Backward::new(&file)?;
    let end = lines.position();
    while let Some(line) = lines.next_line()? {
        let Ok(line) = serde_json::from_slice::<Value>(&line) else {
            continue;
        };
        if !each(line) {
            return Ok(true);
        }
        if end - lines.position() > max_bytes {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::testing::Folder;
    use serde_json::json;
    use std::fmt::Write as _;

    const ALL: u64 = u64::MAX;

    fn file(dir: &Folder, lines: &[Value]) -> std::path::PathBuf {
        let path = dir.path().join("a.jsonl");
        let mut text = String::new();
        for l in lines {
            writeln!(text, "{l}").unwrap();
        }
        std::fs::write(&path, text).unwrap();
        path
    }

    fn said(id: &str, parent: Option<&str>) -> Value {
        json!({"type": "message", "id": id, "parentId": parent, "message": {"role": "user", "content": id}})
    }

    fn ids(c: &Context) -> Vec<&str> {
        c.lines.iter().map(|l| l["id"].as_str().unwrap()).collect()
    }

    #[test]
    fn the_last_messages_come_in_order() {
        let dir = Folder::new();
        let mut lines = vec![json!({"type": "session", "id": "s"})];
        lines.extend((0..50).map(|i| said(&format!("m{i}"), None)));
        lines.push(json!({"type": "custom", "id": "c"}));
        let path = file(&dir, &lines);
        let last = last_messages(&path, 3, ALL).unwrap();
        let said: Vec<&str> = last
            .iter()
            .map(|m| m["content"].as_str().unwrap())
            .collect();
        assert_eq!(said, ["m47", "m48", "m49"]);
        assert_eq!(last_messages(&path, 1000, ALL).unwrap().len(), 50);
        assert!(
            last_messages(&dir.path().join("none"), 5, ALL)
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn reading_is_bounded() {
        let dir = Folder::new();
        let long = "x".repeat(100_000);
        let lines: Vec<Value> = (0..20)
            .map(|i| json!({"type": "message", "id": i.to_string(), "message": {"role": "user", "content": long}}))
            .collect();
        let path = file(&dir, &lines);
        let some = last_messages(&path, 1000, 300_000).unwrap().len();
        assert!((3..8).contains(&some), "{some}");
        assert!(context(&path, 300_000).unwrap().truncated);
        assert!(!context(&path, ALL).unwrap().truncated);
    }

    #[test]
    fn a_context_follows_the_parents_and_leaves_out_given_up_branches() {
        let dir = Folder::new();
        let path = file(
            &dir,
            &[
                json!({"type": "session", "id": "s"}),
                said("a", None),
                said("b", Some("a")),
                said("lost", Some("b")),
                json!({"type": "branch_summary", "id": "bs", "parentId": "b"}),
                said("c", Some("bs")),
            ],
        );
        assert_eq!(ids(&context(&path, ALL).unwrap()), ["a", "b", "c"]);
    }

    #[test]
    fn a_compaction_stands_for_what_it_did_not_keep() {
        let dir = Folder::new();
        let compaction = |id: &str, parent: &str, kept: &str| json!({"type": "compaction", "id": id, "parentId": parent, "summary": format!("sum {id}"), "firstKeptEntryId": kept});
        let path = file(
            &dir,
            &[
                said("a", None),
                compaction("k0", "a", "a"),
                said("b", Some("k0")),
                said("c", Some("b")),
                compaction("k1", "c", "c"),
                said("d", Some("k1")),
            ],
        );
        let c = context(&path, ALL).unwrap();
        assert_eq!(ids(&c), ["c", "d"]);
        assert_eq!(c.summary.as_deref(), Some("sum k1"));
        assert!(!c.truncated);
    }

    #[test]
    fn files_without_ids_are_read_straight() {
        let dir = Folder::new();
        let line = |t: &str| json!({"type": "message", "message": {"role": "user", "content": t}});
        let path = file(&dir, &[line("1"), json!("noise"), line("2")]);
        assert_eq!(context(&path, ALL).unwrap().lines.len(), 2);
    }
}
