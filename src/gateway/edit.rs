//! Edits of the config file that methods make for an operator.

use std::sync::Arc;

use super::Gateway;
use super::lifecycle::Request;
use crate::config::plan::{Effect, Plan};
use crate::config::write::{self, WriteError};
use crate::config::{self, Config};
use crate::protocol::RpcError;

/// How often an edit is made again when another writer came in between.
const TRIES: usize = 3;

impl Gateway {
    /// Writes the config file that `change` makes of the one on disk; `actor` is for the record of writes.
    ///
    /// Afterwards what is read at its next use is in force already; everything else is taken over as after
    /// an edit by hand. A file on disk that is not valid is an error.
    pub fn edit_config(
        &self,
        actor: &str,
        mut change: impl FnMut(&Config) -> Result<String, RpcError>,
    ) -> Result<Arc<Config>, RpcError> {
        let mut tries = 0;
        let written = loop {
            tries += 1;
            let loaded = config::load(&self.locations);
            if let Some(issue) = loaded.issues.first() {
                let text = format!("invalid config; fix before editing ({issue})");
                return Err(RpcError::invalid(text));
            }
            let text = change(&loaded.config)?;
            match write::write(&self.locations, Some(loaded.config.hash()), &text, actor) {
                Ok(written) => break written,
                Err(WriteError::Changed) if tries < TRIES => {}
                Err(e @ WriteError::Io(..)) => return Err(RpcError::unavailable(e.to_string())),
                Err(e) => return Err(RpcError::invalid(e.to_string())),
            }
        };
        for notice in &written.notices {
            log::info!(target: "gateway", "{notice}");
        }
        let plan = Plan::between(&self.config.current(), &written.config);
        if plan.changes.iter().all(|(_, e)| *e == Effect::NextUse) {
            self.config.swap(written.config.clone());
        }
        self.request(Request::Reload);
        Ok(written.config)
    }
}
