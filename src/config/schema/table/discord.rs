//! `channels.discord`.

use super::agents::{BLOCK_STREAMING_CHUNK, BLOCK_STREAMING_COALESCE};
use super::channels::{DM_HISTORY, HEARTBEAT_VISIBILITY, MARKDOWN, NATIVE_COMMANDS, RETRY};
use super::messages::TTS;
use super::tools::TOOL_POLICY;
use crate::config::schema::build::{
    choice, either, field, flag, group, list, map, number, object, text, texts, whole, word,
};
use crate::config::schema::{Field, Form, Kind, Object, rules};

/// Who may write directly.
const DM_POLICIES: &[&str] = &["pairing", "allowlist", "open", "disabled"];

pub static DISCORD_ACTIONS: Object = object(&[
    flag("reactions"),
    flag("stickers"),
    flag("emojiUploads"),
    flag("stickerUploads"),
    flag("polls"),
    flag("permissions"),
    flag("messages"),
    flag("threads"),
    flag("pins"),
    flag("search"),
    flag("memberInfo"),
    flag("roleInfo"),
    flag("roles"),
    flag("channelInfo"),
    flag("voiceStatus"),
    flag("events"),
    flag("moderation"),
    flag("channels"),
    flag("presence"),
]);

pub static DISCORD_DM: Object = object(&[
    flag("enabled"),
    choice("policy", DM_POLICIES),
    list("allowFrom", &Kind::Text(Form::DiscordId)),
    flag("groupEnabled"),
    list("groupChannels", &Kind::Text(Form::DiscordId)),
]);

pub static GUILD_CHANNEL: Object = object(&[
    flag("allow"),
    flag("requireMention"),
    group("tools", &TOOL_POLICY),
    map("toolsBySender", &Kind::Object(&TOOL_POLICY)),
    texts("skills"),
    flag("enabled"),
    list("users", &Kind::Text(Form::DiscordId)),
    list("roles", &Kind::Text(Form::DiscordId)),
    text("systemPrompt"),
    flag("includeThreadStarter"),
    flag("autoThread"),
]);

pub static GUILD: Object = object(&[
    text("slug"),
    flag("requireMention"),
    group("tools", &TOOL_POLICY),
    map("toolsBySender", &Kind::Object(&TOOL_POLICY)),
    choice("reactionNotifications", &["off", "own", "all", "allowlist"]),
    list("users", &Kind::Text(Form::DiscordId)),
    list("roles", &Kind::Text(Form::DiscordId)),
    map("channels", &Kind::Object(&GUILD_CHANNEL)),
]);

pub static DISCORD_EXEC_APPROVALS: Object = object(&[
    flag("enabled"),
    list("approvers", &Kind::Text(Form::DiscordId)),
    texts("agentFilter"),
    texts("sessionFilter"),
    flag("cleanupAfterResolve"),
    choice("target", &["dm", "channel", "both"]),
]);

pub static UI_COMPONENTS: Object = object(&[text("accentColor").form(Form::Colour)]);

pub static DISCORD_UI: Object = object(&[group("components", &UI_COMPONENTS)]);

pub static DISCORD_SLASH_COMMAND: Object = object(&[flag("ephemeral")]);

pub static DISCORD_THREAD_BINDINGS: Object = object(&[
    flag("enabled"),
    number("ttlHours").min(0.0),
    flag("spawnSubagentSessions"),
]);

pub static DISCORD_INTENTS: Object = object(&[flag("presence"), flag("guildMembers")]);

pub static VOICE_AUTO_JOIN: Object = object(&[
    text("guildId").form(Form::Filled("")).required(),
    text("channelId").form(Form::Filled("")).required(),
]);

pub static DISCORD_VOICE: Object = object(&[
    flag("enabled"),
    list("autoJoin", &Kind::Object(&VOICE_AUTO_JOIN)),
    group("tts", &TTS),
]);

pub static DISCORD_PLURALKIT: Object = object(&[flag("enabled"), text("token").secret()]);

static DISCORD_FIELDS: &[Field] = &[
    text("name"),
    texts("capabilities"),
    group("markdown", &MARKDOWN),
    flag("enabled").about("Whether the channel runs."),
    group("commands", &NATIVE_COMMANDS),
    flag("configWrites"),
    text("token").secret().about("Token of the bot."),
    text("proxy"),
    flag("allowBots"),
    flag("dangerouslyAllowNameMatching"),
    choice("groupPolicy", &["open", "disabled", "allowlist"])
        .fills("allowlist")
        .about("Whether guild channels are answered."),
    whole("historyLimit").min(0.0),
    whole("dmHistoryLimit").min(0.0),
    map("dms", &Kind::Object(&DM_HISTORY)),
    whole("textChunkLimit").above(0.0),
    choice("chunkMode", &["length", "newline"]),
    flag("blockStreaming"),
    group("blockStreamingCoalesce", &BLOCK_STREAMING_COALESCE),
    either(
        "streaming",
        &[
            Kind::Bool,
            Kind::Choice(&["off", "partial", "block", "progress"]),
        ],
    ),
    choice("streamMode", &["partial", "block", "off"]),
    group("draftChunk", &BLOCK_STREAMING_CHUNK),
    whole("maxLinesPerMessage").above(0.0),
    number("mediaMaxMb").above(0.0),
    group("retry", &RETRY),
    group("actions", &DISCORD_ACTIONS),
    word("replyToMode", &["off", "first", "all"]),
    choice("dmPolicy", DM_POLICIES),
    list("allowFrom", &Kind::Text(Form::DiscordId)),
    text("defaultTo"),
    group("dm", &DISCORD_DM),
    map("guilds", &Kind::Object(&GUILD)).about("Settings by guild."),
    group("heartbeat", &HEARTBEAT_VISIBILITY),
    group("execApprovals", &DISCORD_EXEC_APPROVALS),
    group("ui", &DISCORD_UI),
    group("slashCommand", &DISCORD_SLASH_COMMAND),
    group("threadBindings", &DISCORD_THREAD_BINDINGS),
    group("intents", &DISCORD_INTENTS).about("Privileged intents to ask for."),
    group("voice", &DISCORD_VOICE).unused(),
    group("pluralkit", &DISCORD_PLURALKIT).unused(),
    text("responsePrefix"),
    text("ackReaction"),
    text("activity"),
    choice("status", &["online", "dnd", "idle", "invisible"]),
    field("activityType", Kind::OneOfNumbers(&[0, 1, 2, 3, 4, 5])),
    text("activityUrl").form(Form::Url),
];

pub static DISCORD_ACCOUNT: Object = object(DISCORD_FIELDS).rule(rules::discord);

pub static DISCORD: Object = object(DISCORD_FIELDS)
    .and(&[map("accounts", &Kind::Object(&DISCORD_ACCOUNT)).about("Further bots by name.")])
    .rule(rules::discord);
