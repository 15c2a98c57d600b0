//! One session's entry: a JSON object of which we know some fields and keep all.

use serde_json::{Map, Value};

/// The entry of a session, as it is in sessions.json.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry(Map<String, Value>);

impl Entry {
    /// The id of the session, which names its transcript.
    pub fn session_id(&self) -> Option<&str> {
        self.text("sessionId")
    }

    /// When the session was last used, in ms; 0 when the entry does not say.
    pub fn updated_at(&self) -> u64 {
        self.number("updatedAt").unwrap_or(0)
    }

    /// The text of field `name`; blank counts as missing.
    pub fn text(&self, name: &str) -> Option<&str> {
        let text = self.0.get(name)?.as_str()?.trim();
        (!text.is_empty()).then_some(text)
    }

    /// The number in field `name`; a negative or broken one counts as missing.
    pub fn number(&self, name: &str) -> Option<u64> {
        let v = self.0.get(name)?;
        v.as_u64()
            .or_else(|| v.as_f64().filter(|f| *f >= 0.0).map(|f| f as u64))
    }

    /// Whether field `name` is true.
    pub fn flag(&self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    /// Any field.
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// All fields.
    pub fn map(&self) -> &Map<String, Value> {
        &self.0
    }

    /// All fields, by value.
    pub fn into_map(self) -> Map<String, Value> {
        self.0
    }
}

impl From<Map<String, Value>> for Entry {
    fn from(map: Map<String, Value>) -> Self {
        Entry(map)
    }
}
