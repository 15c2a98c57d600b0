//! `channels.telegram`.

use super::agents::{BLOCK_STREAMING_CHUNK, BLOCK_STREAMING_COALESCE};
use super::channels::{DM_HISTORY, HEARTBEAT_VISIBILITY, MARKDOWN, NATIVE_COMMANDS, RETRY};
use super::tools::TOOL_POLICY;
use crate::config::schema::build::{
    ID, TEXTS, choice, either, field, flag, group, list, map, number, object, text, texts, whole,
    word,
};
use crate::config::schema::{Field, Kind, Object, rules};

/// Which groups are answered.
const GROUP_POLICIES: &[&str] = &["open", "disabled", "allowlist"];

pub static TELEGRAM_CAPABILITIES: Object = object(&[choice(
    "inlineButtons",
    &["off", "dm", "group", "all", "allowlist"],
)]);

pub static TELEGRAM_CUSTOM_COMMAND: Object =
    object(&[text("command").required(), text("description").required()]);

pub static GROUPS_TOPIC: Object = object(&[
    flag("requireMention"),
    choice("groupPolicy", GROUP_POLICIES),
    texts("skills"),
    flag("enabled"),
    list("allowFrom", &ID),
    text("systemPrompt"),
]);

pub static TELEGRAM_GROUP: Object = object(&[
    flag("requireMention"),
    choice("groupPolicy", GROUP_POLICIES),
    group("tools", &TOOL_POLICY),
    map("toolsBySender", &Kind::Object(&TOOL_POLICY)),
    texts("skills"),
    flag("enabled"),
    list("allowFrom", &ID),
    text("systemPrompt"),
    map("topics", &Kind::Object(&GROUPS_TOPIC)),
]);

pub static TELEGRAM_NETWORK: Object = object(&[
    flag("autoSelectFamily"),
    choice("dnsResultOrder", &["ipv4first", "verbatim"]),
]);

pub static TELEGRAM_ACTIONS: Object = object(&[
    flag("reactions"),
    flag("sendMessage"),
    flag("deleteMessage"),
    flag("sticker"),
]);

static TELEGRAM_FIELDS: &[Field] = &[
    text("name"),
    either(
        "capabilities",
        &[TEXTS, Kind::Object(&TELEGRAM_CAPABILITIES)],
    ),
    group("markdown", &MARKDOWN),
    flag("enabled").about("Whether the channel runs."),
    group("commands", &NATIVE_COMMANDS),
    list("customCommands", &Kind::Object(&TELEGRAM_CUSTOM_COMMAND)),
    flag("configWrites"),
    choice("dmPolicy", &["pairing", "allowlist", "open", "disabled"])
        .fills("pairing")
        .about("Who may write directly."),
    text("botToken").secret().about("Token from BotFather."),
    text("tokenFile").about("File that holds the token."),
    word("replyToMode", &["off", "first", "all"])
        .about("Which parts of a reply quote the message."),
    map("groups", &Kind::Object(&TELEGRAM_GROUP)).about("Settings by group; `*` for the others."),
    list("allowFrom", &ID).about("Ids that may write; `*` is anybody."),
    field("defaultTo", ID),
    list("groupAllowFrom", &ID).about("Ids that may write in groups."),
    choice("groupPolicy", GROUP_POLICIES)
        .fills("allowlist")
        .about("Whether groups are answered."),
    whole("historyLimit").min(0.0),
    whole("dmHistoryLimit").min(0.0),
    map("dms", &Kind::Object(&DM_HISTORY)),
    whole("textChunkLimit")
        .above(0.0)
        .about("Most characters of one message."),
    choice("chunkMode", &["length", "newline"]),
    either(
        "streaming",
        &[
            Kind::Bool,
            Kind::Choice(&["off", "partial", "block", "progress"]),
        ],
    )
    .about("Whether replies are edited while they are written."),
    flag("blockStreaming"),
    group("draftChunk", &BLOCK_STREAMING_CHUNK),
    group("blockStreamingCoalesce", &BLOCK_STREAMING_COALESCE),
    choice("streamMode", &["off", "partial", "block"]),
    number("mediaMaxMb").above(0.0),
    whole("timeoutSeconds").above(0.0),
    group("retry", &RETRY),
    group("network", &TELEGRAM_NETWORK).unused(),
    text("proxy"),
    text("webhookUrl").about("Public URL for webhook mode; long polling when unset."),
    text("webhookSecret")
        .secret()
        .about("Secret that Telegram sends with each webhook call."),
    text("webhookPath"),
    text("webhookHost"),
    whole("webhookPort").above(0.0),
    group("actions", &TELEGRAM_ACTIONS),
    choice("reactionNotifications", &["off", "own", "all"]),
    choice("reactionLevel", &["off", "ack", "minimal", "extensive"]),
    group("heartbeat", &HEARTBEAT_VISIBILITY),
    flag("linkPreview"),
    text("responsePrefix"),
    text("ackReaction"),
];

pub static TELEGRAM_ACCOUNT: Object = object(TELEGRAM_FIELDS).rule(rules::telegram_account);

pub static TELEGRAM: Object = object(TELEGRAM_FIELDS)
    .and(&[map("accounts", &Kind::Object(&TELEGRAM_ACCOUNT)).about("Further bots by name.")])
    .rule(rules::telegram);
