//! Who may run next: one run at a time in a lane, the lanes in turn, each pool up to its own number, all
//! of it bounded.
//!
//! A place is taken first and filled when the run is stored, so that storing needs no lock and the order
//! is that of arrival.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::protocol::RpcError;

/// Runs that wait in one lane.
const MAX_IN_LANE: usize = 20;
/// Runs that wait, all lanes together.
const MAX_WAITING: usize = 256;
/// Bytes of the requests that wait, all lanes together.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// Kinds of runs that have a bound of their own on how many go on at once.
pub const POOLS: usize = 2;
/// When it may be worth another try, in ms.
const RETRY_MS: u64 = 1000;

/// The lanes, with a job of type `J` for each run.
pub struct Lanes<J> {
    lanes: HashMap<String, VecDeque<Place<J>>>,
    /// Lanes whose first place is filled and not begun, in the order in which they became so.
    ready: VecDeque<String>,
    /// Places that are taken and not begun.
    waiting: usize,
    bytes: usize,
    /// Places that have begun, by pool.
    running: [usize; POOLS],
    closed: bool,
}

/// A place in a lane. The first one is the run that goes on, or goes on next.
struct Place<J> {
    run: Arc<str>,
    size: usize,
    pool: usize,
    state: State<J>,
}

enum State<J> {
    /// Being stored.
    Taken,
    Filled(J),
    Running,
}

impl<J> Default for Lanes<J> {
    fn default() -> Self {
        Lanes {
            lanes: HashMap::new(),
            ready: VecDeque::new(),
            waiting: 0,
            bytes: 0,
            running: [0; POOLS],
            closed: false,
        }
    }
}

impl<J> Lanes<J> {
    /// Takes a place at the end of `lane`, for a run of `pool`. True when nobody is before it.
    pub fn reserve(
        &mut self,
        lane: &str,
        run: &Arc<str>,
        pool: usize,
        size: usize,
    ) -> Result<bool, RpcError> {
        let in_lane = self.lanes.get(lane).map_or(0, VecDeque::len);
        let full = |what: String| {
            let text = format!("too many runs are waiting ({what}); try again later");
            Err(RpcError::unavailable(text).retry_after(RETRY_MS))
        };
        if in_lane > MAX_IN_LANE {
            return full(format!("{MAX_IN_LANE} in this session"));
        }
        if self.waiting >= MAX_WAITING {
            return full(format!("{MAX_WAITING} in all"));
        }
        if self.bytes.saturating_add(size) > MAX_BYTES {
            return full(format!("{MAX_BYTES} bytes"));
        }
        self.waiting += 1;
        self.bytes += size;
        let places = self.lanes.entry(lane.to_string()).or_default();
        places.push_back(Place {
            run: run.clone(),
            size,
            pool,
            state: State::Taken,
        });
        Ok(places.len() == 1)
    }

    /// The run is stored: it may begin when it is the first in its lane. Given back when nothing may
    /// begin any more.
    pub fn fill(&mut self, lane: &str, run: &Arc<str>, job: J) -> Option<J> {
        let places = self.lanes.get_mut(lane).filter(|_| !self.closed);
        let Some(places) = places else {
            return Some(job);
        };
        let Some(at) = places.iter().position(|p| p.run == *run) else {
            return Some(job);
        };
        places[at].state = State::Filled(job);
        if at == 0 {
            self.ready.push_back(lane.to_string());
        }
        None
    }

    /// The next run whose pool has room; it is running now.
    pub fn next(&mut self, limits: [usize; POOLS]) -> Option<J> {
        let has_room = |lane: &String| {
            let first = self.lanes.get(lane).and_then(|p| p.front());
            first.is_some_and(|p| self.running[p.pool] < limits[p.pool])
        };
        let at = self.ready.iter().position(has_room)?;
        let lane = self.ready.remove(at)?;
        let place = self.lanes.get_mut(&lane)?.front_mut()?;
        match std::mem::replace(&mut place.state, State::Running) {
            State::Filled(job) => {
                self.waiting -= 1;
                self.bytes -= place.size;
                self.running[place.pool] += 1;
                Some(job)
            }
            other => {
                place.state = other;
                None
            }
        }
    }

    /// The run has ended, or is not to be done.
    pub fn leave(&mut self, lane: &str, run: &Arc<str>) {
        let Some(places) = self.lanes.get_mut(lane) else {
            return;
        };
        let Some(at) = places.iter().position(|p| p.run == *run) else {
            return;
        };
        if let Some(gone) = places.remove(at) {
            match gone.state {
                State::Running => self.running[gone.pool] -= 1,
                State::Taken | State::Filled(_) => {
                    self.waiting -= 1;
                    self.bytes -= gone.size;
                }
            }
        }
        match places.front() {
            None => {
                self.lanes.remove(lane);
            }
            Some(first) if at == 0 && matches!(first.state, State::Filled(_)) && !self.closed => {
                self.ready.push_back(lane.to_string());
            }
            Some(_) => {}
        }
    }

    /// Lets nothing begin any more and gives back what has not begun.
    pub fn close(&mut self) -> Vec<J> {
        self.closed = true;
        self.ready.clear();
        let mut jobs = Vec::new();
        for places in self.lanes.values_mut() {
            let mut kept = VecDeque::new();
            for place in places.drain(..) {
                match place.state {
                    State::Filled(job) => {
                        self.waiting -= 1;
                        self.bytes -= place.size;
                        jobs.push(job);
                    }
                    State::Taken | State::Running => kept.push_back(place),
                }
            }
            *places = kept;
        }
        self.lanes.retain(|_, places| !places.is_empty());
        jobs
    }

    /// Runs that go on or could, by the limits: as many threads are of use.
    pub fn wanted(&self, limits: [usize; POOLS]) -> usize {
        let mut wanted = self.running;
        for lane in &self.ready {
            if let Some(first) = self.lanes.get(lane).and_then(|p| p.front()) {
                wanted[first.pool] += 1;
            }
        }
        wanted
            .iter()
            .zip(limits)
            .map(|(n, most)| (*n).min(most))
            .sum()
    }

    /// Whether anything runs or waits in `lane`.
    pub fn is_busy(&self, lane: &str) -> bool {
        self.lanes.contains_key(lane)
    }

    /// Runs in `lane` behind the first one.
    pub fn waiting(&self, lane: &str) -> usize {
        self.lanes.get(lane).map_or(0, |p| p.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANY: [usize; POOLS] = [100; POOLS];

    fn id(n: u32) -> Arc<str> {
        n.to_string().into()
    }

    fn put(lanes: &mut Lanes<u32>, lane: &str, n: u32) -> bool {
        let free = lanes.reserve(lane, &id(n), 0, 1).unwrap();
        assert_eq!(lanes.fill(lane, &id(n), n), None);
        free
    }

    #[test]
    fn one_at_a_time_in_a_lane_and_the_lanes_in_turn() {
        let mut lanes = Lanes::default();
        assert!(put(&mut lanes, "a", 1));
        assert!(!put(&mut lanes, "a", 2));
        assert!(put(&mut lanes, "b", 3));
        assert_eq!(
            (lanes.next(MANY), lanes.next(MANY), lanes.next(MANY)),
            (Some(1), Some(3), None)
        );
        assert_eq!((lanes.running[0], lanes.waiting("a")), (2, 1));
        lanes.leave("a", &id(1));
        assert_eq!(lanes.next(MANY), Some(2));
        lanes.leave("a", &id(2));
        lanes.leave("b", &id(3));
        assert!(!lanes.is_busy("a") && lanes.running == [0; POOLS] && lanes.bytes == 0);
    }

    #[test]
    fn arrival_decides_not_how_long_storing_takes() {
        let mut lanes = Lanes::default();
        lanes.reserve("a", &id(1), 0, 1).unwrap();
        put(&mut lanes, "a", 2);
        assert_eq!(lanes.next(MANY), None);
        assert_eq!(lanes.fill("a", &id(1), 1), None);
        assert_eq!(lanes.next(MANY), Some(1));
        lanes.leave("a", &id(1));
        assert_eq!(lanes.next(MANY), Some(2));
        // The first one could not be stored: the second goes on.
        let mut lanes = Lanes::default();
        lanes.reserve("a", &id(1), 0, 1).unwrap();
        put(&mut lanes, "a", 2);
        lanes.leave("a", &id(1));
        assert_eq!(lanes.next(MANY), Some(2));
        assert_eq!(lanes.waiting, 0);
    }

    #[test]
    fn waiting_is_bounded_by_lane_by_number_and_by_bytes() {
        let mut lanes = Lanes::default();
        for n in 0..=MAX_IN_LANE as u32 {
            put(&mut lanes, "a", n);
        }
        let error = lanes.reserve("a", &id(99), 0, 1).unwrap_err();
        assert_eq!(error.retry_after_ms, Some(RETRY_MS));
        assert!(error.message.contains("in this session"));
        for n in 100..100 + (MAX_WAITING - MAX_IN_LANE - 1) as u32 {
            put(&mut lanes, &n.to_string(), n);
        }
        let error = lanes.reserve("z", &id(999), 0, 1).unwrap_err();
        assert!(error.message.contains("in all"), "{}", error.message);
        let mut lanes = Lanes::<u32>::default();
        lanes.reserve("a", &id(1), 0, MAX_BYTES).unwrap();
        assert!(lanes.reserve("b", &id(2), 0, 1).is_err());
    }

    #[test]
    fn closing_gives_back_what_has_not_begun() {
        let mut lanes = Lanes::default();
        put(&mut lanes, "a", 1);
        assert_eq!(lanes.next(MANY), Some(1));
        put(&mut lanes, "a", 2);
        put(&mut lanes, "b", 3);
        lanes.reserve("c", &id(4), 0, 1).unwrap();
        let mut left = lanes.close();
        left.sort();
        assert_eq!(left, [2, 3]);
        assert_eq!(lanes.fill("c", &id(4), 4), Some(4));
        lanes.leave("c", &id(4));
        lanes.leave("a", &id(1));
        assert_eq!(lanes.next(MANY), None);
        assert!(!lanes.is_busy("a") && !lanes.is_busy("b"));
        assert_eq!(
            (lanes.waiting, lanes.bytes, lanes.running),
            (0, 0, [0; POOLS])
        );
    }

    #[test]
    fn a_full_pool_holds_up_its_own_runs_only() {
        let mut lanes = Lanes::default();
        for (lane, n, pool) in [("a", 1, 1), ("b", 2, 1), ("c", 3, 0)] {
            lanes.reserve(lane, &id(n), pool, 1).unwrap();
            lanes.fill(lane, &id(n), n);
        }
        let limits = [4, 1];
        assert_eq!(lanes.wanted(limits), 2);
        assert_eq!(lanes.next(limits), Some(1));
        assert_eq!(lanes.next(limits), Some(3));
        assert_eq!(lanes.next(limits), None);
        assert_eq!(lanes.wanted(limits), 2);
        lanes.leave("a", &id(1));
        assert_eq!(lanes.next(limits), Some(2));
    }
}
