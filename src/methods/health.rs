//! `health`, `status` and `doctor.memory.status`: how the gateway is.

use serde_json::{Value, json};

use super::{Access, Call, Method, Reply};
use crate::agent::models;
use crate::config;
use crate::protocol::shape::{Kind, Shape, opt};
use crate::protocol::{RpcError, Scope};

const READ: Access = Access::Operator(Scope::Read);
const NONE: Shape = Shape::lenient(&[]);

/// The family.
pub const METHODS: &[Method] = &[
    Method::new(
        "health",
        Access::Anyone,
        Shape::lenient(&[opt("probe", Kind::Any)]),
        health,
        "snapshot of channels, agents and sessions; cached up to 60 s unless probe",
    ),
    Method::new(
        "status",
        READ,
        NONE,
        status,
        "sessions and heartbeats by agent; paths and models for admins",
    ),
];

fn health(call: &Call<'_>) -> Result<Reply, RpcError> {
    if call.bool("probe") == Some(true) {
        call.gateway.refresh_health();
    }
    Ok(Reply::Raw(
        call.gateway
            .health
            .cached(call.gateway, call.may(Scope::Admin)),
    ))
}

/// Sessions that `status` names in all and by agent.
const RECENT: usize = 10;

fn status(call: &Call<'_>) -> Result<Reply, RpcError> {
    let gateway = call.gateway;
    let config = gateway.config.current();
    let admin = call.may(Scope::Admin);
    let default_id = config::agents::default_id(&config);
    let ids = config::agents::ids(&config);
    let mut heartbeats = Vec::new();
    let (mut by_agent, mut paths, mut total) = (Vec::new(), Vec::new(), 0);
    let mut all: Vec<Value> = Vec::new();
    for id in &ids {
        let beat = crate::gateway::health::heartbeat(&config, id);
        heartbeats.push(json!({
            "agentId": id, "enabled": beat["enabled"], "every": beat["every"], "everyMs": beat["everyMs"],
        }));
        let path = gateway.paths.sessions_file(id);
        let (count, newest) = gateway.sessions.newest(id, RECENT)?;
        let recent: Vec<_> = newest
            .iter()
            .map(|(key, updated_at)| json!({"agentId": id, "key": key, "updatedAt": updated_at}))
            .collect();
        total += count;
        by_agent.push(json!({
            "agentId": id,
            "path": if admin { json!(path) } else { json!("[redacted]") },
            "count": count,
            "recent": if admin { recent.clone() } else { Vec::new() },
        }));
        paths.push(path);
        all.extend(recent);
    }
    all.sort_by_key(|r| std::cmp::Reverse(r["updatedAt"].as_u64()));
    all.truncate(RECENT);
    let model = models::primary(&config, &default_id);
    let context = config::agents::context_tokens(&config, &model);
    // What the main session has not been told yet.
    let main = gateway.schedule.heartbeats.session(&default_id, None);
    let waiting: Vec<String> = gateway
        .notes
        .peek(&main)
        .into_iter()
        .map(|n| n.text)
        .collect();
    let mut answer = json!({
        "heartbeat": {"defaultAgentId": default_id, "agents": heartbeats},
        "channelSummary": [],
        "queuedSystemEvents": waiting,
        "sessions": {
            "paths": if admin { json!(paths) } else { json!([]) },
            "count": total,
            "defaults": {
                "model": admin.then_some(model.model),
                "contextTokens": admin.then_some(context),
            },
            "recent": if admin { all } else { Vec::new() },
            "byAgent": by_agent,
        },
    });
    // Only there while the file on disk cannot be used and the last good config stays in force.
    if let Some(issues) = gateway.config.last_error() {
        let issues = issues
            .iter()
            .map(|i| json!({"path": i.path, "message": i.message}));
        answer["configIssues"] = issues.collect();
    }
    Ok(Reply::Value(answer))
}
