//! The current configuration of a running process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Config, Issue};

/// Holds the snapshot in force. One lock, held for the time of a pointer copy.
pub struct Store(Mutex<Held>);

struct Held {
    config: Arc<Config>,
    broken: Option<Vec<Issue>>,
}

impl Store {
    pub fn new(config: Arc<Config>) -> Store {
        Store(Mutex::new(Held {
            config,
            broken: None,
        }))
    }

    /// The snapshot in force. Whoever starts something long keeps the one that it started with.
    pub fn current(&self) -> Arc<Config> {
        self.held().config.clone()
    }

    /// Puts `config` in force and returns the one before it. Forgets a broken edit.
    pub fn swap(&self, config: Arc<Config>) -> Arc<Config> {
        let mut held = self.held();
        held.broken = None;
        std::mem::replace(&mut held.config, config)
    }

    /// Notes that the file on disk is invalid; the snapshot in force stays.
    pub fn reject(&self, issues: Vec<Issue>) {
        self.held().broken = Some(issues);
    }

    /// Notes that the file on disk is valid again, whether or not it is in force.
    pub fn accept(&self) {
        self.held().broken = None;
    }

    /// What is wrong with the file on disk, when that is why it is not in force.
    pub fn last_error(&self) -> Option<Vec<Issue>> {
        self.held().broken.clone()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // Both fields are always whole, so a panic elsewhere leaves nothing half done here.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_edit_keeps_the_snapshot_until_a_good_one_comes() {
        let store = Store::new(Arc::new(Config::from_text("{gateway: {port: 1}}")));
        store.reject(vec![Issue::new("a", "wrong")]);
        assert_eq!(store.current().u64("gateway.port", 0), 1);
        assert_eq!(store.last_error(), Some(vec![Issue::new("a", "wrong")]));
        let old = store.swap(Arc::new(Config::from_text("{gateway: {port: 2}}")));
        assert_eq!(old.u64("gateway.port", 0), 1);
        assert_eq!(store.current().u64("gateway.port", 0), 2);
        assert_eq!(store.last_error(), None);
    }
}
