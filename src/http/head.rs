//! The head of a request: read under a deadline into a bounded buffer, parsed, judged.
//!
//! What two parsers could read differently is refused here, so that nothing can be smuggled past a proxy
//! in front: bare line feeds, two lengths, a length beside chunks, any coding but `chunked`, two hosts.

use std::fmt;
use std::io;
use std::time::Instant;

use tiny_http::{Method, StatusCode};

use super::socket::{Socket, read_until};

/// Bytes of a request line and its headers, in all.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Headers of one request.
pub const MAX_HEADERS: usize = 64;
/// Bytes asked of the socket at a time; a head rarely needs more.
const READ_BYTES: usize = 2 * 1024;

/// How the end of a request's body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// `Content-Length` bytes; 0 when there is no body.
    Length(u64),
    /// Chunks.
    Chunked,
}

/// A request head that was understood and is unambiguous.
#[derive(Clone, Debug)]
pub struct Head {
    method: Method,
    /// Path and query; scheme and authority of an absolute-form target are cut off.
    target: String,
    /// Where the query starts in `target`, without the question mark.
    query_at: Option<usize>,
    /// 0 for HTTP/1.0, 1 for HTTP/1.1.
    minor: u8,
    /// Names in lower case, values trimmed.
    headers: Vec<(String, String)>,
    framing: Framing,
}

/// Why there is no head.
#[derive(Debug)]
pub enum HeadError {
    /// The peer closed, or stayed silent to the deadline, before it sent a byte.
    Idle,
    /// The peer closed in the middle of a head.
    Cut,
    /// The deadline passed in the middle of a head.
    Slow,
    /// The head is refused; answer with this status and close.
    Refused(StatusCode, &'static str),
    /// The socket failed.
    Io(io::Error),
}

impl HeadError {
    /// The answer that the peer gets before the connection is closed, when it gets one.
    pub fn answer(&self) -> Option<String> {
        let status = match self {
            HeadError::Refused(status, _) => *status,
            HeadError::Slow => StatusCode(408),
            HeadError::Idle | HeadError::Cut | HeadError::Io(_) => return None,
        };
        Some(bare_answer(status))
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeadError::Idle => f.write_str("no request was sent"),
            HeadError::Cut => f.write_str("the peer closed in the middle of a request head"),
            HeadError::Slow => f.write_str("the request head did not arrive in time"),
            HeadError::Refused(status, why) => write!(f, "request refused ({}): {why}", status.0),
            HeadError::Io(e) => write!(f, "socket error while reading a request head: {e}"),
        }
    }
}

impl std::error::Error for HeadError {}

/// An answer without a body, after which the connection is closed.
fn bare_answer(status: StatusCode) -> String {
    let reason = status.default_reason_phrase();
    format!(
        "HTTP/1.1 {} {reason}\r\nConnection: close\r\n\r\n",
        status.0
    )
}

/// Reads one request head from `socket`.
///
/// `buf` holds bytes that were read before (none on a new connection) and, afterwards, those that follow the
/// head: the body's start, the next request, or the first WebSocket frame. It never grows past
/// [`MAX_HEAD_BYTES`]. The socket's read timeout is left at what remained: set it anew before other use.
pub fn read_head<S: Socket + ?Sized>(
    socket: &mut S,
    buf: &mut Vec<u8>,
    deadline: Instant,
) -> Result<Head, HeadError> {
    // A head that drips in is looked at again only when a line has ended.
    let mut look = true;
    loop {
        if look && let Some((head, size)) = parse(buf)? {
            buf.drain(..size);
            return Ok(head);
        }
        let have = buf.len();
        if have >= MAX_HEAD_BYTES {
            return Err(HeadError::Refused(
                StatusCode(431),
                "the head is over 16 KiB",
            ));
        }
        buf.resize((have + READ_BYTES).min(MAX_HEAD_BYTES), 0);
        let got = read_until(socket, &mut buf[have..], deadline);
        buf.truncate(have + *got.as_ref().unwrap_or(&0));
        match got {
            Ok(0) if have == 0 => return Err(HeadError::Idle),
            Ok(0) => return Err(HeadError::Cut),
            Ok(_) => look = have == 0 || buf[have..].contains(&b'\n'),
            Err(e) if e.kind() == io::ErrorKind::TimedOut && have == 0 => {
                return Err(HeadError::Idle);
            }
            Err(e) if e.kind() == io::ErrorKind::TimedOut => return Err(HeadError::Slow),
            Err(e) => return Err(HeadError::Io(e)),
        }
    }
}

/// Parses the head at the start of `bytes`: the head and its length, `None` when more bytes are needed.
pub fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, HeadError> {
    let bad = |why| Err(HeadError::Refused(StatusCode(400), why));
    let mut slots = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut slots);
    let size = match request.parse(bytes) {
        Ok(httparse::Status::Partial) => return Ok(None),
        Ok(httparse::Status::Complete(size)) => size,
        Err(httparse::Error::TooManyHeaders) => {
            return Err(HeadError::Refused(StatusCode(431), "more than 64 headers"));
        }
        Err(_) => return bad("not HTTP"),
    };
    if size > MAX_HEAD_BYTES {
        return Err(HeadError::Refused(
            StatusCode(431),
            "the head is over 16 KiB",
        ));
    }
    if has_bare_line_feed(&bytes[..size]) {
        return bad("a line ends without a carriage return");
    }
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version)
    else {
        return bad("not HTTP");
    };
    let Ok(method) = method.parse::<Method>() else {
        return bad("not a method");
    };
    if matches!(method, Method::NonStandard(_) | Method::Connect) {
        return bad("unknown method");
    }
    let headers: Vec<(String, String)> = request
        .headers
        .iter()
        .map(|h| (h.name.to_ascii_lowercase(), text(h.value)))
        .collect();
    let Some(target) = origin_form(target) else {
        return bad("not a request target");
    };
    let mut head = Head {
        method,
        query_at: target.find('?').map(|i| i + 1),
        target,
        minor,
        headers,
        framing: Framing::Length(0),
    };
    match (minor, head.all("host").count()) {
        (_, 0) if minor > 0 => return bad("no Host header"),
        (_, 0 | 1) => {}
        _ => return bad("more than one Host header"),
    }
    head.framing = match framing(&head) {
        Ok(framing) => framing,
        Err(why) => return bad(why),
    };
    match head.header("expect") {
        None => {}
        Some(v) if v.eq_ignore_ascii_case("100-continue") => {}
        Some(_) => return Err(HeadError::Refused(StatusCode(417), "unknown expectation")),
    }
    Ok(Some((head, size)))
}

/// A header value as text: UTF-8 when it is, else each byte a character.
fn text(value: &[u8]) -> String {
    match std::str::from_utf8(value.trim_ascii()) {
        Ok(s) => s.to_string(),
        Err(_) => value.trim_ascii().iter().map(|b| char::from(*b)).collect(),
    }
}

fn has_bare_line_feed(head: &[u8]) -> bool {
    head.iter()
        .enumerate()
        .any(|(i, b)| *b == b'\n' && (i == 0 || head[i - 1] != b'\r'))
}

/// Path and query of a request target in origin, absolute or asterisk form.
fn origin_form(target: &str) -> Option<String> {
    if target.starts_with('/') || target == "*" {
        return Some(target.to_string());
    }
    let (scheme, rest) = target.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    match rest.find(['/', '?']) {
        Some(0) => None,
        Some(i) if rest[i..].starts_with('/') => Some(rest[i..].to_string()),
        Some(i) => Some(format!("/{}", &rest[i..])),
        None if rest.is_empty() => None,
        None => Some("/".to_string()),
    }
}

fn framing(head: &Head) -> Result<Framing, &'static str> {
    let mut lengths = head.all("content-length");
    let mut codings = head.all("transfer-encoding");
    match (lengths.next(), codings.next()) {
        (None, None) => Ok(Framing::Length(0)),
        (Some(_), Some(_)) => Err("both Content-Length and Transfer-Encoding"),
        (Some(length), None) => {
            if lengths.next().is_some() {
                return Err("more than one Content-Length");
            }
            if length.is_empty() || !length.bytes().all(|b| b.is_ascii_digit()) {
                return Err("Content-Length is not a number");
            }
            length
                .parse()
                .map(Framing::Length)
                .map_err(|_| "Content-Length is too large")
        }
        (None, Some(coding)) => {
            if codings.next().is_some() || !coding.eq_ignore_ascii_case("chunked") {
                return Err("a Transfer-Encoding other than chunked");
            }
            if head.minor == 0 {
                return Err("Transfer-Encoding in HTTP/1.0");
            }
            Ok(Framing::Chunked)
        }
    }
}

impl Head {
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Path and query as sent.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The path as sent, percent signs untouched.
    pub fn path(&self) -> &str {
        match self.query_at {
            Some(i) => &self.target[..i - 1],
            None => &self.target,
        }
    }

    /// What follows the first question mark, as sent.
    pub fn query(&self) -> Option<&str> {
        self.query_at.map(|i| &self.target[i..])
    }

    /// The first header of that name (given in lower case), trimmed.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    /// Every header of that name (given in lower case), in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers
            .iter()
            .filter(move |(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    /// All headers: names in lower case, values trimmed.
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// Whether the peer waits for `100 Continue` before it sends the body.
    pub fn expects_continue(&self) -> bool {
        self.minor > 0 && self.header("expect").is_some()
    }

    /// Whether the peer speaks HTTP/1.0, which knows no chunks.
    pub fn is_http_1_0(&self) -> bool {
        self.minor == 0
    }

    /// Whether the peer can send another request on this connection.
    pub fn keeps_alive(&self) -> bool {
        self.minor > 0 && !self.has_token("connection", "close")
    }

    /// Whether the peer asks for another protocol.
    pub fn is_upgrade(&self) -> bool {
        self.minor > 0
            && self.has_token("connection", "upgrade")
            && self.header("upgrade").is_some()
    }

    /// Whether the peer asks for a WebSocket, rightly or not: see [`super::upgrade::accept`].
    pub fn is_websocket_upgrade(&self) -> bool {
        self.is_upgrade()
            && self
                .header("upgrade")
                .is_some_and(|v| v.eq_ignore_ascii_case("websocket"))
    }

    fn has_token(&self, name: &str, token: &str) -> bool {
        self.all(name)
            .flat_map(|v| v.split(','))
            .any(|t| t.trim().eq_ignore_ascii_case(token))
    }
}

#[cfg(test)]
mod tests {
    use super::super::socket::testing::{Script, Then};
    use super::*;
    use std::time::Duration;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    fn head(text: &str) -> Head {
        parse(text.as_bytes()).unwrap().expect("a whole head").0
    }

    fn status(text: &str) -> u16 {
        match parse(text.as_bytes()) {
            Err(HeadError::Refused(status, _)) => status.0,
            other => panic!("{text:?}: {other:?}"),
        }
    }

    #[test]
    fn a_head_is_read_in_any_pieces_and_leaves_what_follows() {
        let bytes = b"POST /a?b=c HTTP/1.1\r\nHost: h\r\ncontent-length:  2 \r\n\r\n{}GET";
        let mut whole = Script::new(&[bytes], Then::Silence);
        let mut buf = Vec::new();
        let h = read_head(&mut whole, &mut buf, soon()).unwrap();
        assert_eq!(
            (h.method(), h.path(), h.query()),
            (&Method::Post, "/a", Some("b=c"))
        );
        assert_eq!(h.framing(), Framing::Length(2));
        assert_eq!(buf, b"{}GET");
        let mut drip = Script::dripping(bytes, Then::Silence);
        let mut buf = Vec::new();
        assert_eq!(
            read_head(&mut drip, &mut buf, soon()).unwrap().target(),
            "/a?b=c"
        );
        assert!(buf.is_empty());
    }

    #[test]
    fn what_is_no_request_is_told_apart() {
        let read = |bytes: &[u8], then| {
            read_head(&mut Script::new(&[bytes], then), &mut Vec::new(), soon()).unwrap_err()
        };
        let none =
            |then| read_head(&mut Script::new(&[], then), &mut Vec::new(), soon()).unwrap_err();
        assert!(matches!(none(Then::Eof), HeadError::Idle));
        assert!(matches!(none(Then::Silence), HeadError::Idle));
        assert!(matches!(none(Then::Reset), HeadError::Io(_)));
        assert!(matches!(read(b"GET / HT", Then::Eof), HeadError::Cut));
        let slow = read(b"GET / HT", Then::Silence);
        assert!(matches!(slow, HeadError::Slow));
        assert!(slow.answer().unwrap().starts_with("HTTP/1.1 408 "));
        let late = read_head(
            &mut Script::new(&[b"GET"], Then::Eof),
            &mut Vec::new(),
            Instant::now(),
        );
        assert!(matches!(late, Err(HeadError::Idle)));
    }

    #[test]
    fn a_head_is_bounded_in_bytes_and_headers() {
        let long = format!(
            "GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n",
            "a".repeat(MAX_HEAD_BYTES)
        );
        let mut socket = Script::new(&[long.as_bytes()], Then::Silence);
        let mut buf = Vec::new();
        let e = read_head(&mut socket, &mut buf, soon()).unwrap_err();
        assert!(matches!(e, HeadError::Refused(StatusCode(431), _)), "{e}");
        assert!(buf.capacity() <= 2 * MAX_HEAD_BYTES);
        let fits = |n: usize| format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(n));
        assert_eq!(head(&fits(MAX_HEADERS - 1)).headers().len(), MAX_HEADERS);
        assert_eq!(status(&fits(MAX_HEADERS)), 431);
    }

    #[test]
    fn ambiguous_heads_are_refused() {
        for text in [
            "THIS IS NOT HTTP\r\n\r\n",
            "FROB / HTTP/1.1\r\nHost: x\r\n\r\n",
            "CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET / HTTP/9.9\r\nHost: x\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
            "GET / HTTP/1.1\nHost: x\n\n",
            "GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
            "GET nowhere HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET ftp://a/b HTTP/1.1\r\nHost: x\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2, 2\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +2\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x2\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: \r\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n",
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        ] {
            assert_eq!(status(text), 400, "{text:?}");
        }
        assert_eq!(
            status("GET / HTTP/1.1\r\nHost: x\r\nExpect: magic\r\n\r\n"),
            417
        );
    }

    #[test]
    fn targets_lose_scheme_and_authority() {
        let target = |t: &str| {
            head(&format!("GET {t} HTTP/1.1\r\nHost: x\r\n\r\n"))
                .target()
                .to_string()
        };
        assert_eq!(target("http://h:1/a?b"), "/a?b");
        assert_eq!(target("HTTPS://h"), "/");
        assert_eq!(target("http://h?q"), "/?q");
        assert_eq!(target("//evil/x"), "//evil/x");
        assert_eq!(target("/%zz"), "/%zz");
    }

    #[test]
    fn the_connection_is_kept_or_not() {
        assert!(head("GET / HTTP/1.1\r\nHost: x\r\n\r\n").keeps_alive());
        assert!(!head("GET / HTTP/1.1\r\nHost: x\r\nConnection: a, Close\r\n\r\n").keeps_alive());
        assert!(!head("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").keeps_alive());
        assert!(
            head("GET / HTTP/1.1\r\nHost: x\r\nExpect: 100-Continue\r\n\r\n").expects_continue()
        );
    }
}
