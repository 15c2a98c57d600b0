//! What a configuration says that this product does not do.

use serde_json::{Map, Value};

use super::{Issue, Kind, Object, Rest, root, rules};
use crate::config::path::join;

/// One warning for each section that is accepted without effect. A section that only switches something
/// off is not worth one.
pub fn warnings(config: &Value) -> Vec<Issue> {
    let mut found = Vec::new();
    if let Value::Object(map) = config {
        object(map, root(), "", &mut found);
    }
    found
}

fn object(map: &Map<String, Value>, of: &Object, path: &str, found: &mut Vec<Issue>) {
    for field in of.all() {
        let Some(value) = map.get(field.name) else {
            continue;
        };
        let below = join(path, field.name);
        if field.unused {
            if !switches_off(value) {
                found.push(no_effect(below));
            }
            continue;
        }
        kind(value, &field.kind, &below, found);
    }
    // Channels that came as plugins have no field of their own.
    if let Rest::Of(Kind::Any) = of.rest {
        let others = map.iter().filter(|(k, _)| of.field(k).is_none());
        for (key, value) in others {
            if rules::is_channel(key) && !switches_off(value) {
                found.push(no_effect(join(path, key)));
            }
        }
    }
}

fn kind(value: &Value, of: &Kind, path: &str, found: &mut Vec<Issue>) {
    match (of, value) {
        (Kind::Object(of), Value::Object(map)) => object(map, of, path, found),
        (Kind::Map(of), Value::Object(map)) => {
            for (key, value) in map {
                kind(value, of, &join(path, key), found);
            }
        }
        (Kind::List(of), Value::Array(items)) => {
            for (i, value) in items.iter().enumerate() {
                kind(value, of, &join(path, &i.to_string()), found);
            }
        }
        _ => {}
    }
}

fn no_effect(path: String) -> Issue {
    Issue::new(
        path,
        "accepted, but has no effect: this gateway does not have it",
    )
}

/// Whether everything in `value` says no, or the section as a whole is disabled.
fn switches_off(value: &Value) -> bool {
    match value {
        Value::Bool(false) | Value::Null => true,
        Value::String(text) => matches!(text.as_str(), "off" | "none" | "never"),
        Value::Object(map) => {
            map.get("enabled") == Some(&Value::Bool(false)) || map.values().all(switches_off)
        }
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}
