//! `logs.tail`: the gateway's own log, in pages.

use serde_json::json;

use super::{Access, Call, Method, Reply};
use crate::protocol::shape::{Kind, Shape, at_least, opt};
use crate::protocol::{RpcError, Scope};
use crate::sys::log::{self, tail};

/// The family.
pub const METHODS: &[Method] = &[Method::new(
    "logs.tail",
    Access::Operator(Scope::Read),
    Shape::strict(&[
        opt("cursor", at_least(0)),
        opt("limit", Kind::Int(1, tail::MAX_LINES as i64)),
        opt("maxBytes", Kind::Int(1, tail::MAX_BYTES as i64)),
    ]),
    read,
    "whole lines of the log file from a byte cursor on",
)];

fn read(call: &Call<'_>) -> Result<Reply, RpcError> {
    let path =
        log::path().ok_or_else(|| RpcError::unavailable("the gateway writes no log file"))?;
    let limit = call
        .u64("limit")
        .map_or(tail::DEFAULT_LINES, |n| n as usize);
    let max_bytes = call.u64("maxBytes").unwrap_or(tail::DEFAULT_BYTES);
    let page = tail::read(&path, call.u64("cursor"), limit, max_bytes)
        .map_err(|e| RpcError::unavailable(format!("log file {}: {e}", path.display())))?;
    Ok(Reply::Value(json!({
        "file": path,
        "cursor": page.cursor,
        "size": page.size,
        "lines": page.lines,
        "truncated": page.truncated,
        "reset": page.reset,
    })))
}
