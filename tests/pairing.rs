//! Pairing, and what a paired device or node may do afterwards, against the flaws HS-04 and HS-06 to HS-09
//! of the list of published advisories (HS-02 and HS-03 are in `handshake`).

mod support;

use support::*;

const UI_ORIGIN: (&str, &str) = ("origin", "http://localhost:5173");

fn page(scopes: &[&str]) -> Connect {
    Connect::operator()
        .client("openclaw-control-ui", "ui")
        .scopes(scopes)
}

/// Connects a page of this machine and gives back the client and the response.
fn open_page(port: u16, device: &Device, who: &Connect) -> (Client, Value) {
    let mut client = Client::open_with(port, &[UI_ORIGIN]).expect("upgrade");
    let response = client.introduce(who, Some(device));
    (client, response)
}

fn node(platform: &str, commands: &[&str]) -> Connect {
    let mut who = Connect::node().extra(json!({"commands": commands}));
    who.platform = platform.into();
    who
}

/// What `node.describe` says the node can be asked.
#[track_caller]
fn commands(admin: &mut Client, device: &Device) -> Value {
    let node = ok(&admin.call("node.describe", json!({"nodeId": device.id})));
    node["commands"].clone()
}

#[test]
fn hs_04_no_scopes_means_no_scopes() {
    let home = Home::with_config(json!({}));
    let gateway = home.start();
    let port = gateway.port();
    let mut admin = gateway.admin();
    let device = Device::new();
    let (_first, hello) = open_page(port, &device, &page(&["operator.admin"]));
    assert_eq!(ok(&hello)["auth"]["scopes"], json!(["operator.admin"]));
    ok(&admin.call("device.pair.remove", json!({"deviceId": device.id})));

    let forwarded = [("x-forwarded-for", "203.0.113.9"), UI_ORIGIN];
    let mut asking = Client::open_with(port, &forwarded).expect("upgrade");
    let response = asking.introduce(&page(&[]), Some(&device));
    let request = response["error"]["details"]["requestId"].clone();
    let mut narrow = Client::operator(port, &["operator.pairing"]);
    ok(&narrow.call("device.pair.approve", json!({"requestId": request})));
    let listed = ok(&admin.call("device.pair.list", json!({})));
    let row = listed["paired"].as_array().expect("paired").iter();
    let row = row
        .clone()
        .find(|d| d["deviceId"] == device.id.as_str())
        .expect("the device");
    assert!(row["scopes"].as_array().is_none_or(Vec::is_empty), "{row}");

    let (mut again, hello) = open_page(port, &device, &page(&[]));
    assert_eq!(ok(&hello)["auth"]["scopes"], json!([]));
    ok(&again.call("health", json!({})));
    assert_eq!(
        refused(&again.call("status", json!({}))).1,
        "missing scope: operator.read"
    );
}

#[test]
fn hs_06_a_reconnect_brings_no_command_that_was_not_approved() {
    let home = Home::with_config(json!({"gateway": {"nodes": {"allowCommands": ["camera.snap"]}}}));
    let gateway = home.start();
    let port = gateway.port();
    let mut admin = gateway.admin();
    let device = Device::new();
    let first = Client::connect(port, &node("linux", &["camera.snap"]), Some(&device));
    assert_eq!(commands(&mut admin, &device), json!(["camera.snap"]));
    first.close();

    let wider = node("linux", &["camera.snap", "system.run"]);
    let second = Client::connect(port, &wider, Some(&device));
    assert_eq!(commands(&mut admin, &device), json!(["camera.snap"]));
    let run = |admin: &mut Client| {
        admin.call(
            "node.invoke",
            json!({"nodeId": device.id, "command": "system.run", "params": {"command": ["id"]},
                "idempotencyKey": "k", "timeoutMs": 50}),
        )
    };
    let (code, message) = refused(&run(&mut admin));
    assert_eq!(code, "INVALID_REQUEST");
    assert!(message.starts_with("node command not allowed"), "{message}");

    // The wish for more waits for an admin; once granted, the next connection has it.
    let request = admin.event("device.pair.requested", |p| {
        p["deviceId"] == device.id.as_str()
    });
    let id = request["payload"]["requestId"].clone();
    let mut narrow = Client::operator(port, &["operator.pairing"]);
    let answer = narrow.call("device.pair.approve", json!({"requestId": id}));
    assert_eq!(refused(&answer).1, "missing scope: operator.admin");
    ok(&admin.call("device.pair.approve", json!({"requestId": id})));
    second.close();
    let _third = Client::connect(port, &wider, Some(&device));
    assert_eq!(
        commands(&mut admin, &device),
        json!(["camera.snap", "system.run"])
    );
    assert_eq!(refused(&run(&mut admin)).1, "node invoke timed out");

    // A device that was paired as operator is no node because it says so.
    let other = Device::new();
    let (_page, hello) = open_page(port, &other, &page(&["operator.read"]));
    ok(&hello);
    let mut client = Client::open(port);
    let response = client.introduce(&node("linux", &[]), Some(&other));
    assert_eq!(refused(&response).0, "NOT_PAIRED");
    assert_eq!(response["error"]["details"]["reason"], "role-upgrade");
}

#[test]
fn hs_07_the_platform_of_the_pairing_decides() {
    let home = Home::with_config(json!({}));
    let gateway = home.start();
    let port = gateway.port();
    let mut admin = gateway.admin();
    let all = [
        "system.run",
        "system.which",
        "system.notify",
        "location.get",
    ];
    let phone = Device::new();
    for claimed in ["ios", "linux", "l\u{456}nux", "LINUX\u{200b}", "darwin"] {
        let client = Client::connect(port, &node(claimed, &all), Some(&phone));
        let allowed = commands(&mut admin, &phone);
        assert_eq!(
            allowed,
            json!(["location.get", "system.notify"]),
            "{claimed}"
        );
        client.close();
    }
    for unknown in ["l\u{456}nux", "LINUX\u{200b}", "plan9"] {
        let device = Device::new();
        let _client = Client::connect(port, &node(unknown, &all), Some(&device));
        assert_eq!(
            commands(&mut admin, &device),
            json!(["system.notify"]),
            "{unknown}"
        );
    }
    let host = Device::new();
    let _client = Client::connect(port, &node("linux", &all), Some(&host));
    let allowed = commands(&mut admin, &host);
    assert_eq!(
        allowed,
        json!(["system.notify", "system.run", "system.which"])
    );
}

/// HS-08: taking a right away closes what was opened with it, before the answer, and nobody else's.
#[test]
fn hs_08_removal_revocation_and_rotation_close_at_once() {
    let home = Home::with_config(json!({}));
    let gateway = home.start();
    let port = gateway.port();
    let mut admin = gateway.admin();
    for method in [
        "device.pair.remove",
        "device.token.revoke",
        "device.token.rotate",
    ] {
        for role in ["operator", "node"] {
            let (device, bystander) = (Device::new(), Device::new());
            let connect = |device: &Device| match role {
                "node" => Client::connect(port, &node("linux", &[]), Some(device)),
                _ => {
                    let (client, hello) = open_page(port, device, &page(&["operator.read"]));
                    ok(&hello);
                    client
                }
            };
            let mut hit = connect(&device);
            let mut stays = connect(&bystander);
            let params = match method {
                "device.pair.remove" => json!({"deviceId": device.id}),
                _ => json!({"deviceId": device.id, "role": role}),
            };
            ok(&admin.call(method, params));
            ok(&admin.call("talk.mode", json!({"enabled": true, "phase": "after"})));
            assert_eq!(hit.closed().code, 1008, "{method} {role}");
            let later = hit.next(std::time::Duration::ZERO);
            let seen = |i: &Incoming| matches!(i, Incoming::Frame(f) if f["event"] == "talk.mode");
            assert!(!seen(&later), "{method} {role}: an event after the end");
            stays.event("talk.mode", |p| p["phase"] == "after");
        }
    }
    ok(&admin.call("health", json!({})));
}

/// What a socket still sends after it has lost its right is not carried out.
#[test]
fn hs_08_a_socket_that_is_being_closed_is_not_obeyed() {
    let home = Home::with_config(json!({}));
    let gateway = home.start();
    let port = gateway.port();
    let mut admin = gateway.admin();
    let device = Device::new();
    let (mut hit, hello) = open_page(port, &device, &page(&["operator.admin"]));
    ok(&hello);
    ok(&admin.call("device.pair.remove", json!({"deviceId": device.id})));
    hit.post("voicewake.set", json!({"triggers": ["too late"]}));
    assert_eq!(hit.closed().code, 1008);
    let words = ok(&admin.call("voicewake.get", json!({})));
    assert!(!words.to_string().contains("too late"), "{words}");
}

#[test]
fn hs_09_a_device_does_not_give_itself_back_what_was_taken() {
    let home = Home::with_config(json!({}));
    let gateway = home.start();
    let port = gateway.port();
    let mut admin = gateway.admin();
    let device = Device::new();
    let (page_client, hello) = open_page(port, &device, &page(&["operator.pairing"]));
    ok(&hello);
    drop(page_client);
    // The same device becomes a node as well, by another's approval.
    let mut asking = Client::open(port);
    let response = asking.introduce(&node("linux", &["system.run"]), Some(&device));
    let request = response["error"]["details"]["requestId"].clone();
    ok(&admin.call("device.pair.approve", json!({"requestId": request})));
    let mut as_node = Client::connect(port, &node("linux", &["system.run"]), Some(&device));
    let (mut own, hello) = open_page(port, &device, &page(&["operator.pairing"]));
    ok(&hello);

    ok(&admin.call(
        "device.token.revoke",
        json!({"deviceId": device.id, "role": "node"}),
    ));
    assert_eq!(as_node.closed().code, 1008);
    let rotate = own.call(
        "device.token.rotate",
        json!({"deviceId": device.id, "role": "node"}),
    );
    refused(&rotate);
    let mut again = Client::open(port);
    let response = again.introduce(&node("linux", &["system.run"]), Some(&device));
    let (code, _) = refused(&response);
    assert!(
        code == "NOT_PAIRED" || code == "INVALID_REQUEST",
        "{response}"
    );
    if let Some(request) = response["error"]["details"]["requestId"].as_str() {
        refused(&own.call("device.pair.approve", json!({"requestId": request})));
        ok(&admin.call("device.pair.approve", json!({"requestId": request})));
    } else {
        ok(&admin.call(
            "device.token.rotate",
            json!({"deviceId": device.id, "role": "node"}),
        ));
    }
}
