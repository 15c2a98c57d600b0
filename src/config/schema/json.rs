//! The table as JSON Schema and as hints for editors: the answer of `config.schema`.

use serde_json::{Map, Value, json};

use super::{Field, Form, Kind, Object, Range, Rest, root, rows};

/// The JSON Schema of a configuration.
pub fn json_schema() -> Value {
    let mut schema = object(root());
    schema["$schema"] = "http://json-schema.org/draft-07/schema#".into();
    schema["title"] = "OpenClawConfig".into();
    schema
}

/// By path: label, help, and whether the value is a secret.
pub fn ui_hints() -> Value {
    let hints = rows().into_iter().map(|row| {
        let field = row.field;
        let mut hint = Map::new();
        hint.insert("label".to_string(), label(field.name).into());
        if !field.about.is_empty() {
            hint.insert("help".to_string(), field.about.into());
        }
        if field.secret {
            hint.insert("sensitive".to_string(), true.into());
        }
        if field.unused {
            hint.insert("advanced".to_string(), true.into());
        }
        (row.path, Value::Object(hint))
    });
    Value::Object(hints.collect())
}

/// `maxBodyBytes` as `Max Body Bytes`.
fn label(name: &str) -> String {
    let mut out = String::new();
    for (i, c) in name.chars().enumerate() {
        match (i, c) {
            (0, c) => out.extend(c.to_uppercase()),
            (_, c) if c.is_ascii_uppercase() => {
                out.push(' ');
                out.push(c);
            }
            (_, c) => out.push(c),
        }
    }
    out
}

fn object(of: &Object) -> Value {
    let properties: Map<_, _> = of
        .all()
        .map(|f| (f.name.to_string(), described(f)))
        .collect();
    let required: Vec<_> = of.all().filter(|f| f.required).map(|f| f.name).collect();
    let mut schema = json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": match of.rest {
            Rest::Refused => false.into(),
            Rest::Ignored => true.into(),
            Rest::Of(of) => kind(of),
        },
    });
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    schema
}

fn described(field: &Field) -> Value {
    let mut schema = kind(&field.kind);
    if !field.about.is_empty() {
        schema["description"] = field.about.into();
    }
    schema
}

fn kind(of: &Kind) -> Value {
    match of {
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Text(form) => text(*form),
        Kind::Number(range) => number(*range),
        Kind::Word(words) | Kind::Choice(words) => json!({"type": "string", "enum": words}),
        Kind::OneOfNumbers(numbers) => json!({"type": "number", "enum": numbers}),
        Kind::False => json!({"const": false}),
        Kind::List(of) => json!({"type": "array", "items": kind(of)}),
        Kind::Map(of) => json!({
            "type": "object",
            "propertyNames": {"type": "string"},
            "additionalProperties": kind(of),
        }),
        Kind::Object(of) => object(of),
        Kind::Either(kinds) => {
            json!({"anyOf": kinds.iter().map(kind).collect::<Vec<_>>()})
        }
        Kind::Any => json!({}),
    }
}

fn text(form: Form) -> Value {
    match form {
        Form::Filled(_) => json!({"type": "string", "minLength": 1}),
        Form::AtMost(most) => json!({"type": "string", "maxLength": most}),
        Form::Colour => json!({"type": "string", "pattern": "^#?[0-9a-fA-F]{6}$"}),
        Form::Url | Form::HttpUrl => json!({"type": "string", "format": "uri"}),
        Form::Plain | Form::ModulePath | Form::DiscordId => json!({"type": "string"}),
    }
}

fn number(range: Range) -> Value {
    let mut schema = json!({"type": if range.whole { "integer" } else { "number" }});
    let bounds = [
        ("minimum", range.min),
        ("exclusiveMinimum", range.above),
        ("maximum", range.max),
    ];
    for (name, bound) in bounds {
        match bound {
            // Whole bounds without a point, as people write them.
            Some(bound) if bound.fract() == 0.0 => schema[name] = (bound as i64).into(),
            Some(bound) => schema[name] = bound.into(),
            None => {}
        }
    }
    schema
}
