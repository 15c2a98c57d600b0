//! The tool `sessions_list`.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::history::{self, Shape};
use super::view::View;
use crate::agent::provider::ToolSpec;
use crate::agent::tools::{Context, Output, Tool, ToolError, count_of};
use crate::state::session_key;
use crate::state::sessions::{Filter, Row, Store, row};

/// Sessions that are listed, at most, and messages of each.
const MAX_ROWS: usize = 200;
const DEFAULT_ROWS: usize = 50;
const MAX_MESSAGES: usize = 20;
/// Bytes of the messages of all rows.
const MAX_BYTES: usize = 64 * 1024;

/// Fields of a row in `sessions.list` that models are shown.
const SHOWN: &[&str] = &[
    "key",
    "label",
    "displayName",
    "updatedAt",
    "sessionId",
    "model",
    "contextTokens",
    "totalTokens",
    "thinkingLevel",
    "verboseLevel",
    "systemSent",
    "abortedLastRun",
    "sendPolicy",
    "lastChannel",
    "lastTo",
    "lastAccountId",
    "deliveryContext",
];

/// The tool.
pub struct List(Arc<Store>);

impl List {
    pub fn new(store: Arc<Store>) -> List {
        List(store)
    }
}

impl Tool for List {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "sessions_list",
            description: "List sessions, the last used first; with messageLimit, the last messages of each.",
            parameters: json!({
                "type": "object",
                "properties": {
                    "kinds": {
                        "type": "array",
                        "items": {"type": "string"},
                        "description": "main, group, cron, hook, node, other",
                    },
                    "limit": {"type": "number", "minimum": 1},
                    "activeMinutes": {"type": "number", "minimum": 1},
                    "messageLimit": {"type": "number", "minimum": 0},
                },
            }),
        }
    }

    fn summary(&self) -> &'static str {
        "List other sessions with filters"
    }

    fn meta(&self, _: &Map<String, Value>) -> Option<String> {
        None
    }

    fn run(
        &self,
        arguments: &Map<String, Value>,
        context: &Context<'_>,
    ) -> Result<Output, ToolError> {
        let limit = count_of(arguments, "limit")?
            .unwrap_or(DEFAULT_ROWS)
            .min(MAX_ROWS);
        let messages = match arguments.get("messageLimit").and_then(Value::as_f64) {
            Some(n) if n < 1.0 => 0,
            _ => count_of(arguments, "messageLimit")?
                .unwrap_or(0)
                .min(MAX_MESSAGES),
        };
        let kinds = arguments.get("kinds").and_then(Value::as_array);
        let kinds: Vec<String> = kinds
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(|k| k.trim().to_lowercase())
            .collect();
        let view = View::new(context, &self.0);
        let filter = Filter {
            active_minutes: count_of(arguments, "activeMinutes")?.map(|n| n as u64),
            include_global: context.config.str("session.scope") == Some("global"),
            ..Filter::default()
        };
        let mut left = MAX_BYTES;
        let rows: Vec<Value> = view
            .list(&filter)
            .iter()
            .filter(|r| kinds.is_empty() || kinds.iter().any(|k| k == kind(&r.key)))
            .take(limit)
            .map(|r| self.shown(r, messages, &mut left))
            .collect();
        Ok(Output::json(json!({"count": rows.len(), "sessions": rows})))
    }
}

impl List {
    fn shown(&self, r: &Row, messages: usize, left: &mut usize) -> Value {
        let all = row(&r.key, &r.entry);
        let mut shown: Map<String, Value> = SHOWN
            .iter()
            .filter_map(|name| Some((name.to_string(), all.get(*name)?.clone())))
            .collect();
        shown.insert("kind".into(), json!(kind(&r.key)));
        shown.insert("channel".into(), json!(channel(r)));
        if messages > 0 {
            let shape = Shape {
                limit: messages,
                tools: false,
                bytes: *left,
            };
            let page = history::page(&self.0, &r.key, Some(&r.entry), shape);
            *left = left.saturating_sub(page.bytes);
            shown.insert("messages".into(), json!(page.messages));
        }
        Value::Object(shown)
    }
}

/// What a key says of its session.
fn kind(key: &str) -> &'static str {
    let rest = session_key::parse(key).map_or(key, |k| k.rest);
    match rest {
        session_key::MAIN | session_key::GLOBAL => "main",
        _ if session_key::kind(key, None) == "group" => "group",
        _ if rest.starts_with("cron:") => "cron",
        _ if rest.starts_with("hook:") => "hook",
        _ if rest.starts_with("node-") || rest.starts_with("node:") => "node",
        _ => "other",
    }
}

/// The channel that its messages come from.
fn channel(r: &Row) -> String {
    if matches!(kind(&r.key), "cron" | "hook" | "node") {
        return "internal".into();
    }
    let group = session_key::group(&r.key).map(|g| g.channel);
    let last = || r.entry.text("lastChannel");
    let channel = r.entry.text("channel").filter(|c| *c != "webchat");
    channel
        .or(group)
        .or_else(last)
        .unwrap_or("unknown")
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::Bench;
    use super::*;
    use crate::state::Paths;

    #[test]
    fn rows_and_their_last_messages() {
        let bench = Bench::new("{tools: {sessions: {visibility: 'agent'}}}");
        let paths = Paths::new(bench.path.join("state"));
        let store = Arc::new(Store::new(paths));
        for key in [
            "agent:main:main",
            "agent:main:telegram:group:7",
            "agent:main:cron:j",
            "agent:main:hook:x",
        ] {
            history::tests::talk(&store, key, 3);
        }
        let list = List::new(store);
        let call = |arguments: Value| bench.run(&list, arguments).unwrap().details.unwrap();
        let all = call(json!({}));
        assert_eq!(all["count"], 4);
        assert!(all["sessions"][0].get("messages").is_none());
        let group = call(json!({"kinds": ["group"], "messageLimit": 2}));
        let row = &group["sessions"][0];
        assert_eq!(
            (&row["kind"], &row["channel"]),
            (&json!("group"), &json!("telegram"))
        );
        assert_eq!(row["messages"].as_array().unwrap().len(), 2);
        assert!(row["sessionId"].is_string() && row.get("outputTokens").is_none());
        assert_eq!(call(json!({"limit": 2}))["count"], 2);
        assert_eq!(
            call(json!({"kinds": ["cron"]}))["sessions"][0]["channel"],
            "internal"
        );
        let none = call(json!({"kinds": ["node"]}));
        assert_eq!(none, json!({"count": 0, "sessions": []}));
        assert!(bench.run(&list, json!({"limit": 0})).is_err());
    }
}
