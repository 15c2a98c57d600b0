//! The defaults that are filled into the effective configuration, so that clients of `config.get` see them.

use serde_json::{Map, Value, json};

use super::{Default, Field, Kind, Object, root};

/// Tokens that fit into a request of a model that does not say.
const CONTEXT_WINDOW: u64 = 200_000;
/// Most tokens of an answer of such a model.
const MAX_TOKENS: u64 = 8192;

/// `config` with defaults filled in: those of the table, and a few whose objects are made for them.
pub fn fill(mut config: Value) -> Value {
    let made = json!({
        "agents": {"defaults": {
            "maxConcurrent": 4,
            "subagents": {"maxConcurrent": 8},
            "compaction": {"mode": "safeguard"},
        }},
        "commands": {},
        "messages": {"ackReactionScope": "group-mentions"},
    });
    lay_under(&mut config, &made);
    if let Value::Object(map) = &mut config {
        object(map, root());
        models(map);
    }
    config
}

/// Adds to `value` what `under` has and `value` lacks.
fn lay_under(value: &mut Value, under: &Value) {
    let (Value::Object(map), Value::Object(under)) = (value, under) else {
        return;
    };
    for (key, default) in under {
        match map.get_mut(key) {
            Some(value) => lay_under(value, default),
            None => {
                map.insert(key.clone(), default.clone());
            }
        }
    }
}

fn object(map: &mut Map<String, Value>, of: &Object) {
    for field in of.all() {
        match map.get_mut(field.name) {
            Some(value) => kind(value, &field.kind),
            None => {
                if let Default::Fills(text) = field.default {
                    map.insert(field.name.to_string(), typed(field, text));
                }
            }
        }
    }
}

fn kind(value: &mut Value, of: &Kind) {
    match (of, value) {
        (Kind::Object(of), Value::Object(map)) => object(map, of),
        (Kind::List(of), Value::Array(items)) => items.iter_mut().for_each(|v| kind(v, of)),
        (Kind::Map(of), Value::Object(map)) => map.values_mut().for_each(|v| kind(v, of)),
        _ => {}
    }
}

/// A default of the table as a value of the field's type.
fn typed(field: &Field, text: &str) -> Value {
    match (&field.kind, text) {
        (Kind::Text(_) | Kind::Word(_) | Kind::Choice(_), text) => text.into(),
        // `auto` of a choice between a flag and a word.
        (_, text) => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
    }
}

/// A model says everything about itself, so that nobody has to know the defaults.
fn models(config: &mut Map<String, Value>) {
    let providers = config
        .get_mut("models")
        .and_then(|m| m.get_mut("providers"))
        .and_then(Value::as_object_mut);
    for (id, provider) in providers.into_iter().flatten() {
        let api = match (provider.get("api"), id.as_str()) {
            (Some(api), _) => Some(api.clone()),
            (None, "anthropic") => Some("anthropic-messages".into()),
            (None, _) => None,
        };
        let models = provider.get_mut("models").and_then(Value::as_array_mut);
        for model in models.into_iter().flatten() {
            if let (Some(map), Some(api)) = (model.as_object_mut(), &api) {
                map.entry("api").or_insert_with(|| api.clone());
            }
            let window = model.get("contextWindow").and_then(Value::as_u64);
            let window = window.unwrap_or(CONTEXT_WINDOW);
            let defaults = json!({
                "reasoning": false,
                "input": ["text"],
                "cost": {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0},
                "contextWindow": window,
                "maxTokens": MAX_TOKENS.min(window),
            });
            lay_under(model, &defaults);
        }
    }
}
