//! Taking an agent out of the config. Its files are moved to `trash` in the state directory, never deleted.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::super::{Call, Reply};
use super::not_found;
use crate::config::{self, Config, edit};
use crate::protocol::RpcError;
use crate::sys::{clock, file};

pub fn delete(call: &Call<'_>) -> Result<Reply, RpcError> {
    let gateway = call.gateway;
    let id = config::agents::normalise(call.text("agentId").unwrap_or_default());
    if id == config::agents::MAIN {
        return Err(RpcError::invalid("\"main\" cannot be deleted"));
    }
    let mut workspace = None;
    let mut removed = 0;
    // Bindings first: a config that binds to an agent that is not there is not valid.
    gateway.edit_config("agents.delete", |config| {
        let at = place(config, &id).ok_or_else(|| not_found(&id))?;
        workspace = own_workspace(config, at, call);
        let kept = bindings(config, &id);
        removed = count(config) - kept.len();
        match removed {
            0 => without_agent(config, at),
            _ => set(config, &["bindings"], json!(kept)),
        }
    })?;
    if removed > 0 {
        gateway.edit_config("agents.delete", |config| {
            let at = place(config, &id).ok_or_else(|| not_found(&id))?;
            without_agent(config, at)
        })?;
    }
    if call.bool("deleteFiles") != Some(false) {
        let after = gateway.config.current();
        let workspace = workspace.filter(|w| may_go(call, &after, w));
        put_aside(call, &id, workspace.as_deref());
    }
    Ok(Reply::Value(
        json!({"ok": true, "agentId": id, "removedBindings": removed}),
    ))
}

/// Where the agent stands in `agents.list`.
fn place(config: &Config, id: &str) -> Option<usize> {
    let list = config.get_in(&["agents", "list"])?.as_array()?;
    let same = |a: &Value| config::agents::normalise(a["id"].as_str().unwrap_or_default()) == id;
    list.iter().position(same)
}

fn own_workspace(config: &Config, at: usize, call: &Call<'_>) -> Option<PathBuf> {
    let entry = config.get_in(&["agents", "list"])?.get(at)?;
    let own = entry["workspace"]
        .as_str()
        .map(str::trim)
        .filter(|w| !w.is_empty())?;
    Some(call.gateway.locations.expand(own))
}

fn count(config: &Config) -> usize {
    let bindings = config.get_in(&["bindings"]).and_then(Value::as_array);
    bindings.map_or(0, Vec::len)
}

/// The bindings to other agents.
fn bindings(config: &Config, id: &str) -> Vec<Value> {
    let all = config.get_in(&["bindings"]).and_then(Value::as_array);
    let to_it = |b: &&Value| {
        b["agentId"]
            .as_str()
            .is_some_and(|a| config::agents::normalise(a) == id)
    };
    all.into_iter()
        .flatten()
        .filter(|b| !to_it(b))
        .cloned()
        .collect()
}

fn without_agent(config: &Config, at: usize) -> Result<String, RpcError> {
    let steps = ["agents", "list", &at.to_string()].map(str::to_string);
    edit::unset(config, &steps).map_err(|e| RpcError::invalid(e.to_string()))
}

fn set(config: &Config, steps: &[&str], value: Value) -> Result<String, RpcError> {
    let steps: Vec<String> = steps.iter().map(|s| s.to_string()).collect();
    edit::set(config, &steps, &value).map_err(|e| RpcError::invalid(e.to_string()))
}

/// Whether a workspace was that agent's alone, and holds nothing else of this gateway.
fn may_go(call: &Call<'_>, config: &Config, workspace: &Path) -> bool {
    let locations = &call.gateway.locations;
    let real = |p: &Path| fs::canonicalize(p).unwrap_or_else(|_| p.to_path_buf());
    let workspace = real(workspace);
    let others = config::agents::ids(config);
    let shared = others.iter().any(|id| {
        let other = real(&config::agents::workspace(config, locations, id));
        other.starts_with(&workspace) || workspace.starts_with(&other)
    });
    let holds = |p: &Path| real(p).starts_with(&workspace);
    !shared
        && !holds(&locations.home)
        && !holds(&locations.state_dir)
        && !holds(&locations.config_path)
}

/// Moves the agent's folder, and its workspace if it has one of its own, to the trash. What cannot be moved
/// stays where it is, and the log says so: the agent is gone from the config in any case.
fn put_aside(call: &Call<'_>, id: &str, workspace: Option<&Path>) {
    let paths = &call.gateway.paths;
    let stamp = clock::iso(clock::now_ms()).replace(':', "-");
    let trash = paths.root().join("trash").join(format!("{id}.{stamp}"));
    let folder = paths.agent(id);
    let moves = [(Some(folder.as_path()), "agent"), (workspace, "workspace")];
    for (from, name) in moves {
        let Some(from) = from.filter(|f| f.exists()) else {
            continue;
        };
        let to = trash.join(name);
        let moved = file::make_private_dir(&trash).and_then(|()| fs::rename(from, &to));
        match moved {
            Ok(()) => {
                log::info!(target: "gateway", "agent {id}: {} moved to {}", from.display(), to.display())
            }
            Err(e) => log::warn!(target: "gateway", "agent {id}: {} stays: {e}", from.display()),
        }
    }
}
