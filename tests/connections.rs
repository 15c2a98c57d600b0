//! Connections: where browsers may come from, peers that vanish or do not read, and signals.

mod support;

use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use support::*;

#[test]
fn ui_01_any_origin_means_a_browser_whatever_the_client_calls_itself() {
    for auth in [
        json!({"mode": "token", "token": TOKEN}),
        json!({"mode": "none", "token": null}),
    ] {
        let home = Home::with_config(json!({"gateway": {
            "auth": auth, "controlUi": {"allowedOrigins": ["https://allowed.example"]},
        }}));
        let gateway = home.start();
        let port = gateway.port();
        let sent = if auth["mode"] == "none" {
            Value::Null
        } else {
            json!({"token": TOKEN})
        };
        let attempt = |headers: &[(&str, &str)], id: &str, mode: &str| -> Result<Value, u16> {
            let mut client = Client::open_with(port, headers)?;
            let who = Connect::operator().client(id, mode).auth(sent.clone());
            let response = client.introduce(&who, Some(&Device::new()));
            if response["ok"] != true {
                assert_eq!(client.closed().code, 1008);
            }
            Ok(response)
        };
        let own = format!("http://evil.example:{port}");
        let rebound = format!("evil.example:{port}");
        for (id, mode) in [
            ("cli", "cli"),
            ("gateway-client", "backend"),
            ("openclaw-control-ui", "ui"),
            ("openclaw-control-ui", "webchat"),
            ("webchat", "webchat"),
            ("test", "test"),
            ("openclaw-macos", "ui"),
        ] {
            for headers in [
                vec![("origin", "https://evil.example")],
                vec![("origin", "null")],
                vec![("origin", "https://allowed.example.evil.example")],
                vec![("origin", "http://localhost.evil.example")],
                // A name that was made to point at this machine: origin and host agree, and mean nothing.
                vec![("origin", own.as_str()), ("host", rebound.as_str())],
                vec![
                    ("origin", "https://allowed.example"),
                    ("origin", "https://evil.example"),
                ],
            ] {
                match attempt(&headers, id, mode) {
                    Err(status) => {
                        assert!(matches!(status, 400 | 403), "{id} {headers:?}: {status}")
                    }
                    Ok(response) => {
                        let (_, message) = refused(&response);
                        assert!(
                            message.starts_with("origin not allowed"),
                            "{id} {headers:?}: {message}"
                        );
                    }
                }
            }
            // The twins: a page that is allowed, and for all but the pages themselves no Origin at all.
            for origin in [
                "https://allowed.example",
                "HTTPS://ALLOWED.example",
                "http://localhost:5173",
            ] {
                let response = attempt(&[("origin", origin)], id, mode).expect("upgrade");
                assert_eq!(response["ok"], true, "{id} from {origin}: {response}");
            }
            let page = id == "openclaw-control-ui" || mode == "webchat";
            assert_eq!(
                attempt(&[], id, mode).expect("upgrade")["ok"],
                !page,
                "{id} without Origin"
            );
        }
    }
}

#[test]
fn a_client_that_does_not_read_is_closed_and_delays_nobody() {
    const PART: usize = 7800;
    const PARTS: usize = 134;
    // Each step of the reply is sent with the text so far: some 40 MB a run, of which 50 MiB may wait.
    let model = Model::scripted(|_| {
        Reply::Parts((0..PARTS).map(|_| Part::Text("x".repeat(PART))).collect())
    });
    let home =
        Home::with_config(json!({"models": {"providers": {"stub": {"baseUrl": model.url()}}}}));
    let mut gateway = home.start_with(&["--verbose"]);
    let mut deaf = gateway.admin();
    // The system would take 32 MiB for it otherwise.
    set_option(&mut deaf, libc::SO_RCVBUF, 64 * 1024);
    let mut busy = gateway.admin();
    // The one that reads gets everything.
    for run in ["first", "second", "third"] {
        let params = json!({"message": "much", "sessionKey": run, "idempotencyKey": run});
        let id = busy.post("agent", params);
        assert_eq!(ok(&busy.response(&id))["status"], "accepted");
        let answer = busy.response_within(&id, Duration::from_secs(120));
        let text = answer["payload"]["result"]["payloads"][0]["text"]
            .as_str()
            .expect("text");
        assert_eq!(text.len(), PART * PARTS);
    }

    gateway.wait_line("slow consumer");
    let asked = Instant::now();
    ok(&gateway.admin().call("health", json!({})));
    assert!(
        asked.elapsed() < Duration::from_secs(2),
        "{:?}",
        asked.elapsed()
    );
    // What it had been sent is still there to read, and then the connection is over.
    let closed = deaf.closed();
    assert!(matches!(closed.code, 1006 | 1008), "{closed:?}");
    eventually("it has left the presence list", || {
        let presence = ok(&busy.call("system-presence", json!({})));
        let devices = presence
            .as_array()?
            .iter()
            .filter(|entry| entry["mode"] == "backend" && entry["reason"] != "disconnect");
        (devices.count() <= 2).then_some(())
    });
}

/// Sets an option of the client's socket.
fn set_option<T>(client: &mut Client, option: i32, value: T) {
    // SAFETY: the value lives for the call, and its length is its own.
    let set = unsafe {
        libc::setsockopt(
            client.stream().as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw const value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    assert_eq!(set, 0);
}

/// Ends a connection with a reset instead of an orderly close.
fn reset(mut client: Client) {
    set_option(
        &mut client,
        libc::SO_LINGER,
        libc::linger {
            l_onoff: 1,
            l_linger: 0,
        },
    );
}

fn threads(gateway: &Gateway) -> usize {
    std::fs::read_dir(format!("/proc/{}/task", gateway.pid()))
        .expect("threads")
        .count()
}

fn descriptors(gateway: &Gateway) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", gateway.pid()))
        .expect("descriptors")
        .count()
}

#[test]
fn peers_that_vanish_leave_nothing_behind() {
    let home = Home::with_config(json!({}));
    let gateway = home.start();
    let mut admin = gateway.admin();
    ok(&admin.call("health", json!({})));
    let (threads_before, descriptors_before) = (threads(&gateway), descriptors(&gateway));
    for round in 0..200 {
        // At every stage: before the handshake, after it, in the middle of a frame, with an answer on its way.
        let mut client = Client::open(gateway.port());
        match round % 4 {
            0 => {}
            1 => {
                client.send_bytes(&ws::frame_head(1, true, 1000));
            }
            2 => {
                ok(&client.introduce(&Connect::operator(), Some(&Device::new())));
                client.send_bytes(&ws::frame_head(1, true, 1_000_000));
            }
            _ => {
                ok(&client.introduce(&Connect::operator(), Some(&Device::new())));
                client.post("status", json!({}));
                client.post("config.schema", json!({}));
            }
        }
        reset(client);
    }
    ok(&admin.call("health", json!({})));
    eventually("threads and descriptors are back where they were", || {
        ok(&admin.call("health", json!({})));
        (threads(&gateway) <= threads_before && descriptors(&gateway) <= descriptors_before)
            .then_some(())
    });
    assert!(!gateway.output().contains("panicked"));
}

#[test]
fn sigusr1_restarts_in_place_unless_it_is_forbidden() {
    let home = Home::with_config(json!({}));
    let mut gateway = home.start();
    let pid = gateway.pid();
    let mut client = gateway.admin();
    gateway.signal("USR1");
    let event = client.event("shutdown", |_| true);
    assert_eq!(
        event["payload"],
        json!({"reason": "gateway restarting", "restartExpectedMs": 1500})
    );
    assert_eq!(client.closed().code, 1012);
    gateway.wait_line("listening on ws://");
    assert_eq!(gateway.pid(), pid);
    ok(&gateway.admin().call("health", json!({})));

    let home = Home::with_config(json!({"commands": {"restart": false}}));
    let mut gateway = home.start();
    let mut client = gateway.admin();
    gateway.signal("USR1");
    gateway.wait_line("SIGUSR1 ignored");
    assert!(
        !client
            .so_far()
            .iter()
            .any(|frame| frame["event"] == "shutdown")
    );
}

#[test]
fn sighup_reads_the_config_at_once() {
    let home = Home::with_config(json!({"gateway": {"reload": {"debounceMs": 600_000}}}));
    let mut gateway = home.start();
    home.write_config(&home.config(json!({
        "gateway": {"reload": {"debounceMs": 600_000}},
        "agents": {"list": [{"id": "main", "identity": {"name": "Renamed"}}]},
    })));
    gateway.signal("HUP");
    gateway.wait_line("config change applied");
    let name = ok(&gateway.admin().call("agent.identity.get", json!({})))["name"].clone();
    assert_eq!(name, "Renamed");
}

#[test]
fn a_stop_does_not_wait_long_for_work_and_what_was_accepted_is_kept() {
    let model = Model::scripted(|_| {
        Reply::Parts(vec![Part::Text("half ".into()), Part::Wait(Gate::new())])
    });
    let home =
        Home::with_config(json!({"models": {"providers": {"stub": {"baseUrl": model.url()}}}}));
    let mut gateway = home.start();
    let mut client = gateway.admin();
    let id = client.post(
        "agent",
        json!({"message": "kept in any case", "sessionKey": "s", "idempotencyKey": "k"}),
    );
    ok(&client.response(&id));
    client.event("agent", |payload| payload["stream"] == "assistant");
    let asked = Instant::now();
    gateway.signal("TERM");
    client.event("shutdown", |_| true);
    assert_eq!(client.closed().code, 1012);
    assert_eq!(gateway.exit(), Some(0));
    assert!(
        asked.elapsed() < Duration::from_secs(6),
        "{:?}",
        asked.elapsed()
    );
    // The next start has the message.
    let gateway = home.start();
    let history = ok(&gateway
        .admin()
        .call("chat.history", json!({"sessionKey": "s"})));
    assert!(
        history.to_string().contains("kept in any case"),
        "{history}"
    );
}
