//! Who is connected, and how an event reaches them: serialised once, shared by all.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::client::Client;
use crate::protocol::frame::{self, StateVersion};
use crate::protocol::{Event, Role, Scope};

/// The authenticated connections. One lock, held only to copy or change the list.
#[derive(Default)]
pub struct Hub {
    clients: Mutex<BTreeMap<u64, Arc<Client>>>,
    presence_version: AtomicU64,
    health_version: AtomicU64,
}

/// What an event says, by who reads it.
pub enum Payload<'a> {
    /// The same JSON text for everybody.
    Same(&'a str),
    /// Operators with admin scope read the first, all others the second (no paths of the machine in it).
    Split { admin: &'a str, other: &'a str },
}

impl Hub {
    /// Adds a connection; events reach its queue from now on.
    pub fn join(&self, client: Arc<Client>) {
        self.lock().insert(client.number, client);
    }

    /// Forgets a connection. False when it was not there.
    pub fn leave(&self, number: u64) -> bool {
        self.lock().remove(&number).is_some()
    }

    /// The connections of this moment, oldest first.
    pub fn clients(&self) -> Vec<Arc<Client>> {
        self.lock().values().cloned().collect()
    }

    /// Number of connections.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Sends `event` to every connection that may see it. `payload` is JSON text.
    pub fn publish(&self, event: Event, payload: &str) {
        self.send(event, Payload::Same(payload), None);
    }

    /// Like [`Hub::publish`], with the counters beside the payload (`presence`, `health`).
    pub fn publish_versioned(&self, event: Event, payload: Payload<'_>) {
        self.send(event, payload, Some(self.state_version()));
    }

    /// Sends `event` to one connection, without a sequence number. JSON text again.
    pub fn send_to(&self, client: &Client, event: Event, payload: &str) {
        client.send(event, payload);
    }

    /// Sends `event` to the connections of these numbers, without a sequence number.
    pub fn send_to_numbers(&self, numbers: &[u64], event: Event, payload: &str) {
        let head: Arc<str> = frame::event_head(event, payload, None).into();
        let clients = self.lock();
        for c in numbers.iter().filter_map(|n| clients.get(n)) {
            c.outbox.push_targeted(&head);
        }
    }

    /// Counters of the snapshots.
    pub fn state_version(&self) -> StateVersion {
        StateVersion {
            presence: self.presence_version.load(Ordering::Relaxed),
            health: self.health_version.load(Ordering::Relaxed),
        }
    }

    /// Counts a change of presence.
    pub fn presence_changed(&self) {
        self.presence_version.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a new health snapshot.
    pub fn health_changed(&self) {
        self.health_version.fetch_add(1, Ordering::Relaxed);
    }

    /// Closes every connection for which `lost` holds, at once, and says how many there were.
    pub fn close_where(&self, code: u16, reason: &str, lost: impl Fn(&Client) -> bool) -> usize {
        let hit: Vec<_> = self.clients().into_iter().filter(|c| lost(c)).collect();
        for c in &hit {
            self.leave(c.number);
            c.outbox.close_now(code, reason);
        }
        hit.len()
    }

    fn send(&self, event: Event, payload: Payload<'_>, version: Option<StateVersion>) {
        let head = |text: &str| -> Arc<str> { frame::event_head(event, text, version).into() };
        let (admin, other) = match payload {
            Payload::Same(text) => {
                let same = head(text);
                (same.clone(), same)
            }
            Payload::Split { admin, other } => (head(admin), head(other)),
        };
        // Queues are filled under the list's lock, so that all connections see one order of events.
        for c in self.lock().values() {
            if event.reaches(c.role, &c.scopes) {
                let full = c.role == Role::Operator && c.scopes.has(Scope::Admin);
                c.outbox
                    .push_event(if full { &admin } else { &other }, event.droppable());
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Client>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
