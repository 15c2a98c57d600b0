//! Nodes on this gateway: taking one in when it connects, and letting it go.

use std::sync::{Arc, Weak};
use std::time::Instant;

use serde_json::{Value, json};

use super::Gateway;
use super::client::Client;
use super::clock::Clock;
use crate::nodes::approvals::Ticket;
use crate::nodes::registry::Node;
use crate::nodes::{Approvals, Registry};
use crate::protocol::{Event, Role};
use crate::state::voicewake;

/// The nodes' registry, whose deadlines `clock` keeps.
pub(super) fn registry(clock: &Clock) -> Arc<Registry> {
    Arc::new_cyclic(|me: &Weak<Registry>| {
        let (clock, me) = (clock.clone(), me.clone());
        Registry::new(Arc::new(move |at| {
            let me = me.clone();
            clock.after(at.saturating_duration_since(Instant::now()), move || {
                if let Some(me) = me.upgrade() {
                    me.expire(Instant::now());
                }
            });
        }))
    })
}

/// The exec approvals, whose deadlines `clock` keeps.
pub(super) fn approvals(clock: &Clock) -> Arc<Approvals> {
    Arc::new_cyclic(|me: &Weak<Approvals>| {
        let (clock, me) = (clock.clone(), me.clone());
        Approvals::new(Arc::new(move |at| {
            let me = me.clone();
            clock.after(at.saturating_duration_since(Instant::now()), move || {
                if let Some(me) = me.upgrade() {
                    me.expire(Instant::now());
                }
            });
        }))
    })
}

impl Gateway {
    /// Shows an open approval to the operators that may decide; false when there are none.
    pub fn show_approval(&self, ticket: &Ticket) -> bool {
        let event = Event::ExecApprovalRequested;
        let clients = self.hub.clients();
        if !clients.iter().any(|c| event.reaches(c.role, &c.scopes)) {
            return false;
        }
        let payload = json!({
            "id": ticket.id,
            "request": ticket.request.to_value(),
            "createdAtMs": ticket.created_at_ms,
            "expiresAtMs": ticket.expires_at_ms,
        });
        self.hub.publish(event, &payload.to_string());
        true
    }

    /// Enters a node in the registry and tells it the wake words.
    pub(super) fn node_connected(&self, client: &Arc<Client>) {
        let Some(node) = introduce(client) else {
            return;
        };
        let receiver = client.clone();
        let send = move |event: Event, payload: &str| {
            if receiver.outbox.is_sealed() {
                return false;
            }
            receiver.send(event, payload);
            true
        };
        self.nodes.connect(node, Arc::new(send));
        let words = json!({"triggers": voicewake::triggers(&self.paths)});
        client.send(Event::VoicewakeChanged, &words.to_string());
    }

    /// Forgets the connection of a node; what waits on it fails.
    pub(super) fn node_disconnected(&self, client: &Client) {
        if client.role == Role::Node {
            self.nodes.disconnect(&client.conn_id);
        }
    }
}

/// A node's connection in the words of the registry; `None` for an operator's.
fn introduce(client: &Client) -> Option<Node> {
    let node_id = client
        .device_id
        .clone()
        .filter(|_| client.role == Role::Node)?;
    let text = |key: &str| Some(client.info_str(key).to_string()).filter(|t| !t.is_empty());
    let mut caps = client.caps.clone();
    caps.sort();
    caps.dedup();
    Some(Node {
        node_id,
        conn_id: client.conn_id.clone(),
        display_name: text("displayName"),
        platform: text("platform"),
        version: text("version"),
        core_version: text("coreVersion"),
        ui_version: text("uiVersion"),
        device_family: text("deviceFamily"),
        model_identifier: text("modelIdentifier"),
        remote_ip: (!client.local).then(|| client.address.to_string()),
        caps,
        commands: client.commands.clone(),
        path_env: client.path_env.clone(),
        permissions: client
            .permissions
            .as_ref()
            .and_then(Value::as_object)
            .cloned(),
        connected_at_ms: client.connected_at_ms,
    })
}
