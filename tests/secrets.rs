//! Secrets and places of this machine on the wire, against SL-01, SL-03 and SL-09 of the list of published
//! advisories.

mod support;

use support::*;

const NEW: &str = "another-token-9876543210";

/// SL-01: a credential that is changed in the file is void at once, on every route.
#[test]
fn sl_01_a_changed_token_closes_what_the_old_one_opened() {
    let home = Home::with_config(json!({}));
    let gateway = home.start();
    let port = gateway.port();
    let mut by_secret = gateway.admin();
    // What a device token opened stays: it is another credential.
    let device = Device::new();
    let page = Connect::operator()
        .client("openclaw-control-ui", "ui")
        .scopes(&["operator.read"]);
    let origin = [("origin", "http://localhost:5173")];
    let mut first = Client::open_with(port, &origin).expect("upgrade");
    let hello = ok(&first.introduce(&page, Some(&device)));
    let token = hello["auth"]["deviceToken"].clone();
    let mut by_device = Client::open_with(port, &origin).expect("upgrade");
    let with_token = page.clone().auth(json!({"deviceToken": token}));
    ok(&by_device.introduce(&with_token, Some(&device)));

    home.write_config(&home.config(json!({"gateway": {"auth": {"token": NEW}}})));
    let closed = by_secret.closed();
    assert_eq!(closed.code, 1008, "{closed:?}");
    assert_eq!(first.closed().code, 1008);
    let mut old = Client::open(port);
    let response = old.introduce(&Connect::operator(), Some(&Device::new()));
    assert_eq!(
        response["error"]["details"]["code"], "AUTH_TOKEN_MISMATCH",
        "{response}"
    );
    let who = Connect::operator().auth(json!({"token": NEW}));
    let mut new = Client::connect(port, &who, Some(&Device::new()));
    ok(&new.call("status", json!({})));
    ok(&by_device.call("status", json!({})));
    assert!(!home.log().contains(NEW) && !home.log().contains(TOKEN));
}

/// SL-03: places of this machine are for admins.
#[test]
fn sl_03_paths_are_shown_to_admins_only() {
    let home = Home::with_config(json!({}));
    let gateway = home.start();
    let port = gateway.port();
    let base = home.path().display().to_string();
    let mut reader = Client::operator(port, &["operator.read"]);
    let node = Client::connect(port, &Connect::node(), Some(&Device::new()));
    let bare = Client::connect(port, &Connect::operator(), None);
    for (who, client) in [("reader", &reader), ("node", &node), ("no scopes", &bare)] {
        let hello = client.hello.to_string();
        assert!(!hello.contains(&base), "{who}: {hello}");
    }
    for method in ["health", "status", "system-presence", "sessions.list"] {
        let answer = reader.call(method, json!({}));
        assert!(!answer.to_string().contains(&base), "{method}: {answer}");
    }
    ok(&reader.call("health", json!({"probe": true})));
    let event = reader.event("health", |_| true);
    assert!(!event.to_string().contains(&base), "{event}");
    // The twin.
    let mut admin = gateway.admin();
    assert!(
        admin.hello["snapshot"]["stateDir"]
            .as_str()
            .is_some_and(|p| p.starts_with(&base))
    );
    let listed = ok(&admin.call("sessions.list", json!({})));
    assert!(
        listed["path"]
            .as_str()
            .is_some_and(|p| p.starts_with(&base)),
        "{listed}"
    );
}

/// SL-09: what is made to be shown around holds no lasting secret.
#[test]
fn sl_09_pairing_hands_out_no_gateway_secret() {
    let home = Home::with_config(json!({}));
    let gateway = home.start();
    let mut admin = gateway.admin();
    let forwarded = [("x-forwarded-for", "203.0.113.9")];
    let mut asking = Client::open_with(gateway.port(), &forwarded).expect("upgrade");
    let response = asking.introduce(&Connect::node(), Some(&Device::new()));
    let request = response["error"]["details"]["requestId"].clone();
    let announced = admin.event("device.pair.requested", |p| p["requestId"] == request);
    let listed = ok(&admin.call("device.pair.list", json!({})));
    let approved = ok(&admin.call("device.pair.approve", json!({"requestId": request})));
    for shown in [response, announced, listed, approved] {
        let text = shown.to_string();
        assert!(
            !text.contains(TOKEN) && !text.contains("\"token\":"),
            "{text}"
        );
    }
    for arguments in [
        &["qr"][..],
        &["devices", "list", "--json"],
        &["nodes", "list", "--json"],
    ] {
        let port = gateway.port().to_string();
        let mut command = home.command(arguments);
        command.env("OPENCLAW_GATEWAY_PORT", port);
        let output = support::process::finish(command, &arguments.join(" "));
        let text = output.stdout + &output.stderr;
        assert!(!text.contains(TOKEN), "{arguments:?}: {text}");
    }
}
