//! An authenticated connection as the rest of the gateway sees it.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Map, Value};

use super::outbox::Outbox;
use crate::protocol::{Event, Role, Scopes, frame};

/// How a connection proved that it may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMethod {
    /// `gateway.auth.mode` is `none`.
    None,
    Token,
    Password,
    TrustedProxy,
    DeviceToken,
}

impl AuthMethod {
    pub fn as_str(self) -> &'static str {
        match self {
            AuthMethod::None => "none",
            AuthMethod::Token => "token",
            AuthMethod::Password => "password",
            AuthMethod::TrustedProxy => "trusted-proxy",
            AuthMethod::DeviceToken => "device-token",
        }
    }
}

/// Everything that was established in the handshake. Immutable for the life of the connection.
pub struct Client {
    /// Process-wide running number, the key in the hub.
    pub number: u64,
    /// The id that the client knows (`server.connId`), a UUID.
    pub conn_id: String,
    /// Address of the peer, or of the client behind a trusted proxy.
    pub address: IpAddr,
    /// Whether the connection comes from this machine, unforwarded.
    pub local: bool,
    pub role: Role,
    /// The scopes granted, which are not always those asked for.
    pub scopes: Scopes,
    pub auth: AuthMethod,
    /// Fingerprint of the shared secret that opened it; empty when none did. See `auth::Secrets`.
    pub secret_print: String,
    /// Id of the proven device, if one was given.
    pub device_id: Option<String>,
    /// `client` of the connect request: id, version, platform, mode, …
    pub info: Map<String, Value>,
    pub caps: Vec<String>,
    /// Commands that the node declared (as they came; what is allowed is decided by the node registry).
    pub commands: Vec<String>,
    pub permissions: Option<Value>,
    pub path_env: Option<String>,
    pub connected_at_ms: u64,
    pub outbox: Arc<Outbox>,
    /// Refusals for a wrong role in a row.
    pub wrong_role: AtomicU32,
    /// Calls of this connection that wait on a thread of their own.
    pub waiting: AtomicU32,
}

impl Client {
    /// A field of `client`, empty when missing.
    pub fn info_str(&self, key: &str) -> &str {
        self.info.get(key).and_then(Value::as_str).unwrap_or("")
    }

    /// `client.id`.
    pub fn client_id(&self) -> &str {
        self.info_str("id")
    }

    /// `client.mode`.
    pub fn mode(&self) -> &str {
        self.info_str("mode")
    }

    /// Whether this is a chat page (`client.mode` webchat or a webchat id), which may not patch sessions.
    pub fn is_webchat(&self) -> bool {
        self.mode() == "webchat" || matches!(self.client_id(), "webchat" | "webchat-ui")
    }

    pub fn has_cap(&self, cap: &str) -> bool {
        self.caps.iter().any(|c| c == cap)
    }

    /// Sends an event to this connection only, without a sequence number. `payload` is JSON text.
    pub fn send(&self, event: Event, payload: &str) {
        let head = frame::event_head(event, payload, None);
        self.outbox.push_targeted(&head.into());
    }

    /// Counts one more refusal for a wrong role and says how many came in a row.
    pub fn count_wrong_role(&self) -> u32 {
        self.wrong_role.fetch_add(1, Ordering::Relaxed) + 1
    }
}
