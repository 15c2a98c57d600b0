//! The thread of one connection: sniff, then HTTP or WebSocket.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tungstenite::protocol::{Role as Side, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

use super::client::Client;
use super::handshake::{self, Refused};
use super::listener::Place;
use super::outbox::Outbox;
use super::peer::Peer;
use super::web::Web;
use super::{Gateway, hello};
use crate::http;
use crate::http::head::{self, Head};
use crate::http::serve::Served;
use crate::http::socket::Socket;
use crate::methods::{self, Next};
use crate::protocol::{Event, MAX_PAYLOAD, MAX_PAYLOAD_BEFORE_AUTH, frame};
use crate::sys::{clock, id, os};

/// From the opening of the socket to the end of the request head.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// From the opening of a WebSocket to hello-ok.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// Longest time that one frame may wait for a client to read; then it is closed.
const WRITE_STALL: Duration = Duration::from_secs(30);
/// Silence after which the kernel asks whether the peer is still there, and how long it may stay silent then.
const PEER_IDLE: Duration = Duration::from_secs(60);
const PEER_TIMEOUT: Duration = Duration::from_secs(60);
/// What is still read and thrown away after a refusal, so that the peer gets the reason: time and bytes.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 64 * 1024 * 1024;
/// Read buffer of a WebSocket, in bytes: paid by every idle connection.
const READ_BUFFER: usize = 4 * 1024;
/// Bound of tungstenite's own write buffer: control frames only, ours go past it.
const CONTROL_BUFFER: usize = 4 * 1024;
/// Stack of the thread that drains a connection's queue, in bytes.
const DRAIN_STACK: usize = 64 * 1024;

/// Body of a connection's thread.
pub fn serve(mut socket: TcpStream, address: SocketAddr, place: Place) {
    let run = AssertUnwindSafe(|| {
        let _ = socket.set_nodelay(true);
        let _ = socket.limit_write(Some(WRITE_STALL));
        let mut buffered = Vec::new();
        match head::read_head(&mut socket, &mut buffered, Instant::now() + HEAD_DEADLINE) {
            Ok(head) if head.is_upgrade() => websocket(&socket, address, &place, &head, buffered),
            Ok(head) => {
                let Ok(local) = socket.local_addr() else {
                    return;
                };
                let peer = http::serve::Peer {
                    remote: address,
                    local,
                };
                let limits = http::serve::Limits::default();
                let routes = http::Site {
                    host: &Web::new(&place),
                };
                // A request has come whole; from here its own deadlines hold, and no newcomer evicts it.
                place.gateway.connections.authenticated(place.number);
                // A keep-alive connection may turn into a WebSocket with a later request.
                if let Served::WebSocket(head, rest) =
                    http::serve::serve(&mut socket, head, buffered, peer, &routes, &limits)
                {
                    websocket(&socket, address, &place, &head, rest);
                }
            }
            Err(e) => {
                if let Some(answer) = e.answer() {
                    let _ = socket.write_all(answer.as_bytes());
                    drain_input(&mut socket);
                }
            }
        }
    });
    if catch_unwind(run).is_err() {
        log::error!(target: "gateway", "a connection failed unexpectedly; the gateway goes on");
    }
}

fn websocket(
    socket: &TcpStream,
    address: SocketAddr,
    place: &Place,
    head: &Head,
    buffered: Vec<u8>,
) {
    let mut writer = socket;
    let answer = match http::upgrade::accept(head) {
        Ok(answer) => answer,
        Err(refusal) => {
            let _ = writer.write_all(refusal.answer().as_bytes());
            return drain_input(&mut writer);
        }
    };
    let gateway = &place.gateway;
    let peer = Peer::new(address, head.headers().to_vec(), &gateway.config.current());
    let opened = Instant::now();
    let Ok(outbox) = Outbox::new(socket).map(Arc::new) else {
        return;
    };
    if writer.write_all(answer.as_bytes()).is_err() {
        return;
    }
    let stream = Stream {
        socket,
        outbox: &outbox,
        deadline: Some(opened + HANDSHAKE_DEADLINE),
    };
    let mut ws = WebSocket::from_partially_read(
        stream,
        buffered,
        Side::Server,
        Some(limits(MAX_PAYLOAD_BEFORE_AUTH)),
    );

    let nonce = id::uuid();
    let challenge = json!({"nonce": nonce, "ts": clock::now_ms()}).to_string();
    let challenge =
        frame::event_head(Event::ConnectChallenge, &challenge, None) + &frame::event_tail(None);
    if outbox.write_text(&challenge).is_err() {
        return;
    }
    gateway.ws_log.open(&peer);
    let refused = match first_frame(&mut ws) {
        First::Gone => return,
        First::Refused(r) => r,
        First::Text(text) => match handshake::connect(gateway, &peer, &nonce, &text) {
            Ok(accepted) => return session(ws, place, &peer, accepted, outbox.clone()),
            Err(r) => r,
        },
    };
    gateway.ws_log.refused(&peer, &refused);
    if let Some((id, error)) = &refused.answer {
        let _ = outbox.write_text(&frame::response_err(id, error));
    }
    outbox.write_close(refused.code, &refused.reason);
    drain_input(&mut writer);
}

/// The first message of a socket.
enum First {
    Text(String),
    Refused(Box<Refused>),
    Gone,
}

fn first_frame(ws: &mut WebSocket<Stream<'_>>) -> First {
    let refused = |code, reason: &str| {
        First::Refused(Box::new(Refused {
            answer: None,
            code,
            reason: reason.to_string(),
        }))
    };
    match next_text(ws) {
        Ok(Some(text)) => First::Text(text),
        Ok(None) | Err(Error::ConnectionClosed | Error::AlreadyClosed) => First::Gone,
        Err(Error::Capacity(_)) => refused(1009, ""),
        // The handshake deadline: closed as the reference closes it, without a word.
        Err(Error::Io(e)) if e.kind() == io::ErrorKind::TimedOut => refused(1000, ""),
        Err(Error::Io(_)) => First::Gone,
        Err(Error::Utf8(_)) => refused(1007, ""),
        Err(_) => refused(1002, ""),
    }
}

/// The next message as text; a binary one counts when it is UTF-8. `None` when the peer has closed.
fn next_text(ws: &mut WebSocket<Stream<'_>>) -> Result<Option<String>, Error> {
    loop {
        match ws.read()? {
            Message::Text(text) => return Ok(Some(text.as_str().to_string())),
            Message::Binary(bytes) => {
                return Ok(Some(String::from_utf8_lossy(&bytes).into_owned()));
            }
            Message::Close(_) => return Ok(None),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
}

/// An authenticated connection, to its end.
fn session(
    mut ws: WebSocket<Stream<'_>>,
    place: &Place,
    peer: &Peer,
    accepted: handshake::Accepted,
    outbox: Arc<Outbox>,
) {
    let gateway = &place.gateway;
    let client = Arc::new(Client {
        number: place.number,
        conn_id: id::uuid(),
        address: peer.client,
        local: peer.local,
        role: accepted.role,
        scopes: accepted.scopes,
        auth: accepted.auth,
        secret_print: accepted.secret_print,
        device_id: accepted.device_id,
        info: accepted.info,
        caps: accepted.caps,
        commands: accepted.commands,
        permissions: accepted.permissions,
        path_env: accepted.path_env,
        connected_at_ms: clock::now_ms(),
        outbox: outbox.clone(),
        wrong_role: AtomicU32::new(0),
        waiting: AtomicU32::new(0),
    });
    ws.set_config(|c| *c = limits(MAX_PAYLOAD));
    let stream = ws.get_mut();
    stream.deadline = None;
    let _ = stream.socket.limit_read(None);
    let _ = os::watch_peer(stream.socket, PEER_IDLE, PEER_TIMEOUT);

    let joined = Joined::new(gateway, &client, place.number);
    let Some(joined) = joined else {
        outbox.write_close(1012, "service restart");
        return;
    };
    let hello = hello::hello_ok(gateway, &client, accepted.protocol, accepted.issued);
    if outbox
        .write_text(&frame::response_ok(&accepted.id, Some(&hello)))
        .is_err()
    {
        return;
    }
    let drain = outbox.clone();
    let drainer = std::thread::Builder::new()
        .name("drain".into())
        .stack_size(DRAIN_STACK)
        .spawn(move || drain.drain());
    if drainer.is_err() {
        log::warn!(target: "gateway", "out of threads: a connection was refused");
        return outbox.write_close(1013, "try again later");
    }
    gateway.ws_log.connected(&client);
    gateway.connected();

    loop {
        match next_text(&mut ws) {
            Ok(Some(text)) => match methods::dispatch(gateway, &client, &text) {
                Next::Continue => {}
                Next::Close(reason) => outbox.close(1008, reason),
            },
            Ok(None) => break,
            Err(Error::Capacity(_)) => {
                outbox.write_close(1009, "");
                drain_input(&mut ws.get_mut().socket);
                break;
            }
            Err(Error::Utf8(_)) => {
                outbox.write_close(1007, "");
                break;
            }
            Err(Error::Protocol(_)) => {
                outbox.write_close(1002, "");
                break;
            }
            Err(_) => break,
        }
    }
    drop(joined);
}

/// Membership in the hub and all that hangs on it; ends with the connection, however it ends.
struct Joined {
    gateway: Arc<Gateway>,
    client: Arc<Client>,
}

impl Joined {
    /// `None` when the gateway is shutting down and takes nobody any more.
    fn new(gateway: &Arc<Gateway>, client: &Arc<Client>, number: u64) -> Option<Joined> {
        gateway.connections.authenticated(number);
        gateway.hub.join(client.clone());
        if gateway.stopping.load(Ordering::Acquire) {
            gateway.hub.leave(client.number);
            return None;
        }
        gateway.presence.connected(client);
        // Before hello-ok: whoever sees the node connected may invoke it. Events wait for the drain thread.
        gateway.node_connected(client);
        if client.client_id() != "cli" {
            gateway.hub.presence_changed();
        }
        Some(Joined {
            gateway: gateway.clone(),
            client: client.clone(),
        })
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        self.client.outbox.abandon();
        self.gateway.hub.leave(self.client.number);
        self.gateway.disconnected(&self.client);
    }
}

fn limits(max_message: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(CONTROL_BUFFER)
        .max_message_size(Some(max_message))
        .max_frame_size(Some(max_message))
}

/// Reads and throws away what the peer is still sending, within bounds.
///
/// Closing a socket with unread input resets it, and the peer would lose the reason it was just given.
fn drain_input(socket: &mut (impl Read + FinishWrite)) {
    socket.finish();
    let deadline = Instant::now() + LINGER;
    let mut waste = [0u8; 16 * 1024];
    let mut total = 0;
    while total < LINGER_BYTES {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || socket.limit(left).is_err() {
            return;
        }
        match socket.read(&mut waste) {
            Ok(0) => return,
            Ok(n) => total += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// What [`drain_input`] needs of an owned or a borrowed socket.
trait FinishWrite {
    fn finish(&self);
    fn limit(&self, time: Duration) -> io::Result<()>;
}

impl FinishWrite for TcpStream {
    fn finish(&self) {
        let _ = self.finish_write();
    }
    fn limit(&self, time: Duration) -> io::Result<()> {
        self.limit_read(Some(time))
    }
}

impl FinishWrite for &TcpStream {
    fn finish(&self) {
        let _ = self.finish_write();
    }
    fn limit(&self, time: Duration) -> io::Result<()> {
        self.limit_read(Some(time))
    }
}

/// The reading side of a WebSocket. What tungstenite writes on its own (pongs, close answers) goes through
/// the frame lock.
struct Stream<'a> {
    socket: &'a TcpStream,
    outbox: &'a Outbox,
    /// When reading has to be over; `None` after authentication.
    deadline: Option<Instant>,
}

impl Read for Stream<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if let Some(deadline) = self.deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.socket.limit_read(Some(left))?;
            return match self.socket.read(buf) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    Err(io::ErrorKind::TimedOut.into())
                }
                other => other,
            };
        }
        self.socket.read(buf)
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.outbox.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
