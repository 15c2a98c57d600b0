//! Hot reload on a running gateway, as seen on the wire: the four modes, broken edits, draining.

mod support;

use support::*;

/// A config with this reload mode, whose agent has this name (read fresh: no restart needed), and the
/// control page under this base path (fixed at start: a restart).
fn config(home: &Home, mode: &str, name: &str, base_path: &str) -> Value {
    home.config(json!({
        "gateway": {"reload": {"mode": mode, "debounceMs": 50}, "controlUi": {"basePath": base_path}},
        "agents": {"list": [{"id": "main", "default": true, "identity": {"name": name}}]},
    }))
}

fn home_with(mode: &str) -> Home {
    let home = Home::new();
    home.write_config(&config(&home, mode, "First", "/one"));
    home
}

/// The agent's name as a client sees it.
fn name(client: &mut Client) -> String {
    ok(&client.call("agent.identity.get", json!({"agentId": "main"})))["name"]
        .as_str()
        .expect("name")
        .to_string()
}

/// No event on this connection so far says that the gateway stops.
#[track_caller]
fn undisturbed(client: &mut Client) {
    let frames = client.so_far();
    assert!(
        !frames.iter().any(|frame| frame["event"] == "shutdown"),
        "{frames:?}"
    );
}

/// The announcement of a restart, the close, and the way back on the same port in the same process.
#[track_caller]
fn restarts(gateway: &mut Gateway, client: &mut Client) {
    let event = client.event("shutdown", |_| true);
    assert_eq!(
        event["payload"],
        json!({"reason": "gateway restarting", "restartExpectedMs": 1500})
    );
    assert_eq!(
        client.closed(),
        Closed {
            code: 1012,
            reason: "service restart".into()
        }
    );
    gateway.wait_line("listening on ws://");
}

#[test]
fn mode_hybrid_applies_what_is_safe_and_restarts_for_the_rest() {
    let home = home_with("hybrid");
    let mut gateway = home.start();
    let pid = gateway.pid();
    let mut client = gateway.admin();
    assert_eq!(name(&mut client), "First");

    home.write_config(&config(&home, "hybrid", "Second", "/one"));
    gateway.wait_line("config change applied");
    assert_eq!(name(&mut client), "Second");
    undisturbed(&mut client);

    home.write_config(&config(&home, "hybrid", "Third", "/two"));
    gateway.wait_line("config change requires gateway restart (gateway.controlUi.basePath)");
    restarts(&mut gateway, &mut client);
    assert_eq!(gateway.pid(), pid);
    let mut client = gateway.admin();
    assert_eq!(name(&mut client), "Third");
}

#[test]
fn mode_hot_applies_the_live_part_and_never_restarts() {
    let home = home_with("hot");
    let mut gateway = home.start();
    let mut client = gateway.admin();

    home.write_config(&config(&home, "hot", "Second", "/one"));
    gateway.wait_line("config change applied");
    assert_eq!(name(&mut client), "Second");

    // One edit with both: the live part is applied, the rest is named and left.
    home.write_config(&config(&home, "hot", "Third", "/two"));
    gateway.wait_line(
        "config reload requires gateway restart; hot mode ignoring (gateway.controlUi.basePath)",
    );
    eventually("the live part is applied", || {
        (name(&mut client) == "Third").then_some(())
    });
    undisturbed(&mut client);
}

#[test]
fn mode_restart_restarts_for_every_change() {
    let home = home_with("restart");
    let mut gateway = home.start();
    let mut client = gateway.admin();

    home.write_config(&config(&home, "restart", "Second", "/one"));
    restarts(&mut gateway, &mut client);
    let mut client = gateway.admin();
    assert_eq!(name(&mut client), "Second");
    undisturbed(&mut client);
}

#[test]
fn mode_off_changes_nothing_until_it_is_left() {
    let home = home_with("off");
    let mut gateway = home.start();
    let mut client = gateway.admin();

    home.write_config(&config(&home, "off", "Second", "/one"));
    gateway.wait_line("config reload disabled (gateway.reload.mode=off)");
    home.write_config(&config(&home, "off", "Second", "/two"));
    gateway.wait_line("config reload disabled (gateway.reload.mode=off)");
    assert_eq!(name(&mut client), "First");
    undisturbed(&mut client);

    // The mode of the new file decides.
    home.write_config(&config(&home, "hybrid", "Third", "/two"));
    eventually("the edit that leaves the mode is applied", || {
        // It may need a restart: for what was ignored before.
        let mut client = Client::open_with(gateway.port(), &[]).ok()?;
        client.try_introduce(&Connect::operator(), Some(&Device::new()))?;
        let response = client.try_call("agent.identity.get", json!({"agentId": "main"}))?;
        (response["payload"]["name"] == "Third").then_some(())
    });
}

#[test]
fn an_invalid_edit_keeps_the_running_config_and_says_so() {
    // The gateway's own credential, which commands find whatever becomes of the config.
    let home = Home::new();
    let write = |name: &str| {
        let mut config = config(&home, "hybrid", name, "/one");
        config["gateway"]["auth"] = json!({});
        home.write_config(&config);
    };
    write("First");
    let mut gateway = home.start();
    let token = std::fs::read_to_string(home.state().join("gateway-token")).unwrap();
    let who = Connect::operator().auth(json!({"token": token.trim()}));
    let mut client = Client::connect(gateway.port(), &who, Some(&Device::new()));
    let good = home.config_text();
    let port = gateway.port().to_string();
    let status = || {
        let mut command = home.command(&["status"]);
        command.env("OPENCLAW_GATEWAY_PORT", &port);
        process::finish(command, "status").stdout
    };

    for (broken, said) in [
        (
            good.replace("\"First\"", "17"),
            "agents.list.0.identity.name",
        ),
        (good.replacen('{', "{ \"bogus\": 1,", 1), "bogus"),
        (good[..good.len() / 2].to_string(), "JSON5"),
        (String::new(), "JSON5"),
    ] {
        home.write_config_text(&broken);
        let line = gateway.wait_line("config reload skipped (invalid config)");
        assert!(line.contains(said), "{line}");
        assert_eq!(name(&mut client), "First");
        let shown = status();
        assert!(shown.contains(said), "status does not name {said}: {shown}");
        undisturbed(&mut client);
    }
    // A file that goes away is no reason to forget anything either.
    std::fs::remove_file(home.config_path()).unwrap();
    gateway.wait_line("config reload skipped (config file not found)");
    assert_eq!(name(&mut client), "First");

    // The repair is picked up, and status is content again.
    write("Repaired");
    gateway.wait_line("config change applied");
    assert_eq!(name(&mut client), "Repaired");
    assert!(!status().contains("JSON5"));
    undisturbed(&mut client);
}

#[test]
fn an_edit_that_it_cannot_start_with_leaves_it_running() {
    let home = home_with("hybrid");
    let mut gateway = home.start();
    let mut client = gateway.admin();
    // Valid, but a control page for the network needs to know from which origins it may be used.
    let mut edited = config(&home, "hybrid", "Second", "/one");
    edited["gateway"]["bind"] = json!("lan");
    home.write_config(&edited);
    gateway.wait_line("cannot restart with the edited config");
    assert_eq!(client.closed().code, 1012);
    gateway.wait_line("listening on ws://127.0.0.1:");
    let mut client = gateway.admin();
    assert_eq!(name(&mut client), "First");
    let mut command = home.command(&["status"]);
    command.env("OPENCLAW_GATEWAY_PORT", gateway.port().to_string());
    let shown = process::finish(command, "status").stdout;
    assert!(
        shown.contains("allowedOrigins"),
        "status does not say what is wrong: {shown}"
    );

    home.write_config(&config(&home, "hybrid", "Third", "/one"));
    gateway.wait_line("config change applied");
    assert_eq!(name(&mut client), "Third");
    undisturbed(&mut client);
}

#[test]
fn a_restart_waits_for_the_run_that_is_under_way() {
    let gate = Gate::new();
    let script = gate.clone();
    let model = Model::scripted(move |_| {
        Reply::Parts(vec![
            Part::Text("half ".into()),
            Part::Wait(script.clone()),
            Part::Text("whole".into()),
        ])
    });
    let home = Home::new();
    let edit = |base_path: &str| {
        let mut config = config(&home, "hybrid", "First", base_path);
        config["models"]["providers"]["stub"]["baseUrl"] = json!(model.url());
        home.write_config(&config);
    };
    edit("/one");
    let mut gateway = home.start();
    let mut client = gateway.admin();
    let id = client.post(
        "agent",
        json!({"message": "hello", "sessionKey": "s", "idempotencyKey": "k"}),
    );
    assert_eq!(ok(&client.response(&id))["status"], "accepted");
    client.event("agent", |payload| payload["stream"] == "assistant");

    edit("/two");
    gateway.wait_line("deferring until");
    undisturbed(&mut client);
    gate.open();
    // The answer, whole, before the announcement.
    let answer = ok(&client.response(&id));
    assert_eq!(answer["result"]["payloads"][0]["text"], "half whole");
    restarts(&mut gateway, &mut client);
    let mut client = gateway.admin();
    let history = ok(&client.call("chat.history", json!({"sessionKey": "s"})));
    assert_eq!(
        history["messages"].as_array().expect("messages").len(),
        2,
        "{history}"
    );
}

#[test]
fn changed_credentials_take_effect_at_once_and_close_what_they_had_opened() {
    let home = Home::with_config(json!({"gateway": {"reload": {"debounceMs": 50}}}));
    let gateway = home.start();
    let mut old = gateway.admin();
    home.write_config(&home.config(
        json!({"gateway": {"reload": {"debounceMs": 50}, "auth": {"token": "another-token-01"}}}),
    ));
    let closed = old.closed();
    assert!(matches!(closed.code, 1008 | 1012), "{closed:?}");

    let attempt = |token: &str| {
        let mut client = Client::open_with(gateway.port(), &[]).ok()?;
        let response = client.try_introduce(
            &Connect::operator().auth(json!({"token": token})),
            Some(&Device::new()),
        )?;
        Some(response["ok"] == true)
    };
    eventually("the new token is accepted", || {
        (attempt("another-token-01") == Some(true)).then_some(())
    });
    assert_eq!(attempt(TOKEN), Some(false));
}
