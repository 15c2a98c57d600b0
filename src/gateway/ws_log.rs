//! What the log says about WebSocket frames.
//!
//! Without `--verbose` only failures, answers that took long, and unparsable frames; with it every frame
//! (`full`) or one line for a request and its answer (`compact`).

use std::time::Instant;

use super::client::Client;
use super::handshake::Refused;
use super::options::WsLog;
use super::peer::Peer;
use crate::protocol::RpcError;
use crate::protocol::frame::{Request, clip};

const TARGET: &str = "gateway/ws";
/// An answer that took longer is worth a line, in milliseconds.
const SLOW_MS: u128 = 50;
/// Longest text of the peer's in a line, in bytes.
const MAX_TEXT: usize = 240;

/// How frames are logged in this run.
pub struct WsLogger {
    verbose: bool,
    style: WsLog,
}

impl WsLogger {
    pub fn new(verbose: bool, style: WsLog) -> WsLogger {
        WsLogger { verbose, style }
    }

    fn full(&self) -> bool {
        self.verbose && self.style == WsLog::Full
    }

    /// A socket was upgraded.
    pub fn open(&self, peer: &Peer) {
        if self.full() {
            log::debug!(target: TARGET, "← open remoteAddr={}", peer.client);
        }
    }

    /// A socket got no further than the handshake.
    pub fn refused(&self, peer: &Peer, refused: &Refused) {
        let why = refused
            .answer
            .as_ref()
            .map_or(refused.reason.as_str(), |(_, e)| e.message.as_str());
        let why = if why.is_empty() { "no handshake" } else { why };
        log::warn!(
            target: TARGET,
            "closed before connect remote={} code={} reason={}", peer.client, refused.code, clip(why, MAX_TEXT),
        );
    }

    /// A connection is authenticated.
    pub fn connected(&self, c: &Client) {
        if self.verbose {
            log::debug!(
                target: TARGET,
                "← connect client={} version={} mode={} platform={} auth={} conn={}",
                clip(c.client_id(), MAX_TEXT),
                clip(c.info_str("version"), MAX_TEXT),
                c.mode(),
                clip(c.info_str("platform"), MAX_TEXT),
                c.auth.as_str(),
                short(&c.conn_id),
            );
        }
    }

    /// A text that is no JSON was dropped.
    pub fn parse_error(&self, c: &Client, why: &str) {
        log::warn!(target: TARGET, "✗ parse-error error={} conn={}", clip(why, MAX_TEXT), short(&c.conn_id));
    }

    /// A request came in.
    pub fn request(&self, c: &Client, r: &Request) {
        if self.full() {
            log::debug!(
                target: TARGET,
                "← req {} conn={} id={}", clip(&r.method, MAX_TEXT), short(&c.conn_id), short(&r.id),
            );
        }
    }

    /// A request was answered.
    pub fn response(&self, c: &Client, r: &Request, started: Instant, error: Option<&RpcError>) {
        let ms = started.elapsed().as_millis();
        if error.is_none() && ms < SLOW_MS && !self.verbose {
            return;
        }
        let (method, conn, id) = (clip(&r.method, MAX_TEXT), short(&c.conn_id), short(&r.id));
        let arrow = if self.full() { "→" } else { "⇄" };
        match error {
            Some(e) => log::warn!(
                target: TARGET,
                "{arrow} res ✗ {method} {ms}ms errorCode={} errorMessage={} conn={conn} id={id}",
                e.code.as_str(),
                clip(&e.message, MAX_TEXT),
            ),
            None if ms >= SLOW_MS && !self.verbose => {
                log::info!(target: TARGET, "{arrow} res ✓ {method} {ms}ms conn={conn} id={id}");
            }
            None => {
                log::debug!(target: TARGET, "{arrow} res ✓ {method} {ms}ms conn={conn} id={id}")
            }
        }
    }
}

/// An id short enough for a line: UUIDs as 8…4 characters, other long ones as 12…4.
fn short(id: &str) -> String {
    let head = if id.len() == 36 && id.bytes().filter(|b| *b == b'-').count() == 4 {
        8
    } else {
        12
    };
    if id.len() <= 24 {
        return id.to_string();
    }
    let tail = id.char_indices().rev().nth(3).map_or(0, |(i, _)| i);
    format!("{}…{}", clip(id, head), &id[tail..])
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn ids_are_shortened() {
        assert_eq!(short("a-1"), "a-1");
        assert_eq!(
            short("36c9daf5-0000-4000-8000-00000000abcd"),
            "36c9daf5…abcd"
        );
        assert_eq!(short("abcdefghijklmnopqrstuvwxyz"), "abcdefghijkl…wxyz");
        assert_eq!(short(&"é".repeat(30)), "éééééé…éééé");
    }
}
