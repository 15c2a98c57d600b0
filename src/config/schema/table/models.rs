//! `models` and `auth`: providers, their models and credentials.

use crate::config::schema::build::{
    TEXT, TEXTS, flag, group, list, map, number, object, text, texts, whole, word,
};
use crate::config::schema::{Form, Kind, Object, Range};

/// The APIs that a provider may speak.
const APIS: &[&str] = &[
    "openai-completions",
    "openai-responses",
    "anthropic-messages",
    "google-generative-ai",
    "github-copilot",
    "bedrock-converse-stream",
    "ollama",
];

pub static AUTH_PROFILE: Object = object(&[
    text("provider").required(),
    word("mode", &["api_key", "oauth", "token"]).required(),
    text("email"),
]);

pub static AUTH_COOLDOWNS: Object = object(&[
    number("billingBackoffHours")
        .above(0.0)
        .about("Hours a profile rests after a billing error; doubles each time."),
    map(
        "billingBackoffHoursByProvider",
        &Kind::Number(Range {
            whole: false,
            min: None,
            above: Some(0.0),
            max: None,
        }),
    ),
    number("billingMaxHours")
        .above(0.0)
        .about("Longest rest after billing errors, in hours."),
    number("failureWindowHours")
        .above(0.0)
        .about("Hours without failure after which the counters start anew."),
]);

pub static AUTH: Object = object(&[
    map("profiles", &Kind::Object(&AUTH_PROFILE))
        .about("Profiles by id, `provider:name`; the secrets are in auth-profiles.json."),
    map("order", &TEXTS).about("For each provider, its profiles in the order of use."),
    group("cooldowns", &AUTH_COOLDOWNS),
]);

pub static MODELS_COST: Object = object(&[
    number("input").default("0"),
    number("output").default("0"),
    number("cacheRead").default("0"),
    number("cacheWrite").default("0"),
]);

pub static MODELS_COMPAT: Object = object(&[
    flag("supportsStore"),
    flag("supportsDeveloperRole"),
    flag("supportsReasoningEffort"),
    flag("supportsUsageInStreaming"),
    flag("supportsStrictMode"),
    word("maxTokensField", &["max_completion_tokens", "max_tokens"]),
    word("thinkingFormat", &["openai", "zai", "qwen"]),
    flag("requiresToolResultName"),
    flag("requiresAssistantAfterToolResult"),
    flag("requiresThinkingAsText"),
    flag("requiresMistralToolIds"),
]);

pub static MODEL: Object = object(&[
    text("id")
        .form(Form::Filled(""))
        .required()
        .about("Name of the model at the provider."),
    text("name")
        .form(Form::Filled(""))
        .required()
        .about("Name of the model for people."),
    word("api", APIS).about("Overrides the API of the provider."),
    flag("reasoning")
        .default("false")
        .about("Whether the model can think before it answers."),
    list("input", &Kind::Word(&["text", "image"]))
        .default("[text]")
        .about("What the model accepts."),
    group("cost", &MODELS_COST).about("Price in dollars for a million tokens."),
    number("contextWindow")
        .above(0.0)
        .default("200000")
        .about("Tokens that fit into one request."),
    number("maxTokens")
        .above(0.0)
        .default("8192, capped by contextWindow")
        .about("Most tokens of an answer."),
    map("headers", &TEXT)
        .secret()
        .about("Further request headers."),
    group("compat", &MODELS_COMPAT),
]);

pub static PROVIDER: Object = object(&[
    text("baseUrl")
        .form(Form::Filled(""))
        .required()
        .about("Base URL of the API, with its version: http://127.0.0.1:8080/v1."),
    text("apiKey")
        .secret()
        .about("Key of the API; best given as ${NAME}."),
    word("auth", &["api-key", "aws-sdk", "oauth", "token"])
        .about("How the provider is paid for and signed in to."),
    word("api", APIS)
        .default("anthropic-messages for the provider anthropic")
        .about("Which API the provider speaks."),
    map("headers", &TEXT)
        .secret()
        .about("Further request headers."),
    flag("authHeader").about("Whether the key goes into an Authorization header."),
    list("models", &Kind::Object(&MODEL))
        .required()
        .about("The models to offer."),
]);

pub static MODELS_BEDROCK_DISCOVERY: Object = object(&[
    flag("enabled"),
    text("region"),
    texts("providerFilter"),
    whole("refreshInterval").min(0.0),
    whole("defaultContextWindow").above(0.0),
    whole("defaultMaxTokens").above(0.0),
]);

pub static MODELS: Object = object(&[
    word("mode", &["merge", "replace"])
        .default("merge")
        .about("Whether the providers here are added to the known ones or replace them."),
    map("providers", &Kind::Object(&PROVIDER)).about("Providers by name."),
    group("bedrockDiscovery", &MODELS_BEDROCK_DISCOVERY).unused(),
]);
