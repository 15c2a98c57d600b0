//! The tool `agents_list`: the agents that a run may give work to.

use serde_json::{Map, Value, json};

use crate::agent::provider::ToolSpec;
use crate::agent::tools::{Context, Output, Tool, ToolError};
use crate::config::{Config, agents};

/// The tool.
pub struct AgentsList;

impl Tool for AgentsList {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "agents_list",
            description: "List the agents that sessions_spawn may be asked for.",
            parameters: json!({"type": "object", "properties": {}}),
        }
    }

    fn summary(&self) -> &'static str {
        "List agent ids for sessions_spawn"
    }

    fn meta(&self, _: &Map<String, Value>) -> Option<String> {
        None
    }

    fn run(&self, _: &Map<String, Value>, context: &Context<'_>) -> Result<Output, ToolError> {
        let allowed = Allowed::of(context.config, context.agent);
        let mut ids = vec![context.agent.to_string()];
        let known = agents::ids(context.config);
        ids.extend(known.iter().filter(|id| allowed.has(id)).cloned());
        ids.extend(allowed.ids.iter().cloned());
        let mut seen = std::collections::BTreeSet::new();
        let rows: Vec<Value> = ids
            .into_iter()
            .filter(|id| seen.insert(id.clone()))
            .map(|id| {
                let mut row = json!({"id": id, "configured": known.contains(&id)});
                if let Some(name) = agents::name(context.config, &id) {
                    row["name"] = json!(name);
                }
                row
            })
            .collect();
        Ok(Output::json(json!({
            "requester": context.agent, "allowAny": allowed.any, "agents": rows,
        })))
    }
}

/// The other agents that an agent may give work to: `subagents.allowAgents`.
pub struct Allowed {
    /// All of them.
    pub any: bool,
    pub ids: Vec<String>,
}

impl Allowed {
    pub fn of(config: &Config, agent: &str) -> Allowed {
        let list = agents::setting(config, agent, &["subagents", "allowAgents"]);
        let names = list.and_then(Value::as_array).into_iter().flatten();
        let names: Vec<&str> = names.filter_map(Value::as_str).map(str::trim).collect();
        let ids = names.iter().filter(|n| **n != "*" && !n.is_empty());
        Allowed {
            any: names.contains(&"*"),
            ids: ids.map(|n| agents::normalise(n)).collect(),
        }
    }

    /// Whether `id` is one of them.
    pub fn has(&self, id: &str) -> bool {
        self.any || self.ids.iter().any(|i| i == id)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::Bench;
    use super::*;

    fn listed(config: &str) -> Value {
        let bench = Bench::new(config);
        bench.run(&AgentsList, json!({})).unwrap().details.unwrap()
    }

    #[test]
    fn the_own_agent_and_those_that_are_allowed() {
        let alone = listed("{agents: {list: [{id: 'main'}, {id: 'beta'}]}}");
        let want = json!({"requester": "main", "allowAny": false, "agents": [{"id": "main", "configured": true}]});
        assert_eq!(alone, want);
        let some = listed(
            "{agents: {list: [{id: 'main', subagents: {allowAgents: ['Beta', 'gone']}}, {id: 'beta', name: 'B'}, {id: 'c'}]}}",
        );
        assert_eq!(
            some["agents"],
            json!([
                {"id": "main", "configured": true},
                {"id": "beta", "configured": true, "name": "B"},
                {"id": "gone", "configured": false},
            ])
        );
        let all = listed(
            "{agents: {list: [{id: 'main', subagents: {allowAgents: ['*']}}, {id: 'beta'}]}}",
        );
        assert_eq!(
            (&all["allowAny"], all["agents"].as_array().unwrap().len()),
            (&json!(true), 2)
        );
    }
}
