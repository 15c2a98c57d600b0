//! The request body of `openai-completions`.
//!
//! Written straight from the borrowed conversation, so that a long history or an image is copied once.

use serde::Serialize;
use serde_json::{Value, json};

use super::{Message, Part, Request, Thinking, ToolCall};
use crate::agent::model::Model;

/// Host whose stored completions are switched off unless the configuration says otherwise.
const OPENAI_HOST: &str = "https://api.openai.com";
/// What stands between a tool result and a user message for servers that insist on an assistant there.
const AFTER_TOOLS: &str = "I have processed the tool results.";
/// Length of a tool call id at Mistral.
const MISTRAL_ID: usize = 9;

/// The body as JSON text.
pub fn body(request: &Request<'_>) -> String {
    let model = request.model;
    let compat = &model.compat;
    let limit = Some(model.max_tokens);
    let old_field = compat.max_tokens_field.as_deref() == Some("max_tokens");
    let keeps = compat
        .store
        .unwrap_or_else(|| model.base_url.starts_with(OPENAI_HOST));
    let usage = compat.usage_in_streaming.unwrap_or(true);
    let body = Body {
        model: &model.id,
        messages: messages(request),
        stream: true,
        stream_options: usage.then(|| json!({"include_usage": true})),
        store: keeps.then_some(false),
        max_completion_tokens: limit.filter(|_| !old_field),
        max_tokens: limit.filter(|_| old_field),
        tools: request.tools.iter().map(|t| tool(t, model)).collect(),
        thinking: Effort::of(model, request.thinking),
    };
    serde_json::to_string(&body).expect("plain data serialises")
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<Wire<'a>>,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Value>,
    #[serde(flatten)]
    thinking: Effort,
}

/// A message on the wire.
#[derive(Serialize)]
struct Wire<'a> {
    role: &'static str,
    content: Content<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Nothing,
    Text(&'a str),
    Owned(String),
    Parts(Vec<WirePart<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum WirePart<'a> {
    Text { text: &'a str },
    ImageUrl { image_url: Url },
}

#[derive(Serialize)]
struct Url {
    url: String,
}

/// How thinking is asked for, in the endpoint's way.
#[derive(Default, Serialize)]
struct Effort {
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enable_thinking: Option<bool>,
}

impl Effort {
    fn of(model: &Model, level: Thinking) -> Effort {
        let mut effort = Effort::default();
        if !model.reasoning {
            return effort;
        }
        let on = level != Thinking::Off;
        match model.compat.thinking_format.as_deref() {
            Some("zai") => {
                let kind = if on { "enabled" } else { "disabled" };
                effort.thinking = Some(json!({"type": kind}));
            }
            Some("qwen") => effort.enable_thinking = Some(on),
            _ if on && model.compat.reasoning_effort != Some(false) => {
                effort.reasoning_effort = Some(level.as_str());
            }
            _ => {}
        }
        effort
    }
}

fn plain<'a>(role: &'static str, content: Content<'a>) -> Wire<'a> {
    Wire {
        role,
        content,
        tool_calls: Vec::new(),
        tool_call_id: None,
        name: None,
    }
}

fn messages<'a>(request: &Request<'a>) -> Vec<Wire<'a>> {
    let model = request.model;
    let mut out = Vec::with_capacity(request.messages.len() + 1);
    if !request.system.is_empty() {
        let developer = model.reasoning && model.compat.developer_role == Some(true);
        let role = if developer { "developer" } else { "system" };
        out.push(plain(role, Content::Text(request.system)));
    }
    // Pictures of tool results: the role `tool` takes text only, so they follow as a user's message.
    let mut pictures: Vec<WirePart<'a>> = Vec::new();
    let mut after_tool = false;
    for message in request.messages {
        let is_tool = matches!(message, Message::ToolResult { .. });
        if !is_tool && !pictures.is_empty() {
            let label = "Attached image(s) from tool result:";
            pictures.insert(0, WirePart::Text { text: label });
            out.push(plain("user", Content::Parts(std::mem::take(&mut pictures))));
        }
        match message {
            Message::User(content) => {
                if after_tool && model.compat.assistant_after_tool_result {
                    out.push(plain("assistant", Content::Text(AFTER_TOOLS)));
                }
                let parts = content.iter().map(|p| part(p, model)).collect();
                out.push(plain("user", Content::Parts(parts)));
            }
            Message::Assistant { text, calls } => {
                let content = match text.as_str() {
                    "" => Content::Nothing,
                    text => Content::Parts(vec![WirePart::Text { text }]),
                };
                let mut wire = plain("assistant", content);
                wire.tool_calls = calls.iter().map(|c| tool_call(c, model)).collect();
                out.push(wire);
            }
            Message::ToolResult {
                call_id,
                name,
                content,
                ..
            } => {
                let texts = content.iter().filter_map(|p| match p {
                    Part::Text(t) => Some(t.as_str()),
                    Part::Image { .. } => None,
                });
                let texts: Vec<&str> = texts.collect();
                let images = content.iter().filter(|p| matches!(p, Part::Image { .. }));
                pictures.extend(images.map(|p| part(p, model)));
                let text = match texts.as_slice() {
                    [] => Content::Text("(see attached image)"),
                    [one] => Content::Text(one),
                    many => Content::Owned(many.join("\n")),
                };
                let mut wire = plain("tool", text);
                wire.tool_call_id = Some(call_id_for(call_id, model));
                wire.name = model.compat.tool_result_name.then_some(name);
                out.push(wire);
            }
        }
        after_tool = is_tool;
    }
    if !pictures.is_empty() {
        out.push(plain("user", Content::Parts(pictures)));
    }
    out
}

fn part<'a>(part: &'a Part, model: &Model) -> WirePart<'a> {
    match part {
        Part::Text(text) => WirePart::Text { text },
        Part::Image { mime, data } if model.images => WirePart::ImageUrl {
            image_url: Url {
                url: format!("data:{mime};base64,{data}"),
            },
        },
        Part::Image { .. } => WirePart::Text {
            text: "(an image, which this model cannot see)",
        },
    }
}

fn tool_call(call: &ToolCall, model: &Model) -> Value {
    let arguments = match &call.broken {
        Some(text) => text.clone(),
        None => Value::Object(call.arguments.clone()).to_string(),
    };
    json!({
        "id": call_id_for(&call.id, model),
        "type": "function",
        "function": {"name": call.name, "arguments": arguments},
    })
}

/// The id as the endpoint takes it: Mistral wants exactly nine letters and digits.
fn call_id_for(id: &str, model: &Model) -> String {
    if !model.compat.mistral_tool_ids {
        return id.to_string();
    }
    let mut out: String = id.chars().filter(char::is_ascii_alphanumeric).collect();
    if out.len() > MISTRAL_ID {
        out.drain(..out.len() - MISTRAL_ID);
    }
    format!("{out:0>MISTRAL_ID$}")
}

fn tool(tool: &super::ToolSpec, model: &Model) -> Value {
    let mut function = json!({
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
    });
    if model.compat.strict_mode != Some(false) {
        function["strict"] = json!(false);
    }
    json!({"type": "function", "function": function})
}
