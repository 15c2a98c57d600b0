//! Edits of texts by hand, and of thousands of generated ones.

use super::*;
use serde_json::json;

/// The new text, after checking that it means what it should.
fn to(text: &str, wanted: Value) -> String {
    let out = rewrite(text, &wanted).unwrap();
    let meaning = json5::value(&out);
    assert_eq!(
        meaning.as_ref(),
        Ok(&as_parsed(&wanted)),
        "{text}\n->\n{out}"
    );
    out
}

#[test]
fn nothing_changes_when_nothing_changes() {
    let text = "// a\n{ b : 0x10 , 'c': [1,2 , ], /* d */ }\n";
    assert_eq!(to(text, json!({"b": 16, "c": [1, 2]})), text);
}

#[test]
fn a_value_changes_in_place() {
    let text = "{\n  a: 1, // one\n  // two\n  'b': { c: 'x' },\n}\n";
    assert_eq!(
        to(text, json!({"a": 2, "b": {"c": "y"}})),
        "{\n  a: 2, // one\n  // two\n  'b': { c: \"y\" },\n}\n"
    );
}

#[test]
fn a_new_name_goes_last_in_the_style_of_its_neighbours() {
    let text = "{\n    a: 1 // one\n    // end\n}\n";
    assert_eq!(
        to(text, json!({"a": 1, "b": {"c-d": [], "e": [1]}})),
        "{\n    a: 1, // one\n    b: {\n        \"c-d\": [],\n        e: [\n            1\n        ]\n    \
         }\n    // end\n}\n"
    );
    assert_eq!(
        to("{\n\t\"a\": 1,\n}", json!({"a": 1, "b": 2})),
        "{\n\t\"a\": 1,\n\t\"b\": 2,\n}"
    );
    assert_eq!(
        to("{ a: 1 }", json!({"a": 1, "b": [1, 2]})),
        "{ a: 1, b: [1, 2] }"
    );
    assert_eq!(to("{a: 1,}", json!({"a": 1, "b": {}})), "{a: 1, b: {},}");
    assert_eq!(
        to("{}", json!({"a": {"b": 1}})),
        "{\n  \"a\": {\n    \"b\": 1\n  }\n}"
    );
    assert_eq!(
        to("{\n  x: {}, // c\n}", json!({"x": {"y": 1}})),
        "{\n  x: {\n    y: 1\n  }, // c\n}"
    );
    assert_eq!(to("{ // c\n}", json!({"y": 1})), "{ // c\n  \"y\": 1\n}");
}

#[test]
fn what_goes_leaves_comments_and_strict_json_behind() {
    assert_eq!(
        to("{\n  \"a\": 1,\n  \"b\": 2\n}\n", json!({"a": 1})),
        "{\n  \"a\": 1\n}\n"
    );
    assert_eq!(
        to(
            "{\n  a: 1,\n  // about b\n  b: 2, // two\n  c: 3,\n}\n",
            json!({"a": 1, "c": 3})
        ),
        "{\n  a: 1,\n  // about b\n  // two\n  c: 3,\n}\n"
    );
    assert_eq!(to("{a: 1, b: 2}", json!({"b": 2})), "{b: 2}");
    assert_eq!(to("{ a: 1, b: 2 }", json!({"a": 1})), "{ a: 1 }");
    assert_eq!(to("{a: 1}", json!({})), "{}");
    assert_eq!(
        to("{\n  // about a\n  a: 1, b: 2\n}", json!({"b": 2})),
        "{\n  // about a\n  b: 2\n}"
    );
    assert_eq!(
        to("{a: 1, // one\n /* x\n y */ b: 2}", json!({"a": 1})),
        "{a: 1 // one\n /* x\n y */}"
    );
}

#[test]
fn lists_are_edited_entry_by_entry() {
    let text = "[\n  'a', // first\n  'b',\n  'c'\n]";
    assert_eq!(to(text, json!(["a", "c"])), "[\n  'a', // first\n  'c'\n]");
    assert_eq!(
        to(text, json!(["a", "b", "c", "d"])),
        "[\n  'a', // first\n  'b',\n  'c',\n  \"d\"\n]"
    );
    assert_eq!(
        to(text, json!(["x", "a", "b", "c"])),
        "[\n  \"x\",\n  'a', // first\n  'b',\n  'c'\n]"
    );
    assert_eq!(to("[1, 3]", json!([1, 2, 3])), "[1, 2, 3]");
    assert_eq!(to("[2]", json!([1, 2])), "[1, 2]");
    let text = "[{id: 'a', v: 1}, {id: 'b', /* keep */ v: 2}]";
    assert_eq!(
        to(text, json!([{"id": "b", "v": 3}, {"id": "c"}])),
        "[{id: 'b', /* keep */ v: 3}, {id: \"c\"}]"
    );
}

#[test]
fn a_name_that_stands_twice_is_written_once() {
    assert_eq!(
        to("{a: 1, b: 2, a: 3}", json!({"a": 4, "b": 2})),
        "{b: 2, a: 4}"
    );
}

#[test]
fn numbers_are_written_as_they_are_read() {
    assert_eq!(to("{a: 1}", json!({"a": 2.0, "b": 0.5})), "{a: 2, b: 0.5}");
}

/// A small generator of texts and values, the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.roll(from.len() as u64) as usize]
    }

    fn value(&mut self, depth: u64) -> Value {
        match self.roll(if depth == 0 { 5 } else { 9 }) {
            0 => json!(null),
            1 => json!(self.roll(3)),
            2 => json!(self.pick(&["x", "it's", "\"", "// no", "/* */", "é", ""])),
            3 => json!(self.roll(2) == 0),
            4 => json!(1.5),
            5 | 6 => (0..self.roll(4)).map(|_| self.value(depth - 1)).collect(),
            _ => {
                let names = ["a", "b", "c-d", "id", "$e"];
                let members = (0..self.roll(5)).map(|_| {
                    let key = self.pick(&names).to_string();
                    let value = match key.as_str() {
                        "id" => json!(self.pick(&["p", "q", "r"])),
                        _ => self.value(depth - 1),
                    };
                    (key, value)
                });
                Value::Object(members.collect())
            }
        }
    }

    fn blank(&mut self) -> &'static str {
        self.pick(&[
            "",
            "",
            " ",
            "\n",
            "\n  ",
            " // c\n ",
            "/* a\n b */",
            "/**/ ",
            "\t",
            "\r\n",
            " //x\r\n",
        ])
    }

    /// `value` as a text full of blanks and comments.
    fn text(&mut self, value: &Value, out: &mut String) {
        out.push_str(self.blank());
        match value {
            Value::Array(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    self.text(item, out);
                    self.comma(i + 1 == items.len(), out);
                }
                out.push_str(self.blank());
                out.push(']');
            }
            Value::Object(map) => {
                out.push('{');
                for (i, (key, item)) in map.iter().enumerate() {
                    out.push_str(self.blank());
                    out.push_str(&name(key, self.roll(2) == 0));
                    out.push_str(self.blank());
                    out.push(':');
                    self.text(item, out);
                    self.comma(i + 1 == map.len(), out);
                }
                out.push_str(self.blank());
                out.push('}');
            }
            other => out.push_str(&other.to_string()),
        }
        out.push_str(self.blank());
    }

    fn comma(&mut self, last: bool, out: &mut String) {
        if !last || self.roll(2) == 0 {
            out.push(',');
        }
    }

    /// `value` with a few changes.
    fn mutated(&mut self, value: &Value) -> Value {
        match value {
            _ if self.roll(8) == 0 => self.value(2),
            Value::Array(items) => {
                let mut items: Vec<_> = items.iter().map(|v| self.mutated(v)).collect();
                if !items.is_empty() && self.roll(3) == 0 {
                    items.remove(self.roll(items.len() as u64) as usize);
                }
                if self.roll(3) == 0 {
                    let at = self.roll(items.len() as u64 + 1) as usize;
                    items.insert(at, self.value(1));
                }
                Value::Array(items)
            }
            Value::Object(map) => {
                let mut out = Map::new();
                for (key, item) in map {
                    if self.roll(4) > 0 {
                        let item = self.mutated(item);
                        out.insert(key.clone(), item);
                    }
                }
                if self.roll(3) == 0 {
                    let item = self.value(2);
                    out.insert(self.pick(&["n1", "n-2", "a"]).to_string(), item);
                }
                Value::Object(out)
            }
            other => other.clone(),
        }
    }
}

fn comments(text: &str) -> usize {
    text.matches("/*").count() + text.matches("//").count()
}

#[test]
fn whatever_the_text_and_the_edit_the_result_means_what_was_wanted() {
    let mut dice = Dice(7);
    for _ in 0..20_000 {
        let before = dice.value(4);
        let mut text = String::new();
        dice.text(&before, &mut text);
        assert_eq!(json5::value(&text).as_ref(), Ok(&before), "{text}");
        let after = dice.mutated(&before);
        let out = to(&text, after.clone());
        if before == after {
            assert_eq!(out, text);
        }
        assert_eq!(to(&out, after), out, "a second time changes nothing");
    }
}

#[test]
fn taking_out_one_name_keeps_every_comment_outside_of_its_value() {
    let mut dice = Dice(11);
    for _ in 0..2_000 {
        let mut map = Map::new();
        for key in ["a", "b", "c"] {
            map.insert(key.to_string(), json!(dice.roll(5)));
        }
        let before = Value::Object(map.clone());
        let mut text = String::new();
        dice.text(&before, &mut text);
        map.remove(dice.pick(&["a", "b", "c"]));
        let out = to(&text, Value::Object(map));
        // Only those between the name, the colon and the value go with them.
        assert!(comments(&out) + 2 >= comments(&text), "{text}\n->\n{out}");
    }
}
