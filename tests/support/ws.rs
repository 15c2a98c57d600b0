//! A raw WebSocket client: tungstenite's codec over a plain socket, one thread, deadlines everywhere.
//!
//! It knows frames, not meaning, so that a test can send whatever it likes. Frames that a wait passes
//! over are kept and found by later waits, in their order.

use std::collections::VecDeque;
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::protocol::WebSocketConfig;
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

    /// The same with further request headers; a refused upgrade gives its HTTP status (0: no answer at all).
    pub fn open_with(port: u16, headers: &[(&'static str, &str)]) -> Result<Client, u16> {
        let stream = TcpStream::connect(("127.0.0.1", port)).map_err(|_| 0u16)?;
        Client::upgrade(stream, port, headers)
    }

    /// The same over a connection that the test made (another source address, say).
    pub fn upgrade(
        stream: TcpStream,
        port: u16,
        headers: &[(&'static str, &str)],
    ) -> Result<Client, u16> {
        stream
            .set_read_timeout(Some(DEADLINE))
            .expect("read timeout");
        stream
            .set_write_timeout(Some(DEADLINE))
            .expect("write timeout");
        stream.set_nodelay(true).expect("nodelay");
        let mut request = format!("ws://127.0.0.1:{port}/")
            .into_client_request()
            .expect("request");
        for (name, value) in headers {
            request
                .headers_mut()
                .insert(*name, value.parse().expect("header value"));
        }
        let limits = WebSocketConfig::default()
            .max_message_size(None)
            .max_frame_size(None);
        let socket = match tungstenite::client::client_with_config(request, stream, Some(limits)) {
            Ok((socket, _)) => socket,
            Err(tungstenite::HandshakeError::Failure(Error::Http(response))) => {
                return Err(response.status().as_u16());
            }
            Err(_) => return Err(0),
        };
        let mut client = Client {
            socket,
            kept: VecDeque::new(),
            closed: None,
            nonce: String::new(),
            hello: Value::Null,
            next_id: 0,
        };
        let challenge = client.event("connect.challenge", |_| true);
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

    /// Waits for the next response to the request `id`.
    #[track_caller]
    pub fn response(&mut self, id: &str) -> Value {
        self.wait(&format!("response to {id}"), |frame| {
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
    pub fn wait(&mut self, what: &str, mut fits: impl FnMut(&Value) -> bool) -> Value {
        if let Some(index) = self.kept.iter().position(&mut fits) {
            return self.kept.remove(index).expect("index is in range");
        }
        let end = Instant::now() + DEADLINE;
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
