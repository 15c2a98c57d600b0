//! The sessions of one agent in memory: text by key, parsed only when looked at.
//!
//! An entry written by the reference is 10 KiB of JSON; as text it costs that, as values several times
//! as much. The map is shared with readers, and copied only when one of them still holds it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::Entry;
use crate::state::session_key;

/// All sessions of an agent, by canonical key.
pub(super) type Slots = BTreeMap<Arc<str>, Slot>;

/// One entry, as JSON text without white space between its parts.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub text: Arc<str>,
    pub updated_at: u64,
}

/// The fields that lists are filtered by.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Head<'a> {
    #[serde(borrow)]
    pub session_id: Word<'a>,
    #[serde(borrow)]
    pub label: Word<'a>,
    #[serde(borrow)]
    pub spawned_by: Word<'a>,
}

/// A string, or whatever else a broken file has in its place.
#[derive(Deserialize, Default)]
#[serde(untagged)]
pub(super) enum Word<'a> {
    Text(#[serde(borrow)] Cow<'a, str>),
    Other(serde::de::IgnoredAny),
    #[default]
    Missing,
}

impl Word<'_> {
    pub fn is(&self, text: &str) -> bool {
        matches!(self, Word::Text(t) if t == text)
    }
}

impl Slot {
    /// The slot of `map`.
    pub fn of(map: &Map<String, Value>) -> Slot {
        // Maps with string keys always serialise.
        let text = serde_json::to_string(map).unwrap_or_else(|_| "{}".to_string());
        Slot::from_text(&text)
    }

    /// The slot of JSON text; `updatedAt` is looked up in it.
    pub fn from_text(text: &str) -> Slot {
        #[derive(Deserialize)]
        struct Updated {
            #[serde(rename = "updatedAt", default)]
            at: Value,
        }
        let text = compact(text);
        let at = serde_json::from_str::<Updated>(&text).map_or(Value::Null, |u| u.at);
        Slot {
            updated_at: Entry::from(Map::from_iter([("updatedAt".to_string(), at)])).updated_at(),
            text: text.into(),
        }
    }

    /// The entry, or `None` when the text is no object.
    pub fn entry(&self) -> Option<Entry> {
        serde_json::from_str::<Map<String, Value>>(&self.text)
            .ok()
            .map(Entry::from)
    }

    /// The fields for filtering.
    pub fn head(&self) -> Head<'_> {
        serde_json::from_str(&self.text).unwrap_or_default()
    }
}

/// What was found in a sessions file.
#[derive(Default)]
pub(super) struct Parsed {
    pub slots: Slots,
    /// Why reading stopped before the end; `slots` then holds what came before.
    pub broken: Option<String>,
}

/// Reads the text of a sessions file of `agent`. Keys are made canonical; of two that become the same,
/// the one that was used last stays.
pub(super) fn parse(bytes: &[u8], agent: &str) -> Parsed {
    let (text, cut) = match std::str::from_utf8(bytes) {
        Ok(text) => (text, None),
        Err(e) => {
            let text = std::str::from_utf8(&bytes[..e.valid_up_to()]).unwrap_or_default();
            (
                text,
                Some(format!("not UTF-8 from byte {}", e.valid_up_to())),
            )
        }
    };
    let mut slots = Slots::new();
    let mut reader = serde_json::Deserializer::from_str(text);
    let collect = Collect {
        slots: &mut slots,
        agent,
    };
    let read = collect.deserialize(&mut reader).and_then(|()| reader.end());
    Parsed {
        slots,
        broken: cut.or(read.err().map(|e| e.to_string())),
    }
}

struct Collect<'s> {
    slots: &'s mut Slots,
    agent: &'s str,
}

impl<'de> DeserializeSeed<'de> for Collect<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Collect<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of sessions")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((key, text)) = map.next_entry::<Cow<'de, str>, &'de RawValue>()? {
            let key = session_key::canonical(&key, self.agent);
            let slot = Slot::from_text(text.get());
            match self.slots.get(key.as_str()) {
                Some(other) if other.updated_at > slot.updated_at => {}
                _ => {
                    self.slots.insert(key.into(), slot);
                }
            }
        }
        Ok(())
    }
}

/// The text of a sessions file: valid JSON, one line for each session.
pub(super) fn render(slots: &Slots) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes(slots) as usize + 16);
    out.extend_from_slice(b"{");
    for (i, (key, slot)) in slots.iter().enumerate() {
        out.extend_from_slice(if i == 0 { b"\n" } else { b",\n" });
        // A string always serialises.
        let _ = serde_json::to_writer(&mut out, key.as_ref());
        out.push(b':');
        out.extend_from_slice(slot.text.as_bytes());
    }
    out.extend_from_slice(b"\n}\n");
    out
}

/// About how many bytes [`render`] makes of `slots`.
pub(super) fn bytes(slots: &Slots) -> u64 {
    slots.iter().map(|(key, slot)| cost(key, slot)).sum()
}

/// About how many bytes one session takes in the file: quotes, colon, comma and line end included.
pub(super) fn cost(key: &str, slot: &Slot) -> u64 {
    (key.len() + slot.text.len() + 5) as u64
}

/// JSON text without the white space between its parts.
fn compact(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let (mut quoted, mut escaped) = (false, false);
    for c in json.chars() {
        if quoted {
            quoted = escaped || c != '"';
            escaped = !escaped && c == '\\';
            out.push(c);
        } else if !matches!(c, ' ' | '\t' | '\n' | '\r') {
            quoted = c == '"';
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_goes_only_between_the_parts() {
        let text = "{ \"a b\" : [ 1 , \"x \\\" y \\\\\" ] ,\n\t\"c\":\r\n1.50 }";
        assert_eq!(compact(text), r#"{"a b":[1,"x \" y \\"],"c":1.50}"#);
    }

    #[test]
    fn what_came_before_the_tear_is_read() {
        let text = r#"{"main":{"sessionId":"1","updatedAt":5},"x":{"sessionId":"2"},"y":{"sess"#;
        let p = parse(text.as_bytes(), "main");
        assert!(p.broken.is_some());
        let keys: Vec<&str> = p.slots.keys().map(|k| k.as_ref()).collect();
        assert_eq!(keys, ["agent:main:main", "agent:main:x"]);
        for bad in ["", "[]", "null", "{\"a\"", "\0\0\0\0"] {
            let p = parse(bad.as_bytes(), "main");
            assert!(p.broken.is_some() && p.slots.is_empty(), "{bad:?}");
        }
        let mut torn = b"{\"a\":{},\"b\":{\"x\":\"".to_vec();
        torn.extend([0xff, 0xfe]);
        let p = parse(&torn, "main");
        assert!(p.broken.is_some_and(|b| b.contains("UTF-8")));
        assert_eq!(p.slots.len(), 1);
    }

    #[test]
    fn of_two_spellings_of_a_key_the_last_used_stays() {
        let text = r#"{"Agent:Main:X":{"sessionId":"new","updatedAt":9},"x":{"sessionId":"old","updatedAt":3}}"#;
        let p = parse(text.as_bytes(), "main");
        assert!(p.broken.is_none());
        assert_eq!(p.slots.len(), 1);
        assert!(p.slots["agent:main:x"].head().session_id.is("new"));
    }

    #[test]
    fn unknown_fields_and_odd_values_survive_a_round() {
        let text = r#"{"a":{"sessionId":"1","zukunft":{"x":[1.5,1e300,12345678901234567890]},"updatedAt":1.0},"b":null}"#;
        let p = parse(text.as_bytes(), "main");
        let again = parse(&render(&p.slots), "main");
        assert!(again.broken.is_none());
        assert!(
            again.slots["agent:main:a"]
                .text
                .contains("12345678901234567890")
        );
        assert_eq!(again.slots["agent:main:a"].updated_at, 1);
        assert_eq!(&*again.slots["agent:main:b"].text, "null");
        assert!(again.slots["agent:main:b"].entry().is_none());
    }

    #[test]
    fn fields_of_another_type_do_not_stop_a_list() {
        let slot = Slot::from_text(r#"{"sessionId":5,"label":"x","spawnedBy":null}"#);
        assert!(slot.head().label.is("x"));
        assert!(!slot.head().session_id.is("5"));
    }
}
