//! Messaging channels: their state.

use serde_json::json;

use super::{Access, Call, Method, Reply};
use crate::protocol::shape::{Kind, Shape, at_least, opt};
use crate::protocol::{RpcError, Scope};
use crate::sys::clock;

/// The family.
pub const METHODS: &[Method] = &[Method::new(
    "channels.status",
    Access::Operator(Scope::Read),
    Shape::strict(&[opt("probe", Kind::Bool), opt("timeoutMs", at_least(0))]),
    status,
    "the configured channels and their accounts; probe asks the platforms",
)];

fn status(_: &Call<'_>) -> Result<Reply, RpcError> {
    Ok(Reply::Value(json!({
        "ts": clock::now_ms(),
        "channelOrder": [],
        "channelLabels": {},
        "channelDetailLabels": {},
        "channelSystemImages": {},
        "channelMeta": [],
        "channels": {},
        "channelAccounts": {},
        "channelDefaultAccountId": {},
    })))
}
