//! The commands, as one table: names, what they need and do, and a line for the list.

use super::settings::Setting;
use crate::protocol::Scope;

/// A command.
pub struct Command {
    /// With the slash.
    pub name: &'static str,
    pub also: &'static [&'static str],
    pub about: &'static str,
    pub group: &'static str,
    /// What the sender needs to have to change something with it.
    pub scope: Option<Scope>,
    /// It changes something even without an argument.
    pub always_changes: bool,
    pub does: Does,
}

/// What a command does.
#[derive(Clone, Copy)]
pub enum Does {
    Help,
    Commands,
    Whoami,
    Status,
    Context,
    Queue,
    Models,
    Model,
    Set(Setting),
    Compact,
    /// Known, so that it is refused instead of read by a model, but not to be had in a chat.
    Nothing,
}

const fn shows(
    name: &'static str,
    also: &'static [&'static str],
    group: &'static str,
    about: &'static str,
    does: Does,
) -> Command {
    Command {
        name,
        also,
        about,
        group,
        scope: None,
        always_changes: false,
        does,
    }
}

const fn sets(
    name: &'static str,
    also: &'static [&'static str],
    about: &'static str,
    does: Does,
) -> Command {
    Command {
        scope: Some(Scope::Admin),
        ..shows(name, also, "Options", about, does)
    }
}

const fn refused(name: &'static str, also: &'static [&'static str], scope: Scope) -> Command {
    Command {
        scope: Some(scope),
        always_changes: true,
        ..shows(name, also, "", "", Does::Nothing)
    }
}

/// The commands, in the order of the list. `/new`, `/reset` and `/stop` are dealt with before.
pub const COMMANDS: &[Command] = &[
    Command {
        scope: Some(Scope::Admin),
        always_changes: true,
        ..shows(
            "/compact",
            &[],
            "Session",
            "shorten the transcript",
            Does::Compact,
        )
    },
    sets("/model", &[], "show or choose the model", Does::Model),
    shows(
        "/models",
        &[],
        "Options",
        "list providers, or a provider's models",
        Does::Models,
    ),
    sets(
        "/think",
        &["/thinking", "/t"],
        "how hard the model thinks",
        Does::Set(Setting::Thinking),
    ),
    sets(
        "/verbose",
        &["/v"],
        "show what tools give",
        Does::Set(Setting::Verbose),
    ),
    sets(
        "/reasoning",
        &["/reason"],
        "show the model's reasoning",
        Does::Set(Setting::Reasoning),
    ),
    sets(
        "/usage",
        &[],
        "usage below replies",
        Does::Set(Setting::Usage),
    ),
    sets(
        "/send",
        &[],
        "allow or deny sending",
        Does::Set(Setting::Send),
    ),
    sets(
        "/elevated",
        &["/elev"],
        "elevated mode",
        Does::Set(Setting::Elevated),
    ),
    shows(
        "/queue",
        &[],
        "Options",
        "what waits in this session",
        Does::Queue,
    ),
    shows("/help", &[], "Status", "the most used commands", Does::Help),
    shows("/commands", &[], "Status", "this list", Does::Commands),
    shows(
        "/status",
        &[],
        "Status",
        "model, tokens, session",
        Does::Status,
    ),
    shows(
        "/context",
        &[],
        "Status",
        "how full the context is",
        Does::Context,
    ),
    shows(
        "/whoami",
        &["/id"],
        "Status",
        "who you are to the gateway",
        Does::Whoami,
    ),
    refused("/config", &[], Scope::Admin),
    refused("/debug", &[], Scope::Admin),
    refused("/restart", &[], Scope::Admin),
    refused("/bash", &[], Scope::Admin),
    refused("/allowlist", &[], Scope::Admin),
    refused("/exec", &[], Scope::Admin),
    refused("/approve", &[], Scope::Approvals),
    refused("/activation", &[], Scope::Admin),
    refused("/subagents", &[], Scope::Admin),
    refused("/kill", &[], Scope::Admin),
    refused("/steer", &["/tell"], Scope::Admin),
    refused("/focus", &[], Scope::Admin),
    refused("/unfocus", &[], Scope::Admin),
    refused("/agents", &[], Scope::Read),
    refused("/session", &[], Scope::Admin),
    refused("/skill", &[], Scope::Write),
    refused("/export-session", &["/export"], Scope::Admin),
    refused("/tts", &[], Scope::Admin),
];

/// Messages that stop what goes on, in lower case without the marks at the end.
pub const STOP: &[&str] = &[
    "/stop",
    "stop",
    "esc",
    "abort",
    "wait",
    "exit",
    "interrupt",
    "please stop",
    "stop please",
    "stop openclaw",
    "openclaw stop",
    "stop action",
    "stop current action",
    "stop run",
    "stop current run",
    "stop agent",
    "stop the agent",
    "stop doing anything",
    "stop don't do anything",
    "stop dont do anything",
    "stop do not do anything",
];

/// The command of that name, given without the slash.
pub fn find(name: &str) -> Option<&'static Command> {
    let is = |full: &str| full[1..].eq_ignore_ascii_case(name);
    COMMANDS
        .iter()
        .find(|c| is(c.name) || c.also.iter().any(|a| is(a)))
}
