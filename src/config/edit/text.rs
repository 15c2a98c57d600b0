//! JSON5 text changed into a text of another value, with as few bytes as that takes: comments, order,
//! indentation and the way names are quoted stay.
//!
//! Lists and objects that change are cut into their entries and the blanks and comments between them,
//! and put together again. Everything else is copied.

use serde_json::{Map, Value};

use super::blanks::{breaks_line, has_comment, line_indent, runs_on, split_line};
use crate::config::json5::{self, Kind, Member, Node, SyntaxError};

/// Indentation where the text shows none.
const INDENT: &str = "  ";

/// `text`, changed so that it parses to `wanted`.
pub fn rewrite(text: &str, wanted: &Value) -> Result<String, SyntaxError> {
    let root = json5::parse(text)?;
    let writer = Writer {
        text,
        unit: unit(text, &root),
        one_line: !text.trim().contains('\n') && !is_blank_object(text, &root),
        bare: first_member(&root).is_some_and(|m| is_bare(text, m)),
    };
    let mut out = text[..root.span.start].to_string();
    out.push_str(&writer.changed(&root, &as_parsed(wanted)));
    out.push_str(&text[root.span.end..]);
    Ok(out)
}

/// What a text looks like.
struct Writer<'a> {
    text: &'a str,
    /// One step of indentation.
    unit: String,
    /// Everything stands in one line, and what is added shall as well.
    one_line: bool,
    /// Names are written without quotes.
    bare: bool,
}

/// An entry of a list or object with the blanks and comments around it.
struct Entry {
    /// Before it, from the line after the previous entry on.
    lead: String,
    /// The value, with its name in an object.
    body: String,
    /// Between the value and its comma.
    before_comma: String,
    comma: bool,
    /// After the comma, to the end of the line.
    after: String,
}

/// A list or object in pieces.
struct Pieces {
    entries: Vec<Entry>,
    /// Between the last entry and the closing bracket.
    tail: String,
    /// Whether the last entry has a comma too.
    trailing_comma: bool,
    /// What begins the line of an entry; `None` when entries stand in one line.
    indent: Option<String>,
    /// What begins the line of the closing bracket.
    outer: String,
}

impl Writer<'_> {
    /// The text of `node`, changed to mean `wanted`.
    fn changed(&self, node: &Node, wanted: &Value) -> String {
        if node.to_value() == *wanted && !matches!(node.kind, Kind::NotFinite) {
            return self.text[node.span.clone()].to_string();
        }
        match (&node.kind, wanted) {
            (Kind::Object(old), Value::Object(new)) => self.object(node, old, new),
            (Kind::Array(old), Value::Array(new)) => self.array(node, old, new),
            _ => {
                let indent = line_indent(self.text, node.span.start);
                let indent = (!self.one_line).then_some(indent);
                let mut out = String::new();
                self.fresh(wanted, indent.as_deref(), self.bare, &mut out);
                out
            }
        }
    }

    fn object(&self, node: &Node, old: &[Member], new: &Map<String, Value>) -> String {
        let bodies = old.iter().map(|m| (m.key_span.start, &m.value));
        let mut pieces = self.pieces(node, bodies);
        let bare = old.first().map_or(self.bare, |m| is_bare(self.text, m));
        let mut at = 0;
        for (i, member) in old.iter().enumerate() {
            let counts = !old[i + 1..].iter().any(|m| m.key == member.key);
            match new.get(&member.key).filter(|_| counts) {
                Some(wanted) => {
                    let name = &self.text[member.key_span.start..member.value.span.start];
                    pieces.entries[at].body =
                        format!("{name}{}", self.changed(&member.value, wanted));
                    at += 1;
                }
                None => pieces.remove(at),
            }
        }
        for (key, value) in new {
            if old.iter().any(|m| m.key == *key) {
                continue;
            }
            let mut body = name(key, bare);
            body.push_str(": ");
            self.fresh(value, pieces.indent.as_deref(), bare, &mut body);
            pieces.insert(pieces.entries.len(), body);
        }
        pieces.joined('{', '}')
    }

    fn array(&self, node: &Node, old: &[Node], new: &[Value]) -> String {
        let mut pieces = self.pieces(node, old.iter().map(|n| (n.span.start, n)));
        let values: Vec<_> = old.iter().map(Node::to_value).collect();
        let mut at = 0;
        for step in align(&values, new) {
            match step {
                Step::Keep(i, j) => {
                    pieces.entries[at].body = self.changed(&old[i], &new[j]);
                    at += 1;
                }
                Step::Remove => pieces.remove(at),
                Step::Insert(j) => {
                    let mut body = String::new();
                    self.fresh(&new[j], pieces.indent.as_deref(), self.bare, &mut body);
                    pieces.insert(at, body);
                    at += 1;
                }
            }
        }
        pieces.joined('[', ']')
    }

    /// Cuts the list or object `node`, whose entries start at the given places with the given values.
    fn pieces<'n>(&self, node: &Node, parts: impl Iterator<Item = (usize, &'n Node)>) -> Pieces {
        let text = self.text;
        let close = node.span.end - 1;
        let mut entries: Vec<Entry> = Vec::new();
        let mut from = node.span.start + 1;
        for (start, value) in parts {
            let between = &text[from..start];
            let lead = match entries.last_mut() {
                Some(last) => {
                    let (after, lead) = split_line(between);
                    last.after = after.to_string();
                    lead
                }
                None => between,
            };
            let end = value.span.end;
            entries.push(Entry {
                lead: lead.to_string(),
                body: text[start..end].to_string(),
                before_comma: text[end..value.comma.unwrap_or(end)].to_string(),
                comma: value.comma.is_some(),
                after: String::new(),
            });
            from = value.comma.map_or(end, |c| c + 1);
        }
        let mut tail = &text[from..close];
        let trailing_comma = entries.last().is_some_and(|e| e.comma);
        if let Some(last) = entries.last_mut() {
            let (after, rest) = split_line(tail);
            last.after = after.to_string();
            tail = rest;
        }
        let outer = line_indent(text, node.span.start);
        let first_own_line = entries
            .iter()
            .find_map(|e| e.lead.rsplit_once('\n').map(|(_, indent)| indent));
        let several_lines = first_own_line.is_some() || tail.contains('\n');
        let indent = match (first_own_line, entries.is_empty()) {
            (Some(indent), _) if indent.trim().is_empty() => Some(indent.to_string()),
            (_, true) if !self.one_line => Some(format!("{outer}{}", self.unit)),
            _ => several_lines.then(|| format!("{outer}{}", self.unit)),
        };
        Pieces {
            entries,
            tail: tail.to_string(),
            trailing_comma,
            indent,
            outer,
        }
    }

    /// Writes `value`, none of which stands in the text yet: on a line that begins with `indent`, or all in
    /// one line without one.
    fn fresh(&self, value: &Value, indent: Option<&str>, bare: bool, out: &mut String) {
        let entries: Vec<(Option<&String>, &Value)> = match value {
            Value::Object(map) if !map.is_empty() => {
                map.iter().map(|(k, v)| (Some(k), v)).collect()
            }
            Value::Array(items) if !items.is_empty() => items.iter().map(|v| (None, v)).collect(),
            other => return out.push_str(&other.to_string()),
        };
        let (open, close) = match value {
            Value::Object(_) => ('{', '}'),
            _ => ('[', ']'),
        };
        let inner = indent.map(|indent| format!("{indent}{}", self.unit));
        out.push(open);
        for (i, (key, value)) in entries.into_iter().enumerate() {
            if i > 0 {
                out.push(',');
            }
            match &inner {
                Some(inner) => {
                    out.push('\n');
                    out.push_str(inner);
                }
                None if i > 0 => out.push(' '),
                None => {}
            }
            if let Some(key) = key {
                out.push_str(&name(key, bare));
                out.push_str(": ");
            }
            self.fresh(value, inner.as_deref(), bare, out);
        }
        if let Some(indent) = indent {
            out.push('\n');
            out.push_str(indent);
        }
        out.push(close);
    }
}

impl Pieces {
    /// Takes the entry at `at` out. Comments around it stay, in front of what follows.
    fn remove(&mut self, at: usize) {
        let gone = self.entries.remove(at);
        let mut kept = String::new();
        if has_comment(&gone.lead) {
            kept.push_str(gone.lead.trim_end());
        }
        for comment in [gone.before_comma.trim(), gone.after.trim()] {
            if !comment.is_empty() {
                self.new_line(&mut kept);
                kept.push_str(comment);
            }
        }
        let first = at == 0;
        let new_line = self.indent.as_ref().map(|indent| format!("\n{indent}"));
        let next = match self.entries.get_mut(at) {
            Some(entry) => &mut entry.lead,
            None => &mut self.tail,
        };
        if kept.is_empty() {
            // The first entry of a line has other blanks in front of it than the next one.
            if first && next.trim_matches([' ', '\t']).is_empty() && at < self.entries.len() {
                self.entries[at].lead = gone.lead;
            }
            return;
        }
        if runs_on(&kept) && !breaks_line(next) {
            kept.push_str(new_line.as_deref().unwrap_or("\n"));
            *next = next.trim_start().to_string();
        }
        next.insert_str(0, &kept);
    }

    /// Puts a new entry in front of the one at `at`.
    fn insert(&mut self, at: usize, body: String) {
        let mut lead = String::new();
        if self.entries.is_empty() {
            // Comments of an empty object stay in front.
            lead.push_str(self.tail.trim_end());
            self.tail.clear();
            if self.indent.is_some() || !lead.is_empty() {
                self.tail = format!("\n{}", self.outer);
            }
            if self.indent.is_none() && !lead.is_empty() {
                lead.push('\n');
            }
        }
        match &self.indent {
            Some(indent) => {
                lead.push('\n');
                lead.push_str(indent);
            }
            None if at > 0 => lead.push(' '),
            None => {}
        }
        if at == 0
            && let Some(next) = self.entries.first_mut()
            && self.indent.is_none()
        {
            // The blank after the bracket stays there.
            lead = std::mem::replace(&mut next.lead, " ".to_string());
        }
        self.entries.insert(
            at,
            Entry {
                lead,
                body,
                before_comma: String::new(),
                comma: false,
                after: String::new(),
            },
        );
    }

    fn new_line(&self, out: &mut String) {
        match &self.indent {
            Some(indent) => {
                out.push('\n');
                out.push_str(indent);
            }
            None => out.push(' '),
        }
    }

    fn joined(self, open: char, close: char) -> String {
        let mut out = String::from(open);
        let mut comment_runs_on = false;
        let last = self.entries.len().saturating_sub(1);
        for (i, entry) in self.entries.into_iter().enumerate() {
            let wants_comma = i < last || self.trailing_comma;
            if comment_runs_on && !breaks_line(&entry.lead) {
                out.push('\n');
            }
            out.push_str(&entry.lead);
            out.push_str(&entry.body);
            if wants_comma && !entry.comma {
                out.push(',');
            }
            out.push_str(&entry.before_comma);
            if wants_comma && entry.comma {
                out.push(',');
            }
            out.push_str(&entry.after);
            comment_runs_on = runs_on(&entry.after);
        }
        if comment_runs_on && !breaks_line(&self.tail) {
            out.push('\n');
        }
        out.push_str(&self.tail);
        out.push(close);
        out
    }
}

/// What to do with the next entry of a list.
enum Step {
    /// The old entry becomes the new one.
    Keep(usize, usize),
    Remove,
    Insert(usize),
}

/// The steps from `old` to `new`: entries with an id are found by it, others by their place between equal
/// beginnings and ends.
fn align(old: &[Value], new: &[Value]) -> Vec<Step> {
    let id = |v: &Value| v.get("id").and_then(Value::as_str).map(str::to_string);
    let ids = |l: &[Value]| l.iter().map(id).collect::<Option<Vec<_>>>();
    let mut steps = Vec::new();
    if let (Some(old_ids), Some(new_ids)) = (ids(old), ids(new)) {
        let mut from = 0;
        for (j, wanted) in new_ids.iter().enumerate() {
            match old_ids[from..].iter().position(|id| id == wanted) {
                Some(skip) => {
                    steps.extend((0..skip).map(|_| Step::Remove));
                    from += skip;
                    steps.push(Step::Keep(from, j));
                    from += 1;
                }
                None => steps.push(Step::Insert(j)),
            }
        }
        steps.extend((from..old.len()).map(|_| Step::Remove));
        return steps;
    }
    let most = old.len().min(new.len());
    let head = (0..most).take_while(|&i| old[i] == new[i]).count();
    let tail = (0..most - head)
        .take_while(|&i| old[old.len() - 1 - i] == new[new.len() - 1 - i])
        .count();
    let (old_end, new_end) = (old.len() - tail, new.len() - tail);
    steps.extend((0..head).map(|i| Step::Keep(i, i)));
    let pairs = (old_end - head).min(new_end - head);
    steps.extend((head..head + pairs).map(|i| Step::Keep(i, i)));
    steps.extend((head + pairs..old_end).map(|_| Step::Remove));
    steps.extend((head + pairs..new_end).map(Step::Insert));
    steps.extend((0..tail).map(|i| Step::Keep(old_end + i, new_end + i)));
    steps
}

/// The indentation of the first entry on a line of its own, relative to the root.
fn unit(text: &str, root: &Node) -> String {
    let starts: Vec<usize> = match &root.kind {
        Kind::Object(members) => members.iter().map(|m| m.key_span.start).collect(),
        Kind::Array(items) => items.iter().map(|n| n.span.start).collect(),
        _ => Vec::new(),
    };
    let indents = starts.into_iter().map(|at| line_indent(text, at));
    let mut real = indents.filter(|i| !i.is_empty());
    real.next().unwrap_or_else(|| INDENT.to_string())
}

/// The first member that there is at any depth.
fn first_member(node: &Node) -> Option<&Member> {
    match &node.kind {
        Kind::Object(members) => members.first(),
        Kind::Array(items) => items.iter().find_map(first_member),
        _ => None,
    }
}

/// `value` with its numbers as the parser gives them: a whole one is an integer, however it was made.
fn as_parsed(value: &Value) -> Value {
    match value {
        Value::Number(n) if n.is_f64() => {
            json5::value(&n.to_string()).unwrap_or_else(|_| value.clone())
        }
        Value::Array(items) => items.iter().map(as_parsed).collect(),
        Value::Object(map) => {
            let members = map.iter().map(|(k, v)| (k.clone(), as_parsed(v)));
            Value::Object(members.collect())
        }
        other => other.clone(),
    }
}

/// An object with nothing in it says nothing about how lines are broken.
fn is_blank_object(text: &str, root: &Node) -> bool {
    matches!(&root.kind, Kind::Object(members) if members.is_empty())
        && text[root.span.clone()].len() <= 3
}

fn is_bare(text: &str, member: &Member) -> bool {
    !text[member.key_span.clone()].starts_with(['"', '\''])
}

/// `key` as a name: bare where the text does so and the key allows it.
fn name(key: &str, bare: bool) -> String {
    let mut chars = key.chars();
    let plain = chars
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_' || c == '$')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '$');
    match bare && plain {
        true => key.to_string(),
        false => Value::from(key).to_string(),
    }
}

#[cfg(test)]
mod tests;
