//! The command line from outside: exit statuses, what goes to which stream, what a dead or refusing gateway
//! looks like, and the commands that talk to a live one.

mod support;

use std::io::Read;
use std::net::TcpListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

use openclaw_gateway::cli::options::COMMANDS;
use support::*;

/// The same command for the gateway on `port`.
fn at(home: &Home, port: u16, arguments: &[&str]) -> Output {
    let mut command = home.command(arguments);
    command.env("OPENCLAW_GATEWAY_PORT", port.to_string());
    process::finish(command, &arguments.join(" "))
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

// Words

#[test]
fn options_that_do_not_exist_are_refused_by_every_command() {
    let home = Home::new();
    for command in COMMANDS {
        let mut line = words(command.path);
        line.push("--frobnicate");
        let output = home.run(&line).expect(2);
        assert_eq!(output.stderr, "error: unknown option '--frobnicate'\n");
        assert_eq!(output.stdout, "", "{line:?}");
    }
    assert!(!home.state().exists(), "something was made on the way");
}

#[test]
fn every_command_has_help_on_stdout() {
    let home = Home::new();
    for command in COMMANDS {
        let mut line = words(command.path);
        line.push("--help");
        let help = home.run(&line).expect(0);
        let usage = format!("Usage: openclaw {} ", command.path);
        assert!(help.stdout.starts_with(&usage), "{help:?}");
        assert_eq!(help.stderr, "");
    }
    let nothing = home.run(&[]).expect(1);
    assert!(nothing.stdout.is_empty() && nothing.stderr.contains("Usage: openclaw"));
    let all = home.run(&["--help"]).expect(0);
    assert_eq!(all.stdout, nothing.stderr);
}

#[test]
fn the_version_is_one_line() {
    let home = Home::new();
    for word in ["--version", "-V", "-v"] {
        let output = home.run(&[word]).expect(0);
        assert_eq!(output.stdout, "2026.2.23\n");
        assert_eq!(output.stderr, "");
    }
}

#[test]
fn impossible_profiles_end_with_2_and_unknown_commands_with_1() {
    let home = Home::new();
    for (line, code, text) in [
        (
            "--profile bad/name status",
            2,
            "[openclaw] Invalid --profile (use letters, numbers, \"_\", \"-\" only)",
        ),
        (
            "--dev --profile x status",
            2,
            "[openclaw] Cannot combine --dev with --profile",
        ),
        ("--profile", 2, "[openclaw] --profile requires a value"),
        ("frobnicate", 1, "error: unknown command 'frobnicate'"),
        ("cron frobnicate", 1, "error: unknown command 'frobnicate'"),
        (
            "gateway frobnicate",
            1,
            "error: too many arguments for 'gateway'. Expected 0 arguments but got 1.",
        ),
        (
            "agent --agent main",
            1,
            "error: required option '-m, --message <text>' not specified",
        ),
    ] {
        let output = home.run(&words(line)).expect(code);
        assert_eq!(output.stderr.trim_end(), text, "{line}");
    }
}

#[test]
fn colour_is_for_terminals_and_those_who_ask() {
    let mut home = Home::with_config(json!({}));
    let coloured = |home: &Home, line: &str| home.run(&words(line)).stdout.contains('\u{1b}');
    let line = "gateway status --no-probe";
    assert!(!coloured(&home, line));
    home.set("FORCE_COLOR", "1");
    assert!(coloured(&home, line));
    assert!(!coloured(&home, &format!("--no-color {line}")));
    assert!(!coloured(&home, &format!("{line} --json")));
}

#[test]
fn a_reader_that_goes_away_is_no_crash() {
    let home = Home::new();
    let mut command = home.command(&["--help"]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("start");
    drop(child.stdout.take());
    let mut stderr = String::new();
    let said = child
        .stderr
        .as_mut()
        .expect("stderr")
        .read_to_string(&mut stderr);
    said.expect("read stderr");
    assert!(child.wait().expect("wait").success(), "{stderr}");
    assert_eq!(stderr, "");
}

// A gateway that is not there, or refuses

/// Commands that need a gateway, without side effects.
const ASKING: &[&str] = &[
    "gateway health",
    "gateway call health",
    "gateway usage-cost",
    "health",
    "logs",
    "agent --message hi",
    "cron list",
    "cron status",
    "devices list",
    "nodes status",
    "nodes list",
    "approvals get --gateway",
    "system presence",
    "system heartbeat last",
];

#[test]
fn a_dead_gateway_is_told_at_once_with_what_helps() {
    let home = Home::with_config(json!({}));
    let port = process::free_port();
    for line in ASKING {
        let started = Instant::now();
        let output = at(&home, port, &words(line)).expect(1);
        assert_eq!(output.stdout, "", "{line}");
        let first = output.stderr.lines().next().unwrap_or_default();
        assert!(first.contains("ECONNREFUSED"), "{line}: {output:?}");
        for part in [
            &format!("Gateway target: ws://127.0.0.1:{port}\n"),
            "Source: local loopback\n",
            "Bind: loopback\n",
            "Fix: start it with `openclaw gateway`",
        ] {
            assert!(
                output.stderr.contains(part),
                "{line}: {part:?} in {output:?}"
            );
        }
        assert!(started.elapsed() < Duration::from_secs(3), "{line}");
    }
    // What does not need it goes on.
    for line in [
        "status",
        "channels status",
        "sessions",
        "agents",
        "models",
        "config get gateway.mode",
    ] {
        at(&home, port, &words(line)).expect(0);
    }
    assert!(
        !home.state().join("agents").exists(),
        "somebody ran an agent"
    );
}

#[test]
fn the_status_of_a_gateway_is_its_exit_status() {
    let home = Home::with_config(json!({}));
    let port = process::free_port();
    let down = at(&home, port, &["gateway", "status"]).expect(3);
    assert!(down.stdout.contains("Runtime: stopped"), "{down:?}");
    assert!(down.stderr.contains("RPC probe: failed"), "{down:?}");
    at(&home, port, &["gateway", "status", "--no-probe"]).expect(3);

    // Somebody else on the port is not a gateway.
    let stranger = TcpListener::bind("127.0.0.1:0").expect("listen");
    let other = stranger.local_addr().expect("address").port();
    let output = at(&home, other, &["gateway", "status", "--timeout", "300"]).expect(3);
    assert!(
        output.stdout.contains("another program holds port"),
        "{output:?}"
    );
    assert!(output.stderr.contains("is already in use"), "{output:?}");
    drop(stranger);

    let gateway = home.start();
    let port = gateway.port();
    let up = at(&home, port, &["gateway", "status"]).expect(0);
    for part in ["Runtime: running", "RPC probe: ok", "Listening: 127.0.0.1:"] {
        assert!(up.stdout.contains(part), "{up:?}");
    }
    let value = at(&home, port, &["gateway", "status", "--json"])
        .expect(0)
        .json();
    assert_eq!(value["service"]["runtime"]["pid"], gateway.pid());
    assert_eq!(value["rpc"]["ok"], true);
    assert_eq!(value["port"]["status"], "busy");
    let wrong = at(&home, port, &["gateway", "status", "--token", "nope"]).expect(1);
    assert!(
        wrong
            .stderr
            .contains("unauthorized: gateway token mismatch"),
        "{wrong:?}"
    );
    assert_eq!(gateway.stop(), Some(0));
    let down = at(&home, port, &["gateway", "status"]).expect(3);
    assert!(down.stderr.contains("Last exit: SIGTERM"), "{down:?}");
}

#[test]
fn secrets_come_from_flag_environment_config_or_state_and_a_url_brings_its_own() {
    let mut home = Home::with_config(json!({"gateway": {"auth": {"token": null}}}));
    let gateway = home.start();
    let port = gateway.port();
    // Made by the gateway, found in the state directory.
    at(&home, port, &["gateway", "health"]).expect(0);
    let made = home.state().join("gateway-token");
    let made = std::fs::read_to_string(made).expect("the gateway's token");
    let url = format!("ws://127.0.0.1:{port}");
    let bare = home.run(&["gateway", "health", "--url", &url]).expect(1);
    assert!(
        bare.stderr
            .contains("gateway url override requires explicit credentials")
    );
    home.run(&["gateway", "health", "--url", &url, "--token", made.trim()])
        .expect(0);
    home.set("OPENCLAW_GATEWAY_TOKEN", "wrong");
    let refused = at(&home, port, &["gateway", "health"]).expect(1);
    assert!(
        refused
            .stderr
            .starts_with("Error: gateway closed (1008): unauthorized: gateway token mismatch"),
        "{refused:?}"
    );
    assert!(refused.stderr.contains("\nFix: "), "{refused:?}");
    assert!(!refused.stderr.contains(made.trim()));
    at(&home, port, &["gateway", "health", "--token", made.trim()]).expect(0);
    let far = home.run(&[
        "gateway",
        "health",
        "--url",
        "ws://192.0.2.1:1",
        "--token",
        "x",
    ]);
    assert!(
        far.expect(1)
            .stderr
            .contains("plain ws:// to another machine")
    );
}

// A live gateway

#[test]
fn json_is_all_that_there_is_on_stdout() {
    let home = Home::with_config(json!({}));
    let gateway = home.start();
    let port = gateway.port();
    for line in [
        "gateway status --json",
        "gateway status --deep --json",
        "gateway status --no-probe --json",
        "gateway probe --json",
        "gateway health --json",
        "gateway call system-presence --json",
        "gateway usage-cost --json",
        "health --json",
        "status --json",
        "status --all --deep --usage --json",
        "channels status --probe --json",
        "channels list --json",
        "sessions --json",
        "agents list --json",
        "models list --json",
        "models status --json",
        "agent --message hi --json",
        "cron list --json",
        "cron status",
        "cron runs",
        "devices list --json",
        "nodes status --json",
        "nodes list --json",
        "nodes pending --json",
        "approvals get --json",
        "approvals get --gateway --json",
        "system presence",
        "system heartbeat last",
        "config get gateway --json",
        "config check --json",
    ] {
        at(&home, port, &words(line)).expect(0).json();
    }
    let lines = at(&home, port, &["logs", "--json"]).expect(0).stdout;
    let kinds: Vec<String> = lines
        .lines()
        .map(|line| {
            let value: Value = serde_json::from_str(line).expect(line);
            value["type"].as_str().expect("type").to_string()
        })
        .collect();
    assert_eq!(kinds.first().map(String::as_str), Some("meta"));
    assert!(
        kinds.iter().skip(1).all(|kind| kind == "log") && kinds.len() > 1,
        "{kinds:?}"
    );
}

#[test]
fn a_method_that_fails_is_told_without_a_lecture() {
    let home = Home::with_config(json!({}));
    let gateway = home.start();
    let port = gateway.port();
    for (line, text) in [
        (
            "gateway call nope",
            "Gateway call failed: Error: unknown method: nope\n",
        ),
        (
            "gateway call chat.history --params {\"bogus\":1}",
            "Gateway call failed: Error: invalid chat.history params: must have required property \
             'sessionKey'; at root: unexpected property 'bogus'\n",
        ),
        ("devices approve nope", "Error: unknown requestId\n"),
        (
            "devices approve",
            "No pending device pairing requests to approve\n",
        ),
        (
            "devices clear",
            "Refusing to clear pairing table without --yes\n",
        ),
        (
            "system event --text x --mode never",
            "Error: --mode must be now or next-heartbeat\n",
        ),
    ] {
        let output = at(&home, port, &words(line)).expect(1);
        assert_eq!(
            (output.stdout.as_str(), output.stderr.as_str()),
            ("", text),
            "{line}"
        );
    }
    let broken = at(
        &home,
        port,
        &["gateway", "call", "status", "--params", "{oops"],
    )
    .expect(1);
    assert!(broken.stderr.contains("--params is not JSON"), "{broken:?}");
}

#[test]
fn a_cron_job_from_its_first_day_to_its_last() {
    let home = Home::with_config(json!({}));
    let gateway = home.start();
    let port = gateway.port();
    let added = at(
        &home,
        port,
        &[
            "cron",
            "add",
            "--name",
            "beat",
            "--every",
            "10m",
            "--system-event",
            "tick",
        ],
    );
    let job = added.expect(0).json();
    assert_eq!(job["schedule"]["everyMs"], 600_000);
    let id = job["id"].as_str().expect("id");
    let list = at(&home, port, &["cron", "list"]).expect(0);
    assert!(
        list.stdout.contains(id) && list.stdout.contains("every 10m"),
        "{list:?}"
    );
    let edited = at(
        &home,
        port,
        &["cron", "edit", id, "--name", "beat-x", "--disable"],
    );
    let edited = edited.expect(0).json();
    assert_eq!(
        (&edited["name"], &edited["enabled"]),
        (&json!("beat-x"), &json!(false))
    );
    assert_eq!(
        at(&home, port, &["cron", "list"]).expect(0).stdout,
        "No cron jobs.\n"
    );
    at(&home, port, &["cron", "enable", id]).expect(0);
    let ran = at(&home, port, &["cron", "run", id]).expect(0).json();
    assert_eq!(ran["ran"], true);
    let removed = at(&home, port, &["cron", "rm", id]).expect(0).json();
    assert_eq!(removed, json!({"ok": true, "removed": true}));
    let again = at(&home, port, &["cron", "remove", id]).expect(0).json();
    assert_eq!(again, json!({"ok": true, "removed": false}));
}

#[test]
fn a_turn_of_an_agent_is_its_reply_and_leaves_a_session() {
    let model = Model::scripted(|_| Reply::text("Hello from the stub."));
    let home =
        Home::with_config(json!({"models": {"providers": {"stub": {"baseUrl": model.url()}}}}));
    let gateway = home.start();
    let port = gateway.port();
    let reply = at(
        &home,
        port,
        &["agent", "--agent", "main", "--message", "hi"],
    )
    .expect(0);
    assert_eq!(reply.stdout, "Hello from the stub.\n");
    let whole = at(&home, port, &["agent", "-m", "again", "--json"])
        .expect(0)
        .json();
    assert_eq!(whole["status"], "ok");
    assert_eq!(
        whole["result"]["payloads"][0]["text"],
        "Hello from the stub."
    );
    let sessions = at(&home, port, &["sessions", "--json"]).expect(0).json();
    assert_eq!(sessions["count"], 1);
    assert_eq!(sessions["sessions"][0]["key"], "agent:main:main");
    let unknown = at(&home, port, &["agent", "--agent", "nope", "-m", "hi"]).expect(1);
    assert!(unknown.stderr.contains("unknown agent id"), "{unknown:?}");
    let level = at(&home, port, &["agent", "-m", "hi", "--thinking", "extreme"]).expect(1);
    assert!(level.stderr.contains("Invalid thinking level"), "{level:?}");
}

#[test]
fn a_fresh_setup_starts_and_a_broken_config_is_told_by_everybody() {
    let home = Home::new();
    let setup = home.run(&["setup"]).expect(0);
    assert!(
        setup
            .stdout
            .starts_with("Wrote ~/.openclaw/openclaw.json\n"),
        "{setup:?}"
    );
    let gateway = home.start();
    let port = gateway.port();
    home.write_config_text("{gateway: {mode: 'local', port: 'x'}, nope: 1}");
    // The gateway goes on with what it had, and says so.
    eventually("the broken edit in status", || {
        let output = at(&home, port, &["gateway", "call", "status"]);
        output.stdout.contains("configIssues").then_some(())
    });
    let status = at(&home, port, &["status"]).expect(0);
    assert!(status.stderr.starts_with("Config invalid\n"), "{status:?}");
    assert!(
        status.stderr.contains("  - gateway.port: Invalid input"),
        "{status:?}"
    );
    assert!(
        status
            .stderr
            .contains("  - <root>: Unrecognized key: \"nope\""),
        "{status:?}"
    );
    for line in ["sessions", "models", "agents list", "setup"] {
        let output = at(&home, port, &words(line)).expect(1);
        assert!(
            output.stderr.starts_with("Config invalid\n"),
            "{line}: {output:?}"
        );
    }
    let start = home
        .run(&["gateway", "--port", &process::free_port().to_string()])
        .expect(78);
    assert!(start.stderr.contains("Unrecognized key"), "{start:?}");
}
