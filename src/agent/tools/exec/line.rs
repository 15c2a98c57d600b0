//! A command line that is nothing but words.
//!
//! No shell is understood here, on purpose: a line is either plain words, which are then executed as such
//! and without a shell, or it is something that only a person can judge. Quotes are taken where nothing
//! within them has a meaning of its own.

/// Words of a line.
const MAX_WORDS: usize = 4096;

/// Characters that mean something to some shell, wherever they stand unquoted.
const SPECIAL: &[char] = &[
    '|', '&', ';', '<', '>', '(', ')', '$', '`', '\\', '*', '?', '[', ']', '{', '}', '!', '^', '\n',
];
/// Characters that mean something even within double quotes.
const SPECIAL_QUOTED: &[char] = &['$', '`', '\\', '!', '\n'];

/// The words of `line`; `None` when it holds anything else: an operator, a substitution, a pattern, an
/// assignment, a comment, a control character.
pub fn words(line: &str) -> Option<Vec<String>> {
    let mut words: Vec<String> = Vec::new();
    // The word that is being read; `Some("")` for an empty pair of quotes.
    let mut word: Option<String> = None;
    let mut chars = line.trim_matches([' ', '\t']).chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' => words.extend(word.take()),
            '\'' | '"' => {
                let text = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        end if end == c => break,
                        special if c == '"' && SPECIAL_QUOTED.contains(&special) => return None,
                        control if is_odd(control) => return None,
                        other => text.push(other),
                    }
                }
            }
            special if SPECIAL.contains(&special) || is_odd(special) => return None,
            // A comment, a home directory, a job.
            '#' | '~' | '%' if word.is_none() => return None,
            other => word.get_or_insert_default().push(other),
        }
        if words.len() > MAX_WORDS {
            return None;
        }
    }
    words.extend(word);
    let first = words.first()?;
    // `A=b program` sets a variable; some shells take `=program` for a path.
    if first.is_empty() || first.contains('=') {
        return None;
    }
    // `--file=~/x` and `a=~/x` are expanded by some shells.
    match words.iter().any(|w| w.contains("=~") || w.contains(":~")) {
        true => None,
        false => Some(words),
    }
}

/// Control characters, and those that show a line as something else than it is.
pub fn is_odd(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t')
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(line: &str) -> Vec<String> {
        words(line).unwrap_or_else(|| panic!("{line:?} is not plain"))
    }

    #[test]
    fn words_and_simple_quotes() {
        assert_eq!(plain("  ls  -l\t/tmp "), ["ls", "-l", "/tmp"]);
        assert_eq!(
            plain("grep -n 'a $b *' \"c d\" ''"),
            ["grep", "-n", "a $b *", "c d", ""]
        );
        assert_eq!(plain("a'b'\"c\"d"), ["abcd"]);
        assert_eq!(
            plain("echo a#b x~ 50% --x=1 a=b"),
            ["echo", "a#b", "x~", "50%", "--x=1", "a=b"]
        );
        assert_eq!(plain("'a b' c"), ["a b", "c"]);
    }

    /// TX-04, TX-05, TX-19
    #[test]
    fn whatever_a_shell_would_look_at_is_not_plain() {
        for line in [
            "",
            "   ",
            "''",
            "echo a;touch X",
            "echo a && touch X",
            "echo a || touch X",
            "echo a | sh",
            "echo a & touch X",
            "echo <(touch X)",
            "echo > X",
            "cat << E\n$(touch X)\nE",
            "echo $(touch X)",
            "echo `touch X`",
            "echo \"`touch X`\"",
            "echo \"$(touch X)\"",
            "echo \"$\\\n(touch X)\"",
            "echo ${IFS+$(touch X)}",
            "echo $HOME",
            "head *",
            "head ?",
            "head [a]",
            "grep x {a,b}",
            "head ~/f",
            "head ~",
            "head --file=~/f",
            "echo hi # ; touch X",
            "#",
            "FOO=bar ls",
            "SHELLOPTS=xtrace PS4='$(touch X)' bash -lc 'echo hi'",
            "=ls",
            "%1",
            "!!",
            "echo \"!x\"",
            "^a^b",
            "echo a\nb",
            "echo a\rb",
            "echo a\0b",
            "echo 'a\u{202e}b'",
            "echo a\u{200b}",
            "echo \\a",
            "echo 'open",
            "echo \"open",
            "(ls)",
            "{ ls; }",
        ] {
            assert_eq!(words(line), None, "{line:?}");
        }
        assert_eq!(words(&"x ".repeat(MAX_WORDS + 2)), None);
    }
}
