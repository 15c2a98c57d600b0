//! The API `openai-completions`: `POST <base>/chat/completions`, streamed.
//!
//! Spoken by OpenAI and by most servers that people run themselves; what differs between them is in
//! the model's `compat`. The request is built in `openai_request`; this file sends it and reads the
//! stream.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::http::{Exchange, Http};
use super::openai_request;
use super::{Completion, Delta, Provider, ProviderError, Request, Stop, ToolCall, Usage};
use crate::agent::cancel::Cancel;
use crate::agent::model::{Model, Secret};
use crate::agent::sse::{Parser, TooLong};
use crate::protocol::frame::clip;
use crate::sys::id;

/// Largest event of the stream in bytes.
const MAX_EVENT: usize = 1024 * 1024;
/// Largest reply in bytes: text, reasoning and arguments of tool calls together. Each piece of it is told
/// with all of the text before, so this bounds that too.
const MAX_REPLY: usize = 1024 * 1024;
/// Most tool calls in one reply.
const MAX_CALLS: usize = 64;
/// Largest error body that is read, in bytes.
const MAX_ERROR_BODY: usize = 16 * 1024;
/// Longest error text that is passed on, in bytes.
const MAX_ERROR_TEXT: usize = 1000;
/// Shorter values are not taken for secrets when an error text is cleaned, in bytes.
const MIN_SECRET: usize = 8;
/// Bytes taken from the connection at a time.
const READ_SIZE: usize = 16 * 1024;

/// The provider; runs share its connections.
#[derive(Debug)]
pub struct OpenAi {
    http: Arc<Http>,
}

impl OpenAi {
    pub fn new(http: Arc<Http>) -> OpenAi {
        OpenAi { http }
    }
}

impl Provider for OpenAi {
    fn stream(
        &self,
        request: &Request<'_>,
        on: &mut dyn FnMut(Delta<'_>),
        cancel: &Cancel,
    ) -> Result<Completion, ProviderError> {
        let model = request.model;
        let url = format!("{}/chat/completions", model.base_url);
        let body = openai_request::body(request);
        let mut exchange = self
            .http
            .post(&url, &headers(model), body.as_bytes(), cancel)?;
        drop(body);
        if !(200..300).contains(&exchange.status) {
            return Err(failure(&mut exchange, model));
        }
        if exchange
            .header("content-type")
            .is_some_and(|t| t.starts_with("application/json"))
        {
            return whole_reply(exchange, on);
        }
        let mut reply = Reply::default();
        let mut parser = Parser::new(MAX_EVENT);
        let mut buffer = vec![0u8; READ_SIZE];
        while !reply.done {
            let n = exchange.read(&mut buffer)?;
            if n == 0 {
                parser.finish(|_, data| reply.take(data, on))?;
                reply.flush(on);
                break;
            }
            let result = parser.feed(&buffer[..n], |_, data| reply.take(data, on));
            // What came in one read goes out as one piece, at once.
            reply.flush(on);
            result?;
        }
        let completion = reply.complete()?;
        exchange.finish();
        Ok(completion)
    }
}

fn headers(model: &Model) -> Vec<(String, String)> {
    let mut headers = vec![
        ("content-type".to_string(), "application/json".to_string()),
        ("accept".to_string(), "text/event-stream".to_string()),
    ];
    if let Some(key) = model.key.as_ref().filter(|_| model.auth_header) {
        let value = format!("Bearer {}", key.expose());
        headers.push(("authorization".to_string(), value));
    }
    for (name, value) in &model.headers {
        headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        headers.push((name.clone(), value.clone()));
    }
    headers
}

/// The error that an endpoint's answer stands for.
fn failure(exchange: &mut Exchange<'_>, model: &Model) -> ProviderError {
    let retry_after = retry_after(exchange);
    let bytes = exchange.read_some(MAX_ERROR_BODY);
    let message = match serde_json::from_slice::<Value>(&bytes) {
        Ok(body) => error_text(&body),
        Err(_) => String::from_utf8_lossy(&bytes).into_owned(),
    };
    ProviderError::Status {
        status: exchange.status,
        message: presentable(&message, model),
        retry_after,
    }
}

/// `retry-after-ms`, or `retry-after` in seconds. A date there is not looked at.
fn retry_after(exchange: &Exchange<'_>) -> Option<Duration> {
    let number = |name: &str| exchange.header(name)?.trim().parse::<f64>().ok();
    let ms = number("retry-after-ms").or_else(|| Some(number("retry-after")? * 1000.0))?;
    (ms >= 0.0 && ms.is_finite()).then(|| Duration::from_millis(ms as u64))
}

/// The text of an error object, wherever the endpoint put it.
fn error_text(body: &Value) -> String {
    let error = body.get("error").unwrap_or(body);
    let text = [&error["message"], error, &body["message"], &body["detail"]]
        .into_iter()
        .find_map(Value::as_str);
    text.map_or_else(|| error.to_string(), str::to_string)
}

/// One line of printable text without the credentials that were sent, bounded.
fn presentable(text: &str, model: &Model) -> String {
    let mut text = text.to_string();
    let key = model.key.iter().map(Secret::expose);
    let headers = model.headers.iter().map(|(_, value)| value.as_str());
    for secret in key.chain(headers).filter(|s| s.len() >= MIN_SECRET) {
        text = text.replace(secret, "***");
    }
    let words = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|w| !w.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    clip(&line, MAX_ERROR_TEXT).to_string()
}

/// A server that does not stream, although it was asked to.
fn whole_reply(
    mut exchange: Exchange<'_>,
    on: &mut dyn FnMut(Delta<'_>),
) -> Result<Completion, ProviderError> {
    let mut bytes = Vec::new();
    let mut buffer = vec![0u8; READ_SIZE];
    loop {
        let n = exchange.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        bytes.extend_from_slice(&buffer[..n]);
        if bytes.len() > MAX_REPLY {
            return Err(ProviderError::TooLarge { limit: MAX_REPLY });
        }
    }
    drop(exchange);
    let body: Value = serde_json::from_slice(&bytes)
        .map_err(|e| ProviderError::Protocol(format!("not JSON: {e}")))?;
    let mut reply = Reply::default();
    reply.take_value(&body, on)?;
    reply.flush(on);
    reply.complete()
}

impl From<TooLong> for ProviderError {
    fn from(_: TooLong) -> Self {
        ProviderError::TooLarge { limit: MAX_EVENT }
    }
}

/// A reply as it grows.
#[derive(Default)]
struct Reply {
    text: String,
    /// How much of `text` has been handed on.
    told: usize,
    reasoning: String,
    calls: Vec<Call>,
    usage: Option<Usage>,
    finish: Option<String>,
    done: bool,
    size: usize,
}

#[derive(Default)]
struct Call {
    index: u64,
    id: String,
    name: String,
    arguments: String,
}

impl Reply {
    fn take(&mut self, data: &str, on: &mut dyn FnMut(Delta<'_>)) -> Result<(), ProviderError> {
        let data = data.trim();
        if data == "[DONE]" {
            self.done = true;
        }
        if self.done || data.is_empty() {
            return Ok(());
        }
        let chunk: Value = serde_json::from_str(data)
            .map_err(|e| ProviderError::Protocol(format!("an event is not JSON: {e}")))?;
        self.take_value(&chunk, on)
    }

    /// A chunk of the stream, or a whole reply: they differ in `delta` and `message` only.
    fn take_value(
        &mut self,
        chunk: &Value,
        on: &mut dyn FnMut(Delta<'_>),
    ) -> Result<(), ProviderError> {
        if let Some(error) = chunk.get("error").filter(|e| !e.is_null()) {
            let message = clip(&error_text(chunk), MAX_ERROR_TEXT).to_string();
            return Err(match error["code"].as_u64() {
                Some(status @ 400..=599) => ProviderError::Status {
                    status: status as u16,
                    message,
                    retry_after: None,
                },
                _ => ProviderError::Reported(message),
            });
        }
        let choice = &chunk["choices"][0];
        for usage in [&chunk["usage"], &choice["usage"]] {
            if usage.is_object() {
                self.usage = Some(read_usage(usage));
            }
        }
        let delta = match choice.get("delta") {
            Some(delta) => delta,
            None => &choice["message"],
        };
        let reasoning = delta["reasoning_content"]
            .as_str()
            .or_else(|| delta["reasoning"].as_str());
        if let Some(piece) = reasoning.filter(|p| !p.is_empty()) {
            self.flush(on);
            self.grow(piece)?;
            self.reasoning.push_str(piece);
            on(Delta::Reasoning(piece));
        }
        if let Some(piece) = delta["content"].as_str() {
            self.grow(piece)?;
            self.text.push_str(piece);
        }
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            self.take_call(call)?;
        }
        if let Some(finish) = choice["finish_reason"].as_str() {
            self.finish = Some(finish.to_string());
        }
        Ok(())
    }

    fn take_call(&mut self, piece: &Value) -> Result<(), ProviderError> {
        let id = piece["id"].as_str().unwrap_or_default();
        // Without an index, a new id begins a new call and everything else goes on with the last one.
        let index = piece["index"].as_u64().unwrap_or_else(|| {
            let last = self.calls.last().map_or(0, |c| c.index);
            let begins = !id.is_empty() && self.calls.last().is_some_and(|c| c.id != id);
            if begins { last + 1 } else { last }
        });
        let function = &piece["function"];
        let name = function["name"].as_str().unwrap_or_default();
        let arguments = match &function["arguments"] {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        self.grow(id)?;
        self.grow(name)?;
        self.grow(&arguments)?;
        if !self.calls.iter().any(|c| c.index == index) {
            if self.calls.len() == MAX_CALLS {
                let why = format!("more than {MAX_CALLS} tool calls in one reply");
                return Err(ProviderError::Protocol(why));
            }
            self.calls.push(Call {
                index,
                ..Call::default()
            });
        }
        let Some(call) = self.calls.iter_mut().find(|c| c.index == index) else {
            return Ok(());
        };
        if call.id.is_empty() {
            call.id = id.to_string();
        }
        if call.name.is_empty() {
            call.name = name.to_string();
        }
        call.arguments.push_str(&arguments);
        Ok(())
    }

    fn grow(&mut self, piece: &str) -> Result<(), ProviderError> {
        self.size += piece.len();
        if self.size > MAX_REPLY {
            return Err(ProviderError::TooLarge { limit: MAX_REPLY });
        }
        Ok(())
    }

    /// Hands on the text that has come since the last time.
    fn flush(&mut self, on: &mut dyn FnMut(Delta<'_>)) {
        if self.told < self.text.len() {
            on(Delta::Text(&self.text[self.told..]));
            self.told = self.text.len();
        }
    }

    fn complete(self) -> Result<Completion, ProviderError> {
        if self.finish.is_none() && !self.done {
            let why = "the stream ended before the reply was complete".to_string();
            return Err(ProviderError::Connection(why));
        }
        let nothing = self.text.is_empty() && self.calls.is_empty();
        let stop = match self.finish.as_deref() {
            Some("content_filter") if nothing => {
                let why = "the model's content filter stopped the reply".to_string();
                return Err(ProviderError::Reported(why));
            }
            _ if !self.calls.is_empty() => Stop::ToolUse,
            Some("length") => Stop::Length,
            _ => Stop::Stop,
        };
        Ok(Completion {
            text: self.text,
            reasoning: self.reasoning,
            calls: self.calls.into_iter().map(Call::read).collect(),
            usage: self.usage.unwrap_or_default(),
            stop,
        })
    }
}

impl Call {
    fn read(self) -> ToolCall {
        let text = self.arguments.trim();
        let (arguments, broken) = match serde_json::from_str::<Map<String, Value>>(text) {
            Ok(map) => (map, None),
            Err(_) if text.is_empty() => (Map::new(), None),
            Err(_) => (Map::new(), Some(self.arguments)),
        };
        let id = match self.id {
            id if id.is_empty() => format!("call_{}", id::hex8()),
            id => id,
        };
        ToolCall {
            id,
            name: self.name,
            arguments,
            broken,
        }
    }
}

fn read_usage(usage: &Value) -> Usage {
    let number = |v: &Value| v.as_u64().unwrap_or(0);
    let prompt = number(&usage["prompt_tokens"]);
    let output = number(&usage["completion_tokens"]);
    let cached = number(&usage["prompt_tokens_details"]["cached_tokens"]).min(prompt);
    Usage {
        input: prompt - cached,
        output,
        cache_read: cached,
        cache_write: 0,
        total: match number(&usage["total_tokens"]) {
            0 => prompt.saturating_add(output),
            total => total,
        },
    }
}

#[cfg(test)]
#[path = "openai_tests.rs"]
mod tests;
