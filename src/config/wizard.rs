//! Onboarding: asks for what a configuration needs, one typed step after the other, and gives a merge
//! patch in the end. Writes nothing and talks to nobody.

use std::fmt;

use serde_json::{Map, Value, json};

use super::Config;
use crate::sys::id;

/// Bytes of one answer.
const MAX_ANSWER: usize = 4096;

/// Endpoints that are offered: name, label, base URL, whether a key is asked for.
const ENDPOINTS: &[(&str, &str, &str, bool)] = &[
    ("openai", "OpenAI", "https://api.openai.com/v1", true),
    (
        "openrouter",
        "OpenRouter",
        "https://openrouter.ai/api/v1",
        true,
    ),
    ("groq", "Groq", "https://api.groq.com/openai/v1", true),
    ("mistral", "Mistral", "https://api.mistral.ai/v1", true),
    (
        "ollama",
        "Ollama on this host",
        "http://127.0.0.1:11434/v1",
        false,
    ),
];
/// Leaves the model as it is.
const KEEP: &str = "keep";
/// Any other OpenAI-compatible endpoint; also the provider's name in the config.
const CUSTOM: &str = "custom";

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Intro,
    Risk,
    Mode,
    RemoteUrl,
    RemoteToken,
    Workspace,
    Provider,
    BaseUrl,
    ApiKey,
    Model,
    Review,
}

/// What an answer leads to.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// To the next step.
    Asks,
    /// To this merge patch.
    Done(Value),
    /// To nothing: the answer was to stop.
    Stopped,
}

/// Why an answer was not taken. The step stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The answer is to another step.
    NoPendingStep,
    /// It is no answer to this one.
    Unfit(&'static str),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NoPendingStep => f.write_str("wizard: no pending step"),
            Refusal::Unfit(why) => write!(f, "wizard: {why}"),
        }
    }
}

impl std::error::Error for Refusal {}

/// One walk through the questions. Holds secrets, so there is no way to print it.
pub struct Wizard {
    stage: Stage,
    step_id: String,
    file: String,
    exists: bool,
    model: Option<String>,
    mode: Option<String>,
    workspace: String,
    remote_url: String,
    remote_token: String,
    provider: String,
    base_url: String,
    api_key: String,
    model_id: String,
}

impl Wizard {
    /// Begins. A mode (`local`, `remote`) or a workspace that is given is not asked for.
    pub fn start(config: &Config, mode: Option<&str>, workspace: Option<&str>) -> Wizard {
        let text = |path: &str| config.str(path).unwrap_or_default().to_string();
        let known = text("agents.defaults.workspace");
        let known = if known.is_empty() {
            "~/.openclaw/workspace".to_string()
        } else {
            known
        };
        let model = config.get("agents.defaults.model");
        let model = model.and_then(|m| m.as_str().or(m["primary"].as_str()));
        Wizard {
            stage: Stage::Intro,
            step_id: id::uuid(),
            file: config.locations().shown(config.path()),
            exists: config.exists(),
            model: model.map(str::to_string),
            mode: mode.map(str::to_string),
            workspace: workspace.map_or(known, str::to_string),
            remote_url: text("gateway.remote.url"),
            remote_token: String::new(),
            provider: KEEP.into(),
            base_url: String::new(),
            api_key: String::new(),
            model_id: String::new(),
        }
    }

    /// The step that waits for an answer.
    pub fn step(&self) -> Value {
        let mut step = self.question();
        step["id"] = json!(self.step_id);
        step["executor"] = json!("client");
        step
    }

    /// Takes the answer to the step `step_id`.
    pub fn answer(&mut self, step_id: &str, value: &Value) -> Result<Progress, Refusal> {
        if step_id != self.step_id {
            return Err(Refusal::NoPendingStep);
        }
        let next = match self.take(value)? {
            Some(stage) => stage,
            None if self.stage == Stage::Review => return Ok(Progress::Done(self.patch())),
            None => return Ok(Progress::Stopped),
        };
        self.stage = next;
        self.step_id = id::uuid();
        Ok(Progress::Asks)
    }

    fn question(&self) -> Value {
        match self.stage {
            Stage::Intro => note("OpenClaw onboarding", self.intro()),
            Stage::Risk => json!({
                "type": "confirm", "initialValue": false,
                "message": "An agent with tools can read files and run commands as the user of this gateway. Go on?",
            }),
            Stage::Mode => select(
                "Where does the gateway run?",
                "local",
                vec![
                    choice("local", "On this host", "what most people want"),
                    choice(
                        "remote",
                        "Elsewhere",
                        "commands here talk to another gateway",
                    ),
                ],
            ),
            Stage::RemoteUrl => ask("URL of the gateway", &self.remote_url, "wss://host:18789"),
            Stage::RemoteToken => secret("Token of the gateway (blank: leave as it is)"),
            Stage::Workspace => ask("Workspace of the agent", &self.workspace, "a folder"),
            Stage::Provider => self.endpoints(),
            Stage::BaseUrl => ask("Base URL of the endpoint", "", "http://127.0.0.1:8000/v1"),
            Stage::ApiKey => secret("API key (blank: none, or from the environment)"),
            Stage::Model => ask("Model id, as the endpoint names it", "", ""),
            Stage::Review => json!({
                "type": "confirm", "initialValue": true, "message": self.review(),
            }),
        }
    }

    fn intro(&self) -> String {
        let what = match self.exists {
            true => "changes what you choose and keeps the rest",
            false => "will be made",
        };
        format!(
            "A few questions: where the gateway runs, where the agent keeps its files, which model it uses. {} {what}. Nothing is written before the last step.",
            self.file
        )
    }

    fn endpoints(&self) -> Value {
        let current = self.model.as_deref().unwrap_or("builtin/echo, no network");
        let mut options = vec![choice(KEEP, "Keep the current model", current)];
        for (name, label, url, _) in ENDPOINTS {
            options.push(choice(name, label, url));
        }
        options.push(choice(
            CUSTOM,
            "Another OpenAI-compatible endpoint",
            "you give the URL",
        ));
        select("Model endpoint", KEEP, options)
    }

    fn review(&self) -> String {
        let chosen = if self.is_remote() {
            format!("gateway at {}", self.remote_url)
        } else if self.provider == KEEP {
            format!("workspace {}, the model stays", self.workspace)
        } else {
            format!("workspace {}, model {}", self.workspace, self.model_name())
        };
        format!("Write this to {}? {chosen}", self.file)
    }

    /// Keeps the answer; what is asked next, or `None` when nothing is.
    fn take(&mut self, value: &Value) -> Result<Option<Stage>, Refusal> {
        let next = match self.stage {
            Stage::Intro => Stage::Risk,
            Stage::Risk if value == true => match self.mode.as_deref() {
                None => Stage::Mode,
                Some(_) => self.after_mode(),
            },
            Stage::Risk => return Ok(None),
            Stage::Mode => {
                let mode = text(value, "choose one of the options")?;
                if mode != "local" && mode != "remote" {
                    return Err(Refusal::Unfit("choose one of the options"));
                }
                self.mode = Some(mode);
                self.after_mode()
            }
            Stage::RemoteUrl => {
                let url = text(value, "a URL is needed")?;
                if !is_safe_gateway(&url) {
                    return Err(Refusal::Unfit("use wss://, or ws:// to this host only"));
                }
                self.remote_url = url;
                Stage::RemoteToken
            }
            Stage::RemoteToken => {
                self.remote_token = optional(value)?;
                Stage::Review
            }
            Stage::Workspace => {
                self.workspace = text(value, "a folder is needed")?;
                Stage::Provider
            }
            Stage::Provider => {
                let name = text(value, "choose one of the options")?;
                let known = ENDPOINTS.iter().find(|(n, ..)| *n == name);
                self.provider = name;
                match (known, self.provider.as_str()) {
                    (_, KEEP) => Stage::Review,
                    (_, CUSTOM) => Stage::BaseUrl,
                    (Some((_, _, url, keyed)), _) => {
                        self.base_url = (*url).to_string();
                        if *keyed { Stage::ApiKey } else { Stage::Model }
                    }
                    (None, _) => {
                        self.provider = KEEP.into();
                        return Err(Refusal::Unfit("choose one of the options"));
                    }
                }
            }
            Stage::BaseUrl => {
                let url = text(value, "a URL is needed")?;
                if !url.starts_with("http://") && !url.starts_with("https://") {
                    return Err(Refusal::Unfit("use http:// or https://"));
                }
                self.base_url = url;
                Stage::ApiKey
            }
            Stage::ApiKey => {
                self.api_key = optional(value)?;
                Stage::Model
            }
            Stage::Model => {
                let model = text(value, "a model id is needed")?;
                if model.contains(char::is_whitespace) {
                    return Err(Refusal::Unfit("a model id has no blanks"));
                }
                self.model_id = model;
                Stage::Review
            }
            Stage::Review if value == true => return Ok(None),
            Stage::Review => Stage::Intro,
        };
        Ok(Some(next))
    }

    fn after_mode(&self) -> Stage {
        match self.is_remote() {
            true => Stage::RemoteUrl,
            false => Stage::Workspace,
        }
    }

    fn is_remote(&self) -> bool {
        self.mode.as_deref() == Some("remote")
    }

    fn model_name(&self) -> String {
        format!("{}/{}", self.provider, self.model_id)
    }

    fn patch(&self) -> Value {
        if self.is_remote() {
            let mut remote = json!({"url": self.remote_url});
            if !self.remote_token.is_empty() {
                remote["token"] = json!(self.remote_token);
            }
            return json!({"gateway": {"mode": "remote", "remote": remote}});
        }
        let mut patch = json!({
            "gateway": {"mode": "local"},
            "agents": {"defaults": {"workspace": self.workspace}},
        });
        if self.provider != KEEP {
            patch["agents"]["defaults"]["model"] = json!({"primary": self.model_name()});
            let mut provider = Map::new();
            provider.insert("baseUrl".into(), json!(self.base_url));
            provider.insert("api".into(), json!("openai-completions"));
            if !self.api_key.is_empty() {
                provider.insert("apiKey".into(), json!(self.api_key));
            }
            let model = json!({"id": self.model_id, "name": self.model_id});
            provider.insert("models".into(), json!([model]));
            patch["models"] = json!({"providers": {&self.provider: provider}});
        }
        patch
    }
}

/// Whether a gateway there can be talked to without giving the token to the network.
fn is_safe_gateway(url: &str) -> bool {
    let Some(plain) = url.strip_prefix("ws://") else {
        return url
            .strip_prefix("wss://")
            .is_some_and(|rest| !rest.is_empty());
    };
    let authority = plain.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    !authority.contains('@') && matches!(host, "localhost" | "127.0.0.1" | "::1")
}

fn note(title: &str, message: String) -> Value {
    json!({"type": "note", "title": title, "message": message})
}

fn ask(message: &str, initial: &str, placeholder: &str) -> Value {
    let mut step = json!({"type": "text", "message": message});
    for (key, value) in [("initialValue", initial), ("placeholder", placeholder)] {
        if !value.is_empty() {
            step[key] = json!(value);
        }
    }
    step
}

fn secret(message: &str) -> Value {
    json!({"type": "text", "message": message, "sensitive": true})
}

fn select(message: &str, initial: &str, options: Vec<Value>) -> Value {
    json!({"type": "select", "message": message, "initialValue": initial, "options": options})
}

fn choice(value: &str, label: &str, hint: &str) -> Value {
    json!({"value": value, "label": label, "hint": hint})
}

/// A text with something in it, on one line.
fn text(value: &Value, why: &'static str) -> Result<String, Refusal> {
    let text = optional(value)?;
    match text.is_empty() {
        true => Err(Refusal::Unfit(why)),
        false => Ok(text),
    }
}

fn optional(value: &Value) -> Result<String, Refusal> {
    let text = match value {
        Value::Null => "",
        Value::String(text) => text.trim(),
        _ => return Err(Refusal::Unfit("the answer has to be a text")),
    };
    if text.len() > MAX_ANSWER || text.chars().any(char::is_control) {
        return Err(Refusal::Unfit(
            "the answer is too long or has control characters",
        ));
    }
    Ok(text.to_string())
}

#[cfg(test)]
mod tests;
