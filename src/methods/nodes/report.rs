//! `node.event`: what nodes report of their own accord.
//!
//! A report is acknowledged whatever it says.

use super::super::{Call, Reply, ok};
use crate::protocol::RpcError;

pub fn event(_: &Call<'_>) -> Result<Reply, RpcError> {
    ok()
}
