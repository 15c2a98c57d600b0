//! The settings, a file a section.
//!
//! Order is the order in which errors are reported.

mod agents;
mod channels;
mod discord;
mod gateway;
mod hooks;
mod irc;
mod messages;
mod models;
mod root;
mod session;
mod telegram;
mod tools;

pub use root::ROOT;
