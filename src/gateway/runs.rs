//! Agent runs, wired to the gateway: their events go to the hub, their stores are the gateway's.

use std::sync::{Arc, OnceLock, Weak};

use super::Gateway;
use crate::agent::run::{Deps, Output, Runs, Sink};
use crate::agent::tools;
use crate::config;
use crate::state::Paths;
use crate::state::sessions;
use crate::state::system_events::SystemEvents;

/// The way from a run to the hub; it is laid before the gateway that holds both exists.
#[derive(Clone, Default)]
pub struct Wire(Arc<OnceLock<Weak<Gateway>>>);

impl Wire {
    /// Connects the runs to `gateway`.
    pub fn connect(&self, gateway: &Arc<Gateway>) {
        let _ = self.0.set(Arc::downgrade(gateway));
    }

    /// The gateway; an error while it starts and when it is gone.
    pub fn gateway(&self) -> Result<Arc<Gateway>, String> {
        let gateway = self.0.get().and_then(Weak::upgrade);
        gateway.ok_or_else(|| "the gateway is not ready".to_string())
    }

    fn sink(&self) -> Sink {
        let wire = self.clone();
        Arc::new(move |output: Output| {
            if let Ok(gateway) = wire.gateway() {
                gateway.tell(&output);
            }
        })
    }

    /// The service, on the gateway's stores.
    pub fn runs(
        &self,
        config: &Arc<config::Store>,
        locations: &config::Locations,
        paths: &Paths,
        sessions: &Arc<sessions::Store>,
        notes: &Arc<SystemEvents>,
        tools: tools::Registry,
    ) -> Arc<Runs> {
        Runs::new(Deps {
            config: config.clone(),
            locations: locations.clone(),
            paths: paths.clone(),
            sessions: sessions.clone(),
            notes: notes.clone(),
            tools,
            events: self.sink(),
        })
    }
}

impl Gateway {
    /// Sends an event of a run to whom it concerns.
    pub fn tell(&self, output: &Output) {
        match &output.to {
            None => {
                self.hub.publish(output.event, &output.payload);
                if let Some(key) = &output.session_key {
                    self.nodes
                        .tell_followers(key, output.event, &output.payload);
                }
            }
            Some(numbers) => self
                .hub
                .send_to_numbers(numbers, output.event, &output.payload),
        }
    }
}
