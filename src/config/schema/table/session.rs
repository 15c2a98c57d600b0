//! `session`, `cron` and `bindings`: which conversation a message belongs to, and scheduled work.

use super::tools::SCOPE_RULE;
use crate::config::schema::build::{
    ID, NUMBER, TEXT, TEXTS, choice, either, field, flag, group, list, map, number, object, text,
    texts, whole, word,
};
use crate::config::schema::{Form, Kind, Object, rules};

pub static MATCH_PEER: Object = object(&[
    word("kind", &["direct", "group", "channel", "dm"]).required(),
    text("id").required(),
]);

pub static BINDINGS_MATCH: Object = object(&[
    text("channel").required().about("Channel of the message."),
    text("accountId")
        .default("default account; * = any")
        .about("Account of the channel: the default one when unset, `*` for any."),
    group("peer", &MATCH_PEER).about("The person, group or room."),
    text("guildId"),
    text("teamId"),
    texts("roles"),
]);

pub static BINDING: Object = object(&[
    text("agentId").required().about("The agent."),
    text("comment"),
    group("match", &BINDINGS_MATCH).required(),
]);

pub static RESET: Object = object(&[
    word("mode", &["daily", "idle"]).default("daily"),
    whole("atHour")
        .min(0.0)
        .max(23.0)
        .default("4")
        .about("Hour of the day for mode daily."),
    whole("idleMinutes").above(0.0).default("60"),
]);

pub static SESSION_RESET_BY_TYPE: Object = object(&[
    group("direct", &RESET),
    group("dm", &RESET),
    group("group", &RESET),
    group("thread", &RESET),
]);

pub static SESSION_SEND_POLICY: Object = object(&[
    word("default", &["allow", "deny"]).default("allow"),
    list("rules", &Kind::Object(&SCOPE_RULE)),
]);

pub static SESSION_AGENT_TO_AGENT: Object = object(&[whole("maxPingPongTurns")
    .min(0.0)
    .max(5.0)
    .default("5")
    .about("Most turns that two agents answer each other.")]);

pub static SESSION_THREAD_BINDINGS: Object =
    object(&[flag("enabled"), number("ttlHours").min(0.0).default("24")]);

pub static SESSION_MAINTENANCE: Object = object(&[
    choice("mode", &["enforce", "warn"])
        .default("warn")
        .about("Whether to prune or only to report."),
    field("pruneAfter", ID)
        .default("30d")
        .about("Age at which a session goes."),
    whole("pruneDays").above(0.0),
    whole("maxEntries")
        .above(0.0)
        .default("500")
        .about("Most sessions that are kept."),
    field("rotateBytes", ID)
        .default("10mb")
        .about("Size of the session index at which it is rotated."),
    either("resetArchiveRetention", &[TEXT, NUMBER, Kind::False]).default("= pruneAfter"),
    field("maxDiskBytes", ID).about("Most bytes of transcripts on disk."),
    field("highWaterBytes", ID).default("80% of maxDiskBytes"),
])
.rule(rules::maintenance);

pub static SESSION: Object = object(&[
    word("scope", &["per-sender", "global"])
        .default("per-sender")
        .about("One session for each sender, or one for all."),
    word(
        "dmScope",
        &[
            "main",
            "per-peer",
            "per-channel-peer",
            "per-account-channel-peer",
        ],
    )
    .default("main")
    .about("How direct messages are kept apart."),
    map("identityLinks", &TEXTS).about("Names, each with the ids `channel:id` of one person."),
    texts("resetTriggers")
        .default("/new, /reset")
        .about("Texts that start a new session."),
    whole("idleMinutes")
        .above(0.0)
        .default("60 for idle mode")
        .about("Minutes of silence after which a session starts anew."),
    group("reset", &RESET).about("When a session starts anew by itself."),
    group("resetByType", &SESSION_RESET_BY_TYPE).about("The same, by kind of conversation."),
    map("resetByChannel", &Kind::Object(&RESET)).about("The same, by channel."),
    text("store")
        .default("<state>/agents/{agentId}/sessions/sessions.json")
        .about("File of the session index; {agentId} is replaced."),
    whole("typingIntervalSeconds").above(0.0),
    word("typingMode", &["never", "instant", "thinking", "message"]),
    text("mainKey")
        .default("always main (any other value only warns)")
        .about("Always main."),
    group("sendPolicy", &SESSION_SEND_POLICY).about("Which sessions may send."),
    group("agentToAgent", &SESSION_AGENT_TO_AGENT),
    group("threadBindings", &SESSION_THREAD_BINDINGS),
    group("maintenance", &SESSION_MAINTENANCE).about("Pruning of old sessions."),
]);

pub static CRON_RUN_LOG: Object = object(&[
    field("maxBytes", ID)
        .default("2000000")
        .about("Size at which a run log is cut."),
    whole("keepLines")
        .above(0.0)
        .default("2000")
        .about("Lines that a cut run log keeps."),
]);

pub static CRON: Object = object(&[
    flag("enabled").default("true").about("Whether jobs run."),
    text("store").about("File of the jobs."),
    whole("maxConcurrentRuns")
        .above(0.0)
        .default("1")
        .about("Jobs that run at the same time."),
    text("webhook")
        .form(Form::HttpUrl)
        .about("URL that finished jobs are posted to."),
    text("webhookToken")
        .secret()
        .about("Bearer token of those posts."),
    either("sessionRetention", &[TEXT, Kind::False])
        .default("24h")
        .about("Age at which the sessions of isolated jobs go; false keeps them."),
    group("runLog", &CRON_RUN_LOG),
])
.rule(rules::cron);
