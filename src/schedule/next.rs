//! The next instant that a cron expression names, in a zone with its gaps and folds.
//!
//! A time that a gap leaves out runs when it would have been without the change, so half past two
//! becomes half past three. A time that a fold repeats runs once, at the first pass; expressions that
//! name every hour run in both passes, because "every quarter of an hour" means elapsed time.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};
use jiff::{Span, Timestamp};

use super::expr::Expr;

/// No date from this year on is looked for.
const END_YEAR: i16 = 3000;

/// The first instant after `after` (both ms since 1970) that `expr` names on the clocks of `zone`.
///
/// `None` when there is none before the year 3000, as for 30 February.
pub fn next_after(expr: &Expr, after: u64, zone: &TimeZone) -> Option<u64> {
    let second = i64::try_from(after / 1000).ok()?.checked_add(1)?;
    let mut at = Timestamp::from_second(second).ok()?;
    loop {
        // Between two changes of offset local time runs straight.
        let span = Stretch::around(at, zone)?;
        if let Some(found) = span.first(expr, at) {
            return u64::try_from(found.as_millisecond()).ok();
        }
        at = span.end?;
        if span.offset.to_datetime(at).year() >= END_YEAR {
            return None;
        }
    }
}

/// A stretch of time with one offset from UTC.
struct Stretch {
    offset: Offset,
    /// The change that began it, with the offset before. `None`: it has no beginning.
    begin: Option<(Timestamp, Offset)>,
    /// The next change. `None`: there is none.
    end: Option<Timestamp>,
}

impl Stretch {
    fn around(at: Timestamp, zone: &TimeZone) -> Option<Stretch> {
        let tick = Span::new().nanoseconds(1);
        let begin = match zone.preceding(at.checked_add(tick).ok()?).next() {
            None => None,
            Some(t) => {
                let before = zone.to_offset(t.timestamp().checked_sub(tick).ok()?);
                Some((t.timestamp(), before))
            }
        };
        Some(Stretch {
            offset: zone.to_offset(at),
            begin,
            end: zone.following(at).next().map(|t| t.timestamp()),
        })
    }

    /// The first instant of the stretch, from `at` on, that `expr` names.
    fn first(&self, expr: &Expr, at: Timestamp) -> Option<Timestamp> {
        let mut from = self.offset.to_datetime(at);
        let until = self.end.map(|end| self.offset.to_datetime(end));
        let mut skipped = None;
        if let Some((change, before)) = self.begin {
            let (left, entered) = (before.to_datetime(change), self.offset.to_datetime(change));
            if left < entered {
                // A gap: what it leaves out is read on the old clock.
                skipped = next_local(expr, before.to_datetime(at), Some(entered))
                    .and_then(|local| before.to_timestamp(local).ok());
            } else if from < left && !expr.every_hour() {
                // A fold: the second pass does not count.
                from = left;
            }
        }
        let regular =
            next_local(expr, from, until).and_then(|local| self.offset.to_timestamp(local).ok());
        match (skipped, regular) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}

/// The first local time within `from..until` that `expr` names.
fn next_local(expr: &Expr, from: DateTime, until: Option<DateTime>) -> Option<DateTime> {
    let (mut date, mut time) = (from.date(), from.time());
    while until.is_none_or(|until| date <= until.date()) {
        if !expr.has_year(date.year()) {
            date = Date::new(expr.year_after(date.year())?, 1, 1).ok()?;
            time = Time::midnight();
            continue;
        }
        if date.year() >= END_YEAR {
            return None;
        }
        if !expr.has_month(date) {
            date = date.last_of_month().tomorrow().ok()?;
            time = Time::midnight();
            continue;
        }
        if expr.has_day(date)
            && let Some(time) = expr.time_from(time)
        {
            let found = date.to_datetime(time);
            return until.is_none_or(|until| found < until).then_some(found);
        }
        date = date.tomorrow().ok()?;
        time = Time::midnight();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap()
    }

    fn ms(text: &str) -> u64 {
        text.parse::<Timestamp>().unwrap().as_millisecond() as u64
    }

    /// The next `n` runs after `from`, in UTC without seconds.
    fn runs(expr: &str, tz: &str, from: &str, n: usize) -> Vec<String> {
        let expr = Expr::parse(expr).unwrap();
        let (zone, mut at) = (zone(tz), ms(from));
        let mut out = Vec::new();
        while out.len() < n {
            let Some(next) = next_after(&expr, at, &zone) else {
                break;
            };
            assert!(next > at, "{next} is not after {at}");
            let text = crate::sys::clock::iso(next);
            out.push(text.strip_suffix(":00.000Z").unwrap_or(&text).to_string());
            at = next;
        }
        out
    }

    // What the reference's library answers to the same questions.
    #[test]
    fn runs_fall_where_the_reference_has_them() {
        for (expr, from, expected) in [
            (
                "0 0 L * *",
                "2026-11-22T16:26:00Z",
                &[
                    "2026-11-30T00:00",
                    "2026-12-31T00:00",
                    "2027-01-31T00:00",
                    "2027-02-28T00:00",
                ][..],
            ),
            (
                "0 0 LW * *",
                "2026-11-22T16:26:00Z",
                &["2026-11-30T00:00", "2026-12-31T00:00", "2027-01-29T00:00"],
            ),
            (
                "0 0 15W * *",
                "2027-04-22T16:26:00Z",
                &["2027-05-14T00:00", "2027-06-15T00:00"],
            ),
            ("0 0 1W * *", "2027-04-22T16:26:00Z", &["2027-05-03T00:00"]),
            (
                "0 0 * * 5L",
                "2026-11-22T16:26:00Z",
                &["2026-11-27T00:00", "2026-12-25T00:00", "2027-01-29T00:00"],
            ),
            (
                "0 0 * * fri#L",
                "2026-11-22T16:26:00Z",
                &["2026-11-27T00:00", "2026-12-25T00:00"],
            ),
            (
                "0 0 * * friL",
                "2026-11-22T16:26:00Z",
                &["2026-11-27T00:00"],
            ),
            (
                "0 0 1,L * *",
                "2026-11-22T16:26:00Z",
                &["2026-11-30T00:00", "2026-12-01T00:00", "2026-12-31T00:00"],
            ),
            (
                "0 0 * * sat-sun",
                "2026-11-22T16:26:00Z",
                &["2026-11-28T00:00", "2026-11-29T00:00", "2026-12-05T00:00"],
            ),
            (
                "0 0 * * sun-mon",
                "2026-11-22T16:26:00Z",
                &["2026-11-23T00:00", "2026-11-29T00:00", "2026-11-30T00:00"],
            ),
            (
                "0 0 1 * +MON",
                "2026-11-22T16:26:00Z",
                &["2027-02-01T00:00", "2027-03-01T00:00", "2027-11-01T00:00"],
            ),
            (
                "0 0 1 * MON",
                "2026-11-22T16:26:00Z",
                &["2026-11-23T00:00", "2026-11-30T00:00", "2026-12-01T00:00"],
            ),
            (
                "0 0 * * 1-5#2",
                "2026-11-22T16:26:00Z",
                &["2026-12-08T00:00", "2026-12-09T00:00"],
            ),
            (
                "0 0 * jan-mar *",
                "2026-11-22T16:26:00Z",
                &["2027-01-01T00:00", "2027-01-02T00:00"],
            ),
            (
                "0 0 0 1 1 * 2030,2040",
                "2026-11-22T16:26:00Z",
                &["2030-01-01T00:00", "2040-01-01T00:00"],
            ),
            (
                "0 12 29 2 *",
                "2026-11-22T16:26:00Z",
                &["2028-02-29T12:00", "2032-02-29T12:00"],
            ),
            (
                "@daily",
                "2026-11-22T23:59:59.999Z",
                &["2026-11-23T00:00", "2026-11-24T00:00"],
            ),
            (
                "*/20 22-23,0 * * *",
                "2026-11-22T22:39:00Z",
                &[
                    "2026-11-22T22:40",
                    "2026-11-22T23:00",
                    "2026-11-22T23:20",
                    "2026-11-22T23:40",
                    "2026-11-23T00:00",
                ],
            ),
        ] {
            assert_eq!(runs(expr, "UTC", from, expected.len()), expected, "{expr}");
        }
    }

    #[test]
    fn a_question_mark_is_a_star_also_for_the_day_of_the_month() {
        assert_eq!(
            runs("0 12 ? * MON", "UTC", "2026-11-22T16:26:00Z", 2),
            ["2026-11-23T12:00", "2026-11-30T12:00"]
        );
    }

    #[test]
    fn seconds_count_and_the_present_second_is_over() {
        assert_eq!(
            runs("*/20 * * * * *", "UTC", "2026-11-22T16:26:20.500Z", 3),
            [
                "2026-11-22T16:26:40.000Z",
                "2026-11-22T16:27",
                "2026-11-22T16:27:20.000Z"
            ]
        );
    }

    #[test]
    fn what_never_comes_is_found_out() {
        for expr in [
            "0 0 30 2 *",
            "0 0 31 4,6,9,11 *",
            "0 0 0 1 1 * 2020",
            "0 0 0 29 2 * 2027",
        ] {
            assert_eq!(
                runs(expr, "Europe/Berlin", "2026-11-22T16:26:00Z", 1),
                [""; 0],
                "{expr}"
            );
        }
    }

    #[test]
    fn a_gap_moves_a_fixed_time_and_swallows_nothing() {
        // Clocks go from 02:00 to 03:00 at 01:00 UTC.
        assert_eq!(
            runs("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", 3),
            ["2026-03-28T01:30", "2026-03-29T01:30", "2026-03-30T00:30"]
        );
        assert_eq!(
            runs("*/15 * * * *", "Europe/Berlin", "2026-03-29T00:44:00Z", 5),
            [
                "2026-03-29T00:45",
                "2026-03-29T01:00",
                "2026-03-29T01:15",
                "2026-03-29T01:30",
                "2026-03-29T01:45"
            ]
        );
        // 02:30 moved to 03:30, and 03:30 itself: one run.
        assert_eq!(
            runs("30 2,3 * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", 2),
            ["2026-03-29T01:30", "2026-03-30T00:30"]
        );
        assert_eq!(
            runs("30 2 * * *", "America/New_York", "2026-03-08T05:00:00Z", 2),
            ["2026-03-08T07:30", "2026-03-09T06:30"]
        );
    }

    #[test]
    fn a_fold_runs_a_fixed_time_once_and_an_interval_all_along() {
        // Clocks go from 03:00 back to 02:00 at 01:00 UTC.
        assert_eq!(
            runs("30 2 * * *", "Europe/Berlin", "2026-10-24T10:00:00Z", 2),
            ["2026-10-25T00:30", "2026-10-26T01:30"]
        );
        // The same asked in the middle of the second pass.
        assert_eq!(
            runs("30 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00Z", 1),
            ["2026-10-26T01:30"]
        );
        assert_eq!(
            runs("*/30 * * * *", "Europe/Berlin", "2026-10-25T00:29:00Z", 5),
            [
                "2026-10-25T00:30",
                "2026-10-25T01:00",
                "2026-10-25T01:30",
                "2026-10-25T02:00",
                "2026-10-25T02:30"
            ]
        );
    }

    #[test]
    fn a_midnight_that_does_not_exist_moves_too() {
        // Santiago skips 00:00 to 01:00.
        assert_eq!(
            runs("0 0 * * *", "America/Santiago", "2026-09-05T12:00:00Z", 2),
            ["2026-09-06T04:00", "2026-09-07T03:00"]
        );
    }

    #[test]
    fn a_missing_day_is_no_trap() {
        // Samoa had no 30 December 2011.
        assert_eq!(
            runs("0 12 * * *", "Pacific/Apia", "2011-12-29T00:00:00Z", 3),
            ["2011-12-29T22:00", "2011-12-30T22:00", "2011-12-31T22:00"]
        );
    }
}
