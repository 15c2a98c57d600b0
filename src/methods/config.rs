//! The configuration over the wire: reading it without secrets, and its schema.

use serde_json::{Value, json};

use super::{Access, Call, Method, Reply};
use crate::VERSION;
use crate::config::plan::{Mode, Plan};
use crate::config::{self, Issue, redact};
use crate::gateway::Request;
use crate::protocol::shape::{Kind, Shape, opt};
use crate::protocol::{RpcError, Scope};
use crate::sys::clock;

const ADMIN: Access = Access::Operator(Scope::Admin);

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
