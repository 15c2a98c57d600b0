//! `models.list`: the models that can be chosen.

use serde_json::{Value, json};

use super::{Access, Call, Method, Reply};
use crate::agent::models;
use crate::protocol::shape::Shape;
use crate::protocol::{RpcError, Scope};

/// The family.
pub const METHODS: &[Method] = &[Method::new(
    "models.list",
    Access::Operator(Scope::Read),
    Shape::strict(&[]),
    list,
    "the configured models and the built-in one",
)];

fn list(call: &Call<'_>) -> Result<Reply, RpcError> {
    let config = call.gateway.config.current();
    let models: Vec<Value> = models::catalog(&config)
        .iter()
        .map(|m| m.to_value())
        .collect();
    Ok(Reply::Value(json!({"models": models})))
}
