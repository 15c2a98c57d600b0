//! Cron expressions of five, six or seven fields: parsing, and which dates and times they name.
//!
//! `[second] minute hour day-of-month month day-of-week [year]`. Lists, ranges, steps on `*` or on a
//! range, month and weekday names; `L`, `LW` and `15W` in the day, `5L`, `5#2` and a leading `+` (day of
//! month *and* of week) in the weekday; `?` is `*`. Nicknames `@hourly` to `@yearly`. With both days
//! restricted either one is enough, as in Vixie cron. When such a time is, in a zone with its gaps and
//! folds, is next.rs.

use std::collections::BTreeSet;
use std::fmt;

use jiff::civil::{Date, Time};

/// Bytes that an expression may have.
pub const MAX_EXPR_BYTES: usize = 256;

/// Why a text is not a cron expression. The text names the field and what it expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExprError(String);

impl fmt::Display for ExprError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ExprError {}

/// A parsed cron expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expr {
    /// Bit n: second n.
    second: u64,
    minute: u64,
    hour: u64,
    /// Bit n: day n of the month, from 1.
    day: u64,
    /// `L` in the day field.
    last_day: bool,
    /// `LW`: the last Monday to Friday of the month.
    last_weekday: bool,
    /// Bit n: the Monday to Friday nearest to day n.
    nearest: u64,
    month: u64,
    /// For each weekday from Sunday: bits 0 to 4 its first to fifth in the month, bit 5 its last.
    weekday: [u8; 7],
    any_day: bool,
    any_weekday: bool,
    /// `+`: day of month and day of week must both match.
    both: bool,
    /// `None`: every year.
    years: Option<BTreeSet<i16>>,
}

/// All five occurrences of a weekday, and the last.
const EVERY_WEEK: u8 = 0x3f;
const LAST_WEEK: u8 = 0x20;
const ALL_HOURS: u64 = (1 << 24) - 1;

struct Field {
    name: &'static str,
    min: u16,
    max: u16,
    names: &'static [&'static str],
}

impl Field {
    const fn new(name: &'static str, min: u16, max: u16) -> Field {
        let names: &'static [&'static str] = &[];
        Field {
            name,
            min,
            max,
            names,
        }
    }
}

const SECOND: Field = Field::new("second", 0, 59);
const MINUTE: Field = Field::new("minute", 0, 59);
const HOUR: Field = Field::new("hour", 0, 23);
const DAY: Field = Field::new("day of month", 1, 31);
const MONTH: Field = Field {
    names: &[
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ],
    ..Field::new("month", 1, 12)
};
/// 7 is Sunday as well as 0.
const WEEKDAY: Field = Field {
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
    ..Field::new("day of week", 0, 7)
};
const YEAR: Field = Field::new("year", 1, 9999);

/// What follows a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    None,
    /// `#n`: bits of `Expr::weekday`.
    Week(u8),
    /// `W`.
    Nearest,
}

impl Expr {
    /// Reads an expression.
    pub fn parse(text: &str) -> Result<Expr, ExprError> {
        if text.len() > MAX_EXPR_BYTES {
            return Err(error(format!(
                "expression is longer than {MAX_EXPR_BYTES} bytes"
            )));
        }
        let text = nickname(text)?;
        let parts: Vec<&str> = text.split_whitespace().collect();
        let (second, rest, year) = match parts.len() {
            5 => ("0", &parts[..], "*"),
            6 => (parts[0], &parts[1..], "*"),
            7 => (parts[0], &parts[1..6], parts[6]),
            _ => {
                // In the words of the reference, which scripts may match.
                return Err(error(format!(
                    "invalid configuration format ('{text}'), exactly five, six, or seven space separated parts are required."
                )));
            }
        };
        let mut expr = Expr {
            second: bits(&SECOND, second)?,
            minute: bits(&MINUTE, rest[0])?,
            hour: bits(&HOUR, rest[1])?,
            day: 0,
            last_day: false,
            last_weekday: false,
            nearest: 0,
            month: bits(&MONTH, rest[3])?,
            weekday: [0; 7],
            any_day: is_any(rest[2]),
            any_weekday: false,
            both: false,
            years: None,
        };
        expr.set_day(rest[2])?;
        expr.set_weekday(rest[4])?;
        if !is_any(year) {
            let mut years = BTreeSet::new();
            each(&YEAR, year, &mut |n, _| {
                years.insert(n as i16);
                Ok(())
            })?;
            expr.years = Some(years);
        }
        Ok(expr)
    }

    /// Whether every hour of the day is named, so that the second pass of a fold counts too.
    pub fn every_hour(&self) -> bool {
        self.hour == ALL_HOURS
    }

    /// The earliest named time of day from `from` on.
    pub fn time_from(&self, from: Time) -> Option<Time> {
        // Parsing leaves no field empty.
        let first = |set| next_bit(set, 0).unwrap_or(0);
        let at = |h, m, s| Time::new(h, m, s, 0).ok();
        let mut hour = next_bit(self.hour, from.hour())?;
        if hour == from.hour() {
            if next_bit(self.minute, from.minute()) == Some(from.minute())
                && let Some(second) = next_bit(self.second, from.second())
            {
                return at(hour, from.minute(), second);
            }
            let later = from.minute() + i8::from(self.minute & (1 << from.minute()) != 0);
            if let Some(minute) = next_bit(self.minute, later) {
                return at(hour, minute, first(self.second));
            }
            hour = next_bit(self.hour, hour + 1)?;
        }
        at(hour, first(self.minute), first(self.second))
    }

    /// Whether year and month are named.
    pub fn has_month(&self, date: Date) -> bool {
        self.has_year(date.year()) && self.month & (1 << date.month()) != 0
    }

    /// Whether the year is named.
    pub fn has_year(&self, year: i16) -> bool {
        self.years.as_ref().is_none_or(|y| y.contains(&year))
    }

    /// The first named year after `year`; the next one when all are.
    pub fn year_after(&self, year: i16) -> Option<i16> {
        match &self.years {
            None => year.checked_add(1),
            Some(years) => years.range(year.checked_add(1)?..).next().copied(),
        }
    }

    /// Whether the day fields name `date`; year and month are not looked at.
    pub fn has_day(&self, date: Date) -> bool {
        let day = self.day & (1 << date.day()) != 0
            || (self.last_day && date.day() == date.days_in_month())
            || (self.last_weekday && date == last_weekday(date))
            || (self.nearest != 0
                && (1..=31)
                    .any(|n| self.nearest & (1 << n) != 0 && nearest(date, n) == Some(date.day())));
        if self.any_weekday {
            return day;
        }
        let weekday = self.has_weekday(date);
        if self.both || self.any_day {
            day && weekday
        } else {
            day || weekday
        }
    }

    fn has_weekday(&self, date: Date) -> bool {
        let weeks = self.weekday[date.weekday().to_sunday_zero_offset() as usize];
        let nth = (date.day() - 1) / 7;
        weeks & (1 << nth) != 0 || (weeks & LAST_WEEK != 0 && date.day() + 7 > date.days_in_month())
    }

    fn set_day(&mut self, text: &str) -> Result<(), ExprError> {
        let text = text.to_ascii_uppercase();
        if text == "LW" {
            self.last_weekday = true;
            return Ok(());
        }
        for part in text.split(',') {
            match part {
                "L" => self.last_day = true,
                _ => {
                    let (mut day, mut near) = (0, 0);
                    each(&DAY, part, &mut |n, mark| {
                        match mark {
                            Mark::Nearest => near |= 1 << n,
                            _ => day |= 1 << n,
                        }
                        Ok(())
                    })?;
                    self.day |= day;
                    self.nearest |= near;
                }
            }
        }
        Ok(())
    }

    fn set_weekday(&mut self, text: &str) -> Result<(), ExprError> {
        let text = match text.strip_prefix('+') {
            Some("") => return Err(error("day of week is empty after '+'")),
            Some(rest) => {
                self.both = true;
                rest
            }
            None => text,
        };
        self.any_weekday = is_any(text);
        let weekday = &mut self.weekday;
        each(&WEEKDAY, text, &mut |n, mark| {
            weekday[usize::from(n % 7)] |= match mark {
                Mark::Week(bits) => bits,
                _ => EVERY_WEEK,
            };
            Ok(())
        })
    }
}

fn is_any(text: &str) -> bool {
    text == "*" || text == "?"
}

/// The lowest set bit at or above `from`.
fn next_bit(set: u64, from: i8) -> Option<i8> {
    let from = u32::try_from(from).ok().filter(|n| *n < 64)?;
    let above = set & (u64::MAX << from);
    (above != 0).then(|| above.trailing_zeros() as i8)
}

/// The last Monday to Friday of the month of `date`.
fn last_weekday(date: Date) -> Date {
    let last = date.last_of_month();
    let back = match last.weekday().to_sunday_zero_offset() {
        0 => 2,
        6 => 1,
        _ => 0,
    };
    day_of(last, last.day() - back).unwrap_or(last)
}

/// The Monday to Friday nearest to day `n` of the month of `date`, never in another month.
fn nearest(date: Date, n: i8) -> Option<i8> {
    let day = day_of(date, n)?;
    Some(match day.weekday().to_sunday_zero_offset() {
        0 if n == date.days_in_month() => n - 2,
        0 => n + 1,
        6 if n == 1 => n + 2,
        6 => n - 1,
        _ => n,
    })
}

fn day_of(date: Date, n: i8) -> Option<Date> {
    Date::new(date.year(), date.month(), n).ok()
}

fn error(text: impl fmt::Display) -> ExprError {
    ExprError(format!("CronPattern: {text}"))
}

fn nickname(text: &str) -> Result<&str, ExprError> {
    Ok(match text.trim().to_ascii_lowercase().as_str() {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        "@reboot" => {
            return Err(error(
                "@reboot is an event, not a time; use BOOT.md or the service manager",
            ));
        }
        _ => text,
    })
}

/// The values of a field without marks, as bits.
fn bits(field: &Field, text: &str) -> Result<u64, ExprError> {
    let mut set = 0;
    each(field, text, &mut |n, _| {
        set |= 1 << n;
        Ok(())
    })?;
    Ok(set)
}

type Visit<'a> = &'a mut dyn FnMut(u16, Mark) -> Result<(), ExprError>;

/// Calls `visit` for each value that `text` names in `field`.
fn each(field: &Field, text: &str, visit: Visit) -> Result<(), ExprError> {
    for item in text.split(',') {
        if item.is_empty() {
            return Err(error(format!(
                "{} has an empty entry in '{text}'",
                field.name
            )));
        }
        each_of_item(field, item, visit)?;
    }
    Ok(())
}

fn each_of_item(field: &Field, item: &str, visit: Visit) -> Result<(), ExprError> {
    let bad = |why: &str| Err(error(format!("{} '{item}': {why}", field.name)));
    let (range, mark) = mark(field, item)?;
    let (range, step) = match range.split_once('/') {
        None => (range, None),
        Some((range, step)) => match step.parse::<u16>() {
            Ok(0) => return bad("a step of 0 never moves"),
            Ok(n) if n <= steps(field) => (range, Some(n)),
            Ok(_) => return bad("the step is larger than the field"),
            Err(_) => return bad("a step is a number"),
        },
    };
    if mark == Mark::Nearest && (step.is_some() || range.contains('-')) {
        return bad("W takes a single day");
    }
    let (from, to) = if is_any(range) {
        if mark != Mark::None && step.is_none() {
            return bad("a modifier needs a number");
        }
        if field.max == YEAR.max {
            return bad("a step of years needs a range, as in 2026-2040/2");
        }
        // 7 is a second name of Sunday; a step must not count it.
        (
            field.min,
            if field.names.len() == 7 { 6 } else { field.max },
        )
    } else if let Some((from, to)) = range.split_once('-') {
        let from = number(field, from, item)?;
        let to = match number(field, to, item)? {
            // `fri-sun` ends on the Sunday after.
            0 if field.names.len() == 7 && to.eq_ignore_ascii_case("sun") => 7,
            n => n,
        };
        if from > to {
            return bad("the range runs backwards");
        }
        (from, to)
    } else {
        if step.is_some() {
            return bad("a step needs '*' or a range, as in */5 or 0-30/5");
        }
        let n = number(field, range, item)?;
        (n, n)
    };
    for n in (from..=to).step_by(usize::from(step.unwrap_or(1))) {
        visit(n, mark)?;
    }
    Ok(())
}

/// Splits `5#2`, `5L` and `15W` into number and mark.
fn mark<'a>(field: &Field, item: &'a str) -> Result<(&'a str, Mark), ExprError> {
    let bad = |why: &str| Err(error(format!("{} '{item}': {why}", field.name)));
    let weekday = field.names.len() == 7;
    if let Some((head, nth)) = item.split_once('#') {
        return match nth {
            _ if !weekday => bad("'#' belongs to the day of week"),
            "l" | "L" => Ok((head, Mark::Week(LAST_WEEK))),
            "1" | "2" | "3" | "4" | "5" => Ok((head, Mark::Week(1 << (nth.as_bytes()[0] - b'1')))),
            _ => bad("'#' takes 1 to 5 or L"),
        };
    }
    // No weekday's name ends in L.
    if weekday && let Some(head) = item.strip_suffix(['l', 'L']) {
        return Ok((head, Mark::Week(LAST_WEEK)));
    }
    if field.max == DAY.max
        && let Some(head) = item.strip_suffix(['w', 'W'])
    {
        return Ok((head, Mark::Nearest));
    }
    Ok((item, Mark::None))
}

fn steps(field: &Field) -> u16 {
    if field.names.len() == 7 {
        7
    } else {
        field.max - field.min + 1
    }
}

fn number(field: &Field, text: &str, item: &str) -> Result<u16, ExprError> {
    if let Some(i) = field
        .names
        .iter()
        .position(|n| n.eq_ignore_ascii_case(text))
    {
        return Ok(i as u16 + field.min);
    }
    let digits = !text.is_empty() && text.len() <= 4 && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u16>() {
        Ok(n) if digits && (field.min..=field.max).contains(&n) => Ok(n),
        Ok(_) if digits => Err(error(format!(
            "{} '{item}': {text} is not within {} to {}",
            field.name, field.min, field.max
        ))),
        _ => Err(error(format!("{} '{item}': not a number", field.name))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_of_fields_is_told_in_the_words_of_the_reference() {
        assert_eq!(
            Expr::parse("not a cron").unwrap_err().to_string(),
            "CronPattern: invalid configuration format ('not a cron'), exactly five, six, or seven space separated parts are required."
        );
    }

    #[test]
    fn what_the_reference_refuses_is_refused() {
        for text in [
            "",
            "* * * *",
            "* * * * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * 32 * *",
            "* * * 0 *",
            "* * * 13 *",
            "* * * * 8",
            "5/15 * * * *",
            "/5 * * * *",
            "*/0 * * * *",
            "*/61 * * * *",
            "* */25 * * *",
            "* * */32 * *",
            "* * * * L",
            "* * * * 5#6",
            "* * * * 5#0",
            "* * * * *#2",
            "* * 5#2 * *",
            "* * * * MON,",
            "* * 1-5W * *",
            "* * LW,15 * *",
            "* * */2W * *",
            "* * 0W * *",
            "* * * * 5W",
            "5-1 * * * *",
            "a * * * *",
            "* * * foo *",
            "* * * * +",
            "@reboot",
            "@never",
            "0 0 0 1 1 * */2",
            "0 0 0 1 1 * 0",
            "0 0 0 1 1 * 10000",
            "2027-01-01T00:00:00",
            "-1 * * * *",
            "1- * * * *",
            "1--2 * * * *",
            "1,,2 * * * *",
            "99999999999999999999 * * * *",
            "* * * mon *",
        ] {
            assert!(Expr::parse(text).is_err(), "{text}");
        }
        assert!(Expr::parse(&"1,".repeat(200)).is_err());
    }

    #[test]
    fn what_the_reference_takes_is_taken() {
        for text in [
            "* * * * *",
            "? ? ? ? ?",
            "  0  0 * * *  ",
            "0\t0 * * *",
            "*/5 * * * *",
            "0-30/5 * * * *",
            "1,2,5-9 * * * *",
            "0 0 L * *",
            "0 0 lw * *",
            "0 0 15w * *",
            "0 0 1,15W,L * *",
            "0 0 * JAN,feb *",
            "0 0 * * Mon-Fri",
            "0 0 * * 7",
            "0 0 * * 0-7",
            "0 0 * * 5L",
            "0 0 * * fri#2",
            "0 0 * * +1",
            "* * * * * *",
            "* * * * * * 2026-2028",
            "@Daily",
            " @hourly ",
            "*/7 * * * *",
            "0 0 * * */2",
            "0 0 * * mon-fri/2",
        ] {
            assert!(Expr::parse(text).is_ok(), "{text}: {:?}", Expr::parse(text));
        }
    }

    #[test]
    fn time_of_day_steps_through_its_fields() {
        let expr = Expr::parse("30 10,20 8,9 * * *").unwrap();
        let next = |h, m, s| expr.time_from(Time::constant(h, m, s, 0));
        assert_eq!(next(0, 0, 0), Some(Time::constant(8, 10, 30, 0)));
        assert_eq!(next(8, 10, 30), Some(Time::constant(8, 10, 30, 0)));
        assert_eq!(next(8, 10, 31), Some(Time::constant(8, 20, 30, 0)));
        assert_eq!(next(8, 15, 0), Some(Time::constant(8, 20, 30, 0)));
        assert_eq!(next(8, 20, 31), Some(Time::constant(9, 10, 30, 0)));
        assert_eq!(next(9, 20, 31), None);
        assert_eq!(next(10, 0, 0), None);
    }
}
