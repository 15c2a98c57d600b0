//! Agents as configured: which there are, where they live, which model they use, who they are.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::{Config, Locations};

/// The agent when none is configured.
pub const MAIN: &str = "main";
/// The model when none is configured.
const DEFAULT_MODEL: &str = "anthropic/claude-opus-4-6";
/// The provider of a model name without one.
const DEFAULT_PROVIDER: &str = "anthropic";
/// Context of a model that the config says nothing about, in tokens.
const DEFAULT_CONTEXT_TOKENS: u64 = 200_000;
/// Longest agent id, in bytes.
const MAX_ID: usize = 64;

/// A model by provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelRef {
    pub provider: String,
    pub model: String,
}

impl ModelRef {
    /// `provider/model`; a bare name belongs to the default provider.
    pub fn parse(text: &str) -> ModelRef {
        let (provider, model) = text
            .trim()
            .split_once('/')
            .unwrap_or((DEFAULT_PROVIDER, text.trim()));
        ModelRef {
            provider: provider.trim().to_lowercase(),
            model: model.trim().to_string(),
        }
    }
}

impl std::fmt::Display for ModelRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.provider, self.model)
    }
}

/// An id as it is stored: lower case, other characters than `a-z0-9_-` replaced by one `-`, at most 64 of
/// them; `main` when nothing is left.
pub fn normalise(text: &str) -> String {
    let text = text.trim().to_lowercase();
    let mut id = String::with_capacity(text.len().min(MAX_ID));
    let mut replaced = false;
    for c in text.chars() {
        if c.is_ascii_alphanumeric() || c == '_' || c == '-' {
            id.push(c);
            replaced = false;
        } else if !replaced {
            id.push('-');
            replaced = true;
        }
    }
    let mut id = id.trim_matches('-').to_string();
    id.truncate(MAX_ID);
    if id.is_empty() {
        id.push_str(MAIN);
    }
    id
}

/// The entries of `agents.list`.
pub(super) fn entries(config: &Config) -> impl Iterator<Item = &Map<String, Value>> {
    let list = config.get_in(&["agents", "list"]).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_object)
}

fn entry<'c>(config: &'c Config, id: &str) -> Option<&'c Map<String, Value>> {
    let id = normalise(id);
    entries(config).find(|e| id_of(e) == id)
}

fn id_of(entry: &Map<String, Value>) -> String {
    normalise(entry.get("id").and_then(Value::as_str).unwrap_or(""))
}

/// Ids in the order of the config, without repetition; `main` when none is configured.
pub fn ids(config: &Config) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    for e in entries(config) {
        let id = id_of(e);
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    if ids.is_empty() {
        vec![MAIN.to_string()]
    } else {
        ids
    }
}

/// The agent marked `default`, else the first, else `main`.
pub fn default_id(config: &Config) -> String {
    let marked = entries(config).find(|e| e.get("default") == Some(&Value::Bool(true)));
    marked
        .or_else(|| entries(config).next())
        .map_or_else(|| MAIN.to_string(), id_of)
}

/// Whether there is an agent of that id.
pub fn exists(config: &Config, id: &str) -> bool {
    ids(config).contains(&normalise(id))
}

/// A setting of one agent: `agents.list[].<steps>`, else `agents.defaults.<steps>`.
pub fn setting<'c>(config: &'c Config, id: &str, steps: &[&str]) -> Option<&'c Value> {
    own_setting(config, id, steps).or_else(|| {
        config
            .get_in(&["agents", "defaults"])
            .and_then(Value::as_object)
            .and_then(|d| dig(d, steps))
    })
}

/// A setting of one agent, `agents.list[].<steps>`, without what holds for all.
pub fn own_setting<'c>(config: &'c Config, id: &str, steps: &[&str]) -> Option<&'c Value> {
    dig(entry(config, id)?, steps)
}

fn dig<'v>(map: &'v Map<String, Value>, steps: &[&str]) -> Option<&'v Value> {
    let (first, rest) = steps.split_first()?;
    rest.iter()
        .try_fold(map.get(*first)?, |v, step| v.get(*step))
}

/// The agent's workspace: its own; else, for the default agent, `agents.defaults.workspace`; else a folder in
/// the state directory, or beside the default one when a profile is in use.
pub fn workspace(config: &Config, locations: &Locations, id: &str) -> PathBuf {
    let id = normalise(id);
    let text = |v: Option<&Value>| {
        v.and_then(Value::as_str)
            .map(str::trim)
            .filter(|t| !t.is_empty())
            .map(str::to_string)
    };
    if let Some(own) = text(entry(config, &id).and_then(|e| e.get("workspace"))) {
        return locations.expand(&own);
    }
    if id != default_id(config) {
        return locations.state_dir.join(format!("workspace-{id}"));
    }
    match text(config.get_in(&["agents", "defaults", "workspace"])) {
        Some(shared) => locations.expand(&shared),
        None => match &locations.profile {
            Some(profile) => locations
                .home
                .join(format!(".openclaw/workspace-{profile}")),
            None => locations.state_dir.join("workspace"),
        },
    }
}

/// The agent's folder for credentials and models.
pub fn agent_dir(config: &Config, locations: &Locations, id: &str) -> PathBuf {
    let own = entry(config, id)
        .and_then(|e| e.get("agentDir"))
        .and_then(Value::as_str)
        .map(str::trim);
    match own.filter(|t| !t.is_empty()) {
        Some(dir) => locations.expand(dir),
        None => locations
            .state_dir
            .join("agents")
            .join(normalise(id))
            .join("agent"),
    }
}

/// `agents.list[].name`.
pub fn name<'c>(config: &'c Config, id: &str) -> Option<&'c str> {
    entry(config, id)?
        .get("name")
        .and_then(Value::as_str)
        .map(str::trim)
        .filter(|n| !n.is_empty())
}

/// `agents.list[].identity`: name, theme, emoji, avatar.
pub fn identity<'c>(config: &'c Config, id: &str) -> Option<&'c Map<String, Value>> {
    entry(config, id)?
        .get("identity")
        .and_then(Value::as_object)
}

/// An entry as `agents.list` shows it: `{id, name?, identity?}`.
pub fn summary(config: &Config, id: &str) -> Value {
    let mut v = json!({"id": id});
    if let Some(name) = name(config, id) {
        v["name"] = json!(name);
    }
    if let Some(identity) = identity(config, id) {
        v["identity"] = json!(identity);
    }
    v
}

/// The agent's model, aliases resolved.
pub fn model(config: &Config, id: &str) -> ModelRef {
    let primary = |v: Option<&Value>| match v {
        Some(Value::String(s)) => Some(s.clone()),
        Some(v) => v.get("primary").and_then(Value::as_str).map(str::to_string),
        None => None,
    };
    let own = primary(entry(config, id).and_then(|e| e.get("model")));
    let text = own.or_else(|| primary(config.get_in(&["agents", "defaults", "model"])));
    let text = text.filter(|t| !t.trim().is_empty());
    resolve(config, text.as_deref().unwrap_or(DEFAULT_MODEL))
}

/// The models to fall back to, in order, aliases resolved.
pub fn fallbacks(config: &Config, id: &str) -> Vec<ModelRef> {
    let own = entry(config, id)
        .and_then(|e| e.get("model"))
        .and_then(|m| m.get("fallbacks"));
    let list = own.or_else(|| config.get_in(&["agents", "defaults", "model", "fallbacks"]));
    let list = list
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    list.map(|t| resolve(config, t)).collect()
}

/// A model as an operator writes it: an alias of `agents.defaults.models`, `provider/model` or a bare name.
pub fn resolve(config: &Config, text: &str) -> ModelRef {
    let models = config
        .get_in(&["agents", "defaults", "models"])
        .and_then(Value::as_object);
    let wanted = text.trim();
    let aliased = models.into_iter().flatten().find(|(_, m)| {
        m.get("alias")
            .and_then(Value::as_str)
            .is_some_and(|a| a.trim().eq_ignore_ascii_case(wanted))
    });
    ModelRef::parse(aliased.map_or(wanted, |(reference, _)| reference))
}

/// The entry of `models.providers.*.models` for `model`.
pub fn model_entry<'c>(config: &'c Config, model: &ModelRef) -> Option<&'c Value> {
    let models = config
        .get_in(&["models", "providers", &model.provider, "models"])?
        .as_array()?;
    models.iter().find(|m| m["id"] == model.model.as_str())
}

/// Context of `model` in tokens: `agents.defaults.contextTokens`, else the model's own, else 200,000.
pub fn context_tokens(config: &Config, model: &ModelRef) -> u64 {
    let set = config
        .get_in(&["agents", "defaults", "contextTokens"])
        .and_then(Value::as_u64);
    let own = || {
        model_entry(config, model)?
            .get("contextWindow")?
            .as_f64()
            .map(|f| f as u64)
    };
    set.or_else(own).unwrap_or(DEFAULT_CONTEXT_TOKENS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_defaults() {
        assert_eq!(normalise(" My Agent! "), "my-agent");
        assert_eq!(normalise("../../x"), "x");
        assert_eq!(normalise("ä"), "main");
        let none = Config::from_text("{}");
        assert_eq!(
            (ids(&none), default_id(&none)),
            (vec!["main".to_string()], "main".to_string())
        );
        let two =
            Config::from_text("{agents: {list: [{id: 'a'}, {id: 'B', default: true}, {id: 'a'}]}}");
        assert_eq!(
            (ids(&two), default_id(&two)),
            (vec!["a".to_string(), "b".to_string()], "b".to_string())
        );
        assert!(exists(&two, "b") && !exists(&two, "main"));
    }

    #[test]
    fn workspaces_of_the_default_agent_of_others_and_of_a_profile() {
        let c = Config::from_text(
            "{agents: {defaults: {workspace: '/w'}, list: [{id: 'a'}, {id: 'b'}, {id: 'c', workspace: '/c'}]}}",
        );
        let at = |id| workspace(&c, c.locations(), id);
        assert_eq!(at("a"), PathBuf::from("/w"));
        assert_eq!(at("b"), c.locations().state_dir.join("workspace-b"));
        assert_eq!(at("C"), PathBuf::from("/c"));

        let mut env = [("HOME", "/h")].into_iter().collect();
        crate::config::locations::apply_profile(&mut env, "work").unwrap();
        let none = Config::empty(&Locations::from_env(&env));
        let at = |id| workspace(&none, none.locations(), id);
        assert_eq!(at("main"), PathBuf::from("/h/.openclaw/workspace-work"));
        assert_eq!(at("x"), PathBuf::from("/h/.openclaw-work/workspace-x"));
    }

    #[test]
    fn models_by_agent_default_and_alias() {
        let c = Config::from_text(
            "{agents: {defaults: {model: {primary: 'Stub/One', fallbacks: ['fast']},
              models: {'groq/llama-3': {alias: 'Fast'}}}, list: [{id: 'a', model: 'x/y/z'}, {id: 'b'}]}}",
        );
        assert_eq!(
            model(&c, "a"),
            ModelRef {
                provider: "x".into(),
                model: "y/z".into()
            }
        );
        assert_eq!(model(&c, "b").to_string(), "stub/One");
        assert_eq!(fallbacks(&c, "b")[0].to_string(), "groq/llama-3");
        assert_eq!(
            model(&Config::from_text("{}"), "main").to_string(),
            DEFAULT_MODEL
        );
    }
}
