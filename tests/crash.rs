//! kill -9 at any moment: no torn file, no acknowledged message lost, the next start clean.

mod support;

use std::time::{Duration, Instant};

use support::*;

const ROUNDS: usize = 100;

/// Spins for a while, so that the kill falls into different places. Not a wait for anything.
fn drift(round: usize) {
    let pause = Duration::from_micros((round * 37 % 50) as u64 * 60);
    let start = Instant::now();
    while start.elapsed() < pause {
        std::hint::spin_loop();
    }
}

/// Every JSON file of the state directory parses; every line of a transcript does, but for the last one if
/// it has no line end.
#[track_caller]
fn nothing_is_torn(home: &Home, round: usize) {
    for (path, content) in home.snapshot() {
        let text = String::from_utf8(content)
            .unwrap_or_else(|_| panic!("round {round}: {} is not text", path.display()));
        // A transcript may end in a torn line, which is not one yet.
        let pieces: Vec<&str> = match path.extension().and_then(|extension| extension.to_str()) {
            Some("json") if path != home.config_path() => vec![&text],
            Some("jsonl") => text
                .split_inclusive('\n')
                .filter(|line| line.ends_with('\n'))
                .collect(),
            _ => vec![],
        };
        for piece in pieces {
            if let Err(error) = serde_json::from_str::<Value>(piece) {
                panic!("round {round}: {}: {error}: {piece:?}", path.display());
            }
        }
    }
}

/// The config with a number in it, and enough text around that writing it takes a while.
fn config_text(home: &Home, model: &Model, number: usize) -> String {
    let filler = format!("  // {}\n", "filler ".repeat(20)).repeat(400);
    let config = home.config(json!({
        "models": {"providers": {"stub": {"baseUrl": model.url()}}},
        "agents": {"defaults": {"timeoutSeconds": 1000 + number}},
    }));
    format!("// edit {number}\n{filler}{config:#}\n// end of {number}\n")
}

#[test]
fn a_hundred_kills_in_the_middle_of_runs_and_edits() {
    let model = Model::scripted(|body| {
        if model::last_user_text(body).contains("stall") {
            // Some of the reply, and then nothing until the caller is gone.
            Reply::Parts(vec![Part::Text("partial ".into()), Part::Wait(Gate::new())])
        } else {
            Reply::text("A whole reply.")
        }
    });
    let home = Home::new();
    home.write_config_text(&config_text(&home, &model, 0));
    let mut config_now = home.config_text();
    // Per session, what was acknowledged: user texts, and replies whose end was seen.
    let mut acknowledged: Vec<(String, String)> = Vec::new();
    let mut edits = 0;

    for round in 0..ROUNDS {
        let mut gateway = home.start();
        let mut client = gateway.admin();
        let output = gateway.output();
        assert!(
            !output.contains("panicked") && !output.contains("torn"),
            "round {round}: {output}"
        );

        // Nothing that was acknowledged is missing.
        let session = format!("crash-{}", round % 4);
        let history = ok(&client.call(
            "chat.history",
            json!({"sessionKey": session, "limit": 1000}),
        ))
        .to_string();
        for (_, text) in acknowledged.iter().filter(|(key, _)| *key == session) {
            assert!(
                history.contains(text.as_str()),
                "round {round}: {text:?} is lost; history {history}"
            );
        }

        // A message …
        let text = format!(
            "message-{round:03} {}",
            if round % 3 == 0 { "" } else { "stall" }
        );
        let sent = json!({"sessionKey": session, "message": text, "idempotencyKey": format!("key-{round}")});
        // … and an edit, at the same time, from another connection.
        let mut editor = gateway.admin();
        let hash = ok(&editor.call("config.get", json!({})))["hash"].clone();
        let next = config_text(&home, &model, round + 1);
        let edit = json!({"raw": next, "baseHash": hash});

        let message_id = client.post("chat.send", sent);
        let edit_id = (round % 2 == 0).then(|| editor.post("config.set", edit));
        match round % 5 {
            // Whatever they are at.
            0 => {}
            1 | 2 => {
                assert_eq!(ok(&client.response(&message_id))["status"], "started");
                acknowledged.push((session.clone(), format!("message-{round:03}")));
            }
            3 => {
                assert_eq!(ok(&client.response(&message_id))["status"], "started");
                acknowledged.push((session.clone(), format!("message-{round:03}")));
                client.event("agent", |payload| payload["stream"] == "assistant");
            }
            _ => {
                if let Some(id) = &edit_id {
                    ok(&editor.response(id));
                    config_now = next.clone();
                    edits += 1;
                }
                if round % 3 == 0 {
                    client.event("chat", |payload| payload["state"] == "final");
                    acknowledged.push((session.clone(), format!("message-{round:03}")));
                }
            }
        }
        drift(round);
        gateway.kill_now();

        // The config is the old one or the new one, to the byte.
        let found = home.config_text();
        if edit_id.is_some() && found == next {
            config_now = next;
        }
        assert!(
            found == config_now,
            "round {round}: the config is neither the old nor the new one: {found:?}"
        );
        nothing_is_torn(&home, round);
    }
    assert!(
        acknowledged.len() >= ROUNDS / 2 && edits > 0,
        "{} acknowledged, {edits} edits",
        acknowledged.len()
    );

    // At the end: one more clean start, and everything is there.
    let gateway = home.start();
    let mut client = gateway.admin();
    for (session, text) in &acknowledged {
        let history = ok(&client.call(
            "chat.history",
            json!({"sessionKey": session, "limit": 1000}),
        ))
        .to_string();
        assert!(history.contains(text.as_str()), "{text:?} is lost");
    }
    assert_eq!(gateway.stop(), Some(0));
    let left: Vec<_> = home
        .snapshot()
        .into_keys()
        .filter(|path| path.to_string_lossy().contains(".tmp"))
        .collect();
    assert!(left.is_empty(), "temporary files are left: {left:?}");
}

#[test]
fn a_hundred_kills_of_the_command_that_edits_the_config() {
    let home = Home::new();
    let text = format!(
        "// mine\n{:#}\n",
        home.config(json!({"agents": {"defaults": {"timeoutSeconds": 1}}}))
    );
    home.write_config_text(&text);
    let mut value = 1;
    for round in 0..ROUNDS {
        let next = 1000 + round;
        let mut command = home.command(&[
            "config",
            "set",
            "agents.defaults.timeoutSeconds",
            &next.to_string(),
        ]);
        command
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        let mut child = command.spawn().expect("start");
        drift(round * 3);
        let _ = child.kill();
        let finished = child.wait().expect("wait").success();

        let found = home.config_text();
        let whole = |number: usize| {
            text.replace(
                "\"timeoutSeconds\": 1,",
                &format!("\"timeoutSeconds\": {number},"),
            )
        };
        if finished || found == whole(next) {
            value = next;
        }
        assert_eq!(found, whole(value), "round {round}");
    }
    // The twin: undisturbed, it works.
    home.run(&["config", "set", "agents.defaults.timeoutSeconds", "77"])
        .expect(0);
    assert_eq!(
        home.run(&["config", "get", "agents.defaults.timeoutSeconds"])
            .expect(0)
            .stdout
            .trim(),
        "77"
    );
}
