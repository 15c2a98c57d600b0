//! Bounds, against the flaws RL-01 … RL-08 of the list of published advisories.
//!
//! Left to the issues that build what they are about: attachments and files of the HTTP APIs in RL-03,
//! web_fetch and media downloads in RL-04, compaction and tool loops in RL-08 (issue C); RL-05, media of
//! channels (issue E); RL-06, images (issues C and E).

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use support::*;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// Whether the peer has closed: end of file or a reset within the deadline; what it sends before is skipped.
fn ends(stream: &mut TcpStream, within: Duration) -> bool {
    let end = Instant::now() + within;
    let mut chunk = [0; 4096];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        stream.set_read_timeout(Some(left)).expect("read timeout");
        match stream.read(&mut chunk) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return false;
            }
            Err(_) => return true,
        }
    }
}

/// Whether the peer has closed by now. Reads what is there, without waiting.
fn ended_by_now(stream: &mut TcpStream) -> bool {
    let mut chunk = [0; 4096];
    stream.set_nonblocking(true).expect("nonblocking");
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != ErrorKind::WouldBlock,
        }
    }
}

#[test]
fn rl_01_anonymous_connections_are_capped_and_hurt_nobody() {
    const EACH: usize = 5000;
    /// More than any sensible budget for one address before authentication.
    const MANY: usize = 500;
    let home = Home::with_config(json!({}));
    let gateway = home.start();
    let port = gateway.port();
    let mut admin = gateway.admin();
    let before = gateway.resident();

    let mut held: Vec<TcpStream> = Vec::new();
    let mut slowest = Duration::ZERO;
    for number in 0..2 * EACH {
        // From one address: half of them say nothing at all, half upgrade and never connect.
        let Ok(mut stream) = http::open_from([127, 0, 0, 9], port, DEADLINE) else {
            continue;
        };
        if number % 2 == 1 {
            let _ = write!(
                stream,
                "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            );
        }
        held.push(stream);
        if number % 100 == 99 {
            // Those that were refused are closed; they go, so that this process keeps few sockets as well.
            let asked = Instant::now();
            ok(&admin.call("health", json!({})));
            slowest = slowest.max(asked.elapsed());
            held.retain_mut(|stream| !ended_by_now(stream));
            assert!(
                held.len() <= MANY,
                "{} anonymous connections are held after {number}",
                held.len()
            );
        }
    }
    assert!(
        slowest < Duration::from_secs(1),
        "an authenticated client waited {slowest:?}"
    );
    assert!(!held.is_empty(), "nothing was let in at all");
    // A newcomer from elsewhere gets in while they are there.
    let stream = http::open_from([127, 0, 0, 10], port, DEADLINE).expect("connect");
    let mut newcomer = Client::upgrade(stream, port, &[]).expect("upgrade");
    ok(&newcomer.introduce(&Connect::operator(), Some(&Device::new())));

    let grown = gateway.resident().saturating_sub(before);
    assert!(grown < 64 * MIB, "{} KiB more resident memory", grown / KIB);
    // The handshake deadline is 10 s.
    for stream in &mut held {
        stream.set_nonblocking(false).expect("blocking");
        assert!(
            ends(stream, Duration::from_secs(20)),
            "still held after the handshake deadline"
        );
    }
    // And then there is room again.
    let stream = http::open_from([127, 0, 0, 9], port, DEADLINE).expect("connect");
    let mut again = Client::upgrade(stream, port, &[]).expect("upgrade");
    ok(&again.introduce(&Connect::operator(), Some(&Device::new())));
}

#[test]
fn rl_02_large_frames_before_authentication_are_refused_unread() {
    let home = Home::with_config(json!({}));
    let gateway = home.start();
    let port = gateway.port();
    ok(&gateway.admin().call("health", json!({})));
    let before = gateway.resident();

    let filler = vec![b'x'; 64 * KIB as usize];
    type Attack<'a> = Box<dyn Fn(&mut Client) + 'a>;
    let attacks: Vec<(&str, Attack)> = vec![
        (
            "a text frame of 25 MiB",
            Box::new(|client| {
                client.send_bytes(&ws::frame_head(1, true, 25 * MIB));
                for _ in 0..25 * 16 {
                    if !client.send_bytes(&filler) {
                        break;
                    }
                }
            }),
        ),
        (
            "a declared length of 64 MiB and nothing else",
            Box::new(|client| {
                client.send_bytes(&ws::frame_head(1, true, 64 * MIB));
            }),
        ),
        (
            "a declared length of 2^63 - 1",
            Box::new(|client| {
                client.send_bytes(&ws::frame_head(2, true, u64::MAX >> 1));
            }),
        ),
        (
            "fragments without end",
            Box::new(|client| {
                client.send_bytes(&ws::frame(1, false, b"{"));
                for _ in 0..4096 {
                    if !client.send_bytes(&ws::frame(0, false, &filler[..1024])) {
                        break;
                    }
                }
            }),
        ),
        (
            "a continuation of nothing",
            Box::new(|client| {
                client.send_bytes(&ws::frame(0, false, b"x"));
            }),
        ),
        (
            "a compressed frame, which was not negotiated",
            Box::new(|client| {
                let mut bytes = ws::frame(1, true, &filler[..100]);
                bytes[0] |= 0x40;
                client.send_bytes(&bytes);
            }),
        ),
        (
            "JSON nested 30 000 deep",
            Box::new(|client| {
                client.send_bytes(&ws::frame(1, true, "[".repeat(30_000).as_bytes()));
            }),
        ),
        (
            "a connect whose parameters are nested 10 000 deep",
            Box::new(|client| {
                let text = format!(
                    "{{\"type\":\"req\",\"id\":\"1\",\"method\":\"connect\",\"params\":{}1{}}}",
                    "{\"a\":".repeat(10_000),
                    "}".repeat(10_000)
                );
                client.send_bytes(&ws::frame(1, true, text.as_bytes()));
            }),
        ),
    ];
    for (what, attack) in &attacks {
        let mut clients: Vec<Client> = (0..4).map(|_| Client::open(port)).collect();
        for client in &mut clients {
            attack(client);
            // Bytes that nobody reads may turn the close into a reset, which shows as 1006.
            let closed = client.closed();
            assert!(
                matches!(closed.code, 1000 | 1002 | 1006 | 1008 | 1009),
                "{what}: {closed:?}"
            );
        }
    }
    let grown = gateway.resident().saturating_sub(before);
    assert!(grown < 16 * MIB, "{} KiB more resident memory", grown / KIB);
    // The refusal of a declared length is a proper one.
    let mut client = Client::open(port);
    client.send_bytes(&ws::frame_head(1, true, 64 * KIB + 1));
    assert_eq!(client.closed().code, 1009);

    // The twin: a connect just below the bound, and a large frame after authentication.
    let mut client = Client::open(port);
    let padding = "x".repeat(60 * KIB as usize);
    ok(&client.introduce(
        &Connect::operator().extra(json!({"userAgent": padding})),
        Some(&Device::new()),
    ));
    let response = client.call("health", json!({"padding": "x".repeat(20 * MIB as usize)}));
    ok(&response);
}

#[test]
fn rl_04_a_model_endpoint_that_never_ends_is_cut_off() {
    fn endless(head: &'static str, piece: &'static [u8]) -> Reply {
        Reply::Takeover(Box::new(move |stream| {
            let _ = stream.write_all(head.as_bytes());
            // Half a gigabyte unless the peer has had enough.
            let block = piece.repeat(64 * 1024 / piece.len());
            for _ in 0..8192 {
                if stream.write_all(&block).is_err() {
                    return;
                }
            }
        }))
    }
    let model = Model::scripted(|body| {
        let text = model::last_user_text(body);
        let stream = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
        if text.contains("endless-error") {
            endless(
                "HTTP/1.1 500 Broken\r\nContent-Type: text/plain\r\n\r\n",
                b"error ",
            )
        } else if text.contains("endless-line") {
            endless(stream, b"data: xxxxxxxx")
        } else if text.contains("endless-comments") {
            endless(stream, b": keep alive\n\n")
        } else if text.contains("endless-head") {
            endless(
                "HTTP/1.1 200 OK\r\n",
                b"X-Filler: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n",
            )
        } else if text.contains("endless-text") {
            endless(stream, b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz\"}}]}\n\n")
        } else if text.contains("short-length") {
            endless(
                "HTTP/1.1 500 Broken\r\nContent-Length: 10\r\n\r\n",
                b"0123456789",
            )
        } else {
            Reply::text("A proper reply.")
        }
    });
    let home = Home::with_config(json!({
        "models": {"providers": {"stub": {"baseUrl": model.url()}}},
        "agents": {"defaults": {"timeoutSeconds": 20}},
    }));
    let gateway = home.start();
    let mut admin = gateway.admin();
    let mut run = |name: &str| -> Value {
        let id = admin.post(
            "agent",
            json!({"message": name, "sessionKey": name, "idempotencyKey": name}),
        );
        ok(&admin.response(&id));
        // Longer than the run may take: a run that does not end is what this is about.
        admin.response_within(&id, Duration::from_secs(60))
    };
    run("a proper one first");
    let before = gateway.resident();
    for name in [
        "endless-error",
        "endless-line",
        "endless-comments",
        "endless-head",
        "endless-text",
        "short-length",
    ] {
        let response = run(name);
        assert!(
            response["payload"]["result"]["payloads"][0]["text"] != "A proper reply.",
            "{name}: {response}"
        );
        let grown = gateway.resident().saturating_sub(before);
        assert!(
            grown < 48 * MIB,
            "{name}: {} KiB more resident memory",
            grown / KIB
        );
    }
    // The twin: the gateway is well, and so is the session that failed.
    let response = run("a proper one at the end");
    assert_eq!(
        ok(&response)["result"]["payloads"][0]["text"],
        "A proper reply."
    );
}

#[test]
fn rl_07_maps_do_not_grow_with_what_strangers_choose() {
    const ROUNDS: usize = 3;
    const EACH: usize = 4000;
    let home = Home::with_config(json!({"gateway": {
        "trustedProxies": ["127.0.0.1"],
        "auth": {"rateLimit": {"maxAttempts": 5, "windowMs": 600_000, "lockoutMs": 600_000, "exemptLoopback": true}},
    }}));
    let gateway = home.start();
    let port = gateway.port();
    let mut admin = gateway.admin();

    // An address that has locked itself out.
    let locked = [("x-forwarded-for", "198.51.100.7")];
    let attempt = |headers: &[(&str, &str)], token: &str| {
        let mut client = Client::open_with(port, headers).expect("upgrade");
        let response = client.introduce(
            &Connect::operator().auth(json!({"token": token})),
            Some(&Device::new()),
        );
        response["error"]["details"]["authReason"]
            .as_str()
            .map(String::from)
    };
    for _ in 0..5 {
        attempt(&locked, "wrong");
    }
    assert_eq!(attempt(&locked, TOKEN).as_deref(), Some("rate_limited"));

    let mut round = |round: usize| {
        let mut stream = http::open(port, DEADLINE);
        for number in 0..EACH {
            let name = format!("{round}-{number}");
            // Ids that only a write caller can choose, and that are never used again.
            admin.post(
                "agent.wait",
                json!({"runId": format!("run-{name}"), "timeoutMs": 0}),
            );
            admin.post(
                "chat.history",
                json!({"sessionKey": format!("session-{name}")}),
            );
            admin.post(
                "chat.abort",
                json!({"sessionKey": format!("session-{name}")}),
            );
            if number % 4 == 0 {
                let address = format!("203.{}.{}.{}", round, number / 250, number % 250);
                assert_eq!(
                    attempt(&[("x-forwarded-for", &address)], "wrong").as_deref(),
                    Some("token_mismatch")
                );
            }
            // Paths and query strings, on one connection as long as the gateway keeps it.
            let head = format!(
                "GET /nowhere/{name}?q={name} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Forwarded-For: 192.0.2.{}\r\n\r\n",
                number % 250
            );
            let sent = stream.write_all(head.as_bytes()).is_ok();
            let response = if sent {
                Some(http::read(&mut stream))
            } else {
                None
            };
            if response.is_none_or(|response| {
                response
                    .header("connection")
                    .is_some_and(|value| value.eq_ignore_ascii_case("close"))
            }) {
                stream = http::open(port, DEADLINE);
            }
            admin.so_far();
        }
        gateway.resident()
    };
    let sizes: Vec<u64> = (0..ROUNDS).map(&mut round).collect();
    let grown = sizes[ROUNDS - 1].saturating_sub(sizes[0]);
    assert!(
        grown < 4 * MIB,
        "resident memory {sizes:?} bytes after rounds of {EACH}"
    );
    // What was locked stays locked, however many others came by.
    assert_eq!(attempt(&locked, TOKEN).as_deref(), Some("rate_limited"));
    assert_eq!(attempt(&[], TOKEN), None);
}

#[test]
fn rl_08_a_failing_model_is_not_called_without_end() {
    /// One call and three retries, as openclaw-gateway(1) says.
    const BOUND: usize = 4;
    for status in [500, 503, 429] {
        let model = Model::scripted(move |_| {
            Reply::Status(status, json!({"error": {"message": "not today"}}))
        });
        let home =
            Home::with_config(json!({"models": {"providers": {"stub": {"baseUrl": model.url()}}}}));
        let gateway = home.start();
        let mut admin = gateway.admin();
        let id = admin.post(
            "agent",
            json!({"message": "hello", "sessionKey": "s", "idempotencyKey": "k"}),
        );
        ok(&admin.response(&id));
        admin.response_within(&id, Duration::from_secs(120));
        let calls = model.requests().len();
        assert!((1..=BOUND).contains(&calls), "{status}: {calls} calls");
    }
}
