//! Messaging channels: their state.

use serde_json::json;

use super::{Access, Call, Method, Reply};
use crate::protocol::shape::{Kind, Shape, at_least, opt, req};
use crate::protocol::{RpcError, Scope};
use crate::sys::clock;

/// The family.
pub const METHODS: &[Method] = &[
    Method::new(
        "channels.status",
        Access::Operator(Scope::Read),
        Shape::strict(&[opt("probe", Kind::Bool), opt("timeoutMs", at_least(0))]),
        status,
        "the configured channels and their accounts; probe asks the platforms",
    ),
    Method::new(
        "channels.logout",
        Access::Operator(Scope::Admin),
        Shape::strict(&[req("channel", Kind::NonEmpty), opt("accountId", Kind::Text)]),
        logout,
        "forgets the login of a channel account",
    ),
];

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

/// There is no channel that one could be logged in to.
fn logout(_: &Call<'_>) -> Result<Reply, RpcError> {
    Err(RpcError::invalid("invalid channels.logout channel"))
}
