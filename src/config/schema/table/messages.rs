//! `messages` and `commands`: how text goes in and out, and chat commands.

use crate::config::schema::build::{
    ID, choice, either, flag, group, list, map, number, object, text, texts, whole, word,
};
use crate::config::schema::{Kind, Object, Range};

/// What may become of messages that come while the agent is busy.
const QUEUE_MODES: &[&str] = &[
    "steer",
    "followup",
    "collect",
    "steer-backlog",
    "steer+backlog",
    "queue",
    "interrupt",
];

pub static GROUP_CHAT: Object = object(&[
    texts("mentionPatterns").about("Regular expressions that count as a mention."),
    whole("historyLimit")
        .above(0.0)
        .about("Messages of a group kept as context."),
]);

pub static QUEUE_BY_CHANNEL: Object = object(&[
    word("whatsapp", QUEUE_MODES),
    word("telegram", QUEUE_MODES),
    word("discord", QUEUE_MODES),
    word("irc", QUEUE_MODES),
    word("slack", QUEUE_MODES),
    word("mattermost", QUEUE_MODES),
    word("signal", QUEUE_MODES),
    word("imessage", QUEUE_MODES),
    word("msteams", QUEUE_MODES),
    word("webchat", QUEUE_MODES),
]);

pub static MESSAGES_QUEUE: Object = object(&[
    word("mode", QUEUE_MODES)
        .default("collect")
        .about("What becomes of messages that come while the agent is busy."),
    group("byChannel", &QUEUE_BY_CHANNEL).about("The same, by channel."),
    whole("debounceMs")
        .min(0.0)
        .default("1000")
        .about("Milliseconds to wait for more before a queue is run."),
    map(
        "debounceMsByChannel",
        &Kind::Number(Range {
            whole: true,
            min: Some(0.0),
            above: None,
            max: None,
        }),
    ),
    whole("cap")
        .above(0.0)
        .default("20")
        .about("Most messages in a queue."),
    word("drop", &["old", "new", "summarize"])
        .default("summarize")
        .about("What is dropped from a full queue."),
]);

pub static MESSAGES_INBOUND: Object = object(&[
    whole("debounceMs")
        .min(0.0)
        .about("Milliseconds to wait for more text of the same sender."),
    map(
        "byChannel",
        &Kind::Number(Range {
            whole: true,
            min: Some(0.0),
            above: None,
            max: None,
        }),
    ),
]);

pub static STATUS_REACTIONS_EMOJIS: Object = object(&[
    text("thinking"),
    text("tool"),
    text("coding"),
    text("web"),
    text("done"),
    text("error"),
    text("stallSoft"),
    text("stallHard"),
]);

pub static STATUS_REACTIONS_TIMING: Object = object(&[
    whole("debounceMs").min(0.0),
    whole("stallSoftMs").min(0.0),
    whole("stallHardMs").min(0.0),
    whole("doneHoldMs").min(0.0),
    whole("errorHoldMs").min(0.0),
]);

pub static MESSAGES_STATUS_REACTIONS: Object = object(&[
    flag("enabled"),
    group("emojis", &STATUS_REACTIONS_EMOJIS),
    group("timing", &STATUS_REACTIONS_TIMING),
]);

pub static TTS_MODEL_OVERRIDES: Object = object(&[
    flag("enabled"),
    flag("allowText"),
    flag("allowProvider"),
    flag("allowVoice"),
    flag("allowModelId"),
    flag("allowVoiceSettings"),
    flag("allowNormalization"),
    flag("allowSeed"),
]);

pub static ELEVENLABS_VOICE_SETTINGS: Object = object(&[
    number("stability").min(0.0).max(1.0),
    number("similarityBoost").min(0.0).max(1.0),
    number("style").min(0.0).max(1.0),
    flag("useSpeakerBoost"),
    number("speed").min(0.5).max(2.0),
]);

pub static TTS_ELEVENLABS: Object = object(&[
    text("apiKey").secret(),
    text("baseUrl"),
    text("voiceId"),
    text("modelId"),
    whole("seed").min(0.0).max(4294967295.0),
    choice("applyTextNormalization", &["auto", "on", "off"]),
    text("languageCode"),
    group("voiceSettings", &ELEVENLABS_VOICE_SETTINGS),
]);

pub static TTS_OPENAI: Object = object(&[text("apiKey").secret(), text("model"), text("voice")]);

pub static TTS_EDGE: Object = object(&[
    flag("enabled"),
    text("voice"),
    text("lang"),
    text("outputFormat"),
    text("pitch"),
    text("rate"),
    text("volume"),
    flag("saveSubtitles"),
    text("proxy"),
    whole("timeoutMs").min(1000.0).max(120000.0),
]);

pub static TTS: Object = object(&[
    choice("auto", &["off", "always", "inbound", "tagged"]),
    flag("enabled"),
    choice("mode", &["final", "all"]),
    choice("provider", &["elevenlabs", "openai", "edge"]),
    text("summaryModel"),
    group("modelOverrides", &TTS_MODEL_OVERRIDES),
    group("elevenlabs", &TTS_ELEVENLABS),
    group("openai", &TTS_OPENAI),
    group("edge", &TTS_EDGE),
    text("prefsPath"),
    whole("maxTextLength").min(1.0),
    whole("timeoutMs").min(1000.0).max(120000.0),
]);

pub static MESSAGES: Object = object(&[
    text("messagePrefix").about("Put before each message that comes in."),
    text("responsePrefix").about("Put before each reply."),
    group("groupChat", &GROUP_CHAT),
    group("queue", &MESSAGES_QUEUE),
    group("inbound", &MESSAGES_INBOUND),
    text("ackReaction")
        .default("identity emoji, else eyes")
        .about("Emoji that acknowledges a message."),
    choice(
        "ackReactionScope",
        &["group-mentions", "group-all", "direct", "all"],
    )
    .default("group-mentions (filled in)")
    .about("Which messages are acknowledged."),
    flag("removeAckAfterReply")
        .default("false")
        .about("Take the emoji back after the reply."),
    group("statusReactions", &MESSAGES_STATUS_REACTIONS),
    flag("suppressToolErrors"),
    group("tts", &TTS).unused(),
]);

pub static COMMANDS: Object = object(&[
    either("native", &[Kind::Bool, Kind::Word(&["auto"])])
        .fills("auto")
        .about("Register commands with channels that have a menu for them."),
    either("nativeSkills", &[Kind::Bool, Kind::Word(&["auto"])])
        .fills("auto")
        .about("Register skills there as well."),
    flag("text")
        .default("true")
        .about("Read commands in plain text."),
    flag("bash").default("false").about("Allow /bash."),
    whole("bashForegroundMs").min(0.0).max(30000.0),
    flag("config").default("false").about("Allow /config."),
    flag("debug").default("false").about("Allow /debug."),
    flag("restart")
        .fills("true")
        .about("Allow /restart, and restarts by signal."),
    flag("useAccessGroups")
        .default("true")
        .about("Commands obey the allowlists of the channel."),
    list("ownerAllowFrom", &ID).about("Who counts as owner, as `channel:id`."),
    choice("ownerDisplay", &["raw", "hash"])
        .fills("raw")
        .about("How owners are named to the model."),
    text("ownerDisplaySecret")
        .secret()
        .about("Key for the hash of owner ids."),
    map("allowFrom", &Kind::List(&ID)).about("Who may use commands, by channel; nobody else may."),
]);
