//! The tool `edit`: a text in a file, found exactly once, is replaced by another.

use serde_json::{Map, Value, json};

use super::files::{self, Access, path_of};
use super::{Context, Output, Tool, ToolError};
use crate::agent::provider::ToolSpec;
use crate::protocol::frame::clip;

/// Lines shown around a change.
const AROUND: usize = 4;
/// Longest description of a change, in bytes.
const MAX_DIFF: usize = 32 * 1024;

/// The tool.
pub struct Edit;

impl Tool for Edit {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "edit",
            description: "Replace a text in a file of the workspace. oldText has to be in the file exactly \
                once, with all its blanks and line ends.",
            parameters: json!({
                "type": "object",
                "properties": {
                    "path": {"type": "string", "description": "File, relative to the workspace or absolute"},
                    "oldText": {"type": "string", "description": "Text to look for"},
                    "newText": {"type": "string", "description": "Text to put in its place"},
                    "file_path": {"type": "string", "description": "The same as path"},
                    "old_string": {"type": "string", "description": "The same as oldText"},
                    "new_string": {"type": "string", "description": "The same as newText"},
                },
                "required": [],
            }),
        }
    }

    fn summary(&self) -> &'static str {
        "Make precise edits to files"
    }

    fn meta(&self, arguments: &Map<String, Value>) -> Option<String> {
        Some(format!("in {}", path_of(arguments).ok()?))
    }

    fn run(
        &self,
        arguments: &Map<String, Value>,
        context: &Context<'_>,
    ) -> Result<Output, ToolError> {
        let asked = path_of(arguments)?;
        let old = given(arguments, ["oldText", "old_string"])?;
        let new = given(arguments, ["newText", "new_string"])?;
        if old.is_empty() {
            return Err(missing(["oldText", "old_string"]));
        }
        let confined = files::workspace_only(context);
        let failed = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::NotFound => ToolError::new(format!("File not found: {asked}")),
            _ => ToolError::new(format!("cannot edit {asked}: {e}")),
        };
        let place = files::place(context, asked, Access::Write, confined).map_err(failed)?;
        let bytes = place
            .root
            .read(&place.path, files::MAX_FILE)
            .map_err(failed)?;
        let text = String::from_utf8(bytes)
            .map_err(|_| ToolError::new(format!("cannot edit {asked}: it is not UTF-8 text")))?;
        let changed = replaced(&text, old, new, asked)?;
        place
            .root
            .write(&place.path, changed.as_bytes())
            .map_err(failed)?;
        let change = Change::between(&text, &changed);
        Ok(
            Output::text(format!("Successfully replaced text in {asked}.")).with_details(json!({
                "diff": clip(&change.shown(), MAX_DIFF),
                "firstChangedLine": change.first_line(),
            })),
        )
    }
}

/// One of two names of a text; it may be empty.
fn given<'a>(arguments: &'a Map<String, Value>, names: [&str; 2]) -> Result<&'a str, ToolError> {
    let texts = names
        .iter()
        .map(|n| arguments.get(*n).and_then(Value::as_str));
    texts.flatten().next().ok_or_else(|| missing(names))
}

fn missing([name, other]: [&str; 2]) -> ToolError {
    ToolError::input(format!(
        "Missing required parameter: {name} ({name} or {other}). Supply correct parameters before retrying."
    ))
}

/// `text` with the one `old` in it replaced by `new`.
fn replaced(text: &str, old: &str, new: &str, name: &str) -> Result<String, ToolError> {
    let crlf = |t: &str| t.replace("\r\n", "\n").replace('\n', "\r\n");
    let (at, old, new) = match text.find(old) {
        Some(at) => (at, old.to_string(), new.to_string()),
        // Models write line feeds, whatever the file has.
        None => match text.find(&crlf(old)) {
            Some(at) => (at, crlf(old), crlf(new)),
            None => {
                return Err(ToolError::new(format!(
                    "Could not find the text in {name}. oldText has to match exactly, with all blanks and line ends."
                )));
            }
        },
    };
    let first = text[at..].chars().next().map_or(1, char::len_utf8);
    if text[at + first..].contains(&old) {
        let count = text.matches(&old).count().max(2);
        return Err(ToolError::new(format!(
            "Found {count} occurrences of the text in {name}. It has to be unique: give more of what is around it."
        )));
    }
    if old == new {
        return Err(ToolError::new(format!(
            "No changes made to {name}: oldText and newText are the same."
        )));
    }
    let size = text.len() - old.len() + new.len();
    if size as u64 > files::MAX_FILE {
        let text = format!("{name} would become longer than {} bytes", files::MAX_FILE);
        return Err(ToolError::new(text));
    }
    Ok([&text[..at], &new, &text[at + old.len()..]].concat())
}

/// The lines in which two texts differ: one piece, between what they have in common at both ends.
struct Change<'a> {
    old: Vec<&'a str>,
    new: Vec<&'a str>,
    /// Lines in common at the beginning and at the end.
    head: usize,
    tail: usize,
}

impl<'a> Change<'a> {
    fn between(old: &'a str, new: &'a str) -> Change<'a> {
        let (old, new): (Vec<_>, Vec<_>) = (old.lines().collect(), new.lines().collect());
        let same = |pairs: &mut dyn Iterator<Item = (&&str, &&str)>| {
            pairs.take_while(|(a, b)| a == b).count()
        };
        let head = same(&mut old.iter().zip(&new));
        let tail = same(&mut old[head..].iter().rev().zip(new[head..].iter().rev()));
        Change {
            old,
            new,
            head,
            tail,
        }
    }

    /// Counted from 1.
    fn first_line(&self) -> usize {
        self.head + 1
    }

    /// The lines with their numbers: ` 1 same`, `-2 old`, `+2 new`, with a few around the change.
    fn shown(&self) -> String {
        let width = self.old.len().max(self.new.len()).to_string().len();
        let line = |sign: char, at: usize, text: &str| format!("{sign}{:>width$} {text}", at + 1);
        let gap = || format!(" {:>width$} ...", "");
        let (old_end, new_end) = (self.old.len() - self.tail, self.new.len() - self.tail);
        let from = self.head.saturating_sub(AROUND);
        let to = (old_end + AROUND).min(self.old.len());
        let mut out = Vec::new();
        if from > 0 {
            out.push(gap());
        }
        out.extend((from..self.head).map(|n| line(' ', n, self.old[n])));
        out.extend((self.head..old_end).map(|n| line('-', n, self.old[n])));
        out.extend((self.head..new_end).map(|n| line('+', n, self.new[n])));
        out.extend((old_end..to).map(|n| line(' ', n, self.old[n])));
        if to < self.old.len() {
            out.push(gap());
        }
        out.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, text};
    use super::*;

    #[test]
    fn one_place_is_replaced_and_shown() {
        let bench = Bench::new("{}");
        bench.put("a", "one\ntwo\nthree\n");
        let call = json!({"path": "a", "oldText": "two", "newText": "2"});
        let output = bench.run(&Edit, call).unwrap();
        assert_eq!(text(&output), "Successfully replaced text in a.");
        let want = json!({"diff": " 1 one\n-2 two\n+2 2\n 3 three", "firstChangedLine": 2});
        assert_eq!(output.details, Some(want));
        assert_eq!(bench.get("a"), "one\n2\nthree\n");
        let call = json!({"file_path": "a", "old_string": "2\n", "new_string": ""});
        bench.text(&Edit, call);
        assert_eq!(bench.get("a"), "one\nthree\n");
    }

    #[test]
    fn far_lines_are_left_out_of_the_diff() {
        let old: String = (1..=30).map(|n| format!("l{n}\n")).collect();
        let new = old.replace("l15\n", "x\ny\n");
        let change = Change::between(&old, &new);
        let shown = change.shown();
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines.first(), Some(&"    ..."));
        assert_eq!(lines[1], " 11 l11");
        assert_eq!(lines[5..8], ["-15 l15", "+15 x", "+16 y"]);
        assert_eq!(lines.last(), Some(&"    ..."));
        let all = Change::between("", "a\n").shown();
        assert_eq!(all, "+1 a");
    }

    #[test]
    fn what_is_not_there_once_changes_nothing() {
        let bench = Bench::new("{}");
        bench.put("a", "aaa\nb\n");
        for (old, new, want) in [
            ("nope", "x", "Could not find"),
            ("aa", "x", "Found 2 occurrences"),
            ("a", "x", "Found 3 occurrences"),
            ("b", "b", "No changes"),
            ("", "x", "Missing required parameter: oldText"),
        ] {
            let error = bench.error(&Edit, json!({"path": "a", "oldText": old, "newText": new}));
            assert!(error.starts_with(want), "{error}");
        }
        let error = bench.error(&Edit, json!({"path": "a", "oldText": "b"}));
        assert!(error.contains("newText"), "{error}");
        assert_eq!(bench.get("a"), "aaa\nb\n");
        let call = json!({"path": "none", "oldText": "b", "newText": "c"});
        assert_eq!(bench.error(&Edit, call), "File not found: none");
        bench.put("bin", b"\xff\xfe b");
        let call = json!({"path": "bin", "oldText": "b", "newText": "c"});
        assert!(bench.error(&Edit, call).contains("UTF-8"));
    }

    #[test]
    fn line_ends_of_the_file_stay() {
        let bench = Bench::new("{}");
        bench.put("dos", "one\r\ntwo\r\nthree\r\n");
        let call = json!({"path": "dos", "oldText": "one\ntwo", "newText": "1\n2"});
        bench.text(&Edit, call);
        assert_eq!(bench.get("dos"), "1\r\n2\r\nthree\r\n");
    }

    /// FP-03, FP-04, FP-06
    #[test]
    fn nothing_outside_of_the_workspace_is_edited() {
        let bench = Bench::new("{}");
        for way in bench.ways_out() {
            bench.error(
                &Edit,
                json!({"path": way, "oldText": "secret", "newText": "x"}),
            );
        }
        assert!(bench.outside_is_untouched());
    }
}
