//! Skills: what is there, and whether it can be used. None is installed or downloaded by this gateway.

use serde_json::{Map, Value, json};

use super::identity::existing_agent;
use super::{Access, Call, Method, Reply};
use crate::agent::skills::{self, Gate, Installer, Requirements, Skill};
use crate::config::{self, edit, redact};
use crate::protocol::frame::clip;
use crate::protocol::shape::{Kind, Shape, at_least, opt, req};
use crate::protocol::{RpcError, Scope};

const TEXT: Kind = Kind::NonEmpty;
/// Bytes of a name that an error repeats.
const MAX_SHOWN: usize = 128;
/// The shortest time that an installer may be given, in milliseconds.
const MIN_TIMEOUT_MS: i64 = 1000;

/// The family.
pub const METHODS: &[Method] = &[
    Method::new(
        "skills.status",
        Access::Operator(Scope::Read),
        Shape::strict(&[opt("agentId", TEXT)]),
        status,
        "the skills of an agent, and what each of them lacks",
    ),
    Method::new(
        "skills.bins",
        Access::Node,
        Shape::strict(&[]),
        bins,
        "the programs that skills of any agent speak of",
    ),
    Method::new(
        "skills.install",
        Access::Operator(Scope::Admin),
        Shape::strict(&[
            req("name", TEXT),
            req("installId", TEXT),
            opt("timeoutMs", at_least(MIN_TIMEOUT_MS)),
        ]),
        install,
        "fails: this gateway installs no software",
    ),
    Method::new(
        "skills.update",
        Access::Operator(Scope::Admin),
        Shape::strict(&[
            req("skillKey", TEXT),
            opt("enabled", Kind::Bool),
            opt("apiKey", Kind::Text),
            opt("env", Kind::Map(&Kind::Text)),
        ]),
        update,
        "switches a skill, sets its key and variables in the config; blank values delete",
    )
    .waits(),
];

/// The skills of an agent.
fn of_agent(call: &Call<'_>, agent: &str) -> Vec<Skill> {
    let gateway = call.gateway;
    let config = gateway.config.current();
    let workspace = config::agents::workspace(&config, &gateway.locations, agent);
    skills::load(&skills::folders(
        &config,
        &gateway.paths.skills(),
        &workspace,
    ))
}

fn status(call: &Call<'_>) -> Result<Reply, RpcError> {
    let agent = existing_agent(call)?;
    let gateway = call.gateway;
    let config = gateway.config.current();
    let list: Vec<Value> = of_agent(call, &agent)
        .iter()
        .map(|s| shown(call, s, &skills::gate(s, &config)))
        .collect();
    let workspace = config::agents::workspace(&config, &gateway.locations, &agent);
    Ok(Reply::Value(json!({
        "workspaceDir": call.path(&workspace),
        "managedSkillsDir": call.path(&gateway.paths.skills()),
        "skills": list,
    })))
}

fn shown(call: &Call<'_>, skill: &Skill, gate: &Gate) -> Value {
    let checks: Vec<Value> = gate
        .config
        .iter()
        .map(|(path, set)| json!({"path": path, "satisfied": set}))
        .collect();
    let mut v = json!({
        "name": skill.name,
        "description": skill.description,
        "source": skill.source.as_str(),
        "bundled": false,
        "filePath": call.path(&skill.file),
        "baseDir": call.path(&skill.dir),
        "skillKey": skill.key,
        "always": skill.always,
        "disabled": gate.disabled,
        "blockedByAllowlist": false,
        "eligible": gate.eligible,
        "requirements": requirements(&skill.requires),
        "missing": requirements(&gate.missing),
        "configChecks": checks,
        "install": skill.install.iter().map(installer).collect::<Vec<_>>(),
    });
    let optional = [
        ("emoji", &skill.emoji),
        ("homepage", &skill.homepage),
        ("primaryEnv", &skill.primary_env),
    ];
    for (key, value) in optional {
        if let Some(value) = value {
            v[key] = json!(value);
        }
    }
    v
}

fn requirements(r: &Requirements) -> Value {
    json!({
        "bins": r.bins, "anyBins": r.any_bins, "env": r.env, "config": r.config, "os": r.os,
    })
}

fn installer(i: &Installer) -> Value {
    json!({"id": i.id, "kind": i.kind, "label": i.label, "bins": i.bins})
}

fn bins(call: &Call<'_>) -> Result<Reply, RpcError> {
    let config = call.gateway.config.current();
    let mut all = std::collections::BTreeSet::new();
    for agent in config::agents::ids(&config) {
        all.extend(skills::bins(&of_agent(call, &agent)));
    }
    Ok(Reply::Value(json!({"bins": all})))
}

fn install(call: &Call<'_>) -> Result<Reply, RpcError> {
    let config = call.gateway.config.current();
    let name = call.text("name").unwrap_or_default();
    let id = call.text("installId").unwrap_or_default();
    let of_default = of_agent(call, &config::agents::default_id(&config));
    let skill = of_default.iter().find(|s| s.name == name || s.key == name);
    let why = match skill {
        None => format!("Skill not found: {}", clip(name, MAX_SHOWN)),
        Some(skill) => match skill.install.iter().find(|i| i.id == id) {
            None => format!("Installer not found: {}", clip(id, MAX_SHOWN)),
            Some(i) => format!(
                "this gateway installs no software; install {} yourself ({})",
                i.bins.join(", "),
                i.label
            ),
        },
    };
    let payload = json!({"ok": false, "message": why, "stdout": "", "stderr": "", "code": null});
    Err(RpcError::unavailable(why).with_payload(payload))
}

fn update(call: &Call<'_>) -> Result<Reply, RpcError> {
    let key = call.text("skillKey").unwrap_or_default();
    let mut entry = Map::new();
    if let Some(enabled) = call.bool("enabled") {
        entry.insert("enabled".into(), json!(enabled));
    }
    // Null deletes in a merge patch, and so does a blank text here.
    let text_or_null = |text: &str| match text.trim() {
        "" => Value::Null,
        text => json!(text),
    };
    if let Some(api_key) = call.str("apiKey") {
        entry.insert("apiKey".into(), text_or_null(api_key));
    }
    if let Some(env) = call.params.get("env").and_then(Value::as_object) {
        let blank = |v: &Value| text_or_null(v.as_str().unwrap_or_default());
        let env: Map<String, Value> = env
            .iter()
            .map(|(k, v)| (k.trim().to_string(), blank(v)))
            .collect();
        entry.insert("env".into(), Value::Object(env));
    }
    let patch = json!({"skills": {"entries": {key: entry}}});
    let config = call.gateway.edit_config("skills.update", |config| {
        edit::merge_patch(config, &patch).map_err(|e| RpcError::invalid(e.to_string()))
    })?;
    let now = config.get_in(&["skills", "entries", key]).cloned();
    let mut now = now.filter(Value::is_object).unwrap_or_else(|| json!({}));
    hide(&mut now);
    Ok(Reply::Value(
        json!({"ok": true, "skillKey": key, "config": now}),
    ))
}

/// Takes the secrets of a skill's entry away: its key, and every variable.
fn hide(entry: &mut Value) {
    if let Some(key) = entry.get_mut("apiKey") {
        *key = json!(redact::MARKER);
    }
    let env = entry.get_mut("env").and_then(Value::as_object_mut);
    for value in env.into_iter().flat_map(|e| e.values_mut()) {
        *value = json!(redact::MARKER);
    }
}
