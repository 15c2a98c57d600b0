//! The tool `session_status`: what a session is like, and which model it runs.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::view::View;
use crate::agent::commands::card;
use crate::agent::models::{self, ByName};
use crate::agent::provider::ToolSpec;
use crate::agent::stamp::stamp;
use crate::agent::tools::{Context, Output, Tool, ToolError, text_of};
use crate::config::agents;
use crate::state::session_key;
use crate::state::sessions::{Entry, Store};
use crate::sys::clock;

/// The tool.
pub struct Status(Arc<Store>);

impl Status {
    pub fn new(store: Arc<Store>) -> Status {
        Status(store)
    }
}

impl Tool for Status {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "session_status",
            description: "Show what a session is like: the time, its model, its tokens, its context. With model, it \
                switches to that model; `default` switches back.",
            parameters: json!({
                "type": "object",
                "properties": {
                    "sessionKey": {"type": "string"},
                    "model": {"type": "string"},
                },
            }),
        }
    }

    fn summary(&self) -> &'static str {
        "Show a status card of the session"
    }

    fn meta(&self, arguments: &Map<String, Value>) -> Option<String> {
        text_of(arguments, &["sessionKey"]).map(str::to_string)
    }

    fn run(
        &self,
        arguments: &Map<String, Value>,
        context: &Context<'_>,
    ) -> Result<Output, ToolError> {
        let view = View::new(context, &self.0);
        let asked = text_of(arguments, &["sessionKey"]);
        let name = asked.unwrap_or(view.own_key());
        let unknown = || ToolError::new(format!("Unknown sessionKey: {name}"));
        let seen = view.find(name).filter(|s| s.entry.is_some());
        let seen = seen.ok_or_else(unknown)?;
        let agent = session_key::agent_of(&seen.key, context.agent);
        let mut entry = seen.entry;
        let mut changed = false;
        if let Some(wanted) = text_of(arguments, &["model"]) {
            let new = self.choose(context, &agent, &seen.key, wanted)?;
            let model = |e: &Entry| e.field("modelOverride").cloned();
            changed = entry.as_ref().map(model) != Some(model(&new));
            entry = Some(new);
        }
        let zone = context.config.str("agents.defaults.userTimezone");
        let time = stamp("", clock::now_ms(), zone);
        let time = time.trim_matches(['[', ']', ' ']);
        let card = card(context.config, &agent, &seen.key, entry.as_ref());
        let text = match card.split_once('\n') {
            Some((first, rest)) => format!("{first}\n🕒 Time: {time}\n{rest}"),
            None => card,
        };
        Ok(Output::text(text.clone()).with_details(json!({
            "ok": true, "sessionKey": seen.key, "changedModel": changed, "statusText": text,
        })))
    }
}

impl Status {
    /// Has the session run another model, if a person could choose that too.
    fn choose(
        &self,
        context: &Context<'_>,
        agent: &str,
        key: &str,
        wanted: &str,
    ) -> Result<Entry, ToolError> {
        let value = match wanted.eq_ignore_ascii_case("default") {
            true => Value::Null,
            false => {
                let model = agents::resolve(context.config, wanted);
                if !models::may_choose(context.config, agent, &model) {
                    return Err(ToolError::new(format!("Model {model} is not allowed.")));
                }
                json!(model.to_string())
            }
        };
        let patch = Map::from_iter([("model".to_string(), value)]);
        let names = ByName {
            config: context.config,
            agent,
        };
        let patched = self.0.patch(key, &patch, &names);
        patched.map_err(|e| ToolError::new(crate::protocol::RpcError::from(e).message))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Bench, text};
    use super::*;
    use crate::state::Paths;

    const MODELS: &str = "{
        models: {providers: {p: {baseUrl: 'http://127.0.0.1:1', models: [{id: 'a', name: 'A'}, {id: 'b', name: 'B'}]}}},
        agents: {defaults: {model: {primary: 'p/a'}}},
    }";

    fn setup() -> (Bench, Status) {
        let bench = Bench::new(MODELS);
        let store = Arc::new(Store::new(Paths::new(bench.path.join("state"))));
        for key in ["agent:main:main", "agent:main:other"] {
            store
                .update(key, |m| {
                    m.insert("sessionId".into(), json!("s"));
                })
                .unwrap();
        }
        (bench, Status::new(store))
    }

    #[test]
    fn a_card_of_the_own_session() {
        let (bench, status) = setup();
        let output = bench.run(&status, json!({})).unwrap();
        let shown = text(&output);
        assert!(
            shown.contains("🕒 Time: ") && shown.contains("Model: p/a"),
            "{shown}"
        );
        let details = output.details.unwrap();
        assert_eq!(
            (&details["sessionKey"], &details["changedModel"]),
            (&json!("agent:main:main"), &json!(false))
        );
        assert_eq!(details["statusText"], shown);
    }

    #[test]
    fn the_model_is_switched_to_one_that_is_allowed() {
        let (bench, status) = setup();
        let set = |model: &str| {
            bench
                .run(&status, json!({"model": model}))
                .map(|o| o.details.unwrap())
        };
        assert_eq!(set("p/b").unwrap()["changedModel"], true);
        assert_eq!(set("p/b").unwrap()["changedModel"], false);
        assert!(
            set("p/b").unwrap()["statusText"]
                .as_str()
                .unwrap()
                .contains("p/b")
        );
        assert_eq!(set("default").unwrap()["changedModel"], true);
        assert!(set("other/x").is_err());
    }

    /// TX-27
    #[test]
    fn another_session_is_neither_shown_nor_changed() {
        let (bench, status) = setup();
        let before = status.0.get("agent:main:other").unwrap();
        let there = bench.error(
            &status,
            json!({"sessionKey": "agent:main:other", "model": "p/b"}),
        );
        let none = bench.error(
            &status,
            json!({"sessionKey": "agent:main:nope", "model": "p/b"}),
        );
        assert_eq!(there.replace("other", "nope"), none);
        assert_eq!(status.0.get("agent:main:other").unwrap(), before);
    }
}
