//! Foreign text made fit for a log line: one line, bounded, nothing that a terminal would obey.

use std::fmt::Write as _;

/// Bytes of one message, after escaping.
pub const MAX_MESSAGE_BYTES: usize = 8 * 1024;
/// Bytes of one value that a peer chose (a header, a client name), after escaping.
pub const MAX_FIELD_BYTES: usize = 240;
/// Longest identifier that is shown whole.
const MAX_ID_CHARS: usize = 24;

/// `value` for a `name=value` in a message: control characters escaped, at most [`MAX_FIELD_BYTES`] and an ellipsis.
pub fn field(value: &str) -> String {
    clean(value, MAX_FIELD_BYTES)
}

/// A connection, request or run id as log lines show it: a UUID as `36c9daf5…4cd6`, any other
/// over 24 characters as its first 12 and last 4.
pub fn short_id(id: &str) -> String {
    let count = id.chars().count();
    let cut = |head: usize| {
        let head: String = id.chars().take(head).collect();
        let tail: String = id.chars().skip(count - 4).collect();
        field(&format!("{head}…{tail}"))
    };
    if is_uuid(id) {
        cut(8)
    } else if count > MAX_ID_CHARS {
        cut(12)
    } else {
        field(id)
    }
}

fn is_uuid(id: &str) -> bool {
    id.len() == 36
        && id.bytes().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

/// `text` on one line: control and direction characters escaped, at most `max` bytes before an ellipsis.
pub(super) fn clean(text: &str, max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max) + 4);
    for c in text.chars() {
        let before = out.len();
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if is_unprintable(c) => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
        if out.len() > max {
            out.truncate(before);
            out.push('…');
            break;
        }
    }
    out
}

/// Controls, line separators, and marks that reorder the text around them.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_stays_one_bounded_line() {
        assert_eq!(
            field("a\nb\r\t\x1b[2J\u{9b}\u{202e}é"),
            "a\\nb\\r\\t\\u{1b}[2J\\u{9b}\\u{202e}é"
        );
        for long in [
            "x".repeat(16_000),
            "é".repeat(16_000),
            "\x1b".repeat(16_000),
        ] {
            let f = field(&long);
            assert!(f.len() <= 256 && f.ends_with('…'), "{}", f.len());
        }
        assert_eq!(field(&"x".repeat(MAX_FIELD_BYTES)).len(), MAX_FIELD_BYTES);
    }

    #[test]
    fn ids_are_shortened() {
        assert_eq!(
            short_id("36c9daf5-1111-4222-8333-444455554cd6"),
            "36c9daf5…4cd6"
        );
        assert_eq!(short_id("abcdefghijklmnopqrstuvwxyz"), "abcdefghijkl…wxyz");
        assert_eq!(
            short_id("abcdefghijklmnopqrstuvwx"),
            "abcdefghijklmnopqrstuvwx"
        );
        assert_eq!(short_id("\n"), "\\n");
        assert_eq!(short_id(""), "");
    }
}
