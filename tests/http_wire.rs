//! HTTP on the gateway's port, byte by byte: what is answered, what is refused, what hurts nobody else.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use support::*;

/// Sends `bytes` and reads until the gateway closes. A reset after the answer counts as closing.
#[track_caller]
fn talk(port: u16, bytes: &[u8]) -> String {
    let mut stream = http::open(port, DEADLINE);
    // The gateway may have refused and closed before it took everything.
    let _ = stream.write_all(bytes);
    read_to_close(&mut stream)
}

#[track_caller]
fn read_to_close(stream: &mut TcpStream) -> String {
    let mut seen = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => seen.extend_from_slice(&chunk[..count]),
            Err(e) if e.kind() == ErrorKind::ConnectionReset => break,
            Err(e) => panic!("{e}; got {:?}", String::from_utf8_lossy(&seen)),
        }
    }
    String::from_utf8_lossy(&seen).into_owned()
}

/// The status of each response in `text`.
fn statuses(text: &str) -> Vec<u16> {
    text.split("HTTP/1.1 ")
        .skip(1)
        .map(|t| t[..3].parse().expect("a status"))
        .collect()
}

fn home() -> Home {
    Home::with_config(json!({"logging": {"level": "debug"}}))
}

#[test]
fn what_is_ambiguous_is_refused_and_the_connection_closed() {
    let home = home();
    let gateway = home.start();
    let second = "GET /nope.js HTTP/1.1\r\nHost: x\r\n\r\n";
    for (head, status) in [
        ("THIS IS NOT HTTP\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        ("GET / HTTP/9.9\r\nHost: x\r\n\r\n", 400),
        ("FROB / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", 400),
        ("GET / HTTP/1.1\nHost: x\n\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nExpect: magic\r\n\r\n", 417),
        // Two parsers could see the second request in different places.
        (
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +0\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
    ] {
        let text = talk(gateway.port(), (head.to_string() + second).as_bytes());
        assert_eq!(statuses(&text), [status], "{head:?}: {text}");
        assert!(text.ends_with("\r\n\r\n"), "an empty body: {text}");
    }
    let long = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n",
        "a".repeat(17_000)
    );
    assert_eq!(statuses(&talk(gateway.port(), long.as_bytes())), [431]);
    let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(65));
    assert_eq!(statuses(&talk(gateway.port(), many.as_bytes())), [431]);
}

#[test]
fn broken_chunks_are_not_followed_by_another_request() {
    let home = home();
    let gateway = home.start();
    let second = "GET /nope.js HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    for chunks in [
        "+5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello!\r\n0\r\n\r\n",
        "5\nhello\n0\n\n",
        "zz\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
    ] {
        let head = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        let text = talk(gateway.port(), format!("{head}{chunks}{second}").as_bytes());
        assert_eq!(statuses(&text), [405], "{chunks:?}");
    }
    // The twin: good ones are.
    let good = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nA: b\r\n\r\n";
    let text = talk(gateway.port(), (good.to_string() + second).as_bytes());
    assert_eq!(statuses(&text), [405, 404]);
}

#[test]
fn a_connection_carries_many_requests() {
    let home = home();
    let gateway = home.start();
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let post = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabcdef";
    let last = "GET /nope.css HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let bytes = get("/nope.js") + post + &get("http://other/favicon.svg") + last;
    let text = talk(gateway.port(), bytes.as_bytes());
    assert_eq!(statuses(&text), [404, 405, 200, 404]);
    assert_eq!(text.matches("Connection: keep-alive").count(), 3);
    assert_eq!(text.matches("Connection: close").count(), 1);
    // The same, a byte at a time.
    let mut stream = http::open(gateway.port(), DEADLINE);
    stream.set_nodelay(true).unwrap();
    for b in bytes.bytes() {
        stream.write_all(&[b]).unwrap();
    }
    assert_eq!(statuses(&read_to_close(&mut stream)), [404, 405, 200, 404]);
    let old = talk(
        gateway.port(),
        b"GET / HTTP/1.0\r\n\r\nGET / HTTP/1.0\r\n\r\n",
    );
    assert_eq!(statuses(&old), [200]);
    let head = talk(
        gateway.port(),
        b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    );
    assert!(
        head.ends_with("\r\n\r\n") && !head.contains("Content-Length"),
        "{head}"
    );
}

#[test]
fn a_body_is_asked_for_before_it_is_sent() {
    let home = home();
    let gateway = home.start();
    let mut stream = http::open(gateway.port(), DEADLINE);
    let head = "POST /api/channels/x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"abc").unwrap();
    assert_eq!(statuses(&read_to_close(&mut stream)), [401]);
}

#[test]
fn a_large_body_that_nobody_wants_is_refused_with_an_answer() {
    let home = home();
    let gateway = home.start();
    let body = vec![b'x'; 900_000];
    let head = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let text = talk(gateway.port(), &[head.as_bytes(), &body[..]].concat());
    assert_eq!(statuses(&text), [405]);
    assert!(text.contains("Connection: close"));
}

#[test]
fn upgrades_that_are_not_granted() {
    let home = home();
    let gateway = home.start();
    let ask = |method: &str, upgrade: &str, version: &str, key: &str| {
        let text = format!(
            "{method} /any HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n\
             Sec-WebSocket-Version: {version}\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        );
        talk(gateway.port(), text.as_bytes())
    };
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    for (text, status) in [
        (ask("GET", "websocket", "13", "short"), 400),
        (ask("GET", "websocket", "7", KEY), 400),
        (ask("GET", "h2c", "13", KEY), 400),
        (ask("POST", "websocket", "13", KEY), 405),
    ] {
        assert_eq!(statuses(&text), [status], "{text}");
        assert!(text.contains("Content-Type: text/html\r\n"), "{text}");
    }
    // On a connection that has carried an ordinary request.
    let mut stream = http::open(gateway.port(), DEADLINE);
    let mut bytes = b"GET /nope.js HTTP/1.1\r\nHost: x\r\n\r\n".to_vec();
    stream.write_all(&bytes).unwrap();
    assert_eq!(http::read(&mut stream).status, 404);
    bytes = format!(
        "GET /x HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    )
    .into_bytes();
    stream.write_all(&bytes).unwrap();
    let granted = http::read(&mut stream);
    assert_eq!(granted.status, 101);
    assert_eq!(
        granted.header("sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
}

#[test]
fn slow_and_broken_peers_hurt_nobody_else() {
    let home = home();
    let gateway = home.start();
    let began = Instant::now();
    let start = |bytes: &str| {
        let mut stream = http::open(gateway.port(), DEADLINE);
        stream.write_all(bytes.as_bytes()).unwrap();
        stream
    };
    let mut slow_head: Vec<TcpStream> = (0..20).map(|_| start("GET / HTTP/1.1\r\nHo")).collect();
    let mut slow_body: Vec<TcpStream> = (0..20)
        .map(|_| start("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc"))
        .collect();
    // Half a request, then a close with unread data: the gateway sees a reset or an end.
    for _ in 0..20 {
        drop(start(
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc",
        ));
    }
    for _ in 0..20 {
        assert_eq!(http::get(gateway.port(), "/nope.js", &[]).status, 404);
    }
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "others had to wait"
    );
    for stream in &mut slow_body {
        assert_eq!(statuses(&read_to_close(stream)), [405]);
    }
    for stream in &mut slow_head {
        assert_eq!(statuses(&read_to_close(stream)), [408]);
    }
    assert!(began.elapsed() < DEADLINE);
}

#[test]
fn an_idle_connection_is_closed() {
    let home = home();
    let gateway = home.start();
    let mut stream = http::open(gateway.port(), DEADLINE);
    stream
        .write_all(b"GET /nope.js HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let text = read_to_close(&mut stream);
    assert_eq!(statuses(&text), [404]);
    assert!(text.contains("Keep-Alive: timeout=5"));
}

#[test]
fn ht_04_only_a_bearer_opens_what_is_guarded() {
    let home = home();
    let gateway = home.start();
    let status = |headers: &[&str]| {
        http::request(gateway.port(), "POST", "/api/channels/x", headers, b"{}").status
    };
    let token = format!("Authorization: Bearer {TOKEN}");
    let same = format!("X-OpenClaw-Token: {TOKEN}");
    assert_eq!(status(&[]), 401);
    assert_eq!(
        status(&[
            "Tailscale-User-Login: ann@example.com",
            "X-Forwarded-For: 100.64.0.1"
        ]),
        401
    );
    assert_eq!(status(&[&same]), 401);
    assert_eq!(status(&["Authorization: Bearer wrong"]), 401);
    assert_eq!(status(&[&token, "Authorization: Bearer wrong"]), 401);
    let refused = http::get(
        gateway.port(),
        &format!("/api/channels/x?token={TOKEN}"),
        &[],
    );
    assert_eq!(refused.status, 401);
    assert_eq!(
        refused.json(),
        json!({"error": {"message": "Unauthorized", "type": "unauthorized"}})
    );
    // With it, the request is one for a path that nobody serves.
    assert_eq!(status(&[&token]), 405);
}

#[test]
fn sl_04_and_sl_08_requests_do_not_write_the_log() {
    let home = home();
    let gateway = home.start();
    let evil = format!("User-Agent: x\x1b[2J{}", "y".repeat(9_000));
    let seen = http::get(gateway.port(), "/nope.js?token=hunter2hunter2hunter2", &[]);
    assert_eq!(seen.status, 404);
    let text = format!("GET /nope.js HTTP/1.1\r\nHost: x\r\n{evil}\r\n\r\n");
    assert_eq!(statuses(&talk(gateway.port(), text.as_bytes())), [400]);
    let long = format!("/{}.js", "z".repeat(9_000));
    assert_eq!(http::get(gateway.port(), &long, &[]).status, 404);
    let log = eventually("three requests in the log", || {
        let log = home.log();
        (log.matches("/zzzz").count() >= 1).then_some(log)
    });
    assert!(log.contains("/nope.js 404"), "{log}");
    assert!(!log.contains("hunter2"), "a token in a query was logged");
    for line in log.lines() {
        let value: Value = serde_json::from_str(line).expect("one JSON object a line");
        let message = value["1"].as_str().expect("a message");
        assert!(
            message.len() < 1_000 && !message.contains('\x1b'),
            "{message:?}"
        );
    }
}
