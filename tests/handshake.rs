//! Handshake and device authentication, against the flaws HS-01 to HS-13 of the list of published
//! advisories; HS-04 and HS-06 to HS-09 are about pairing and stand in `pairing`. Every refusal has a twin
//! that shows the same call succeeding with the right credential.

mod support;

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

use support::*;

/// A browser's control page on this machine.
fn control_ui(scopes: &[&str]) -> Connect {
    Connect::operator()
        .client("openclaw-control-ui", "ui")
        .scopes(scopes)
}

const UI_ORIGIN: (&str, &str) = ("origin", "http://localhost:5173");

/// Connects with further headers and gives back the client and the response.
#[track_caller]
fn attempt(
    port: u16,
    headers: &[(&str, &str)],
    who: &Connect,
    device: Option<&Device>,
) -> (Client, Value) {
    let mut client = Client::open_with(port, headers).expect("upgrade");
    let response = client.introduce(who, device);
    (client, response)
}

/// The response has to be NOT_PAIRED "pairing required" with a request id, and the close 1008.
#[track_caller]
fn pairing_required(mut client: Client, response: &Value) -> String {
    assert_eq!(
        refused(response),
        ("NOT_PAIRED".into(), "pairing required".into()),
        "{response}"
    );
    assert_eq!(response["error"]["details"]["code"], "PAIRING_REQUIRED");
    assert_eq!(client.closed().code, 1008);
    response["error"]["details"]["requestId"]
        .as_str()
        .expect("requestId")
        .to_string()
}

/// Only `health` may answer on this connection; everything else lacks a scope.
#[track_caller]
fn can_do_nothing_but_health(client: &mut Client) {
    ok(&client.call("health", json!({})));
    for (method, params, scope) in [
        ("status", json!({}), "operator.read"),
        (
            "chat.send",
            json!({"sessionKey": "main", "message": "x", "idempotencyKey": "n"}),
            "operator.write",
        ),
        ("config.schema", json!({}), "operator.admin"),
    ] {
        let (code, message) = refused(&client.call(method, params));
        assert_eq!(
            (code.as_str(), message),
            ("INVALID_REQUEST", format!("missing scope: {scope}"))
        );
    }
}

#[test]
fn hs_01_claimed_scopes_are_not_granted() {
    let home = Home::with_config(json!({}));
    let gateway = home.start();
    let port = gateway.port();
    let admin = ["operator.admin"];

    // (a), (b): the right shared token, no device, whatever the client calls itself.
    for (id, mode) in [
        ("cli", "cli"),
        ("gateway-client", "backend"),
        ("openclaw-macos", "ui"),
        ("test", "test"),
    ] {
        let who = Connect::operator().client(id, mode).scopes(&admin);
        let mut client = Client::connect(port, &who, None);
        can_do_nothing_but_health(&mut client);
    }

    // (d): the right shared token and a fresh device, but not from this machine.
    let device = Device::new();
    let remote = [("x-forwarded-for", "203.0.113.7")];
    let (client, response) = attempt(
        port,
        &remote,
        &Connect::operator().scopes(&admin),
        Some(&device),
    );
    pairing_required(client, &response);

    // The twin: the same token and device on this machine, as the local command line does.
    let mut local = Client::connect(port, &Connect::operator().scopes(&admin), Some(&device));
    ok(&local.call("config.schema", json!({})));
}

#[test]
fn hs_01_a_proxied_control_page_without_device_gets_no_scopes() {
    let home = Home::with_config(json!({"gateway": {
        "auth": {"mode": "trusted-proxy", "token": null, "trustedProxy": {"userHeader": "x-user"}},
        "trustedProxies": ["127.0.0.1"],
    }}));
    let gateway = home.start();
    let headers = [
        ("x-user", "ann@example.org"),
        ("x-forwarded-for", "203.0.113.7"),
        UI_ORIGIN,
    ];
    let who = control_ui(&["operator.admin"]).auth(Value::Null);
    let mut client = match Client::open_with(gateway.port(), &headers) {
        Ok(client) => client,
        Err(status) => {
            assert!(matches!(status, 401 | 403), "{status}");
            return;
        }
    };
    let response = client.introduce(&who, None);
    if response["ok"] == true {
        can_do_nothing_but_health(&mut client);
    } else {
        assert_eq!(client.closed().code, 1008);
    }
}

#[test]
fn hs_02_a_reconnect_never_widens_scopes_without_asking() {
    let home = Home::with_config(json!({"gateway": {
        "controlUi": {"allowedOrigins": ["https://allowed.example"]},
        "trustedProxies": ["127.0.0.2"],
    }}));
    let gateway = home.start();
    let port = gateway.port();
    let origin = ("origin", "https://allowed.example");

    // First pairing of a local device: silent.
    let device = Device::new();
    let (_, response) = attempt(
        port,
        &[origin],
        &control_ui(&["operator.read"]),
        Some(&device),
    );
    let hello = ok(&response);
    assert_eq!(hello["auth"]["scopes"], json!(["operator.read"]));
    let token = hello["auth"]["deviceToken"]
        .as_str()
        .expect("device token")
        .to_string();
    let paired = home.state_json("devices/paired.json")[&device.id].clone();
    assert_eq!(paired["scopes"], json!(["operator.read"]));

    // More scopes: always asked for, on loopback and through every way of looking local.
    let widened = control_ui(&["operator.admin"]);
    for headers in [
        vec![origin],
        vec![origin, ("host", "evil.example")],
        vec![origin, ("x-forwarded-for", "127.0.0.1")],
        vec![origin, ("forwarded", "for=127.0.0.1")],
        vec![origin, ("x-real-ip", "127.0.0.1")],
    ] {
        let (client, response) = attempt(port, &headers, &widened, Some(&device));
        let id = pairing_required(client, &response);
        let pending = &home.state_json("devices/pending.json")[&id];
        assert_eq!(pending["deviceId"], device.id.as_str(), "{headers:?}");
        assert!(response["error"].get("deviceToken").is_none());
    }
    // … and through a trusted proxy that claims the client is this machine.
    let stream = http::open_from([127, 0, 0, 2], port, DEADLINE).expect("connect");
    let mut client = Client::upgrade(stream, port, &[origin, ("x-forwarded-for", "127.0.0.1")])
        .expect("upgrade");
    let response = client.introduce(&widened, Some(&device));
    pairing_required(client, &response);
    let after = home.state_json("devices/paired.json")[&device.id].clone();
    for key in ["scopes", "approvedScopes", "roles", "role"] {
        assert_eq!(after[key], paired[key], "{key}");
    }

    // A device that looks remote is not paired silently in the first place.
    for header in [
        ("host", "evil.example"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-real-ip", "127.0.0.1"),
    ] {
        let (client, response) = attempt(
            port,
            &[origin, header],
            &control_ui(&["operator.read"]),
            Some(&Device::new()),
        );
        pairing_required(client, &response);
    }

    // The twin: what was approved goes on working, with the device's own token.
    let same = control_ui(&["operator.read"]).auth(json!({"deviceToken": token}));
    let (mut client, response) = attempt(port, &[origin], &same, Some(&device));
    ok(&response);
    ok(&client.call("status", json!({})));
}

#[test]
fn hs_03_a_pending_request_cannot_be_changed() {
    let home = Home::with_config(json!({}));
    let gateway = home.start();
    let port = gateway.port();
    let remote = [("x-forwarded-for", "203.0.113.7")];
    let device = Device::new();
    let small = Connect::operator().scopes(&["operator.read"]);

    let (client, response) = attempt(port, &remote, &small, Some(&device));
    let first = pairing_required(client, &response);
    let stored = home.state_json("devices/pending.json")[&first].clone();
    assert_eq!(stored["scopes"], json!(["operator.read"]));

    // The twin: the same request again keeps its id.
    let (client, response) = attempt(port, &remote, &small, Some(&device));
    assert_eq!(pairing_required(client, &response), first);

    // More scopes, or another role: a request of its own; the one that an approver looks at stays as it was.
    for other in [
        Connect::operator().scopes(&["operator.admin"]),
        Connect::node(),
    ] {
        let (client, response) = attempt(port, &remote, &other, Some(&device));
        assert_ne!(pairing_required(client, &response), first);
        let now = &home.state_json("devices/pending.json")[&first];
        if !now.is_null() {
            for key in ["scopes", "role", "roles", "publicKey", "deviceId"] {
                assert_eq!(now[key], stored[key], "{key}");
            }
        }
    }

    // There are no bootstrap codes; the member is unknown.
    let bootstrap = Connect::operator().extra(json!({"auth": {"bootstrapToken": "abc"}}));
    let (mut client, response) = attempt(port, &[], &bootstrap, Some(&Device::new()));
    let (code, message) = refused(&response);
    assert_eq!(code, "INVALID_REQUEST");
    assert!(message.starts_with("invalid connect params"), "{message}");
    assert_eq!(client.closed().code, 1008);
}

#[test]
fn hs_05_device_identity_cannot_be_skipped() {
    let model = Model::start();
    let home =
        Home::with_config(json!({"models": {"providers": {"stub": {"baseUrl": model.url()}}}}));
    let gateway = home.start();
    let port = gateway.port();
    let before = home.snapshot();

    for (who, code) in [
        // (a) a node with the right shared token and no device
        (Connect::node(), "NOT_PAIRED"),
        // (b) a node that calls itself the control page
        (Connect::node().client("openclaw-control-ui", "ui"), ""),
        // (c) a wrong token and no device
        (Connect::node().auth(json!({"token": "wrong"})), ""),
        (
            Connect::operator().auth(json!({"token": "wrong"})),
            "INVALID_REQUEST",
        ),
        (
            Connect::operator().auth(json!({"deviceToken": "made up"})),
            "",
        ),
    ] {
        let mut client = Client::open(port);
        let request = |id: &str, method: &str, params: Value| {
            ws::frame(
                1,
                true,
                json!({"type": "req", "id": id, "method": method, "params": params})
                    .to_string()
                    .as_bytes(),
            )
        };
        // One write: the handshake, and a node event that would start a run.
        let mut bytes = request("c", "connect", who.params(None, &client.nonce));
        let event = json!({"event": "agent.request", "payload": {"message": "run me", "sessionKey": "main"}});
        bytes.extend(request("e", "node.event", event));
        assert!(client.send_bytes(&bytes));
        let response = client.response("c");
        let (got, _) = refused(&response);
        assert!(code.is_empty() || got == code, "{response}");
        assert_eq!(client.closed().code, 1008);
        assert!(
            !matches!(client.next(DEADLINE), Incoming::Frame(frame) if frame["id"] == "e"),
            "the event was answered"
        );
    }

    // The twin: a node with a device is let in; and a run that is asked for properly is the first that
    // reaches the model.
    Client::connect(port, &Connect::node(), Some(&Device::new()));
    let mut admin = gateway.admin();
    let id = admin.post(
        "agent",
        json!({"message": "hello", "sessionKey": "main", "idempotencyKey": "k"}),
    );
    assert_eq!(ok(&admin.response(&id))["status"], "accepted");
    assert_eq!(ok(&admin.response(&id))["status"], "ok");
    let requests = model.requests();
    assert_eq!(requests.len(), 1);
    assert!(model::last_user_text(&requests[0]).contains("hello"));
    let devices = home.state().join("devices");
    assert!(
        before.keys().all(|path| !path.starts_with(&devices)),
        "nobody was paired before"
    );
}

#[test]
fn hs_10_guessing_is_counted_before_it_is_compared() {
    const ATTEMPTS: usize = 200;
    let home = Home::with_config(json!({"gateway": {"auth": {"rateLimit": {
        "maxAttempts": 10, "windowMs": 60000, "lockoutMs": 2000, "exemptLoopback": false,
    }}}}));
    let gateway = home.start();
    let port = gateway.port();

    // All at once, half of them with a junk device token besides.
    let (compared, limited, turned_away) = (
        AtomicUsize::new(0),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    let together = Barrier::new(ATTEMPTS);
    std::thread::scope(|scope| {
        for number in 0..ATTEMPTS {
            let (compared, limited, turned_away, together) =
                (&compared, &limited, &turned_away, &together);
            scope.spawn(move || {
                let auth = if number % 2 == 0 {
                    json!({"token": format!("guess-{number}")})
                } else {
                    json!({"token": format!("guess-{number}"), "deviceToken": "junk"})
                };
                together.wait();
                let Ok(mut client) = Client::open_with(port, &[]) else {
                    // The cap on connections before authentication is a limit as well.
                    turned_away.fetch_add(1, Ordering::SeqCst);
                    return;
                };
                let response =
                    client.introduce(&Connect::operator().auth(auth), Some(&Device::new()));
                let counter = match response["error"]["details"]["authReason"].as_str() {
                    Some("rate_limited") => limited,
                    _ => compared,
                };
                refused(&response);
                counter.fetch_add(1, Ordering::SeqCst);
            });
        }
    });
    let [compared, limited, turned_away] =
        [compared, limited, turned_away].map(AtomicUsize::into_inner);
    assert_eq!(compared + limited + turned_away, ATTEMPTS);
    assert!(
        compared <= 10,
        "{compared} guesses were compared, {limited} limited, {turned_away} turned away"
    );
    assert!(
        limited > 0,
        "{compared} compared, {turned_away} turned away"
    );

    // Even the right secret has to wait now, until the lockout is over.
    let mut client = Client::open(port);
    let response = client.introduce(&Connect::operator(), Some(&Device::new()));
    assert_eq!(
        response["error"]["details"]["authReason"], "rate_limited",
        "{response}"
    );
    assert_eq!(client.closed().code, 1008);
    eventually("the lockout ends", || {
        let mut client = Client::open(port);
        let response = client.introduce(&Connect::operator(), Some(&Device::new()));
        (response["ok"] == true).then_some(())
    });
}

#[test]
fn hs_11_nothing_answers_before_the_handshake() {
    let home = Home::with_config(json!({}));
    let gateway = home.start();
    let port = gateway.port();
    let mut admin = gateway.admin();
    let methods: Vec<String> = admin.hello["features"]["methods"]
        .as_array()
        .expect("methods")
        .iter()
        .map(|method| method.as_str().expect("name").to_string())
        .collect();
    assert!(methods.contains(&"config.apply".to_string()), "{methods:?}");
    let before = home.snapshot();

    let request = |id: &str, method: &str, params: &Value| {
        let frame =
            json!({"type": "req", "id": id, "method": method, "params": params}).to_string();
        ws::frame(1, true, frame.as_bytes())
    };
    for method in &methods {
        // (a) as the first frame
        let mut client = Client::open(port);
        client.send_bytes(&request("x", method, &json!({})));
        let (code, message) = refused(&client.response("x"));
        assert_eq!(
            (code.as_str(), message.as_str()),
            (
                "INVALID_REQUEST",
                "invalid handshake: first request must be connect"
            )
        );
        assert_eq!(client.closed().code, 1008, "{method}");

        // (b) in the same segment as a handshake that fails, (c) as one without any token
        for auth in [json!({"token": "wrong"}), Value::Null] {
            let mut client = Client::open(port);
            let params = Connect::operator()
                .auth(auth)
                .params(Some(&Device::new()), &client.nonce);
            let mut bytes = request("c", "connect", &params);
            bytes.extend(request("x", method, &json!({})));
            client.send_bytes(&bytes);
            let (_, message) = refused(&client.response("c"));
            assert!(
                message.starts_with("unauthorized: gateway token"),
                "{message}"
            );
            assert_eq!(client.closed().code, 1008, "{method}");
            assert!(
                !matches!(client.next(DEADLINE), Incoming::Frame(frame) if frame["id"] == "x"),
                "{method} was answered"
            );
        }
    }
    assert!(before == home.snapshot(), "something changed on disk");
    // The twin.
    ok(&admin.call("config.get", json!({})));
}

#[test]
fn hs_12_without_a_credential_nothing_listens() {
    // The state directory cannot hold a credential: it is a file, or the credential's place is taken by
    // something unreadable, or the configured one is blank.
    let no_token = json!({"gateway": {"auth": {"mode": null, "token": null}}});
    let refuses = |home: &Home, why: &str| {
        let port = free_port();
        let output = home.run(&["gateway", "--port", &port.to_string()]);
        assert!(
            output.code.is_some_and(|code| code != 0),
            "{why}: {output:?}"
        );
        assert!(!output.stderr.trim().is_empty(), "{why}: no message");
        assert!(!output.stdout.contains("listening on"), "{why}: {output:?}");
        assert!(
            std::net::TcpStream::connect(("127.0.0.1", port)).is_err(),
            "{why}: something listens"
        );
    };

    let mut home = Home::with_config(no_token.clone());
    let config = home.path().join("config.json");
    std::fs::rename(home.config_path(), &config).unwrap();
    std::fs::remove_dir_all(home.state()).unwrap();
    std::fs::write(home.state(), "not a folder").unwrap();
    home.set("OPENCLAW_CONFIG_PATH", config.to_str().unwrap());
    refuses(&home, "the state directory is a file");

    let home = Home::with_config(no_token.clone());
    std::fs::create_dir(home.state().join("gateway-token")).unwrap();
    refuses(&home, "the token file is a folder");

    let home = Home::with_config(no_token.clone());
    std::fs::write(home.state().join("gateway-token"), "  \n").unwrap();
    refuses(&home, "the token file is blank");

    for value in ["", "   "] {
        let mut home = Home::with_config(json!({"gateway": {"auth": {"token": "${MY_TOKEN}"}}}));
        home.set("MY_TOKEN", value);
        refuses(
            &home,
            &format!("the configured token resolves to {value:?}"),
        );
    }
    let mut home = Home::with_config(json!({"gateway": {"auth": {"token": "${MY_TOKEN}"}}}));
    home.set("MY_TOKEN", "a-proper-token-0001");
    let gateway = home.start();
    Client::connect(
        gateway.port(),
        &Connect::operator().auth(json!({"token": "a-proper-token-0001"})),
        Some(&Device::new()),
    );

    // The twin: a writable state directory gets a credential of 192 bits, private, and the config stays as it was.
    use std::os::unix::fs::PermissionsExt;
    let home = Home::with_config(no_token);
    let config = home.config_text();
    let gateway = home.start();
    let path = home.state().join("gateway-token");
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let token = std::fs::read_to_string(&path).unwrap().trim().to_string();
    assert_eq!(token.len(), 48, "192 bits in hex");
    assert_eq!(home.config_text(), config);
    Client::connect(
        gateway.port(),
        &Connect::operator().auth(json!({"token": token})),
        Some(&Device::new()),
    );
    let mut other = Client::open(gateway.port());
    refused(&other.introduce(&Connect::operator().auth(Value::Null), Some(&Device::new())));
}

#[test]
fn hs_13_only_the_trusted_proxy_names_a_user() {
    // That `security audit` names a loopback proxy without required headers is issue D.
    let home = Home::with_config(json!({"gateway": {
        "auth": {"mode": "trusted-proxy", "token": null, "trustedProxy": {
            "userHeader": "x-user", "requiredHeaders": ["x-proxy-proof"],
        }},
        "trustedProxies": ["127.0.0.1", "127.0.0.2"],
    }}));
    let gateway = home.start();
    let port = gateway.port();
    let who = Connect::operator()
        .auth(Value::Null)
        .scopes(&["operator.read"]);
    // What comes of a handshake with these headers from this address: the status of a refused upgrade, or
    // the response to connect.
    let from = |source: [u8; 4], headers: &[(&str, &str)]| -> Result<Value, u16> {
        let stream = http::open_from(source, port, DEADLINE).expect("connect");
        let mut client = Client::upgrade(stream, port, headers)?;
        let response = client.introduce(&who, Some(&Device::new()));
        if response["ok"] != true {
            assert_eq!(client.closed().code, 1008);
        }
        Ok(response)
    };
    let proof = ("x-proxy-proof", "yes");
    for (source, lines, why) in [
        (
            [127, 0, 0, 3],
            vec![("x-user", "ann"), proof],
            "another process on this host",
        ),
        (
            [127, 0, 0, 2],
            vec![("x-user", "ann")],
            "a required header is missing",
        ),
        (
            [127, 0, 0, 2],
            vec![("x-user", "ann"), ("x-user", "root"), proof],
            "the user header twice",
        ),
        ([127, 0, 0, 2], vec![("x-user", ""), proof], "a blank user"),
        ([127, 0, 0, 2], vec![proof], "no user"),
    ] {
        match from(source, &lines) {
            Err(status) => assert!(matches!(status, 400 | 401 | 403), "{why}: {status}"),
            Ok(response) => {
                let (_, message) = refused(&response);
                assert!(message.starts_with("unauthorized"), "{why}: {message}");
            }
        }
    }
    // The twin: from the proxy with all of it, the user is let in as far as pairing (the client behind the
    // proxy is not local).
    let response = from(
        [127, 0, 0, 2],
        &[("x-user", "ann"), proof, ("x-forwarded-for", "203.0.113.7")],
    )
    .expect("upgrade");
    if response["ok"] != true {
        assert_eq!(response["error"]["code"], "NOT_PAIRED", "{response}");
    }
}
