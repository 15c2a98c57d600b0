//! When a job runs: `at`, `every` and `cron` schedules as jobs store them, and their next run.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use super::expr::{Expr, ExprError};
use super::next;
use crate::sys::id;

/// Offset of up to this many ms that expressions get which fire at minute 0 of many hours, so that not
/// all gateways of the world call at the full hour.
pub const TOP_OF_HOUR_STAGGER_MS: u64 = 300_000;

/// How far a run may lie in the future, in ms, and still be believed after the clock was set back.
/// Within it nothing is repeated; beyond it the clock was wrong before.
pub const CLOCK_STEP_MS: u64 = 3 * 3_600_000;

/// A schedule that a job holds.
#[derive(Clone, Debug)]
pub enum When {
    /// Once, at this time (ms since 1970).
    At(u64),
    /// Every so many ms, counted from the anchor or from the last run.
    Every { every: u64, anchor: Option<u64> },
    Cron {
        expr: Box<Expr>,
        zone: TimeZone,
        stagger: u64,
    },
}

/// Why a schedule cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhenError {
    Expr(ExprError),
    /// The name is not in the system's zoneinfo.
    Zone(String),
    /// What is wrong with the fields of the schedule.
    Fields(&'static str),
}

impl fmt::Display for WhenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WhenError::Expr(e) => write!(f, "TypeError: {e}"),
            WhenError::Zone(name) => {
                write!(
                    f,
                    "unknown time zone '{name}': use an IANA name such as Europe/Berlin; zones come from /usr/share/zoneinfo"
                )
            }
            WhenError::Fields(what) => write!(f, "invalid cron schedule: {what}"),
        }
    }
}

impl std::error::Error for WhenError {}

impl When {
    /// Reads the `schedule` of a job.
    pub fn parse(schedule: &Map<String, Value>) -> Result<When, WhenError> {
        let number = |key: &str| {
            schedule
                .get(key)
                .and_then(Value::as_f64)
                .filter(|n| *n >= 0.0)
        };
        match schedule.get("kind").and_then(Value::as_str) {
            Some("at") => schedule
                .get("at")
                .and_then(Value::as_str)
                .and_then(parse_time)
                .map(When::At)
                .ok_or(WhenError::Fields("at is not an ISO-8601 time")),
            Some("every") => Ok(When::Every {
                every: (number("everyMs").ok_or(WhenError::Fields("everyMs is required"))? as u64)
                    .max(1),
                anchor: number("anchorMs").map(|n| n as u64),
            }),
            Some("cron") => {
                let text = schedule.get("expr").and_then(Value::as_str);
                let text = text.ok_or(WhenError::Fields("expr is required"))?;
                let expr = Expr::parse(text).map_err(WhenError::Expr)?;
                let stagger = match number("staggerMs") {
                    Some(n) => n as u64,
                    None => default_stagger(text).unwrap_or(0),
                };
                let zone = zone(schedule.get("tz").and_then(Value::as_str))?;
                Ok(When::Cron {
                    expr: Box::new(expr),
                    zone,
                    stagger,
                })
            }
            _ => Err(WhenError::Fields("kind must be at, every or cron")),
        }
    }

    /// The next run after `now` of the job `id`, which last ran at `last`.
    ///
    /// `at` schedules give their time even when it is past: whether the job has run is not known here.
    pub fn next(&self, id: &str, created: u64, last: Option<u64>, now: u64) -> Option<u64> {
        // A last run in the future: the clock was set back. Believe it when it was a small step.
        let last = last.filter(|last| *last <= now.saturating_add(CLOCK_STEP_MS));
        match self {
            When::At(at) => Some(*at),
            When::Every { every, anchor } => {
                let after_last = last.map(|last| last.saturating_add(*every));
                // Made while the clock was far ahead: only the phase of the anchor means something.
                let anchor = anchor.unwrap_or(created);
                let wrong = created > now.saturating_add(CLOCK_STEP_MS);
                let anchor = if wrong { anchor % every } else { anchor };
                after_last
                    .filter(|next| *next > now)
                    .or_else(|| Some(grid(anchor, *every, now)))
            }
            When::Cron {
                expr,
                zone,
                stagger,
            } => {
                let offset = stable_offset(id, *stagger);
                let from = last.map_or(now, |last| last.max(now));
                let base = next::next_after(expr, from.saturating_sub(offset), zone)?;
                Some(base + offset)
            }
        }
    }

    /// The next run when the one due at `due` starts at `now`: intervals keep their grid.
    pub fn next_after_due(&self, id: &str, due: u64, now: u64) -> Option<u64> {
        match self {
            When::At(_) => None,
            When::Every { every, .. } => Some(grid(due, *every, now)),
            When::Cron { .. } => self.next(id, due, Some(due), now),
        }
    }

    /// Whether there is no further run after the first.
    pub fn is_once(&self) -> bool {
        matches!(self, When::At(_))
    }
}

/// The first of `anchor`, `anchor + every`, … after `now`.
fn grid(anchor: u64, every: u64, now: u64) -> u64 {
    if now < anchor {
        return anchor;
    }
    anchor.saturating_add(((now - anchor) / every + 1).saturating_mul(every))
}

/// The offset of the job `id` within `stagger` ms: the same at each run and after each restart.
fn stable_offset(job: &str, stagger: u64) -> u64 {
    if stagger <= 1 {
        return 0;
    }
    let digest = id::sha256(job.as_bytes());
    u64::from(u32::from_be_bytes([
        digest[0], digest[1], digest[2], digest[3],
    ])) % stagger
}

/// The stagger that an expression gets when its job names none.
pub fn default_stagger(expr: &str) -> Option<u64> {
    let fields: Vec<&str> = expr.split_whitespace().collect();
    let many_hours = match fields[..] {
        ["0", hour, _, _, _] | ["0", "0", hour, _, _, _] => hour.contains('*'),
        _ => false,
    };
    many_hours.then_some(TOP_OF_HOUR_STAGGER_MS)
}

/// The zone of that name; the host's own without one.
pub fn zone(name: Option<&str>) -> Result<TimeZone, WhenError> {
    match name.map(str::trim).filter(|n| !n.is_empty()) {
        None => Ok(TimeZone::system()),
        Some(name) => {
            TimeZone::get(name).map_err(|_| WhenError::Zone(name.chars().take(64).collect()))
        }
    }
}

/// A time as users write it, in ms since 1970: ms, ISO 8601 with a zone, or without one in UTC.
pub fn parse_time(text: &str) -> Option<u64> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().ok().filter(|n| *n > 0);
    }
    let instant = text.parse::<Timestamp>().ok().or_else(|| {
        // Other words after the time (zone names, months) are not for us to guess.
        let plain = text
            .bytes()
            .all(|b| b.is_ascii_digit() || b"-:.,Tt ".contains(&b));
        let civil = match text.parse::<DateTime>() {
            Ok(t) if plain => t,
            _ => text
                .parse::<Date>()
                .ok()
                .filter(|_| plain)?
                .to_datetime(jiff::civil::Time::midnight()),
        };
        jiff::tz::Offset::UTC.to_timestamp(civil).ok()
    })?;
    u64::try_from(instant.as_millisecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: u64 = 1_795_364_778_784;
    const MINUTE: u64 = 60_000;

    fn when(schedule: Value) -> When {
        When::parse(schedule.as_object().unwrap()).unwrap()
    }

    #[test]
    fn an_interval_counts_from_its_anchor_or_from_the_last_run() {
        let w = when(json!({"kind": "every", "everyMs": 60_000, "anchorMs": 1}));
        // As recorded from the reference.
        assert_eq!(
            w.next("x", 0, None, 1_795_364_778_937),
            Some(1_795_364_820_001)
        );
        assert_eq!(w.next("x", 0, Some(NOW - 10), NOW), Some(NOW - 10 + MINUTE));
        assert_eq!(w.next("x", 0, None, 0), Some(1));
        // Exactly on the grid: that moment is over.
        assert_eq!(w.next("x", 0, None, 60_001), Some(120_001));
        let w = when(json!({"kind": "every", "everyMs": 86_400_000}));
        assert_eq!(w.next("x", NOW, None, NOW), Some(NOW + 86_400_000));
    }

    #[test]
    fn a_late_run_does_not_move_the_grid() {
        let w = when(json!({"kind": "every", "everyMs": 60_000, "anchorMs": 0}));
        assert_eq!(w.next_after_due("x", 60_000, 60_040), Some(120_000));
        assert_eq!(w.next_after_due("x", 60_000, 200_000), Some(240_000));
    }

    #[test]
    fn an_offset_is_the_same_for_the_same_job_and_within_the_window() {
        let w = when(json!({"kind": "cron", "expr": "0 * * * *", "tz": "UTC"}));
        let first = w.next("job-a", 0, None, NOW).unwrap();
        assert_eq!(w.next("job-a", 0, None, NOW), Some(first));
        assert!(first % 3_600_000 < TOP_OF_HOUR_STAGGER_MS);
        assert_ne!(first, w.next("job-b", 0, None, NOW).unwrap());
        // The next one is an hour later to the ms: the offset does not count twice.
        assert_eq!(
            w.next("job-a", 0, Some(first), first),
            Some(first + 3_600_000)
        );
        let exact = when(json!({"kind": "cron", "expr": "0 * * * *", "tz": "UTC", "staggerMs": 0}));
        assert_eq!(exact.next("job-a", 0, None, NOW).unwrap() % 3_600_000, 0);
    }

    #[test]
    fn only_many_full_hours_are_staggered() {
        for (expr, expected) in [
            ("0 * * * *", true),
            ("0 */2 * * *", true),
            ("0 0 * * * *", true),
            ("0 7 * * *", false),
            ("30 * * * *", false),
            ("0 0 7 * * *", false),
            ("@hourly", false),
            ("0 0 * * * * 2030", false),
        ] {
            assert_eq!(default_stagger(expr).is_some(), expected, "{expr}");
        }
    }

    #[test]
    fn a_clock_set_back_repeats_nothing_unless_it_was_far_ahead() {
        let w = when(json!({"kind": "cron", "expr": "*/10 * * * *", "tz": "UTC"}));
        let ran = NOW / 600_000 * 600_000;
        assert_eq!(
            w.next("x", 0, Some(ran + 20), ran - 2_000),
            Some(ran + 600_000)
        );
        let back = NOW - 10 * 365 * 86_400_000;
        assert_eq!(
            w.next("x", 0, Some(NOW), back),
            Some(back / 600_000 * 600_000 + 600_000)
        );
    }

    #[test]
    fn times_are_read_as_the_reference_reads_them() {
        for (text, iso) in [
            ("2027-06-10T16:24:31Z", "2027-06-10T16:24:31.000Z"),
            ("2027-06-10T16:24:31.5+02:00", "2027-06-10T14:24:31.500Z"),
            ("2027-06-10T16:24:31+0200", "2027-06-10T14:24:31.000Z"),
            ("2027-06-10T16:24", "2027-06-10T16:24:00.000Z"),
            ("2027-06-10", "2027-06-10T00:00:00.000Z"),
            (" 1812644671000 ", "2027-06-10T16:24:31.000Z"),
            ("1960-01-01T00:00:00Z", ""),
            ("soonish", ""),
            ("", ""),
            ("0", ""),
            ("2027-13-01", ""),
            ("99999999999999999999999", ""),
        ] {
            assert_eq!(
                parse_time(text)
                    .map(crate::sys::clock::iso)
                    .unwrap_or_default(),
                iso,
                "{text}"
            );
        }
    }

    #[test]
    fn what_cannot_be_understood_says_why() {
        for (schedule, text) in [
            (
                json!({"kind": "cron", "expr": "not a cron"}),
                "TypeError: CronPattern: invalid configuration format ('not a cron'), exactly five, six, or seven space separated parts are required.",
            ),
            (
                json!({"kind": "cron", "expr": "* * * * *", "tz": "Mars/Olympus"}),
                "unknown time zone 'Mars/Olympus'",
            ),
            (
                json!({"kind": "cron", "expr": "* * * * *", "tz": "../../etc/passwd"}),
                "unknown time zone",
            ),
            (json!({"kind": "lunar"}), "kind must be at, every or cron"),
            (json!({"kind": "every"}), "everyMs is required"),
            (json!({}), "kind must be at, every or cron"),
        ] {
            let error = When::parse(schedule.as_object().unwrap())
                .unwrap_err()
                .to_string();
            assert!(error.contains(text), "{error}");
        }
    }
}
