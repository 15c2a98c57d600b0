//! What heartbeats ask of the agent and the channels, and the words for it.

use std::fmt;

use crossbeam_channel::Receiver;

use super::rules::Settings;

/// Why a heartbeat runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its time has come.
    Interval,
    /// The `wake` call.
    Wake,
    /// A webhook, by its name.
    Hook(String),
    /// A cron job, by its id.
    Cron(String),
    /// A command in the background has ended.
    Exec,
}

impl Reason {
    /// Which of two wakes for the same session is the better reason.
    pub(super) fn weight(&self) -> u8 {
        match self {
            Reason::Interval => 0,
            Reason::Cron(_) => 1,
            Reason::Wake | Reason::Hook(_) | Reason::Exec => 2,
        }
    }

    /// Whether something is to be told, whatever HEARTBEAT.md says.
    pub(super) fn skips_the_file(&self) -> bool {
        !matches!(self, Reason::Interval)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Interval => f.write_str("interval"),
            Reason::Wake => f.write_str("wake"),
            Reason::Hook(name) => write!(f, "hook:{name}"),
            Reason::Cron(id) => write!(f, "cron:{id}"),
            Reason::Exec => f.write_str("exec-event"),
        }
    }
}

/// What a heartbeat came to, for who asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// The agent was asked.
    Ran,
    /// It was not; the reason is a word of the wire.
    Skipped(&'static str),
    Failed(String),
}

/// The reason of [`Done::Skipped`] that goes away by itself.
pub const BUSY: &str = "requests-in-flight";
/// The reason while heartbeats are switched off.
pub const DISABLED: &str = "disabled";

/// A turn that the agent is to take.
pub struct Turn {
    pub agent: String,
    /// Canonical.
    pub session_key: String,
    pub prompt: String,
    /// `provider/model`, when it is not the agent's own.
    pub model: Option<String>,
    /// Text from outside waits in the session: the turn must not act with the owner's rights (HK-02).
    pub untrusted: bool,
    /// Asked when the answer is complete, before anything else happens in the session: true when the turn
    /// is to leave no trace in it.
    pub forget: Box<dyn FnOnce(&str) -> bool + Send>,
    /// Ends when the turn has to stop.
    pub cancelled: Receiver<()>,
}

/// Where answers go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Nowhere; the reason is a word of the wire (`no-target`, `unknown-account`).
    Nowhere {
        reason: &'static str,
        account: Option<String>,
    },
    Place(Place),
}

/// A conversation on a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub channel: String,
    pub to: String,
    pub account: Option<String>,
    pub thread: Option<String>,
}

/// Why an answer was not delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undelivered {
    /// The channel is not up; the text says why.
    NotReady(String),
    Failed(String),
}

/// The agent and the channels, as heartbeats see them.
pub trait Host: Send + Sync {
    /// Whether `agent` has a model that could think of something: without one, only wakes are answered.
    fn can_think(&self, agent: &str) -> bool;

    /// Whether the user's messages are being answered, so that a heartbeat would be in their way.
    fn busy(&self, session_key: &str) -> bool;

    /// Takes the turn and waits for its answer.
    fn turn(&self, turn: Turn) -> Result<String, String>;

    /// Where the answers of a session go.
    fn target(&self, agent: &str, session_key: &str, settings: &Settings) -> Target;

    /// Sends `text` to a place.
    fn deliver(&self, place: &Place, text: &str) -> Result<(), Undelivered>;
}
