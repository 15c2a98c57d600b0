//! Two clocks and the judgement on one of them: whether the wall clock can be trusted to start runs.
//!
//! A router without a battery boots in 1970, or at the time of its last shutdown, and is set by NTP
//! minutes later. Until then nothing fires; and no jump makes a run that has been come again.

use std::fmt;
use std::time::Instant;

use super::when::CLOCK_STEP_MS;
use crate::sys::clock;

/// Wall time before this moment (1 January 2026, ms since 1970) is no set clock.
pub const FLOOR_MS: u64 = 1_767_225_600_000;
/// Wall time after this moment (1 January 2100) is none either.
pub const CEILING_MS: u64 = 4_102_444_800_000;
/// Ms that the wall clock may gain on the monotonic one between two looks before it counts as a jump.
const JUMP_MS: u64 = 120_000;
/// Ms that a clock has to keep its new time after a jump ahead before it is believed.
const SETTLE_MS: u64 = 10_000;
/// Ms that a clock may lie behind the last recorded run in the hope that it will be set.
const BEHIND_MS: u64 = 600_000;

/// What the scheduler reads time from.
pub trait Clock: Send + Sync {
    /// Ms since 1970.
    fn wall(&self) -> u64;
    /// Ms since some moment; never goes back.
    fn mono(&self) -> u64;
}

/// The clocks of the host.
pub struct SystemClock(Instant);

impl SystemClock {
    pub fn new() -> SystemClock {
        SystemClock(Instant::now())
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        SystemClock::new()
    }
}

impl Clock for SystemClock {
    fn wall(&self) -> u64 {
        clock::now_ms()
    }

    fn mono(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Whether `wall` (ms since 1970) can be the present.
pub fn plausible(wall: u64) -> bool {
    (FLOOR_MS..CEILING_MS).contains(&wall)
}

/// Why the wall clock is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// It shows a year that cannot be.
    Unset,
    /// It has just jumped ahead.
    Jumped,
    /// It is behind what was recorded before.
    Behind,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Doubt::Unset => "the clock is not set",
            Doubt::Jumped => "the clock has just jumped ahead",
            Doubt::Behind => "the clock is hours behind the last recorded run",
        })
    }
}

/// The judgement at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    pub doubt: Option<Doubt>,
    /// The clock lies far behind and stays there: it was wrong before, and all is to be planned anew.
    pub rebased: bool,
}

/// Watches the wall clock from one look to the next.
#[derive(Debug)]
pub struct Watch {
    /// Wall and monotonic time of the last look.
    last: Option<(u64, u64)>,
    /// The latest wall time that is believed to have been.
    high: u64,
    /// The doubt, and the monotonic time at which it ends by itself.
    doubt: Option<(Doubt, u64)>,
}

impl Watch {
    /// `known` is the latest time (ms since 1970) that the stored jobs bear witness of.
    pub fn new(known: u64) -> Watch {
        Watch {
            last: None,
            high: known.min(CEILING_MS),
            doubt: None,
        }
    }

    /// Judges the wall clock at the monotonic time `mono`.
    pub fn look(&mut self, wall: u64, mono: u64) -> Look {
        let rebased = self.judge(wall, mono);
        self.last = Some((wall, mono));
        if self.doubt.is_none() {
            self.high = if rebased { wall } else { self.high.max(wall) };
        }
        Look {
            doubt: self.doubt.map(|(d, _)| d),
            rebased,
        }
    }

    fn judge(&mut self, wall: u64, mono: u64) -> bool {
        if !plausible(wall) {
            self.doubt = Some((Doubt::Unset, u64::MAX));
            return false;
        }
        let jumped = self
            .last
            .is_some_and(|(w, m)| wall > w + mono.saturating_sub(m) + JUMP_MS);
        if jumped || matches!(self.doubt, Some((Doubt::Unset, _))) {
            self.doubt = Some((Doubt::Jumped, mono + SETTLE_MS));
        }
        if wall.saturating_add(CLOCK_STEP_MS) < self.high {
            return match self.doubt {
                Some((Doubt::Behind, until)) if mono >= until => {
                    self.doubt = None;
                    true
                }
                Some((Doubt::Behind, _)) => false,
                _ => {
                    self.doubt = Some((Doubt::Behind, mono + BEHIND_MS));
                    false
                }
            };
        }
        match self.doubt {
            Some((Doubt::Jumped, until)) if mono < until => {}
            _ => self.doubt = None,
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_364_778_784;
    const HOUR: u64 = 3_600_000;
    const SANE: Look = Look {
        doubt: None,
        rebased: false,
    };

    fn doubt(d: Doubt) -> Look {
        Look {
            doubt: Some(d),
            rebased: false,
        }
    }

    #[test]
    fn a_router_that_boots_in_1970_waits_for_its_clock() {
        let mut w = Watch::new(NOW);
        assert_eq!(w.look(5_000, 0), doubt(Doubt::Unset));
        assert_eq!(w.look(65_000, 60_000), doubt(Doubt::Unset));
        // NTP sets it: it has to hold for a moment.
        assert_eq!(w.look(NOW + HOUR, 61_000), doubt(Doubt::Jumped));
        assert_eq!(w.look(NOW + HOUR + 9_000, 70_000), doubt(Doubt::Jumped));
        assert_eq!(w.look(NOW + HOUR + 10_000, 71_000), SANE);
    }

    #[test]
    fn a_start_with_a_good_clock_does_not_wait() {
        assert_eq!(Watch::new(NOW - 1).look(NOW, 0), SANE);
        assert_eq!(Watch::new(0).look(NOW, 0), SANE);
        // NTP stepping back by seconds, or a time zone mistake, is no reason to wait either.
        assert_eq!(Watch::new(NOW).look(NOW - 2 * HOUR, 0), SANE);
    }

    #[test]
    fn a_jump_ahead_that_comes_back_leaves_no_trace() {
        let mut w = Watch::new(0);
        assert_eq!(w.look(NOW, 0), SANE);
        assert_eq!(w.look(NOW + 87_600 * HOUR, 1_000), doubt(Doubt::Jumped));
        assert_eq!(w.look(NOW + 2_000, 2_000), doubt(Doubt::Jumped));
        assert_eq!(w.look(NOW + 12_000, 12_000), SANE);
    }

    #[test]
    fn a_clock_far_behind_is_believed_when_it_stays_there() {
        let mut w = Watch::new(0);
        assert_eq!(w.look(NOW, 0), SANE);
        let back = NOW - 100 * HOUR;
        assert_eq!(w.look(back, 1_000), doubt(Doubt::Behind));
        assert_eq!(w.look(back + 300_000, 301_000), doubt(Doubt::Behind));
        assert_eq!(
            w.look(back + 600_000, 601_000),
            Look {
                doubt: None,
                rebased: true
            }
        );
        assert_eq!(w.look(back + 601_000, 602_000), SANE);
        // Set right meanwhile: nothing was lost.
        let mut w = Watch::new(NOW);
        assert_eq!(w.look(back, 0), doubt(Doubt::Behind));
        assert_eq!(w.look(NOW + 5_000, 5_000), doubt(Doubt::Jumped));
        assert_eq!(w.look(NOW + 15_000, 15_000), SANE);
    }

    #[test]
    fn a_year_that_cannot_be_is_no_clock() {
        assert_eq!(Watch::new(0).look(CEILING_MS, 0), doubt(Doubt::Unset));
        assert_eq!(Watch::new(u64::MAX).look(u64::MAX, 0), doubt(Doubt::Unset));
        assert_eq!(Watch::new(0).look(FLOOR_MS - 1, 0), doubt(Doubt::Unset));
    }
}
