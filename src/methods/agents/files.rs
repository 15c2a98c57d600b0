//! The files of an agent's workspace that a prompt is made of.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::super::{Call, Reply};
use crate::config;
use crate::protocol::RpcError;
use crate::protocol::frame::clip;
use crate::sys::file;
use crate::sys::folder::{Entry, Folder};

/// The files that are listed.
const NAMES: &[&str] = &[
    "AGENTS.md",
    "SOUL.md",
    "TOOLS.md",
    "IDENTITY.md",
    "USER.md",
    "HEARTBEAT.md",
    "BOOTSTRAP.md",
    "MEMORY.md",
];
/// Read and written as well, when asked for by name.
const OTHER_NAMES: &[&str] = &["memory.md"];
/// The largest file, in bytes.
const MAX_FILE: u64 = 2 * 1024 * 1024;
/// Bytes of a name that an error repeats.
const MAX_SHOWN: usize = 128;

/// An agent's workspace.
struct Place {
    agent: String,
    path: PathBuf,
}

fn place(call: &Call<'_>) -> Result<Place, RpcError> {
    let config = call.gateway.config.current();
    let id = call.text("agentId").unwrap_or_default();
    if id.is_empty() || !config::agents::exists(&config, id) {
        return Err(RpcError::invalid("unknown agent id"));
    }
    let agent = config::agents::normalise(id);
    let path = config::agents::workspace(&config, &call.gateway.locations, &agent);
    Ok(Place { agent, path })
}

/// The name asked for, if it is one of those that may be touched.
fn name<'c>(call: &'c Call<'_>) -> Result<&'c str, RpcError> {
    let name = call.str("name").unwrap_or_default();
    match NAMES.contains(&name) || OTHER_NAMES.contains(&name) {
        true => Ok(name),
        false => Err(RpcError::invalid(format!(
            "unsupported file \"{}\"",
            clip(name, MAX_SHOWN)
        ))),
    }
}

pub fn list(call: &Call<'_>) -> Result<Reply, RpcError> {
    let place = place(call)?;
    let folder = Folder::open(&place.path).ok();
    let files: Vec<Value> = NAMES
        .iter()
        .map(|name| {
            // What is no plain file is as good as missing: nobody reads it.
            let entry = folder.as_ref().and_then(|f| f.entry(name).ok().flatten());
            shown(call, &place.path, name, entry)
        })
        .collect();
    Ok(Reply::Value(json!({
        "agentId": place.agent, "workspace": call.path(&place.path), "files": files,
    })))
}

pub fn get(call: &Call<'_>) -> Result<Reply, RpcError> {
    let place = place(call)?;
    let name = name(call)?;
    let mut shown_file = shown(call, &place.path, name, None);
    if let Ok(folder) = Folder::open(&place.path)
        && let Some(entry) = folder.entry(name).map_err(|e| failed(name, &e))?
    {
        let bytes = folder.read(name, MAX_FILE).map_err(|e| failed(name, &e))?;
        shown_file = shown(call, &place.path, name, Some(entry));
        shown_file["content"] = json!(String::from_utf8_lossy(&bytes));
    }
    Ok(Reply::Value(json!({
        "agentId": place.agent, "workspace": call.path(&place.path), "file": shown_file,
    })))
}

pub fn set(call: &Call<'_>) -> Result<Reply, RpcError> {
    let place = place(call)?;
    let name = name(call)?;
    let content = call.str("content").unwrap_or_default();
    if content.len() as u64 > MAX_FILE {
        return Err(too_large(name));
    }
    file::make_private_dir(&place.path).map_err(|e| failed(name, &e))?;
    let folder = Folder::open(&place.path).map_err(|e| failed(name, &e))?;
    let entry = folder
        .write(name, content.as_bytes())
        .map_err(|e| failed(name, &e))?;
    let mut file = shown(call, &place.path, name, Some(entry));
    file["content"] = json!(content);
    Ok(Reply::Value(json!({
        "ok": true, "agentId": place.agent, "workspace": call.path(&place.path), "file": file,
    })))
}

fn shown(call: &Call<'_>, workspace: &Path, name: &str, entry: Option<Entry>) -> Value {
    let mut v = json!({"name": name, "path": call.path(&workspace.join(name)), "missing": true});
    if let Some(entry) = entry {
        v["missing"] = json!(false);
        v["size"] = json!(entry.size);
        v["updatedAtMs"] = json!(entry.modified_ms);
    }
    v
}

/// A file that may not be touched is the caller's problem (FP-01), a full disk is ours.
pub fn failed(name: &str, e: &std::io::Error) -> RpcError {
    match e.kind() {
        std::io::ErrorKind::InvalidInput => {
            RpcError::invalid(format!("unsafe workspace file \"{name}\": {e}"))
        }
        std::io::ErrorKind::FileTooLarge => too_large(name),
        _ => RpcError::unavailable(format!("workspace file \"{name}\": {e}")),
    }
}

fn too_large(name: &str) -> RpcError {
    RpcError::invalid(format!("file \"{name}\" is larger than {MAX_FILE} bytes"))
}
