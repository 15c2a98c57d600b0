//! HTTP/1.1 on the gateway's port: heads, bodies, answers, and the routes.
//!
//! A connection thread reads a head with [`head::read_head`]; a WebSocket upgrade goes to the gateway's
//! handshake, everything else to [`serve::serve`]. `tiny_http` supplies the vocabulary only (`Method`, `Header`,
//! `StatusCode`): its server has no deadlines or bounds, and its writer names itself in a `Server` header
//! and decides about `Connection` on its own.

mod assistant;
pub mod auth;
pub mod body;
mod control_ui;
pub mod head;
pub mod response;
pub mod routes;
pub mod serve;
pub mod socket;
pub mod upgrade;

pub use body::BodyError;
pub use head::Head;
pub use response::Response;
pub use routes::{Host, Site};
pub use serve::{Limits, Peer, Request, Routes, Served, serve};
