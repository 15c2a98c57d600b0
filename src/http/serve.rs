//! One HTTP connection from its first head to its close.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use tiny_http::{Method, StatusCode};

use super::body::{Body, BodyError};
use super::head::{Framing, Head, HeadError, read_head};
use super::response::{self, Framed, Response};
use super::socket::{Socket, read_until, write_within};
use super::upgrade::Refusal;
use crate::sys::log::field;

/// Bytes of an unread body that are read away to keep the connection.
const DRAIN_BYTES: u64 = 256 * 1024;
/// Longest time for that.
const DRAIN_TIME: Duration = Duration::from_secs(2);
/// Bytes that are read away after the last answer, so that it is not lost in a reset.
const LINGER_BYTES: usize = 1024 * 1024;
/// Longest time for that.
const LINGER_TIME: Duration = Duration::from_secs(1);

/// Deadlines by phase, and bounds, of one connection.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the first byte of a head to its last.
    pub head: Duration,
    /// Between an answer and the first byte of the next request.
    pub idle: Duration,
    /// From the first wish for a body to its last byte.
    pub body: Duration,
    /// For the peer to take 16 KiB of an answer.
    pub write: Duration,
    /// Requests on one connection.
    pub requests: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            head: Duration::from_secs(10),
            idle: Duration::from_secs(5),
            body: Duration::from_secs(30),
            write: Duration::from_secs(30),
            requests: 1_000,
        }
    }
}

/// Both ends of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Who connected.
    pub remote: SocketAddr,
    /// The address of ours that was connected to.
    pub local: SocketAddr,
}

/// What answers requests.
pub trait Routes {
    /// The answer to `request`. Runs on the connection's thread and may take as long as it must.
    fn answer(&self, request: &mut Request<'_>) -> Response;

    /// The value of `Strict-Transport-Security` for all answers, when one is configured.
    fn hsts(&self) -> Option<String>;
}

/// A request whose body has not been read.
pub struct Request<'a> {
    pub head: &'a Head,
    pub peer: Peer,
    body: Body<'a>,
    body_time: Duration,
}

impl<'a> Request<'a> {
    /// A request whose body starts at the front of `buf`, with the default deadline for reading it.
    pub fn new(
        socket: &'a mut dyn Socket,
        buf: &'a mut Vec<u8>,
        head: &'a Head,
        peer: Peer,
    ) -> Request<'a> {
        Request {
            head,
            peer,
            body: Body::new(socket, buf, head.framing()),
            body_time: Limits::default().body,
        }
    }

    /// The whole body, at most `limit` bytes. To be called once, and after the credential was checked.
    ///
    /// After an error the connection is closed behind the answer.
    pub fn read_body(&mut self, limit: u64) -> Result<Vec<u8>, BodyError> {
        self.body.read(limit, Instant::now() + self.body_time)
    }
}

/// How serving a connection ended.
#[derive(Debug)]
pub enum Served {
    /// Nothing more to do: close it.
    Done,
    /// A request after the first asks for a WebSocket; the bytes are those that follow its head.
    WebSocket(Box<Head>, Vec<u8>),
}

/// Answers `first`, whose head was read already, and the requests that follow it on the connection.
///
/// `buf` holds what was received behind that head. WebSocket upgrades are handed back. The socket's timeouts are
/// left as they were last set.
pub fn serve(
    socket: &mut dyn Socket,
    first: Head,
    mut buf: Vec<u8>,
    peer: Peer,
    routes: &dyn Routes,
    limits: &Limits,
) -> Served {
    let mut head = first;
    for left in (0..limits.requests.max(1)).rev() {
        if head.is_upgrade() {
            let refusal = Refusal {
                status: StatusCode(400),
                reason: "Invalid Upgrade header",
            };
            let _ = write_within(socket, refusal.answer().as_bytes(), limits.write);
            break;
        }
        if !exchange(socket, &head, &mut buf, peer, routes, limits, left > 0) {
            break;
        }
        head = match next_head(socket, &mut buf, limits) {
            Ok(next) if next.is_websocket_upgrade() => {
                return Served::WebSocket(Box::new(next), buf);
            }
            Ok(next) => next,
            Err(e) => {
                if let Some(answer) = e.answer() {
                    let _ = write_within(socket, answer.as_bytes(), limits.write);
                    break;
                }
                return Served::Done;
            }
        };
    }
    linger(socket);
    Served::Done
}

/// Waits for the next request, then reads its head.
fn next_head(
    socket: &mut dyn Socket,
    buf: &mut Vec<u8>,
    limits: &Limits,
) -> Result<Head, HeadError> {
    if buf.is_empty() {
        let mut byte = [0u8; 1];
        match read_until(socket, &mut byte, Instant::now() + limits.idle) {
            Ok(1) => buf.push(byte[0]),
            _ => return Err(HeadError::Idle),
        }
    }
    read_head(socket, buf, Instant::now() + limits.head)
}

/// One request and its answer. Whether another may follow.
fn exchange(
    socket: &mut dyn Socket,
    head: &Head,
    buf: &mut Vec<u8>,
    peer: Peer,
    routes: &dyn Routes,
    limits: &Limits,
    more: bool,
) -> bool {
    if head.expects_continue() && head.framing() != Framing::Length(0) {
        let go_on = b"HTTP/1.1 100 Continue\r\n\r\n";
        if write_within(socket, go_on, limits.write).is_err() {
            return false;
        }
    }
    let mut request = Request::new(socket, buf, head, peer);
    request.body_time = limits.body;
    let began = Instant::now();
    let answered = catch_unwind(AssertUnwindSafe(|| routes.answer(&mut request)));
    let broken = answered.is_err();
    let answer = answered.unwrap_or_else(|_| Response::internal_error());
    // Without the query: tokens are put there by mistake.
    log::debug!(
        target: "gateway/http",
        "{} {} {} {}ms remote={}",
        head.method(), field(head.path()), answer.status(), began.elapsed().as_millis(), peer.remote
    );
    let mut body = request.body;
    let keep = more && head.keeps_alive() && !broken && !body.is_past(DRAIN_BYTES);
    let hsts = routes.hsts();
    let framed = Framed {
        head_only: head.method() == &Method::Head,
        chunks: !head.is_http_1_0(),
        keep: keep.then_some(limits.idle.as_secs()),
        hsts: hsts.as_deref(),
        write_time: limits.write,
    };
    let written = catch_unwind(AssertUnwindSafe(|| {
        response::write(body.socket(), answer, &framed)
    }));
    if broken || written.is_err() {
        log::error!(
            target: "gateway/http",
            "a handler failed unexpectedly on {} {}; the gateway goes on",
            head.method(), field(head.path())
        );
    }
    matches!(written, Ok(Ok(true))) && body.drain(DRAIN_BYTES, DRAIN_TIME)
}

/// Ends the connection so that the peer gets the last answer: closing on unread bytes would reset it.
fn linger(socket: &mut dyn Socket) {
    if socket.finish_write().is_err() {
        return;
    }
    let deadline = Instant::now() + LINGER_TIME;
    let mut scrap = [0u8; 4096];
    let mut total = 0;
    while total < LINGER_BYTES {
        match read_until(socket, &mut scrap, deadline) {
            Ok(n) if n > 0 => total += n,
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::head;
    use super::super::socket::testing::{Script, Then};
    use super::*;

    /// Echoes a body of up to 10 bytes; `/panic` panics, `/ignore` leaves the body unread.
    struct Echo;

    impl Routes for Echo {
        fn answer(&self, request: &mut Request<'_>) -> Response {
            match request.head.path() {
                "/panic" => panic!("as asked"),
                "/ignore" => Response::method_not_allowed("GET"),
                "/stream" => Response::events(Box::new(|s| s.data("x"))),
                _ => match request.read_body(10) {
                    Ok(body) => Response::bytes(200, "text/plain", body),
                    Err(BodyError::TooLarge) => Response::text(413, "too large"),
                    Err(e) => Response::text(400, e.to_string()),
                },
            }
        }

        fn hsts(&self) -> Option<String> {
            None
        }
    }

    fn run(bytes: &[u8], then: Then, requests: u32) -> (String, Served) {
        let run = |mut socket: Script| {
            let peer = "127.0.0.1:1".parse().unwrap();
            let peer = Peer {
                remote: peer,
                local: peer,
            };
            let limits = Limits {
                requests,
                ..Limits::default()
            };
            let mut buf = Vec::new();
            let head =
                head::read_head(&mut socket, &mut buf, Instant::now() + limits.head).unwrap();
            let served = serve(&mut socket, head, buf, peer, &Echo, &limits);
            let text = String::from_utf8(socket.written).unwrap();
            // Dates differ between the two runs.
            let text: Vec<&str> = text.lines().filter(|l| !l.starts_with("Date:")).collect();
            (text.join("\n"), served)
        };
        let whole = run(Script::new(&[bytes], then));
        let drip = run(Script::dripping(bytes, then));
        assert_eq!(whole.0, drip.0);
        whole
    }

    fn statuses(bytes: &str) -> Vec<u16> {
        statuses_of(&run(bytes.as_bytes(), Then::Eof, 100).0)
    }

    fn statuses_of(text: &str) -> Vec<u16> {
        text.split("HTTP/1.1 ")
            .skip(1)
            .map(|t| t[..3].parse().unwrap())
            .collect()
    }

    fn post(path: &str, extra: &str, body: &str) -> String {
        format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\n{extra}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    #[test]
    fn requests_are_pipelined() {
        let three =
            post("/", "", "abc") + &post("/ignore", "", "left unread") + &post("/", "", "z");
        let (text, _) = run(three.as_bytes(), Then::Eof, 100);
        assert_eq!(statuses_of(&text), [200, 405, 200]);
        assert!(text.contains("\n\nabcHTTP/1.1 405") && text.ends_with("\n\nz"));
    }

    #[test]
    fn the_last_request_is_announced_as_such() {
        let two = post("/", "", "a") + &post("/", "", "b");
        let (text, _) = run(two.as_bytes(), Then::Eof, 1);
        assert_eq!(statuses_of(&text), [200]);
        assert!(text.contains("Connection: close"));
        assert_eq!(
            statuses(&(post("/", "Connection: close\r\n", "a") + &two)),
            [200]
        );
        let old = "GET / HTTP/1.0\r\n\r\n".to_string() + &two;
        assert_eq!(statuses(&old), [200]);
    }

    #[test]
    fn a_body_past_its_limit_ends_the_connection() {
        let big = post("/", "", &"x".repeat(300_000)) + &post("/", "", "a");
        let (text, _) = run(big.as_bytes(), Then::Eof, 100);
        assert_eq!(statuses_of(&text), [413]);
        assert!(text.contains("Connection: close"));
        // A small one is drained and the connection goes on.
        assert_eq!(
            statuses(&(post("/", "", &"x".repeat(11)) + &post("/", "", "a"))),
            [413, 200]
        );
        let chunked = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n0\r\n\r\n";
        assert_eq!(
            statuses(&(chunked.to_string() + &post("/", "", "a"))),
            [413]
        );
    }

    #[test]
    fn what_cannot_be_framed_is_not_followed_by_another_request() {
        let bad =
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_string();
        assert_eq!(statuses(&(bad + &post("/", "", "a"))), [400]);
        assert_eq!(
            statuses(&(post("/", "", "a") + "GARBAGE\r\n\r\n")),
            [200, 400]
        );
        assert_eq!(statuses(&(post("/", "", "a") + "GET / HT")), [200]);
        assert_eq!(
            statuses(&(post("/panic", "", "a") + &post("/", "", "a"))),
            [500]
        );
    }

    #[test]
    fn a_request_may_wait_for_the_hundred() {
        let (text, _) = run(
            post("/ignore", "Expect: 100-continue\r\n", "a").as_bytes(),
            Then::Eof,
            9,
        );
        assert_eq!(statuses_of(&text), [100, 405]);
    }

    #[test]
    fn streams_keep_the_connection_for_those_who_know_chunks() {
        let stream =
            |v: &str| format!("GET /stream HTTP/1.{v}\r\nHost: x\r\n\r\n") + &post("/", "", "a");
        assert_eq!(statuses(&stream("1")), [200, 200]);
        assert_eq!(statuses(&stream("0")), [200]);
    }

    #[test]
    fn an_upgrade_may_come_later() {
        let ws =
            "GET /x HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nframe";
        let (text, served) = run((post("/", "", "a") + ws).as_bytes(), Then::Eof, 9);
        assert_eq!(statuses_of(&text), [200]);
        let Served::WebSocket(head, _) = served else {
            panic!("{served:?}")
        };
        assert_eq!(head.path(), "/x");
        let h2c = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
        assert_eq!(statuses(h2c), [400]);
    }

    #[test]
    fn silence_after_an_answer_closes() {
        let (text, served) = run(post("/", "", "a").as_bytes(), Then::Silence, 9);
        assert_eq!(statuses_of(&text), [200]);
        assert!(matches!(served, Served::Done));
        let (text, _) = run(
            (post("/", "", "a") + "GET / HT").as_bytes(),
            Then::Silence,
            9,
        );
        assert_eq!(statuses_of(&text), [200, 408]);
    }
}
