//! `channels.irc`.

use super::agents::BLOCK_STREAMING_COALESCE;
use super::channels::{DM_HISTORY, HEARTBEAT_VISIBILITY, MARKDOWN};
use super::tools::TOOL_POLICY;
use crate::config::schema::build::{
    ID, choice, flag, group, list, map, number, object, text, texts, whole,
};
use crate::config::schema::{Field, Kind, Object, rules};

pub static IRC_NICKSERV: Object = object(&[
    flag("enabled"),
    text("service"),
    text("password").secret(),
    text("passwordFile"),
    flag("register"),
    text("registerEmail"),
]);

pub static IRC_GROUP: Object = object(&[
    flag("requireMention"),
    group("tools", &TOOL_POLICY),
    map("toolsBySender", &Kind::Object(&TOOL_POLICY)),
    texts("skills"),
    flag("enabled"),
    list("allowFrom", &ID),
    text("systemPrompt"),
]);

static IRC_FIELDS: &[Field] = &[
    text("name"),
    texts("capabilities"),
    group("markdown", &MARKDOWN),
    flag("enabled").about("Whether the channel runs."),
    flag("configWrites"),
    text("host").about("Server."),
    whole("port")
        .min(1.0)
        .max(65535.0)
        .about("Port; 6697 with TLS, else 6667."),
    flag("tls").about("Whether the connection is encrypted."),
    text("nick").about("Nickname."),
    text("username"),
    text("realname"),
    text("password").secret().about("Server password."),
    text("passwordFile"),
    group("nickserv", &IRC_NICKSERV).about("Signing in with NickServ."),
    texts("channels").about("Channels to join."),
    choice("dmPolicy", &["pairing", "allowlist", "open", "disabled"])
        .fills("pairing")
        .about("Who may write directly."),
    list("allowFrom", &ID),
    text("defaultTo"),
    list("groupAllowFrom", &ID),
    choice("groupPolicy", &["open", "disabled", "allowlist"])
        .fills("allowlist")
        .about("Whether channels are answered."),
    map("groups", &Kind::Object(&IRC_GROUP)).about("Settings by channel; `*` for the others."),
    texts("mentionPatterns"),
    whole("historyLimit").min(0.0),
    whole("dmHistoryLimit").min(0.0),
    map("dms", &Kind::Object(&DM_HISTORY)),
    whole("textChunkLimit").above(0.0),
    choice("chunkMode", &["length", "newline"]),
    flag("blockStreaming"),
    group("blockStreamingCoalesce", &BLOCK_STREAMING_COALESCE),
    number("mediaMaxMb").above(0.0),
    group("heartbeat", &HEARTBEAT_VISIBILITY),
    text("responsePrefix"),
];

pub static IRC_ACCOUNT: Object = object(IRC_FIELDS).rule(rules::irc);

pub static IRC: Object = object(IRC_FIELDS)
    .and(&[map("accounts", &Kind::Object(&IRC_ACCOUNT)).about("Further connections by name.")])
    .rule(rules::irc);
