//! Puts the many forms of a job that models and old clients send into one.

use serde_json::{Value, json};

use crate::schedule::job::Object;
use crate::schedule::when;
use crate::state::session_key;
use crate::sys::clock;

/// Characters of a name that is taken from the payload.
const NAME_CHARS: usize = 60;

pub(super) fn normalise(params: &Value) -> Object {
    let base = ["data", "job"]
        .iter()
        .find_map(|k| params.get(k).and_then(Value::as_object));
    let Some(mut fields) = base.or(params.as_object()).cloned() else {
        return Object::new();
    };
    trim_or_drop(&mut fields, "agentId", |t| Some(session_key::agent_id(t)));
    trim_or_drop(&mut fields, "sessionKey", |t| Some(t.to_string()));
    word(&mut fields, "sessionTarget", &["main", "isolated"]);
    word(&mut fields, "wakeMode", &["now", "next-heartbeat"]);
    match fields
        .get("enabled")
        .and_then(Value::as_str)
        .map(|t| t.trim().to_lowercase())
        .as_deref()
    {
        Some("true") => drop(fields.insert("enabled".into(), json!(true))),
        Some("false") => drop(fields.insert("enabled".into(), json!(false))),
        _ => {}
    }
    if let Some(name) = fields
        .get("name")
        .and_then(Value::as_str)
        .map(str::trim)
        .filter(|n| !n.is_empty())
    {
        let name = json!(name);
        fields.insert("name".into(), name);
    }
    if let Some(Value::Object(schedule)) = fields.get_mut("schedule") {
        order_schedule(schedule);
    }
    if !fields.get("payload").is_some_and(Value::is_object) {
        payload_from_top(&mut fields);
    } else if let Some(Value::Object(payload)) = fields.get_mut("payload") {
        order_payload(payload);
    }
    if let Some(Value::Object(delivery)) = fields.get_mut("delivery") {
        order_delivery(delivery);
    }
    move_down(&mut fields);
    fields
}

pub(super) fn fill_defaults(fields: &mut Object) {
    fields.entry("wakeMode").or_insert(json!("now"));
    if !fields.get("enabled").is_some_and(Value::is_boolean) {
        fields.insert("enabled".into(), json!(true));
    }
    let kind = fields
        .get("payload")
        .and_then(|p| p.get("kind"))
        .and_then(Value::as_str)
        .map(str::to_string);
    if !fields.contains_key("sessionTarget") {
        match kind.as_deref() {
            Some("systemEvent") => drop(fields.insert("sessionTarget".into(), json!("main"))),
            Some("agentTurn") => drop(fields.insert("sessionTarget".into(), json!("isolated"))),
            _ => {}
        }
    }
    let named = fields
        .get("name")
        .and_then(Value::as_str)
        .is_some_and(|n| !n.trim().is_empty());
    if !named && let Some(name) = infer_name(fields) {
        fields.insert("name".into(), json!(name));
    }
    if let Some(Value::Object(schedule)) = fields.get_mut("schedule") {
        fill_stagger(schedule);
        if schedule.get("kind") == Some(&json!("at")) {
            fields.entry("deleteAfterRun").or_insert(json!(true));
        }
    }
    if fields.get("sessionTarget") == Some(&json!("isolated"))
        && kind.as_deref() == Some("agentTurn")
    {
        let old_style = fields
            .get_mut("payload")
            .and_then(Value::as_object_mut)
            .and_then(take_delivery);
        let announce = json!({"mode": "announce"});
        fields
            .entry("delivery")
            .or_insert(old_style.unwrap_or(announce));
    }
}

/// Trims the text at `key` and puts `then` of it there; blank text is dropped, `null` stays.
fn trim_or_drop(fields: &mut Object, key: &str, then: impl Fn(&str) -> Option<String>) {
    if let Some(text) = fields.get(key).and_then(Value::as_str) {
        let next = Some(text.trim()).filter(|t| !t.is_empty()).and_then(then);
        match next {
            Some(text) => fields.insert(key.into(), json!(text)),
            None => fields.remove(key),
        };
    }
}

/// Lower-cases the word at `key`; what is none of `words` is dropped, as the reference does.
fn word(fields: &mut Object, key: &str, words: &[&str]) {
    if let Some(value) = fields.get(key) {
        let text = value
            .as_str()
            .map(|t| t.trim().to_lowercase())
            .unwrap_or_default();
        match words.contains(&text.as_str()) {
            true => fields.insert(key.into(), json!(text)),
            false => fields.remove(key),
        };
    }
}

fn order_schedule(schedule: &mut Object) {
    let kind = schedule
        .get("kind")
        .and_then(Value::as_str)
        .map(|t| t.trim().to_lowercase());
    match kind.as_deref() {
        Some("at" | "every" | "cron") => drop(schedule.insert("kind".into(), json!(kind))),
        _ => {
            let inferred = [
                ("at", "at"),
                ("atMs", "at"),
                ("everyMs", "every"),
                ("expr", "cron"),
            ];
            if let Some((_, kind)) = inferred
                .iter()
                .find(|(field, _)| schedule.contains_key(*field))
                && !schedule.contains_key("kind")
            {
                schedule.insert("kind".into(), json!(kind));
            }
        }
    }
    let at_ms = schedule.remove("atMs");
    let at = match (
        schedule.get("at").and_then(Value::as_str).map(str::trim),
        &at_ms,
    ) {
        (_, Some(Value::Number(ms))) => ms.as_f64().filter(|ms| *ms > 0.0).map(|ms| ms as u64),
        (_, Some(Value::String(text))) => when::parse_time(text),
        (Some(text), _) => when::parse_time(text),
        _ => None,
    };
    if let Some(at) = at {
        schedule.insert("at".into(), json!(clock::iso(at)));
    }
    trim_or_drop(schedule, "expr", |t| Some(t.to_string()));
    match schedule.get("staggerMs") {
        Some(Value::Number(n)) => {
            let ms = n.as_f64().unwrap_or(0.0).max(0.0) as u64;
            schedule.insert("staggerMs".into(), json!(ms));
        }
        Some(Value::String(text)) => match text.trim().parse::<f64>() {
            Ok(ms) => drop(schedule.insert("staggerMs".into(), json!(ms.max(0.0) as u64))),
            Err(_) => drop(schedule.remove("staggerMs")),
        },
        Some(_) => drop(schedule.remove("staggerMs")),
        None => {}
    }
}

fn order_payload(payload: &mut Object) {
    let has = |key: &str| {
        payload
            .get(key)
            .and_then(Value::as_str)
            .is_some_and(|t| !t.trim().is_empty())
    };
    let kind = payload
        .get("kind")
        .and_then(Value::as_str)
        .map(|t| t.trim().to_lowercase());
    let kind = match kind.as_deref() {
        Some("agentturn") => Some("agentTurn"),
        Some("systemevent") => Some("systemEvent"),
        Some(_) => None,
        None if has("message") => Some("agentTurn"),
        None if has("text") => Some("systemEvent"),
        None if payload.contains_key("model") || payload.contains_key("thinking") => {
            Some("agentTurn")
        }
        None => None,
    };
    if let Some(kind) = kind {
        payload.insert("kind".into(), json!(kind));
    }
    // The oldest form named the channel `provider`.
    if let Some(provider) = payload.remove("provider").filter(Value::is_string) {
        payload.entry("channel").or_insert(provider);
    }
    for key in ["message", "text"] {
        if let Some(text) = payload
            .get(key)
            .and_then(Value::as_str)
            .map(str::trim)
            .filter(|t| !t.is_empty())
        {
            let text = json!(text);
            payload.insert(key.into(), text);
        }
    }
    for key in ["model", "thinking"] {
        trim_or_drop(payload, key, |t| Some(t.to_string()));
        if payload.get(key).is_some_and(|v| !v.is_string()) {
            payload.remove(key);
        }
    }
    if let Some(value) = payload.remove("timeoutSeconds")
        && let Some(seconds) = value.as_f64().filter(|s| s.is_finite())
    {
        payload.insert("timeoutSeconds".into(), json!(seconds.max(0.0) as u64));
    }
    if payload
        .get("allowUnsafeExternalContent")
        .is_some_and(|v| !v.is_boolean())
    {
        payload.remove("allowUnsafeExternalContent");
    }
}

fn order_delivery(delivery: &mut Object) {
    if let Some(mode) = delivery.remove("mode") {
        match mode.as_str().map(|t| t.trim().to_lowercase()).as_deref() {
            Some("deliver" | "announce") => drop(delivery.insert("mode".into(), json!("announce"))),
            Some("none") => drop(delivery.insert("mode".into(), json!("none"))),
            Some("webhook") => drop(delivery.insert("mode".into(), json!("webhook"))),
            _ => {}
        }
    }
    trim_or_drop(delivery, "channel", |t| Some(t.to_lowercase()));
    trim_or_drop(delivery, "to", |t| Some(t.to_string()));
}

fn payload_from_top(fields: &mut Object) {
    let text = |key: &str| {
        let t = fields.get(key).and_then(Value::as_str).map(str::trim)?;
        (!t.is_empty()).then(|| t.to_string())
    };
    let payload = match (text("message"), text("text")) {
        (Some(message), _) => json!({"kind": "agentTurn", "message": message}),
        (None, Some(text)) => json!({"kind": "systemEvent", "text": text}),
        _ => return,
    };
    fields.insert("payload".into(), payload);
}

/// Fields that belong into the payload and were sent beside it.
fn move_down(fields: &mut Object) {
    const KEYS: [&str; 8] = [
        "model",
        "thinking",
        "timeoutSeconds",
        "allowUnsafeExternalContent",
        "deliver",
        "channel",
        "to",
        "bestEffortDeliver",
    ];
    let moved: Vec<(&str, Value)> = KEYS
        .iter()
        .filter_map(|k| Some((*k, fields.remove(*k)?)))
        .collect();
    for key in ["message", "text", "provider", "isolation"] {
        fields.remove(key);
    }
    if let Some(Value::Object(payload)) = fields.get_mut("payload")
        && payload.get("kind") == Some(&json!("agentTurn"))
    {
        for (key, value) in moved {
            payload.entry(key).or_insert(value);
        }
        order_payload(payload);
    }
}

/// Takes the delivery out of an old payload that named it there.
fn take_delivery(payload: &mut Object) -> Option<Value> {
    let deliver = payload.remove("deliver").and_then(|v| v.as_bool());
    let best_effort = payload
        .remove("bestEffortDeliver")
        .filter(Value::is_boolean);
    let text = |v: Option<Value>| {
        v.and_then(|v| Some(v.as_str()?.trim().to_string()))
            .filter(|t| !t.is_empty())
    };
    let (channel, to) = (text(payload.remove("channel")), text(payload.remove("to")));
    if deliver.is_none() && best_effort.is_none() && to.is_none() {
        return None;
    }
    let mut delivery = Object::new();
    delivery.insert(
        "mode".into(),
        json!(if deliver == Some(false) {
            "none"
        } else {
            "announce"
        }),
    );
    if let Some(channel) = channel {
        delivery.insert("channel".into(), json!(channel.to_lowercase()));
    }
    if let Some(to) = to {
        delivery.insert("to".into(), json!(to));
    }
    if let Some(flag) = best_effort {
        delivery.insert("bestEffort".into(), flag);
    }
    Some(Value::Object(delivery))
}

/// The stagger that a `cron` schedule without one gets.
pub fn fill_stagger(schedule: &mut Object) {
    if schedule.get("kind") == Some(&json!("cron"))
        && !schedule.contains_key("staggerMs")
        && let Some(ms) = schedule
            .get("expr")
            .and_then(Value::as_str)
            .and_then(when::default_stagger)
    {
        schedule.insert("staggerMs".into(), json!(ms));
    }
}

/// The name of a job that was sent without: the first line of what it says, else its schedule.
fn infer_name(fields: &Object) -> Option<String> {
    let (schedule, payload) = (
        fields.get("schedule")?.as_object()?,
        fields.get("payload")?.as_object()?,
    );
    let said = payload
        .get("text")
        .or(payload.get("message"))
        .and_then(Value::as_str)
        .unwrap_or_default();
    if let Some(line) = said.lines().map(str::trim).find(|l| !l.is_empty()) {
        return Some(cut(line, NAME_CHARS));
    }
    Some(
        match (
            schedule.get("kind").and_then(Value::as_str),
            schedule.get("expr").and_then(Value::as_str),
        ) {
            (Some("cron"), Some(expr)) => format!("Cron: {}", cut(expr, NAME_CHARS - 8)),
            (Some("every"), _) => format!(
                "Every: {}ms",
                schedule.get("everyMs").unwrap_or(&Value::Null)
            ),
            (Some("at"), _) => "One-shot".to_string(),
            _ => "Cron job".to_string(),
        },
    )
}

fn cut(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        None => text.to_string(),
        Some(_) => {
            let head: String = text.chars().take(max - 1).collect();
            format!("{}…", head.trim_end())
        }
    }
}
