//! A raw WebSocket client: tungstenite's codec over a plain socket, one thread, deadlines everywhere.
//!
//! It knows frames, not meaning, so that a test can send whatever it likes. Frames that a wait passes
//! over are kept and found by later waits, in their order.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Bytes, Error, Message, WebSocket};

use super::{Connect, DEADLINE, Device};

/// What the peer did next.
#[derive(Debug)]
pub enum Incoming {
    Frame(Value),
    Closed(Closed),
    /// Nothing within the time given.
    Nothing,
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Closed {
    /// Close code; 1006 when the connection ended without a close frame.
    pub code: u16,
    pub reason: String,
}

/// One masked frame as bytes: `opcode` 1 text, 2 binary, 0 continuation, 8 close, 9 ping.
pub fn frame(opcode: u8, last: bool, payload: &[u8]) -> Vec<u8> {
    let mut bytes = frame_head(opcode, last, payload.len() as u64);
    // The mask is zero, so the payload stands as it is.
    bytes.extend_from_slice(payload);
    bytes
}

/// The head of such a frame, for a payload of this length that may never come.
pub fn frame_head(opcode: u8, last: bool, length: u64) -> Vec<u8> {
    let mut bytes = vec![opcode | if last { 0x80 } else { 0 }];
    match length {
        0..=125 => bytes.push(0x80 | length as u8),
        126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
    }
    bytes.extend_from_slice(&[0; 4]);
    bytes
}

/// One connection.
pub struct Client {
    socket: WebSocket<TcpStream>,
    kept: VecDeque<Value>,
    closed: Option<Closed>,
    /// Nonce of the challenge.
    pub nonce: String,
    /// Payload of `hello-ok`, once connected.
    pub hello: Value,
    next_id: u64,
}

impl Client {
    /// Upgrades and reads the challenge.
    #[track_caller]
    pub fn open(port: u16) -> Client {
        Client::open_with(port, &[])
            .unwrap_or_else(|status| panic!("upgrade refused with {status}"))
    }

    /// The same with further request headers (a `host` replaces the usual one); a refused upgrade gives its
    /// HTTP status, 0 when there was no answer at all.
    pub fn open_with(port: u16, headers: &[(&str, &str)]) -> Result<Client, u16> {
        let stream = TcpStream::connect(("127.0.0.1", port)).map_err(|_| 0u16)?;
        Client::upgrade(stream, port, headers)
    }

    /// The same over a connection that the test made (from another source address, say).
    pub fn upgrade(
        mut stream: TcpStream,
        port: u16,
        headers: &[(&str, &str)],
    ) -> Result<Client, u16> {
        stream
            .set_read_timeout(Some(DEADLINE))
            .expect("read timeout");
        stream
            .set_write_timeout(Some(DEADLINE))
            .expect("write timeout");
        stream.set_nodelay(true).expect("nodelay");
        let mut head = String::from("GET / HTTP/1.1\r\n");
        let own_host = format!("127.0.0.1:{port}");
        let usual = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let host = (!headers.iter().any(|(name, _)| *name == "host"))
            .then_some(("Host", own_host.as_str()));
        for (name, value) in host.iter().chain(&usual).chain(headers) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        stream
            .write_all((head + "\r\n").as_bytes())
            .map_err(|_| 0u16)?;
        // Byte by byte: what follows the head belongs to the WebSocket.
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).map_err(|_| 0u16)?;
            answer.push(byte[0]);
        }
        let answer = String::from_utf8_lossy(&answer);
        match answer
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
        {
            Some(101) => {}
            Some(status) => return Err(status),
            None => panic!("not HTTP: {answer:?}"),
        }
        assert!(
            answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            "wrong Sec-WebSocket-Accept: {answer:?}"
        );
        let limits = WebSocketConfig::default()
            .max_message_size(None)
            .max_frame_size(None);
        let mut client = Client {
            socket: WebSocket::from_raw_socket(stream, Role::Client, Some(limits)),
            kept: VecDeque::new(),
            closed: None,
            nonce: String::new(),
            hello: Value::Null,
            next_id: 0,
        };
        let challenge = match client.read(DEADLINE) {
            Incoming::Frame(frame) => frame,
            Incoming::Closed(_) => return Err(0),
            Incoming::Nothing => panic!("no challenge"),
        };
        assert_eq!(challenge["event"], "connect.challenge", "{challenge}");
        client.nonce = challenge["payload"]["nonce"]
            .as_str()
            .expect("nonce")
            .to_string();
        Ok(client)
    }

    /// Opens and connects as `who` with `device`; the answer has to be `hello-ok`.
    #[track_caller]
    pub fn connect(port: u16, who: &Connect, device: Option<&Device>) -> Client {
        let mut client = Client::open(port);
        client.hello = super::ok(&client.introduce(who, device));
        client
    }

    /// An operator with a new device and these scopes.
    #[track_caller]
    pub fn operator(port: u16, scopes: &[&str]) -> Client {
        Client::connect(
            port,
            &Connect::operator().scopes(scopes),
            Some(&Device::new()),
        )
    }

    /// An operator with every scope.
    #[track_caller]
    pub fn admin(port: u16) -> Client {
        Client::operator(port, &super::ALL_SCOPES)
    }

    /// Sends `connect` and gives back the response, whatever it is.
    #[track_caller]
    pub fn introduce(&mut self, who: &Connect, device: Option<&Device>) -> Value {
        let params = who.params(device, &self.nonce);
        self.call("connect", params)
    }

    /// Sends one text message as it is. A peer that has closed is not an error here: the next wait says so.
    pub fn send_text(&mut self, text: &str) {
        let _ = self.socket.send(Message::text(text));
    }

    /// Sends one binary message as it is.
    pub fn send_binary(&mut self, bytes: &[u8]) {
        let _ = self
            .socket
            .send(Message::Binary(Bytes::copy_from_slice(bytes)));
    }

    /// Writes bytes below the WebSocket layer. False when the peer is gone.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> bool {
        self.socket.get_mut().write_all(bytes).is_ok()
    }

    /// The socket below.
    pub fn stream(&mut self) -> &mut TcpStream {
        self.socket.get_mut()
    }

    /// Sends a request and gives back its id.
    pub fn post(&mut self, method: &str, params: Value) -> String {
        self.next_id += 1;
        let id = format!("t{}", self.next_id);
        self.send_text(
            &json!({"type": "req", "id": id, "method": method, "params": params}).to_string(),
        );
        id
    }

    /// Sends a request and waits for its (first) response.
    #[track_caller]
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        let id = self.post(method, params);
        self.response(&id)
    }

    /// The same on a connection that may end meanwhile (None then).
    pub fn try_call(&mut self, method: &str, params: Value) -> Option<Value> {
        let id = self.post(method, params);
        let end = Instant::now() + DEADLINE;
        loop {
            match self.read(end.saturating_duration_since(Instant::now())) {
                Incoming::Frame(frame) if frame["type"] == "res" && frame["id"] == *id => {
                    return Some(frame);
                }
                Incoming::Frame(frame) => self.kept.push_back(frame),
                Incoming::Closed(_) => return None,
                Incoming::Nothing => panic!("{method}: no response and no close"),
            }
        }
    }

    /// Sends `connect` on a connection that may end meanwhile (None then).
    pub fn try_introduce(&mut self, who: &Connect, device: Option<&Device>) -> Option<Value> {
        let params = who.params(device, &self.nonce);
        self.try_call("connect", params)
    }

    /// Waits for the next response to the request `id`.
    #[track_caller]
    pub fn response(&mut self, id: &str) -> Value {
        self.wait(&format!("response to {id}"), |frame| {
            frame["type"] == "res" && frame["id"] == id
        })
    }

    /// The same with a deadline of the test's own.
    #[track_caller]
    pub fn response_within(&mut self, id: &str, within: Duration) -> Value {
        self.wait_within(&format!("response to {id}"), within, |frame| {
            frame["type"] == "res" && frame["id"] == id
        })
    }

    /// Waits for an event whose payload fits; gives back the whole frame.
    #[track_caller]
    pub fn event(&mut self, name: &str, mut fits: impl FnMut(&Value) -> bool) -> Value {
        self.wait(&format!("event {name}"), |frame| {
            frame["type"] == "event" && frame["event"] == name && fits(&frame["payload"])
        })
    }

    /// Waits for a frame that fits, and keeps the others.
    #[track_caller]
    pub fn wait(&mut self, what: &str, fits: impl FnMut(&Value) -> bool) -> Value {
        self.wait_within(what, DEADLINE, fits)
    }

    /// The same with a deadline of the test's own.
    #[track_caller]
    pub fn wait_within(
        &mut self,
        what: &str,
        within: Duration,
        mut fits: impl FnMut(&Value) -> bool,
    ) -> Value {
        if let Some(index) = self.kept.iter().position(&mut fits) {
            return self.kept.remove(index).expect("index is in range");
        }
        let end = Instant::now() + within;
        loop {
            match self.read(end.saturating_duration_since(Instant::now())) {
                Incoming::Frame(frame) if fits(&frame) => return frame,
                Incoming::Frame(frame) => self.kept.push_back(frame),
                Incoming::Closed(closed) => {
                    panic!("{what}: closed with {closed:?}; kept {:?}", self.kept)
                }
                Incoming::Nothing => panic!("{what}: deadline passed; kept {:?}", self.kept),
            }
        }
    }

    /// The next frame in arrival order, kept ones first.
    pub fn next(&mut self, within: Duration) -> Incoming {
        match self.kept.pop_front() {
            Some(frame) => Incoming::Frame(frame),
            None => self.read(within),
        }
    }

    /// Waits for the end of the connection, keeping the frames that come before it.
    #[track_caller]
    pub fn closed(&mut self) -> Closed {
        let end = Instant::now() + DEADLINE;
        loop {
            match self.read(end.saturating_duration_since(Instant::now())) {
                Incoming::Frame(frame) => self.kept.push_back(frame),
                Incoming::Closed(closed) => return closed,
                Incoming::Nothing => panic!("still open at the deadline; kept {:?}", self.kept),
            }
        }
    }

    /// All frames that have arrived up to now: those before the answer to a `health` request, which is
    /// answered in order. This is how a test sees that something was *not* sent, without waiting for it.
    #[track_caller]
    pub fn so_far(&mut self) -> Vec<Value> {
        let id = self.post("health", json!({}));
        self.response(&id);
        self.kept.drain(..).collect()
    }

    /// Ends the connection in the polite way.
    pub fn close(mut self) {
        let _ = self.socket.close(None);
        let _ = self.socket.flush();
    }

    fn read(&mut self, within: Duration) -> Incoming {
        if let Some(closed) = &self.closed {
            return Incoming::Closed(closed.clone());
        }
        let end = Instant::now() + within;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Incoming::Nothing;
            }
            let _ = self.socket.get_ref().set_read_timeout(Some(left));
            match self.socket.read() {
                Ok(Message::Text(text)) => {
                    let frame = serde_json::from_str(&text);
                    return Incoming::Frame(
                        frame.unwrap_or_else(|_| json!({"not-json": text.as_str()})),
                    );
                }
                Ok(Message::Close(frame)) => {
                    let closed = match frame {
                        Some(frame) => Closed {
                            code: frame.code.into(),
                            reason: frame.reason.to_string(),
                        },
                        None => Closed {
                            code: 1005,
                            reason: String::new(),
                        },
                    };
                    // The close is answered, or a server that waits for it would keep the socket.
                    let _ = self.socket.flush();
                    self.closed = Some(closed.clone());
                    return Incoming::Closed(closed);
                }
                Ok(_) => {}
                Err(Error::Io(error))
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(Error::Io(error)) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    let closed = Closed {
                        code: 1006,
                        reason: String::new(),
                    };
                    self.closed = Some(closed.clone());
                    return Incoming::Closed(closed);
                }
            }
        }
    }
}
