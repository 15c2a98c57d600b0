//! Which days are asked about, and where a day begins.

use jiff::civil::Date;

use crate::methods::Call;
use crate::protocol::RpcError;
use crate::state::usage::Zone;
use crate::sys::clock;

/// Days that are looked at when the caller says nothing.
const DEFAULT_DAYS: i64 = 30;
/// The most days that one answer is about.
const MAX_DAYS: i64 = 3660;

/// Days from `start` to `end`, both included, as `2026-11-22`.
#[derive(Debug)]
pub struct Range {
    pub zone: Zone,
    pub start: String,
    pub end: String,
}

impl Range {
    /// Of parameters without a shape: what cannot be read counts as missing.
    pub fn lenient(call: &Call<'_>) -> Range {
        let date = |key: &str| call.str(key).and_then(parse);
        let days = call.params.get("days").and_then(|d| d.as_f64());
        Range::new(zone(call), date("startDate"), date("endDate"), days)
    }

    /// Of parameters whose dates have to be dates; `method` begins the error text.
    pub fn strict(call: &Call<'_>, method: &str) -> Result<Range, RpcError> {
        let date = |key: &str| match call.str(key) {
            None => Ok(None),
            Some(text) => parse(text).map(Some).ok_or_else(|| {
                let pattern = r#"must match pattern "^\d{4}-\d{2}-\d{2}$""#;
                RpcError::invalid(format!("invalid {method} params: at /{key}: {pattern}"))
            }),
        };
        let (start, end) = (date("startDate")?, date("endDate")?);
        Ok(Range::new(zone(call), start, end, None))
    }

    fn new(zone: Zone, start: Option<Date>, end: Option<Date>, days: Option<f64>) -> Range {
        let today = parse(&zone.date(clock::now_ms())).unwrap_or(Date::MAX);
        let back = |from: Date, days: i64| {
            from.checked_sub(jiff::Span::new().days(days))
                .unwrap_or(Date::MIN)
        };
        let (start, end) = match (start, end, days) {
            (Some(start), Some(end), _) => (start, end),
            (_, _, days) => {
                let days = days.map_or(DEFAULT_DAYS, |d| d as i64).clamp(1, MAX_DAYS);
                (back(today, days - 1), today)
            }
        };
        let start = start.max(back(end, MAX_DAYS - 1)).min(end);
        Range {
            zone,
            start: start.to_string(),
            end: end.to_string(),
        }
    }

    /// How many days that are.
    pub fn days(&self) -> i64 {
        match (parse(&self.start), parse(&self.end)) {
            (Some(start), Some(end)) => start.until(end).map_or(0, |s| i64::from(s.get_days())) + 1,
            _ => 0,
        }
    }
}

fn zone(call: &Call<'_>) -> Zone {
    match call.str("mode") {
        Some("utc") => Zone::utc(),
        Some("specific") => call
            .str("utcOffset")
            .and_then(Zone::parse)
            .unwrap_or_else(Zone::utc),
        _ => Zone::local(),
    }
}

/// `2026-11-22`, and nothing else.
fn parse(text: &str) -> Option<Date> {
    let shape = text.len() == 10
        && text.bytes().enumerate().all(|(i, b)| match i {
            4 | 7 => b == b'-',
            _ => b.is_ascii_digit(),
        });
    shape.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: &str, end: &str, days: Option<f64>) -> Range {
        Range::new(Zone::utc(), parse(start), parse(end), days)
    }

    #[test]
    fn ranges_are_whole_days_within_bounds() {
        let r = range("2026-11-01", "2026-11-03", Some(99.0));
        assert_eq!((r.start.as_str(), r.days()), ("2026-11-01", 3));
        assert_eq!(range("", "", None).days(), 30);
        assert_eq!(range("2026-11-01", "", Some(2.0)).days(), 2);
        assert_eq!(range("", "", Some(0.0)).days(), 1);
        assert_eq!(range("", "", Some(1e300)).days(), MAX_DAYS);
        assert_eq!(range("", "", Some(f64::NAN)).days(), 1);
        assert_eq!(range("2026-11-03", "2026-11-01", None).days(), 1);
        assert_eq!(range("0001-01-01", "2026-11-01", None).days(), MAX_DAYS);
    }

    #[test]
    fn dates_have_one_form() {
        for bad in [
            "",
            "2026-1-1",
            "2026-13-01",
            "2026-11-01T00",
            "20261-1-01",
            "2026/11/01",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert!(parse("2026-02-28").is_some());
    }
}
