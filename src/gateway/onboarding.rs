//! The one onboarding that may be under way.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::config::wizard::Wizard;
use crate::sys::id;

/// An onboarding that nobody has answered for so long gives way to the next.
const ABANDONED: Duration = Duration::from_secs(30 * 60);

/// One place for a wizard. One lock, held while a question or an answer is looked at.
#[derive(Default)]
pub struct Onboarding(Mutex<Option<Running>>);

struct Running {
    id: String,
    wizard: Wizard,
    used: Instant,
}

impl Onboarding {
    /// Takes a wizard in; its id, or `None` while another one is under way.
    pub fn begin(&self, wizard: Wizard) -> Option<String> {
        let mut place = self.lock();
        if place.as_ref().is_some_and(|r| r.used.elapsed() < ABANDONED) {
            return None;
        }
        let id = id::uuid();
        *place = Some(Running {
            id: id.clone(),
            wizard,
            used: Instant::now(),
        });
        Some(id)
    }

    /// Lets `f` look at the wizard of that id; `None` when there is none.
    pub fn with<T>(&self, id: &str, f: impl FnOnce(&mut Wizard) -> T) -> Option<T> {
        let mut place = self.lock();
        let running = place.as_mut().filter(|r| r.id == id)?;
        running.used = Instant::now();
        Some(f(&mut running.wizard))
    }

    /// Forgets the wizard of that id; false when there is none.
    pub fn end(&self, id: &str) -> bool {
        let mut place = self.lock();
        place.take_if(|r| r.id == id).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
