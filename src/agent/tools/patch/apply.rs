//! Hunks applied to a text: where they fit, and what comes of it.

use super::parse::Hunk;

/// How strictly lines are compared, from the strictest on.
const WAYS: &[fn(&str, &str) -> bool] = &[
    |a, b| a == b,
    |a, b| a.trim_end() == b.trim_end(),
    |a, b| a.trim() == b.trim(),
];

/// `text` after `hunks`, which come in its order. An error shows the lines that were not found.
pub fn apply(text: &str, hunks: &[Hunk<'_>]) -> Result<String, String> {
    let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let lines: Vec<&str> = text.lines().collect();
    let mut out: Vec<&str> = Vec::with_capacity(lines.len());
    let mut done = 0;
    for hunk in hunks {
        let mut from = done;
        if let Some(after) = hunk.after {
            let at = find(&lines, &[after], from, false);
            from = at.ok_or_else(|| format!("the line `{after}` was not found"))? + 1;
        }
        let at = match (hunk.old.is_empty(), hunk.after) {
            // Nothing to look for: it goes behind the line named, or to the end.
            (true, Some(_)) if !hunk.at_end => from,
            (true, _) => lines.len(),
            (false, _) => {
                let found = find(&lines, &hunk.old, from, hunk.at_end);
                found.ok_or_else(|| {
                    format!("these lines were not found:\n{}", hunk.old.join("\n"))
                })?
            }
        };
        out.extend(&lines[done..at]);
        out.extend(&hunk.new);
        done = at + hunk.old.len();
    }
    out.extend(&lines[done..]);
    let mut joined = out.join(end);
    if !joined.is_empty() {
        joined.push_str(end);
    }
    Ok(joined)
}

/// Where `wanted` stands in `lines` from `from` on; at their very end when `at_end` says so.
fn find(lines: &[&str], wanted: &[&str], from: usize, at_end: bool) -> Option<usize> {
    let last = lines.len().checked_sub(wanted.len())?;
    let from = if at_end { from.max(last) } else { from };
    WAYS.iter().find_map(|same| {
        (from..=last).find(|at| {
            let here = &lines[*at..*at + wanted.len()];
            here.iter().zip(wanted).all(|(a, b)| same(a, b))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hunk<'a>(after: Option<&'a str>, old: &[&'a str], new: &[&'a str]) -> Hunk<'a> {
        Hunk {
            after,
            old: old.to_vec(),
            new: new.to_vec(),
            at_end: false,
        }
    }

    #[test]
    fn hunks_are_found_in_order() {
        let text = "x\na\nx\nb\nx\n";
        let two = [hunk(None, &["x"], &["1"]), hunk(None, &["x"], &["2"])];
        assert_eq!(apply(text, &two).unwrap(), "1\na\n2\nb\nx\n");
        let named = [hunk(Some("b"), &["x"], &["3"])];
        assert_eq!(apply(text, &named).unwrap(), "x\na\nx\nb\n3\n");
        let last = [Hunk {
            at_end: true,
            ..hunk(None, &["x"], &["4"])
        }];
        assert_eq!(apply(text, &last).unwrap(), "x\na\nx\nb\n4\n");
        let back = [hunk(None, &["b"], &["1"]), hunk(None, &["a"], &["2"])];
        assert!(apply(text, &back).is_err());
    }

    #[test]
    fn lines_are_put_in_and_taken_out() {
        assert_eq!(
            apply("a\nb\n", &[hunk(None, &[], &["c"])]).unwrap(),
            "a\nb\nc\n"
        );
        assert_eq!(
            apply("a\nb\n", &[hunk(Some("a"), &[], &["c"])]).unwrap(),
            "a\nc\nb\n"
        );
        assert_eq!(apply("", &[hunk(None, &[], &["c"])]).unwrap(), "c\n");
        assert_eq!(apply("a\n", &[hunk(None, &["a"], &[])]).unwrap(), "");
    }

    #[test]
    fn blanks_at_the_ends_and_line_ends_may_differ() {
        let text = "if x {\r\n    y  \r\n}\r\n";
        let one = [hunk(None, &["    y", "}"], &["    z", "}"])];
        assert_eq!(apply(text, &one).unwrap(), "if x {\r\n    z\r\n}\r\n");
        let one = [hunk(None, &["y"], &["z"])];
        assert_eq!(apply(text, &one).unwrap(), "if x {\r\nz\r\n}\r\n");
        let error = apply(text, &[hunk(None, &["no", "such"], &[])]).unwrap_err();
        assert!(error.ends_with("no\nsuch"), "{error}");
    }
}
