//! `channels`: what all channels share.

use super::discord::DISCORD;
use super::irc::IRC;
use super::telegram::TELEGRAM;
use crate::config::schema::build::{
    TEXT_MAP, choice, either, flag, group, map, number, object, unused, whole,
};
use crate::config::schema::{Kind, Object, Rest};

pub static HEARTBEAT_VISIBILITY: Object =
    object(&[flag("showOk"), flag("showAlerts"), flag("useIndicator")]);

pub static CHANNEL_DEFAULTS: Object = object(&[
    choice("groupPolicy", &["open", "disabled", "allowlist"]),
    group("heartbeat", &HEARTBEAT_VISIBILITY),
]);

pub static MARKDOWN: Object = object(&[choice("tables", &["off", "bullets", "code"])]);

pub static NATIVE_COMMANDS: Object = object(&[
    either("native", &[Kind::Bool, Kind::Word(&["auto"])]),
    either("nativeSkills", &[Kind::Bool, Kind::Word(&["auto"])]),
]);

pub static DM_HISTORY: Object = object(&[whole("historyLimit").min(0.0)]);

pub static RETRY: Object = object(&[
    whole("attempts").min(1.0),
    whole("minDelayMs").min(0.0),
    whole("maxDelayMs").min(0.0),
    number("jitter").min(0.0).max(1.0),
]);

pub static CHANNELS: Object = object(&[
    group("defaults", &CHANNEL_DEFAULTS)
        .about("What holds for every channel that does not say otherwise."),
    map("modelByChannel", &TEXT_MAP).about("Model by channel and conversation."),
    unused("whatsapp"),
    group("telegram", &TELEGRAM).about("Telegram bots."),
    group("discord", &DISCORD).about("Discord bots."),
    group("irc", &IRC).about("IRC connections."),
    unused("googlechat"),
    unused("slack"),
    unused("signal"),
    unused("imessage"),
    unused("bluebubbles"),
    unused("msteams"),
])
.rest(Rest::Of(&Kind::Any));
