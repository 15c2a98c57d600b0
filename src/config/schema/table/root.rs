//! The root, and the sections that are too small for a file.

use super::agents::AGENTS;
use super::channels::CHANNELS;
use super::gateway::GATEWAY;
use super::hooks::HOOKS;
use super::messages::{COMMANDS, MESSAGES};
use super::models::{AUTH, MODELS};
use super::session::{BINDING, CRON, SESSION};
use super::tools::TOOLS;
use crate::config::schema::build::{
    ID, TEXT, TEXTS, choice, field, flag, group, list, map, number, object, text, texts, unused,
    whole, word,
};
use crate::config::schema::{Form, Kind, Object, Rest};

pub static META: Object = object(&[text("lastTouchedVersion"), text("lastTouchedAt")]);

pub static ENV_SHELL_ENV: Object = object(&[
    flag("enabled").default("false"),
    whole("timeoutMs").min(0.0).default("15000"),
]);

pub static ENV: Object = object(&[
    group("shellEnv", &ENV_SHELL_ENV).unused(),
    map("vars", &TEXT)
        .secret()
        .about("Variables by name, each used where the environment has none."),
])
.rest(Rest::Of(&TEXT));

pub static WIZARD: Object = object(&[
    text("lastRunAt"),
    text("lastRunVersion"),
    text("lastRunCommit"),
    text("lastRunCommand"),
    word("lastRunMode", &["local", "remote"]),
]);

pub static LOGGING: Object = object(&[
    word(
        "level",
        &["silent", "fatal", "error", "warn", "info", "debug", "trace"],
    )
    .default("info")
    .about("Least severe level that goes to the log file."),
    text("file")
        .default("/tmp/openclaw/openclaw-YYYY-MM-DD.log")
        .about("The log file. With the date in its name when unset."),
    whole("maxFileBytes")
        .above(0.0)
        .default("16777216")
        .about("Size in bytes at which the log file is turned over; three full ones are kept."),
    word(
        "consoleLevel",
        &["silent", "fatal", "error", "warn", "info", "debug", "trace"],
    )
    .default("info (debug with --verbose)")
    .about("Least severe level that goes to the console."),
    word("consoleStyle", &["pretty", "compact", "json"])
        .default("pretty on a terminal, else compact")
        .about("How console lines look."),
    word("redactSensitive", &["off", "tools"])
        .default("tools")
        .about("Whether secrets in tool output are masked; in log lines they always are."),
    texts("redactPatterns").about("Not supported: the built-in patterns are used."),
]);

pub static UPDATE_AUTO: Object = object(&[
    flag("enabled"),
    number("stableDelayHours").min(0.0).max(168.0),
    number("stableJitterHours").min(0.0).max(168.0),
    number("betaCheckIntervalHours").above(0.0).max(24.0),
]);

pub static UPDATE: Object = object(&[
    word("channel", &["stable", "beta", "dev"]),
    flag("checkOnStart").default("false"),
    group("auto", &UPDATE_AUTO),
]);

pub static UI_ASSISTANT: Object = object(&[
    text("name")
        .form(Form::AtMost(50))
        .default("Assistant")
        .about("Name of the assistant."),
    text("avatar")
        .form(Form::AtMost(200))
        .default("A")
        .about("Letters, emoji or picture of the assistant."),
]);

pub static UI: Object = object(&[
    text("seamColor")
        .form(Form::Colour)
        .about("Accent colour of clients, RRGGBB."),
    group("assistant", &UI_ASSISTANT),
]);

pub static NODE_HOST_BROWSER_PROXY: Object = object(&[flag("enabled"), texts("allowProfiles")]);

pub static NODE_HOST: Object = object(&[group("browserProxy", &NODE_HOST_BROWSER_PROXY)]);

pub static BROADCAST: Object =
    object(&[choice("strategy", &["parallel", "sequential"])]).rest(Rest::Of(&TEXTS));

pub static MEDIA: Object = object(&[flag("preserveFilenames")]);

pub static EXEC_TARGET: Object = object(&[
    text("channel").form(Form::Filled("")).required(),
    text("to").form(Form::Filled("")).required(),
    text("accountId"),
    field("threadId", ID),
]);

pub static APPROVALS_EXEC: Object = object(&[
    flag("enabled").about("Forward requests to run a command."),
    word("mode", &["session", "targets", "both"])
        .about("To the session that asked, to fixed targets, or both."),
    texts("agentFilter"),
    texts("sessionFilter"),
    list("targets", &Kind::Object(&EXEC_TARGET)).about("The fixed targets."),
]);

pub static APPROVALS: Object = object(&[group("exec", &APPROVALS_EXEC)]);

pub static DISCOVERY_WIDE_AREA: Object = object(&[flag("enabled").default("false")]);

pub static DISCOVERY_MDNS: Object =
    object(&[choice("mode", &["off", "minimal", "full"]).default("minimal")]);

pub static DISCOVERY: Object = object(&[
    group("wideArea", &DISCOVERY_WIDE_AREA),
    group("mdns", &DISCOVERY_MDNS),
]);

pub static CANVAS_HOST: Object = object(&[
    flag("enabled").default("true"),
    text("root").default("<state>/canvas"),
    whole("port").above(0.0),
    flag("liveReload").default("true"),
]);

pub static TALK: Object = object(&[
    text("voiceId"),
    map("voiceAliases", &TEXT),
    text("modelId"),
    text("outputFormat"),
    text("apiKey").secret(),
    flag("interruptOnSpeech"),
]);

pub static SKILLS_LOAD: Object = object(&[
    texts("extraDirs").about("Further folders of skills."),
    flag("watch"),
    whole("watchDebounceMs").min(0.0),
]);

pub static SKILLS_INSTALL: Object = object(&[
    flag("preferBrew"),
    word("nodeManager", &["npm", "pnpm", "yarn", "bun"]),
]);

pub static SKILLS_LIMITS: Object = object(&[
    whole("maxCandidatesPerRoot").min(1.0),
    whole("maxSkillsLoadedPerSource").min(1.0),
    whole("maxSkillsInPrompt").min(0.0),
    whole("maxSkillsPromptChars").min(0.0),
    whole("maxSkillFileBytes").min(0.0),
]);

pub static SKILLS_ENTRY: Object = object(&[
    flag("enabled").about("Whether the skill may be used."),
    text("apiKey").secret().about("Key that the skill needs."),
    map("env", &TEXT)
        .secret()
        .about("Variables that the skill needs."),
    map("config", &Kind::Any),
]);

pub static SKILLS: Object = object(&[
    texts("allowBundled").about("The only bundled skills that may be used."),
    group("load", &SKILLS_LOAD),
    group("install", &SKILLS_INSTALL).unused(),
    group("limits", &SKILLS_LIMITS),
    map("entries", &Kind::Object(&SKILLS_ENTRY)).about("Settings by skill."),
]);

pub static ROOT: Object = object(&[
    text("$schema").about("Ignored; for editors."),
    group("meta", &META).about("Who wrote the file last; kept by the program."),
    group("env", &ENV).about("Variables for references and for the programs that agents start."),
    group("wizard", &WIZARD).about("When a setup wizard last ran; kept by programs."),
    unused("diagnostics"),
    group("logging", &LOGGING).about("The log file and the console."),
    group("update", &UPDATE).unused(),
    unused("browser"),
    group("ui", &UI).about("What clients show of the assistant."),
    group("auth", &AUTH).about("Credential profiles of model providers."),
    group("models", &MODELS).about("Model providers."),
    group("nodeHost", &NODE_HOST).unused(),
    group("agents", &AGENTS).about("The agents of this gateway."),
    group("tools", &TOOLS).about("What a model may do."),
    list("bindings", &Kind::Object(&BINDING))
        .about("Which messages go to which agent; the most specific one wins."),
    group("broadcast", &BROADCAST).unused(),
    unused("audio"),
    group("media", &MEDIA).unused(),
    group("messages", &MESSAGES).about("How text goes in and out."),
    group("commands", &COMMANDS).about("Chat commands such as /status."),
    group("approvals", &APPROVALS).about("Forwarding of approval requests."),
    group("session", &SESSION)
        .about("Which conversation a message belongs to, and how long it lasts."),
    group("cron", &CRON).about("Scheduled jobs."),
    group("hooks", &HOOKS).about("The webhook endpoint."),
    unused("web"),
    group("channels", &CHANNELS).about("The channels, each loaded when its section is there."),
    group("discovery", &DISCOVERY).unused(),
    group("canvasHost", &CANVAS_HOST).unused(),
    group("talk", &TALK).about("Voice settings for apps."),
    group("gateway", &GATEWAY)
        .about("The listener: where it listens, who may connect, what it serves."),
    unused("memory"),
    group("skills", &SKILLS).about("Skills: instructions that agents load when needed."),
    unused("plugins"),
]);
