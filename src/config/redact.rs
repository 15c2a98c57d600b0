//! Secrets out of everything that is shown, and back into what a client returns.
//!
//! Secret is what the table marks, what has a telling name, and every text at a place that the table
//! does not know. A bare `${NAME}` is no secret. Inside other texts, credentials of URLs go.

mod urls;

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use serde_json::{Map, Value};

use super::Config;
use super::include;
use super::json5::{self, Kind as NodeKind, Node};
use super::path::{find, join};
use super::schema::{self, Field, Kind, Object, Rest};
use super::substitute::is_reference;

/// What stands for a secret.
pub const MARKER: &str = "__OPENCLAW_REDACTED__";
/// From this length on, a secret is also taken out where it merely occurs in the text of the file, such
/// as in a comment. Shorter ones would mangle other words. In bytes.
const MIN_ELSEWHERE: usize = 8;

/// A marker where no secret is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotASecret {
    /// Dotted path of the marker.
    pub path: String,
}

impl fmt::Display for NotASecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = &self.path;
        write!(
            f,
            "Sentinel value \"{MARKER}\" in key {path} is not valid as real data"
        )
    }
}

impl std::error::Error for NotASecret {}

/// `config`, a configuration or a part of one from its root, without secrets.
pub fn value(config: &Value) -> Value {
    hide(config, Place::object(schema::root()), "")
}

/// The value at `steps` of `config` without secrets.
pub fn value_at(config: &Value, steps: &[impl AsRef<str>]) -> Option<Value> {
    find(&value(config), steps).cloned()
}

/// `raw`, the text of the file of `config`, without secrets. Comments and everything else stay as they are.
/// A text that is not JSON5 is hidden whole.
pub fn text(raw: &str, config: &Config) -> String {
    let Ok(tree) = json5::parse(raw) else {
        return MARKER.to_string();
    };
    let plain = tree.to_value();
    let mut found = Found::default();
    found.compare(&tree, &value(&plain));
    for known in [&plain, config.written(), config.resolved()] {
        found.secrets_of(known, "");
    }
    found.apply(raw)
}

/// `new`, which a client made from a redacted configuration, with the secrets of `old` in the places of the
/// markers. References of `old` come back as references.
pub fn restore(new: &Value, old: &Config) -> Result<Value, NotASecret> {
    put_back(new, &Old::of(old), "")
}

/// The same for a whole text: only the texts that hold markers change, and those that equal what a
/// reference of `old` resolves to, which become the reference again.
pub fn restore_text(raw: &str, old: &Config) -> Result<String, RestoreError> {
    let tree = json5::parse(raw).map_err(RestoreError::Syntax)?;
    let restored = restore(&tree.to_value(), old).map_err(RestoreError::Marker)?;
    let mut found = Found::default();
    found.compare(&tree, &restored);
    Ok(found.splice(raw))
}

/// Why secrets could not be put back into a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestoreError {
    Syntax(json5::SyntaxError),
    Marker(NotASecret),
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RestoreError::Syntax(e) => e.fmt(f),
            RestoreError::Marker(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for RestoreError {}

/// Whether a setting of this name holds a secret, as far as the name tells.
pub fn is_secret_name(name: &str) -> bool {
    const TELLING: &[&str] = &[
        "password",
        "passphrase",
        "secret",
        "apikey",
        "api_key",
        "api-key",
        "credential",
        "authorization",
        "cookie",
        "privatekey",
        "private_key",
    ];
    let name = name.to_ascii_lowercase();
    let counts_or_names = ["passwordfile", "secretfile", "keyfile"];
    !counts_or_names.iter().any(|end| name.ends_with(end))
        && (name.ends_with("token") || TELLING.iter().any(|t| name.contains(t)))
}

/// What the table says of a place.
#[derive(Clone, Copy)]
enum Place {
    Known { kind: &'static Kind, secret: bool },
    Root(&'static Object),
    Unknown,
}

impl Place {
    fn object(object: &'static Object) -> Place {
        Place::Root(object)
    }

    fn field(field: &'static Field) -> Place {
        Place::Known {
            kind: &field.kind,
            secret: field.secret || is_secret_name(field.name),
        }
    }

    /// The place of the member `name` of an object here.
    fn member(self, name: &str) -> Place {
        let object = match self {
            Place::Root(object) => object,
            Place::Known { kind, secret } => match kind {
                Kind::Object(object) => object,
                Kind::Map(kind) => {
                    let secret = secret || is_secret_name(name);
                    return Place::Known { kind, secret };
                }
                Kind::Either(kinds) => return Place::among(kinds, secret, |p| p.member(name)),
                _ => return Place::Unknown,
            },
            Place::Unknown => return Place::Unknown,
        };
        match (object.field(name), &object.rest) {
            (Some(field), _) => Place::field(field),
            // Free names with free texts are variables.
            (None, Rest::Of(kind @ Kind::Text(_))) => Place::Known { kind, secret: true },
            (None, Rest::Of(kind)) => Place::Known {
                kind,
                secret: false,
            },
            (None, _) => Place::Unknown,
        }
    }

    /// The place of the elements of a list here.
    fn element(self) -> Place {
        match self {
            Place::Known { kind, secret } => match kind {
                Kind::List(kind) => Place::Known { kind, secret },
                Kind::Either(kinds) => Place::among(kinds, secret, Place::element),
                _ => Place::Unknown,
            },
            _ => Place::Unknown,
        }
    }

    /// The first alternative for which `step` leads to a known place.
    fn among(kinds: &'static [Kind], secret: bool, step: impl Fn(Place) -> Place) -> Place {
        let places = kinds.iter().map(|kind| step(Place::Known { kind, secret }));
        let mut known = places.filter(|p| !matches!(p, Place::Unknown));
        known.next().unwrap_or(Place::Unknown)
    }

    /// Whether a text here is a secret as a whole.
    fn hides_text(self) -> bool {
        match self {
            Place::Known { kind, secret } => secret || matches!(kind, Kind::Any),
            Place::Root(_) | Place::Unknown => true,
        }
    }
}

fn hide(value: &Value, place: Place, name: &str) -> Value {
    match value {
        Value::String(text) => Value::String(hide_text(text, place.hides_text())),
        Value::Number(_) if place.hides_text() && is_secret_name(name) => MARKER.into(),
        Value::Array(items) => {
            let place = place.element();
            Value::Array(items.iter().map(|v| hide(v, place, name)).collect())
        }
        Value::Object(map) => Value::Object(hide_members(map, place)),
        other => other.clone(),
    }
}

fn hide_members(map: &Map<String, Value>, place: Place) -> Map<String, Value> {
    map.iter()
        .map(|(name, value)| {
            let shown = match name.as_str() {
                include::KEY => value.clone(),
                name => hide(value, place.member(name), name),
            };
            (name.clone(), shown)
        })
        .collect()
}

fn hide_text(text: &str, secret: bool) -> String {
    match secret {
        _ if text.is_empty() || is_reference(text) => text.to_string(),
        true => MARKER.to_string(),
        false => urls::hide(text),
    }
}

/// Texts of a file to be replaced, by position and by content.
#[derive(Default)]
struct Found {
    spans: Vec<(Range<usize>, String)>,
    secrets: BTreeSet<String>,
}

impl Found {
    /// Notes each text of `tree` that differs in `wanted`, which has the same shape.
    fn compare(&mut self, tree: &Node, wanted: &Value) {
        match (&tree.kind, wanted) {
            (NodeKind::Array(nodes), Value::Array(items)) => {
                for (node, item) in nodes.iter().zip(items) {
                    self.compare(node, item);
                }
            }
            (NodeKind::Object(members), Value::Object(map)) => {
                for (i, member) in members.iter().enumerate() {
                    let counts = !members[i + 1..].iter().any(|m| m.key == member.key);
                    match map.get(&member.key).filter(|_| counts) {
                        Some(wanted) => self.compare(&member.value, wanted),
                        // A name that stands there again: nothing reads this value.
                        None => self.hide_all(&member.value, &member.key),
                    }
                }
            }
            (NodeKind::String(text), wanted) if wanted != text.as_str() => {
                self.replace(tree, wanted);
            }
            (NodeKind::Number(number), wanted) if *wanted != Value::Number(number.clone()) => {
                self.replace(tree, wanted);
            }
            _ => {}
        }
    }

    fn hide_all(&mut self, tree: &Node, name: &str) {
        match &tree.kind {
            NodeKind::String(text) if !text.is_empty() => {
                self.secret(text, name);
                self.replace(tree, &MARKER.into());
            }
            NodeKind::Array(items) => items.iter().for_each(|n| self.hide_all(n, name)),
            NodeKind::Object(members) => {
                members.iter().for_each(|m| self.hide_all(&m.value, &m.key));
            }
            _ => {}
        }
    }

    fn replace(&mut self, node: &Node, wanted: &Value) {
        self.spans.push((node.span.clone(), wanted.to_string()));
    }

    /// Notes the texts in `plain` whose names tell that they are secrets. Others may well be ordinary
    /// words, which stand in other places with every right.
    fn secrets_of(&mut self, plain: &Value, name: &str) {
        match plain {
            Value::String(text) => self.secret(text, name),
            Value::Array(items) => items.iter().for_each(|v| self.secrets_of(v, name)),
            Value::Object(map) => map.iter().for_each(|(k, v)| self.secrets_of(v, k)),
            _ => {}
        }
    }

    fn secret(&mut self, text: &str, name: &str) {
        let long = text.len() >= MIN_ELSEWHERE && text != MARKER;
        if long && is_secret_name(name) && !is_reference(text) {
            self.secrets.insert(text.to_string());
        }
    }

    /// `raw` with the texts replaced.
    fn splice(mut self, raw: &str) -> String {
        self.spans.sort_by_key(|(span, _)| span.start);
        let mut out = String::with_capacity(raw.len());
        let mut at = 0;
        for (span, text) in &self.spans {
            out.push_str(&raw[at..span.start]);
            out.push_str(text);
            at = span.end;
        }
        out.push_str(&raw[at..]);
        out
    }

    /// The same, with the secrets gone wherever else they occur, the longest first.
    fn apply(mut self, raw: &str) -> String {
        let mut secrets: Vec<_> = std::mem::take(&mut self.secrets).into_iter().collect();
        secrets.sort_by_key(|s| std::cmp::Reverse(s.len()));
        let mut out = self.splice(raw);
        for secret in secrets {
            if out.contains(&secret) {
                out = out.replace(&secret, MARKER);
            }
        }
        out
    }
}

/// A place in the old configuration, as written and as resolved.
#[derive(Clone, Copy)]
struct Old<'a> {
    written: Option<&'a Value>,
    resolved: Option<&'a Value>,
    place: Place,
}

impl<'a> Old<'a> {
    fn of(config: &'a Config) -> Old<'a> {
        Old {
            written: Some(config.written()),
            resolved: Some(config.resolved()),
            place: Place::object(schema::root()),
        }
    }

    fn member(&self, name: &str) -> Old<'a> {
        Old {
            written: self.written.and_then(|v| v.get(name)),
            resolved: self.resolved.and_then(|v| v.get(name)),
            place: self.place.member(name),
        }
    }

    /// The element that `new`, at `index`, stands for: the one with its id, else the one at its index.
    fn element(&self, new: &Value, index: usize) -> Old<'a> {
        let id = new.get("id").filter(|id| id.is_string());
        let items = self.resolved.and_then(Value::as_array);
        let same = items.and_then(|l| l.iter().position(|v| id.is_some() && v.get("id") == id));
        let index = same.unwrap_or(index);
        Old {
            written: self.written.and_then(|v| v.get(index)),
            resolved: self.resolved.and_then(|v| v.get(index)),
            place: self.place.element(),
        }
    }
}

fn put_back(new: &Value, old: &Old, path: &str) -> Result<Value, NotASecret> {
    match new {
        Value::String(text) => put_back_text(text, old, path),
        Value::Array(items) => {
            let items = items.iter().enumerate();
            let items = items.map(|(i, item)| {
                put_back(item, &old.element(item, i), &join(path, &i.to_string()))
            });
            Ok(Value::Array(items.collect::<Result<_, _>>()?))
        }
        Value::Object(map) => {
            let members = map.iter().map(|(name, value)| {
                let value = put_back(value, &old.member(name), &join(path, name))?;
                Ok((name.clone(), value))
            });
            Ok(Value::Object(members.collect::<Result<_, _>>()?))
        }
        other => Ok(other.clone()),
    }
}

fn put_back_text(text: &str, old: &Old, path: &str) -> Result<Value, NotASecret> {
    let same = |value: &Value| value == text;
    let name = path.rsplit('.').next().unwrap_or_default();
    if text.contains(MARKER) {
        let shown = |value: Option<&Value>| value.is_some_and(|v| same(&hide(v, old.place, name)));
        return match old.written {
            Some(written) if shown(Some(written)) || shown(old.resolved) => Ok(written.clone()),
            _ => Err(NotASecret {
                path: path.to_string(),
            }),
        };
    }
    match (old.written, old.resolved) {
        (Some(written @ Value::String(_)), Some(resolved)) if same(resolved) => Ok(written.clone()),
        _ => Ok(text.into()),
    }
}

#[cfg(test)]
mod tests;
