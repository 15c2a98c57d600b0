//! `agents`: the defaults of every agent, and the list of agents.

use super::messages::GROUP_CHAT;
use super::tools::AGENT_TOOLS;
use crate::config::schema::build::{
    TEXT, either, field, flag, group, list, map, number, object, text, texts, unused, whole, word,
};
use crate::config::schema::{Kind, Object, rules};

pub static MODEL_LIST: Object = object(&[
    text("primary").about("The model, `provider/model`."),
    texts("fallbacks")
        .default("[]")
        .about("Models to try, in order, when the primary one fails."),
]);

pub static MODEL_CHOICE: Object =
    object(&[text("alias"), map("params", &Kind::Any), flag("streaming")]);

pub static WATCHDOG_FRESH: Object = object(&[
    whole("noOutputTimeoutMs").min(1000.0),
    number("noOutputTimeoutRatio").min(0.05).max(0.95),
    whole("minMs").min(1000.0),
    whole("maxMs").min(1000.0),
]);

pub static RELIABILITY_WATCHDOG: Object = object(&[
    group("fresh", &WATCHDOG_FRESH),
    group("resume", &WATCHDOG_FRESH),
]);

pub static CLI_BACKENDS_RELIABILITY: Object = object(&[group("watchdog", &RELIABILITY_WATCHDOG)]);

pub static CLI_BACKEND: Object = object(&[
    text("command").required(),
    texts("args"),
    word("output", &["json", "text", "jsonl"]),
    word("resumeOutput", &["json", "text", "jsonl"]),
    word("input", &["arg", "stdin"]),
    whole("maxPromptArgChars").above(0.0),
    map("env", &TEXT).secret(),
    texts("clearEnv"),
    text("modelArg"),
    map("modelAliases", &TEXT),
    text("sessionArg"),
    texts("sessionArgs"),
    texts("resumeArgs"),
    word("sessionMode", &["always", "existing", "none"]),
    texts("sessionIdFields"),
    text("systemPromptArg"),
    word("systemPromptMode", &["append", "replace"]),
    word("systemPromptWhen", &["first", "always", "never"]),
    text("imageArg"),
    word("imageMode", &["repeat", "list"]),
    flag("serialize"),
    group("reliability", &CLI_BACKENDS_RELIABILITY),
]);

pub static MEMORY_SEARCH_EXPERIMENTAL: Object = object(&[flag("sessionMemory")]);

pub static MEMORY_SEARCH_REMOTE: Object = object(&[
    text("baseUrl"),
    text("apiKey").secret(),
    map("headers", &TEXT).secret(),
    unused("batch"),
]);

pub static MEMORY_SEARCH_LOCAL: Object = object(&[text("modelPath"), text("modelCacheDir")]);

pub static STORE_VECTOR: Object = object(&[flag("enabled"), text("extensionPath")]);

pub static MEMORY_SEARCH_STORE: Object = object(&[
    field("driver", Kind::Word(&["sqlite"])),
    text("path"),
    group("vector", &STORE_VECTOR),
]);

pub static MEMORY_SEARCH_CHUNKING: Object =
    object(&[whole("tokens").above(0.0), whole("overlap").min(0.0)]);

pub static SYNC_SESSIONS: Object = object(&[
    whole("deltaBytes").min(0.0),
    whole("deltaMessages").min(0.0),
]);

pub static MEMORY_SEARCH_SYNC: Object = object(&[
    flag("onSessionStart"),
    flag("onSearch"),
    flag("watch"),
    whole("watchDebounceMs").min(0.0),
    whole("intervalMinutes").min(0.0),
    group("sessions", &SYNC_SESSIONS),
]);

pub static HYBRID_MMR: Object = object(&[flag("enabled"), number("lambda").min(0.0).max(1.0)]);

pub static HYBRID_TEMPORAL_DECAY: Object =
    object(&[flag("enabled"), whole("halfLifeDays").above(0.0)]);

pub static QUERY_HYBRID: Object = object(&[
    flag("enabled"),
    number("vectorWeight").min(0.0).max(1.0),
    number("textWeight").min(0.0).max(1.0),
    whole("candidateMultiplier").above(0.0),
    group("mmr", &HYBRID_MMR),
    group("temporalDecay", &HYBRID_TEMPORAL_DECAY),
]);

pub static MEMORY_SEARCH_QUERY: Object = object(&[
    whole("maxResults").above(0.0),
    number("minScore").min(0.0).max(1.0),
    group("hybrid", &QUERY_HYBRID),
]);

pub static MEMORY_SEARCH_CACHE: Object = object(&[flag("enabled"), whole("maxEntries").above(0.0)]);

pub static MEMORY_SEARCH: Object = object(&[
    flag("enabled"),
    list("sources", &Kind::Word(&["memory", "sessions"])),
    texts("extraPaths"),
    group("experimental", &MEMORY_SEARCH_EXPERIMENTAL),
    word(
        "provider",
        &["openai", "local", "gemini", "voyage", "mistral"],
    ),
    group("remote", &MEMORY_SEARCH_REMOTE),
    word(
        "fallback",
        &["openai", "gemini", "local", "voyage", "mistral", "none"],
    ),
    text("model"),
    group("local", &MEMORY_SEARCH_LOCAL),
    group("store", &MEMORY_SEARCH_STORE),
    group("chunking", &MEMORY_SEARCH_CHUNKING),
    group("sync", &MEMORY_SEARCH_SYNC),
    group("query", &MEMORY_SEARCH_QUERY),
    group("cache", &MEMORY_SEARCH_CACHE),
]);

pub static CONTEXT_PRUNING_TOOLS: Object = object(&[texts("allow"), texts("deny")]);

pub static CONTEXT_PRUNING_SOFT_TRIM: Object = object(&[
    whole("maxChars").min(0.0),
    whole("headChars").min(0.0),
    whole("tailChars").min(0.0),
]);

pub static CONTEXT_PRUNING_HARD_CLEAR: Object = object(&[flag("enabled"), text("placeholder")]);

pub static CONTEXT_PRUNING: Object = object(&[
    word("mode", &["off", "cache-ttl"])
        .default("cache-ttl with an Anthropic profile/key, else off"),
    text("ttl").default("1h"),
    whole("keepLastAssistants").min(0.0),
    number("softTrimRatio").min(0.0).max(1.0),
    number("hardClearRatio").min(0.0).max(1.0),
    whole("minPrunableToolChars").min(0.0),
    group("tools", &CONTEXT_PRUNING_TOOLS),
    group("softTrim", &CONTEXT_PRUNING_SOFT_TRIM),
    group("hardClear", &CONTEXT_PRUNING_HARD_CLEAR),
]);

pub static COMPACTION_MEMORY_FLUSH: Object = object(&[
    flag("enabled"),
    whole("softThresholdTokens").min(0.0),
    text("prompt"),
    text("systemPrompt"),
]);

pub static COMPACTION: Object = object(&[
    word("mode", &["default", "safeguard"]).default("safeguard (filled in by the runtime loader)"),
    whole("reserveTokens").min(0.0),
    whole("keepRecentTokens").above(0.0),
    whole("reserveTokensFloor").min(0.0),
    number("maxHistoryShare").min(0.1).max(0.9),
    group("memoryFlush", &COMPACTION_MEMORY_FLUSH),
]);

pub static BLOCK_STREAMING_CHUNK: Object = object(&[
    whole("minChars").above(0.0),
    whole("maxChars").above(0.0),
    word("breakPreference", &["paragraph", "newline", "sentence"]),
]);

pub static BLOCK_STREAMING_COALESCE: Object = object(&[
    whole("minChars").above(0.0),
    whole("maxChars").above(0.0),
    whole("idleMs").min(0.0),
]);

pub static HUMAN_DELAY: Object = object(&[
    word("mode", &["off", "natural", "custom"]),
    whole("minMs").min(0.0),
    whole("maxMs").min(0.0),
]);

pub static HEARTBEAT_ACTIVE_HOURS: Object = object(&[text("start"), text("end"), text("timezone")]);

pub static HEARTBEAT: Object = object(&[
    text("every")
        .default("30m; 1h with Anthropic OAuth; 0m = off")
        .about("Time between heartbeats: 30m, 2h; bare numbers are minutes, 0m is off."),
    group("activeHours", &HEARTBEAT_ACTIVE_HOURS)
        .about("Hours of the day in which heartbeats run."),
    text("model").about("Model of heartbeats."),
    text("session")
        .default("main")
        .about("Session in which heartbeats run."),
    flag("includeReasoning").default("false"),
    text("target").about("Where answers go: last, none, or a channel."),
    text("to"),
    text("accountId"),
    text("prompt").about("What the agent is told at a heartbeat."),
    whole("ackMaxChars")
        .min(0.0)
        .default("300")
        .about("An OK with at most so many further characters is not delivered."),
    flag("suppressToolErrorWarnings"),
])
.rule(rules::heartbeat);

pub static SUBAGENTS: Object = object(&[
    whole("maxConcurrent")
        .above(0.0)
        .default("8 (filled in)")
        .about("Runs of sub-agents at the same time."),
    whole("maxSpawnDepth")
        .min(1.0)
        .max(5.0)
        .default("1")
        .about("How deep sub-agents may start sub-agents."),
    whole("maxChildrenPerAgent")
        .min(1.0)
        .max(20.0)
        .about("Most sub-agents of one agent at the same time."),
    whole("archiveAfterMinutes").above(0.0),
    either("model", &[TEXT, Kind::Object(&MODEL_LIST)]),
    text("thinking"),
    whole("runTimeoutSeconds").min(0.0),
    whole("announceTimeoutMs").above(0.0),
]);

pub static AGENT_DEFAULTS: Object = object(&[
    either("model", &[TEXT, Kind::Object(&MODEL_LIST)])
        .about("The model, `provider/model`, and what to try when it fails."),
    either("imageModel", &[TEXT, Kind::Object(&MODEL_LIST)]).unused(),
    map("models", &Kind::Object(&MODEL_CHOICE))
        .about("Models that may be chosen, with aliases; when set, no others may."),
    text("workspace")
        .default("<state>/workspace")
        .about("Working folder of the agent and home of its bootstrap files."),
    text("repoRoot").about("Folder named as repository in the system prompt."),
    flag("skipBootstrap")
        .default("false")
        .about("Do not create the bootstrap files of the workspace."),
    whole("bootstrapMaxChars")
        .above(0.0)
        .default("20000")
        .about("Most characters of one bootstrap file in the prompt."),
    whole("bootstrapTotalMaxChars")
        .above(0.0)
        .default("150000")
        .about("Most characters of all bootstrap files in the prompt."),
    text("userTimezone")
        .default("host zone")
        .about("Time zone of the user, by its IANA name."),
    word("timeFormat", &["auto", "12", "24"])
        .default("auto")
        .about("How times are written for the model."),
    text("envelopeTimezone"),
    word("envelopeTimestamp", &["on", "off"]),
    word("envelopeElapsed", &["on", "off"]),
    whole("contextTokens")
        .above(0.0)
        .about("Overrides the context window of the model, in tokens."),
    map("cliBackends", &Kind::Object(&CLI_BACKEND)).unused(),
    group("memorySearch", &MEMORY_SEARCH).about("Search in the memory files."),
    group("contextPruning", &CONTEXT_PRUNING).about("Dropping old tool results from the context."),
    group("compaction", &COMPACTION).about("Summarising history that no longer fits."),
    word(
        "thinkingDefault",
        &["off", "minimal", "low", "medium", "high", "xhigh"],
    )
    .about("How long the model thinks unless the session says otherwise."),
    word("verboseDefault", &["off", "on", "full"])
        .about("How much of the tool calls is reported to the chat."),
    word("elevatedDefault", &["off", "on", "ask", "full"])
        .about("Whether commands may run outside of restrictions."),
    word("blockStreamingDefault", &["off", "on"])
        .default("off")
        .about("Whether replies are sent in blocks while they are written."),
    word("blockStreamingBreak", &["text_end", "message_end"]).default("text_end"),
    group("blockStreamingChunk", &BLOCK_STREAMING_CHUNK),
    group("blockStreamingCoalesce", &BLOCK_STREAMING_COALESCE),
    group("humanDelay", &HUMAN_DELAY),
    whole("timeoutSeconds")
        .above(0.0)
        .default("600, at least 1")
        .about("Longest run of an agent."),
    number("mediaMaxMb")
        .above(0.0)
        .about("Largest media file taken in, in megabytes."),
    whole("imageMaxDimensionPx").above(0.0).default("1200"),
    whole("typingIntervalSeconds")
        .above(0.0)
        .about("Seconds between typing signs."),
    word("typingMode", &["never", "instant", "thinking", "message"])
        .about("When typing signs begin."),
    group("heartbeat", &HEARTBEAT).about("A turn of the agent at regular times."),
    whole("maxConcurrent")
        .above(0.0)
        .default("4 (filled in)")
        .about("Runs at the same time."),
    group("subagents", &SUBAGENTS),
    unused("sandbox"),
]);

pub static IDENTITY: Object = object(&[
    text("name"),
    text("theme"),
    text("emoji"),
    text("avatar").about("File in the workspace, URL, or data URI."),
]);

pub static AGENT_SUBAGENTS: Object = object(&[
    texts("allowAgents").about("Agents that it may start; `*` is any."),
    either("model", &[TEXT, Kind::Object(&MODEL_LIST)]),
    text("thinking"),
]);

pub static AGENT: Object = object(&[
    text("id")
        .required()
        .about("Name of the agent: letters, digits, `-`, `_`."),
    flag("default")
        .default("first entry wins when none is set")
        .about("Takes what no binding sends elsewhere."),
    text("name").about("Name for people."),
    text("workspace").about("Working folder of this agent."),
    text("agentDir").about("Folder of its credentials; no two agents may share one."),
    either("model", &[TEXT, Kind::Object(&MODEL_LIST)]).about("Model of this agent."),
    texts("skills").about("The only skills that it may use."),
    group("memorySearch", &MEMORY_SEARCH),
    group("humanDelay", &HUMAN_DELAY),
    group("heartbeat", &HEARTBEAT),
    group("identity", &IDENTITY).about("How the agent presents itself."),
    group("groupChat", &GROUP_CHAT),
    group("subagents", &AGENT_SUBAGENTS),
    unused("sandbox"),
    group("tools", &AGENT_TOOLS),
]);

pub static AGENTS: Object = object(&[
    group("defaults", &AGENT_DEFAULTS)
        .about("What holds for every agent that does not say otherwise."),
    list("list", &Kind::Object(&AGENT)).about("The agents. Without it there is one, `main`."),
]);
