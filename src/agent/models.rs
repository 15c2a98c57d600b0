//! The models of the configuration: what there is, which one a run uses, and with which credential.

use serde_json::{Map, Value, json};

use super::model::{
    Api, BUILTIN_ECHO, BUILTIN_PROVIDER, Compat, Cost, DEFAULT_CONTEXT_WINDOW, DEFAULT_MAX_TOKENS,
    Model, Secret,
};
use crate::config::agents::{self, ModelRef};
use crate::config::{Config, Env};
use crate::state::Paths;
use crate::state::auth_profiles::Profiles;
use crate::state::sessions::{Choice, ModelChoice};
use crate::sys::clock;

/// Context windows below this are refused, in tokens.
const MIN_CONTEXT: u64 = 16_000;
/// Context windows below this are warned about, in tokens.
const SMALL_CONTEXT: u64 = 32_000;

/// Providers that need no entry in the configuration: id, base URL, names of the variables that hold
/// the key. All of them speak `openai-completions`.
const KNOWN: &[(&str, &str, &[&str])] = &[
    ("cerebras", "https://api.cerebras.ai/v1", &[]),
    ("groq", "https://api.groq.com/openai/v1", &[]),
    (
        "huggingface",
        "https://router.huggingface.co/v1",
        &["HUGGINGFACE_HUB_TOKEN", "HF_TOKEN"],
    ),
    ("litellm", "http://127.0.0.1:4000", &[]),
    ("mistral", "https://api.mistral.ai/v1", &[]),
    ("moonshot", "https://api.moonshot.ai/v1", &[]),
    ("ollama", "http://127.0.0.1:11434/v1", &[]),
    ("openai", "https://api.openai.com/v1", &[]),
    ("openrouter", "https://openrouter.ai/api/v1", &[]),
    ("together", "https://api.together.xyz/v1", &[]),
    ("vllm", "http://127.0.0.1:8000/v1", &[]),
    ("xai", "https://api.x.ai/v1", &[]),
    (
        "zai",
        "https://api.z.ai/api/paas/v4",
        &["ZAI_API_KEY", "Z_AI_API_KEY"],
    ),
];

/// Providers of [`KNOWN`] that run on one's own machine and take any key.
const LOCAL: &[&str] = &["litellm", "ollama", "vllm"];

/// A model as `models.list` shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelInfo {
    pub id: String,
    pub name: String,
    pub provider: String,
    /// In tokens, when the configuration says.
    pub context_window: Option<u64>,
    pub reasoning: Option<bool>,
    pub input: Option<Vec<String>>,
}

impl ModelInfo {
    /// `{id, name, provider, contextWindow?, reasoning?, input?}`.
    pub fn to_value(&self) -> Value {
        let mut v = json!({"id": self.id, "name": self.name, "provider": self.provider});
        if let Some(n) = self.context_window {
            v["contextWindow"] = json!(n);
        }
        if let Some(b) = self.reasoning {
            v["reasoning"] = json!(b);
        }
        if let Some(input) = &self.input {
            v["input"] = json!(input);
        }
        v
    }
}

/// The models that can be chosen: those of the configuration, and the built-in one.
pub fn catalog(config: &Config) -> Vec<ModelInfo> {
    let mut found = vec![ModelInfo {
        id: BUILTIN_ECHO.into(),
        name: "Echo (built in, no network)".into(),
        provider: BUILTIN_PROVIDER.into(),
        context_window: Some(DEFAULT_CONTEXT_WINDOW),
        reasoning: Some(false),
        input: Some(vec!["text".into()]),
    }];
    let providers = config
        .get_in(&["models", "providers"])
        .and_then(Value::as_object);
    for (provider, settings) in providers.into_iter().flatten() {
        for model in settings["models"].as_array().into_iter().flatten() {
            let Some(id) = model["id"].as_str() else {
                continue;
            };
            let words = |v: &Value| -> Option<Vec<String>> {
                let words = v.as_array()?.iter().filter_map(Value::as_str);
                Some(words.map(str::to_string).collect())
            };
            found.push(ModelInfo {
                id: id.to_string(),
                name: model["name"].as_str().unwrap_or(id).to_string(),
                provider: provider.clone(),
                context_window: whole(&model["contextWindow"]),
                reasoning: model["reasoning"].as_bool(),
                input: words(&model["input"]),
            });
        }
    }
    found.sort_by(|a, b| (&a.provider, &a.name).cmp(&(&b.provider, &b.name)));
    found
}

/// The models that a person may switch to: the keys of `agents.defaults.models` when there are any, with
/// what is configured to be used; else the whole catalog.
pub fn choices(config: &Config, agent: &str) -> Vec<ModelRef> {
    let listed = config
        .get_in(&["agents", "defaults", "models"])
        .and_then(Value::as_object)
        .filter(|m| !m.is_empty());
    let Some(listed) = listed else {
        let all = catalog(config).into_iter();
        return all
            .map(|m| ModelRef {
                provider: m.provider,
                model: m.id,
            })
            .collect();
    };
    let mut found: Vec<ModelRef> = listed.keys().map(|k| ModelRef::parse(k)).collect();
    found.push(primary(config, agent));
    found.extend(agents::fallbacks(config, agent));
    let mut seen = Vec::new();
    found.retain(|m| {
        let new = !seen.contains(m);
        seen.push(m.clone());
        new
    });
    found
}

/// Whether a person may switch `agent` to `model`.
pub fn may_choose(config: &Config, agent: &str, model: &ModelRef) -> bool {
    choices(config, agent).contains(model)
}

/// What the name of a model stands for, for those who put one into a session.
pub struct ByName<'c> {
    pub config: &'c Config,
    pub agent: &'c str,
}

impl ModelChoice for ByName<'_> {
    fn choose(&self, name: &str) -> Result<Choice, String> {
        let chosen = agents::resolve(self.config, name);
        Ok(Choice {
            is_default: chosen == primary(self.config, self.agent),
            provider: chosen.provider,
            model: chosen.model,
        })
    }
}

/// The model that `agent` runs when its session says nothing else. As long as none is configured, and
/// the default one cannot be reached, that is the built-in echo.
pub fn primary(config: &Config, agent: &str) -> ModelRef {
    let named = agents::setting(config, agent, &["model"]).is_some_and(|m| match m {
        Value::String(s) => !s.trim().is_empty(),
        other => other["primary"]
            .as_str()
            .is_some_and(|s| !s.trim().is_empty()),
    });
    let model = agents::model(config, agent);
    let usable = config
        .get_in(&["models", "providers", &model.provider])
        .is_some();
    if named || usable {
        return model;
    }
    ModelRef {
        provider: BUILTIN_PROVIDER.into(),
        model: BUILTIN_ECHO.into(),
    }
}

/// Context of `model` in tokens, as lists of sessions show it.
pub fn context_tokens(config: &Config, model: &ModelRef) -> u64 {
    agents::context_tokens(config, model)
}

/// Everything that a run of `agent` needs to know of `model`. The error says what to configure.
pub fn resolve(
    config: &Config,
    paths: &Paths,
    agent: &str,
    model: &ModelRef,
) -> Result<Model, String> {
    if model.provider == BUILTIN_PROVIDER {
        return match model.model.as_str() {
            BUILTIN_ECHO => Ok(Model::echo()),
            other => Err(format!(
                "there is no built-in model {other}; use builtin/echo"
            )),
        };
    }
    let none = Value::Null;
    let provider = config
        .get_in(&["models", "providers", &model.provider])
        .unwrap_or(&none);
    let entry = agents::model_entry(config, model).unwrap_or(&none);
    let known = KNOWN.iter().find(|(id, _, _)| *id == model.provider);
    let base_url = match (provider["baseUrl"].as_str(), known) {
        (Some(url), _) => url,
        (None, Some((_, url, _))) => url,
        (None, None) => {
            let id = &model.provider;
            return Err(format!(
                "unknown model provider {id}: set models.providers.{id}.baseUrl"
            ));
        }
    };
    let api = entry["api"].as_str().or_else(|| provider["api"].as_str());
    let api = match api {
        None => Api::OpenAiCompletions,
        Some(name) => Api::parse(name).ok_or_else(|| {
            format!("the API {name} of {model} is not supported; use openai-completions")
        })?,
    };
    let context_window = whole(&entry["contextWindow"]).unwrap_or(DEFAULT_CONTEXT_WINDOW);
    if context_window < MIN_CONTEXT {
        return Err(format!(
            "the context window of {model} is too small ({context_window} tokens): at least {MIN_CONTEXT} are needed"
        ));
    }
    if context_window < SMALL_CONTEXT {
        log::warn!(target: "agent", "{model} has a small context window of {context_window} tokens");
    }
    let key = credential(config, paths, agent, &model.provider, provider);
    let needs_key = !LOCAL.contains(&model.provider.as_str()) && provider["baseUrl"].is_null();
    if key.is_none() && needs_key {
        return Err(no_key(&model.provider));
    }
    let input = entry["input"].as_array();
    Ok(Model {
        provider: model.provider.clone(),
        id: model.model.clone(),
        api,
        base_url: base_url.trim_end_matches('/').to_string(),
        headers: headers(&[&provider["headers"], &entry["headers"]]),
        auth_header: provider["authHeader"].as_bool().unwrap_or(true),
        key: key.map(Secret::new),
        reasoning: entry["reasoning"].as_bool().unwrap_or(false),
        images: input.is_some_and(|list| list.iter().any(|i| i == "image")),
        context_window,
        max_tokens: whole(&entry["maxTokens"])
            .unwrap_or(DEFAULT_MAX_TOKENS)
            .min(context_window),
        cost: cost(&entry["cost"]),
        compat: compat(&entry["compat"]),
    })
}

/// The key for `provider`: stored profiles, then the environment, then the configuration.
fn credential(
    config: &Config,
    paths: &Paths,
    agent: &str,
    provider: &str,
    settings: &Value,
) -> Option<String> {
    let profiles = Profiles::load(paths, agent);
    let mut stored = profiles
        .credentials(config, provider, clock::now_ms())
        .into_iter();
    if let Some(first) = stored.next() {
        return Some(first.secret);
    }
    let from_env = |env: &Env| {
        variables(provider)
            .iter()
            .find_map(|name| env.text(name).map(str::to_string))
    };
    let configured = settings["apiKey"].as_str().map(str::trim);
    from_env(config.env()).or_else(|| configured.filter(|k| !k.is_empty()).map(str::to_string))
}

/// The variables that hold the key of `provider`.
fn variables(provider: &str) -> Vec<String> {
    match KNOWN.iter().find(|(id, _, _)| *id == provider) {
        Some((_, _, names)) if !names.is_empty() => names.iter().map(|n| n.to_string()).collect(),
        _ => vec![format!(
            "{}_API_KEY",
            provider.to_uppercase().replace('-', "_")
        )],
    }
}

fn no_key(provider: &str) -> String {
    let variable = variables(provider).swap_remove(0);
    format!("no API key for {provider}: set {variable} or models.providers.{provider}.apiKey")
}

/// A whole positive number; the configuration's numbers may have a fraction.
fn whole(v: &Value) -> Option<u64> {
    v.as_f64().filter(|n| *n >= 1.0).map(|n| n as u64)
}

/// The headers of several sections; a later one wins.
fn headers(sections: &[&Value]) -> Vec<(String, String)> {
    let mut found: Map<String, Value> = Map::new();
    for section in sections {
        for (name, value) in section.as_object().into_iter().flatten() {
            found.insert(name.to_ascii_lowercase(), value.clone());
        }
    }
    found
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_str()?.to_string())))
        .collect()
}

fn cost(v: &Value) -> Cost {
    let number = |name: &str| v[name].as_f64().unwrap_or(0.0);
    Cost {
        input: number("input"),
        output: number("output"),
        cache_read: number("cacheRead"),
        cache_write: number("cacheWrite"),
    }
}

fn compat(v: &Value) -> Compat {
    let flag = |name: &str| v[name].as_bool();
    let text = |name: &str| v[name].as_str().map(str::to_string);
    Compat {
        store: flag("supportsStore"),
        developer_role: flag("supportsDeveloperRole"),
        reasoning_effort: flag("supportsReasoningEffort"),
        usage_in_streaming: flag("supportsUsageInStreaming"),
        strict_mode: flag("supportsStrictMode"),
        max_tokens_field: text("maxTokensField"),
        thinking_format: text("thinkingFormat"),
        tool_result_name: flag("requiresToolResultName").unwrap_or(false),
        assistant_after_tool_result: flag("requiresAssistantAfterToolResult").unwrap_or(false),
        mistral_tool_ids: flag("requiresMistralToolIds").unwrap_or(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STUB: &str = "{
        env: {GROQ_API_KEY: 'from-env'},
        models: {providers: {stub: {baseUrl: 'http://127.0.0.1:1/v1/', apiKey: 'k', api: 'openai-completions',
            headers: {'X-A': '1', 'X-B': '1'},
            models: [{id: 'stub-1', name: 'Stub One', reasoning: false, input: ['text', 'image'],
                contextWindow: 128000, maxTokens: 4096, headers: {'x-a': '2'},
                compat: {maxTokensField: 'max_tokens'}}, {id: 'tiny', name: 'tiny', contextWindow: 8000}]}}},
        agents: {defaults: {model: {primary: 'stub/stub-1'}}},
    }";

    fn paths() -> Paths {
        Paths::new("/nonexistent/openclaw")
    }

    fn resolved(config: &str, name: &str) -> Result<Model, String> {
        resolve(
            &Config::from_text(config),
            &paths(),
            "main",
            &ModelRef::parse(name),
        )
    }

    #[test]
    fn the_catalog_is_the_configuration_and_the_echo() {
        let all = catalog(&Config::from_text(STUB));
        let names: Vec<&str> = all.iter().map(|m| m.id.as_str()).collect();
        assert_eq!(names, ["echo", "stub-1", "tiny"]);
        assert_eq!(
            all[1].to_value(),
            json!({"id": "stub-1", "name": "Stub One", "provider": "stub", "contextWindow": 128000,
                "reasoning": false, "input": ["text", "image"]})
        );
    }

    #[test]
    fn a_configured_model_is_resolved_whole() {
        let model = resolved(STUB, "stub/stub-1").unwrap();
        assert_eq!(model.base_url, "http://127.0.0.1:1/v1");
        assert_eq!(model.key, Some(Secret::new("k")));
        assert_eq!((model.context_window, model.max_tokens), (128_000, 4096));
        assert!(model.images && !model.reasoning && model.auth_header);
        let want = [("x-a", "2"), ("x-b", "1")].map(|(n, v)| (n.to_string(), v.to_string()));
        assert_eq!(model.headers, want);
        assert_eq!(model.compat.max_tokens_field.as_deref(), Some("max_tokens"));
        assert!(!format!("{model:?}").contains("\"k\""));
    }

    #[test]
    fn what_is_missing_is_named() {
        for (name, want) in [
            ("nobody/x", "models.providers.nobody.baseUrl"),
            ("openai/gpt", "OPENAI_API_KEY"),
            ("stub/tiny", "too small"),
            ("builtin/x", "builtin/echo"),
        ] {
            let error = resolved(STUB, name).unwrap_err();
            assert!(error.contains(want), "{name}: {error}");
        }
        let other = "{models: {providers: {a: {baseUrl: 'http://x', api: 'bedrock-converse-stream', models: []}}}}";
        assert!(
            resolved(other, "a/b")
                .unwrap_err()
                .contains("not supported")
        );
    }

    #[test]
    fn known_providers_need_no_entry_and_local_ones_no_key() {
        let mut env = Env::default();
        env.set("HF_TOKEN", "hf");
        assert_eq!(
            variables("huggingface"),
            ["HUGGINGFACE_HUB_TOKEN", "HF_TOKEN"]
        );
        assert_eq!(variables("my-own"), ["MY_OWN_API_KEY"]);
        let local = resolved("{}", "ollama/llama3").unwrap();
        assert_eq!(local.base_url, "http://127.0.0.1:11434/v1");
        assert_eq!(local.key, None);
    }

    #[test]
    fn without_a_model_the_echo_answers() {
        let echo = "builtin/echo";
        assert_eq!(primary(&Config::from_text("{}"), "main").to_string(), echo);
        assert_eq!(
            primary(&Config::from_text(STUB), "main").to_string(),
            "stub/stub-1"
        );
        let named =
            "{agents: {defaults: {model: 'groq/x'}, list: [{id: 'a', model: {primary: 'b/c'}}]}}";
        let config = Config::from_text(named);
        assert_eq!(primary(&config, "main").to_string(), "groq/x");
        assert_eq!(primary(&config, "a").to_string(), "b/c");
    }

    #[test]
    fn an_allowlist_narrows_what_can_be_chosen() {
        let open = Config::from_text(STUB);
        assert!(may_choose(&open, "main", &ModelRef::parse("stub/tiny")));
        assert!(!may_choose(&open, "main", &ModelRef::parse("nope/x")));
        let listed = STUB.replace(
            "model: {primary: 'stub/stub-1'}",
            "model: {primary: 'stub/stub-1', fallbacks: ['a/b']}, models: {'groq/x': {}}",
        );
        let listed = Config::from_text(&listed);
        for (name, want) in [
            ("groq/x", true),
            ("stub/stub-1", true),
            ("a/b", true),
            ("stub/tiny", false),
        ] {
            assert_eq!(
                may_choose(&listed, "main", &ModelRef::parse(name)),
                want,
                "{name}"
            );
        }
    }
}
