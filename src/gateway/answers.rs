//! Answers that are given again when a client repeats a call with the same idempotency key.
//!
//! The key belongs to the call, not to the connection: a client that lost its connection asks again over a
//! new one and learns how its run ended, and nothing is run twice.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::protocol::RpcError;
use crate::sys::clock;

/// How long an answer is remembered after it was given, in milliseconds.
const TTL_MS: u64 = 5 * 60_000;
/// Answers that are remembered, and their bytes in all; the oldest that is final gives way.
const MAX_ENTRIES: usize = 1000;
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Which calls share keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Agent,
    Chat,
    Send,
}

/// The latest answer of a call.
pub type Answer = Result<Value, RpcError>;

/// One lock around the answers, by kind and key.
#[derive(Default)]
pub struct Answers(Mutex<HashMap<(Kind, String), Stored>>);

struct Stored {
    answer: Answer,
    is_final: bool,
    at_ms: u64,
    /// About what it takes in memory, in bytes.
    size: usize,
}

/// What [`Answers::begin`] found.
pub enum Begun {
    /// The key is new; the caller does the work and calls [`Answers::put`].
    New,
    /// The work goes on; its first answer.
    Running(Answer),
    Done(Answer),
}

impl Answers {
    /// Takes the key for a call whose first answer is `first`, unless it was taken before.
    pub fn begin(&self, kind: Kind, key: &str, first: &Value) -> Begun {
        self.begin_at(clock::now_ms(), kind, key, first)
    }

    fn begin_at(&self, now: u64, kind: Kind, key: &str, first: &Value) -> Begun {
        let mut all = self.lock();
        if let Some(s) = all.get(&(kind, key.to_string())) {
            if !s.is_final {
                return Begun::Running(s.answer.clone());
            }
            if now.saturating_sub(s.at_ms) <= TTL_MS {
                return Begun::Done(s.answer.clone());
            }
        }
        make_room(&mut all, now, 0);
        let stored = Stored {
            answer: Ok(first.clone()),
            is_final: false,
            at_ms: now,
            size: key.len() + ENTRY_BYTES,
        };
        all.insert((kind, key.to_string()), stored);
        Begun::New
    }

    /// Replaces the first answer of a call that goes on.
    pub fn put(&self, kind: Kind, key: &str, answer: Answer) {
        self.store(kind, key, answer, false);
    }

    /// Keeps the last answer of a call.
    pub fn end(&self, kind: Kind, key: &str, answer: Answer) {
        self.store(kind, key, answer, true);
    }

    /// Frees a key whose call was refused before anything was done.
    pub fn forget(&self, kind: Kind, key: &str) {
        self.lock().remove(&(kind, key.to_string()));
    }

    fn store(&self, kind: Kind, key: &str, answer: Answer, is_final: bool) {
        let at_ms = clock::now_ms();
        let size = key.len() + ENTRY_BYTES + text_len(&answer);
        let mut all = self.lock();
        make_room(&mut all, at_ms, size);
        all.insert(
            (kind, key.to_string()),
            Stored {
                answer,
                is_final,
                at_ms,
                size,
            },
        );
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(Kind, String), Stored>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an entry takes besides its text, in bytes; about.
const ENTRY_BYTES: usize = 512;

fn text_len(answer: &Answer) -> usize {
    match answer {
        Ok(v) => v.to_string().len(),
        Err(e) => e.message.len() + e.payload.as_ref().map_or(0, |p| p.to_string().len()),
    }
}

/// Makes room for one more answer of `size` bytes. Calls that go on are never forgotten: their number is
/// bounded by the run queue.
fn make_room(all: &mut HashMap<(Kind, String), Stored>, now: u64, size: usize) {
    let bytes = |all: &HashMap<_, Stored>| all.values().map(|s| s.size).sum::<usize>();
    let mut left = bytes(all) + size;
    if all.len() < MAX_ENTRIES && left <= MAX_BYTES {
        return;
    }
    all.retain(|_, s| !s.is_final || now.saturating_sub(s.at_ms) <= TTL_MS);
    left = bytes(all) + size;
    while all.len() >= MAX_ENTRIES || left > MAX_BYTES {
        let oldest = all
            .iter()
            .filter(|(_, s)| s.is_final)
            .min_by_key(|(_, s)| s.at_ms)
            .map(|(k, _)| k.clone());
        let Some(gone) = oldest.and_then(|k| all.remove(&k)) else {
            return;
        };
        left -= gone.size;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_repeated_key_gets_the_latest_answer_and_starts_nothing() {
        let a = Answers::default();
        assert!(matches!(a.begin(Kind::Agent, "k", &json!(1)), Begun::New));
        assert!(
            matches!(a.begin(Kind::Agent, "k", &json!(2)), Begun::Running(Ok(v)) if v == json!(1))
        );
        assert!(matches!(a.begin(Kind::Chat, "k", &json!(3)), Begun::New));
        a.end(Kind::Agent, "k", Ok(json!(9)));
        assert!(
            matches!(a.begin(Kind::Agent, "k", &json!(2)), Begun::Done(Ok(v)) if v == json!(9))
        );
        a.forget(Kind::Agent, "k");
        assert!(matches!(a.begin(Kind::Agent, "k", &json!(2)), Begun::New));
    }

    #[test]
    fn answers_age_and_their_number_is_bounded() {
        let a = Answers::default();
        for i in 0..3 * MAX_ENTRIES {
            let key = i.to_string();
            assert!(matches!(a.begin(Kind::Agent, &key, &json!(1)), Begun::New));
            a.end(Kind::Agent, &key, Ok(json!(1)));
        }
        assert!(a.lock().len() <= MAX_ENTRIES);
        let last = (3 * MAX_ENTRIES - 1).to_string();
        let later = clock::now_ms() + TTL_MS + 1;
        assert!(matches!(
            a.begin_at(later, Kind::Agent, &last, &json!(1)),
            Begun::New
        ));
    }
}
