//! A model as a run uses it: where it is, how it is spoken to, what it can do.

use std::fmt;

/// The provider and the id of the model that is built in.
pub const BUILTIN_PROVIDER: &str = "builtin";
pub const BUILTIN_ECHO: &str = "echo";
/// Context window in tokens where the configuration has none.
pub const DEFAULT_CONTEXT_WINDOW: u64 = 200_000;
/// Longest reply in tokens where the configuration has none.
pub const DEFAULT_MAX_TOKENS: u64 = 8192;

/// A model, resolved.
#[derive(Clone, Debug)]
pub struct Model {
    pub provider: String,
    pub id: String,
    pub api: Api,
    /// Without a slash at the end.
    pub base_url: String,
    /// Headers from the configuration; those of the model win over those of the provider.
    pub headers: Vec<(String, String)>,
    /// False: the key is not sent as `Authorization` (a configured header carries it).
    pub auth_header: bool,
    pub key: Option<Secret>,
    pub reasoning: bool,
    /// Whether it takes images.
    pub images: bool,
    /// In tokens.
    pub context_window: u64,
    /// In tokens.
    pub max_tokens: u64,
    pub cost: Cost,
    pub compat: Compat,
}

impl Model {
    /// `provider/id`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.provider, self.id)
    }

    /// The built-in model that repeats what it is told.
    pub fn echo() -> Model {
        Model {
            provider: BUILTIN_PROVIDER.into(),
            id: BUILTIN_ECHO.into(),
            api: Api::Echo,
            base_url: String::new(),
            headers: Vec::new(),
            auth_header: false,
            key: None,
            reasoning: false,
            images: false,
            context_window: DEFAULT_CONTEXT_WINDOW,
            max_tokens: DEFAULT_MAX_TOKENS,
            cost: Cost::default(),
            compat: Compat::default(),
        }
    }
}

/// The protocol that an endpoint speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    Echo,
    OpenAiCompletions,
}

impl Api {
    /// The name in the configuration and in transcripts.
    pub fn as_str(self) -> &'static str {
        match self {
            Api::Echo => "builtin-echo",
            Api::OpenAiCompletions => "openai-completions",
        }
    }

    /// The API of that name in the configuration; `None` for one that this gateway does not speak.
    pub fn parse(name: &str) -> Option<Api> {
        match name {
            "openai-completions" => Some(Api::OpenAiCompletions),
            _ => None,
        }
    }
}

/// Price in dollars for a million tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    pub input: f64,
    pub output: f64,
    pub cache_read: f64,
    pub cache_write: f64,
}

/// Where an OpenAI-compatible endpoint differs; `None` is what most of them do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compat {
    pub store: Option<bool>,
    pub developer_role: Option<bool>,
    pub reasoning_effort: Option<bool>,
    pub usage_in_streaming: Option<bool>,
    pub strict_mode: Option<bool>,
    /// `max_completion_tokens` or `max_tokens`.
    pub max_tokens_field: Option<String>,
    /// `openai`, `zai` or `qwen`.
    pub thinking_format: Option<String>,
    pub tool_result_name: bool,
    pub assistant_after_tool_result: bool,
    pub mistral_tool_ids: bool,
}

/// A credential: shown by nothing, not even `{:?}`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
