//! Agents: making, changing and removing them, and the files of their workspaces.

mod files;
mod remove;

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Access, Call, Method, Reply};
use crate::config::{self, Config, edit};
use crate::protocol::frame::clip;
use crate::protocol::shape::{Kind, Shape, opt, req};
use crate::protocol::{RpcError, Scope};
use crate::sys::file;
use crate::sys::folder::Folder;

const ADMIN: Access = Access::Operator(Scope::Admin);
const READ: Access = Access::Operator(Scope::Read);
const TEXT: Kind = Kind::NonEmpty;
/// Longest name, model or avatar, in bytes.
const MAX_TEXT: usize = 256;
/// Who the agent is, in its workspace; what is learned about it is appended.
const IDENTITY: &str = "IDENTITY.md";
/// Bytes that [`IDENTITY`] may grow to.
const MAX_IDENTITY: u64 = 64 * 1024;

/// The family.
pub const METHODS: &[Method] = &[
    Method::new(
        "agents.create",
        ADMIN,
        Shape::strict(&[
            req("name", TEXT),
            req("workspace", TEXT),
            opt("emoji", Kind::Text),
            opt("avatar", Kind::Text),
        ]),
        create,
        "adds an agent to the config and makes its workspace",
    )
    .waits(),
    Method::new(
        "agents.update",
        ADMIN,
        Shape::strict(&[
            req("agentId", TEXT),
            opt("name", TEXT),
            opt("workspace", TEXT),
            opt("model", TEXT),
            opt("avatar", TEXT),
        ]),
        update,
        "changes an agent in the config",
    )
    .waits(),
    Method::new(
        "agents.delete",
        ADMIN,
        Shape::strict(&[req("agentId", TEXT), opt("deleteFiles", Kind::Bool)]),
        remove::delete,
        "takes an agent out of the config and puts its files aside",
    )
    .waits(),
    Method::new(
        "agents.files.list",
        READ,
        Shape::strict(&[req("agentId", TEXT)]),
        files::list,
        "the workspace files that prompts are made of",
    ),
    Method::new(
        "agents.files.get",
        READ,
        Shape::strict(&[req("agentId", TEXT), req("name", TEXT)]),
        files::get,
        "one of those files",
    ),
    Method::new(
        "agents.files.set",
        ADMIN,
        Shape::strict(&[
            req("agentId", TEXT),
            req("name", TEXT),
            req("content", Kind::Text),
        ]),
        files::set,
        "replaces one of those files",
    ),
];

fn create(call: &Call<'_>) -> Result<Reply, RpcError> {
    let name = line(call.text("name").unwrap_or_default());
    let id = config::agents::normalise(&name);
    if id == config::agents::MAIN {
        return Err(RpcError::invalid("\"main\" is reserved"));
    }
    let locations = &call.gateway.locations;
    let workspace = locations.expand(call.text("workspace").unwrap_or_default());
    prepare(&workspace)?;
    let agent_dir = call.gateway.paths.agent_dir(&id);
    call.gateway.edit_config("agents.create", |config| {
        if config::agents::exists(config, &id) {
            let text = format!("agent \"{id}\" already exists");
            return Err(RpcError::invalid(text));
        }
        let entry = json!({
            "id": id, "name": name, "workspace": workspace, "agentDir": agent_dir,
        });
        patched(config, entry)
    })?;
    file::make_private_dir(&agent_dir).map_err(|e| files::failed("agent", &e))?;
    let facts = [
        ("Name", Some(name.as_str())),
        ("Emoji", call.text("emoji")),
        ("Avatar", call.text("avatar")),
    ];
    note(&workspace, &facts)?;
    Ok(Reply::Value(
        json!({"ok": true, "agentId": id, "name": name, "workspace": workspace}),
    ))
}

fn update(call: &Call<'_>) -> Result<Reply, RpcError> {
    let id = config::agents::normalise(call.text("agentId").unwrap_or_default());
    let locations = &call.gateway.locations;
    let moved = call.text("workspace").map(|w| locations.expand(w));
    if let Some(workspace) = &moved {
        prepare(workspace)?;
    }
    let config = call.gateway.edit_config("agents.update", |config| {
        if !config::agents::exists(config, &id) {
            return Err(not_found(&id));
        }
        let mut entry = Map::new();
        entry.insert("id".into(), json!(id));
        if let Some(name) = call.text("name") {
            entry.insert("name".into(), json!(line(name)));
        }
        if let Some(workspace) = &moved {
            entry.insert("workspace".into(), json!(workspace));
        }
        if let Some(model) = call.text("model") {
            entry.insert("model".into(), model_of(config, &id, &line(model)));
        }
        patched(config, Value::Object(entry))
    })?;
    if let Some(avatar) = call.text("avatar") {
        let workspace = config::agents::workspace(&config, locations, &id);
        prepare(&workspace)?;
        note(&workspace, &[("Avatar", Some(avatar))])?;
    }
    Ok(Reply::Value(json!({"ok": true, "agentId": id})))
}

/// The text of the config with `entry` merged into `agents.list`, which then names every agent there is.
fn patched(config: &Config, entry: Value) -> Result<String, RpcError> {
    let listed = config.get_in(&["agents", "list"]).and_then(Value::as_array);
    let mut list = Vec::new();
    if listed.is_none_or(Vec::is_empty) && entry["id"] != config::agents::MAIN {
        // The agent that is there without being listed stays the default one.
        list.push(json!({"id": config::agents::MAIN}));
    }
    list.push(entry);
    let patch = json!({"agents": {"list": list}});
    edit::merge_patch(config, &patch).map_err(|e| RpcError::invalid(e.to_string()))
}

/// The model setting of an agent with another primary model; fallbacks stay.
fn model_of(config: &Config, id: &str, model: &str) -> Value {
    let list = config.get_in(&["agents", "list"]).and_then(Value::as_array);
    let own = list
        .into_iter()
        .flatten()
        .find(|a| config::agents::normalise(a["id"].as_str().unwrap_or_default()) == id);
    match own.map(|a| &a["model"]) {
        Some(Value::Object(_)) => json!({"primary": model}),
        _ => json!(model),
    }
}

/// Makes a workspace, and looks whether what will be written to it may be.
fn prepare(workspace: &Path) -> Result<(), RpcError> {
    let failed = |e: std::io::Error| files::failed(IDENTITY, &e);
    file::make_private_dir(workspace).map_err(failed)?;
    Folder::open(workspace)
        .and_then(|f| f.entry(IDENTITY))
        .map_err(failed)?;
    Ok(())
}

/// Appends facts to IDENTITY.md of a workspace.
fn note(workspace: &Path, facts: &[(&str, Option<&str>)]) -> Result<(), RpcError> {
    let failed = |e: std::io::Error| files::failed(IDENTITY, &e);
    let folder = Folder::open(workspace).map_err(failed)?;
    let known = match folder.entry(IDENTITY).map_err(failed)? {
        Some(_) => folder.read(IDENTITY, MAX_IDENTITY).map_err(failed)?,
        None => Vec::new(),
    };
    let mut text = known;
    text.push(b'\n');
    for (key, value) in facts {
        if let Some(value) = value {
            text.extend_from_slice(format!("- {key}: {}\n", line(value)).as_bytes());
        }
    }
    if text.len() as u64 > MAX_IDENTITY {
        return Err(RpcError::invalid(format!(
            "{IDENTITY} is full: shorten it to less than {MAX_IDENTITY} bytes"
        )));
    }
    folder.write(IDENTITY, &text).map_err(failed)?;
    Ok(())
}

/// A text on one line, bounded: it goes into the config and into a prompt.
fn line(text: &str) -> String {
    let plain: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    clip(plain.trim(), MAX_TEXT).to_string()
}

fn not_found(id: &str) -> RpcError {
    RpcError::invalid(format!("agent \"{}\" not found", clip(id, MAX_TEXT)))
}
