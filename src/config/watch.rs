//! Watches the config file and what it includes, by looking now and then.
//!
//! Polling costs two stat calls a second, works on every file system (network mounts, overlay, FUSE), and
//! cannot miss an editor that replaces the file. A change counts once the files have been quiet.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Config, Issue, Locations, load};
use crate::sys::file::{Stamp, stamp};

/// Time between two looks while nothing happens.
const POLL: Duration = Duration::from_millis(500);
/// Time between two looks after a change was seen, until the files are quiet.
const POLL_BUSY: Duration = Duration::from_millis(50);
/// How long the files have to be quiet before `gateway.reload.debounceMs` is added.
const QUIET: Duration = Duration::from_millis(200);
/// `gateway.reload.debounceMs` when it is not set.
const DEFAULT_DEBOUNCE_MS: u64 = 300;
/// Looks for a file that has gone, before it is believed: editors remove and write anew.
const MISSING_TRIES: u32 = 2;

/// What was found after a change.
#[derive(Debug)]
pub enum Outcome {
    /// The file is valid. It may say the same as before.
    Valid(Arc<Config>),
    /// The file cannot be used; what runs goes on.
    Invalid(Vec<Issue>),
    Missing,
}

/// The watching thread; ends when this is dropped.
pub struct Watcher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    stopped: bool,
    /// Look at once, whatever the stamps say.
    look: bool,
}

impl Watcher {
    /// Starts watching the files of `config`. `found` is called on the watching thread.
    pub fn start(
        locations: Locations,
        config: &Config,
        found: impl FnMut(Outcome) + Send + 'static,
    ) -> std::io::Result<Watcher> {
        let shared = Arc::new(Shared::default());
        let watch = Watch {
            files: files(&locations, config),
            debounce: debounce(config),
            locations,
            shared: shared.clone(),
            found,
        };
        let thread = std::thread::Builder::new()
            .name("config-watch".into())
            .stack_size(512 * 1024)
            .spawn(move || watch.run())?;
        Ok(Watcher {
            shared,
            thread: Some(thread),
        })
    }

    /// Reads the file now, changed or not.
    pub fn look(&self) {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .look = true;
        self.shared.changed.notify_all();
    }

    /// Ends the thread, after a callback that runs.
    pub fn stop(&mut self) {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .stopped = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Watch<F> {
    locations: Locations,
    files: Vec<(PathBuf, Option<Stamp>)>,
    debounce: Duration,
    shared: Arc<Shared>,
    found: F,
}

impl<F: FnMut(Outcome)> Watch<F> {
    fn run(mut self) {
        loop {
            match self.wait(POLL) {
                Wake::Stopped => return,
                Wake::Look => {
                    self.mark();
                    self.report();
                }
                Wake::Time if self.moved() => {
                    if !self.settle() {
                        return;
                    }
                    self.report();
                }
                Wake::Time => {}
            }
        }
    }

    /// Waits until the files have been quiet for long enough. False when stopped meanwhile.
    fn settle(&mut self) -> bool {
        let mut since = Instant::now();
        while since.elapsed() < QUIET + self.debounce {
            match self.wait(POLL_BUSY) {
                Wake::Stopped => return false,
                Wake::Look => return true,
                Wake::Time if self.moved() => since = Instant::now(),
                Wake::Time => {}
            }
        }
        true
    }

    fn report(&mut self) {
        let mut tries = 0;
        while !self.locations.config_path.exists() {
            if tries == MISSING_TRIES {
                return (self.found)(Outcome::Missing);
            }
            tries += 1;
            log::warn!(target: "gateway/reload", "config reload retry ({tries}/{MISSING_TRIES}): config file not found");
            if !matches!(self.wait(Duration::from_millis(150)), Wake::Time) {
                return;
            }
        }
        let loaded = load(&self.locations);
        if loaded.issues.is_empty() {
            self.files = files(&self.locations, &loaded.config);
            self.debounce = debounce(&loaded.config);
            (self.found)(Outcome::Valid(loaded.config));
        } else {
            (self.found)(Outcome::Invalid(loaded.issues));
        }
    }

    /// Whether a file differs from when it was last looked at.
    fn moved(&mut self) -> bool {
        let before = self.files.clone();
        self.mark();
        self.files != before
    }

    fn mark(&mut self) {
        for (path, seen) in &mut self.files {
            *seen = stamp(path);
        }
    }

    fn wait(&self, time: Duration) -> Wake {
        let state = self
            .shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let idle = |s: &mut State| !s.stopped && !s.look;
        let (mut state, _) = self
            .shared
            .changed
            .wait_timeout_while(state, time, idle)
            .unwrap_or_else(PoisonError::into_inner);
        match (state.stopped, std::mem::take(&mut state.look)) {
            (true, _) => Wake::Stopped,
            (false, true) => Wake::Look,
            (false, false) => Wake::Time,
        }
    }
}

enum Wake {
    Time,
    Look,
    Stopped,
}

fn files(locations: &Locations, config: &Config) -> Vec<(PathBuf, Option<Stamp>)> {
    let all = std::iter::once(&locations.config_path).chain(config.included());
    all.map(|p| (p.clone(), stamp(p))).collect()
}

fn debounce(config: &Config) -> Duration {
    Duration::from_millis(
        config
            .u64("gateway.reload.debounceMs", DEFAULT_DEBOUNCE_MS)
            .min(60_000),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::Folder;
    use crate::sys::file::write_atomic;
    use std::sync::mpsc;

    /// Longest time that anything here may take.
    const LIMIT: Duration = Duration::from_secs(20);

    fn watch(folder: &Folder) -> (Watcher, mpsc::Receiver<Outcome>) {
        let locations = folder.locations(&[]);
        let (tx, rx) = mpsc::channel();
        let config = load(&locations).config;
        let watcher = Watcher::start(locations, &config, move |o| tx.send(o).unwrap()).unwrap();
        (watcher, rx)
    }

    #[test]
    fn edits_of_the_file_and_its_includes_are_seen_and_a_broken_one_is_told() {
        let folder = Folder::new();
        let main = folder.path().join("openclaw.json");
        let part = folder.path().join("ui.json5");
        let text = "{gateway: {reload: {debounceMs: 1}}, ui: {$include: './ui.json5'}}";
        write_atomic(&part, b"{seamColor: '111111'}").unwrap();
        write_atomic(&main, text.as_bytes()).unwrap();
        let (mut watcher, rx) = watch(&folder);

        write_atomic(&part, b"{seamColor: '222222'}").unwrap();
        match rx.recv_timeout(LIMIT).unwrap() {
            Outcome::Valid(c) => assert_eq!(c.str("ui.seamColor"), Some("222222")),
            other => panic!("{other:?}"),
        }
        write_atomic(&main, b"{broken").unwrap();
        assert!(matches!(
            rx.recv_timeout(LIMIT).unwrap(),
            Outcome::Invalid(_)
        ));
        std::fs::remove_file(&main).unwrap();
        assert!(matches!(rx.recv_timeout(LIMIT).unwrap(), Outcome::Missing));
        watcher.look();
        assert!(matches!(rx.recv_timeout(LIMIT).unwrap(), Outcome::Missing));
        watcher.stop();
    }
}
