//! `hooks`: the webhook endpoint.

use crate::config::schema::build::{
    TEXT, flag, group, list, map, object, text, texts, whole, word,
};
use crate::config::schema::{Form, Kind, Object, Rest};

pub static MAPPINGS_MATCH: Object = object(&[text("path"), text("source")]).rest(Rest::Ignored);

pub static MAPPINGS_TRANSFORM: Object = object(&[
    text("module").form(Form::ModulePath).required(),
    text("export"),
]);

pub static HOOKS_MAPPING: Object = object(&[
    text("id").default("mapping-<n>"),
    group("match", &MAPPINGS_MATCH),
    word("action", &["wake", "agent"]).default("agent"),
    word("wakeMode", &["now", "next-heartbeat"]).default("now"),
    text("name"),
    text("agentId"),
    text("sessionKey").secret(),
    text("messageTemplate"),
    text("textTemplate"),
    flag("deliver").default("true"),
    flag("allowUnsafeExternalContent"),
    word(
        "channel",
        &[
            "last", "whatsapp", "telegram", "discord", "irc", "slack", "signal", "imessage",
            "msteams",
        ],
    ),
    text("to"),
    text("model"),
    text("thinking"),
    whole("timeoutSeconds").above(0.0),
    group("transform", &MAPPINGS_TRANSFORM),
]);

pub static GMAIL_SERVE: Object = object(&[text("bind"), whole("port").above(0.0), text("path")]);

pub static GMAIL_TAILSCALE: Object = object(&[
    word("mode", &["off", "serve", "funnel"]),
    text("path"),
    text("target"),
]);

pub static HOOKS_GMAIL: Object = object(&[
    text("account"),
    text("label"),
    text("topic"),
    text("subscription"),
    text("pushToken").secret(),
    text("hookUrl"),
    flag("includeBody"),
    whole("maxBytes").above(0.0),
    whole("renewEveryMinutes").above(0.0),
    flag("allowUnsafeExternalContent"),
    group("serve", &GMAIL_SERVE),
    group("tailscale", &GMAIL_TAILSCALE),
    text("model"),
    word("thinking", &["off", "minimal", "low", "medium", "high"]),
]);

pub static INTERNAL_HANDLER: Object = object(&[
    text("event").required(),
    text("module").form(Form::ModulePath).required(),
    text("export"),
]);

pub static INTERNAL_ENTRY: Object =
    object(&[flag("enabled"), map("env", &TEXT).secret()]).rest(Rest::Of(&Kind::Any));

pub static INTERNAL_LOAD: Object = object(&[texts("extraDirs")]);

pub static INTERNAL_INSTALL: Object = object(&[
    word("source", &["npm", "archive", "path"]).required(),
    text("spec"),
    text("sourcePath"),
    text("installPath"),
    text("version"),
    text("resolvedName"),
    text("resolvedVersion"),
    text("resolvedSpec"),
    text("integrity"),
    text("shasum"),
    text("resolvedAt"),
    text("installedAt"),
    texts("hooks"),
]);

pub static HOOKS_INTERNAL: Object = object(&[
    flag("enabled"),
    list("handlers", &Kind::Object(&INTERNAL_HANDLER)),
    map("entries", &Kind::Object(&INTERNAL_ENTRY)),
    group("load", &INTERNAL_LOAD),
    map("installs", &Kind::Object(&INTERNAL_INSTALL)),
]);

pub static HOOKS: Object = object(&[
    flag("enabled")
        .default("false")
        .about("Whether it is served."),
    text("path").default("/hooks").about("Its path."),
    text("token")
        .secret()
        .about("Its token; must differ from that of the gateway."),
    text("defaultSessionKey").about("Session of hooks that name none."),
    flag("allowRequestSessionKey")
        .default("false")
        .about("Whether a request may name its session."),
    texts("allowedSessionKeyPrefixes").about("Beginnings that such a session key must have."),
    texts("allowedAgentIds")
        .default("all")
        .about("Agents that hooks may address."),
    whole("maxBodyBytes")
        .above(0.0)
        .default("262144")
        .about("Largest request body, in bytes."),
    texts("presets").about("Built-in mappings to switch on."),
    text("transformsDir")
        .default("<config folder>/hooks/transforms")
        .unused(),
    list("mappings", &Kind::Object(&HOOKS_MAPPING))
        .about("What becomes of a request, by path or source."),
    group("gmail", &HOOKS_GMAIL).unused(),
    group("internal", &HOOKS_INTERNAL).unused(),
]);
