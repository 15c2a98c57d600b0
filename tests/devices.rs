//! Devices over the wire: who may approve, see and rotate what (SC-01, SC-02, SC-04), against the list of
//! published advisories. Every refusal has a twin that shows the same call succeeding with the right.

mod support;

use std::fs;

use support::*;

const UI_ORIGIN: (&str, &str) = ("origin", "http://localhost:5173");

/// A browser's control page on this machine.
fn page(scopes: &[&str]) -> Connect {
    Connect::operator()
        .client("openclaw-control-ui", "ui")
        .scopes(scopes)
}

/// Pairs a page's device for `scopes` and connects it again with nothing but its device token.
#[track_caller]
fn by_device_token(port: u16, device: &Device, scopes: &[&str]) -> Client {
    let mut first = Client::open_with(port, &[UI_ORIGIN]).expect("upgrade");
    let hello = ok(&first.introduce(&page(scopes), Some(device)));
    let token = hello["auth"]["deviceToken"].clone();
    let mut client = Client::open_with(port, &[UI_ORIGIN]).expect("upgrade");
    let who = page(scopes).auth(json!({"deviceToken": token}));
    client.hello = ok(&client.introduce(&who, Some(device)));
    client
}

/// Has a device from elsewhere ask to be paired; the id of its request.
#[track_caller]
fn asks(port: u16, who: &Connect, device: &Device) -> String {
    let forwarded = [("x-forwarded-for", "203.0.113.9"), UI_ORIGIN];
    let mut client = Client::open_with(port, &forwarded).expect("upgrade");
    let response = client.introduce(who, Some(device));
    assert_eq!(refused(&response).0, "NOT_PAIRED", "{response}");
    let id = response["error"]["details"]["requestId"].as_str();
    id.expect("requestId").to_string()
}

fn paired(home: &Home) -> String {
    fs::read_to_string(home.state().join("devices/paired.json")).expect("paired.json")
}

#[test]
fn sc_01_rotation_gives_no_more_than_caller_and_approval_hold() {
    let home = Home::with_config(json!({}));
    let gateway = home.start();
    let port = gateway.port();
    let (admin_page, reader_page) = (Device::new(), Device::new());
    by_device_token(port, &admin_page, &["operator.admin"]);
    by_device_token(port, &reader_page, &["operator.read"]);
    let before = paired(&home);
    let mut narrow = Client::operator(port, &["operator.pairing"]);
    for params in [
        json!({"deviceId": reader_page.id, "role": "operator", "scopes": ["operator.admin"]}),
        json!({"deviceId": reader_page.id, "role": "node"}),
        json!({"deviceId": reader_page.id, "role": "made-up"}),
        json!({"deviceId": admin_page.id, "role": "operator"}),
        json!({"deviceId": admin_page.id, "role": "operator", "scopes": ["operator.admin"]}),
        json!({"deviceId": reader_page.id, "role": "operator"}),
    ] {
        let answer = narrow.call("device.token.rotate", params);
        assert_eq!(refused(&answer).0, "INVALID_REQUEST");
        assert!(!answer.to_string().contains("\"token\""), "{answer}");
    }
    assert_eq!(paired(&home), before);
    // Twins: nothing more than nothing, and everything for an admin.
    let none = json!({"deviceId": reader_page.id, "role": "operator", "scopes": []});
    assert_eq!(
        ok(&narrow.call("device.token.rotate", none))["scopes"],
        json!([])
    );
    let mut admin = gateway.admin();
    let all = json!({"deviceId": admin_page.id, "role": "operator"});
    let rotated = ok(&admin.call("device.token.rotate", all));
    assert_eq!(rotated["scopes"], json!(["operator.admin"]));
}

#[test]
fn sc_02_admin_and_execution_are_approved_by_admins_only() {
    let home = Home::with_config(json!({}));
    let gateway = home.start();
    let port = gateway.port();
    let mut narrow = Client::operator(port, &["operator.pairing"]);
    let mut admin = gateway.admin();

    let reader = Device::new();
    by_device_token(port, &reader, &["operator.read"]);
    let node = Connect::node().extra(json!({"commands": ["system.run"]}));
    let requests = [
        asks(port, &page(&["operator.admin"]), &Device::new()),
        asks(port, &node, &Device::new()),
        asks(port, &Connect::node(), &reader),
        asks(
            port,
            &page(&["operator.read", "operator.write"]),
            &Device::new(),
        ),
    ];
    for id in &requests {
        let answer = narrow.call("device.pair.approve", json!({"requestId": id}));
        assert_eq!(refused(&answer).1, "missing scope: operator.admin");
    }
    let listed = ok(&narrow.call("device.pair.list", json!({})));
    for id in &requests {
        let still = listed["pending"].as_array().expect("pending");
        assert!(
            still.iter().any(|r| r["requestId"] == id.as_str()),
            "{id} is gone"
        );
        ok(&admin.call("device.pair.approve", json!({"requestId": id})));
    }
    // Twins: what gives nothing dangerous is approved with pairing alone, in both stores.
    let harmless = Connect::node().extra(json!({"commands": ["location.get"]}));
    let id = asks(port, &harmless, &Device::new());
    ok(&narrow.call("device.pair.approve", json!({"requestId": id})));

    let request = |client: &mut Client, commands: Value| {
        let node = json!({"nodeId": "older-host", "platform": "linux", "commands": commands});
        let asked = ok(&client.call("node.pair.request", node));
        asked["request"]["requestId"].clone()
    };
    let id = request(&mut narrow, json!(["system.run"]));
    let answer = narrow.call("node.pair.approve", json!({"requestId": id}));
    assert_eq!(refused(&answer).1, "missing scope: operator.admin");
    let approved = ok(&admin.call("node.pair.approve", json!({"requestId": id})));
    let token = approved["node"]["token"]
        .as_str()
        .expect("token")
        .to_string();
    let id = request(&mut narrow, json!(["system.notify"]));
    ok(&narrow.call("node.pair.approve", json!({"requestId": id})));
    // A token is for admins to see.
    let seen = narrow.call("node.pair.list", json!({})).to_string();
    assert!(
        !seen.contains(&token) && seen.contains("__OPENCLAW_REDACTED__"),
        "{seen}"
    );
}

#[test]
fn sc_04_a_device_s_own_session_deals_with_its_own_device() {
    let home = Home::with_config(json!({}));
    let gateway = home.start();
    let port = gateway.port();
    let (own, foreign) = (Device::new(), Device::new());
    by_device_token(port, &foreign, &["operator.read"]);
    let mut narrow = by_device_token(port, &own, &["operator.pairing"]);
    let request = asks(port, &page(&["operator.read"]), &Device::new());

    let listed = ok(&narrow.call("device.pair.list", json!({})));
    assert_eq!(listed["pending"], json!([]));
    let paired = listed["paired"].as_array().expect("paired");
    assert!(paired.iter().all(|d| d["deviceId"] == own.id.as_str()) && paired.len() == 1);
    for (method, params) in [
        ("device.pair.approve", json!({"requestId": request})),
        ("device.pair.reject", json!({"requestId": request})),
        ("device.pair.remove", json!({"deviceId": foreign.id})),
        (
            "device.token.rotate",
            json!({"deviceId": foreign.id, "role": "operator", "scopes": []}),
        ),
        (
            "device.token.revoke",
            json!({"deviceId": foreign.id, "role": "operator"}),
        ),
    ] {
        let (_, message) = refused(&narrow.call(method, params));
        assert!(message.starts_with("unknown "), "{method}: {message}");
    }
    // Its own it may give up; an admin's device session sees everything.
    let mut admin = by_device_token(port, &Device::new(), &["operator.admin"]);
    let listed = ok(&admin.call("device.pair.list", json!({})));
    assert_eq!(listed["paired"].as_array().map(Vec::len), Some(3));
    assert_eq!(listed["pending"][0]["requestId"], request.as_str());
    ok(&admin.call("device.pair.reject", json!({"requestId": request})));
    let id = narrow.post("device.pair.remove", json!({"deviceId": own.id}));
    assert_eq!(ok(&narrow.response(&id))["deviceId"], own.id.as_str());
    assert_eq!(narrow.closed().code, 1008);
}
