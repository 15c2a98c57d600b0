//! Paths to a setting as people write them: `agents.list[0].id`, `models.providers["my.own"].baseUrl`.

use serde_json::Value;

/// Most steps of a path.
const MAX_STEPS: usize = 64;

/// The steps of `text`, or `None` when it is not a path: empty, an empty step, an open bracket.
///
/// A backslash takes the next character as it is; a step in brackets may be quoted.
pub fn parse(text: &str) -> Option<Vec<String>> {
    let mut steps = Vec::new();
    let mut step = String::new();
    // After a bracket the next step needs no name before the dot.
    let mut closed = false;
    let mut chars = text.trim().chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => step.push(chars.next()?),
            '.' => {
                if !closed {
                    steps.push(named(std::mem::take(&mut step))?);
                }
                closed = false;
                continue;
            }
            '[' => {
                let at_start = step.is_empty() && steps.is_empty();
                if !(closed || at_start) {
                    steps.push(named(std::mem::take(&mut step))?);
                }
                let rest = chars.as_str();
                let (inside, after) = bracket(rest)?;
                steps.push(named(inside)?);
                chars = after.chars();
                closed = true;
                continue;
            }
            _ if closed => return None,
            c => step.push(c),
        }
        closed = false;
    }
    if !closed {
        steps.push(named(step)?);
    }
    (steps.len() <= MAX_STEPS).then_some(steps)
}

/// What `steps` lead to in `value`; a number is an index where there is a list.
pub fn find<'a>(value: &'a Value, steps: &[impl AsRef<str>]) -> Option<&'a Value> {
    steps.iter().try_fold(value, |value, step| match value {
        Value::Object(map) => map.get(step.as_ref()),
        Value::Array(items) => items.get(step.as_ref().parse::<usize>().ok()?),
        _ => None,
    })
}

/// `path` extended by `step`, dotted.
pub fn join(path: &str, step: &str) -> String {
    match path {
        "" => step.to_string(),
        path => format!("{path}.{step}"),
    }
}

fn named(step: String) -> Option<String> {
    let trimmed = step.trim();
    (!trimmed.is_empty()).then(|| trimmed.to_string())
}

/// The content of a bracket whose opening has been read, and what follows it.
fn bracket(text: &str) -> Option<(String, &str)> {
    match text.chars().next().filter(|c| matches!(c, '"' | '\'')) {
        Some(quote) => {
            let (inside, after) = text[1..].split_once(quote)?;
            Some((inside.to_string(), after.strip_prefix(']')?))
        }
        None => {
            let (inside, after) = text.split_once(']')?;
            Some((inside.to_string(), after))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_way_to_write_a_path() {
        let steps = |t: &str| parse(t).map(|s| s.join("|"));
        assert_eq!(steps("a").as_deref(), Some("a"));
        assert_eq!(steps("a.b[0].c").as_deref(), Some("a|b|0|c"));
        assert_eq!(steps("a.0.c").as_deref(), Some("a|0|c"));
        assert_eq!(steps("[0][1]").as_deref(), Some("0|1"));
        assert_eq!(steps("a[\"b.c\"].d").as_deref(), Some("a|b.c|d"));
        assert_eq!(steps("a['b]c']").as_deref(), Some("a|b]c"));
        assert_eq!(steps("a.b\\.c").as_deref(), Some("a|b.c"));
        for bad in [
            "", " ", ".", "a.", ".a", "a..b", "a[", "a[]", "a[0]b", "a['b", "\\",
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
        assert_eq!(parse(&"a.".repeat(100)), None);
    }

    #[test]
    fn a_number_is_an_index_only_in_a_list() {
        let value = json!({"l": [1, {"x": 2}], "m": {"0": 3}});
        assert_eq!(find(&value, &["l", "1", "x"]), Some(&json!(2)));
        assert_eq!(find(&value, &["m", "0"]), Some(&json!(3)));
        assert_eq!(find(&value, &["l", "2"]), None);
        assert_eq!(find(&value, &["l", "x"]), None);
        assert_eq!(find(&value, &[] as &[&str]), Some(&value));
    }
}
