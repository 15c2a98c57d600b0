//! The answer to a WebSocket upgrade. Who may then stay is the gateway's matter.

use tiny_http::{Method, StatusCode};
use tungstenite::handshake::derive_accept_key;

use super::head::Head;

/// An upgrade that is not granted: send [`Refusal::answer`] and close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: StatusCode,
    pub reason: &'static str,
}

impl Refusal {
    /// The whole answer.
    pub fn answer(&self) -> String {
        format!(
            "HTTP/1.1 {} {}\r\nConnection: close\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n{}",
            self.status.0,
            self.status.default_reason_phrase(),
            self.reason.len(),
            self.reason,
        )
    }
}

/// The head of the answer that grants the WebSocket of `head`, or why there is none.
pub fn accept(head: &Head) -> Result<String, Refusal> {
    let refuse = |status, reason| {
        let status = StatusCode(status);
        Err(Refusal { status, reason })
    };
    if head.method() != &Method::Get {
        return refuse(405, "Invalid HTTP method");
    }
    if !head.is_websocket_upgrade() {
        return refuse(400, "Invalid Upgrade header");
    }
    // 8 is the last draft; its frames are those of the standard.
    if !matches!(head.header("sec-websocket-version"), Some("13" | "8")) {
        return refuse(400, "Missing or invalid Sec-WebSocket-Version header");
    }
    let key = head.header("sec-websocket-key").unwrap_or_default();
    if !is_websocket_key(key) || head.all("sec-websocket-key").count() != 1 {
        return refuse(400, "Missing or invalid Sec-WebSocket-Key header");
    }
    Ok(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    ))
}

/// Whether `key` is 16 bytes of base64.
fn is_websocket_key(key: &str) -> bool {
    key.len() == 24
        && key.strip_suffix("==").is_some_and(|k| {
            k.bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Head {
        super::super::head::parse(text.as_bytes())
            .unwrap()
            .expect("a whole head")
            .0
    }

    fn upgrade(method: &str, protocol: &str, version: &str, key: &str) -> Head {
        head(&format!(
            "{method} /any HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: {protocol}\r\n\
             Sec-WebSocket-Version: {version}\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        ))
    }

    #[test]
    fn websocket_upgrades_are_granted_or_refused() {
        const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
        let good = upgrade("GET", "WebSocket", "13", KEY);
        assert!(good.is_websocket_upgrade());
        let answer = accept(&good).unwrap();
        assert!(answer.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        let refused = |h: &Head| accept(h).unwrap_err().status.0;
        assert_eq!(refused(&upgrade("POST", "websocket", "13", KEY)), 405);
        assert_eq!(refused(&upgrade("GET", "websocket", "7", KEY)), 400);
        assert_eq!(refused(&upgrade("GET", "websocket", "13", "short")), 400);
        let h2c = upgrade("GET", "h2c", "13", KEY);
        assert!(h2c.is_upgrade() && !h2c.is_websocket_upgrade());
        assert_eq!(refused(&h2c), 400);
        assert!(!head("GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n").is_upgrade());
    }
}
