//! The table of commands and options: the one source of parsing, `--help`, the manual and completions.
//!
//! A command is described in its own file and listed in [`COMMANDS`]. What is in no description does
//! not exist: it is refused everywhere with exit status 2.

use super::context::Context;
use super::failure::Failure;
use super::parse::Args;
use super::{
    agent, agents, approvals, channels, config, cron, dashboard, devices, discover, gateway_call,
    gateway_probe, gateway_run, gateway_status, gateway_usage, health, logs, models, nodes,
    sessions, setup, status, system,
};

/// Ends well.
pub const EXIT_OK: u8 = 0;
/// Did not do what it was asked to; the reason is on stderr.
pub const EXIT_FAILED: u8 = 1;
/// The command line holds an option that does not exist, or an impossible profile.
pub const EXIT_USAGE: u8 = 2;
/// A gateway refuses to start because its config is invalid (`EX_CONFIG`): supervisors must not retry.
pub const EXIT_CONFIG: u8 = 78;

/// One option of a command.
#[derive(Clone, Copy, Debug)]
pub struct Opt {
    /// Without the dashes.
    pub long: &'static str,
    pub short: Option<char>,
    /// What its value is called; `None` for a switch.
    pub value: Option<&'static str>,
    /// Taken when the option is not given.
    pub default: Option<&'static str>,
    /// May be given more than once.
    pub many: bool,
    pub required: bool,
    pub about: &'static str,
}

/// A switch.
pub const fn flag(long: &'static str, about: &'static str) -> Opt {
    Opt {
        long,
        short: None,
        value: None,
        default: None,
        many: false,
        required: false,
        about,
    }
}

/// An option with a value called `value` in help.
pub const fn val(long: &'static str, value: &'static str, about: &'static str) -> Opt {
    Opt {
        value: Some(value),
        ..flag(long, about)
    }
}

impl Opt {
    #[must_use]
    pub const fn short(self, c: char) -> Opt {
        Opt {
            short: Some(c),
            ..self
        }
    }

    #[must_use]
    pub const fn default(self, text: &'static str) -> Opt {
        Opt {
            default: Some(text),
            ..self
        }
    }

    #[must_use]
    pub const fn many(self) -> Opt {
        Opt { many: true, ..self }
    }

    #[must_use]
    pub const fn required(self) -> Opt {
        Opt {
            required: true,
            ..self
        }
    }

    /// The option as help and error messages write it: `-m, --message <text>`.
    pub fn usage(&self) -> String {
        let short = self.short.map(|c| format!("-{c}, ")).unwrap_or_default();
        let value = self.value.map(|v| format!(" <{v}>")).unwrap_or_default();
        format!("{short}--{}{value}", self.long)
    }
}

/// One word that a command takes without dashes.
#[derive(Clone, Copy, Debug)]
pub struct Arg {
    pub name: &'static str,
    pub required: bool,
    /// Takes all words that follow (last argument only).
    pub many: bool,
    pub about: &'static str,
}

/// An argument that must be there.
pub const fn arg(name: &'static str, about: &'static str) -> Arg {
    Arg {
        name,
        required: true,
        many: false,
        about,
    }
}

/// An argument that may be there.
pub const fn optional(name: &'static str, about: &'static str) -> Arg {
    Arg {
        required: false,
        ..arg(name, about)
    }
}

/// What a command wants of the config file before it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Does not look at it (or looks by itself).
    Nothing,
    /// Goes on with an empty config when the file is invalid, after saying so on stderr.
    BestEffort,
    /// Does not run with an invalid config.
    Valid,
}

/// Where help lists a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Run and look after the gateway.
    Gateway,
    /// Talk to agents and see what they did.
    Agents,
    /// Devices, nodes, approvals, schedules.
    Control,
    /// Works on local files.
    Local,
}

/// One command.
pub struct Command {
    /// Its words: `gateway status`.
    pub path: &'static str,
    /// Other names for its last word.
    pub aliases: &'static [&'static str],
    pub group: Group,
    pub about: &'static str,
    pub args: &'static [Arg],
    /// Option tables, in the order of help.
    pub options: &'static [&'static [Opt]],
    pub need: Need,
    /// Exit statuses beyond 0, 1 and 2, and what they mean.
    pub exits: &'static [(u8, &'static str)],
    /// Command lines with what they do, for help and the manual.
    pub examples: &'static [(&'static str, &'static str)],
    /// `None` when the command is only the head of its subcommands.
    pub run: Option<Run>,
}

/// Does what a command is for; the exit status is its answer.
pub type Run = fn(&Context, &Args) -> Result<u8, Failure>;

impl Command {
    /// A command with nothing but its name, for `..` in descriptions.
    pub const fn new(path: &'static str, group: Group, about: &'static str) -> Command {
        Command {
            path,
            aliases: &[],
            group,
            about,
            args: &[],
            options: &[],
            need: Need::BestEffort,
            exits: &[],
            examples: &[],
            run: None,
        }
    }

    /// The last word of its path.
    pub fn name(&self) -> &'static str {
        self.path.rsplit(' ').next().unwrap_or(self.path)
    }

    /// Whether `word` is its last word, or another name for it.
    pub fn is_called(&self, word: &str) -> bool {
        self.name() == word || self.aliases.contains(&word)
    }

    /// All its options in the order of help.
    pub fn all_options(&self) -> impl Iterator<Item = &'static Opt> + use<> {
        let tables: &'static [&'static [Opt]] = self.options;
        tables.iter().flat_map(|t| t.iter())
    }

    /// Its own option of that long name.
    pub fn option(&self, long: &str) -> Option<&'static Opt> {
        self.all_options().find(|o| o.long == long)
    }

    /// The commands one word further down.
    pub fn children(&self) -> impl Iterator<Item = &'static Command> + use<> {
        let path = self.path;
        COMMANDS.iter().copied().filter(move |c| {
            c.path
                .strip_prefix(path)
                .and_then(|rest| rest.strip_prefix(' '))
                .is_some_and(|rest| !rest.contains(' '))
        })
    }
}

/// The command of that path.
pub fn find(path: &str) -> Option<&'static Command> {
    let mut words = path.split(' ');
    let first = words.next()?;
    let top = COMMANDS.iter().copied().filter(|c| !c.path.contains(' '));
    let mut found = top.into_iter().find(|c| c.is_called(first))?;
    for word in words {
        found = found.children().find(|c| c.is_called(word))?;
    }
    Some(found)
}

/// Options that stand before the command word.
pub const GLOBAL: &[Opt] = &[
    flag(
        "dev",
        "use the profile \"dev\": its own state and config, port 19001",
    ),
    val(
        "profile",
        "name",
        "keep state and config apart under ~/.openclaw-<name>",
    ),
    flag("no-color", "no colour, also on a terminal"),
    val(
        "log-level",
        "level",
        "level of file and console log: silent, fatal, error, warn, info, debug, trace",
    ),
    flag("version", "print the version").short('V'),
    flag("help", "print help").short('h'),
];

/// Print JSON and nothing else on stdout.
pub const JSON: &[Opt] = &[flag("json", "print JSON, and nothing else, on stdout")];

/// How to reach a gateway, for every command that talks to one.
pub const CONNECT: &[Opt] = &[
    val(
        "url",
        "url",
        "WebSocket address of the gateway; needs --token or --password",
    ),
    val("token", "token", "shared token of the gateway"),
    val("password", "password", "shared password of the gateway"),
];

/// [`CONNECT`] for calls that end within a deadline of ten seconds.
pub const TIMEOUT: &[Opt] =
    &[val("timeout", "ms", "give up after so many milliseconds").default("10000")];

/// Every command, in the order of help.
pub static COMMANDS: &[&Command] = &[
    &gateway_run::GATEWAY,
    &gateway_run::GATEWAY_RUN,
    &gateway_status::STATUS,
    &gateway_probe::PROBE,
    &discover::DISCOVER,
    &gateway_call::CALL,
    &gateway_call::HEALTH,
    &gateway_usage::USAGE_COST,
    &status::STATUS,
    &health::HEALTH,
    &logs::LOGS,
    &dashboard::DASHBOARD,
    &agent::AGENT,
    &agents::AGENTS,
    &agents::LIST,
    &models::MODELS,
    &models::LIST,
    &models::STATUS,
    &models::SET,
    &sessions::SESSIONS,
    &channels::CHANNELS,
    &channels::STATUS,
    &channels::LIST,
    &setup::SETUP,
    &config::CONFIG,
    &config::GET,
    &config::SET,
    &config::UNSET,
    &config::CHECK,
    &config::WHERE,
    &config::RELOAD,
    &cron::CRON,
    &cron::LIST,
    &cron::STATUS,
    &cron::ADD,
    &cron::EDIT,
    &cron::ENABLE,
    &cron::DISABLE,
    &cron::RUN,
    &cron::RUNS,
    &cron::RM,
    &devices::DEVICES,
    &devices::LIST,
    &devices::APPROVE,
    &devices::REJECT,
    &devices::REMOVE,
    &devices::CLEAR,
    &devices::ROTATE,
    &devices::REVOKE,
    &nodes::NODES,
    &nodes::STATUS,
    &nodes::LIST,
    &nodes::DESCRIBE,
    &nodes::PENDING,
    &nodes::APPROVE,
    &nodes::REJECT,
    &nodes::RENAME,
    &nodes::run::INVOKE,
    &nodes::run::RUN,
    &approvals::APPROVALS,
    &approvals::GET,
    &approvals::SET,
    &approvals::ALLOWLIST,
    &approvals::ALLOW,
    &approvals::DISALLOW,
    &system::SYSTEM,
    &system::EVENT,
    &system::HEARTBEAT,
    &system::HEARTBEAT_LAST,
    &system::HEARTBEAT_ENABLE,
    &system::HEARTBEAT_DISABLE,
    &system::PRESENCE,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_consistent() {
        for (i, c) in COMMANDS.iter().enumerate() {
            assert!(
                COMMANDS[i + 1..].iter().all(|d| d.path != c.path),
                "{} twice",
                c.path
            );
            if let Some((parent, _)) = c.path.rsplit_once(' ') {
                assert!(find(parent).is_some(), "{} has no parent", c.path);
            }
            assert!(
                c.run.is_some() || c.children().next().is_some(),
                "{} does nothing",
                c.path
            );
            let opts: Vec<_> = c.all_options().collect();
            for (j, o) in opts.iter().enumerate() {
                assert!(
                    opts[j + 1..]
                        .iter()
                        .all(|p| p.long != o.long && (p.short.is_none() || p.short != o.short)),
                    "{} --{} twice",
                    c.path,
                    o.long
                );
                assert!(o.value.is_some() || o.default.is_none(), "{}", o.long);
                assert!(!matches!(o.short, Some('h' | 'V')) && o.long != "help");
            }
            let optional_seen = c.args.iter().position(|a| !a.required);
            if let Some(at) = optional_seen {
                assert!(c.args[at..].iter().all(|a| !a.required), "{}", c.path);
            }
            assert!(c.args.iter().rev().skip(1).all(|a| !a.many), "{}", c.path);
        }
    }
}
