//! Answers: what handlers return, and the one place that writes them.
//!
//! Every header is made by [`header`], which refuses what could end a line or start another. The writer
//! adds what all answers have. It is our own because `tiny_http`'s names itself in a `Server` header,
//! leaves no say about `Connection`, and flushes no chunk.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::time::Duration;

use serde_json::Value;
use tiny_http::{Header, StatusCode};

use super::socket::{Socket, write_within};

/// Headers of every answer that a route gives.
const SECURITY_HEADERS: &str =
    "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n";
/// Bodies up to this size leave in one piece with the head.
const ONE_WRITE_BYTES: usize = 16 * 1024;

pub const TEXT: &str = "text/plain; charset=utf-8";
pub const JSON: &str = "application/json; charset=utf-8";
pub const EVENTS: &str = "text/event-stream; charset=utf-8";

/// A header; `None` when the name is no token or the value is not printable ASCII.
pub fn header(name: &str, value: &str) -> Option<Header> {
    let token = !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    let printable = value.bytes().all(|b| matches!(b, b'\t' | b' '..=b'~'));
    if !token || !printable {
        return None;
    }
    Header::from_bytes(name, value).ok()
}

/// Writes the events of a stream; an error means that the peer is gone.
pub type Events = Box<dyn FnOnce(&mut EventStream<'_>) -> io::Result<()>>;

enum Content {
    Bytes(Cow<'static, [u8]>),
    /// An open file and how many of its bytes are sent.
    File(File, u64),
    Events(Events),
}

/// An answer. The writer adds framing, connection, date and security headers.
pub struct Response {
    status: StatusCode,
    headers: Vec<Header>,
    content: Content,
}

impl Response {
    /// An answer without content.
    pub fn empty(status: u16) -> Response {
        Response {
            status: StatusCode(status),
            headers: Vec::new(),
            content: Content::Bytes(Cow::Borrowed(&[])),
        }
    }

    /// `content` of type `kind`.
    pub fn bytes(
        status: u16,
        kind: &'static str,
        content: impl Into<Cow<'static, [u8]>>,
    ) -> Response {
        let mut response = Response::empty(status);
        response.content = Content::Bytes(content.into());
        response.with("Content-Type", kind)
    }

    /// The first `length` bytes of `file`, which are read while they are sent.
    pub fn file(kind: &'static str, file: File, length: u64) -> Response {
        let mut response = Response::empty(200);
        response.content = Content::File(file, length);
        response.with("Content-Type", kind)
    }

    pub fn text(status: u16, text: impl Into<String>) -> Response {
        Response::bytes(status, TEXT, text.into().into_bytes())
    }

    pub fn json(status: u16, value: &Value) -> Response {
        Response::bytes(status, JSON, value.to_string().into_bytes())
    }

    /// A stream of server-sent events, written by `events` on the connection's thread.
    pub fn events(events: Events) -> Response {
        let mut response = Response::empty(200);
        response.content = Content::Events(events);
        response
            .with("Content-Type", EVENTS)
            .with("Cache-Control", "no-cache")
    }

    pub fn not_found() -> Response {
        Response::text(404, "Not Found")
    }

    /// 405; `allow` names the methods that would do.
    pub fn method_not_allowed(allow: &str) -> Response {
        Response::text(405, "Method Not Allowed").with("Allow", allow)
    }

    pub fn internal_error() -> Response {
        Response::text(500, "Internal Server Error")
    }

    /// This answer with one header more. A value that cannot stand in a header makes it a 500 instead.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: &str) -> Response {
        match header(name, value) {
            Some(h) => {
                self.headers.push(h);
                self
            }
            None => {
                log::error!(target: "gateway/http", "refused to send a {name} header with control or foreign characters");
                Response::internal_error()
            }
        }
    }

    pub fn status(&self) -> u16 {
        self.status.0
    }

    /// The value of the first header of that name.
    pub fn header(&self, name: &'static str) -> Option<&str> {
        let found = self.headers.iter().find(|h| h.field.equiv(name))?;
        Some(found.value.as_str())
    }

    /// The content as bytes; `None` of a file or a stream.
    pub fn content(&self) -> Option<&[u8]> {
        match &self.content {
            Content::Bytes(b) => Some(b),
            Content::File(..) | Content::Events(_) => None,
        }
    }
}

/// How the request and the connection shape an answer.
#[derive(Clone, Copy, Debug)]
pub struct Framed<'a> {
    /// The request was HEAD: no content is sent, nor its length.
    pub head_only: bool,
    /// The peer understands chunks.
    pub chunks: bool,
    /// Seconds that the connection is kept for the next request; `None` to close it.
    pub keep: Option<u64>,
    /// The value of `Strict-Transport-Security`, when there is one.
    pub hsts: Option<&'a str>,
    /// Longest wait for the peer to take a slice.
    pub write_time: Duration,
}

/// Writes `response`. False when the connection has to be closed, since only that ends the answer.
pub fn write(socket: &mut dyn Socket, response: Response, framed: &Framed<'_>) -> io::Result<bool> {
    let is_stream = matches!(response.content, Content::Events(_));
    let kept = framed.keep.is_some() && (framed.chunks || !is_stream);
    let mut head = head_text(&response, framed, kept);
    match response.content {
        _ if framed.head_only => {
            head.push_str("\r\n");
            write_within(socket, head.as_bytes(), framed.write_time)?;
        }
        Content::Bytes(bytes) => {
            if !matches!(response.status.0, 100..=199 | 204 | 304) {
                let _ = write!(head, "Content-Length: {}\r\n", bytes.len());
            }
            head.push_str("\r\n");
            let mut head = head.into_bytes();
            if bytes.len() <= ONE_WRITE_BYTES {
                head.extend_from_slice(&bytes);
                write_within(socket, &head, framed.write_time)?;
            } else {
                write_within(socket, &head, framed.write_time)?;
                write_within(socket, &bytes, framed.write_time)?;
            }
        }
        Content::File(mut file, length) => {
            let _ = write!(head, "Content-Length: {length}\r\n\r\n");
            write_within(socket, head.as_bytes(), framed.write_time)?;
            send_file(socket, &mut file, length, framed.write_time)?;
        }
        Content::Events(events) => {
            if framed.chunks {
                head.push_str("Transfer-Encoding: chunked\r\n");
            }
            head.push_str("\r\n");
            write_within(socket, head.as_bytes(), framed.write_time)?;
            let mut stream = EventStream {
                socket,
                chunks: framed.chunks,
                time: framed.write_time,
            };
            events(&mut stream)?;
            // Only a stream that came to its end says so.
            if framed.chunks {
                write_within(stream.socket, b"0\r\n\r\n", framed.write_time)?;
            }
        }
    }
    Ok(kept)
}

/// Sends `length` bytes of `file`. A file that has become shorter is an error: the length has been promised.
fn send_file(
    socket: &mut dyn Socket,
    file: &mut File,
    length: u64,
    slice_time: Duration,
) -> io::Result<()> {
    let mut left = length;
    let mut slice = vec![0; ONE_WRITE_BYTES];
    while left > 0 {
        let most = usize::try_from(left).map_or(slice.len(), |l| l.min(slice.len()));
        let got = file.read(&mut slice[..most])?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        write_within(socket, &slice[..got], slice_time)?;
        left -= got as u64;
    }
    Ok(())
}

/// Status line and headers but for the framing, without the empty line.
fn head_text(response: &Response, framed: &Framed<'_>, kept: bool) -> String {
    let status = response.status;
    let mut head = format!(
        "HTTP/1.1 {} {}\r\n",
        status.0,
        status.default_reason_phrase()
    );
    for h in &response.headers {
        let _ = write!(head, "{}: {}\r\n", h.field, h.value);
    }
    head.push_str(SECURITY_HEADERS);
    if let Some(h) = framed
        .hsts
        .and_then(|v| header("Strict-Transport-Security", v))
    {
        let _ = write!(head, "{}: {}\r\n", h.field, h.value);
    }
    let _ = write!(head, "Date: {}\r\n", date());
    match framed.keep.filter(|_| kept) {
        Some(seconds) => {
            let _ = write!(
                head,
                "Connection: keep-alive\r\nKeep-Alive: timeout={seconds}\r\n"
            );
        }
        None => head.push_str("Connection: close\r\n"),
    }
    head
}

fn date() -> String {
    jiff::Timestamp::now()
        .strftime("%a, %d %b %Y %H:%M:%S GMT")
        .to_string()
}

/// An open stream of server-sent events. Each event leaves at once, as a chunk of its own.
pub struct EventStream<'a> {
    socket: &'a mut dyn Socket,
    chunks: bool,
    time: Duration,
}

impl EventStream<'_> {
    /// Sends an event without a name.
    pub fn data(&mut self, data: &str) -> io::Result<()> {
        self.send("", data)
    }

    /// Sends an event called `name`, which is one word.
    pub fn event(&mut self, name: &str, data: &str) -> io::Result<()> {
        self.send(&format!("event: {name}\n"), data)
    }

    /// Sends a comment, which clients ignore: a sign of life that finds out whether the peer is there.
    pub fn comment(&mut self) -> io::Result<()> {
        self.chunk(":\n\n")
    }

    fn send(&mut self, start: &str, data: &str) -> io::Result<()> {
        let mut text = start.to_string();
        for line in data.split(['\n', '\r']) {
            let _ = writeln!(text, "data: {line}");
        }
        text.push('\n');
        self.chunk(&text)
    }

    fn chunk(&mut self, text: &str) -> io::Result<()> {
        if self.chunks {
            let chunk = format!("{:x}\r\n{text}\r\n", text.len());
            write_within(self.socket, chunk.as_bytes(), self.time)
        } else {
            write_within(self.socket, text.as_bytes(), self.time)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::socket::testing::{Script, Then};
    use super::*;
    use serde_json::json;

    const PLAIN: Framed<'static> = Framed {
        head_only: false,
        chunks: true,
        keep: Some(5),
        hsts: None,
        write_time: Duration::from_secs(1),
    };

    fn written(response: Response, framed: &Framed<'_>) -> (String, bool) {
        let mut socket = Script::new(&[], Then::Eof);
        socket.takes = 7;
        let kept = write(&mut socket, response, framed).unwrap();
        (String::from_utf8(socket.written).unwrap(), kept)
    }

    #[test]
    fn a_header_cannot_hold_a_line_end() {
        assert!(header("Location", "/a?b=c").is_some());
        for (name, value) in [
            ("Location", "/a\r\nSet-Cookie: x"),
            ("Location", "/a\nb"),
            ("Location", "/a\0b"),
            ("Location", "/é"),
            ("Bad Name", "x"),
            ("Bad:Name", "x"),
            ("Bad\r\n", "x"),
            ("", "x"),
        ] {
            assert!(header(name, value).is_none(), "{name:?}: {value:?}");
        }
        let r = Response::text(302, "x").with("Location", "/a\r\nX: y");
        assert_eq!((r.status(), r.header("Location")), (500, None));
    }

    #[test]
    fn every_answer_has_the_security_headers_and_a_length() {
        let (text, kept) = written(Response::json(200, &json!({"a": 1})), &PLAIN);
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        for line in [
            "Content-Type: application/json; charset=utf-8",
            "X-Content-Type-Options: nosniff",
            "Referrer-Policy: no-referrer",
            "Connection: keep-alive",
            "Keep-Alive: timeout=5",
            "Content-Length: 7",
        ] {
            assert!(head.lines().any(|l| l == line), "{line} in {head}");
        }
        assert!(!head.contains("Server:") && !head.contains("Strict"));
        assert_eq!((body, kept), (r#"{"a":1}"#, true));
        let hsts = Framed {
            hsts: Some("max-age=1"),
            keep: None,
            ..PLAIN
        };
        let (text, kept) = written(Response::not_found(), &hsts);
        assert!(text.contains("Strict-Transport-Security: max-age=1\r\n"));
        assert!(text.contains("Connection: close\r\n") && !kept);
        let evil = Framed {
            hsts: Some("a\r\nX: y"),
            ..PLAIN
        };
        assert!(!written(Response::not_found(), &evil).0.contains("X: y"));
    }

    #[test]
    fn head_and_empty_statuses_have_no_length() {
        let head = Framed {
            head_only: true,
            ..PLAIN
        };
        let (text, _) = written(Response::text(200, "hello"), &head);
        assert!(!text.contains("Content-Length") && text.ends_with("\r\n\r\n"));
        assert!(
            !written(Response::empty(204), &PLAIN)
                .0
                .contains("Content-Length")
        );
    }

    #[test]
    fn a_stream_is_chunked_event_by_event_and_ended_only_when_it_ended() {
        let two = || -> Events {
            Box::new(|s| {
                s.data("{}")?;
                s.event("done", "a\nb")
            })
        };
        let (text, kept) = written(Response::events(two()), &PLAIN);
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("Transfer-Encoding: chunked") && !head.contains("Content-Length"));
        assert_eq!(
            body,
            "a\r\ndata: {}\n\n\r\n1d\r\nevent: done\ndata: a\ndata: b\n\n\r\n0\r\n\r\n"
        );
        assert!(kept);
        let old = Framed {
            chunks: false,
            ..PLAIN
        };
        let (text, kept) = written(Response::events(two()), &old);
        assert!(text.ends_with("\r\n\r\ndata: {}\n\nevent: done\ndata: a\ndata: b\n\n") && !kept);
        let mut socket = Script::new(&[], Then::Eof);
        let broken: Events = Box::new(|s| {
            s.data("x")?;
            Err(io::ErrorKind::Other.into())
        });
        assert!(write(&mut socket, Response::events(broken), &PLAIN).is_err());
        assert!(
            !String::from_utf8(socket.written)
                .unwrap()
                .ends_with("0\r\n\r\n")
        );
    }

    #[test]
    fn the_date_is_of_the_form_that_http_wants() {
        let d = date();
        assert_eq!((d.len(), &d[3..5], &d[25..]), (29, ", ", " GMT"));
    }
}
