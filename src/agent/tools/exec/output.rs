//! What a command writes, kept within bounds, and as text that can be shown.

use std::collections::VecDeque;

/// Bytes that are kept of a command's output; older ones go.
pub const MAX_KEPT: usize = 200_000;
/// Bytes of it that one result gives.
pub const MAX_SHOWN: usize = 48 * 1024;
/// Bytes of the beginning, when not all is given.
const HEAD: usize = 8 * 1024;

/// The end of what was written, and how much there was.
#[derive(Debug, Default)]
pub struct Output {
    kept: VecDeque<u8>,
    /// Bytes written in all.
    total: u64,
    /// Bytes that `fresh` has given.
    given: u64,
}

impl Output {
    pub fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let bytes = &bytes[bytes.len().saturating_sub(MAX_KEPT)..];
        let over = (self.kept.len() + bytes.len()).saturating_sub(MAX_KEPT);
        self.kept.drain(..over);
        self.kept.extend(bytes);
    }

    /// All that is kept.
    pub fn text(&self) -> String {
        clean(&self.bytes(0))
    }

    /// What came since the last call; `ended`: nothing will come any more.
    pub fn fresh(&mut self, ended: bool) -> String {
        let dropped = self.dropped();
        let skipped = dropped.saturating_sub(self.given);
        let from = self.given.max(dropped) - dropped;
        let mut bytes = self.bytes(usize::try_from(from).unwrap_or(usize::MAX));
        if !ended {
            // A character may still be on its way.
            bytes.truncate(bytes.len() - unfinished(&bytes));
        }
        self.given = dropped + from + bytes.len() as u64;
        let text = clean(&bytes);
        match skipped {
            0 => text,
            n => format!("[{n} bytes are gone]\n{text}"),
        }
    }

    /// Whether `fresh` has something to give.
    pub fn has_fresh(&self) -> bool {
        self.given < self.total
    }

    /// Whether nothing was ever written.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// Whether the beginning is gone.
    pub fn is_cut(&self) -> bool {
        self.dropped() > 0
    }

    /// The last `count` bytes, as text.
    pub fn tail(&self, count: usize) -> String {
        clean(&self.bytes(self.kept.len().saturating_sub(count)))
    }

    fn dropped(&self) -> u64 {
        self.total - self.kept.len() as u64
    }

    fn bytes(&self, from: usize) -> Vec<u8> {
        self.kept.iter().skip(from).copied().collect()
    }
}

/// `text`, or its beginning and its end when it is long.
pub fn shortened(text: &str) -> String {
    if text.len() <= MAX_SHOWN {
        return text.to_string();
    }
    let head = crate::protocol::frame::clip(text, HEAD);
    let mut from = text.len() - (MAX_SHOWN - HEAD);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    let left = from - head.len();
    format!("{head}\n[… {left} bytes left out …]\n{}", &text[from..])
}

/// Bytes at the end that are the beginning of a character.
fn unfinished(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let needs = match bytes[bytes.len() - back] {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            0x80..=0xbf => continue,
            _ => return 0,
        };
        return if needs > back { back } else { 0 };
    }
    0
}

/// `bytes` as text without what terminals are steered with.
pub fn clean(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\x1b' => skip_escape(&mut chars),
            '\n' | '\t' => out.push(c),
            '\r' => {
                // The start of the line anew; `\r\n` is one end of a line.
                if chars.peek().is_some_and(|next| *next != '\n') {
                    out.push('\n');
                }
            }
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// Skips what follows an escape character and belongs to it.
fn skip_escape(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match chars.peek() {
        Some('[') => {
            chars.next();
            // Parameters, and one final byte.
            while chars.next_if(|c| matches!(c, ' '..='?')).is_some() {}
            chars.next_if(|c| matches!(c, '@'..='~'));
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            chars.next();
            while let Some(c) = chars.next_if(|c| *c != '\n') {
                match c {
                    '\x07' => return,
                    '\x1b' => {
                        chars.next_if(|c| *c == '\\');
                        return;
                    }
                    _ => {}
                }
            }
        }
        Some(' '..='~') => {
            chars.next();
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_kept_and_the_rest_is_counted() {
        let mut output = Output::default();
        output.push(b"begin");
        assert_eq!(output.fresh(false), "begin");
        assert!(!output.has_fresh() && !output.is_cut());
        output.push(&vec![b'x'; MAX_KEPT]);
        output.push(b"end");
        assert!(output.is_cut() && output.has_fresh());
        let text = output.text();
        assert_eq!((text.len(), text.ends_with("xend")), (MAX_KEPT, true));
        assert_eq!(output.tail(4), "xend");
        assert!(output.fresh(false).starts_with("[3 bytes are gone]\nxxx"));
        assert_eq!(output.fresh(false), "");
        output.push(&vec![b'y'; 2 * MAX_KEPT]);
        assert_eq!(output.text().len(), MAX_KEPT);
    }

    #[test]
    fn a_character_is_not_given_in_halves() {
        let mut output = Output::default();
        let euro = "€".as_bytes();
        output.push(b"a");
        output.push(&euro[..2]);
        assert_eq!(output.fresh(false), "a");
        output.push(&euro[2..]);
        assert_eq!(output.fresh(false), "€");
        output.push(&euro[..1]);
        assert_eq!(output.fresh(false), "");
        assert_eq!(output.fresh(true), "\u{fffd}");
        output.push(b"\xff\x80\x80\x80\x80");
        assert!(!output.fresh(false).is_empty());
    }

    #[test]
    fn terminals_are_not_steered() {
        for (bytes, want) in [
            (&b"a\x1b[31mred\x1b[0m b"[..], "ared b"),
            (b"\x1b]0;title\x07x", "x"),
            (b"\x1b]8;;http://a\x1b\\link", "link"),
            (b"\x1bPq#0\x1b\\y", "y"),
            (b"10%\r20%\r\n", "10%\n20%\n"),
            (b"a\x00\x07\x08b\x7f", "ab"),
            (b"\x1b", ""),
            (b"\x1b[", ""),
            (b"\x1b]open\nnext", "\nnext"),
            (b"\x1b(Bx", "Bx"),
        ] {
            assert_eq!(clean(bytes), want, "{bytes:?}");
        }
    }

    #[test]
    fn long_text_is_given_at_both_ends() {
        let text = format!("first{}last", "é".repeat(MAX_SHOWN));
        let short = shortened(&text);
        assert!(short.len() < MAX_SHOWN + 64);
        assert!(short.starts_with("first") && short.ends_with("last"));
        assert!(short.contains("bytes left out"));
        assert_eq!(shortened("x"), "x");
    }
}
