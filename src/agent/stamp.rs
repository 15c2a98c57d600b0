//! The time before a user's message: `[Sun 2026-11-22 15:56 UTC] hello`, stored and sent to the model.
//!
//! Taking it away again, for people, is `state::transcript`'s.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::state::transcript::without_stamp;

/// `text` with the time `ms` before it, in the zone of that name, or the host's. A text that has a stamp
/// already is left as it is.
pub fn stamp(text: &str, ms: u64, zone: Option<&str>) -> String {
    if without_stamp(text).len() != text.len() {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_put_once_and_can_be_taken_away() {
        let stamped = stamp("hello", 1_795_362_967_000, Some("UTC"));
        assert_eq!(stamped, "[Sun 2026-11-22 15:56 UTC] hello");
        assert_eq!(without_stamp(&stamped), "hello");
        assert_eq!(stamp(&stamped, 0, Some("UTC")), stamped);
        let berlin = stamp("", 1_795_362_967_000, Some("Europe/Berlin"));
        assert!(berlin.starts_with("[Sun 2026-11-22 16:56 "), "{berlin}");
        assert_eq!(without_stamp(&berlin), "");
    }
}
