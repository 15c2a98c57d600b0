//! What commands write: colour, width, tables, and text of others made harmless.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;

use serde_json::Value;

use crate::config::Env;
use crate::sys::os;

/// Columns when the output is no terminal and `COLUMNS` does not say.
const DEFAULT_WIDTH: usize = 120;
/// Columns below which nothing is fitted any more.
const MIN_WIDTH: usize = 40;
/// Columns that a table cell keeps when the table has to shrink.
const MIN_CELL: usize = 8;

/// What a piece of text is, for those who see colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Heading,
    Good,
    Warn,
    Bad,
    Muted,
    Accent,
}

impl Tone {
    /// The parameters of the SGR sequence.
    fn code(self) -> &'static str {
        match self {
            Tone::Heading => "1",
            Tone::Good => "32",
            Tone::Warn => "33",
            Tone::Bad => "31",
            Tone::Muted => "2",
            Tone::Accent => "36",
        }
    }
}

/// The terminal, or what is in its place.
#[derive(Clone, Copy, Debug)]
pub struct Term {
    colour: bool,
    /// Columns to fit to.
    pub width: usize,
    /// Whether stdout is a terminal.
    pub interactive: bool,
}

impl Term {
    /// Looks at the descriptors and at `NO_COLOR`, `FORCE_COLOR`, `COLUMNS`.
    pub fn new(env: &Env, no_color: bool) -> Term {
        let interactive = os::is_terminal(1);
        let forced = env.get("FORCE_COLOR").map(|v| v.trim() != "0");
        let colour = match forced {
            _ if no_color => false,
            Some(forced) => forced,
            None => {
                interactive && env.text("NO_COLOR").is_none() && env.text("TERM") != Some("dumb")
            }
        };
        let columns = env.text("COLUMNS").and_then(|c| c.parse().ok());
        let width = columns.or_else(|| os::terminal_columns(1).map(usize::from));
        Term {
            colour,
            width: width.unwrap_or(DEFAULT_WIDTH).max(MIN_WIDTH),
            interactive,
        }
    }

    /// No colour, default width: for tests and for text that goes into files.
    pub fn plain() -> Term {
        Term {
            colour: false,
            width: DEFAULT_WIDTH,
            interactive: false,
        }
    }

    /// `text`, made harmless and in the colour of `tone`.
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        let text = clean(text);
        match self.colour {
            true => format!("\x1b[{}m{text}\x1b[0m", tone.code()),
            false => text.into_owned(),
        }
    }

    /// Rows under a heading in a frame that fits the width; long cells go on in further lines.
    pub fn table(&self, heads: &[&str], rows: &[Vec<String>]) -> String {
        let cells: Vec<Vec<Cow<'_, str>>> = rows
            .iter()
            .map(|r| r.iter().map(|c| clean(c)).collect())
            .collect();
        let widths = fit(heads, &cells, self.width);
        let line = |l: char, m: &str, r: char| {
            let bars: Vec<String> = widths.iter().map(|w| "─".repeat(w + 2)).collect();
            format!("{l}{}{r}\n", bars.join(m))
        };
        let mut out = line('┌', "┬", '┐');
        let heads: Vec<Cow<'_, str>> = heads.iter().map(|h| Cow::Borrowed(*h)).collect();
        self.row(&mut out, &heads, &widths, Some(Tone::Heading));
        out.push_str(&line('├', "┼", '┤'));
        for row in &cells {
            self.row(&mut out, row, &widths, None);
        }
        out.push_str(&line('└', "┴", '┘'));
        out
    }

    fn row(&self, out: &mut String, cells: &[Cow<'_, str>], widths: &[usize], tone: Option<Tone>) {
        let wrapped: Vec<Vec<String>> = widths
            .iter()
            .enumerate()
            .map(|(i, w)| wrap(cells.get(i).map_or("", |c| c.as_ref()), *w))
            .collect();
        let height = wrapped.iter().map(Vec::len).max().unwrap_or(1);
        for at in 0..height {
            out.push('│');
            for (cell, width) in wrapped.iter().zip(widths) {
                let text = cell.get(at).map_or("", String::as_str);
                let pad = " ".repeat(width.saturating_sub(columns(text)));
                let text = match tone {
                    Some(tone) => Cow::Owned(self.paint(tone, text)),
                    None => Cow::Borrowed(text),
                };
                let _ = write!(out, " {text}{pad} │");
            }
            out.push('\n');
        }
    }
}

/// Writes `text` and a line end to stdout.
///
/// Ends the process when nobody reads any more, as a signal would: the rest has no reader either.
pub fn say(text: &str) {
    put(&mut io::stdout().lock(), text);
}

/// Writes `text` and a line end to stderr.
pub fn warn(text: &str) {
    put(&mut io::stderr().lock(), text);
}

/// Writes `value` as indented JSON to stdout.
pub fn json(value: &Value) {
    say(&format!("{value:#}"));
}

fn put(to: &mut impl io::Write, text: &str) {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let written = to
        .write_all(text.as_bytes())
        .and_then(|()| to.write_all(end.as_bytes()))
        .and_then(|()| to.flush());
    if written.is_err_and(|e| e.kind() == io::ErrorKind::BrokenPipe) {
        std::process::exit(0);
    }
}

/// `text` without control characters other than tab and line end: they become `\x1b` and the like.
pub fn clean(text: &str) -> Cow<'_, str> {
    let bad = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !text.contains(bad) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\r' => {}
            c if bad(c) => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// Columns that `text` takes on a terminal.
pub fn columns(text: &str) -> usize {
    text.chars().map(char_columns).sum()
}

fn char_columns(c: char) -> usize {
    match u32::from(c) {
        0x0300..=0x036f | 0x200b..=0x200f | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f
        | 0x2e80..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1faff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// `text` in lines of at most `width` columns, broken at blanks where there are any.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            let mut word = word;
            if !line.is_empty() && columns(&line) + 1 + columns(word) > width {
                lines.push(std::mem::take(&mut line));
            } else if !line.is_empty() {
                line.push(' ');
            }
            while columns(&line) + columns(word) > width {
                let (head, tail) = split_at_columns(word, width.saturating_sub(columns(&line)));
                if tail.is_empty() {
                    break;
                }
                line.push_str(head);
                lines.push(std::mem::take(&mut line));
                word = tail;
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}

/// The most of `text` that takes at most `width` columns (one character at least), and the rest.
fn split_at_columns(text: &str, width: usize) -> (&str, &str) {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += char_columns(c);
        if used > width && at > 0 {
            return text.split_at(at);
        }
    }
    (text, "")
}

/// Column widths that fit into `width`: the widest gives way first.
fn fit(heads: &[&str], rows: &[Vec<Cow<'_, str>>], width: usize) -> Vec<usize> {
    let mut widths: Vec<usize> = heads
        .iter()
        .enumerate()
        .map(|(i, h)| {
            let cells = rows.iter().filter_map(|r| r.get(i));
            let lines = cells.flat_map(|c| c.split('\n')).map(columns);
            lines.max().unwrap_or(0).max(columns(h))
        })
        .collect();
    let frame = 3 * widths.len() + 1;
    while widths.iter().sum::<usize>() + frame > width {
        match widths.iter_mut().max() {
            Some(w) if *w > MIN_CELL => *w -= 1,
            _ => break,
        }
    }
    widths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Env {
        pairs.iter().copied().collect()
    }

    #[test]
    fn colour_is_asked_for_and_refused() {
        let painted = |pairs: &[(&str, &str)], no: bool| {
            Term::new(&env(pairs), no).paint(Tone::Good, "ok") != "ok"
        };
        assert!(painted(&[("FORCE_COLOR", "1"), ("NO_COLOR", "1")], false));
        assert!(!painted(&[("FORCE_COLOR", "1")], true));
        assert!(!painted(&[("FORCE_COLOR", "0")], false));
        assert!(!painted(&[("NO_COLOR", "1")], false));
    }

    #[test]
    fn a_table_fits_and_loses_nothing() {
        let term = Term {
            width: 40,
            ..Term::plain()
        };
        let long = "one two three four five six seven eight nine ten eleven";
        let text = term.table(&["Item", "Value"], &[vec!["a".into(), long.into()]]);
        assert!(text.lines().all(|l| columns(l) == 40), "{text}");
        for word in long.split(' ') {
            assert!(text.contains(word), "{word}");
        }
        assert!(text.starts_with("┌──────┬"));
    }

    #[test]
    fn words_longer_than_a_line_are_cut_and_wide_characters_count_twice() {
        assert_eq!(wrap("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(wrap("你好吗", 4), ["你好", "吗"]);
        assert_eq!(wrap("你", 1), ["你"]);
        assert_eq!(wrap("a b\nc", 9), ["a b", "c"]);
        assert_eq!(columns("e\u{301}"), 1);
    }

    #[test]
    fn text_of_others_cannot_steer_the_terminal() {
        assert_eq!(clean("a\x1b[2Jb\r\n\tc\u{9b}"), "a\\x1b[2Jb\n\tc\\x9b");
        assert_eq!(Term::plain().paint(Tone::Bad, "\x07"), "\\x07");
    }
}
