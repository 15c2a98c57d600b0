//! The configuration over the wire: reading it without secrets, its schema, and editing it.
//!
//! An edit says from which text it started (`baseHash`), so that nobody overwrites what he has not seen.
//! Markers that stand for secrets are put back; comments, order and references stay.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Access, Call, Method, Reply};
use crate::VERSION;
use crate::config::plan::{Mode, Plan};
use crate::config::redact::RestoreError;
use crate::config::write::{WriteError, Written, write};
use crate::config::{self, Config, Issue, edit, json5, redact};
use crate::gateway::Request;
use crate::protocol::shape::{Field, Kind, Shape, at_least, opt, req};
use crate::protocol::{RpcError, Scope};
use crate::state::sentinel::Sentinel;
use crate::sys::clock;

const ADMIN: Access = Access::Operator(Scope::Admin);

/// Delay of a restart when the caller does not say, in milliseconds.
const RESTART_DELAY_MS: u64 = 2000;

const EDIT: &[Field] = &[
    req("raw", Kind::NonEmpty),
    opt("baseHash", Kind::NonEmpty),
    opt("sessionKey", Kind::Text),
    opt("note", Kind::Text),
    opt("restartDelayMs", at_least(0)),
];

/// The family.
pub const METHODS: &[Method] = &[
    Method::new(
        "config.get",
        Access::Operator(Scope::Read),
        Shape::strict(&[]),
        get,
        "the config file as text and as values, without secrets, and its hash",
    ),
    Method::new(
        "config.set",
        ADMIN,
        Shape::strict(&[req("raw", Kind::NonEmpty), opt("baseHash", Kind::NonEmpty)]),
        set,
        "replaces the file; a running gateway takes it over as gateway.reload.mode says",
    ),
    Method::new(
        "config.apply",
        ADMIN,
        Shape::strict(EDIT),
        apply,
        "replaces the file and restarts the gateway",
    ),
    Method::new(
        "config.patch",
        ADMIN,
        Shape::strict(EDIT),
        patch,
        "merges an object into the file (null deletes, lists merge by id) and restarts the gateway",
    ),
    Method::new(
        "config.schema",
        ADMIN,
        Shape::strict(&[]),
        schema,
        "JSON schema of the config and hints for editors",
    ),
    Method::new(
        "config.reload",
        ADMIN,
        Shape::strict(&[opt("dryRun", Kind::Bool)]),
        reload,
        "let the gateway read the config file now, or with dryRun only say what that would change",
    )
    .unlisted(),
];

/// Issues as the wire shows them.
pub fn issues(list: &[Issue]) -> Value {
    list.iter()
        .map(|i| json!({"path": i.path, "message": i.message}))
        .collect()
}

fn get(call: &Call<'_>) -> Result<Reply, RpcError> {
    // The file itself, not what runs: an editor wants to see what it would overwrite.
    let loaded = config::load(&call.gateway.locations);
    let (config, valid) = (loaded.config, loaded.issues.is_empty());
    let shown = |v: &Value| if valid { redact::value(v) } else { json!({}) };
    let raw = config
        .raw()
        .filter(|_| valid)
        .map(|text| redact::text(text, &config));
    Ok(Reply::Value(json!({
        "path": config.path(),
        "exists": config.exists(),
        "raw": raw,
        "parsed": if valid { redact::value(config.parsed()) } else { Value::Null },
        "resolved": shown(config.resolved()),
        "valid": valid,
        "config": shown(config.effective()),
        "hash": config.hash(),
        "issues": issues(&loaded.issues),
        "warnings": issues(config.warnings()),
        "legacyIssues": [],
    })))
}

/// What differs between the config in force and the file, and what becomes of it.
fn reload(call: &Call<'_>) -> Result<Reply, RpcError> {
    let dry = call.params["dryRun"] == true;
    let loaded = config::load(&call.gateway.locations);
    if !loaded.issues.is_empty() {
        let details = json!({"issues": issues(&loaded.issues)});
        return Err(RpcError::invalid("invalid config").with_details(details));
    }
    let plan = Plan::between(&call.gateway.config.current(), &loaded.config);
    let mode = Mode::of(&loaded.config);
    if !dry {
        call.gateway.request(Request::Reload);
    }
    let changes: Vec<_> = plan
        .changes
        .iter()
        .map(|(path, effect)| json!({"path": path, "effect": effect.about()}))
        .collect();
    Ok(Reply::Value(json!({
        "dryRun": dry,
        "mode": mode.as_str(),
        "action": plan.decide(mode).as_str(),
        "changes": changes,
    })))
}

fn schema(_: &Call<'_>) -> Result<Reply, RpcError> {
    Ok(Reply::Value(json!({
        "schema": config::schema::json_schema(),
        "uiHints": config::schema::ui_hints(),
        "version": VERSION,
        "generatedAt": clock::iso(clock::now_ms()),
    })))
}

/// The config that an edit starts from: it has to be the one whose hash the caller gives.
fn base(call: &Call<'_>) -> Result<std::sync::Arc<Config>, RpcError> {
    let loaded = config::load(&call.gateway.locations);
    let hash = call.text("baseHash");
    if loaded.config.exists() {
        match hash {
            None => {
                return Err(RpcError::invalid(
                    "config base hash required; re-run config.get and retry",
                ));
            }
            Some(h) if h != loaded.config.hash() => return Err(refused(&WriteError::Changed)),
            Some(_) => {}
        }
    }
    if !loaded.issues.is_empty() {
        let error = RpcError::invalid("invalid config; fix before patching");
        return Err(error.with_details(json!({"issues": issues(&loaded.issues)})));
    }
    Ok(loaded.config)
}

fn refused(e: &WriteError) -> RpcError {
    match e {
        WriteError::Invalid(found) => {
            RpcError::invalid("invalid config").with_details(json!({"issues": issues(found)}))
        }
        WriteError::Syntax(e) => syntax(e),
        WriteError::Io(..) => RpcError::unavailable(e.to_string()),
        WriteError::Changed | WriteError::Edit(_) => RpcError::invalid(e.to_string()),
    }
}

fn syntax(e: &json5::SyntaxError) -> RpcError {
    RpcError::invalid(e.to_string())
}

/// Replaces the file by the text of the call, secrets put back.
fn replace(call: &Call<'_>) -> Result<Written, RpcError> {
    let old = base(call)?;
    let raw = call.str("raw").unwrap_or_default();
    json5::parse(raw).map_err(|e| syntax(&e))?;
    let text = redact::restore_text(raw, &old).map_err(|e| match e {
        RestoreError::Syntax(e) => syntax(&e),
        marker => RpcError::invalid(marker.to_string()),
    })?;
    save(call, &old, &text)
}

fn save(call: &Call<'_>, old: &Config, text: &str) -> Result<Written, RpcError> {
    let expected = old.exists().then(|| old.hash());
    let actor = format!("{}:{}", call.client.client_id(), call.client.address);
    let written =
        write(&call.gateway.locations, expected, text, &actor).map_err(|e| refused(&e))?;
    for notice in &written.notices {
        log::warn!(target: "config", "{notice}");
    }
    Ok(written)
}

fn answer(written: &Written) -> Value {
    let config = &written.config;
    json!({"ok": true, "path": config.path(), "config": redact::value(config.effective())})
}

fn set(call: &Call<'_>) -> Result<Reply, RpcError> {
    let written = replace(call)?;
    Ok(Reply::Value(answer(&written)))
}

fn apply(call: &Call<'_>) -> Result<Reply, RpcError> {
    let written = replace(call)?;
    restart(call, &written, "config.apply", "config-apply")
}

fn patch(call: &Call<'_>) -> Result<Reply, RpcError> {
    let old = base(call)?;
    let patch = json5::value(call.str("raw").unwrap_or_default()).map_err(|e| syntax(&e))?;
    if !patch.is_object() {
        return Err(RpcError::invalid("config.patch raw must be an object"));
    }
    let patch = redact::restore(&patch, &old).map_err(|e| RpcError::invalid(e.to_string()))?;
    let text = edit::merge_patch(&old, &patch).map_err(|e| refused(&WriteError::Edit(e)))?;
    let written = save(call, &old, &text)?;
    restart(call, &written, "config.patch", "config-patch")
}

/// Leaves a report for after the restart, and has the gateway restart.
fn restart(
    call: &Call<'_>,
    written: &Written,
    method: &str,
    kind: &str,
) -> Result<Reply, RpcError> {
    let gateway = call.gateway;
    let delay = Duration::from_millis(call.u64("restartDelayMs").unwrap_or(RESTART_DELAY_MS));
    let root = written.config.path();
    let report = Sentinel::new(kind, "ok", method)
        .with("sessionKey", call.text("sessionKey"))
        .with("message", call.text("note"))
        .with("doctorHint", Some("Run: openclaw doctor --non-interactive"))
        .with("stats", Some(json!({"mode": method, "root": root})));
    if let Err(e) = report.write(&gateway.paths) {
        log::warn!(target: "config", "no report will follow the restart: {e}");
    }
    let scheduled = gateway.schedule_restart(delay, method);
    log::info!(
        target: "config",
        "{method} write actor={} device={} ip={} restart in {}ms",
        call.client.client_id(),
        call.client.device_id.as_deref().unwrap_or("none"),
        call.client.address,
        scheduled.delay.as_millis(),
    );
    let mut out = answer(written);
    out["restart"] = json!({
        "ok": true,
        "pid": std::process::id(),
        "signal": "SIGUSR1",
        "delayMs": scheduled.delay.as_millis() as u64,
        "reason": method,
        "mode": "emit",
        "coalesced": scheduled.coalesced,
        "cooldownMsApplied": scheduled.cooldown.as_millis() as u64,
    });
    out["sentinel"] = sentinel(&gateway.paths.restart_sentinel(), &report);
    Ok(Reply::Value(out))
}

fn sentinel(path: &Path, report: &Sentinel) -> Value {
    json!({"path": path, "payload": report.payload()})
}
