//! The OpenClaw gateway: one synchronous process behind a personal AI assistant.
//!
//! The rooms, and which may lean on which (arrows point to what is used):
//!
//! ```text
//! sys        the operating system: files, clock, ids, processes, ports, log sink
//! protocol   wire types of the WebSocket protocol; pure data             -> sys
//! config     find, parse, check, edit, redact, plan a reload, watch      -> sys
//! state      what lives in the state directory                           -> config, sys
//! agent      an agent run: lanes, prompt, model providers                -> state, config
//! nodes      connected nodes, invoke, exec approvals                     -> protocol, config
//! schedule   cron and heartbeat                                          -> state, config
//! gateway    the running process: listener, connections, hub, auth       -> agent, nodes, schedule
//! methods    RPC methods, one file a family, and their table             -> gateway
//! http       HTTP routes, one file a route family                        -> gateway
//! client     blocking RPC client of the CLI and the tests                -> protocol, state
//! ui         the control UI: static files, embedded
//! cli        one file a command                                          -> everything
//! ```
//!
//! Nothing imports `cli`; `agent` knows no sockets.
#![deny(unsafe_code)]

pub mod agent;
pub mod cli;
pub mod client;
pub mod config;
pub mod gateway;
pub mod http;
pub mod methods;
pub mod nodes;
pub mod protocol;
pub mod schedule;
pub mod state;
pub mod sys;
pub mod ui;

/// The version of the reference that this gateway is wire-compatible with, and its own.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
