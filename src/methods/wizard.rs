//! Onboarding over the wire: one wizard at a time, one typed step after the other.

use serde_json::{Value, json};

use super::{Access, Call, Method, Reply};
use crate::config::edit;
use crate::config::wizard::{Progress, Refusal, Wizard};
use crate::protocol::shape::{Kind, Shape, opt, req};
use crate::protocol::{RpcError, Scope};

const ADMIN: Access = Access::Operator(Scope::Admin);
const SESSION: Shape = Shape::strict(&[req("sessionId", Kind::NonEmpty)]);
const ANSWER: Shape = Shape::strict(&[req("stepId", Kind::NonEmpty), opt("value", Kind::Any)]);

/// The family.
pub const METHODS: &[Method] = &[
    Method::new(
        "wizard.start",
        ADMIN,
        Shape::strict(&[
            opt("mode", Kind::OneOf(&["local", "remote"])),
            opt("workspace", Kind::Text),
        ]),
        start,
        "begins the onboarding; only one at a time",
    ),
    Method::new(
        "wizard.next",
        ADMIN,
        Shape::strict(&[
            req("sessionId", Kind::NonEmpty),
            opt("answer", Kind::Object(&ANSWER)),
        ]),
        next,
        "answers a step and gives the next; the last one writes the config",
    )
    .waits(),
    Method::new(
        "wizard.cancel",
        ADMIN,
        SESSION,
        cancel,
        "ends the onboarding; nothing is written",
    ),
    Method::new(
        "wizard.status",
        ADMIN,
        SESSION,
        status,
        "whether the onboarding is under way",
    ),
];

fn start(call: &Call<'_>) -> Result<Reply, RpcError> {
    let config = call.gateway.config.current();
    let wizard = Wizard::start(&config, call.text("mode"), call.text("workspace"));
    let step = wizard.step();
    let begun = call.gateway.onboarding.begin(wizard);
    let id = begun.ok_or_else(|| RpcError::unavailable("wizard already running"))?;
    Ok(Reply::Value(json!({
        "sessionId": id, "done": false, "step": step, "status": "running",
    })))
}

fn next(call: &Call<'_>) -> Result<Reply, RpcError> {
    let id = call.str("sessionId").unwrap_or_default();
    let answer = call.params.get("answer");
    let taken = call.gateway.onboarding.with(id, |wizard| {
        let progress = match answer {
            None => Progress::Asks,
            Some(a) => {
                let step = a["stepId"].as_str().unwrap_or_default();
                wizard.answer(step, &a["value"])?
            }
        };
        Ok((progress, wizard.step()))
    });
    let (progress, step) = taken
        .ok_or_else(not_found)?
        .map_err(|e: Refusal| RpcError::invalid(format!("Error: {e}")))?;
    let done = |status: &str| json!({"done": true, "status": status});
    Ok(Reply::Value(match progress {
        Progress::Asks => json!({"done": false, "step": step, "status": "running"}),
        Progress::Stopped => {
            call.gateway.onboarding.end(id);
            let mut v = done("cancelled");
            v["error"] = json!("cancelled");
            v
        }
        Progress::Done(patch) => {
            // A patch that cannot be written leaves the wizard at its last step.
            write(call, &patch)?;
            call.gateway.onboarding.end(id);
            done("done")
        }
    }))
}

fn write(call: &Call<'_>, patch: &Value) -> Result<(), RpcError> {
    call.gateway.edit_config("wizard", |config| {
        edit::merge_patch(config, patch).map_err(|e| RpcError::invalid(e.to_string()))
    })?;
    Ok(())
}

fn cancel(call: &Call<'_>) -> Result<Reply, RpcError> {
    let id = call.str("sessionId").unwrap_or_default();
    match call.gateway.onboarding.end(id) {
        true => Ok(Reply::Value(
            json!({"status": "cancelled", "error": "cancelled"}),
        )),
        false => Err(not_found()),
    }
}

fn status(call: &Call<'_>) -> Result<Reply, RpcError> {
    let id = call.str("sessionId").unwrap_or_default();
    let running = call.gateway.onboarding.with(id, |_| ());
    running.ok_or_else(not_found)?;
    Ok(Reply::Value(json!({"status": "running"})))
}

fn not_found() -> RpcError {
    RpcError::invalid("wizard not found")
}
