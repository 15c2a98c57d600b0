//! A map that forgets: bounded by age, number and bytes, the oldest entries first.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// The bounds.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How long an entry is kept, in ms.
    pub age_ms: u64,
    pub entries: usize,
    /// Sum of the sizes given with the entries.
    pub bytes: usize,
}

/// The map. `now` is always milliseconds of a clock that the caller chooses.
#[derive(Debug)]
pub struct Aging<K, V> {
    bounds: Bounds,
    map: HashMap<K, Kept<V>>,
    /// Insertion number to key, the oldest first.
    order: BTreeMap<u64, K>,
    next: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Kept<V> {
    value: V,
    number: u64,
    at: u64,
    size: usize,
}

impl<K: Clone + Eq + Hash, V> Aging<K, V> {
    pub fn new(bounds: Bounds) -> Aging<K, V> {
        Aging {
            bounds,
            map: HashMap::new(),
            order: BTreeMap::new(),
            next: 0,
            bytes: 0,
        }
    }

    /// Keeps `value`, which counts as `size` bytes; replaces what was there.
    pub fn insert(&mut self, key: K, value: V, size: usize, now: u64) {
        self.remove(&key);
        let number = self.next;
        self.next += 1;
        self.order.insert(number, key.clone());
        self.bytes += size;
        let kept = Kept {
            value,
            number,
            at: now,
            size,
        };
        self.map.insert(key, kept);
        self.sweep(now);
    }

    pub fn get(&mut self, key: &K, now: u64) -> Option<&V> {
        self.sweep(now);
        self.map.get(key).map(|k| &k.value)
    }

    /// Forgets what is too old or too much.
    pub fn sweep(&mut self, now: u64) {
        while let Some((_, key)) = self.order.first_key_value() {
            let old =
                (self.map.get(key)).is_none_or(|k| now.saturating_sub(k.at) >= self.bounds.age_ms);
            if !old && self.map.len() <= self.bounds.entries && self.bytes <= self.bounds.bytes {
                return;
            }
            let key = key.clone();
            self.remove(&key);
        }
    }

    fn remove(&mut self, key: &K) {
        if let Some(kept) = self.map.remove(key) {
            self.order.remove(&kept.number);
            self.bytes -= kept.size;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(map: &mut Aging<u32, ()>, now: u64) -> Vec<u32> {
        (0..100).filter(|k| map.get(k, now).is_some()).collect()
    }

    #[test]
    fn age_number_and_bytes_are_bounded() {
        let bounds = Bounds {
            age_ms: 100,
            entries: 3,
            bytes: 50,
        };
        let mut map = Aging::new(bounds);
        for k in 0..5 {
            map.insert(k, (), 10, u64::from(k));
        }
        assert_eq!(keys(&mut map, 5), [2, 3, 4]);
        map.insert(5, (), 40, 5);
        assert_eq!(keys(&mut map, 5), [4, 5]);
        map.insert(4, (), 10, 6);
        map.insert(6, (), 1, 7);
        assert_eq!(keys(&mut map, 7), [4, 6], "the oldest insertion goes first");
        assert_eq!(keys(&mut map, 106), [6]);
        assert!(keys(&mut map, 107).is_empty());
        assert_eq!((map.bytes, map.order.len(), map.map.len()), (0, 0, 0));
    }

    #[test]
    fn what_is_too_large_alone_is_not_kept() {
        let mut map = Aging::new(Bounds {
            age_ms: 100,
            entries: 3,
            bytes: 5,
        });
        map.insert(1, (), 6, 0);
        assert_eq!(map.get(&1, 0), None);
    }
}
