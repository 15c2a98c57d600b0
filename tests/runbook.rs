//! The operator's runbook, line by line: every command line and promise of it that a test can try.
//!
//! Left to issue D: `gateway install`, `restart`, `stop`, `doctor`, services of systemd and launchd. The
//! reload modes are in `reload.rs`, the rest of the handshake in `handshake.rs`.

mod support;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use support::*;

/// The same command for the gateway on `port`.
fn at(home: &Home, port: u16, arguments: &[&str]) -> Output {
    let mut command = home.command(arguments);
    command.env("OPENCLAW_GATEWAY_PORT", port.to_string());
    process::finish(command, &arguments.join(" "))
}

// Start in five minutes

#[test]
fn start_and_check_health() {
    let home = Home::with_config(json!({}));
    let mut gateway = home.start_with(&["--verbose"]);
    let port = gateway.port();

    let status = at(&home, port, &["gateway", "status"]).expect(0);
    assert!(status.stdout.contains("Runtime: running"), "{status:?}");
    assert!(status.stdout.contains("RPC probe: ok"), "{status:?}");
    // --verbose mirrors what happens to the console.
    gateway.wait_line("[ws]");

    let status = at(&home, port, &["status"]).expect(0);
    assert!(
        status.stdout.contains(&format!("127.0.0.1:{port}")),
        "{status:?}"
    );
    at(&home, port, &["health"]).expect(0);
    let channels = at(&home, port, &["channels", "status", "--probe"]).expect(0);
    assert!(
        channels.stdout.contains("Gateway reachable"),
        "{channels:?}"
    );

    for arguments in [
        vec!["gateway", "status", "--json"],
        vec!["status", "--json"],
        vec!["health", "--json"],
    ] {
        let output = at(&home, port, &arguments).expect(0);
        assert!(output.json().is_object(), "{arguments:?}");
        assert!(!output.stdout.contains('\u{1b}'));
    }
    let deep = at(&home, port, &["gateway", "status", "--deep"]).expect(0);
    assert!(deep.stdout.contains("RPC probe: ok"), "{deep:?}");
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn logs_follow_shows_what_happens_next() {
    let home = Home::with_config(json!({}));
    let gateway = home.start();
    let port = gateway.port();
    let first = at(&home, port, &["logs", "--limit", "50"]).expect(0);
    assert!(first.stdout.contains("listening on ws://"), "{first:?}");

    let mut command = home.command(&["logs", "--follow", "--plain", "--interval", "100"]);
    command.env("OPENCLAW_GATEWAY_PORT", port.to_string());
    let mut follow = Gateway::spawn(command, port);
    follow.wait_line("listening on ws://");
    // Something new, which the log has to tell: an edit that is refused.
    home.write_config_text("{ broken");
    follow.wait_line("config reload skipped");
}

#[test]
fn force_ends_the_listener_and_takes_its_port() {
    let home = Home::with_config(json!({}));
    let mut first = home.start();
    let port = first.port();
    let other = Home::with_config(json!({}));
    let mut second = other.start_on(port, &["--force"]);
    first.exit();
    assert!(
        second.output().contains(&first.pid().to_string()),
        "it does not say what it ended:{}",
        second.output()
    );
    ok(&second.admin().call("health", json!({})));
    second.signal("TERM");
    assert_eq!(second.exit(), Some(0));

    // Nobody there: just a start.
    let free = free_port();
    let third = other.start_on(free, &["--force"]);
    assert_eq!(third.stop(), Some(0));
}

#[test]
fn a_reload_watches_the_active_config_path() {
    let mut home = Home::with_config(json!({}));
    let active = home.path().join("active.json");
    let text = |name: &str| {
        home.config(json!({
            "gateway": {"reload": {"debounceMs": 50}},
            "agents": {"list": [{"id": "main", "identity": {"name": name}}]},
        }))
        .to_string()
    };
    std::fs::write(&active, text("First")).unwrap();
    let second = text("Second");
    home.set("OPENCLAW_CONFIG_PATH", active.to_str().unwrap());
    let mut gateway = home.start();
    std::fs::write(&active, second).unwrap();
    gateway.wait_line("config change applied");
    let name = ok(&gateway.admin().call("agent.identity.get", json!({})))["name"].clone();
    assert_eq!(name, "Second");
}

// The model of operation

#[test]
fn one_port_serves_websocket_and_http() {
    let home = Home::with_config(json!({}));
    let gateway = home.start();
    let mut client = gateway.admin();
    let page = http::get(gateway.port(), "/", &[]);
    assert!(page.status == 200 || page.status == 404, "{}", page.status);
    assert!(page.header("content-type").is_some());
    ok(&client.call("health", json!({})));
}

#[test]
fn authentication_is_required_by_default() {
    // No credential configured: one is made, and nobody is let in without.
    let home = Home::with_config(json!({"gateway": {"auth": {"mode": null, "token": null}}}));
    let gateway = home.start();
    let mut client = Client::open(gateway.port());
    let response = client.introduce(&Connect::operator().auth(Value::Null), Some(&Device::new()));
    assert_eq!(
        response["error"]["details"]["code"], "AUTH_TOKEN_MISSING",
        "{response}"
    );
    // Local commands find it.
    at(&home, gateway.port(), &["health"]).expect(0);

    // gateway.auth.password, OPENCLAW_GATEWAY_TOKEN, OPENCLAW_GATEWAY_PASSWORD
    for (patch, variable, auth) in [
        (
            json!({"token": null, "mode": null, "password": "a-password-01"}),
            None,
            json!({"password": "a-password-01"}),
        ),
        (
            json!({"token": null, "mode": null}),
            Some(("OPENCLAW_GATEWAY_TOKEN", "a-token-02")),
            json!({"token": "a-token-02"}),
        ),
        (
            json!({"token": null, "mode": null}),
            Some(("OPENCLAW_GATEWAY_PASSWORD", "a-password-03")),
            json!({"password": "a-password-03"}),
        ),
    ] {
        let mut home = Home::with_config(json!({"gateway": {"auth": patch}}));
        if let Some((name, value)) = variable {
            home.set(name, value);
        }
        let gateway = home.start();
        Client::connect(
            gateway.port(),
            &Connect::operator().auth(auth.clone()),
            Some(&Device::new()),
        );
        let mut client = Client::open(gateway.port());
        refused(&client.introduce(
            &Connect::operator().auth(json!({"token": "x", "password": "y"})),
            Some(&Device::new()),
        ));
        at(&home, gateway.port(), &["health"]).expect(0);
    }
}

#[test]
fn precedence_of_the_port() {
    let [flag, variable, file] = [free_port(), free_port(), free_port()];
    let mut home = Home::with_config(json!({"gateway": {"port": file}}));
    let serve = |home: &Home, arguments: &[&str], port: u16| {
        let mut words = vec!["gateway"];
        words.extend_from_slice(arguments);
        let mut gateway = Gateway::spawn(home.command(&words), port);
        let line = gateway.wait_line("listening on ws://");
        assert!(line.contains(&format!("ws://127.0.0.1:{port}")), "{line}");
        ok(&gateway.admin().call("health", json!({})));
        assert_eq!(gateway.stop(), Some(0));
    };
    serve(&home, &[], file);
    home.set("OPENCLAW_GATEWAY_PORT", &variable.to_string());
    serve(&home, &[], variable);
    serve(&home, &["--port", &flag.to_string()], flag);
    // Nothing said at all: 18789, which this test does not bind.
    let home = Home::with_config(json!({}));
    let status = home
        .run(&["gateway", "status", "--no-probe", "--json"])
        .json();
    assert_eq!(status["gateway"]["port"], 18789, "{status}");
}

#[test]
fn precedence_of_the_bind_mode() {
    let home = Home::with_config(json!({"gateway": {
        "bind": "lan", "controlUi": {"allowedOrigins": ["https://allowed.example"]},
    }}));
    let mut lan = Gateway::spawn(
        home.command(&["gateway", "--port", &free_port().to_string()]),
        0,
    );
    let line = lan.wait_line("listening on ws://");
    assert!(line.contains("ws://0.0.0.0:"), "{line}");
    drop(lan);
    let gateway = home.start_with(&["--bind", "loopback"]);
    assert!(
        gateway.output().contains("listening on ws://127.0.0.1:"),
        "{}",
        gateway.output()
    );
    drop(gateway);
    // The default.
    let home = Home::with_config(json!({"gateway": {"bind": null}}));
    let gateway = home.start();
    assert!(
        gateway.output().contains("listening on ws://127.0.0.1:"),
        "{}",
        gateway.output()
    );
}

// Several gateways on a host

#[test]
fn two_gateways_beside_each_other() {
    let home = Home::new();
    let mut running = Vec::new();
    for name in ["a", "b"] {
        let config = home.path().join(format!("{name}.json"));
        let state = home.path().join(format!("state-{name}"));
        let text = home.config(json!({
            "agents": {"defaults": {"workspace": home.path().join(format!("workspace-{name}"))}},
            "logging": {"file": home.path().join(format!("{name}.log"))},
        }));
        std::fs::write(&config, text.to_string()).unwrap();
        let port = free_port();
        let mut command = home.command(&["gateway", "--port", &port.to_string()]);
        command
            .env("OPENCLAW_CONFIG_PATH", &config)
            .env("OPENCLAW_STATE_DIR", &state);
        let mut gateway = Gateway::spawn(command, port);
        gateway.wait_line("listening on ws://");
        running.push((gateway, state));
    }
    for (gateway, state) in &running {
        let mut admin = gateway.admin();
        assert_eq!(admin.hello["snapshot"]["stateDir"], state.to_str().unwrap());
        ok(&admin.call("health", json!({})));
    }
}

#[test]
fn the_dev_profile() {
    let mut home = Home::new();
    home.run(&["--dev", "setup"]).expect(0);
    let config = home.path().join(".openclaw-dev/openclaw.json");
    assert!(config.exists(), "setup wrote no config for the profile");
    // Its base port, seen without binding it.
    let status = home
        .run(&["--dev", "gateway", "status", "--no-probe", "--json"])
        .json();
    assert_eq!(status["gateway"]["port"], 19001, "{status}");

    let port = free_port();
    home.set("OPENCLAW_GATEWAY_PORT", &port.to_string());
    let mut gateway = Gateway::spawn(
        home.command(&["--dev", "gateway", "--allow-unconfigured"]),
        port,
    );
    gateway.wait_line("listening on ws://");
    let status = home.run(&["--dev", "status"]).expect(0);
    assert!(
        status.stdout.contains(&format!("127.0.0.1:{port}")),
        "{status:?}"
    );
    let reply = home.run(&["--dev", "agent", "--message", "hi"]).expect(0);
    assert!(reply.stdout.contains("hi"), "{reply:?}");
    assert!(!home.state().exists(), "the default profile was touched");
}

#[test]
fn the_readmes_first_command_on_a_fresh_home() {
    let mut home = Home::new();
    let port = free_port();
    home.set("OPENCLAW_GATEWAY_PORT", &port.to_string());
    let mut gateway = Gateway::spawn(home.command(&["--dev", "gateway"]), port);
    gateway.wait_line("listening on ws://");
    let reply = home.run(&["--dev", "agent", "--message", "hi"]).expect(0);
    assert!(
        reply.stdout.contains("hi") && reply.stdout.contains("echo"),
        "the echo model says that it is one: {reply:?}"
    );
    assert_eq!(http::get(port, "/", &[]).status, 200);
    assert_eq!(gateway.stop(), Some(0));
}

// Protocol quick reference

#[test]
fn hello_has_a_snapshot_and_runs_go_in_two_stages() {
    let model = Model::start();
    let home =
        Home::with_config(json!({"models": {"providers": {"stub": {"baseUrl": model.url()}}}}));
    let gateway = home.start();
    let mut client = gateway.admin();
    let hello = client.hello.clone();
    assert_eq!(hello["type"], "hello-ok");
    assert!(hello["snapshot"]["presence"].is_array());
    assert!(hello["snapshot"]["health"].is_object());
    assert!(hello["snapshot"]["stateVersion"]["presence"].is_u64());
    assert!(hello["snapshot"]["uptimeMs"].is_u64());
    assert_eq!(
        hello["policy"],
        json!({"maxPayload": 26214400, "maxBufferedBytes": 52428800, "tickIntervalMs": 30000})
    );
    let events: Vec<&str> = hello["features"]["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    for event in [
        "connect.challenge",
        "agent",
        "chat",
        "presence",
        "tick",
        "health",
        "heartbeat",
        "shutdown",
    ] {
        assert!(events.contains(&event), "{event} is missing in {events:?}");
    }

    let id = client.post(
        "agent",
        json!({"message": "hi", "sessionKey": "main", "idempotencyKey": "run-1"}),
    );
    let mut seen = Vec::new();
    let answer = loop {
        let Incoming::Frame(frame) = client.next(DEADLINE) else {
            panic!("no more frames after {seen:?}")
        };
        if frame["type"] == "res" && frame["id"] == *id {
            seen.push(
                frame["payload"]["status"]
                    .as_str()
                    .unwrap_or("?")
                    .to_string(),
            );
            if frame["payload"]["status"] != "accepted" {
                break frame;
            }
        } else if frame["event"] == "agent" {
            let data = &frame["payload"]["data"];
            seen.push(
                data["phase"]
                    .as_str()
                    .or(frame["payload"]["stream"].as_str())
                    .unwrap_or("?")
                    .to_string(),
            );
        }
    };
    assert_eq!(
        ok(&answer)["result"]["payloads"][0]["text"],
        "Hello from the scripted model."
    );
    seen.dedup();
    assert_eq!(seen, ["accepted", "start", "assistant", "end", "ok"]);
}

#[test]
fn sequence_numbers_have_no_gaps() {
    let model = Model::start();
    let home =
        Home::with_config(json!({"models": {"providers": {"stub": {"baseUrl": model.url()}}}}));
    let gateway = home.start();
    // One that may see everything, one that may see little.
    let mut clients = [gateway.admin(), Client::operator(gateway.port(), &[])];
    let mut noise = gateway.admin();
    for number in 0..3 {
        ok(&noise.call("system-event", json!({"text": format!("note {number}")})));
        let id = noise.post(
            "agent",
            json!({"message": "hi", "sessionKey": "main", "idempotencyKey": format!("k{number}")}),
        );
        noise.response(&id);
        noise.response(&id);
    }
    for client in &mut clients {
        let numbers: Vec<u64> = client
            .so_far()
            .iter()
            .filter_map(|frame| frame["seq"].as_u64())
            .collect();
        assert!(numbers.len() >= 3, "{numbers:?}");
        assert!(
            numbers.windows(2).all(|pair| pair[1] == pair[0] + 1),
            "{numbers:?}"
        );
        // How a client recovers from one all the same.
        ok(&client.call("health", json!({})));
    }
    ok(&clients[0].call("system-presence", json!({})));
}

// Failure signatures

#[test]
fn signature_refusing_to_bind_without_auth() {
    let home = Home::with_config(json!({"gateway": {"auth": {"mode": "none", "token": null}}}));
    let output = home
        .run(&[
            "gateway",
            "--port",
            &free_port().to_string(),
            "--bind",
            "lan",
        ])
        .expect(1);
    let said = output.stderr.to_lowercase();
    assert!(
        said.contains("refusing to bind gateway to lan without auth"),
        "{output:?}"
    );
    // The twin.
    let home = Home::with_config(
        json!({"gateway": {"controlUi": {"allowedOrigins": ["https://allowed.example"]}}}),
    );
    assert_eq!(home.start_with(&["--bind", "lan"]).stop(), Some(0));
}

#[test]
fn signature_another_instance_is_listening() {
    let home = Home::with_config(json!({}));
    let first = home.start();
    let port = first.port();
    // Another gateway, another state directory, the same port.
    let other = Home::with_config(json!({}));
    let output = other
        .run(&["gateway", "--port", &port.to_string()])
        .expect(1);
    assert!(
        output
            .stderr
            .contains("another gateway instance is already listening on ws://127.0.0.1:"),
        "{output:?}"
    );
    assert!(
        output.stderr.contains("EADDRINUSE") || output.stderr.contains("already in use"),
        "{output:?}"
    );
    assert!(
        output.stderr.contains(&first.pid().to_string()),
        "it does not name the owner: {output:?}"
    );
    // The same state directory, another port: the state belongs to one gateway.
    let output = home
        .run(&["gateway", "--port", &free_port().to_string()])
        .expect(1);
    assert!(output.stderr.contains("already"), "{output:?}");
    assert!(
        output.stderr.contains(&first.pid().to_string()),
        "it does not name the owner: {output:?}"
    );
    // Something else on the port.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().port();
    let output = other
        .run(&["gateway", "--port", &taken.to_string()])
        .expect(1);
    assert!(output.stderr.contains(&taken.to_string()), "{output:?}");
    ok(&first.admin().call("health", json!({})));
}

#[test]
fn signature_start_blocked() {
    for (mode, shown) in [(json!("remote"), "remote"), (Value::Null, "unset")] {
        let home = Home::with_config(json!({"gateway": {"mode": mode}}));
        let output = home
            .run(&["gateway", "--port", &free_port().to_string()])
            .expect(1);
        assert!(
            output
                .stderr
                .contains("Gateway start blocked: set gateway.mode=local"),
            "{output:?}"
        );
        assert!(output.stderr.contains(shown), "{output:?}");
        assert_eq!(home.start_with(&["--allow-unconfigured"]).stop(), Some(0));
    }
    let home = Home::new();
    let output = home
        .run(&["gateway", "--port", &free_port().to_string()])
        .expect(1);
    assert!(output.stderr.contains("openclaw setup"), "{output:?}");
    home.run(&["setup"]).expect(0);
    assert_eq!(home.start().stop(), Some(0));
}

#[test]
fn an_invalid_config_is_told_in_full() {
    let home =
        Home::with_config(json!({"gateway": {"port": "many", "bind": "everywhere"}, "bogus": 1}));
    let output = home
        .run(&["gateway", "--port", &free_port().to_string()])
        .expect(78);
    for part in ["gateway.port", "gateway.bind", "bogus", "openclaw.json"] {
        assert!(output.stderr.contains(part), "{part}: {output:?}");
    }
}

#[test]
fn signature_unauthorized() {
    let home = Home::with_config(json!({}));
    let gateway = home.start();
    let output = at(
        &home,
        gateway.port(),
        &["gateway", "health", "--token", "wrong"],
    );
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("unauthorized"), "{output:?}");
}

// Guarantees

#[test]
fn clients_fail_fast_when_there_is_no_gateway() {
    let model = Model::start();
    let home =
        Home::with_config(json!({"models": {"providers": {"stub": {"baseUrl": model.url()}}}}));
    let port = free_port();
    for arguments in [
        vec!["health"],
        vec!["logs"],
        vec!["gateway", "call", "health"],
        vec!["gateway", "health"],
        vec!["gateway", "probe"],
        vec!["agent", "--agent", "main", "--message", "hi"],
    ] {
        let asked = Instant::now();
        let output = at(&home, port, &arguments);
        assert_eq!(output.code, Some(1), "{arguments:?}: {output:?}");
        assert!(
            asked.elapsed() < Duration::from_secs(5),
            "{arguments:?} took {:?}",
            asked.elapsed()
        );
        let told = format!("{}{}", output.stdout, output.stderr);
        assert!(
            told.contains("openclaw gateway"),
            "{arguments:?} does not say what to do: {output:?}"
        );
        assert!(!told.contains("panicked"), "{output:?}");
    }
    assert!(
        model.requests().is_empty(),
        "the run was done without a gateway"
    );
}

#[test]
fn first_frames_that_are_not_connect_are_refused_and_closed() {
    let home = Home::with_config(json!({}));
    let gateway = home.start();
    let health = json!({"type": "req", "id": "1", "method": "health"}).to_string();
    let event = json!({"type": "event", "event": "connect", "payload": {}}).to_string();
    for (frame, code) in [
        ("{not json", 1000),
        ("[]", 1008),
        (health.as_str(), 1008),
        (event.as_str(), 1008),
    ] {
        let mut client = Client::open(gateway.port());
        client.send_text(frame);
        assert_eq!(client.closed().code, code, "{frame}");
    }
}

#[test]
fn a_graceful_stop_announces_itself_before_the_close() {
    for signal in ["TERM", "INT"] {
        let home = Home::with_config(json!({}));
        let mut gateway = home.start();
        let mut operator = gateway.admin();
        let mut node = Client::connect(gateway.port(), &Connect::node(), Some(&Device::new()));
        gateway.signal(signal);
        for client in [&mut operator, &mut node] {
            let event = client.event("shutdown", |_| true);
            assert_eq!(
                event["payload"],
                json!({"reason": "gateway stopping", "restartExpectedMs": null})
            );
            assert_eq!(
                client.closed(),
                Closed {
                    code: 1012,
                    reason: "service restart".into()
                }
            );
        }
        assert_eq!(gateway.exit(), Some(0));
    }
}
