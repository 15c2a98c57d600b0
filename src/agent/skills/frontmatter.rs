//! The head of a SKILL.md: a few single-line keys and one `metadata` object.
//!
//! A small part of YAML, on purpose: plain, single- and double-quoted text, and a JSON5 object that may
//! go on over indented lines.

use serde_json::Value;

use crate::config::json5;

/// The longest head that is read, in bytes.
pub const MAX_HEAD: usize = 64 * 1024;
/// Keys that one head may have.
const MAX_KEYS: usize = 64;

/// The head of a skill.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Head {
    keys: Vec<(String, String)>,
    metadata: Value,
}

impl Head {
    /// Reads the head of `text`; `None` when it has none.
    pub fn parse(text: &str) -> Option<Head> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut lines = text.lines();
        if lines.next()?.trim_end() != "---" {
            return None;
        }
        let mut head = Head::default();
        let mut size = 0;
        let mut closed = false;
        for line in lines {
            size += line.len() + 1;
            if size > MAX_HEAD {
                return None;
            }
            if line.trim_end() == "---" {
                closed = true;
                break;
            }
            head.line(line);
        }
        if !closed {
            return None;
        }
        if let Some((_, raw)) = head.keys.iter().find(|(k, _)| k == "metadata") {
            head.metadata = json5::value(raw).unwrap_or(Value::Null);
        }
        Some(head)
    }

    /// A line is `key: value`, or goes on with the value before it when it is indented.
    fn line(&mut self, line: &str) {
        let indented = line.starts_with([' ', '\t']);
        if indented || line.trim().is_empty() {
            if let Some((_, value)) = self.keys.last_mut() {
                if !value.is_empty() {
                    value.push('\n');
                }
                value.push_str(line.trim());
            }
            return;
        }
        if line.starts_with('#') || self.keys.len() >= MAX_KEYS {
            return;
        }
        if let Some((key, value)) = line.split_once(':') {
            let (key, value) = (key.trim().to_string(), value.trim().to_string());
            self.keys.push((key, value));
        }
    }

    /// The text of a key, unquoted; blank counts as none.
    pub fn text(&self, key: &str) -> Option<String> {
        let (_, raw) = self.keys.iter().find(|(k, _)| k == key)?;
        let text = unquoted(raw.trim());
        (!text.trim().is_empty()).then_some(text)
    }

    pub fn bool(&self, key: &str, default: bool) -> bool {
        match self.text(key).as_deref() {
            Some("true" | "yes" | "on") => true,
            Some("false" | "no" | "off") => false,
            _ => default,
        }
    }

    /// `metadata.openclaw`, null when there is none.
    pub fn metadata(&self) -> &Value {
        &self.metadata["openclaw"]
    }
}

fn unquoted(raw: &str) -> String {
    let inner = |q: char| {
        raw.strip_prefix(q)
            .and_then(|r| r.strip_suffix(q))
            .filter(|_| raw.len() >= 2)
    };
    if let Some(text) = inner('\'') {
        return text.replace("''", "'");
    }
    let Some(text) = inner('"') else {
        // Behind a block mark (`>`, `|`) the text is on the lines that follow.
        return raw.trim_start_matches(['>', '|', '-']).trim().to_string();
    };
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n' | 't' | 'r') | None => out.push(' '),
                Some(c) => out.push(c),
            },
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"---
name: github
description: "Uses `gh`: it's \"quoted\""
homepage: https://cli.github.com/
user-invocable: false
metadata:
  {
    "openclaw":
      {
        "emoji": "🐙",
        "requires": { "bins": ["gh"] }, // trailing comma
      },
  }
---

# Body
name: other
"#;

    #[test]
    fn keys_and_a_spread_out_object_are_read() {
        let h = Head::parse(TEXT).unwrap();
        assert_eq!(h.text("name").as_deref(), Some("github"));
        assert_eq!(
            h.text("description").as_deref(),
            Some("Uses `gh`: it's \"quoted\"")
        );
        assert_eq!(
            h.text("homepage").as_deref(),
            Some("https://cli.github.com/")
        );
        assert!(!h.bool("user-invocable", true));
        assert_eq!(h.metadata()["requires"]["bins"][0], "gh");
        assert_eq!(h.text("nothing"), None);
    }

    #[test]
    fn a_single_line_object_and_a_folded_text_are_read() {
        let h = Head::parse(
            "---\nname: 'it''s'\ndescription: >-\n  one\n  two\nmetadata: {\"openclaw\": {always: true}}\n---",
        )
        .unwrap();
        assert_eq!(h.text("name").as_deref(), Some("it's"));
        assert_eq!(h.text("description").as_deref(), Some("one\ntwo"));
        assert_eq!(h.metadata()["always"], true);
    }

    #[test]
    fn what_is_no_head_is_none_and_what_is_broken_is_left_out() {
        for text in ["", "# Title", "---\nname: x", "--\nname: x\n---\n"] {
            assert_eq!(Head::parse(text), None, "{text:?}");
        }
        let h = Head::parse("---\nname: x\nmetadata: {broken\n---\n").unwrap();
        assert_eq!(*h.metadata(), Value::Null);
        assert_eq!(h.text("name").as_deref(), Some("x"));
        let huge = format!("---\nname: {}\n---\n", "x".repeat(MAX_HEAD));
        assert_eq!(Head::parse(&huge), None);
        let deep = format!("---\nname: x\nmetadata: {}\n---\n", "[".repeat(50_000));
        assert_eq!(*Head::parse(&deep).unwrap().metadata(), Value::Null);
    }
}
