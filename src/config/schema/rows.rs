//! The table as a flat list, for the manual and for lookups by path.

use super::{Field, Form, Kind, Object, Range, Rest, root};
use crate::config::path::join;

/// One setting with its full path. `*` stands for a name of the user's choice, `[]` for a list entry.
pub struct Row {
    pub path: String,
    pub field: &'static Field,
}

impl Row {
    /// The type in words: `integer (>0)`, `off | hot`, `list of text`.
    pub fn kind(&self) -> String {
        words(&self.field.kind)
    }
}

/// Every setting in the order of the table. Accounts of a channel repeat its settings and are left out.
pub fn rows() -> Vec<Row> {
    let mut found = Vec::new();
    object(root(), "", &mut found);
    found
}

fn object(of: &'static Object, path: &str, found: &mut Vec<Row>) {
    for field in of.all() {
        let path = join(path, field.name);
        found.push(Row {
            path: path.clone(),
            field,
        });
        let repeats = of.more.iter().any(|f| std::ptr::eq(f, field));
        if !repeats {
            kind(&field.kind, &path, found);
        }
    }
    if let Rest::Of(of) = of.rest {
        kind(of, &join(path, "*"), found);
    }
}

fn kind(of: &'static Kind, path: &str, found: &mut Vec<Row>) {
    match of {
        Kind::Object(of) => object(of, path, found),
        Kind::List(of) => kind(of, &format!("{path}[]"), found),
        Kind::Map(of) => kind(of, &join(path, "*"), found),
        Kind::Either(kinds) => kinds.iter().for_each(|k| kind(k, path, found)),
        _ => {}
    }
}

fn words(of: &Kind) -> String {
    match of {
        Kind::Bool => "boolean".to_string(),
        Kind::Text(Form::Url | Form::HttpUrl) => "URL".to_string(),
        Kind::Text(Form::Colour) => "colour".to_string(),
        Kind::Text(Form::ModulePath) => "relative path".to_string(),
        Kind::Text(Form::AtMost(most)) => format!("text (at most {most} characters)"),
        Kind::Text(_) => "text".to_string(),
        Kind::Number(range) => range_words(*range),
        Kind::Word(words) | Kind::Choice(words) => words.join(" | "),
        Kind::OneOfNumbers(numbers) => {
            let numbers: Vec<_> = numbers.iter().map(i64::to_string).collect();
            numbers.join(" | ")
        }
        Kind::False => "false".to_string(),
        Kind::List(of) => format!("list of {}", words(of)),
        Kind::Map(of) => format!("map of {}", words(of)),
        Kind::Object(_) => "object".to_string(),
        Kind::Either(kinds) => {
            let kinds: Vec<_> = kinds.iter().map(words).collect();
            kinds.join(" | ")
        }
        Kind::Any => "anything".to_string(),
    }
}

fn range_words(range: Range) -> String {
    let name = if range.whole { "integer" } else { "number" };
    let bounds: Vec<_> = [(">", range.above), (">=", range.min), ("<=", range.max)]
        .iter()
        .filter_map(|(sign, bound)| bound.map(|b| format!("{sign}{b}")))
        .collect();
    match bounds.is_empty() {
        true => name.to_string(),
        false => format!("{name} ({})", bounds.join(", ")),
    }
}
