//! What a model is to see of a session: the transcript as messages, within the context window.
//!
//! A tool call always has its result and a result its call, whatever a crash or a cut has left. When
//! there is too much, the oldest turns go, a whole turn at a time.

use std::io;
use std::path::Path;

use serde_json::Value;

use super::commands::COMMAND_FIELD;
use super::model::Model;
use super::provider::{Message, Part, ToolCall};
use crate::state::transcript;

/// Bytes to a token, for a rough count that errs on the safe side.
const BYTES_PER_TOKEN: u64 = 3;
/// Tokens of an image.
const IMAGE_TOKENS: u64 = 1500;
/// Bytes of a transcript that are read for each token of the context window.
const READ_PER_TOKEN: u64 = 6;
/// What stands for a result that was never stored.
const NO_RESULT: &str = "[no result: the run was interrupted]";

/// The conversation in the transcript at `path`, as far as it fits into the window of `model` beside
/// `reserved` tokens (system prompt, tools, new message, reply).
pub fn load(path: &Path, model: &Model, reserved: u64) -> io::Result<Vec<Message>> {
    let max_bytes = model.context_window.saturating_mul(READ_PER_TOKEN);
    let context = transcript::context(path, max_bytes)?;
    let mut messages: Vec<Message> = Vec::new();
    for mut line in context.lines {
        if let Some(message) = read(line["message"].take()) {
            messages.push(message);
        }
    }
    let mut messages = pair(messages);
    if let Some(summary) = context.summary {
        let text = format!("[Summary of the conversation before this point]\n{summary}");
        messages.insert(0, Message::User(vec![Part::Text(text)]));
    }
    Ok(fit(messages, model.context_window.saturating_sub(reserved)))
}

/// Roughly how many tokens `text` is.
pub fn tokens(text: &str) -> u64 {
    (text.len() as u64).div_ceil(BYTES_PER_TOKEN)
}

/// A message of a transcript; `None` for one that says nothing to a model.
fn read(mut message: Value) -> Option<Message> {
    if message.get(COMMAND_FIELD).is_some() {
        return None;
    }
    let content = message.as_object_mut()?.remove("content")?;
    match message["role"].as_str()? {
        "user" => {
            let parts = parts(content);
            (!parts.is_empty()).then_some(Message::User(parts))
        }
        "assistant" => {
            let mut text = String::new();
            let mut calls = Vec::new();
            for mut part in list(content) {
                match part["type"].as_str() {
                    Some("text") => text.push_str(part["text"].as_str().unwrap_or_default()),
                    Some("toolCall") => calls.extend(call(&mut part)),
                    _ => {}
                }
            }
            let failed = matches!(message["stopReason"].as_str(), Some("error" | "aborted"));
            if failed {
                // What it was about to do was never done.
                calls.clear();
            }
            let says = !text.is_empty() || !calls.is_empty();
            says.then_some(Message::Assistant { text, calls })
        }
        "toolResult" => Some(Message::ToolResult {
            call_id: message["toolCallId"].as_str()?.to_string(),
            name: message["toolName"].as_str().unwrap_or_default().to_string(),
            content: parts(content),
            is_error: message["isError"].as_bool().unwrap_or(false),
        }),
        _ => None,
    }
}

fn list(content: Value) -> Vec<Value> {
    match content {
        Value::Array(list) => list,
        Value::String(text) => vec![serde_json::json!({"type": "text", "text": text})],
        _ => Vec::new(),
    }
}

fn parts(content: Value) -> Vec<Part> {
    let mut out = Vec::new();
    for mut part in list(content) {
        match part["type"].as_str() {
            Some("text") => {
                if let Value::String(text) = part["text"].take() {
                    out.push(Part::Text(text));
                }
            }
            Some("image") => {
                if let (Value::String(data), Value::String(mime)) =
                    (part["data"].take(), part["mimeType"].take())
                {
                    out.push(Part::Image { mime, data });
                }
            }
            _ => {}
        }
    }
    out
}

fn call(part: &mut Value) -> Option<ToolCall> {
    let arguments = match part["arguments"].take() {
        Value::Object(map) => map,
        _ => serde_json::Map::new(),
    };
    Some(ToolCall {
        id: part["id"].as_str()?.to_string(),
        name: part["name"].as_str()?.to_string(),
        arguments,
        broken: None,
    })
}

/// Puts a result behind every call, in the order of the calls, and drops results without one.
fn pair(messages: Vec<Message>) -> Vec<Message> {
    let mut out: Vec<Message> = Vec::new();
    let mut open: Vec<ToolCall> = Vec::new();
    let close = |out: &mut Vec<Message>, open: &mut Vec<ToolCall>| {
        for call in open.drain(..) {
            out.push(Message::ToolResult {
                call_id: call.id,
                name: call.name,
                content: vec![Part::Text(NO_RESULT.into())],
                is_error: true,
            });
        }
    };
    for message in messages {
        match &message {
            Message::ToolResult { call_id, .. } => {
                let Some(at) = open.iter().position(|c| c.id == *call_id) else {
                    continue;
                };
                open.remove(at);
            }
            Message::Assistant { calls, .. } => {
                close(&mut out, &mut open);
                open = calls.clone();
            }
            Message::User(_) => close(&mut out, &mut open),
        }
        out.push(message);
    }
    close(&mut out, &mut open);
    out
}

/// The last turns that fit into `budget` tokens. A turn begins with a user's message.
fn fit(mut messages: Vec<Message>, budget: u64) -> Vec<Message> {
    let mut used = 0u64;
    let mut keep_from = messages.len();
    for (i, message) in messages.iter().enumerate().rev() {
        used = used.saturating_add(weight(message));
        if used > budget {
            break;
        }
        if matches!(message, Message::User(_)) {
            keep_from = i;
        }
    }
    messages.split_off(keep_from)
}

fn weight(message: &Message) -> u64 {
    let of_parts = |parts: &[Part]| -> u64 {
        let each = parts.iter().map(|p| match p {
            Part::Text(text) => tokens(text),
            Part::Image { .. } => IMAGE_TOKENS,
        });
        each.sum()
    };
    match message {
        Message::User(parts) | Message::ToolResult { content: parts, .. } => of_parts(parts),
        Message::Assistant { text, calls } => {
            let calls = calls.iter().map(|c| {
                let arguments = Value::Object(c.arguments.clone()).to_string();
                tokens(&c.name) + tokens(&arguments)
            });
            tokens(text) + calls.sum::<u64>()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn user(text: &str) -> Value {
        json!({"role": "user", "content": [{"type": "text", "text": text}]})
    }

    fn says(text: &str) -> Value {
        json!({"role": "assistant", "content": [{"type": "text", "text": text}], "stopReason": "stop"})
    }

    fn calls(id: &str) -> Value {
        json!({"role": "assistant", "stopReason": "toolUse",
            "content": [{"type": "toolCall", "id": id, "name": "read", "arguments": {"path": "x"}}]})
    }

    fn result(id: &str) -> Value {
        json!({"role": "toolResult", "toolCallId": id, "toolName": "read", "isError": false,
            "content": [{"type": "text", "text": "content"}]})
    }

    fn all(messages: Vec<Value>) -> Vec<Message> {
        pair(messages.into_iter().filter_map(read).collect())
    }

    fn kinds(messages: &[Message]) -> String {
        let each = messages.iter().map(|m| match m {
            Message::User(_) => 'u',
            Message::Assistant { calls, .. } if calls.is_empty() => 'a',
            Message::Assistant { .. } => 'c',
            Message::ToolResult { is_error: true, .. } => 'x',
            Message::ToolResult { .. } => 'r',
        });
        each.collect()
    }

    #[test]
    fn calls_and_results_stay_paired() {
        let whole = vec![user("1"), calls("a"), result("a"), says("done")];
        assert_eq!(kinds(&all(whole)), "ucra");
        // Interrupted before the result, and a result whose call was cut away.
        let torn = vec![result("z"), user("1"), calls("a"), user("2"), says("ok")];
        assert_eq!(kinds(&all(torn)), "ucxua");
        assert_eq!(kinds(&all(vec![user("1"), calls("a")])), "ucx");
        let twice = vec![user("1"), calls("a"), result("a"), result("a"), says("x")];
        assert_eq!(kinds(&all(twice)), "ucra");
    }

    #[test]
    fn what_says_nothing_is_left_out() {
        let mut failed = says("");
        failed["stopReason"] = json!("error");
        let mut aborted = calls("a");
        aborted["stopReason"] = json!("aborted");
        aborted["content"]
            .as_array_mut()
            .unwrap()
            .push(json!({"type": "text", "text": "part"}));
        let odd = json!({"role": "system", "content": "no"});
        let plain = json!({"role": "user", "content": "plain text"});
        let messages = all(vec![user("1"), failed, aborted, odd, plain, json!(7)]);
        assert_eq!(kinds(&messages), "uau");
        assert_eq!(
            messages[2],
            Message::User(vec![Part::Text("plain text".into())])
        );
    }

    #[test]
    fn images_are_kept() {
        let image = json!({"role": "user", "content": [
            {"type": "text", "text": "see"}, {"type": "image", "data": "QQ==", "mimeType": "image/png"}]});
        let want = vec![
            Part::Text("see".into()),
            Part::Image {
                mime: "image/png".into(),
                data: "QQ==".into(),
            },
        ];
        assert_eq!(all(vec![image]), [Message::User(want)]);
    }

    #[test]
    fn the_oldest_turns_go_first_and_whole() {
        let turn = |n: u32| {
            vec![
                user(&format!("{n:03}")),
                calls("a"),
                result("a"),
                says("xyz"),
            ]
        };
        let messages = all((0..10).flat_map(turn).collect());
        let one: u64 = messages[..4].iter().map(weight).sum();
        assert_eq!(fit(messages.clone(), one * 10).len(), 40);
        let kept = fit(messages.clone(), one * 3 + 1);
        assert_eq!(kinds(&kept), "ucraucraucra");
        assert_eq!(kept[0], Message::User(vec![Part::Text("007".into())]));
        assert!(fit(messages, 1).is_empty());
    }
}
