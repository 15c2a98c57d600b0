//! kill -9 at any moment: no torn file, no acknowledged message lost, the next start clean.

mod support;

use std::time::{Duration, Instant};

use support::*;

const ROUNDS: usize = 100;

/// Lets a part of `span` pass, a different one each round, so that the kill falls into different places. Not
/// a wait for anything.
fn drift(round: usize, span: Duration) {
    let pause = span * (round * 37 % ROUNDS) as u32 / ROUNDS as u32;
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

/// The config with a number in it.
fn config(home: &Home, model: &Model, number: usize) -> Value {
    home.config(json!({
        "models": {"providers": {"stub": {"baseUrl": model.url()}}},
        "agents": {"defaults": {"timeoutSeconds": 1000 + number}},
    }))
}

/// The same as text, with enough comments around that writing it takes a while.
fn config_text(home: &Home, model: &Model, number: usize) -> String {
    let filler = format!("  // {}\n", "filler ".repeat(20)).repeat(400);
    format!(
        "// edit {number}\n{filler}{:#}\n// end of {number}\n",
        config(home, model, number)
    )
}

/// Whether `text` is the whole of [`config_text`] but for the stamp of who wrote it last.
fn is_edit(text: &str, home: &Home, model: &Model, number: usize) -> bool {
    let comments = |text: &str| {
        text.lines()
            .filter(|line| line.trim_start().starts_with("//"))
            .collect::<String>()
    };
    let Ok(mut found) = json5::from_str::<Value>(text) else {
        return false;
    };
    found.as_object_mut().expect("an object").remove("meta");
    found == config(home, model, number)
        && comments(text) == comments(&config_text(home, model, number))
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
    let mut now = 0;
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
                    now = round + 1;
                    edits += 1;
                }
                if round % 3 == 0 {
                    client.event("chat", |payload| payload["state"] == "final");
                    acknowledged.push((session.clone(), format!("message-{round:03}")));
                }
            }
        }
        drift(round, Duration::from_millis(3));
        gateway.kill_now();

        // The config is the old one or the new one, comments and all.
        let found = home.config_text();
        if edit_id.is_some() && is_edit(&found, &home, &model, round + 1) {
            now = round + 1;
        }
        assert!(
            is_edit(&found, &home, &model, now),
            "round {round}: the config is not edit {now}: {found}"
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
    let set = |number: usize| {
        home.command(&[
            "config",
            "set",
            "agents.defaults.timeoutSeconds",
            &number.to_string(),
        ])
    };

    // Undisturbed: it works, it changes nothing but that number and the stamp, and this is how long it takes.
    let start = Instant::now();
    process::finish(set(2), "config set").expect(0);
    let span = start.elapsed().mul_f32(1.2);
    let stamped = home.config_text();
    assert!(stamped.starts_with("// mine\n"), "{stamped}");
    let whole = |text: &str, number: usize| {
        let mut found: Value = json5::from_str(text).ok()?;
        found.as_object_mut()?.remove("meta");
        let expected = home.config(json!({"agents": {"defaults": {"timeoutSeconds": number}}}));
        (found == expected && text.starts_with("// mine\n")).then_some(())
    };
    whole(&stamped, 2).expect("the config after an edit");

    let mut value = 2;
    let mut written = 0;
    for round in 0..ROUNDS {
        let next = 1000 + round;
        let mut command = set(next);
        command
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        let mut child = command.spawn().expect("start");
        drift(round, span);
        let _ = child.kill();
        let finished = child.wait().expect("wait").success();

        let found = home.config_text();
        if finished || whole(&found, next).is_some() {
            written += 1;
            value = next;
        }
        assert!(
            whole(&found, value).is_some(),
            "round {round}: not the config with {value}: {found}"
        );
        nothing_is_torn(&home, round);
    }
    // And it goes on working.
    process::finish(set(77), "config set").expect(0);
    let get = home
        .run(&["config", "get", "agents.defaults.timeoutSeconds"])
        .expect(0);
    assert_eq!(get.stdout.trim(), "77");
    println!("{written} of {ROUNDS} edits were quicker than the kill");
}
