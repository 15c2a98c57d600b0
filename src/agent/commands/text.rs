//! What commands say.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::View;
use super::table::{COMMANDS, Does};
use crate::agent::models;
use crate::agent::prompt::default_thinking;
use crate::agent::run::session::chosen_model;
use crate::config::Config;
use crate::config::agents::ModelRef;
use crate::protocol::frame::clip;
use crate::state::sessions::Entry;
use crate::sys::clock;

/// Longest word of a sender that is repeated, in bytes.
pub const MAX_WORD: usize = 128;
/// Models of a provider that are listed.
const MAX_LISTED: usize = 50;
/// What a bare `/new` is to a run that has to answer.
pub const GREET: &str = "A new session has begun. Greet me in a sentence or two, in your own voice, and ask \
    what I would like to do. Do not mention files, tools or this message.";

/// `/help`.
pub fn help() -> String {
    "ℹ️ Help\n\nSession\n  /new  |  /reset  |  /compact  |  /stop\n\n\
     Options\n  /think <level>  |  /model <id>  |  /verbose on|off\n\n\
     Status\n  /status  |  /whoami  |  /context\n\nMore: /commands for full list"
        .into()
}

/// `/commands`.
pub fn commands() -> String {
    let mut out = String::from(
        "ℹ️ Slash commands\n\nSession\n  /stop - Stop the current run.\n  /new - Start a new session.\n  \
         /reset - Start a new session.\n",
    );
    let mut group = "Session";
    for c in COMMANDS {
        if matches!(c.does, Does::Nothing) {
            continue;
        }
        if c.group != group {
            group = c.group;
            let _ = write!(out, "\n{group}\n");
        }
        let also = match c.also {
            [] => String::new(),
            also => format!(" ({})", also.join(", ")),
        };
        let mut about = c.about.to_string();
        about[..1].make_ascii_uppercase();
        let _ = writeln!(out, "  {}{also} - {about}.", c.name);
    }
    out.trim_end().to_string()
}

/// `/whoami`.
pub fn whoami(client_id: &str) -> String {
    let id = shown(client_id);
    format!("🧭 Identity\nChannel: webchat\nUser id: {id}\nAllowFrom: {id}")
}

/// `/status`.
pub fn status(view: &View<'_>) -> String {
    let waiting = view.runs.waiting(&view.place.key);
    let card = card(view.config, &view.place.agent, &view.place.key, view.entry);
    format!("{card}\n🪢 Queue: {waiting} waiting")
}

/// What a session is like: its model, how full its context is, how it answers.
pub fn card(config: &Config, agent: &str, key: &str, entry: Option<&Entry>) -> String {
    let number = |name: &str| entry.and_then(|e| e.number(name)).unwrap_or(0);
    let level = |name: &str| entry.and_then(|e| e.text(name));
    let think = match level("thinkingLevel") {
        Some(level) => level.to_string(),
        None => default_thinking(config, agent).as_str().into(),
    };
    let mut runtime = format!("⚙️ Runtime: direct · Think: {think}");
    if let Some(verbose) = level("verboseLevel").filter(|v| *v != "off") {
        let _ = write!(runtime, " · Verbose: {verbose}");
    }
    let model = model_in(config, agent, entry);
    format!(
        "🦞 OpenClaw {}\n🧠 Model: {model}\n🧮 Tokens: {} in / {} out\n📚 Context: {} · 🧹 Compactions: {}\n\
         🧵 Session: {key} • updated {}\n{runtime}",
        crate::VERSION,
        number("inputTokens"),
        number("outputTokens"),
        fill(config, &model, entry),
        number("compactionCount"),
        ago(entry.map(Entry::updated_at)),
    )
}

/// `/context`.
pub fn context(view: &View<'_>) -> String {
    format!(
        "🧠 Context: {} of {}. It holds the system prompt with the workspace's files, the conversation, and \
         what tools gave; the oldest turns leave first.",
        fill(view.config, &model_of(view), view.entry),
        model_of(view)
    )
}

/// `/queue`.
pub fn queue(view: &View<'_>) -> String {
    format!(
        "🪢 One run at a time in a session; {} waiting here, {} in the whole gateway.",
        view.runs.waiting(&view.place.key),
        view.runs.active(),
    )
}

/// `/models`.
pub fn models(view: &View<'_>, provider: &str) -> String {
    let choices = models::choices(view.config, &view.place.agent);
    let mut by_provider: BTreeMap<&str, Vec<&ModelRef>> = BTreeMap::new();
    for model in &choices {
        by_provider.entry(&model.provider).or_default().push(model);
    }
    if provider.is_empty() {
        let mut out = String::from("Providers:\n");
        for (name, models) in &by_provider {
            let _ = writeln!(out, "- {name} ({})", models.len());
        }
        out.push_str("\nUse: /models <provider>\nSwitch: /model <provider/model>");
        return out;
    }
    let wanted = provider.to_lowercase();
    let Some(models) = by_provider.get(wanted.as_str()) else {
        return format!(
            "No models of \"{}\". Use /models to list providers.",
            shown(provider)
        );
    };
    let mut out = format!("Models of {wanted}:\n");
    for model in models.iter().take(MAX_LISTED) {
        let _ = writeln!(out, "- {model}");
    }
    if models.len() > MAX_LISTED {
        let _ = writeln!(out, "- and {} more", models.len() - MAX_LISTED);
    }
    out.push_str("\nSwitch: /model <provider/model>");
    out
}

/// A command that is known and cannot be had here.
pub fn unavailable(config: &Config, name: &str) -> String {
    let word = name.trim_start_matches('/');
    let switched = matches!(word, "config" | "debug" | "bash");
    if switched && !config.bool(&format!("commands.{word}"), false) {
        return format!("⚠️ {name} is disabled. Set commands.{word}=true to enable.");
    }
    match word {
        "config" => "⚠️ /config cannot be used in a chat; use openclaw config.".into(),
        "restart" => "⚠️ /restart cannot be used in a chat; use openclaw gateway restart.".into(),
        _ => format!("⚠️ {name} cannot be used in this chat."),
    }
}

/// The model that the session runs.
pub fn model_of(view: &View<'_>) -> ModelRef {
    model_in(view.config, &view.place.agent, view.entry)
}

fn model_in(config: &Config, agent: &str, entry: Option<&Entry>) -> ModelRef {
    chosen_model(entry).unwrap_or_else(|| models::primary(config, agent))
}

/// How full the context is: `11/128k (0%)`.
fn fill(config: &Config, model: &ModelRef, entry: Option<&Entry>) -> String {
    let used = entry.and_then(|e| e.number("totalTokens")).unwrap_or(0);
    let size = models::context_tokens(config, model).max(1);
    format!("{}/{} ({}%)", short(used), short(size), used * 100 / size)
}

/// `128k` for 128,000.
fn short(tokens: u64) -> String {
    match tokens {
        0..1000 => tokens.to_string(),
        _ => format!("{}k", (tokens + 500) / 1000),
    }
}

fn ago(updated_at: Option<u64>) -> String {
    let Some(at) = updated_at.filter(|at| *at > 0) else {
        return "never".into();
    };
    match clock::now_ms().saturating_sub(at) / 60_000 {
        0 => "just now".into(),
        m @ 1..60 => format!("{m}m ago"),
        m @ 60..2880 => format!("{}h ago", m / 60),
        m => format!("{}d ago", m / 1440),
    }
}

/// A sender's word as it is repeated: bounded, on one line.
pub fn shown(word: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    clip(word, MAX_WORD).chars().map(plain).collect()
}
