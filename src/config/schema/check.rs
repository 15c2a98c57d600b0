//! A value against the table. Issues come in the order of the table and in the words that clients of
//! the reference know.

use serde_json::{Map, Value};

use super::{Form, Issue, Kind, Object, Range, Rest, legacy, root, rules};
use crate::config::json_type;
use crate::config::path::join;

/// Everything that is wrong with the resolved configuration `value`. Without issues it may be used.
///
/// Old keys come alone, since everything around them would be in the wrong place as well.
pub fn check(value: &Value) -> Vec<Issue> {
    let old = legacy::legacy_issues(value);
    if !old.is_empty() {
        return old;
    }
    let mut found = Found::default();
    object(value, root(), "", &mut found);
    if found.issues.is_empty() {
        rules::across(value, &mut found.issues);
    }
    found.issues
}

#[derive(Default)]
struct Found {
    issues: Vec<Issue>,
    /// How many of them say that a value has another type. A choice between types prefers an
    /// alternative without such issues.
    hard: usize,
}

impl Found {
    fn hard(&mut self, path: &str, message: impl Into<String>) {
        self.hard += 1;
        self.issues.push(Issue::new(path, message));
    }

    fn soft(&mut self, path: &str, message: impl Into<String>) {
        self.issues.push(Issue::new(path, message));
    }

    fn wrong_type(&mut self, path: &str, expected: &str, value: Option<&Value>) {
        let got = value.map_or("undefined", json_type);
        self.hard(
            path,
            format!("Invalid input: expected {expected}, received {got}"),
        );
    }
}

fn object(value: &Value, object: &Object, path: &str, found: &mut Found) {
    let Some(map) = value.as_object() else {
        return found.wrong_type(path, "object", Some(value));
    };
    let hard_before = found.hard;
    for field in object.all() {
        let below = join(path, field.name);
        match map.get(field.name) {
            Some(value) => kind(value, &field.kind, &below, found),
            None if field.required => missing(&field.kind, &below, found),
            None => {}
        }
    }
    rest(map, object, path, found);
    if let Some(rule) = object.rule
        && found.hard == hard_before
    {
        rule(map, path, &mut found.issues);
    }
}

/// The members that the object has no field for.
fn rest(map: &Map<String, Value>, object: &Object, path: &str, found: &mut Found) {
    let unknown = map.iter().filter(|(k, _)| object.field(k).is_none());
    match object.rest {
        Rest::Ignored => {}
        Rest::Of(of) => {
            for (key, value) in unknown {
                kind(value, of, &join(path, key), found);
            }
        }
        Rest::Refused => {
            let names: Vec<_> = unknown.map(|(k, _)| format!("\"{k}\"")).collect();
            match names.as_slice() {
                [] => {}
                [name] => found.soft(path, format!("Unrecognized key: {name}")),
                names => found.soft(path, format!("Unrecognized keys: {}", names.join(", "))),
            }
        }
    }
}

fn missing(kind: &Kind, path: &str, found: &mut Found) {
    match expected(kind) {
        Some(expected) => found.wrong_type(path, expected, None),
        None => invalid(kind, path, found),
    }
}

/// How a type is called in "expected …", for those whose error says so.
fn expected(kind: &Kind) -> Option<&'static str> {
    match kind {
        Kind::Bool => Some("boolean"),
        Kind::Text(Form::DiscordId) => None,
        Kind::Text(_) => Some("string"),
        Kind::Number(_) => Some("number"),
        Kind::List(_) => Some("array"),
        Kind::Map(_) => Some("record"),
        Kind::Object(_) => Some("object"),
        _ => None,
    }
}

/// The error of a choice that matched nothing.
fn invalid(kind: &Kind, path: &str, found: &mut Found) {
    let quoted = |words: &[&str]| {
        let words: Vec<_> = words.iter().map(|w| format!("\"{w}\"")).collect();
        words.join("|")
    };
    match kind {
        Kind::Choice(words) => {
            let words = quoted(words);
            found.hard(path, format!("Invalid option: expected one of {words}"));
        }
        Kind::Word([only]) => found.hard(path, format!("Invalid input: expected \"{only}\"")),
        Kind::False => found.hard(path, "Invalid input: expected false"),
        _ => found.hard(path, "Invalid input"),
    }
}

fn kind(value: &Value, of: &Kind, path: &str, found: &mut Found) {
    match (of, value) {
        (Kind::Any, _) | (Kind::Bool, Value::Bool(_)) | (Kind::False, Value::Bool(false)) => {}
        (Kind::Text(form), Value::String(text)) => text_form(text, *form, path, found),
        (Kind::Text(Form::DiscordId), Value::Number(_)) => found.soft(
            path,
            "Discord IDs must be strings (wrap numeric IDs in quotes).",
        ),
        (Kind::Number(range), Value::Number(n)) => {
            number(n.as_f64().unwrap_or(f64::MAX), *range, path, found);
        }
        (Kind::Word(words) | Kind::Choice(words), Value::String(text))
            if words.contains(&text.as_str()) => {}
        (Kind::OneOfNumbers(numbers), Value::Number(n))
            if n.as_i64().is_some_and(|n| numbers.contains(&n)) => {}
        (Kind::List(of), Value::Array(items)) => {
            for (i, item) in items.iter().enumerate() {
                kind(item, of, &join(path, &i.to_string()), found);
            }
        }
        (Kind::Map(of), Value::Object(map)) => {
            for (key, item) in map {
                kind(item, of, &join(path, key), found);
            }
        }
        (Kind::Object(of), value) => object(value, of, path, found),
        (Kind::Either(kinds), value) => either(value, of, kinds, path, found),
        (of, value) => match expected(of) {
            Some(expected) => found.wrong_type(path, expected, Some(value)),
            None => invalid(of, path, found),
        },
    }
}

/// One of several types: the first that fits. Else, when a single one has the right type and only the
/// wrong content, what is wrong with that.
fn either(value: &Value, whole: &Kind, kinds: &[Kind], path: &str, found: &mut Found) {
    let mut near: Option<Found> = None;
    let mut several = false;
    for of in kinds {
        let mut tried = Found::default();
        kind(value, of, path, &mut tried);
        if tried.issues.is_empty() {
            return;
        }
        if tried.hard == 0 {
            several = near.is_some();
            near = Some(tried);
        }
    }
    match near {
        Some(near) if !several => found.issues.extend(near.issues),
        _ => invalid(whole, path, found),
    }
}

fn number(n: f64, range: Range, path: &str, found: &mut Found) {
    const LARGEST: f64 = 9_007_199_254_740_991.0;
    if range.whole && n.fract() != 0.0 {
        return found.hard(path, "Invalid input: expected int, received number");
    }
    if range.whole && n.abs() > LARGEST {
        let (size, sign) = if n > 0.0 {
            ("big", "<=")
        } else {
            ("small", ">=-")
        };
        let message = format!("Too {size}: expected int to be {sign}9007199254740991");
        found.soft(path, message);
    }
    if let Some(min) = range.min.filter(|min| n < *min) {
        found.soft(path, format!("Too small: expected number to be >={min}"));
    }
    if let Some(above) = range.above.filter(|above| n <= *above) {
        found.soft(path, format!("Too small: expected number to be >{above}"));
    }
    if let Some(max) = range.max.filter(|max| n > *max) {
        found.soft(path, format!("Too big: expected number to be <={max}"));
    }
}

fn text_form(text: &str, form: Form, path: &str, found: &mut Found) {
    match form {
        Form::Plain | Form::DiscordId => {}
        Form::Filled("") if text.is_empty() => {
            found.soft(path, "Too small: expected string to have >=1 characters")
        }
        Form::Filled(message) if text.is_empty() => found.soft(path, message),
        Form::Filled(_) => {}
        Form::AtMost(most) => {
            if text.encode_utf16().count() > most {
                let message = format!("Too big: expected string to have <={most} characters");
                found.soft(path, message);
            }
        }
        Form::Colour => {
            let digits = text.strip_prefix('#').unwrap_or(text);
            if digits.len() != 6 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                found.soft(path, "expected hex color (RRGGBB)");
            }
        }
        Form::Url | Form::HttpUrl => match rules::url_scheme(text) {
            None => found.soft(path, "Invalid URL"),
            Some("http" | "https") => {}
            Some(_) if form == Form::HttpUrl => {
                found.soft(path, "Expected http:// or https:// URL");
            }
            Some(_) => {}
        },
        Form::ModulePath => {
            if !rules::is_module_path(text) {
                let message = "module must be a safe relative path (no absolute paths)";
                found.soft(path, message);
            }
        }
    }
}
