//! Counts failed attempts to authenticate, by address, and locks an address out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use super::auth::limiter_key;
use crate::sys::clock;

/// Addresses that are remembered at once; each costs about 64 bytes.
const MAX_ADDRESSES: usize = 4096;

/// How an attempt went.
pub enum Attempt<T> {
    Good(T),
    Bad(T),
    /// Nothing was presented; neither counts nor clears.
    NoGuess(T),
}

/// One lock, held while a secret is compared (microseconds), so that of many simultaneous guesses only as
/// many are compared as the limit allows.
pub struct Limiter {
    rules: Option<Rules>,
    addresses: Mutex<HashMap<IpAddr, Record>>,
}

#[derive(Clone, Copy)]
struct Rules {
    max_attempts: u64,
    window_ms: u64,
    lockout_ms: u64,
    exempt_loopback: bool,
}

#[derive(Default)]
struct Record {
    failures: u64,
    window_start_ms: u64,
    locked_until_ms: u64,
}

impl Limiter {
    /// A limiter that lets everything through.
    pub fn off() -> Limiter {
        Limiter {
            rules: None,
            addresses: Mutex::default(),
        }
    }

    /// `max_attempts` failures within `window_ms` lock an address out for `lockout_ms`.
    pub fn new(
        max_attempts: u64,
        window_ms: u64,
        lockout_ms: u64,
        exempt_loopback: bool,
    ) -> Limiter {
        let rules = Rules {
            max_attempts,
            window_ms,
            lockout_ms,
            exempt_loopback,
        };
        Limiter {
            rules: Some(rules),
            addresses: Mutex::default(),
        }
    }

    /// Runs `compare` unless `address` is locked out; then the milliseconds until it is free.
    pub fn attempt<T>(
        &self,
        address: IpAddr,
        compare: impl FnOnce() -> Attempt<T>,
    ) -> Result<T, u64> {
        self.attempt_at(clock::now_ms(), address, compare)
    }

    fn attempt_at<T>(
        &self,
        now: u64,
        address: IpAddr,
        compare: impl FnOnce() -> Attempt<T>,
    ) -> Result<T, u64> {
        let unlimited = |a| match a {
            Attempt::Good(t) | Attempt::Bad(t) | Attempt::NoGuess(t) => t,
        };
        let Some(rules) = self.rules else {
            return Ok(unlimited(compare()));
        };
        let key = limiter_key(address);
        if rules.exempt_loopback && key.is_loopback() {
            return Ok(unlimited(compare()));
        }
        let mut addresses = self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(r) = addresses.get(&key)
            && r.locked_until_ms > now
        {
            return Err(r.locked_until_ms - now);
        }
        match compare() {
            Attempt::Good(t) => {
                addresses.remove(&key);
                Ok(t)
            }
            Attempt::NoGuess(t) => Ok(t),
            Attempt::Bad(t) => {
                if !addresses.contains_key(&key) && !make_room(&mut addresses, now, rules.window_ms)
                {
                    // Every remembered address is locked out. Forgetting one would free a guesser, so the
                    // newcomer is refused instead.
                    return Err(rules.lockout_ms);
                }
                let r = addresses.entry(key).or_default();
                if now.saturating_sub(r.window_start_ms) > rules.window_ms {
                    (r.failures, r.window_start_ms) = (0, now);
                }
                r.failures += 1;
                if r.failures >= rules.max_attempts {
                    (r.failures, r.locked_until_ms) = (0, now + rules.lockout_ms);
                }
                Ok(t)
            }
        }
    }
}

/// Makes room for one more address. Locked addresses are never forgotten before their time.
fn make_room(addresses: &mut HashMap<IpAddr, Record>, now: u64, window_ms: u64) -> bool {
    if addresses.len() < MAX_ADDRESSES {
        return true;
    }
    addresses.retain(|_, r| {
        r.locked_until_ms > now || now.saturating_sub(r.window_start_ms) <= window_ms
    });
    if addresses.len() < MAX_ADDRESSES {
        return true;
    }
    let oldest = addresses
        .iter()
        .filter(|(_, r)| r.locked_until_ms <= now)
        .min_by_key(|(_, r)| r.window_start_ms)
        .map(|(a, _)| *a);
    oldest.is_some_and(|a| addresses.remove(&a).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const A: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    fn bad(l: &Limiter, now: u64, address: IpAddr) -> Result<(), u64> {
        l.attempt_at(now, address, || Attempt::Bad(()))
    }

    fn good(l: &Limiter, now: u64) -> Result<(), u64> {
        l.attempt_at(now, A, || Attempt::Good(()))
    }

    #[test]
    fn the_attempt_that_reaches_the_maximum_is_still_answered() {
        let l = Limiter::new(3, 60_000, 5_000, true);
        for _ in 0..3 {
            assert_eq!(bad(&l, 1_000, A), Ok(()));
        }
        assert_eq!(
            good(&l, 2_000),
            Err(4_000),
            "the right secret is locked out as well"
        );
        assert_eq!(good(&l, 6_001), Ok(()));
        assert_eq!(bad(&l, 6_002, A), Ok(()));
    }

    #[test]
    fn success_clears_and_the_window_slides() {
        let l = Limiter::new(3, 1_000, 5_000, true);
        for now in [0, 1, 2_000, 2_001] {
            assert_eq!(bad(&l, now + 10_000, A), Ok(()));
        }
        assert_eq!(good(&l, 12_002), Ok(()));
        assert_eq!(bad(&l, 12_003, A), Ok(()));
        assert_eq!(bad(&l, 12_004, A), Ok(()));
        assert_eq!(good(&l, 12_005), Ok(()));
    }

    #[test]
    fn a_missing_secret_is_no_guess() {
        let l = Limiter::new(1, 1_000, 5_000, true);
        for _ in 0..5 {
            assert_eq!(l.attempt_at(1, A, || Attempt::NoGuess(())), Ok(()));
        }
        assert_eq!(good(&l, 2), Ok(()));
    }

    #[test]
    fn the_map_is_bounded_and_never_frees_a_locked_address() {
        let l = Limiter::new(2, 60_000, 600_000, true);
        bad(&l, 1, A).unwrap();
        bad(&l, 1, A).unwrap();
        for i in 0..20_000u32 {
            let _ = bad(&l, 2, IpAddr::from(Ipv4Addr::from(0x0a00_0000 + i)));
        }
        assert!(l.addresses.lock().unwrap().len() <= MAX_ADDRESSES);
        assert!(bad(&l, 3, A).is_err());
    }

    #[test]
    fn ipv6_is_counted_by_its_64() {
        let l = Limiter::new(2, 60_000, 600_000, true);
        bad(&l, 1, "2001:db8::1".parse().unwrap()).unwrap();
        bad(&l, 1, "2001:db8::2".parse().unwrap()).unwrap();
        assert!(bad(&l, 1, "2001:db8::3".parse().unwrap()).is_err());
    }
}
