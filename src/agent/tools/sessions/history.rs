//! The tool `sessions_history`: what was said in a session.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::view::View;
use crate::agent::commands::COMMAND_FIELD;
use crate::agent::provider::ToolSpec;
use crate::agent::tools::{Context, Output, Tool, ToolError, count_of, text_of};
use crate::protocol::frame::clip;
use crate::state::sessions::{Entry, Store};
use crate::state::transcript;

/// Messages when nothing is said about them, and at most.
const DEFAULT_MESSAGES: usize = 50;
const MAX_MESSAGES: usize = 200;
/// Bytes of all messages, and of one text in them.
const MAX_BYTES: usize = 80 * 1024;
const MAX_TEXT: usize = 4000;
/// Bytes of the transcript that are read.
const MAX_READ: u64 = 8 * 1024 * 1024;

/// The tool.
pub struct History(Arc<Store>);

impl History {
    pub fn new(store: Arc<Store>) -> History {
        History(store)
    }
}

impl Tool for History {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "sessions_history",
            description: "Read the last messages of a session, with includeTools also what tools gave.",
            parameters: json!({
                "type": "object",
                "properties": {
                    "sessionKey": {"type": "string", "description": "Key or id, from sessions_list"},
                    "limit": {"type": "number", "minimum": 1},
                    "includeTools": {"type": "boolean"},
                },
                "required": ["sessionKey"],
            }),
        }
    }

    fn summary(&self) -> &'static str {
        "Fetch history of another session"
    }

    fn meta(&self, arguments: &Map<String, Value>) -> Option<String> {
        text_of(arguments, &["sessionKey"]).map(str::to_string)
    }

    fn run(
        &self,
        arguments: &Map<String, Value>,
        context: &Context<'_>,
    ) -> Result<Output, ToolError> {
        let name = text_of(arguments, &["sessionKey"]);
        let name = name.ok_or_else(|| ToolError::input("sessionKey required"))?;
        let limit = count_of(arguments, "limit")?.unwrap_or(DEFAULT_MESSAGES);
        let view = View::new(context, &self.0);
        let Some(seen) = view.find(name) else {
            return Ok(view.forbidden("history"));
        };
        let shape = Shape {
            limit: limit.min(MAX_MESSAGES),
            tools: arguments.get("includeTools").and_then(Value::as_bool) == Some(true),
            bytes: MAX_BYTES,
        };
        let page = page(&self.0, &seen.key, seen.entry.as_ref(), shape);
        Ok(Output::json(json!({
            "sessionKey": seen.key,
            "messages": page.messages,
            "truncated": page.dropped || page.cut,
            "droppedMessages": page.dropped,
            "contentTruncated": page.cut,
            "contentRedacted": false,
            "bytes": page.bytes,
        })))
    }
}

/// What is wanted of a session.
pub struct Shape {
    pub limit: usize,
    /// Results of tools too.
    pub tools: bool,
    pub bytes: usize,
}

/// Messages of a session, the oldest first.
pub struct Page {
    pub messages: Vec<Value>,
    /// Some of those that were wanted did not fit.
    pub dropped: bool,
    /// A text was cut.
    pub cut: bool,
    pub bytes: usize,
}

/// The last messages of the session `key`.
pub fn page(store: &Store, key: &str, entry: Option<&Entry>, shape: Shape) -> Page {
    let path = entry.and_then(|e| store.transcript(key, e));
    // Some are left out below.
    let wanted = shape.limit.saturating_mul(4).max(shape.limit);
    let all = path.map(|p| transcript::last_messages(&p, wanted, MAX_READ));
    let all = all.and_then(Result::ok).unwrap_or_default();
    let fits = |m: &&Value| {
        let tool = matches!(m["role"].as_str(), Some("toolResult" | "tool"));
        m.get(COMMAND_FIELD).is_none() && (shape.tools || !tool)
    };
    let mut page = Page {
        messages: Vec::new(),
        dropped: false,
        cut: false,
        bytes: 2,
    };
    for message in all.iter().rev().filter(fits).take(shape.limit) {
        let shown = shown(message, &mut page.cut);
        let size = shown.to_string().len() + 1;
        if page.bytes + size > shape.bytes {
            page.dropped = true;
            break;
        }
        page.bytes += size;
        page.messages.push(shown);
    }
    page.messages.reverse();
    page
}

/// A message without what is large or only for people, and with its texts cut.
fn shown(message: &Value, cut: &mut bool) -> Value {
    let mut out = Map::new();
    for (name, value) in message.as_object().into_iter().flatten() {
        match name.as_str() {
            "details" | "usage" | "cost" => {}
            "content" => {
                out.insert(name.clone(), content(value, cut));
            }
            _ => {
                out.insert(name.clone(), value.clone());
            }
        }
    }
    Value::Object(out)
}

fn content(value: &Value, cut: &mut bool) -> Value {
    match value {
        Value::String(text) => json!(short(text, cut)),
        Value::Array(parts) => parts.iter().map(|part| piece(part, cut)).collect(),
        other => other.clone(),
    }
}

fn piece(part: &Value, cut: &mut bool) -> Value {
    let mut part = part.clone();
    match part["type"].as_str() {
        Some("image") => {
            *cut = true;
            return json!({"type": "image", "omitted": true});
        }
        Some("thinking") => {
            part["thinkingSignature"].take();
        }
        _ => {}
    }
    for name in ["text", "thinking"] {
        if let Some(text) = part[name].as_str() {
            part[name] = json!(short(text, cut));
        }
    }
    if let Some(map) = part.as_object_mut() {
        map.retain(|_, v| !v.is_null());
    }
    part
}

fn short(text: &str, cut: &mut bool) -> String {
    let kept = clip(text, MAX_TEXT);
    match kept.len() < text.len() {
        true => {
            *cut = true;
            format!("{kept}\n[cut]")
        }
        false => text.to_string(),
    }
}

#[cfg(test)]
pub mod tests {
    use super::super::super::testing::Bench;
    use super::*;
    use crate::state::Paths;
    use crate::state::transcript::{Line, Transcript};

    /// A session with `count` messages, every other of which is a tool's.
    pub fn talk(store: &Store, key: &str, count: usize) {
        let entry = store
            .update(key, |map| {
                map.insert("sessionId".into(), json!(crate::sys::id::uuid()));
            })
            .unwrap();
        let path = store.transcript(key, &entry).unwrap();
        let transcript =
            Transcript::new(path, entry.session_id().unwrap(), std::path::Path::new("/"));
        let said = |n: usize| {
            let text = json!([{"type": "text", "text": format!("said {n}")}]);
            json!({"role": "user", "content": text, "timestamp": n})
        };
        let gave = |n: usize| {
            let text = json!([{"type": "text", "text": format!("gave {n}")}]);
            json!({"role": "toolResult", "content": text, "details": {"secret": 1}, "timestamp": n})
        };
        let lines: Vec<Line> = (1..=count)
            .flat_map(|n| [Line::message(gave(n)), Line::message(said(n))])
            .collect();
        transcript.append(&lines).unwrap();
    }

    fn setup(count: usize) -> (Bench, History) {
        let bench = Bench::new("{}");
        let store = Arc::new(Store::new(Paths::new(bench.path.join("state"))));
        talk(&store, "agent:main:main", count);
        talk(&store, "agent:main:other", 1);
        (bench, History::new(store))
    }

    #[test]
    fn the_last_messages_with_or_without_tools() {
        let (bench, history) = setup(5);
        let call = |arguments: Value| bench.run(&history, arguments).unwrap().details.unwrap();
        let last = call(json!({"sessionKey": "main", "limit": 2}));
        assert_eq!(last["sessionKey"], "agent:main:main");
        let texts: Vec<&str> = last["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|m| m["content"][0]["text"].as_str().unwrap())
            .collect();
        assert_eq!(texts, ["said 4", "said 5"]);
        let tools =
            call(json!({"sessionKey": "agent:main:main", "limit": 2, "includeTools": true}));
        assert_eq!(tools["messages"][0]["content"][0]["text"], "gave 5");
        assert!(tools["messages"][0].get("details").is_none());
        assert_eq!(tools["truncated"], false);
        assert_eq!(bench.error(&history, json!({})), "sessionKey required");
    }

    #[test]
    fn what_is_too_much_is_left_out_and_said_to_be() {
        let (bench, history) = setup(0);
        let store = &history.0;
        let entry = store.get("agent:main:main").unwrap().unwrap();
        let path = store.transcript("agent:main:main", &entry).unwrap();
        let long = json!({"role": "user", "content": [
            {"type": "text", "text": "é".repeat(MAX_TEXT)},
            {"type": "image", "data": "x".repeat(100_000)},
        ]});
        let lines: Vec<Line> = (0..60).map(|_| Line::message(long.clone())).collect();
        Transcript::new(path, entry.session_id().unwrap(), std::path::Path::new("/"))
            .append(&lines)
            .unwrap();
        let page = bench
            .run(&history, json!({"sessionKey": "main", "limit": 60}))
            .unwrap()
            .details
            .unwrap();
        assert_eq!(
            (&page["droppedMessages"], &page["contentTruncated"]),
            (&json!(true), &json!(true))
        );
        assert!(page.to_string().len() < MAX_BYTES + 1000);
        assert_eq!(
            page["messages"][0]["content"][1],
            json!({"type": "image", "omitted": true})
        );
    }

    /// TX-27
    #[test]
    fn a_session_out_of_sight_is_like_none() {
        let (bench, history) = setup(1);
        let call = |name: &str| {
            bench
                .run(&history, json!({"sessionKey": name}))
                .unwrap()
                .details
                .unwrap()
        };
        let there = call("agent:main:other");
        assert_eq!(there["status"], "forbidden");
        for name in ["agent:main:nope", "agent:beta:main", "other", "nope"] {
            assert_eq!(call(name), there, "{name}");
        }
    }
}
