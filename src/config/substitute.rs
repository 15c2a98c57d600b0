//! `${NAME}` in string values, from the environment.

use serde_json::Value;

use super::Issue;
use super::env::Env;

/// Replaces the references in every string of `value`. Each one that names no variable, or an empty one,
/// is an issue.
pub fn substitute(value: &Value, env: &Env) -> (Value, Vec<Issue>) {
    let mut issues = Vec::new();
    let value = walk(value, env, &mut String::new(), &mut issues);
    (value, issues)
}

/// Whether `text` is one reference and nothing else, and so no secret itself.
pub fn is_reference(text: &str) -> bool {
    matches!(pieces(text).as_slice(), [Piece::Reference(_)])
}

enum Piece<'a> {
    Text(&'a str),
    Reference(&'a str),
}

fn walk(value: &Value, env: &Env, path: &mut String, issues: &mut Vec<Issue>) -> Value {
    match value {
        Value::String(text) if text.contains("${") => {
            Value::String(replaced(text, env, path, issues))
        }
        Value::Array(items) => {
            let walked = items.iter().enumerate().map(|(i, item)| {
                below(path, &format!("[{i}]"), |path| {
                    walk(item, env, path, issues)
                })
            });
            Value::Array(walked.collect())
        }
        Value::Object(map) => {
            let walked = map.iter().map(|(key, item)| {
                let step = match path.is_empty() {
                    true => key.clone(),
                    false => format!(".{key}"),
                };
                let value = below(path, &step, |path| walk(item, env, path, issues));
                (key.clone(), value)
            });
            Value::Object(walked.collect())
        }
        other => other.clone(),
    }
}

fn below<T>(path: &mut String, step: &str, f: impl FnOnce(&mut String) -> T) -> T {
    let len = path.len();
    path.push_str(step);
    let result = f(path);
    path.truncate(len);
    result
}

fn replaced(text: &str, env: &Env, path: &str, issues: &mut Vec<Issue>) -> String {
    let mut out = String::with_capacity(text.len());
    for piece in pieces(text) {
        match piece {
            Piece::Text(t) => out.push_str(t),
            Piece::Reference(name) => match env.get(name).filter(|v| !v.is_empty()) {
                Some(v) => out.push_str(v),
                None => issues.push(Issue::new(
                    "",
                    format!("Missing env var \"{name}\" referenced at config path: {path}"),
                )),
            },
        }
    }
    out
}

/// `text` cut into plain text and references; `$${NAME}` is plain text that loses its first `$`.
fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut out = Vec::new();
    let mut start = 0;
    let mut at = 0;
    while let Some(found) = text[at..].find('$') {
        let dollar = at + found;
        let escaped = text[dollar + 1..].starts_with('$');
        match reference(&text[dollar + usize::from(escaped)..]) {
            Some(name) => {
                // Past the dollars, the braces and the name.
                let end = dollar + usize::from(escaped) + name.len() + 3;
                out.push(Piece::Text(&text[start..dollar]));
                out.push(match escaped {
                    true => Piece::Text(&text[dollar + 1..end]),
                    false => Piece::Reference(name),
                });
                start = end;
                at = end;
            }
            None => at = dollar + 1,
        }
    }
    out.push(Piece::Text(&text[start..]));
    out.retain(|p| !matches!(p, Piece::Text("")));
    out
}

/// The name in `${NAME}` at the start of `text`.
fn reference(text: &str) -> Option<&str> {
    let (name, _) = text.strip_prefix("${")?.split_once('}')?;
    let valid = name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    valid.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn one(text: &str) -> String {
        let env = [("A", "1"), ("B_2", "two"), ("R", "${A}"), ("E", "")]
            .into_iter()
            .collect();
        let (value, issues) = substitute(&json!(text), &env);
        assert_eq!(issues, [], "{text}");
        value.as_str().unwrap().to_string()
    }

    #[test]
    fn references_are_replaced_once() {
        assert_eq!(one("${A}"), "1");
        assert_eq!(one("x${A}-${B_2}y"), "x1-twoy");
        assert_eq!(one("${R}"), "${A}", "values are not substituted again");
    }

    #[test]
    fn what_is_no_reference_stays() {
        for text in [
            "$A", "${a}", "${A:-x}", "${A", "$", "$$", "${}", "${1A}", "a}$", "é$é",
        ] {
            assert_eq!(one(text), text);
        }
        assert_eq!(one("$${A}"), "${A}");
        assert_eq!(one("$$${A}"), "$${A}");
        assert_eq!(one("$${A}${A}"), "${A}1");
        assert_eq!(one("$${a}"), "$${a}");
    }

    #[test]
    fn unset_and_empty_are_issues_with_their_path() {
        let env = [("EMPTY", "")].into_iter().collect();
        let value = json!({"a": {"list": ["x", "${EMPTY}"]}, "b": "${MISS}", "${KEY}": 1});
        let (_, issues) = substitute(&value, &env);
        let texts: Vec<_> = issues.iter().map(|i| i.message.as_str()).collect();
        assert_eq!(
            texts,
            [
                "Missing env var \"EMPTY\" referenced at config path: a.list[1]",
                "Missing env var \"MISS\" referenced at config path: b",
            ]
        );
        assert!(issues.iter().all(|i| i.path.is_empty()));
    }

    #[test]
    fn a_bare_reference_is_told_from_text() {
        assert!(is_reference("${A}"));
        for text in ["", "x", "${A}x", "$${A}", "${A}${A}", "${a}"] {
            assert!(!is_reference(text), "{text}");
        }
    }
}
