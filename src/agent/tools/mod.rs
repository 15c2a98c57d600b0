//! Tools that a model may call: the trait, the registry, and which of them a run gets.
//!
//! One file a tool. What a tool may touch is its own business to check; whether it may be called at
//! all is `policy`'s.

mod edit;
pub mod exec;
mod files;
mod memory;
mod patch;
pub mod policy;
mod read;
pub mod sessions;
#[cfg(test)]
mod testing;
mod write;

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::cancel::Cancel;
use super::model::Model;
use super::provider::{Part, ToolCall, ToolSpec};
use crate::config::Config;

/// Longest text that a tool's result carries to the model, in bytes.
pub const MAX_RESULT: usize = 256 * 1024;
/// Longest `meta` line of a tool event, in bytes.
const MAX_META: usize = 200;

/// Something that a model may call.
pub trait Tool: Send + Sync {
    /// How it is shown to the model.
    fn spec(&self) -> ToolSpec;

    /// One line for the system prompt's list.
    fn summary(&self) -> &'static str;

    /// Whether it is for runs in which the owner speaks only.
    fn owner_only(&self) -> bool {
        false
    }

    /// Whether this run can use it at all, whatever the policy says.
    fn available(&self, _context: &Context<'_>) -> bool {
        true
    }

    /// What a call is about, for people who watch: `from TOOLS.md`.
    fn meta(&self, arguments: &Map<String, Value>) -> Option<String>;

    /// Runs one call. An error is shown to the model, which may try something else.
    fn run(
        &self,
        arguments: &Map<String, Value>,
        context: &Context<'_>,
    ) -> Result<Output, ToolError>;
}

/// What a tool gets to know of the run.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The snapshot that the run was started with.
    pub config: &'a Config,
    pub agent: &'a str,
    /// Canonical.
    pub session_key: Option<&'a str>,
    pub workspace: &'a Path,
    pub model: &'a Model,
    /// Stops the run; whatever blocks has to listen to it.
    pub cancel: &'a Cancel,
    /// The owner is behind the run. False where text of others began it (a hook, cron, a stranger): what
    /// changes the gateway itself is out of its reach then.
    pub owner: bool,
}

/// What a call gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    pub content: Vec<Part>,
    /// For clients, not for the model.
    pub details: Option<Value>,
    pub is_error: bool,
}

impl Output {
    pub fn text(text: impl Into<String>) -> Output {
        Output {
            content: vec![Part::Text(text.into())],
            details: None,
            is_error: false,
        }
    }

    /// `value` for the model as indented text, and for clients as it is.
    pub fn json(value: Value) -> Output {
        Output {
            content: vec![Part::Text(format!("{value:#}"))],
            details: Some(value),
            is_error: false,
        }
    }

    pub fn with_details(mut self, details: Value) -> Output {
        self.details = Some(details);
        self
    }
}

/// Why a call failed, in words for the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolError {
    /// The arguments are to blame; otherwise something went wrong with good ones.
    pub is_input: bool,
    pub text: String,
}

impl ToolError {
    pub fn new(text: impl Into<String>) -> ToolError {
        ToolError {
            is_input: false,
            text: text.into(),
        }
    }

    /// An error of the arguments.
    pub fn input(text: impl Into<String>) -> ToolError {
        ToolError {
            is_input: true,
            text: text.into(),
        }
    }
}

impl std::fmt::Display for ToolError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for ToolError {}

/// All tools that this gateway has.
#[derive(Clone)]
pub struct Registry(Vec<Arc<dyn Tool>>);

impl Registry {
    /// The built-in tools.
    pub fn new() -> Registry {
        Registry(vec![
            Arc::new(read::Read),
            Arc::new(write::Write),
            Arc::new(edit::Edit),
            Arc::new(patch::ApplyPatch),
            Arc::new(memory::Search),
            Arc::new(memory::Get),
            Arc::new(sessions::AgentsList),
        ])
    }

    /// Adds a tool that needs something of the gateway. It takes the place of one with the same name.
    pub fn add(&mut self, tool: Arc<dyn Tool>) {
        let name = tool.spec().name;
        self.0.retain(|t| t.spec().name != name);
        self.0.push(tool);
    }

    /// Name and summary of each.
    pub fn summaries(&self) -> Vec<(&'static str, &'static str)> {
        self.0
            .iter()
            .map(|t| (t.spec().name, t.summary()))
            .collect()
    }

    /// The tools that the run may use.
    pub fn allowed(&self, context: &Context<'_>) -> Set {
        let policy = policy::Policy::of(context.config, context.agent, &context.model.provider);
        let tools = self.0.iter();
        let tools = tools
            .filter(|t| context.owner || !t.owner_only())
            .filter(|t| policy.allows(t.spec().name) && t.available(context));
        Set(tools.cloned().collect())
    }
}

impl Default for Registry {
    fn default() -> Self {
        Registry::new()
    }
}

/// The tools of one run.
pub struct Set(Vec<Arc<dyn Tool>>);

impl Set {
    /// Takes away what none of `entries`, in the words of `tools.allow`, means.
    pub fn keep(&mut self, entries: &[String]) {
        let meant = |name: &str| entries.iter().any(|e| policy::covers(e, name));
        self.0.retain(|t| meant(t.spec().name));
    }

    pub fn specs(&self) -> Vec<ToolSpec> {
        self.0.iter().map(|t| t.spec()).collect()
    }

    /// Name and summary of each.
    pub fn summaries(&self) -> Vec<(&'static str, &'static str)> {
        self.0
            .iter()
            .map(|t| (t.spec().name, t.summary()))
            .collect()
    }

    /// What `call` is about.
    pub fn meta(&self, call: &ToolCall) -> Option<String> {
        let meta = match self.find(&call.name) {
            Some(tool) => tool.meta(&call.arguments),
            None => text_of(&call.arguments, &["path", "command", "action"]).map(str::to_string),
        };
        meta.map(|m| crate::protocol::frame::clip(&m, MAX_META).to_string())
    }

    /// Runs `call`. What goes wrong is an output too: the model is told, and may go on.
    pub fn run(&self, call: &ToolCall, context: &Context<'_>) -> Output {
        let result = match (self.find(&call.name), &call.broken) {
            (None, _) => Err(ToolError::new(format!("Tool {} not found", call.name))),
            (_, Some(_)) => Err(ToolError::new("the arguments are not a JSON object")),
            (Some(tool), None) => tool.run(&call.arguments, context),
        };
        let mut output = result.unwrap_or_else(|error| failed(&call.name, &error));
        for part in &mut output.content {
            if let Part::Text(text) = part
                && text.len() > MAX_RESULT
            {
                let kept = crate::protocol::frame::clip(text, MAX_RESULT).len();
                text.truncate(kept);
                text.push_str("\n[cut: the result was too long]");
            }
        }
        output
    }

    fn find(&self, name: &str) -> Option<&Arc<dyn Tool>> {
        self.0.iter().find(|t| t.spec().name == name)
    }
}

/// An error as the model sees it.
fn failed(tool: &str, error: &ToolError) -> Output {
    let details = json!({"status": "error", "tool": tool, "error": error.text});
    Output {
        is_error: true,
        ..Output::json(details)
    }
}

/// The first of the arguments `names` that is a text with something in it.
fn text_of<'a>(arguments: &'a Map<String, Value>, names: &[&str]) -> Option<&'a str> {
    let texts = names.iter().filter_map(|n| arguments.get(*n)?.as_str());
    texts.map(str::trim).find(|t| !t.is_empty())
}

/// A positive whole number, which models also send as text or as a float.
fn count_of(arguments: &Map<String, Value>, name: &str) -> Result<Option<usize>, ToolError> {
    let number = match arguments.get(name) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text.trim().parse::<f64>().ok(),
        Some(other) => other.as_f64(),
    };
    match number {
        Some(n) if n >= 1.0 && n <= f64::from(u32::MAX) => Ok(Some(n as usize)),
        _ => Err(ToolError::input(format!(
            "{name} has to be a number from 1 on"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(name: &str, broken: Option<&str>) -> ToolCall {
        ToolCall {
            id: "c".into(),
            name: name.into(),
            arguments: Map::from_iter([("path".to_string(), json!("nope.md"))]),
            broken: broken.map(str::to_string),
        }
    }

    #[test]
    fn what_cannot_be_run_is_told_to_the_model() {
        let bench = testing::Bench::new("{}");
        let context = bench.context();
        let set = Registry::new().allowed(&context);
        let unknown = set.run(&call("frob", None), &context);
        assert!(unknown.is_error);
        assert_eq!(unknown.details.unwrap()["error"], "Tool frob not found");
        let broken = set.run(&call("read", Some("{")), &context);
        assert!(broken.is_error && broken.content != unknown.content);
        assert_eq!(set.meta(&call("frob", None)).as_deref(), Some("nope.md"));
    }

    #[test]
    fn counts_are_taken_in_any_form() {
        let args = json!({"a": 3, "b": "4", "c": 5.0, "d": 0, "e": "x", "f": null, "g": 1e300});
        let args = args.as_object().unwrap();
        assert_eq!(count_of(args, "a"), Ok(Some(3)));
        assert_eq!(count_of(args, "b"), Ok(Some(4)));
        assert_eq!(count_of(args, "c"), Ok(Some(5)));
        assert_eq!(count_of(args, "f"), Ok(None));
        assert_eq!(count_of(args, "z"), Ok(None));
        for name in ["d", "e", "g"] {
            assert!(count_of(args, name).is_err(), "{name}");
        }
    }
}
