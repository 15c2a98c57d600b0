//! The time before a user's message: `[Sun 2026-11-22 15:56 UTC] hello`, stored and sent to the model,
//! not shown to people.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// `text` with the time `ms` before it, in the zone of that name, or the host's. A text that has a stamp
/// already is left as it is.
pub fn stamp(text: &str, ms: u64, zone: Option<&str>) -> String {
    if strip(text).len() != text.len() {
        return text.to_string();
    }
    let zone = zone
        .and_then(|name| TimeZone::get(name).ok())
        .unwrap_or_else(TimeZone::system);
    let Ok(time) = Timestamp::from_millisecond(i64::try_from(ms).unwrap_or(i64::MAX)) else {
        return text.to_string();
    };
    let time = time.to_zoned(zone);
    format!("[{}] {text}", time.strftime("%a %Y-%m-%d %H:%M %Z"))
}

/// `text` without the stamp before it.
pub fn strip(text: &str) -> &str {
    split(text).unwrap_or(text)
}

/// What follows the stamp, or `None` when there is none.
fn split(text: &str) -> Option<&str> {
    let (stamp, rest) = text.strip_prefix('[')?.split_once("] ")?;
    let mut words = stamp.split(' ');
    let day = words.next()?;
    let (date, time) = (words.next()?, words.next()?);
    let fits = day.len() == 3
        && day.bytes().all(|b| b.is_ascii_alphabetic())
        && has_form(date, b"0000-00-00")
        && has_form(time, b"00:00")
        && words.next().is_none_or(|zone| zone.len() <= 8)
        && words.next().is_none();
    fits.then_some(rest)
}

/// Whether `text` has a digit wherever `form` has a 0, and is equal elsewhere.
fn has_form(text: &str, form: &[u8]) -> bool {
    text.len() == form.len()
        && text.bytes().zip(form).all(|(b, f)| match f {
            b'0' => b.is_ascii_digit(),
            f => b == *f,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stamped_is_stripped() {
        let stamped = stamp("hello", 1_795_362_967_000, Some("UTC"));
        assert_eq!(stamped, "[Sun 2026-11-22 15:56 UTC] hello");
        assert_eq!(strip(&stamped), "hello");
        assert_eq!(stamp(&stamped, 0, Some("UTC")), stamped);
        let berlin = stamp("", 1_795_362_967_000, Some("Europe/Berlin"));
        assert!(berlin.starts_with("[Sun 2026-11-22 16:56 "), "{berlin}");
        assert_eq!(strip(&berlin), "");
    }

    #[test]
    fn other_brackets_stay() {
        for text in [
            "[x] y",
            "[Sun 2026-11-22] hello",
            "[Sun 2026-11-22 15:56 UTC]hello",
            "[Sun 2026-1-22 15:56 UTC] hello",
            "[Sun 2026-11-22 15:56 UTC and more] x",
            "[",
            "",
        ] {
            assert_eq!(strip(text), text);
        }
    }
}
