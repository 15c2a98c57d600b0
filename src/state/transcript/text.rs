//! The text of messages, as lists and previews show it.

use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use serde_json::Value;

use super::backward;
use super::history::last_messages;
use crate::state::sessions::Entry;

/// Characters of a title made from the first message.
const TITLE_MAX: usize = 60;
/// Bytes at the beginning of a transcript in which the first user message is looked for.
const HEAD_BYTES: u64 = 64 * 1024;
/// Bytes at the end of a transcript in which the last message is looked for.
const LAST_BYTES: u64 = 256 * 1024;
/// Messages from the end among which the last one with text is looked for.
const LAST_MESSAGES: usize = 20;
/// Bytes at the end of a transcript that a preview reads.
const PREVIEW_BYTES: u64 = 1024 * 1024;
/// Items of a preview.
const PREVIEW_MAX_ITEMS: usize = 50;
/// Characters of an item of a preview.
const PREVIEW_MAX_CHARS: usize = 2000;

/// One line of a preview.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// `user`, `assistant`, `tool`, `system` or `other`.
    pub role: &'static str,
    pub text: String,
}

/// The text of a message, whatever the form of its content; parts are joined by line ends. `None` when
/// it has none.
pub fn message_text(message: &Value) -> Option<String> {
    let text = match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts
            .iter()
            .filter_map(|p| p.get("text").and_then(Value::as_str))
            .filter(|t| !t.trim().is_empty())
            .collect::<Vec<_>>()
            .join("\n"),
        _ => message.get("text")?.as_str()?.to_string(),
    };
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_string())
}

/// The last messages of the transcript at `path`, cut to `max_chars` characters each.
pub fn preview(path: &Path, max_items: usize, max_chars: usize) -> io::Result<Vec<Item>> {
    let items = max_items.clamp(1, PREVIEW_MAX_ITEMS);
    let chars = max_chars.clamp(20, PREVIEW_MAX_CHARS);
    let messages = last_messages(path, items, PREVIEW_BYTES)?;
    Ok(messages.iter().filter_map(|m| item(m, chars)).collect())
}

fn item(message: &Value, max_chars: usize) -> Option<Item> {
    let calls = tool_calls(message);
    let role = match message.get("role").and_then(Value::as_str) {
        _ if !calls.is_empty() => "tool",
        Some("user") => "user",
        Some("assistant") => "assistant",
        Some("system") => "system",
        Some("tool" | "toolResult") => "tool",
        _ => "other",
    };
    let text = message_text(message)
        .or_else(|| called(&calls))
        .or_else(|| attachment(message))?;
    let text = match role {
        "user" => without_stamp(&text),
        _ => &text,
    };
    Some(Item {
        role,
        text: shorten(text, max_chars),
    })
}

fn tool_calls(message: &Value) -> Vec<&str> {
    let parts = message.get("content").and_then(Value::as_array);
    parts
        .into_iter()
        .flatten()
        .filter(|p| p.get("type").and_then(Value::as_str) == Some("toolCall"))
        .filter_map(|p| p.get("name").and_then(Value::as_str))
        .collect()
}

/// `call a, b +2`
fn called(names: &[&str]) -> Option<String> {
    match names {
        [] => None,
        [one] => Some(format!("call {one}")),
        [one, two] => Some(format!("call {one}, {two}")),
        [one, two, more @ ..] => Some(format!("call {one}, {two} +{}", more.len())),
    }
}

/// `[image]` for a message that has nothing else.
fn attachment(message: &Value) -> Option<String> {
    let parts = message.get("content").and_then(Value::as_array)?;
    parts
        .iter()
        .filter_map(|p| p.get("type").and_then(Value::as_str))
        .find(|kind| !matches!(*kind, "text" | "toolCall"))
        .map(|kind| format!("[{kind}]"))
}

fn shorten(text: &str, max_chars: usize) -> String {
    if text.chars().count() <= max_chars {
        return text.to_string();
    }
    let kept: String = text.chars().take(max_chars.saturating_sub(3)).collect();
    format!("{kept}...")
}

/// `text` without the time stamp that the gateway puts before what somebody sent:
/// `[Sun 2026-11-22 15:56 UTC] hello`.
pub fn without_stamp(text: &str) -> &str {
    let Some((stamp, rest)) = text.strip_prefix('[').and_then(|t| t.split_once(']')) else {
        return text;
    };
    if stamp.len() < 200 && stamp.split([' ', 'T']).any(is_date) {
        rest.trim_start()
    } else {
        text
    }
}

/// `2026-11-22`
fn is_date(word: &str) -> bool {
    let b = word.as_bytes();
    let separator = |i: usize| i == 4 || i == 7;
    b.len() == 10
        && b.iter().enumerate().all(|(i, c)| {
            if separator(i) {
                *c == b'-'
            } else {
                c.is_ascii_digit()
            }
        })
}

/// The title of a session without a name: its subject, the beginning of its first message, or the first
/// digits of its id.
pub fn title(entry: &Entry, first_message: Option<&str>) -> Option<String> {
    if let Some(name) = entry.text("displayName").or(entry.text("subject")) {
        return Some(name.to_string());
    }
    if let Some(text) = first_message {
        let words: Vec<&str> = text.split_whitespace().collect();
        return Some(short_title(&words.join(" ")));
    }
    let id: String = entry.session_id()?.chars().take(8).collect();
    let date = crate::sys::clock::iso(entry.updated_at());
    Some(match entry.updated_at() {
        0 => id,
        _ => format!("{id} ({})", date.get(..10).unwrap_or_default()),
    })
}

/// At most [`TITLE_MAX`] characters, cut between words where that does not lose too much.
fn short_title(text: &str) -> String {
    if text.chars().count() <= TITLE_MAX {
        return text.to_string();
    }
    let cut: String = text.chars().take(TITLE_MAX - 1).collect();
    match cut.rfind(' ') {
        Some(i) if i > cut.len() * 3 / 5 => format!("{}…", &cut[..i]),
        _ => format!("{cut}…"),
    }
}

/// The first thing that the user said and the last thing that anybody said in the transcript at `path`.
pub fn title_fields(path: &Path) -> io::Result<(Option<String>, Option<String>)> {
    let first = first_user_message(path)?;
    let last = last_messages(path, LAST_MESSAGES, LAST_BYTES)?
        .iter()
        .rev()
        .filter(|m| matches!(m["role"].as_str(), Some("user" | "assistant")))
        .find_map(message_text);
    Ok((first, last))
}

fn first_user_message(path: &Path) -> io::Result<Option<String>> {
    let file = match backward::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    for line in BufReader::new(file.take(HEAD_BYTES)).split(b'\n') {
        let line = line?;
        let Ok(line) = serde_json::from_slice::<Value>(&line) else {
            continue;
        };
        if line["message"]["role"] == "user"
            && let Some(text) = message_text(&line["message"])
        {
            return Ok(Some(text));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::testing::Folder;
    use crate::state::transcript::{Line, Transcript};
    use serde_json::json;

    #[test]
    fn previews_are_those_of_the_reference() {
        let dir = Folder::new();
        let t = Transcript::new(dir.path().join("a.jsonl"), "a", Path::new("/"));
        let text = |role: &str, t: &str| {
            Line::message(json!({"role": role, "content": [{"type": "text", "text": t}]}))
        };
        t.append(&[
            text("user", "[Sun 2026-11-22 15:56 UTC] hello"),
            Line::message(json!({"role": "assistant", "content": [
                {"type": "toolCall", "name": "a"}, {"type": "toolCall", "name": "b"}, {"type": "toolCall", "name": "c"}]})),
            text("toolResult", "done"),
            Line::message(json!({"role": "user", "content": [{"type": "image", "data": "…"}]})),
            Line::message(json!({"role": "assistant", "content": []})),
            text("assistant", "Hello from the stub model, this is a streamed reply."),
        ])
        .unwrap();
        let all = preview(t.path(), 12, 240).unwrap();
        let shown: Vec<(&str, &str)> = all.iter().map(|i| (i.role, i.text.as_str())).collect();
        assert_eq!(
            shown,
            [
                ("user", "hello"),
                ("tool", "call a, b +1"),
                ("tool", "done"),
                ("user", "[image]"),
                (
                    "assistant",
                    "Hello from the stub model, this is a streamed reply."
                ),
            ]
        );
        let short = preview(t.path(), 1, 20).unwrap();
        assert_eq!(short[0].text, "Hello from the st...");
        let (first, last) = title_fields(t.path()).unwrap();
        assert_eq!(first.as_deref(), Some("[Sun 2026-11-22 15:56 UTC] hello"));
        assert_eq!(
            last.as_deref(),
            Some("Hello from the stub model, this is a streamed reply.")
        );
        assert_eq!(
            title_fields(&dir.path().join("none")).unwrap(),
            (None, None)
        );
    }

    #[test]
    fn only_time_stamps_are_taken_off() {
        assert_eq!(without_stamp("[Sun 2026-11-22 15:56 UTC] hi"), "hi");
        assert_eq!(without_stamp("[Telegram Bob 2026-11-22T15:56Z] hi"), "hi");
        for text in [
            "[ ] todo",
            "[x",
            "hi [Sun 2026-11-22]",
            "",
            "[20261-1-22] x",
        ] {
            assert_eq!(without_stamp(text), text);
        }
    }

    #[test]
    fn titles_are_cut_between_words() {
        let entry = |v: Value| Entry::from(v.as_object().unwrap().clone());
        let none = entry(json!({"sessionId": "12345678-aaaa", "updatedAt": 1_795_363_915_010u64}));
        assert_eq!(title(&none, None).as_deref(), Some("12345678 (2026-11-22)"));
        assert_eq!(title(&none, Some(" a \n b ")).as_deref(), Some("a b"));
        let long = "word ".repeat(30);
        let cut = title(&none, Some(&long)).unwrap();
        assert!(
            cut.ends_with("word…") && cut.chars().count() <= TITLE_MAX,
            "{cut}"
        );
        let solid = title(&none, Some(&"ä".repeat(99))).unwrap();
        assert_eq!(solid.chars().count(), TITLE_MAX);
        let named = entry(json!({"subject": "S", "displayName": "D"}));
        assert_eq!(title(&named, Some("x")).as_deref(), Some("D"));
        assert_eq!(title(&entry(json!({})), None), None);
    }
}
