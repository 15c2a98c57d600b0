//! Voice: talk mode, wake words, spoken replies.
//!
//! This gateway has no speech engine. What was chosen is kept and told, conversion fails as it does in
//! the reference with no provider configured.

use serde_json::{Map, Value, json};

use super::{Access, Call, Method, Reply};
use crate::config::redact;
use crate::gateway::Gateway;
use crate::nodes::Platform;
use crate::protocol::shape::{Kind, Shape, opt, req};
use crate::protocol::{Event, RpcError, Scope};
use crate::state::{tts, voicewake};
use crate::sys::clock;

const READ: Access = Access::Operator(Scope::Read);
const WRITE: Access = Access::Operator(Scope::Write);
const LENIENT: Shape = Shape::lenient(&[]);

/// The family.
pub const METHODS: &[Method] = &[
    Method::new(
        "tts.status",
        READ,
        LENIENT,
        status,
        "whether replies are to be spoken, and by whom",
    ),
    Method::new(
        "tts.providers",
        READ,
        LENIENT,
        providers,
        "speech providers; none is configured, since this gateway has no speech engine",
    ),
    Method::new(
        "tts.enable",
        WRITE,
        LENIENT,
        enable,
        "keeps the wish that replies are spoken",
    ),
    Method::new(
        "tts.disable",
        WRITE,
        LENIENT,
        disable,
        "takes that wish back",
    ),
    Method::new(
        "tts.convert",
        WRITE,
        LENIENT,
        convert,
        "fails: there is no speech engine",
    ),
    Method::new(
        "tts.setProvider",
        WRITE,
        LENIENT,
        set_provider,
        "keeps the choice of a provider",
    ),
    Method::new(
        "talk.config",
        READ,
        Shape::strict(&[opt("includeSecrets", Kind::Bool)]),
        talk_config,
        "voice settings of the config; secrets for operator.talk.secrets",
    ),
    Method::new(
        "talk.mode",
        WRITE,
        Shape::strict(&[req("enabled", Kind::Bool), opt("phase", Kind::Text)]),
        talk_mode,
        "tells everybody that talk mode goes on or off",
    ),
    Method::new("voicewake.get", READ, LENIENT, wake_words, "the wake words"),
    Method::new(
        "voicewake.set",
        WRITE,
        LENIENT,
        set_wake_words,
        "replaces the wake words; an empty list brings the default ones back",
    ),
];

/// Providers that the reference knows.
const PROVIDERS: &[(&str, &str)] = &[
    ("openai", "OpenAI"),
    ("elevenlabs", "ElevenLabs"),
    ("edge", "Edge TTS"),
];
/// The provider when none was chosen.
const DEFAULT_PROVIDER: &str = "edge";
/// How often a reply is spoken, as `auto` says it.
const AUTO: &[&str] = &["off", "always", "inbound", "tagged"];

/// What was chosen, else what the config says, if it is one of `words`.
fn chosen(gateway: &Gateway, key: &str, words: impl Fn(&str) -> bool) -> Option<String> {
    let config = gateway.config.current();
    let configured = config
        .str(&format!("messages.tts.{key}"))
        .map(str::to_string);
    tts::get(&gateway.paths, key)
        .or(configured)
        .filter(|w| words(w))
}

fn provider(gateway: &Gateway) -> String {
    chosen(gateway, "provider", is_provider).unwrap_or_else(|| DEFAULT_PROVIDER.into())
}

fn is_provider(word: &str) -> bool {
    PROVIDERS.iter().any(|(id, _)| *id == word)
}

fn status(call: &Call<'_>) -> Result<Reply, RpcError> {
    let auto = chosen(call.gateway, "auto", |w| AUTO.contains(&w));
    let auto = auto.unwrap_or_else(|| "off".into());
    Ok(Reply::Value(json!({
        "enabled": auto != "off",
        "auto": auto,
        "provider": provider(call.gateway),
        "fallbackProvider": null,
        "fallbackProviders": [],
        "prefsPath": call.path(&call.gateway.paths.tts()),
        "hasOpenAIKey": false,
        "hasElevenLabsKey": false,
        "edgeEnabled": false,
    })))
}

fn providers(call: &Call<'_>) -> Result<Reply, RpcError> {
    let list: Vec<Value> = PROVIDERS
        .iter()
        .map(|(id, name)| json!({"id": id, "name": name, "configured": false, "models": []}))
        .collect();
    Ok(Reply::Value(
        json!({"providers": list, "active": provider(call.gateway)}),
    ))
}

fn enable(call: &Call<'_>) -> Result<Reply, RpcError> {
    tts::set(&call.gateway.paths, "auto", "always")?;
    Ok(Reply::Value(json!({"enabled": true})))
}

fn disable(call: &Call<'_>) -> Result<Reply, RpcError> {
    tts::set(&call.gateway.paths, "auto", "off")?;
    Ok(Reply::Value(json!({"enabled": false})))
}

fn set_provider(call: &Call<'_>) -> Result<Reply, RpcError> {
    let word = call.text("provider").unwrap_or_default();
    if !is_provider(word) {
        let text = "Invalid provider. Use openai, elevenlabs, or edge.";
        return Err(RpcError::invalid(text));
    }
    tts::set(&call.gateway.paths, "provider", word)?;
    Ok(Reply::Value(json!({"provider": word})))
}

fn convert(call: &Call<'_>) -> Result<Reply, RpcError> {
    if call.text("text").is_none() {
        return Err(RpcError::invalid("tts.convert requires text"));
    }
    let text = "TTS conversion failed: no provider configured (this gateway has no speech engine)";
    Err(RpcError::unavailable(text))
}

fn talk_config(call: &Call<'_>) -> Result<Reply, RpcError> {
    let secrets = call.bool("includeSecrets") == Some(true);
    if secrets && !call.may(Scope::TalkSecrets) {
        let scope = Scope::TalkSecrets.as_str();
        return Err(RpcError::invalid(format!("missing scope: {scope}")));
    }
    let config = call.gateway.config.current();
    let mut told = Map::new();
    if let Some(talk) = config.resolved().get("talk").filter(|t| t.is_object()) {
        let whole = json!({"talk": talk});
        let shown = if secrets {
            whole
        } else {
            redact::value(&whole)
        };
        told.insert("talk".into(), shown["talk"].clone());
    }
    let own = |section: &str, key: &str| {
        let value = config.resolved().get(section)?.get(key)?;
        Some(json!({key: value}))
    };
    for (section, key) in [("session", "mainKey"), ("ui", "seamColor")] {
        if let Some(part) = own(section, key) {
            told.insert(section.into(), part);
        }
    }
    Ok(Reply::Value(json!({"config": told})))
}

fn talk_mode(call: &Call<'_>) -> Result<Reply, RpcError> {
    let phone =
        |platform: &str| matches!(Platform::of(platform), Platform::Ios | Platform::Android);
    let nodes = call.gateway.nodes.list();
    let has_phone = nodes
        .iter()
        .any(|n| n.platform.as_deref().is_some_and(phone));
    if call.client.is_webchat() && !has_phone {
        let text = "talk disabled: no connected iOS/Android nodes";
        return Err(RpcError::unavailable(text));
    }
    let mode = json!({
        "enabled": call.bool("enabled"), "phase": call.str("phase"), "ts": clock::now_ms(),
    });
    call.gateway.hub.publish(Event::TalkMode, &mode.to_string());
    Ok(Reply::Value(mode))
}

fn wake_words(call: &Call<'_>) -> Result<Reply, RpcError> {
    let triggers = voicewake::triggers(&call.gateway.paths);
    Ok(Reply::Value(json!({"triggers": triggers})))
}

fn set_wake_words(call: &Call<'_>) -> Result<Reply, RpcError> {
    let list = call.params.get("triggers").filter(|t| t.is_array());
    let list =
        list.ok_or_else(|| RpcError::invalid("voicewake.set requires triggers: string[]"))?;
    let triggers = voicewake::set_triggers(&call.gateway.paths, list)?;
    let payload = json!({"triggers": triggers});
    let hub = &call.gateway.hub;
    hub.publish(Event::VoicewakeChanged, &payload.to_string());
    Ok(Reply::Value(payload))
}
