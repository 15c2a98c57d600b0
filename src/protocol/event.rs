//! The events of protocol 3: their names, who may get them, and which may be dropped.

use super::Role;
use super::scope::{Scope, Scopes};

/// Who gets a broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Every authenticated connection.
    Everyone,
    /// Operators that hold the scope.
    Operators(Scope),
    /// Never broadcast: sent to one connection.
    Targeted,
}

macro_rules! events {
    ($($id:ident $name:literal $audience:expr, $droppable:literal, $about:literal;)*) => {
        /// An event of the gateway.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Event { $(#[doc = $about] $id,)* }

        impl Event {
            /// Every event, in the order of `hello-ok.features.events`.
            pub const ALL: &'static [Event] = &[$(Event::$id,)*];

            /// The name on the wire.
            pub fn name(self) -> &'static str { match self { $(Event::$id => $name,)* } }

            /// Who gets a broadcast of it.
            pub fn audience(self) -> Audience { match self { $(Event::$id => $audience,)* } }

            /// Whether it is skipped, not queued, for a client that is over its buffer bound.
            pub fn droppable(self) -> bool { match self { $(Event::$id => $droppable,)* } }

            /// One line for the manual.
            pub fn about(self) -> &'static str { match self { $(Event::$id => $about,)* } }
        }
    };
}

use Audience::{Everyone, Operators, Targeted};

events! {
    ConnectChallenge "connect.challenge" Targeted, false, "first frame on a new socket: the nonce to sign";
    Agent "agent" Operators(Scope::Read), false, "one step of an agent run";
    Chat "chat" Operators(Scope::Read), false, "the reply of a run as a chat sees it";
    Presence "presence" Everyone, true, "who is connected";
    Tick "tick" Everyone, true, "sign of life, every policy.tickIntervalMs";
    TalkMode "talk.mode" Everyone, true, "talk mode switched on or off";
    Shutdown "shutdown" Everyone, false, "the gateway is about to close every socket";
    Health "health" Everyone, false, "the health snapshot after a refresh";
    Heartbeat "heartbeat" Everyone, true, "what the last heartbeat did";
    Cron "cron" Everyone, true, "a job was added, changed, removed, started or finished";
    NodePairRequested "node.pair.requested" Operators(Scope::Pairing), true, "a node asks to be paired";
    NodePairResolved "node.pair.resolved" Operators(Scope::Pairing), true, "a node was approved or rejected";
    NodeInvokeRequest "node.invoke.request" Targeted, false, "a command for this node";
    DevicePairRequested "device.pair.requested" Operators(Scope::Pairing), true, "a device asks to be paired";
    DevicePairResolved "device.pair.resolved" Operators(Scope::Pairing), true, "a device was approved or rejected";
    VoicewakeChanged "voicewake.changed" Everyone, true, "the wake words changed";
    ExecApprovalRequested "exec.approval.requested" Operators(Scope::Approvals), true, "a command waits for a decision";
    ExecApprovalResolved "exec.approval.resolved" Operators(Scope::Approvals), true, "a decision was made";
    UpdateAvailable "update.available" Everyone, true, "a newer version exists (never sent: this gateway does not look)";
}

impl Event {
    /// Whether a broadcast of this event reaches a connection of `role` with `scopes`.
    pub fn reaches(self, role: Role, scopes: &Scopes) -> bool {
        match self.audience() {
            Everyone => true,
            Operators(scope) => role == Role::Operator && scopes.has(scope),
            Targeted => false,
        }
    }
}
