//! `tools.catalog`: the tools that models of this gateway may be given.

use serde_json::{Value, json};

use super::identity::existing_agent;
use super::{Access, Call, Method, Reply};
use crate::agent::tools::policy;
use crate::protocol::shape::{Kind, Shape, opt};
use crate::protocol::{RpcError, Scope};

/// The family.
pub const METHODS: &[Method] = &[Method::new(
    "tools.catalog",
    Access::Operator(Scope::Read),
    Shape::strict(&[
        opt("agentId", Kind::NonEmpty),
        opt("includePlugins", Kind::Bool),
    ]),
    catalog,
    "the tools by group, and the profiles that they are part of",
)];

/// Profiles with their labels.
const PROFILES: &[(&str, &str)] = &[
    ("minimal", "Minimal"),
    ("coding", "Coding"),
    ("messaging", "Messaging"),
    ("full", "Full"),
];

fn catalog(call: &Call<'_>) -> Result<Reply, RpcError> {
    let agent = existing_agent(call)?;
    let mut tools = call.gateway.runs.deps().tools.summaries();
    let place = |name: &str| policy::group_of(name).map_or((usize::MAX, "other"), |g| g);
    tools.sort_by_key(|(name, _)| place(name).0);
    let mut groups: Vec<Value> = Vec::new();
    for (name, summary) in tools {
        let (_, group) = place(name);
        let tool = json!({
            "id": name, "label": name, "description": summary, "source": "core",
            "defaultProfiles": policy::profiles_of(name),
        });
        let last = groups.last_mut().filter(|g| g["id"] == group);
        match last.and_then(|g| g["tools"].as_array_mut()) {
            Some(list) => list.push(tool),
            None => groups.push(json!({
                "id": group, "label": label(group), "source": "core", "tools": [tool],
            })),
        }
    }
    let profiles: Vec<Value> = PROFILES
        .iter()
        .map(|(id, label)| json!({"id": id, "label": label}))
        .collect();
    Ok(Reply::Value(
        json!({"agentId": agent, "profiles": profiles, "groups": groups}),
    ))
}

/// What a person reads for a group.
fn label(group: &str) -> String {
    match group {
        "fs" => "Files".into(),
        "ui" => "UI".into(),
        other => {
            let mut chars = other.chars();
            let first = chars.next().map(|c| c.to_ascii_uppercase());
            first.into_iter().chain(chars).collect()
        }
    }
}
