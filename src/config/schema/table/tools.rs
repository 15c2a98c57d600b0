//! `tools`: what a model may do.

use crate::config::schema::build::{
    ID, NUMBER, TEXT, choice, field, flag, group, list, map, number, object, text, texts, unused,
    whole, word,
};
use crate::config::schema::{Form, Kind, Object, rules};

pub static PROVIDER_POLICY: Object = object(&[
    texts("allow"),
    texts("alsoAllow"),
    texts("deny"),
    word("profile", &["minimal", "coding", "messaging", "full"]),
])
.rule(rules::provider_policy);

pub static ELEVATED: Object = object(&[
    flag("enabled"),
    map("allowFrom", &Kind::List(&ID)).about("Who may use them, by channel."),
]);

pub static SAFE_BIN_PROFILE: Object = object(&[
    whole("minPositional").min(0.0),
    whole("maxPositional").min(0.0),
    texts("allowedValueFlags"),
    texts("deniedFlags"),
]);

pub static APPLY_PATCH: Object =
    object(&[flag("enabled"), flag("workspaceOnly"), texts("allowModels")]);

pub static AGENT_EXEC: Object = object(&[
    choice("host", &["sandbox", "gateway", "node"]),
    choice("security", &["deny", "allowlist", "full"]),
    choice("ask", &["off", "on-miss", "always"]),
    text("node"),
    texts("pathPrepend"),
    texts("envAllow")
        .ours()
        .about("Variables that a model may set for a command."),
    texts("safeBins").unused(),
    texts("safeBinTrustedDirs").unused(),
    map("safeBinProfiles", &Kind::Object(&SAFE_BIN_PROFILE)).unused(),
    whole("backgroundMs").above(0.0),
    whole("timeoutSec").above(0.0),
    whole("cleanupMs").above(0.0),
    flag("notifyOnExit"),
    flag("notifyOnExitEmptySuccess"),
    group("applyPatch", &APPLY_PATCH),
    whole("approvalRunningNoticeMs").min(0.0),
]);

pub static FS: Object =
    object(&[flag("workspaceOnly").about("Files outside of the workspace are out of reach.")]);

pub static LOOP_DETECTION_DETECTORS: Object = object(&[
    flag("genericRepeat"),
    flag("knownPollNoProgress"),
    flag("pingPong"),
]);

pub static LOOP_DETECTION: Object = object(&[
    flag("enabled"),
    whole("historySize").above(0.0),
    whole("warningThreshold").above(0.0),
    whole("criticalThreshold").above(0.0),
    whole("globalCircuitBreakerThreshold").above(0.0),
    group("detectors", &LOOP_DETECTION_DETECTORS),
])
.rule(rules::loop_detection);

pub static AGENT_TOOLS: Object = object(&[
    word("profile", &["minimal", "coding", "messaging", "full"]),
    texts("allow"),
    texts("alsoAllow"),
    texts("deny"),
    map("byProvider", &Kind::Object(&PROVIDER_POLICY)),
    group("elevated", &ELEVATED),
    group("exec", &AGENT_EXEC),
    group("fs", &FS),
    group("loopDetection", &LOOP_DETECTION),
    unused("sandbox"),
])
.rule(rules::agent_tools);

pub static SEARCH_PERPLEXITY: Object =
    object(&[text("apiKey").secret(), text("baseUrl"), text("model")]);

pub static SEARCH_GROK: Object = object(&[
    text("apiKey").secret(),
    text("model"),
    flag("inlineCitations"),
]);

pub static SEARCH_GEMINI: Object = object(&[text("apiKey").secret(), text("model")]);

pub static SEARCH_KIMI: Object = object(&[text("apiKey").secret(), text("baseUrl"), text("model")]);

pub static WEB_SEARCH: Object = object(&[
    flag("enabled"),
    word(
        "provider",
        &["brave", "perplexity", "grok", "gemini", "kimi"],
    ),
    text("apiKey").secret(),
    whole("maxResults").above(0.0).default("5"),
    whole("timeoutSeconds").above(0.0).default("30"),
    number("cacheTtlMinutes").min(0.0).default("15"),
    group("perplexity", &SEARCH_PERPLEXITY),
    group("grok", &SEARCH_GROK),
    group("gemini", &SEARCH_GEMINI),
    group("kimi", &SEARCH_KIMI),
]);

pub static WEB_FETCH: Object = object(&[
    flag("enabled").default("true"),
    whole("maxChars")
        .above(0.0)
        .default("50000")
        .about("Most characters of a page that the model gets."),
    whole("maxCharsCap").above(0.0),
    whole("timeoutSeconds")
        .above(0.0)
        .default("30")
        .about("Longest time for a page, in seconds."),
    number("cacheTtlMinutes").min(0.0).default("15"),
    whole("maxRedirects").min(0.0),
    text("userAgent"),
]);

pub static TOOLS_WEB: Object = object(&[
    group("search", &WEB_SEARCH).about("The tool web_search."),
    group("fetch", &WEB_FETCH).about("The tool web_fetch."),
]);

pub static MODELS_DEEPGRAM: Object = object(&[
    flag("detectLanguage"),
    flag("punctuate"),
    flag("smartFormat"),
]);

pub static MEDIA_MODEL: Object = object(&[
    text("provider"),
    text("model"),
    list("capabilities", &Kind::Word(&["image", "audio", "video"])),
    word("type", &["provider", "cli"]),
    text("command"),
    texts("args"),
    whole("maxChars").above(0.0),
    whole("maxBytes").above(0.0),
    text("prompt"),
    whole("timeoutSeconds").above(0.0),
    text("language"),
    map(
        "providerOptions",
        &Kind::Map(&Kind::Either(&[TEXT, NUMBER, Kind::Bool])),
    ),
    group("deepgram", &MODELS_DEEPGRAM),
    text("baseUrl"),
    map("headers", &TEXT).secret(),
    text("profile"),
    text("preferredProfile"),
]);

pub static RULES_MATCH: Object = object(&[
    text("channel"),
    word("chatType", &["direct", "group", "channel", "dm"]),
    text("keyPrefix"),
    text("rawKeyPrefix"),
]);

pub static SCOPE_RULE: Object = object(&[
    word("action", &["allow", "deny"]).required(),
    group("match", &RULES_MATCH),
]);

pub static IMAGE_SCOPE: Object = object(&[
    word("default", &["allow", "deny"]),
    list("rules", &Kind::Object(&SCOPE_RULE)),
]);

pub static IMAGE_ATTACHMENTS: Object = object(&[
    word("mode", &["first", "all"]),
    whole("maxAttachments").above(0.0),
    word("prefer", &["first", "last", "path", "url"]),
]);

pub static MEDIA_KIND: Object = object(&[
    flag("enabled"),
    group("scope", &IMAGE_SCOPE),
    whole("maxBytes").above(0.0),
    whole("maxChars").above(0.0),
    text("prompt"),
    whole("timeoutSeconds").above(0.0),
    text("language"),
    map(
        "providerOptions",
        &Kind::Map(&Kind::Either(&[TEXT, NUMBER, Kind::Bool])),
    ),
    group("deepgram", &MODELS_DEEPGRAM),
    text("baseUrl"),
    map("headers", &TEXT).secret(),
    group("attachments", &IMAGE_ATTACHMENTS),
    list("models", &Kind::Object(&MEDIA_MODEL)),
]);

pub static TOOLS_MEDIA: Object = object(&[
    list("models", &Kind::Object(&MEDIA_MODEL)),
    whole("concurrency").above(0.0).default("2"),
    group("image", &MEDIA_KIND),
    group("audio", &MEDIA_KIND),
    group("video", &MEDIA_KIND),
]);

pub static LINKS_MODEL: Object = object(&[
    field("type", Kind::Word(&["cli"])),
    text("command").form(Form::Filled("")).required(),
    texts("args"),
    whole("timeoutSeconds").above(0.0),
]);

pub static TOOLS_LINKS: Object = object(&[
    flag("enabled"),
    group("scope", &IMAGE_SCOPE),
    whole("maxLinks").above(0.0),
    whole("timeoutSeconds").above(0.0),
    list("models", &Kind::Object(&LINKS_MODEL)),
]);

pub static TOOLS_SESSIONS: Object =
    object(&[choice("visibility", &["self", "tree", "agent", "all"])
        .default("tree")
        .about("Which sessions the session tools see.")]);

pub static CROSS_CONTEXT_MARKER: Object =
    object(&[flag("enabled"), text("prefix"), text("suffix")]);

pub static MESSAGE_CROSS_CONTEXT: Object = object(&[
    flag("allowWithinProvider"),
    flag("allowAcrossProviders"),
    group("marker", &CROSS_CONTEXT_MARKER),
]);

pub static MESSAGE_BROADCAST: Object = object(&[flag("enabled")]);

pub static TOOLS_MESSAGE: Object = object(&[
    flag("allowCrossContextSend"),
    group("crossContext", &MESSAGE_CROSS_CONTEXT),
    group("broadcast", &MESSAGE_BROADCAST),
]);

pub static TOOLS_AGENT_TO_AGENT: Object = object(&[
    flag("enabled")
        .default("false")
        .about("Agents may write to sessions of other agents."),
    texts("allow").about("Agents that take part."),
]);

pub static EXEC: Object = object(&[
    choice("host", &["sandbox", "gateway", "node"]).about("Where commands run."),
    choice("security", &["deny", "allowlist", "full"])
        .about("What may run: nothing, the allowlist, anything."),
    choice("ask", &["off", "on-miss", "always"]).about("When a person is asked first."),
    text("node").about("Node on which commands run."),
    texts("pathPrepend").about("Folders put before PATH."),
    texts("envAllow")
        .ours()
        .about("Variables that a model may set for a command, `*` for any rest."),
    texts("safeBins").unused(),
    texts("safeBinTrustedDirs").unused(),
    map("safeBinProfiles", &Kind::Object(&SAFE_BIN_PROFILE)).unused(),
    whole("backgroundMs")
        .above(0.0)
        .default("10000")
        .about("Milliseconds after which a command goes to the background."),
    whole("timeoutSec")
        .above(0.0)
        .default("1800")
        .about("Seconds after which a command is ended."),
    whole("cleanupMs")
        .above(0.0)
        .default("1800000")
        .about("Milliseconds for which a finished background command is kept."),
    flag("notifyOnExit")
        .default("true")
        .about("Tell the agent when a background command ends."),
    flag("notifyOnExitEmptySuccess"),
    group("applyPatch", &APPLY_PATCH),
]);

pub static TOOL_POLICY: Object =
    object(&[texts("allow"), texts("alsoAllow"), texts("deny")]).rule(rules::tool_policy);

pub static TOOLS_SUBAGENTS: Object =
    object(&[group("tools", &TOOL_POLICY).about("Policy of sub-agents.")]);

pub static TOOLS: Object = object(&[
    word("profile", &["minimal", "coding", "messaging", "full"])
        .about("Set of tools to start from."),
    texts("allow")
        .about("The only tools that may be used; names, groups such as group:fs, or `*`."),
    texts("alsoAllow").about("Tools on top of the profile."),
    texts("deny").about("Tools that may never be used; beats everything else."),
    map("byProvider", &Kind::Object(&PROVIDER_POLICY))
        .about("Policy by provider or `provider/model`."),
    group("web", &TOOLS_WEB),
    group("media", &TOOLS_MEDIA).unused(),
    group("links", &TOOLS_LINKS).unused(),
    group("sessions", &TOOLS_SESSIONS),
    group("loopDetection", &LOOP_DETECTION)
        .about("Noticing a model that calls the same tool over and over."),
    group("message", &TOOLS_MESSAGE),
    group("agentToAgent", &TOOLS_AGENT_TO_AGENT),
    group("elevated", &ELEVATED).about("Commands outside of restrictions."),
    group("exec", &EXEC).about("Running commands."),
    group("fs", &FS),
    group("subagents", &TOOLS_SUBAGENTS),
    unused("sandbox"),
])
.rule(rules::tools);
