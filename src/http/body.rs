//! The body of a request: read when a handler asks, within its limit and the phase's deadline.
//!
//! Nothing is read before that, so that a handler can ask for credentials first. What no handler wanted is
//! drained afterwards, within bounds, or the connection is closed. `chunked_transfer` is not used: it
//! takes `+5` for a length, lets a size line grow without end, and reads on behind the last chunk.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use super::head::Framing;
use super::socket::{Socket, read_until};

/// Bytes asked of the socket at a time.
const READ_BYTES: usize = 16 * 1024;
/// Bytes of a chunk's size line, without its end.
const MAX_SIZE_LINE_BYTES: usize = 256;
/// Bytes of a chunk's size itself.
const SIZE_BYTES: usize = 16;
/// Bytes of chunk extensions and trailers in one body; all of them are ignored.
const MAX_IGNORED_BYTES: usize = 16 * 1024;

/// Why there is no body. The connection cannot be used for another request then.
#[derive(Debug)]
pub enum BodyError {
    /// More bytes than the limit.
    TooLarge,
    /// It did not arrive in time.
    Slow,
    /// The peer closed before the end.
    Cut,
    /// The chunks are not chunks.
    Malformed(&'static str),
    Io(io::Error),
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BodyError::TooLarge => f.write_str("payload too large"),
            BodyError::Slow => f.write_str("request body timeout"),
            BodyError::Cut => f.write_str("the peer closed in the middle of a request body"),
            BodyError::Malformed(why) => write!(f, "malformed request body: {why}"),
            BodyError::Io(e) => write!(f, "socket error while reading a request body: {e}"),
        }
    }
}

impl std::error::Error for BodyError {}

impl From<io::Error> for BodyError {
    fn from(e: io::Error) -> Self {
        match e.kind() {
            io::ErrorKind::TimedOut => BodyError::Slow,
            _ => BodyError::Io(e),
        }
    }
}

/// What of the body is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// So many bytes.
    Bytes(u64),
    /// A size line and what follows it.
    Chunks,
    /// Reading failed midway: where the next request would start is not known.
    Unknown,
}

/// The unread body of the request at hand, on its connection.
pub struct Body<'a> {
    socket: &'a mut dyn Socket,
    /// Bytes received; those before `at` are used up.
    buf: &'a mut Vec<u8>,
    at: usize,
    left: Left,
    /// Bytes of extensions and trailers so far.
    ignored: usize,
}

impl<'a> Body<'a> {
    /// The body that starts at the front of `buf` and goes on in `socket`.
    pub fn new(socket: &'a mut dyn Socket, buf: &'a mut Vec<u8>, framing: Framing) -> Body<'a> {
        Body {
            socket,
            buf,
            at: 0,
            left: match framing {
                Framing::Length(n) => Left::Bytes(n),
                Framing::Chunked => Left::Chunks,
            },
            ignored: 0,
        }
    }

    /// The whole body, at most `limit` bytes, by `deadline`. A second call gives an empty one.
    pub fn read(&mut self, limit: u64, deadline: Instant) -> Result<Vec<u8>, BodyError> {
        let mut body = Vec::new();
        self.consume(limit, deadline, &mut |piece| body.extend_from_slice(piece))?;
        Ok(body)
    }

    /// Reads and drops what is left, when that is at most `limit` bytes and takes no longer than `time`.
    /// Whether the next request starts where the connection now stands.
    pub fn drain(&mut self, limit: u64, time: Duration) -> bool {
        self.consume(limit, Instant::now() + time, &mut |_| ())
            .is_ok()
    }

    /// Whether [`Body::drain`] with that limit has no chance.
    pub fn is_past(&self, limit: u64) -> bool {
        match self.left {
            Left::Bytes(n) => n > limit,
            Left::Chunks => false,
            Left::Unknown => true,
        }
    }

    /// The socket, for the answer.
    pub fn socket(&mut self) -> &mut dyn Socket {
        self.socket
    }

    fn consume(
        &mut self,
        limit: u64,
        deadline: Instant,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<(), BodyError> {
        let left = std::mem::replace(&mut self.left, Left::Unknown);
        match left {
            Left::Bytes(n) if n > limit => {
                self.left = left;
                return Err(BodyError::TooLarge);
            }
            Left::Bytes(n) => self.bytes(n, deadline, sink)?,
            Left::Chunks => self.chunks(limit, deadline, sink)?,
            Left::Unknown => return Err(BodyError::Malformed("read before, and failed")),
        }
        self.left = Left::Bytes(0);
        Ok(())
    }

    fn bytes(
        &mut self,
        mut n: u64,
        deadline: Instant,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<(), BodyError> {
        while n > 0 {
            if self.at == self.buf.len() {
                self.fill(deadline)?;
            }
            let have = &self.buf[self.at..];
            let take = usize::try_from(n).map_or(have.len(), |n| n.min(have.len()));
            sink(&have[..take]);
            self.at += take;
            n -= take as u64;
        }
        Ok(())
    }

    fn chunks(
        &mut self,
        limit: u64,
        deadline: Instant,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<(), BodyError> {
        let mut total = 0u64;
        loop {
            let size = self.size_line(deadline)?;
            if size == 0 {
                // Trailers, up to an empty line.
                while !self.line(deadline, 0, <[u8]>::is_empty)? {}
                return Ok(());
            }
            total = total.saturating_add(size);
            if total > limit {
                return Err(BodyError::TooLarge);
            }
            self.bytes(size, deadline, sink)?;
            if !self.line(deadline, 0, <[u8]>::is_empty)? {
                return Err(BodyError::Malformed("a chunk is longer than its size"));
            }
        }
    }

    fn size_line(&mut self, deadline: Instant) -> Result<u64, BodyError> {
        self.line(deadline, SIZE_BYTES, parse_size)?
            .ok_or(BodyError::Malformed("not a chunk size"))
    }

    /// Looks at the next line, without its CR LF, by way of `look`, and goes past it. What it has beyond
    /// `wanted` bytes counts as ignored.
    fn line<T>(
        &mut self,
        deadline: Instant,
        wanted: usize,
        look: impl FnOnce(&[u8]) -> T,
    ) -> Result<T, BodyError> {
        loop {
            let have = &self.buf[self.at..];
            if let Some(end) = have.iter().position(|b| *b == b'\n') {
                let Some(line) = have[..end].strip_suffix(b"\r") else {
                    return Err(BodyError::Malformed(
                        "a line ends without a carriage return",
                    ));
                };
                self.ignored += line.len().saturating_sub(wanted);
                if line.len() > MAX_SIZE_LINE_BYTES || self.ignored > MAX_IGNORED_BYTES {
                    return Err(BodyError::Malformed("too much beside the data"));
                }
                let seen = look(line);
                self.at += end + 1;
                return Ok(seen);
            }
            if have.len() > MAX_SIZE_LINE_BYTES + 1 {
                return Err(BodyError::Malformed("a line without an end"));
            }
            self.fill(deadline)?;
        }
    }

    /// Reads more into the buffer; what is used up makes room first.
    fn fill(&mut self, deadline: Instant) -> Result<(), BodyError> {
        self.buf.drain(..self.at);
        self.at = 0;
        let have = self.buf.len();
        self.buf.resize(have + READ_BYTES, 0);
        let got = read_until(self.socket, &mut self.buf[have..], deadline);
        self.buf.truncate(have + *got.as_ref().unwrap_or(&0));
        match got? {
            0 => Err(BodyError::Cut),
            _ => Ok(()),
        }
    }
}

/// Leaves in the buffer what follows the body.
impl Drop for Body<'_> {
    fn drop(&mut self) {
        self.buf.drain(..self.at);
    }
}

/// `1a`, `1a;name=value`: up to 15 hex digits and ignored extensions.
fn parse_size(line: &[u8]) -> Option<u64> {
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    let rest = &line[digits..];
    let only_extensions = rest
        .first()
        .is_none_or(|b| matches!(b, b';' | b' ' | b'\t'));
    let clean = rest.iter().all(|b| *b == b'\t' || !b.is_ascii_control());
    if !(1..=15).contains(&digits) || !only_extensions || !clean {
        return None;
    }
    let after_blanks = rest.trim_ascii_start();
    if after_blanks.first().is_some_and(|b| *b != b';') {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(&line[..digits]).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::super::socket::testing::{Script, Then};
    use super::*;

    /// The body and what is left behind it, for each way to cut `bytes`.
    fn read(bytes: &[u8], framing: Framing, limit: u64) -> Result<(Vec<u8>, Vec<u8>), BodyError> {
        let once = |mut socket: Script| {
            let mut buf = Vec::new();
            let mut body = Body::new(&mut socket, &mut buf, framing);
            let read = body.read(limit, Instant::now() + Duration::from_secs(5));
            drop(body);
            read.map(|b| {
                buf.extend(socket.pieces.into_iter().flatten());
                (b, buf)
            })
        };
        let whole = once(Script::new(&[bytes], Then::Eof));
        let drip = once(Script::dripping(bytes, Then::Eof));
        assert_eq!(format!("{whole:?}"), format!("{drip:?}"));
        whole
    }

    fn chunked(text: &str) -> Result<(Vec<u8>, Vec<u8>), BodyError> {
        read(text.as_bytes(), Framing::Chunked, 100)
    }

    #[test]
    fn a_body_ends_where_it_says() {
        let (body, rest) = read(b"helloGET", Framing::Length(5), 5).unwrap();
        assert_eq!((&body[..], &rest[..]), (&b"hello"[..], &b"GET"[..]));
        assert!(matches!(
            read(b"hello", Framing::Length(5), 4),
            Err(BodyError::TooLarge)
        ));
        assert!(matches!(
            read(b"hell", Framing::Length(5), 9),
            Err(BodyError::Cut)
        ));
        let (body, rest) =
            chunked("3\r\nhel\r\n2;x=\"y\"\r\nlo\r\n0\r\nTrailer: x\r\n\r\nGET").unwrap();
        assert_eq!((&body[..], &rest[..]), (&b"hello"[..], &b"GET"[..]));
        assert_eq!(chunked("0\r\n\r\n").unwrap().0, b"");
        assert_eq!(
            chunked("00A \r\n0123456789\r\n0\r\n\r\n").unwrap().0.len(),
            10
        );
    }

    #[test]
    fn chunks_are_read_strictly() {
        for text in [
            "+5\r\nhello\r\n0\r\n\r\n",
            "-1\r\n",
            "0x5\r\nhello\r\n0\r\n\r\n",
            " 5\r\nhello\r\n0\r\n\r\n",
            "5 5\r\nhello\r\n0\r\n\r\n",
            "5\nhello\r\n0\r\n\r\n",
            "\r\n",
            "5\r\nhello!\r\n0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5;a\rb\r\nhello\r\n0\r\n\r\n",
            "1000000000000000\r\n",
            "g\r\n",
        ] {
            let e = chunked(text).unwrap_err();
            assert!(matches!(e, BodyError::Malformed(_)), "{text:?}: {e}");
        }
        assert!(matches!(chunked("5\r\nhel"), Err(BodyError::Cut)));
        assert!(matches!(
            chunked("5\r\nhello\r\n0\r\n"),
            Err(BodyError::Cut)
        ));
    }

    #[test]
    fn chunks_are_bounded() {
        assert!(matches!(chunked("65\r\n"), Err(BodyError::TooLarge)));
        assert!(matches!(
            chunked("fffffffffffffff\r\n"),
            Err(BodyError::TooLarge)
        ));
        let e = chunked(&"1".repeat(10_000)).unwrap_err();
        assert!(matches!(e, BodyError::Malformed(_)), "{e}");
        let dressed = format!("1;{}\r\na\r\n", "x".repeat(200)).repeat(100);
        assert!(matches!(chunked(&dressed), Err(BodyError::Malformed(_))));
        let trailers = format!("0\r\n{}", "A: b\r\n".repeat(20_000));
        assert!(matches!(
            chunked(&trailers),
            Err(BodyError::Malformed(_) | BodyError::Cut)
        ));
        let ones = "1\r\na\r\n".repeat(100) + "0\r\n\r\n";
        assert_eq!(chunked(&ones).unwrap().0.len(), 100);
    }

    #[test]
    fn an_unread_body_is_drained_within_bounds() {
        let drained = |bytes: &[u8], framing, limit| {
            let mut socket = Script::new(&[bytes], Then::Silence);
            let mut buf = Vec::new();
            let mut body = Body::new(&mut socket, &mut buf, framing);
            let past = body.is_past(limit);
            let ok = body.drain(limit, Duration::from_secs(1));
            drop(body);
            (past, ok, buf)
        };
        assert_eq!(
            drained(b"abcGET", Framing::Length(3), 10),
            (false, true, b"GET".to_vec())
        );
        assert!(drained(b"abc", Framing::Length(30), 10).0);
        assert!(!drained(b"abc", Framing::Length(30), 100).1);
        assert_eq!(
            drained(b"1\r\na\r\n0\r\n\r\nGET", Framing::Chunked, 10).2,
            b"GET"
        );
        assert!(!drained(b"zz", Framing::Chunked, 10).1);
    }

    #[test]
    fn silence_is_a_timeout_and_failure_is_final() {
        let mut socket = Script::new(&[b"ab"], Then::Silence);
        let mut buf = Vec::new();
        let mut body = Body::new(&mut socket, &mut buf, Framing::Length(3));
        let deadline = Instant::now() + Duration::from_secs(1);
        assert!(matches!(body.read(3, deadline), Err(BodyError::Slow)));
        assert!(matches!(
            body.read(3, deadline),
            Err(BodyError::Malformed(_))
        ));
        assert!(body.is_past(u64::MAX));
    }
}
