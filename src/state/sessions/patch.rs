//! The settings of a session that `sessions.patch` may change, and the words for them.

use std::fmt;

use serde_json::{Map, Value, json};

use super::Entry;
use crate::protocol::error::RpcError;
use crate::state::{Error, session_key};

/// Characters of a label.
pub const LABEL_MAX: usize = 64;

/// What a model's name stands for; known to whoever knows the configured models.
pub trait ModelChoice {
    /// The model that `name` means.
    fn choose(&self, name: &str) -> Result<Choice, String>;

    /// The thinking levels of the model that a session with these overrides runs.
    fn thinking_levels(
        &self,
        provider: Option<&str>,
        model: Option<&str>,
    ) -> &'static [&'static str] {
        let _ = (provider, model);
        &["off", "minimal", "low", "medium", "high"]
    }
}

/// A model that was chosen by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    pub provider: String,
    pub model: String,
    /// It is what the session would run anyway: no override is kept.
    pub is_default: bool,
}

/// Why a patch was not applied.
#[derive(Debug)]
pub enum PatchError {
    /// The patch asks for something that is not allowed; the text is that of the wire.
    Invalid(String),
    State(Error),
}

impl From<Error> for PatchError {
    fn from(e: Error) -> Self {
        PatchError::State(e)
    }
}

impl From<PatchError> for RpcError {
    fn from(e: PatchError) -> Self {
        match e {
            PatchError::Invalid(text) => RpcError::invalid(text),
            PatchError::State(e) => e.into(),
        }
    }
}

impl fmt::Display for PatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PatchError::Invalid(text) => f.write_str(text),
            PatchError::State(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for PatchError {}

/// A setting whose value is one of a few words, and how they may be written.
struct Words {
    field: &'static str,
    /// How the error message lists the words.
    usage: &'static str,
    /// From what somebody writes to what is kept.
    read: fn(&str) -> Option<&'static str>,
}

const WORDS: &[Words] = &[
    Words {
        field: "verboseLevel",
        usage: r#""on"|"off""#,
        read: verbose_level,
    },
    Words {
        field: "reasoningLevel",
        usage: r#""on"|"off"|"stream""#,
        read: |t| match t {
            "hide" | "hidden" | "disable" | "disabled" => Some("off"),
            "show" | "visible" | "enable" | "enabled" => Some("on"),
            "stream" | "streaming" | "draft" | "live" => Some("stream"),
            _ => on_off(t),
        },
    },
    Words {
        field: "responseUsage",
        usage: r#""off"|"tokens"|"full""#,
        read: |t| match t {
            "disable" | "disabled" => Some("off"),
            "tokens" | "token" | "tok" | "minimal" | "min" | "enable" | "enabled" => Some("tokens"),
            "full" | "session" => Some("full"),
            _ => on_off(t).map(|w| if w == "on" { "tokens" } else { w }),
        },
    },
    Words {
        field: "elevatedLevel",
        usage: r#""on"|"off"|"ask"|"full""#,
        read: |t| match t {
            "full" | "auto" | "auto-approve" | "autoapprove" => Some("full"),
            "ask" | "prompt" | "approval" | "approve" => Some("ask"),
            _ => on_off(t),
        },
    },
    Words {
        field: "execHost",
        usage: r#""sandbox"|"gateway"|"node""#,
        read: |t| one_of(t, &["sandbox", "gateway", "node"]),
    },
    Words {
        field: "execSecurity",
        usage: r#""deny"|"allowlist"|"full""#,
        read: |t| one_of(t, &["deny", "allowlist", "full"]),
    },
    Words {
        field: "execAsk",
        usage: r#""off"|"on-miss"|"always""#,
        read: |t| one_of(t, &["off", "on-miss", "always"]),
    },
    Words {
        field: "sendPolicy",
        usage: r#""allow"|"deny""#,
        read: |t| one_of(t, &["allow", "deny"]),
    },
    Words {
        field: "groupActivation",
        usage: r#""mention"|"always""#,
        read: |t| one_of(t, &["mention", "always"]),
    },
];

/// The verbose level that `text` means: `off`, `on` or `full`.
pub fn verbose_level(text: &str) -> Option<&'static str> {
    match text.trim().to_lowercase().as_str() {
        "full" | "all" | "everything" => Some("full"),
        "minimal" => Some("on"),
        other => on_off(other),
    }
}

/// The thinking level that `text` means: `off`, `minimal`, `low`, `medium`, `high` or `xhigh`.
pub fn thinking_level(text: &str) -> Option<&'static str> {
    let text = text.trim().to_lowercase();
    let joined: String = text
        .chars()
        .filter(|c| !c.is_whitespace() && *c != '-' && *c != '_')
        .collect();
    match joined.as_str() {
        "off" => Some("off"),
        "min" | "minimal" | "think" => Some("minimal"),
        "on" | "enable" | "enabled" | "low" | "thinkhard" => Some("low"),
        "mid" | "med" | "medium" | "thinkharder" | "harder" => Some("medium"),
        "high" | "ultra" | "ultrathink" | "thinkhardest" | "highest" | "max" => Some("high"),
        "xhigh" | "extrahigh" => Some("xhigh"),
        _ => None,
    }
}

fn on_off(text: &str) -> Option<&'static str> {
    match text {
        "on" | "true" | "yes" | "1" => Some("on"),
        "off" | "false" | "no" | "0" => Some("off"),
        _ => None,
    }
}

fn one_of(text: &str, words: &[&'static str]) -> Option<&'static str> {
    words.iter().find(|w| **w == text).copied()
}

/// Applies `patch` to `map`, the entry of `key` that was `old` before. `null` clears a setting, unknown
/// names are ignored. `taken` says whether another session has a label.
pub(super) fn apply(
    key: &str,
    old: Option<&Entry>,
    map: &mut Map<String, Value>,
    patch: &Map<String, Value>,
    models: &dyn ModelChoice,
    taken: &dyn Fn(&str) -> bool,
) -> Result<(), PatchError> {
    parentage(key, old, map, patch)?;
    if let Some(v) = patch.get("label") {
        set(map, "label", label(v, taken)?);
    }
    if let Some(v) = patch.get("model") {
        model(map, v, models)?;
    }
    if let Some(v) = patch.get("thinkingLevel") {
        let level = thinking(map, v, models)?;
        set(map, "thinkingLevel", level);
    }
    for words in WORDS {
        let Some(v) = patch.get(words.field) else {
            continue;
        };
        let word = match v {
            Value::Null => None,
            v => {
                let text = v.as_str().unwrap_or_default().trim().to_lowercase();
                let word = (words.read)(&text);
                Some(word.ok_or_else(|| {
                    invalid(format!("invalid {} (use {})", words.field, words.usage))
                })?)
            }
        };
        // "off" is what a session without the setting does.
        let word = word.filter(|w| words.field != "responseUsage" || *w != "off");
        set(map, words.field, word.map(str::to_string));
    }
    if let Some(v) = patch.get("execNode") {
        let node = match v {
            Value::Null => None,
            v => Some(not_blank(v).ok_or_else(|| invalid("invalid execNode: empty"))?),
        };
        set(map, "execNode", node);
    }
    Ok(())
}

/// Who spawned the session: said once, and only for sub-agents.
fn parentage(
    key: &str,
    old: Option<&Entry>,
    map: &mut Map<String, Value>,
    patch: &Map<String, Value>,
) -> Result<(), PatchError> {
    let only = |name| {
        if session_key::is_subagent(key) {
            Ok(())
        } else {
            Err(invalid(format!(
                "{name} is only supported for subagent:* sessions"
            )))
        }
    };
    match patch.get("spawnedBy") {
        None => {}
        Some(Value::Null) if old.is_some_and(|o| o.text("spawnedBy").is_some()) => {
            return Err(invalid("spawnedBy cannot be cleared once set"));
        }
        Some(Value::Null) => {}
        Some(v) => {
            let parent = not_blank(v).ok_or_else(|| invalid("invalid spawnedBy: empty"))?;
            only("spawnedBy")?;
            if old
                .and_then(|o| o.text("spawnedBy"))
                .is_some_and(|o| o != parent)
            {
                return Err(invalid("spawnedBy cannot be changed once set"));
            }
            set(map, "spawnedBy", Some(parent));
        }
    }
    let depth = old.and_then(|o| o.number("spawnDepth"));
    match patch.get("spawnDepth") {
        None => {}
        Some(Value::Null) if depth.is_some() => {
            return Err(invalid("spawnDepth cannot be cleared once set"));
        }
        Some(Value::Null) => {}
        Some(v) => {
            only("spawnDepth")?;
            let whole = v.as_f64().filter(|f| f.fract() == 0.0 && *f >= 0.0);
            let new =
                whole.ok_or_else(|| invalid("invalid spawnDepth (use an integer >= 0)"))? as u64;
            if depth.is_some_and(|d| d != new) {
                return Err(invalid("spawnDepth cannot be changed once set"));
            }
            map.insert("spawnDepth".into(), json!(new));
        }
    }
    Ok(())
}

fn label(v: &Value, taken: &dyn Fn(&str) -> bool) -> Result<Option<String>, PatchError> {
    if v.is_null() {
        return Ok(None);
    }
    let text = v
        .as_str()
        .ok_or_else(|| invalid("invalid label: must be a string"))?;
    let text = text.trim();
    if text.is_empty() {
        return Err(invalid("invalid label: empty"));
    }
    if text.chars().count() > LABEL_MAX {
        return Err(invalid(format!(
            "invalid label: too long (max {LABEL_MAX})"
        )));
    }
    if taken(text) {
        return Err(invalid(format!("label already in use: {text}")));
    }
    Ok(Some(text.to_string()))
}

fn model(
    map: &mut Map<String, Value>,
    v: &Value,
    models: &dyn ModelChoice,
) -> Result<(), PatchError> {
    let choice = match v {
        Value::Null => None,
        v => {
            let name = not_blank(v).ok_or_else(|| invalid("invalid model: empty"))?;
            Some(models.choose(&name).map_err(invalid)?).filter(|c| !c.is_default)
        }
    };
    let (provider, model) = choice.map(|c| (c.provider, c.model)).unzip();
    set(map, "providerOverride", provider);
    set(map, "modelOverride", model);
    Ok(())
}

fn thinking(
    map: &Map<String, Value>,
    v: &Value,
    models: &dyn ModelChoice,
) -> Result<Option<String>, PatchError> {
    if v.is_null() {
        return Ok(None);
    }
    let text = |name: &str| map.get(name).and_then(Value::as_str);
    let levels = models.thinking_levels(text("providerOverride"), text("modelOverride"));
    let wanted = v.as_str().and_then(thinking_level);
    match wanted.filter(|w| levels.contains(w)) {
        Some(level) => Ok(Some(level.to_string())),
        None => Err(invalid(format!(
            "invalid thinkingLevel (use {})",
            levels.join("|")
        ))),
    }
}

fn not_blank(v: &Value) -> Option<String> {
    let text = v.as_str()?.trim();
    (!text.is_empty()).then(|| text.to_string())
}

fn set(map: &mut Map<String, Value>, name: &str, value: Option<String>) {
    match value {
        Some(v) => map.insert(name.into(), Value::String(v)),
        None => map.remove(name),
    };
}

fn invalid(text: impl Into<String>) -> PatchError {
    PatchError::Invalid(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Models;

    impl ModelChoice for Models {
        fn choose(&self, name: &str) -> Result<Choice, String> {
            let (provider, model) = name
                .split_once('/')
                .ok_or(format!("unknown model: {name}"))?;
            Ok(Choice {
                provider: provider.into(),
                model: model.into(),
                is_default: name == "stub/stub-1",
            })
        }
    }

    fn patched(key: &str, old: Value, patch: Value) -> Result<Value, String> {
        let old = Entry::from(old.as_object().unwrap().clone());
        let mut map = old.map().clone();
        let taken = |l: &str| l == "taken";
        apply(
            key,
            Some(&old),
            &mut map,
            patch.as_object().unwrap(),
            &Models,
            &taken,
        )
        .map(|()| Value::Object(map))
        .map_err(|e| e.to_string())
    }

    const KEY: &str = "agent:main:x";

    #[test]
    fn settings_are_normalised_and_null_clears() {
        let all = json!({"label": " L ", "thinkingLevel": "Think Hard", "verboseLevel": "YES", "reasoningLevel": "live",
            "responseUsage": "on", "elevatedLevel": "auto", "execHost": " Gateway ", "execSecurity": "allowlist", "execAsk": "on-miss",
            "execNode": " n1 ", "model": "nope/none", "sendPolicy": "deny", "groupActivation": "always"});
        let made = patched(KEY, json!({}), all.clone()).unwrap();
        assert_eq!(
            made,
            json!({"label": "L", "thinkingLevel": "low", "verboseLevel": "on", "reasoningLevel": "stream", "responseUsage": "tokens",
                "elevatedLevel": "full", "execHost": "gateway", "execSecurity": "allowlist", "execAsk": "on-miss", "execNode": "n1",
                "providerOverride": "nope", "modelOverride": "none", "sendPolicy": "deny", "groupActivation": "always"})
        );
        let nulls: Map<String, Value> = all
            .as_object()
            .unwrap()
            .keys()
            .map(|k| (k.clone(), Value::Null))
            .collect();
        assert_eq!(patched(KEY, made, Value::Object(nulls)).unwrap(), json!({}));
        let off = patched(
            KEY,
            json!({"responseUsage": "full"}),
            json!({"responseUsage": "off"}),
        );
        assert_eq!(off.unwrap(), json!({}));
        let default = patched(
            KEY,
            json!({"providerOverride": "a", "modelOverride": "b"}),
            json!({"model": "stub/stub-1"}),
        );
        assert_eq!(default.unwrap(), json!({}));
    }

    #[test]
    fn refusals_are_in_the_words_of_the_wire() {
        let cases = [
            (
                json!({"thinkingLevel": "galactic"}),
                "invalid thinkingLevel (use off|minimal|low|medium|high)",
            ),
            (
                json!({"thinkingLevel": "xhigh"}),
                "invalid thinkingLevel (use off|minimal|low|medium|high)",
            ),
            (
                json!({"verboseLevel": "galactic"}),
                r#"invalid verboseLevel (use "on"|"off")"#,
            ),
            (
                json!({"reasoningLevel": 5}),
                r#"invalid reasoningLevel (use "on"|"off"|"stream")"#,
            ),
            (
                json!({"elevatedLevel": "x"}),
                r#"invalid elevatedLevel (use "on"|"off"|"ask"|"full")"#,
            ),
            (
                json!({"execHost": "moon"}),
                r#"invalid execHost (use "sandbox"|"gateway"|"node")"#,
            ),
            (
                json!({"execSecurity": "none"}),
                r#"invalid execSecurity (use "deny"|"allowlist"|"full")"#,
            ),
            (
                json!({"execAsk": "never"}),
                r#"invalid execAsk (use "off"|"on-miss"|"always")"#,
            ),
            (json!({"execNode": " "}), "invalid execNode: empty"),
            (json!({"model": ""}), "invalid model: empty"),
            (json!({"model": "bare"}), "unknown model: bare"),
            (json!({"label": "  "}), "invalid label: empty"),
            (json!({"label": "taken"}), "label already in use: taken"),
            (
                json!({"label": "ä".repeat(65)}),
                "invalid label: too long (max 64)",
            ),
            (
                json!({"spawnedBy": "agent:main:main"}),
                "spawnedBy is only supported for subagent:* sessions",
            ),
            (
                json!({"spawnDepth": 1}),
                "spawnDepth is only supported for subagent:* sessions",
            ),
        ];
        for (patch, text) in cases {
            assert_eq!(patched(KEY, json!({}), patch).unwrap_err(), text);
        }
        assert!(patched(KEY, json!({}), json!({"label": "ä".repeat(64)})).is_ok());
    }

    #[test]
    fn parents_are_told_once() {
        let sub = "agent:main:subagent:a";
        let told = json!({"spawnedBy": "agent:main:main", "spawnDepth": 1});
        assert_eq!(patched(sub, json!({}), told.clone()).unwrap(), told);
        assert!(patched(sub, told.clone(), told.clone()).is_ok());
        for patch in [
            json!({"spawnedBy": null}),
            json!({"spawnedBy": "agent:main:other"}),
            json!({"spawnDepth": null}),
            json!({"spawnDepth": 2}),
        ] {
            let text = patched(sub, told.clone(), patch).unwrap_err();
            assert!(text.ends_with("once set"), "{text}");
        }
        assert!(patched(sub, json!({}), json!({"spawnDepth": 1.5})).is_err());
        assert!(patched(KEY, json!({}), json!({"spawnedBy": null})).is_ok());
    }
}
