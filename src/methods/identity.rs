//! Which agents there are, and who an agent is.

use std::path::Path;

use serde_json::{Value, json};

use super::{Access, Call, Method, Reply};
use crate::config::{self, Config};
use crate::protocol::frame::clip;
use crate::protocol::shape::{Kind, Shape, opt};
use crate::protocol::{RpcError, Scope};
use crate::state::session_key;
use crate::sys::folder::Folder;

const READ: Access = Access::Operator(Scope::Read);
/// Bytes of IDENTITY.md that are looked at.
const MAX_IDENTITY_FILE: u64 = 64 * 1024;
/// Longest name, in bytes.
const MAX_NAME: usize = 128;
/// The name of an agent that has none.
const DEFAULT_NAME: &str = "Assistant";

/// The family.
pub const METHODS: &[Method] = &[
    Method::new(
        "agents.list",
        READ,
        Shape::strict(&[]),
        list,
        "the configured agents",
    ),
    Method::new(
        "agent.identity.get",
        READ,
        Shape::strict(&[
            opt("agentId", Kind::NonEmpty),
            opt("sessionKey", Kind::Text),
        ]),
        get,
        "name, avatar and emoji of an agent",
    ),
];

fn list(call: &Call<'_>) -> Result<Reply, RpcError> {
    let config = call.gateway.config.current();
    let agents = config::agents::ids(&config);
    let agents: Vec<_> = agents
        .iter()
        .map(|id| config::agents::summary(&config, id))
        .collect();
    Ok(Reply::Value(json!({
        "defaultId": config::agents::default_id(&config),
        "mainKey": "main",
        "scope": config.str("session.scope").unwrap_or("per-sender"),
        "agents": agents,
    })))
}

/// The agent that `agentId` names, which has to exist; without one, the default agent.
pub fn existing_agent(call: &Call<'_>) -> Result<String, RpcError> {
    let config = call.gateway.config.current();
    match call.text("agentId") {
        None => Ok(config::agents::default_id(&config)),
        Some(id) if config::agents::exists(&config, id) => Ok(config::agents::normalise(id)),
        Some(id) => {
            let text = format!("unknown agent id \"{}\"", clip(id, MAX_NAME));
            Err(RpcError::invalid(text))
        }
    }
}

/// The agent that `agentId` and `sessionKey` name together, else the default one.
///
/// `method` begins the error text.
pub fn agent_of(
    config: &Config,
    method: &str,
    agent: Option<&str>,
    key: Option<&str>,
) -> Result<String, RpcError> {
    let refuse = |why: String| Err(RpcError::invalid(format!("invalid {method} params: {why}")));
    let agent = agent.map(config::agents::normalise);
    let Some(key) = key.map(str::trim).filter(|k| !k.is_empty()) else {
        return Ok(agent.unwrap_or_else(|| config::agents::default_id(config)));
    };
    if session_key::is_malformed(key) {
        return refuse(format!("malformed session key \"{}\"", clip(key, MAX_NAME)));
    }
    let of_key = session_key::agent_of(
        &super::sessions::canonical(config, key),
        &config::agents::default_id(config),
    );
    match agent {
        Some(a) if a != of_key => refuse(format!(
            "agent \"{a}\" does not match session key agent \"{of_key}\""
        )),
        _ => Ok(of_key),
    }
}

fn get(call: &Call<'_>) -> Result<Reply, RpcError> {
    let config = call.gateway.config.current();
    let id = agent_of(
        &config,
        "agent.identity.get",
        call.text("agentId"),
        call.str("sessionKey"),
    )?;
    let workspace = config::agents::workspace(&config, &call.gateway.locations, &id);
    Ok(Reply::Value(identity(&config, &workspace, &id)))
}

/// `{agentId, name, avatar, emoji?}` from the config, else from the workspace's IDENTITY.md, else defaults.
pub fn identity(config: &Config, workspace: &Path, id: &str) -> Value {
    let file = read_identity(workspace).unwrap_or_default();
    let configured = config::agents::identity(config, id);
    let pick = |key: &str| {
        let own = configured
            .and_then(|i| i.get(key))
            .and_then(Value::as_str)
            .map(str::trim);
        let own = own.filter(|t| !t.is_empty()).map(str::to_string);
        own.or_else(|| field(&file, key))
            .map(|t| clip(&t, MAX_NAME).to_string())
    };
    let name = pick("name").or_else(|| config::agents::name(config, id).map(str::to_string));
    let name = name.unwrap_or_else(|| DEFAULT_NAME.to_string());
    let emoji = pick("emoji");
    let letter = name
        .chars()
        .next()
        .map_or_else(|| "A".to_string(), |c| c.to_uppercase().collect());
    let avatar = pick("avatar").or_else(|| emoji.clone()).unwrap_or(letter);
    let mut answer = json!({"agentId": id, "name": name, "avatar": avatar});
    if let Some(emoji) = emoji {
        answer["emoji"] = json!(emoji);
    }
    answer
}

fn read_identity(workspace: &Path) -> Option<String> {
    let bytes = Folder::open(workspace)
        .ok()?
        .read("IDENTITY.md", MAX_IDENTITY_FILE)
        .ok()?;
    String::from_utf8(bytes).ok()
}

/// The value of a line `- Name: Molty` or `- **Name:** Molty`; hints in brackets count as nothing.
fn field(text: &str, key: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let line = line.trim().trim_start_matches(['-', '*', ' ']);
        let (name, value) = line.split_once(':')?;
        if !name.trim_matches(['*', '_', ' ']).eq_ignore_ascii_case(key) {
            return None;
        }
        let value = value.trim_matches(['*', '_', ' ', '`']);
        let hint = value.starts_with(['(', '[', '<']);
        (!value.is_empty() && !hint).then(|| value.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn identity_lines_are_read_in_both_forms() {
        let text =
            "# IDENTITY\n- Name: Molty\n- **Emoji:** 🦞\n- Avatar: (workspace path or URL)\n";
        assert_eq!(field(text, "name").as_deref(), Some("Molty"));
        assert_eq!(field(text, "emoji").as_deref(), Some("🦞"));
        assert_eq!(field(text, "avatar"), None);
    }
}
