//! Shapes of parameters, as tables: checking, and what the manual says about them.
//!
//! Messages are those that clients of the reference know: `must have required property 'key'`,
//! `at /limit: must be >= 1`, `at root: unexpected property 'x'`, joined by `; `.

use serde_json::{Map, Value};

/// What a value has to be.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Any,
    Bool,
    /// Any string.
    Text,
    /// A string that is not empty.
    NonEmpty,
    /// A string of `min..=max` characters.
    Length(usize, usize),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// An integer within `min..=max`.
    Int(i64, i64),
    /// Any number.
    Number,
    List(&'static Kind),
    /// A list with at least so many elements.
    ListOf(usize, &'static Kind),
    /// An object with free keys.
    Map(&'static Kind),
    Object(&'static Shape),
    /// That kind, or `null`.
    OrNull(&'static Kind),
    /// Any of these kinds.
    Either(&'static [Kind]),
    /// An object whose shape depends on the word in one of its properties.
    Tagged(&'static str, &'static [(&'static str, Shape)]),
}

/// An integer from `min` on.
pub const fn at_least(min: i64) -> Kind {
    Kind::Int(min, i64::MAX)
}

/// One property of a shape.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    pub name: &'static str,
    pub required: bool,
    pub kind: Kind,
}

/// A required property.
pub const fn req(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        required: true,
        kind,
    }
}

/// An optional property.
pub const fn opt(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        required: false,
        kind,
    }
}

/// The properties of an object.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub fields: &'static [Field],
    /// Whether properties outside `fields` are refused.
    pub strict: bool,
}

impl Shape {
    /// Unknown properties are errors.
    pub const fn strict(fields: &'static [Field]) -> Shape {
        Shape {
            fields,
            strict: true,
        }
    }

    /// Unknown properties are ignored; known ones are still checked.
    pub const fn lenient(fields: &'static [Field]) -> Shape {
        Shape {
            fields,
            strict: false,
        }
    }

    /// Checks `value`; the error is the list of problems joined by `; `.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        let mut problems = Vec::new();
        match value {
            Value::Object(map) => self.check_map(map, "", &mut problems),
            _ => problems.push("at root: must be object".to_string()),
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(problems.join("; "))
        }
    }

    fn check_map(&self, map: &Map<String, Value>, at: &str, problems: &mut Vec<String>) {
        for f in self.fields {
            match map.get(f.name) {
                None if f.required => {
                    let text = format!("must have required property '{}'", f.name);
                    add(
                        problems,
                        if at.is_empty() {
                            text
                        } else {
                            format!("at {at}: {text}")
                        },
                    );
                }
                None => {}
                Some(v) => check_kind(&f.kind, v, &format!("{at}/{}", f.name), problems),
            }
        }
        if self.strict {
            for key in map
                .keys()
                .filter(|k| !self.fields.iter().any(|f| f.name == *k))
            {
                let at = if at.is_empty() { "root" } else { at };
                let key = super::frame::clip(key, 64);
                add(problems, format!("at {at}: unexpected property '{key}'"));
            }
        }
    }
}

/// Problems that one answer names at most.
const MAX_PROBLEMS: usize = 16;

fn add(problems: &mut Vec<String>, text: String) {
    if problems.len() < MAX_PROBLEMS {
        problems.push(text);
    }
}

fn check_kind(kind: &Kind, v: &Value, at: &str, problems: &mut Vec<String>) {
    let mut bad = |what: String| add(problems, format!("at {at}: {what}"));
    match kind {
        Kind::Any => {}
        Kind::Bool if v.is_boolean() => {}
        Kind::Bool => bad("must be boolean".into()),
        Kind::Text if v.is_string() => {}
        Kind::Text => bad("must be string".into()),
        Kind::NonEmpty => match v.as_str() {
            None => bad("must be string".into()),
            Some("") => bad("must NOT have fewer than 1 characters".into()),
            Some(_) => {}
        },
        Kind::Length(min, max) => match v.as_str().map(|s| s.chars().count()) {
            None => bad("must be string".into()),
            Some(n) if n < *min => bad(format!("must NOT have fewer than {min} characters")),
            Some(n) if n > *max => bad(format!("must NOT have more than {max} characters")),
            Some(_) => {}
        },
        Kind::OneOf(words) => match v.as_str() {
            Some(s) if words.contains(&s) => {}
            _ => bad(format!("must be one of {}", words.join(", "))),
        },
        Kind::Int(min, max) => match integer(v) {
            None => bad("must be integer".into()),
            Some(n) if n < i128::from(*min) => bad(format!("must be >= {min}")),
            Some(n) if n > i128::from(*max) => bad(format!("must be <= {max}")),
            Some(_) => {}
        },
        Kind::Number if v.is_number() => {}
        Kind::Number => bad("must be number".into()),
        Kind::List(inner) => check_list(0, inner, v, at, problems),
        Kind::ListOf(min, inner) => check_list(*min, inner, v, at, problems),
        Kind::Map(inner) => match v.as_object() {
            None => bad("must be object".into()),
            Some(m) => {
                for (k, v) in m {
                    check_kind(
                        inner,
                        v,
                        &format!("{at}/{}", super::frame::clip(k, 64)),
                        problems,
                    );
                }
            }
        },
        Kind::Object(shape) => match v.as_object() {
            None => bad("must be object".into()),
            Some(m) => shape.check_map(m, at, problems),
        },
        Kind::OrNull(inner) => {
            if !v.is_null() {
                check_kind(inner, v, at, problems);
            }
        }
        Kind::Tagged(tag, shapes) => {
            let Some(m) = v.as_object() else {
                return bad("must be object".into());
            };
            let word = m.get(*tag).map(|w| w.as_str().unwrap_or(""));
            match word.map(|w| shapes.iter().find(|(name, _)| *name == w)) {
                None => bad(format!("must have required property '{tag}'")),
                Some(Some((_, shape))) => shape.check_map(m, at, problems),
                Some(None) => {
                    let words: Vec<&str> = shapes.iter().map(|(name, _)| *name).collect();
                    let text = format!("at {at}/{tag}: must be one of {}", words.join(", "));
                    add(problems, text);
                }
            }
        }
        Kind::Either(kinds) => {
            let fits = kinds.iter().any(|k| {
                let mut none = Vec::new();
                check_kind(k, v, at, &mut none);
                none.is_empty()
            });
            if !fits {
                bad("must match a schema in anyOf".into());
            }
        }
    }
}

fn check_list(min: usize, inner: &Kind, v: &Value, at: &str, problems: &mut Vec<String>) {
    match v.as_array() {
        None => add(problems, format!("at {at}: must be array")),
        Some(items) => {
            if items.len() < min {
                add(
                    problems,
                    format!("at {at}: must NOT have fewer than {min} items"),
                );
            }
            for (i, item) in items.iter().enumerate() {
                check_kind(inner, item, &format!("{at}/{i}"), problems);
            }
        }
    }
}

/// The integer in `v`; `3.0` counts, `3.5` does not.
fn integer(v: &Value) -> Option<i128> {
    if let Some(n) = v.as_i64() {
        return Some(i128::from(n));
    }
    if let Some(n) = v.as_u64() {
        return Some(i128::from(n));
    }
    v.as_f64()
        .filter(|f| f.fract() == 0.0 && f.is_finite())
        .map(|f| f as i128)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SHAPE: Shape = Shape::strict(&[
        req("key", Kind::NonEmpty),
        opt("limit", at_least(1)),
        opt("mode", Kind::OneOf(&["a", "b"])),
        opt("label", Kind::OrNull(&Kind::Length(1, 4))),
        opt("keys", Kind::ListOf(1, &Kind::Text)),
    ]);

    fn problems(v: Value) -> String {
        SHAPE.check(&v).unwrap_err()
    }

    #[test]
    fn a_tag_picks_the_shape() {
        const BIRD: Shape = Shape::strict(&[req("kind", Kind::Text), req("wings", at_least(0))]);
        const FISH: Shape = Shape::strict(&[req("kind", Kind::Text)]);
        const PET: Shape = Shape::strict(&[req(
            "pet",
            Kind::Tagged("kind", &[("bird", BIRD), ("fish", FISH)]),
        )]);
        let check = |pet| PET.check(&json!({"pet": pet}));
        assert_eq!(check(json!({"kind": "fish"})), Ok(()));
        let problem = |pet| check(pet).unwrap_err();
        assert_eq!(
            problem(json!({"kind": "fish", "wings": 2})),
            "at /pet: unexpected property 'wings'"
        );
        assert_eq!(
            problem(json!({"kind": "bird"})),
            "at /pet: must have required property 'wings'"
        );
        assert_eq!(
            problem(json!({"kind": 1})),
            "at /pet/kind: must be one of bird, fish"
        );
        assert_eq!(
            problem(json!({})),
            "at /pet: must have required property 'kind'"
        );
        assert_eq!(problem(json!([])), "at /pet: must be object");
    }

    #[test]
    fn problems_are_named_in_the_words_of_the_wire() {
        assert_eq!(
            SHAPE.check(&json!({"key": "x", "limit": 1.0, "label": null})),
            Ok(())
        );
        assert_eq!(problems(json!({})), "must have required property 'key'");
        assert_eq!(
            problems(json!({"key": ""})),
            "at /key: must NOT have fewer than 1 characters"
        );
        assert_eq!(
            problems(json!({"key": "x", "limit": 0})),
            "at /limit: must be >= 1"
        );
        assert_eq!(
            problems(json!({"key": "x", "limit": 1.5})),
            "at /limit: must be integer"
        );
        assert_eq!(
            problems(json!({"key": "x", "z": 1})),
            "at root: unexpected property 'z'"
        );
        assert_eq!(
            problems(json!({"key": "x", "label": "12345"})),
            "at /label: must NOT have more than 4 characters"
        );
        assert_eq!(
            problems(json!({"key": "x", "keys": []})),
            "at /keys: must NOT have fewer than 1 items"
        );
        assert_eq!(
            problems(json!({"limit": "x", "mode": "c"})),
            "must have required property 'key'; at /limit: must be integer; at /mode: must be one of a, b"
        );
        assert_eq!(problems(json!([])), "at root: must be object");
    }
}
