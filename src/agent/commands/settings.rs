//! Commands that change the session. The sender's scope was looked at before.

use serde_json::{Map, Value, json};

use super::View;
use super::text::{self, model_of};
use crate::agent::models;
use crate::agent::prompt::default_thinking;
use crate::config::agents::{self, ModelRef};
use crate::protocol::RpcError;
use crate::state::sessions::{PatchError, thinking_level};

/// A setting of the session that has a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    Thinking,
    Verbose,
    Reasoning,
    Usage,
    Send,
    Elevated,
}

impl Setting {
    fn field(self) -> &'static str {
        match self {
            Setting::Thinking => "thinkingLevel",
            Setting::Verbose => "verboseLevel",
            Setting::Reasoning => "reasoningLevel",
            Setting::Usage => "responseUsage",
            Setting::Send => "sendPolicy",
            Setting::Elevated => "elevatedLevel",
        }
    }

    fn options(self) -> &'static str {
        match self {
            Setting::Thinking => "off, minimal, low, medium, high",
            Setting::Verbose => "on, full, off",
            Setting::Reasoning => "on, off, stream",
            Setting::Usage => "off, tokens, full",
            Setting::Send => "on, off, inherit",
            Setting::Elevated => "on, off, ask, full",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Setting::Thinking => "thinking level",
            Setting::Verbose => "verbose level",
            Setting::Reasoning => "reasoning visibility",
            Setting::Usage => "usage footer",
            Setting::Send => "send policy",
            Setting::Elevated => "elevated level",
        }
    }

    /// What was written, as `sessions.patch` takes it.
    fn value(self, argument: &str) -> Option<Value> {
        let word = argument.to_lowercase();
        match (self, word.as_str()) {
            (Setting::Send, "on" | "allow") => Some(json!("allow")),
            (Setting::Send, "off" | "deny") => Some(json!("deny")),
            (Setting::Send, "inherit" | "default") => Some(Value::Null),
            (Setting::Send, _) => None,
            (Setting::Thinking, word) => thinking_level(word).map(Value::from),
            (_, word) => Some(json!(word)),
        }
    }

    /// How a change is told.
    fn done(self, value: &str) -> String {
        match (self, value) {
            (Setting::Thinking, value) => format!("Thinking level set to {value}."),
            (Setting::Verbose, value) => format!("⚙️ Verbose logging set to {value}."),
            (Setting::Reasoning, "off") => "⚙️ Reasoning visibility disabled.".into(),
            (Setting::Reasoning, "on") => "⚙️ Reasoning visibility enabled.".into(),
            (Setting::Reasoning, value) => format!("⚙️ Reasoning visibility set to {value}."),
            (Setting::Usage, value) => format!("⚙️ Usage footer: {value}."),
            (Setting::Send, "allow") => "⚙️ Send policy set to on.".into(),
            (Setting::Send, "deny") => "⚙️ Send policy set to off.".into(),
            (Setting::Send, _) => "⚙️ Send policy set to inherit.".into(),
            (Setting::Elevated, value) => format!("⚙️ Elevated mode set to {value}."),
        }
    }
}

/// Shows or changes a setting.
pub fn set(view: &View<'_>, setting: Setting, argument: &str) -> Result<String, RpcError> {
    let (field, name) = (setting.field(), setting.name());
    let own = |entry: Option<&crate::state::sessions::Entry>| {
        entry.and_then(|e| e.text(field)).map(str::to_string)
    };
    if argument.is_empty() {
        let value = own(view.entry).unwrap_or_else(|| match setting {
            Setting::Thinking => {
                let level = default_thinking(view.config, &view.place.agent);
                level.as_str().to_string()
            }
            Setting::Send => "inherit".into(),
            _ => "off".into(),
        });
        let options = setting.options();
        return Ok(format!("Current {name}: {value}.\nOptions: {options}."));
    }
    let unknown = || {
        let options = setting.options();
        format!(
            "Unrecognized {name} \"{}\". Valid levels: {options}.",
            text::shown(argument)
        )
    };
    let Some(value) = setting.value(argument) else {
        return Ok(unknown());
    };
    match patch(view, field, value) {
        Ok(entry) => Ok(setting.done(own(Some(&entry)).as_deref().unwrap_or("off"))),
        Err(PatchError::Invalid(_)) => Ok(unknown()),
        Err(e) => Err(e.into()),
    }
}

/// Shows or chooses the model.
pub fn model(view: &View<'_>, argument: &str) -> Result<String, RpcError> {
    if argument.is_empty() || argument.eq_ignore_ascii_case("status") {
        return Ok(format!(
            "Current: {}\nSwitch: /model <provider/model>\nBrowse: /models (providers) or /models <provider> (models)",
            model_of(view)
        ));
    }
    let Some(model) = choice(view, argument) else {
        return Ok(format!(
            "Model \"{}\" is not allowed. Use /models to list providers, or /models <provider> to list models.",
            text::shown(argument)
        ));
    };
    choose(view, &model)?;
    Ok(
        match model == models::primary(view.config, &view.place.agent) {
            true => format!("Model reset to default ({model})."),
            false => format!("Model set to {model}."),
        },
    )
}

/// The model that `word` means, if the session may run it.
pub fn choice(view: &View<'_>, word: &str) -> Option<ModelRef> {
    let named = !word.is_empty() && word.len() <= text::MAX_WORD;
    let model = named.then(|| agents::resolve(view.config, word))?;
    models::may_choose(view.config, &view.place.agent, &model).then_some(model)
}

/// Has the session run `model`.
pub fn choose(view: &View<'_>, model: &ModelRef) -> Result<(), RpcError> {
    patch(view, "model", json!(model.to_string()))?;
    Ok(())
}

fn patch(
    view: &View<'_>,
    field: &str,
    value: Value,
) -> Result<crate::state::sessions::Entry, PatchError> {
    let patch = Map::from_iter([(field.to_string(), value)]);
    let names = models::ByName {
        config: view.config,
        agent: &view.place.agent,
    };
    let sessions = &view.runs.deps().sessions;
    sessions.patch(&view.place.key, &patch, &names)
}
