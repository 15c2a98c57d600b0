//! Raw HTTP/1.1: bytes out, one parsed response back.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// One response.
pub struct Response {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }
}

/// A connection to a local port that gives up after `deadline` on each read.
pub fn open(port: u16, deadline: Duration) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("connect");
    stream
        .set_read_timeout(Some(deadline))
        .expect("read timeout");
    stream
        .set_write_timeout(Some(deadline))
        .expect("write timeout");
    stream
}

/// The same from another loopback address of this machine (any 127.x.y.z), so that a test has several peers.
pub fn open_from(source: [u8; 4], port: u16, deadline: Duration) -> std::io::Result<TcpStream> {
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
    let address = |ip: [u8; 4], port: u16| libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes(ip),
        },
        // SAFETY: plain data, for which zero is valid.
        ..unsafe { std::mem::zeroed() }
    };
    let length = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    let check = |result: i32| {
        if result < 0 {
            Err(std::io::Error::last_os_error())
        } else {
            Ok(result)
        }
    };
    // SAFETY: the descriptor is owned from the start; the addresses live for the calls.
    let stream = unsafe {
        let socket = OwnedFd::from_raw_fd(check(libc::socket(
            libc::AF_INET,
            libc::SOCK_STREAM | libc::SOCK_CLOEXEC,
            0,
        ))?);
        let (from, to) = (address(source, 0), address([127, 0, 0, 1], port));
        check(libc::bind(
            socket.as_raw_fd(),
            (&raw const from).cast(),
            length,
        ))?;
        check(libc::connect(
            socket.as_raw_fd(),
            (&raw const to).cast(),
            length,
        ))?;
        TcpStream::from(socket)
    };
    stream.set_read_timeout(Some(deadline))?;
    stream.set_write_timeout(Some(deadline))?;
    Ok(stream)
}

/// GET with further headers ("Name: value").
pub fn get(port: u16, path: &str, headers: &[&str]) -> Response {
    request(port, "GET", path, headers, b"")
}

/// A request on a connection of its own, which the peer is asked to close.
#[track_caller]
pub fn request(port: u16, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Response {
    let mut head =
        format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n");
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    if !body.is_empty() {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    let mut stream = open(port, super::DEADLINE);
    stream.write_all(head.as_bytes()).expect("send head");
    stream.write_all(body).expect("send body");
    read(&mut stream)
}

/// Reads a response until the peer closes or the stated length is there.
#[track_caller]
pub fn read(stream: &mut TcpStream) -> Response {
    let mut bytes = Vec::new();
    let mut chunk = [0u8; 4096];
    loop {
        if let Some(response) = parse(&bytes, false) {
            return response;
        }
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            Err(error) => panic!(
                "no full response: {error}; got {:?}",
                String::from_utf8_lossy(&bytes)
            ),
        }
    }
    parse(&bytes, true)
        .unwrap_or_else(|| panic!("no response in {:?}", String::from_utf8_lossy(&bytes)))
}

/// The response in `bytes` once it is whole; `closed` says that nothing more will come.
fn parse(bytes: &[u8], closed: bool) -> Option<Response> {
    let mut slots = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut slots);
    let Ok(httparse::Status::Complete(start)) = head.parse(bytes) else {
        return None;
    };
    let headers: Vec<(String, String)> = head
        .headers
        .iter()
        .map(|header| {
            (
                header.name.to_ascii_lowercase(),
                String::from_utf8_lossy(header.value).into_owned(),
            )
        })
        .collect();
    let mut response = Response {
        status: head.code?,
        headers,
        body: bytes[start..].to_vec(),
    };
    if response
        .header("transfer-encoding")
        .is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
    {
        let mut body = Vec::new();
        let whole = chunked_transfer::Decoder::new(&response.body[..])
            .read_to_end(&mut body)
            .is_ok();
        response.body = body;
        return (whole || closed).then_some(response);
    }
    let length: Option<usize> = response
        .header("content-length")
        .and_then(|value| value.parse().ok());
    match length {
        Some(length) if response.body.len() >= length => Some(response),
        None if matches!(response.status, 101 | 204 | 304) => Some(response),
        _ => closed.then_some(response),
    }
}
