//! The dialect, its errors, and texts that nobody would write.

use super::*;
use serde_json::json;

fn fails(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn the_whole_dialect() {
    let text = "\u{feff}// a\n/* b **/ {bare: 1, 'single': \"a'\", \"double\": 'b\"', $x_1: null,\n\
                hex: 0xFf, plus: +1, minus: -0x10, five: 5., half: .5, big: 1e3, small: 1.5e-3,\n\
                é: [true, false,], \\u0061b: {}, esc: '\\x41\\u0042\\n\\'\\\\\\q\\0',\n\
                pair: '\\ud83d\\ude00', lone: '\\ud83dx\\ude00', cont: 'a\\\nb\\\r\nc',}  // end";
    let expected = json!({
        "bare": 1, "single": "a'", "double": "b\"", "$x_1": null, "hex": 255, "plus": 1,
        "minus": -16, "five": 5, "half": 0.5, "big": 1000, "small": 0.0015, "é": [true, false],
        "ab": {}, "esc": "AB\n'\\q\0", "pair": "😀", "lone": "\u{fffd}x\u{fffd}", "cont": "abc",
    });
    assert_eq!(value(text).unwrap(), expected);
}

#[test]
fn exact_integers_stay_exact() {
    assert_eq!(
        value("123456789012345678").unwrap(),
        json!(123_456_789_012_345_678_u64)
    );
    assert_eq!(
        value("-9223372036854775807").unwrap(),
        json!(-9_223_372_036_854_775_807_i64)
    );
    assert_eq!(value("-0").unwrap(), json!(0));
    assert_eq!(value("0").unwrap(), json!(0));
    assert_eq!(value("0.5e1").unwrap(), json!(5));
}

#[test]
fn the_last_of_two_equal_names_counts() {
    assert_eq!(value("{a: 1, a: {b: 2}}").unwrap(), json!({"a": {"b": 2}}));
    let tree = parse("{a: 1, a: [7]}").unwrap();
    let seven = tree.child("a").and_then(|a| a.child("0")).unwrap();
    assert_eq!(seven.span, 11..12);
}

#[test]
fn numbers_without_end_are_found() {
    let tree = parse("{a: [1, {b: -Infinity}], c: NaN}").unwrap();
    assert_eq!(tree.not_finite().as_deref(), Some("a.1.b"));
    assert_eq!(parse("1e999").unwrap().not_finite().as_deref(), Some(""));
    assert_eq!(parse("{}").unwrap().not_finite(), None);
}

#[test]
fn errors_have_the_words_of_the_reference() {
    let end = "SyntaxError: JSON5: invalid end of input at";
    let bad = "SyntaxError: JSON5: invalid character";
    for (text, expected) in [
        ("", format!("{end} 1:1")),
        ("{oops", format!("{end} 1:6")),
        ("{,}", format!("{bad} ',' at 1:2")),
        ("{ not json", format!("{bad} 'j' at 1:7")),
        ("{a: 'x", format!("{end} 1:7")),
        ("{a: 'x\n'}", format!("{bad} '\\n' at 2:0")),
        ("{a: 1}\n}", format!("{bad} '}}' at 2:1")),
        ("{a: 01}", format!("{bad} '1' at 1:6")),
        ("{a: tru}", format!("{bad} '}}' at 1:8")),
        ("[1 2]", format!("{bad} '2' at 1:4")),
        ("/* x", format!("{end} 1:5")),
        ("/x", format!("{bad} 'x' at 1:2")),
        ("\"😀\" x", format!("{bad} 'x' at 1:6")),
        ("{a: '\\1'}", format!("{bad} '1' at 1:7")),
        ("{a: .}", format!("{bad} '}}' at 1:6")),
        ("{a: 1e}", format!("{bad} '}}' at 1:7")),
        ("{a: 0x}", format!("{bad} '}}' at 1:7")),
        ("{a: \u{1}}", format!("{bad} '\\x01' at 1:5")),
        ("{\"a\" 1}", format!("{bad} '1' at 1:6")),
    ] {
        assert_eq!(fails(text), expected, "{text:?}");
    }
    let name = fails("{\\u0031: 1}");
    assert_eq!(
        name,
        "SyntaxError: JSON5: invalid identifier character at 1:2"
    );
}

#[test]
fn depth_and_number_of_values_are_bounded() {
    let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    assert!(parse(&nested(MAX_DEPTH)).is_ok());
    assert!(fails(&nested(MAX_DEPTH + 1)).contains("nested more than"));
    assert!(fails(&"[".repeat(1_000_000)).contains("nested more than"));
    assert!(fails(&format!("[{}]", "0,".repeat(MAX_VALUES))).contains("more than 200000 values"));
}

#[test]
fn it_agrees_with_another_parser() {
    for text in [
        "{a: [1, -2.5, 0x1f, 'x', \"y\", null, true], 'b c': {d: .5e2},}",
        "[/* c */ 1, // d\n 2, +3, 1E2, 'a\\\nb']",
        "{\"u\": \"\\u00e9\\t\", $: 1, _: 2}",
    ] {
        let other: Value = json5::from_str(text).unwrap();
        let ours = value(text).unwrap();
        assert_eq!(
            ours.to_string().replace(".0", ""),
            other.to_string().replace(".0", "")
        );
    }
    for text in [
        "{a:}", "[,]", "{a 1}", "'", "01", "1.2.3", "nul", "{]", "--1",
    ] {
        assert!(
            json5::from_str::<Value>(text).is_err() && parse(text).is_err(),
            "{text}"
        );
    }
}

/// Texts made of pieces of texts, the same in every run.
fn scrambled(seed: u64) -> String {
    const PIECES: &[&str] = &[
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "a",
        "'b'",
        "\"\\u00e9\"",
        "'\\ud83d",
        "0x",
        "1e",
        "-",
        ".5",
        "/*",
        "*/",
        "//",
        "\n",
        " ",
        "\u{feff}",
        "😀",
        "\\",
        "\\u0061",
        "null",
        "tru",
        "Infinity",
        "'",
        "\"",
        "\u{2028}",
    ];
    let mut state = seed;
    let mut roll = |sides: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % sides
    };
    let count = roll(14);
    let pieces = (0..count).map(|_| PIECES[roll(PIECES.len() as u64) as usize]);
    pieces.collect()
}

#[test]
fn no_text_breaks_it_and_every_span_holds_its_value() {
    fn each(node: &Node, text: &str) {
        let own = &text[node.span.clone()];
        assert_eq!(value(own).as_ref(), Ok(&node.to_value()), "{text:?}");
        match &node.kind {
            Kind::Array(items) => items.iter().for_each(|n| each(n, text)),
            Kind::Object(members) => members.iter().for_each(|m| {
                assert!(m.key_span.end < m.value.span.start, "{text:?}");
                each(&m.value, text);
            }),
            _ => {}
        }
        if let Some(comma) = node.comma {
            assert_eq!(&text[comma..=comma], ",", "{text:?}");
        }
    }
    let mut read = 0;
    for seed in 0..100_000 {
        let text = scrambled(seed);
        if let Ok(tree) = parse(&text) {
            each(&tree, &text);
            read += 1;
        }
    }
    assert!(read > 1000, "only {read} texts were JSON5");
}
