//! A WebSocket to a gateway, every step of which has a deadline.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::HandshakeError;
use tungstenite::http::Uri;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{Message, WebSocket};

use super::error::{ClientError, Phase};
use crate::protocol::MAX_PAYLOAD;
use crate::sys::net;

/// Bytes of the read buffer; a client has one connection, so it may be roomy.
const READ_BUFFER: usize = 32 * 1024;
/// How long a close frame may take to get out.
const CLOSE_WAIT: Duration = Duration::from_millis(200);

/// Where a gateway is, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub url: String,
    pub tls: bool,
    /// Without brackets.
    pub host: String,
    pub port: u16,
}

impl Address {
    /// Takes `url` apart, and refuses plain `ws://` to another machine.
    pub fn parse(url: &str) -> Result<Address, ClientError> {
        let bad = || ClientError::BadUrl(url.to_string());
        let uri: Uri = url.trim().parse().map_err(|_| bad())?;
        let tls = match uri.scheme_str() {
            Some("ws") => false,
            Some("wss") => true,
            _ => return Err(bad()),
        };
        let host = uri.host().filter(|h| !h.is_empty()).ok_or_else(bad)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let local = match host.parse() {
            Ok(ip) => net::is_loopback(ip),
            Err(_) => host.eq_ignore_ascii_case("localhost"),
        };
        if !tls && !local {
            return Err(ClientError::Plaintext(url.trim().to_string()));
        }
        Ok(Address {
            url: url.trim().to_string(),
            tls,
            host: host.to_string(),
            port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }),
        })
    }
}

/// When whatever is going on has to be over. Shared between the socket and the stream under TLS.
type Deadline = Arc<Mutex<Instant>>;

/// A TCP stream whose reads and writes end at a deadline.
pub struct Timed {
    stream: TcpStream,
    until: Deadline,
}

impl Timed {
    fn left(&self) -> io::Result<Duration> {
        let until = *self.until.lock().unwrap_or_else(PoisonError::into_inner);
        match until.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(left),
        }
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        self.stream.read(buffer).map_err(timed_out)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write(bytes).map_err(timed_out)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl tungstenite::stream::NoDelay for Timed {
    fn set_nodelay(&mut self, on: bool) -> io::Result<()> {
        self.stream.set_nodelay(on)
    }
}

/// A socket timeout shows as `WouldBlock`, which codecs take for "call again".
fn timed_out(e: io::Error) -> io::Error {
    match e.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => e,
    }
}

/// An open WebSocket.
pub struct Socket {
    ws: WebSocket<MaybeTlsStream<Timed>>,
    until: Deadline,
    /// The address that was reached.
    pub peer: SocketAddr,
}

impl Socket {
    /// Connects and upgrades; `connect` bounds TCP, `upgrade` the rest, `until` both.
    pub fn open(
        address: &Address,
        connect: Duration,
        upgrade: Duration,
        until: Instant,
    ) -> Result<Socket, ClientError> {
        let (stream, peer) = dial(address, connect, until)?;
        let started = Instant::now();
        let deadline: Deadline = Arc::new(Mutex::new(until.min(started + upgrade)));
        let timed = Timed {
            stream,
            until: deadline.clone(),
        };
        let request = address
            .url
            .as_str()
            .into_client_request()
            .map_err(|_| ClientError::BadUrl(address.url.clone()))?;
        let ws = handshake(request, timed).map_err(|e| match e {
            tungstenite::Error::Io(e) if e.kind() == io::ErrorKind::TimedOut => {
                timeout(Phase::Upgrade, started)
            }
            tungstenite::Error::Io(e) if e.kind() == io::ErrorKind::ConnectionReset => lost(),
            tungstenite::Error::Http(answer) => ClientError::NotAGateway(format!(
                "{peer} answered HTTP {}",
                answer.status().as_u16()
            )),
            tungstenite::Error::Url(_) => ClientError::NoTls(address.url.clone()),
            e => ClientError::NotAGateway(format!("{peer}: {e}")),
        })?;
        Ok(Socket {
            ws,
            until: deadline,
            peer,
        })
    }

    /// Sends one text.
    pub fn send(&mut self, text: String, phase: Phase, until: Instant) -> Result<(), ClientError> {
        let started = Instant::now();
        self.set(until);
        self.ws
            .send(Message::text(text))
            .map_err(|e| broken(e, phase, started))
    }

    /// The next text. Pings are answered, anything else is skipped.
    pub fn receive(&mut self, phase: Phase, until: Instant) -> Result<String, ClientError> {
        let started = Instant::now();
        self.set(until);
        loop {
            match self.ws.read() {
                Ok(Message::Text(text)) => return Ok(text.as_str().to_string()),
                Ok(Message::Binary(bytes)) => {
                    if let Ok(text) = String::from_utf8(bytes.to_vec()) {
                        return Ok(text);
                    }
                }
                Ok(Message::Close(Some(frame))) => {
                    return Err(ClientError::Closed {
                        code: frame.code.into(),
                        reason: frame.reason.as_str().to_string(),
                    });
                }
                Ok(Message::Close(None)) => {
                    return Err(ClientError::Closed {
                        code: CloseCode::Status.into(),
                        reason: String::new(),
                    });
                }
                Ok(_) => {}
                Err(e) => return Err(broken(e, phase, started)),
            }
        }
    }

    /// Says goodbye; what comes after is not waited for.
    pub fn close(&mut self) {
        self.set(Instant::now() + CLOSE_WAIT);
        let _ = self.ws.close(None);
        let _ = self.ws.flush();
    }

    fn set(&self, until: Instant) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }
}

fn dial(
    address: &Address,
    connect: Duration,
    until: Instant,
) -> Result<(TcpStream, SocketAddr), ClientError> {
    let started = Instant::now();
    let until = until.min(started + connect);
    let found = (address.host.as_str(), address.port)
        .to_socket_addrs()
        .map_err(|error| ClientError::Unresolved {
            host: address.host.clone(),
            error,
        })?;
    let mut last = None;
    for peer in found {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(timeout(Phase::Connect, started));
        }
        match TcpStream::connect_timeout(&peer, left) {
            Ok(stream) => {
                // Without it a small request may wait for the peer's delayed acknowledgement.
                let _ = stream.set_nodelay(true);
                return Ok((stream, peer));
            }
            Err(e) => last = Some((peer, e)),
        }
    }
    Err(match last {
        None => ClientError::BadUrl(address.url.clone()),
        Some((peer, e)) => match e.kind() {
            io::ErrorKind::ConnectionRefused => ClientError::Refused(peer),
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => timeout(Phase::Connect, started),
            _ => ClientError::Unreachable {
                address: peer,
                error: e,
            },
        },
    })
}

fn handshake(
    request: tungstenite::handshake::client::Request,
    stream: Timed,
) -> Result<WebSocket<MaybeTlsStream<Timed>>, tungstenite::Error> {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_message_size(Some(MAX_PAYLOAD))
        .max_frame_size(Some(MAX_PAYLOAD));
    #[cfg(feature = "tls")]
    let done = tungstenite::client_tls_with_config(request, stream, Some(config), None);
    #[cfg(not(feature = "tls"))]
    let done = match request.uri().scheme_str() {
        Some("wss") => {
            use tungstenite::error::{Error, UrlError};
            return Err(Error::Url(UrlError::TlsFeatureNotEnabled));
        }
        _ => {
            let stream = MaybeTlsStream::Plain(stream);
            tungstenite::client::client_with_config(request, stream, Some(config))
        }
    };
    match done {
        Ok((ws, _)) => Ok(ws),
        Err(HandshakeError::Failure(e)) => Err(e),
        // Our stream never says "would block".
        Err(HandshakeError::Interrupted(_)) => {
            Err(tungstenite::Error::Io(io::ErrorKind::TimedOut.into()))
        }
    }
}

fn broken(e: tungstenite::Error, phase: Phase, started: Instant) -> ClientError {
    match e {
        tungstenite::Error::Io(e) if e.kind() == io::ErrorKind::TimedOut => timeout(phase, started),
        tungstenite::Error::Capacity(e) => ClientError::NotAGateway(e.to_string()),
        tungstenite::Error::Protocol(
            tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
        )
        | tungstenite::Error::Io(_)
        | tungstenite::Error::ConnectionClosed
        | tungstenite::Error::AlreadyClosed => lost(),
        e => ClientError::NotAGateway(e.to_string()),
    }
}

fn lost() -> ClientError {
    ClientError::Closed {
        code: CloseCode::Abnormal.into(),
        reason: String::new(),
    }
}

fn timeout(phase: Phase, started: Instant) -> ClientError {
    ClientError::Timeout {
        phase,
        after: started.elapsed(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let a = Address::parse(" ws://127.0.0.1:18789 ").unwrap();
        assert_eq!(
            (a.tls, a.host.as_str(), a.port),
            (false, "127.0.0.1", 18789)
        );
        let a = Address::parse("wss://[2001:db8::1]/base").unwrap();
        assert_eq!((a.tls, a.host.as_str(), a.port), (true, "2001:db8::1", 443));
        assert!(Address::parse("ws://[::1]:1").is_ok() && Address::parse("ws://localhost").is_ok());
    }

    #[test]
    fn plain_text_never_leaves_the_machine() {
        for url in [
            "ws://192.168.1.2:18789",
            "ws://example.org",
            "ws://localhost.example.org",
        ] {
            assert!(
                matches!(Address::parse(url), Err(ClientError::Plaintext(_))),
                "{url}"
            );
        }
    }

    #[test]
    fn other_schemes_and_nonsense_are_no_addresses() {
        for url in [
            "",
            "http://127.0.0.1",
            "127.0.0.1:18789",
            "ws://",
            "ws:// x",
        ] {
            assert!(
                matches!(Address::parse(url), Err(ClientError::BadUrl(_))),
                "{url}"
            );
        }
    }
}
