//! What stands between the values of a text: blanks and comments.

/// Blanks and comments up to the end of the line, and the rest from the line break on. What is all in one
/// line counts as rest.
pub fn split_line(between: &str) -> (&str, &str) {
    match first_break(between).0 {
        Some(at) => between.split_at(at),
        None => ("", between),
    }
}

/// Where the first line ends in blanks and comments, and whether that is the end of a `//` comment.
fn first_break(blanks: &str) -> (Option<usize>, bool) {
    let mut at = 0;
    while let Some(c) = blanks[at..].chars().next() {
        let rest = &blanks[at..];
        if rest.starts_with("/*") {
            at += rest.find("*/").map_or(rest.len(), |end| end + 2);
        } else if rest.starts_with("//") {
            let end = rest.find('\n');
            return (end.map(|end| at + end), true);
        } else if c == '\n' {
            return (Some(at), false);
        } else {
            at += c.len_utf8();
        }
    }
    (None, false)
}

/// Whether the last line of `blanks` ends in a comment that would swallow what follows.
pub fn runs_on(mut blanks: &str) -> bool {
    loop {
        match first_break(blanks) {
            (Some(at), _) => blanks = &blanks[at + 1..],
            (None, comment) => return comment,
        }
    }
}

/// Whether `blanks` begin with the end of a line.
pub fn breaks_line(blanks: &str) -> bool {
    blanks
        .trim_start_matches([' ', '\t', '\r'])
        .starts_with('\n')
}

/// Whether there is a comment in `blanks`.
pub fn has_comment(blanks: &str) -> bool {
    blanks.contains('/')
}

/// The blanks at the beginning of the line on which the byte `at` stands.
pub fn line_indent(text: &str, at: usize) -> String {
    let start = text[..at].rfind('\n').map_or(0, |i| i + 1);
    let blank = |c: &char| *c == ' ' || *c == '\t';
    text[start..at].chars().take_while(blank).collect()
}
