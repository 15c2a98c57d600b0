//! Model providers: one trait, one file an API.
//!
//! A provider makes a single attempt. Retries, failover and what a run does with the answer are the
//! run's; which model, where and with which credential is `models`'.

pub mod echo;
pub mod http;
pub mod openai;
mod openai_request;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::cancel::{Cancel, Reason};
use super::model::Model;

/// Something that completes a conversation.
pub trait Provider: Send + Sync {
    /// Runs `request` to its end. `on` gets the pieces of the reply as they come from the endpoint.
    ///
    /// Blocks; `cancel` interrupts it at once.
    fn stream(
        &self,
        request: &Request<'_>,
        on: &mut dyn FnMut(Delta<'_>),
        cancel: &Cancel,
    ) -> Result<Completion, ProviderError>;
}

/// One call of a model.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub model: &'a Model,
    pub system: &'a str,
    pub messages: &'a [Message],
    pub tools: &'a [ToolSpec],
    pub thinking: Thinking,
}

/// A message of the conversation, in no API's dialect.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    User(Vec<Part>),
    Assistant {
        text: String,
        calls: Vec<ToolCall>,
    },
    ToolResult {
        call_id: String,
        name: String,
        content: Vec<Part>,
        is_error: bool,
    },
}

/// A piece of a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    Text(String),
    /// An image; `data` is base64.
    Image {
        mime: String,
        data: String,
    },
}

/// A call of a tool by the model.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolCall {
    pub id: String,
    pub name: String,
    pub arguments: Map<String, Value>,
    /// The arguments as they came, when they are no JSON object; the call must not be run.
    pub broken: Option<String>,
}

/// A tool as it is shown to the model.
#[derive(Clone, Debug)]
pub struct ToolSpec {
    pub name: &'static str,
    pub description: &'static str,
    /// JSON schema of the parameters.
    pub parameters: Value,
}

/// How hard a reasoning model is to think.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Thinking {
    #[default]
    Off,
    Minimal,
    Low,
    Medium,
    High,
    XHigh,
}

impl Thinking {
    pub const ALL: [Thinking; 6] = [
        Thinking::Off,
        Thinking::Minimal,
        Thinking::Low,
        Thinking::Medium,
        Thinking::High,
        Thinking::XHigh,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Thinking::Off => "off",
            Thinking::Minimal => "minimal",
            Thinking::Low => "low",
            Thinking::Medium => "medium",
            Thinking::High => "high",
            Thinking::XHigh => "xhigh",
        }
    }

    pub fn parse(text: &str) -> Option<Thinking> {
        let text = text.trim().to_ascii_lowercase();
        Thinking::ALL.into_iter().find(|t| t.as_str() == text)
    }
}

/// A piece of the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delta<'a> {
    Text(&'a str),
    Reasoning(&'a str),
}

/// A finished reply.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Completion {
    pub text: String,
    pub reasoning: String,
    pub calls: Vec<ToolCall>,
    pub usage: Usage,
    pub stop: Stop,
}

/// Why a reply ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stop {
    #[default]
    Stop,
    ToolUse,
    Length,
}

impl Stop {
    /// The `stopReason` of a transcript.
    pub fn as_str(self) -> &'static str {
        match self {
            Stop::Stop => "stop",
            Stop::ToolUse => "toolUse",
            Stop::Length => "length",
        }
    }
}

/// Tokens of one call. `input` does not count what was read from or written to a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub input: u64,
    pub output: u64,
    pub cache_read: u64,
    pub cache_write: u64,
    pub total: u64,
}

impl Usage {
    /// Size of the prompt in tokens.
    pub fn prompt(&self) -> u64 {
        self.input + self.cache_read + self.cache_write
    }
}

/// The phases of an exchange that have a deadline of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Connect,
    Send,
    FirstByte,
    Idle,
}

/// Why a call of a model failed. Display never shows a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderError {
    /// The run was stopped.
    Cancelled(Reason),
    /// The endpoint answered with an error; `message` is its own, bounded.
    Status {
        status: u16,
        message: String,
        retry_after: Option<Duration>,
    },
    /// A phase took too long.
    Timeout { phase: Phase, after: Duration },
    /// No connection, or it broke.
    Connection(String),
    /// What came was not what the API promises.
    Protocol(String),
    /// The endpoint gave up in the middle of a reply and said why.
    Reported(String),
    /// The reply was larger than `limit` bytes.
    TooLarge { limit: usize },
    /// The configuration has to be changed first.
    Config(String),
}

impl ProviderError {
    /// Whether the same call may succeed when it is made again.
    pub fn is_transient(&self) -> bool {
        match self {
            ProviderError::Status { status, .. } => {
                matches!(status, 408 | 409 | 425 | 429) || *status >= 500
            }
            ProviderError::Timeout { .. } | ProviderError::Connection(_) => true,
            _ => false,
        }
    }

    /// How long the endpoint asks to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            ProviderError::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

impl fmt::Display for ProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProviderError::Cancelled(reason) => write!(f, "run stopped ({})", reason.as_str()),
            ProviderError::Status {
                status, message, ..
            } if message.is_empty() => write!(f, "{status} status code (no body)"),
            ProviderError::Status {
                status, message, ..
            } => write!(f, "{status} {message}"),
            ProviderError::Timeout { phase, after } => {
                let what = match phase {
                    Phase::Connect => "connecting to the model endpoint took",
                    Phase::Send => "sending the request to the model endpoint took",
                    Phase::FirstByte => "the model endpoint did not begin to answer for",
                    Phase::Idle => "the model endpoint sent nothing for",
                };
                write!(f, "timeout: {what} {:?}", after)
            }
            ProviderError::Connection(why) => write!(f, "model endpoint unreachable: {why}"),
            ProviderError::Protocol(why) => {
                write!(f, "the model endpoint's answer is not valid: {why}")
            }
            ProviderError::TooLarge { limit } => {
                write!(f, "the model's reply is larger than {limit} bytes")
            }
            ProviderError::Reported(why) | ProviderError::Config(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for ProviderError {}
