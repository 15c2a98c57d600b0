//! Settings of earlier versions, which have moved. A file that has one is not read further: `openclaw
//! doctor --fix` rewrites it.

use serde_json::Value;

use super::Issue;
use crate::config::path;

/// An old place and where its content belongs now.
struct Moved {
    from: &'static str,
    message: &'static str,
    /// Only when the value is a text.
    text_only: bool,
}

const fn moved(from: &'static str, message: &'static str) -> Moved {
    Moved {
        from,
        message,
        text_only: false,
    }
}

const fn moved_text(from: &'static str, message: &'static str) -> Moved {
    Moved {
        from,
        message,
        text_only: true,
    }
}

const MOVED: &[Moved] = &[
    moved("whatsapp", "whatsapp config moved to channels.whatsapp"),
    moved("telegram", "telegram config moved to channels.telegram"),
    moved("discord", "discord config moved to channels.discord"),
    moved("slack", "slack config moved to channels.slack"),
    moved("signal", "signal config moved to channels.signal"),
    moved("imessage", "imessage config moved to channels.imessage"),
    moved("msteams", "msteams config moved to channels.msteams"),
    moved(
        "routing.allowFrom",
        "routing.allowFrom was removed; use channels.whatsapp.allowFrom instead",
    ),
    moved(
        "routing.bindings",
        "routing.bindings was moved; use top-level bindings instead",
    ),
    moved(
        "routing.agents",
        "routing.agents was moved; use agents.list instead",
    ),
    moved(
        "routing.defaultAgentId",
        "routing.defaultAgentId was moved; use agents.list[].default instead",
    ),
    moved(
        "routing.agentToAgent",
        "routing.agentToAgent was moved; use tools.agentToAgent instead",
    ),
    moved(
        "routing.groupChat.requireMention",
        "routing.groupChat.requireMention was removed; use channels.whatsapp/telegram/imessage groups defaults (e.g. channels.whatsapp.groups.\"*\".requireMention) instead",
    ),
    moved(
        "routing.groupChat.mentionPatterns",
        "routing.groupChat.mentionPatterns was moved; use agents.list[].groupChat.mentionPatterns or messages.groupChat.mentionPatterns instead",
    ),
    moved(
        "routing.queue",
        "routing.queue was moved; use messages.queue instead",
    ),
    moved(
        "routing.transcribeAudio",
        "routing.transcribeAudio was moved; use tools.media.audio.models instead",
    ),
    moved(
        "telegram.requireMention",
        "telegram.requireMention was removed; use channels.telegram.groups.\"*\".requireMention instead",
    ),
    moved(
        "identity",
        "identity was moved; use agents.list[].identity instead",
    ),
    moved(
        "agent",
        "agent.* was moved; use agents.defaults (and tools.* for tool/elevated/exec settings) instead",
    ),
    moved(
        "memorySearch",
        "top-level memorySearch was moved; use agents.defaults.memorySearch instead",
    ),
    moved(
        "tools.bash",
        "tools.bash was removed; use tools.exec instead",
    ),
    moved_text(
        "agent.model",
        "agent.model string was replaced by agents.defaults.model.primary/fallbacks and agents.defaults.models",
    ),
    moved_text(
        "agent.imageModel",
        "agent.imageModel string was replaced by agents.defaults.imageModel.primary/fallbacks",
    ),
    moved(
        "agent.allowedModels",
        "agent.allowedModels was replaced by agents.defaults.models",
    ),
    moved(
        "agent.modelAliases",
        "agent.modelAliases was replaced by agents.defaults.models.*.alias",
    ),
    moved(
        "agent.modelFallbacks",
        "agent.modelFallbacks was replaced by agents.defaults.model.fallbacks",
    ),
    moved(
        "agent.imageModelFallbacks",
        "agent.imageModelFallbacks was replaced by agents.defaults.imageModel.fallbacks",
    ),
    moved(
        "messages.tts.enabled",
        "messages.tts.enabled was replaced by messages.tts.auto",
    ),
    moved(
        "gateway.token",
        "gateway.token is ignored; use gateway.auth.token instead",
    ),
];

/// An issue for each old setting in `value`.
pub fn legacy_issues(value: &Value) -> Vec<Issue> {
    MOVED
        .iter()
        .filter(|m| {
            let steps: Vec<_> = m.from.split('.').collect();
            path::find(value, &steps).is_some_and(|v| !m.text_only || v.is_string())
        })
        .map(|m| Issue::new(m.from, format!("{} (auto-migrated on load).", m.message)))
        .collect()
}
