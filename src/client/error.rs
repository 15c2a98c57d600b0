//! Why a gateway could not be asked, or did not do what it was asked to.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use super::identity::IdentityError;

/// A part of a call that has a deadline of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// TCP.
    Connect,
    /// TLS and the HTTP upgrade.
    Upgrade,
    /// From the upgrade to `connect.challenge`.
    Challenge,
    /// From `connect` to `hello-ok`.
    Hello,
    /// From a request to its answer.
    Answer,
    /// From an accepted request to its final answer.
    Final,
}

impl Phase {
    fn what(self) -> &'static str {
        match self {
            Phase::Connect => "connecting",
            Phase::Upgrade => "the WebSocket upgrade",
            Phase::Challenge => "the connect challenge",
            Phase::Hello => "the answer to connect",
            Phase::Answer => "an answer",
            Phase::Final => "the final answer",
        }
    }
}

/// An error that the gateway answered with.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// `INVALID_REQUEST`, `UNAVAILABLE` and so on; empty when the gateway sent none.
    pub code: String,
    pub message: String,
    /// `Null` when there are none.
    pub details: Value,
    /// What stood beside the error (`agent` after a failed run); `Null` when nothing did.
    pub payload: Value,
}

/// Everything that can go wrong between a client and a gateway.
#[derive(Debug)]
pub enum ClientError {
    /// The address is no `ws://` or `wss://` URL with a host.
    BadUrl(String),
    /// Plain `ws://` to another machine would show secrets and messages to the network.
    Plaintext(String),
    /// `wss://` in a build without TLS.
    NoTls(String),
    /// The host has no address.
    Unresolved { host: String, error: io::Error },
    /// Nothing listens there.
    Refused(SocketAddr),
    /// The network says no in another way.
    Unreachable {
        address: SocketAddr,
        error: io::Error,
    },
    /// Something listens, but it does not speak the gateway's protocol.
    NotAGateway(String),
    /// Nothing came in time.
    Timeout { phase: Phase, after: Duration },
    /// The gateway closed the connection; 1006 when it went without a close frame.
    Closed { code: u16, reason: String },
    /// The gateway refused `connect`, and closed with `close`.
    Rejected { answer: Answer, close: u16 },
    /// The gateway refused a request.
    Failed(Answer),
    /// This machine's device identity is missing or broken.
    Identity(IdentityError),
}

impl ClientError {
    /// The command or setting that helps, when one does.
    pub fn fix(&self) -> Option<&'static str> {
        match self {
            ClientError::Refused(_) => {
                Some("start it with `openclaw gateway`, or look with `openclaw gateway status`")
            }
            ClientError::Plaintext(_) => {
                Some("use wss://, or an SSH tunnel: ssh -N -L 18789:127.0.0.1:18789 user@host")
            }
            ClientError::Unresolved { .. }
            | ClientError::Unreachable { .. }
            | ClientError::BadUrl(_) => Some("check --url or gateway.remote.url"),
            ClientError::NotAGateway(_) => {
                Some("see who listens there with `openclaw gateway status --deep`")
            }
            ClientError::Timeout { .. } => {
                Some("look with `openclaw gateway status`, or allow more with --timeout")
            }
            ClientError::Closed { code: 1012, .. } => {
                Some("the gateway is restarting: try again in a moment")
            }
            ClientError::Closed { .. } => Some("see why with `openclaw logs`"),
            ClientError::Rejected { answer, .. } => fix_of(answer),
            ClientError::NoTls(_) | ClientError::Failed(_) | ClientError::Identity(_) => None,
        }
    }

    /// The answer, when it was the gateway that said no.
    pub fn answer(&self) -> Option<&Answer> {
        match self {
            ClientError::Rejected { answer, .. } | ClientError::Failed(answer) => Some(answer),
            _ => None,
        }
    }
}

/// What helps against a refused `connect`.
fn fix_of(answer: &Answer) -> Option<&'static str> {
    let code = answer.details["code"].as_str().unwrap_or_default();
    Some(match code {
        "AUTH_TOKEN_MISSING" | "AUTH_TOKEN_MISMATCH" => {
            "pass --token, set OPENCLAW_GATEWAY_TOKEN, or make gateway.auth.token (gateway.remote.token \
             for a remote gateway) match"
        }
        "AUTH_PASSWORD_MISSING" | "AUTH_PASSWORD_MISMATCH" => {
            "pass --password, set OPENCLAW_GATEWAY_PASSWORD, or make gateway.auth.password match"
        }
        "AUTH_DEVICE_TOKEN_MISMATCH" | "PAIRING_REQUIRED" | "DEVICE_IDENTITY_REQUIRED" => {
            "on the gateway's host: openclaw devices list, then openclaw devices approve"
        }
        "AUTH_RATE_LIMITED" => "wait until the lockout is over, then use the right secret",
        _ if answer.message == "protocol mismatch" => {
            "update the older of the two: `openclaw --version` and the gateway's `openclaw status`"
        }
        _ => return None,
    })
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::BadUrl(url) => write!(f, "not a ws:// or wss:// address: {url}"),
            ClientError::Plaintext(url) => write!(
                f,
                "refusing {url}: plain ws:// to another machine shows secrets and messages to the network"
            ),
            ClientError::NoTls(url) => write!(f, "cannot open {url}: built without TLS"),
            ClientError::Unresolved { host, error } => write!(f, "no address for {host}: {error}"),
            ClientError::Refused(address) => {
                write!(f, "gateway not running: connect ECONNREFUSED {address}")
            }
            ClientError::Unreachable { address, error } => {
                write!(f, "connect failed: {address}: {error}")
            }
            ClientError::NotAGateway(why) => write!(f, "not a gateway: {why}"),
            ClientError::Timeout { phase, after } => write!(
                f,
                "gateway timeout after {}ms waiting for {}",
                after.as_millis(),
                phase.what()
            ),
            ClientError::Closed { code, reason } => {
                write!(f, "gateway closed ({})", close_text(*code, reason))
            }
            ClientError::Rejected { answer, close } => {
                write!(f, "gateway closed ({close}): {}", answer.message)
            }
            ClientError::Failed(answer) => f.write_str(&answer.message),
            ClientError::Identity(e) => e.fmt(f),
        }
    }
}

fn close_text(code: u16, reason: &str) -> String {
    match (code, reason) {
        (1006, _) => "1006 abnormal closure (no close frame)".to_string(),
        (code, "") => code.to_string(),
        (code, reason) => format!("{code} {reason}"),
    }
}

impl std::error::Error for ClientError {}

impl From<IdentityError> for ClientError {
    fn from(e: IdentityError) -> Self {
        ClientError::Identity(e)
    }
}
