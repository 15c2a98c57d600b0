//! JSON5 text into a tree that knows where each value stands in the text.
//!
//! One parser serves reading, editing and redacting, so that they cannot disagree about a text. Its
//! errors have the words of the reference's parser, since clients match on them. Depth and number of
//! values are bounded before anything is built. What values mean is left to `schema`.

mod parser;

use std::fmt;
use std::ops::Range;

use serde_json::{Map, Number, Value};

/// Deepest nesting of objects and lists that is read.
pub const MAX_DEPTH: usize = 100;
/// Most values (of any kind, members included) that one text may hold.
pub const MAX_VALUES: usize = 200_000;

/// Why a text is not JSON5.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    what: String,
    line: usize,
    column: usize,
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SyntaxError: JSON5: {} at {}:{}",
            self.what, self.line, self.column
        )
    }
}

impl std::error::Error for SyntaxError {}

/// A value and the bytes that it takes up in the text, without surrounding blanks and comments.
#[derive(Clone, Debug)]
pub struct Node {
    pub span: Range<usize>,
    pub kind: Kind,
    /// Where the comma stands that follows the value in its list or object.
    pub comma: Option<usize>,
}

#[derive(Clone, Debug)]
pub enum Kind {
    Null,
    Bool(bool),
    Number(Number),
    /// `Infinity`, `-Infinity` or `NaN`: JSON5, but no configuration value.
    NotFinite,
    String(String),
    Array(Vec<Node>),
    /// In the order of the text; a name may stand there twice, and the last one counts.
    Object(Vec<Member>),
}

/// A member of an object.
#[derive(Clone, Debug)]
pub struct Member {
    pub key: String,
    /// The name as written, quotes included.
    pub key_span: Range<usize>,
    pub value: Node,
}

impl Node {
    /// The member `key` that counts, or the element at the index `key`.
    pub fn child(&self, key: &str) -> Option<&Node> {
        match &self.kind {
            Kind::Object(members) => members
                .iter()
                .rev()
                .find(|m| m.key == key)
                .map(|m| &m.value),
            Kind::Array(items) => items.get(key.parse::<usize>().ok()?),
            _ => None,
        }
    }

    /// The value without positions. Numbers that are not finite become null.
    pub fn to_value(&self) -> Value {
        match &self.kind {
            Kind::Null | Kind::NotFinite => Value::Null,
            Kind::Bool(b) => Value::Bool(*b),
            Kind::Number(n) => Value::Number(n.clone()),
            Kind::String(s) => Value::String(s.clone()),
            Kind::Array(items) => Value::Array(items.iter().map(Node::to_value).collect()),
            Kind::Object(members) => Value::Object(
                members
                    .iter()
                    .map(|m| (m.key.clone(), m.value.to_value()))
                    .collect::<Map<_, _>>(),
            ),
        }
    }

    /// The dotted path of the first number that is not finite.
    pub fn not_finite(&self) -> Option<String> {
        let below = |key: String, rest: String| match rest.as_str() {
            "" => key,
            _ => format!("{key}.{rest}"),
        };
        match &self.kind {
            Kind::NotFinite => Some(String::new()),
            Kind::Array(items) => items
                .iter()
                .enumerate()
                .find_map(|(i, n)| Some(below(i.to_string(), n.not_finite()?))),
            Kind::Object(members) => members
                .iter()
                .find_map(|m| Some(below(m.key.clone(), m.value.not_finite()?))),
            _ => None,
        }
    }
}

/// The value of `text`. A number that is not finite is null.
pub fn value(text: &str) -> Result<Value, SyntaxError> {
    Ok(parse(text)?.to_value())
}

/// The tree of `text`.
pub fn parse(text: &str) -> Result<Node, SyntaxError> {
    parser::parse(text)
}

#[cfg(test)]
mod tests;
