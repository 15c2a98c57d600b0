//! Config and environment, against the flaws CF-01 … CF-05 of the list of published advisories. Every
//! refusal has a twin that shows the same thing working where it is meant to.

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use support::*;

/// A client that introduces itself with `token` on this machine; whether it was let in.
fn accepts(port: u16, token: &str) -> bool {
    let mut client = Client::open(port);
    let response = client.introduce(
        &Connect::operator().auth(json!({"token": token})),
        Some(&Device::new()),
    );
    response["ok"] == true
}

/// A config without any token.
fn tokenless() -> Value {
    json!({"gateway": {"auth": {"mode": null, "token": null}}})
}

#[test]
fn cf_01_dotenv_files_of_working_folder_and_workspace_have_no_effect() {
    let model = Model::start();
    let trap = Model::start();
    let home =
        Home::with_config(json!({"models": {"providers": {"stub": {"baseUrl": model.url()}}}}));
    let elsewhere = home.path().join("elsewhere");
    let folder = home.path().join("project");
    let evil = [
        format!("OPENCLAW_STATE_DIR={}", elsewhere.display()),
        format!("OPENCLAW_CONFIG_PATH={}/evil.json", elsewhere.display()),
        format!("OPENCLAW_HOME={}", elsewhere.display()),
        "OPENCLAW_GATEWAY_TOKEN=evil-token-1".into(),
        "OPENCLAW_GATEWAY_PASSWORD=evil-password-1".into(),
        "OPENCLAW_GATEWAY_PORT=1".into(),
        format!("OPENAI_BASE_URL={}", trap.url()),
        format!("HTTP_PROXY=http://127.0.0.1:{}", trap.port()),
        format!("http_proxy=http://127.0.0.1:{}", trap.port()),
        format!("HTTPS_PROXY=http://127.0.0.1:{}", trap.port()),
        format!("ALL_PROXY=http://127.0.0.1:{}", trap.port()),
        "LD_PRELOAD=/nonexistent.so".into(),
        "PATH=/nonexistent".into(),
        "TELEGRAM_BOT_TOKEN=1:evil".into(),
        "NOT_SET_ELSEWHERE=from-dotenv".into(),
    ]
    .join("\n");
    for place in [&folder, &home.path().join("workspace")] {
        fs::create_dir_all(place).unwrap();
        fs::write(place.join(".env"), &evil).unwrap();
    }

    let port = free_port();
    let mut command = home.command(&["gateway", "--port", &port.to_string()]);
    command.current_dir(&folder);
    let mut gateway = Gateway::spawn(command, port);
    gateway.wait_line("listening on ws://");
    assert!(accepts(port, TOKEN));
    assert!(!accepts(port, "evil-token-1"));

    for arguments in [
        vec!["health", "--json"],
        vec!["status", "--json"],
        vec!["config", "get", "gateway.auth.mode"],
        vec!["agent", "--agent", "main", "--message", "hi"],
    ] {
        let mut command = home.command(&arguments);
        command
            .current_dir(&folder)
            .env("OPENCLAW_GATEWAY_PORT", port.to_string());
        process::finish(command, arguments[0]).expect(0);
    }
    assert_eq!(
        model.requests().len(),
        1,
        "the run used the configured endpoint"
    );
    assert!(trap.requests().is_empty());
    assert!(
        !elsewhere.exists(),
        "the state directory of the .env was used"
    );

    // ${…} does not see it either.
    let home = Home::with_config(json!({"gateway": {"auth": {"token": "${NOT_SET_ELSEWHERE}"}}}));
    fs::write(home.path().join(".env"), &evil).unwrap();
    let output = home
        .run(&["gateway", "--port", &free_port().to_string()])
        .expect(78);
    assert!(output.stderr.contains("NOT_SET_ELSEWHERE"), "{output:?}");
}

#[test]
fn cf_01_the_state_directorys_dotenv_gives_values_but_no_paths_and_no_loader_variables() {
    let home = Home::with_config(json!({"gateway": {"auth": {"token": "${FROM_STATE_ENV}"}}}));
    let elsewhere = home.path().join("elsewhere");
    let text = format!(
        "# comment\nFROM_STATE_ENV=\"token-of-the-state-env\"\nOPENCLAW_STATE_DIR={0}\nOPENCLAW_CONFIG_PATH={0}/x.json\n\
         OPENCLAW_HOME={0}\nLD_PRELOAD=/nonexistent.so\nPATH=/nonexistent\n",
        elsewhere.display()
    );
    fs::write(home.state().join(".env"), text).unwrap();
    let gateway = home.start();
    assert!(accepts(gateway.port(), "token-of-the-state-env"));
    assert!(!elsewhere.exists());

    // What is in the process environment already stays.
    let mut home = Home::with_config(json!({"gateway": {"auth": {"token": "${FROM_STATE_ENV}"}}}));
    fs::write(
        home.state().join(".env"),
        "FROM_STATE_ENV=token-of-the-state-env\n",
    )
    .unwrap();
    home.set("FROM_STATE_ENV", "token-of-the-process");
    let gateway = home.start();
    assert!(accepts(gateway.port(), "token-of-the-process"));
    assert!(!accepts(gateway.port(), "token-of-the-state-env"));
}

#[test]
fn cf_02_config_cannot_set_loader_and_interpreter_variables() {
    // That children of tools and the service unit lack them too is issues C and D.
    let names = [
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "PATH",
        "NODE_OPTIONS",
        "BASH_ENV",
        "PYTHONPATH",
        "ld_preload",
    ];
    for name in names {
        for block in [json!({"vars": {name: "/evil"}}), json!({name: "/evil"})] {
            let mut home = Home::with_config(
                json!({"env": block, "gateway": {"auth": {"token": "${SAFE}-${SAFE}"}}}),
            );
            home.set("SAFE", "0123456789");
            let gateway = home.start();
            assert!(accepts(gateway.port(), "0123456789-0123456789"));
            assert!(
                gateway.output().contains(name) || home.log().contains(name),
                "no warning names {name}:{}",
                gateway.output()
            );
        }
    }
    // The value is not to be had through ${…} either.
    for name in ["LD_PRELOAD", "NODE_OPTIONS", "BASH_ENV"] {
        let home = Home::with_config(json!({
            "env": {"vars": {name: "evil-value"}},
            "gateway": {"auth": {"token": format!("${{{name}}}")}},
        }));
        let output = home
            .run(&["gateway", "--port", &free_port().to_string()])
            .expect(78);
        assert!(output.stderr.contains(name), "{output:?}");
        assert!(!output.stderr.contains("evil-value"), "{output:?}");
    }
    // Names that are no names.
    for name in ["A=B", "TRAILING ", "", "NUL\u{0}"] {
        let home = Home::with_config(json!({"env": {"vars": {name: "x"}}}));
        let gateway = home.start();
        assert!(accepts(gateway.port(), TOKEN));
    }
    // The twin: an ordinary variable of the config.
    let home = Home::with_config(json!({
        "env": {"vars": {"MINE": "0123456789"}, "OTHER": "abcdef"},
        "gateway": {"auth": {"token": "${MINE}-${OTHER}"}},
    }));
    let gateway = home.start();
    assert!(accepts(gateway.port(), "0123456789-abcdef"));
}

#[test]
fn cf_03_the_shell_variable_is_not_executed() {
    for enabled in [json!({"shellEnv": {"enabled": true}}), json!({})] {
        let mut home = Home::with_config(json!({"env": enabled}));
        let shell = home.path().join("evil-shell");
        let mark = home.path().join("executed");
        fs::write(&shell, format!("#!/bin/sh\n: > {}\n", mark.display())).unwrap();
        fs::set_permissions(&shell, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(
            home.path().join(".profile"),
            format!(": > {}\n", mark.display()),
        )
        .unwrap();
        home.set("SHELL", shell.to_str().unwrap());
        home.set("OPENCLAW_LOAD_SHELL_ENV", "1");
        let gateway = home.start();
        assert!(accepts(gateway.port(), TOKEN));
        assert_eq!(gateway.stop(), Some(0));
        assert!(!mark.exists(), "something was executed");
    }
}

#[test]
fn cf_04_includes_stay_inside_the_config_folder() {
    let outside = Home::new();
    fs::write(
        outside.path().join("secret.json5"),
        "{ gateway: { port: 'canary-7171' } }",
    )
    .unwrap();

    // What stands in the config folder besides the config, and the include that reaches for it.
    let cases: Vec<(&str, String)> = vec![
        ("absolute", "/etc/passwd".into()),
        (
            "absolute",
            outside.path().join("secret.json5").to_str().unwrap().into(),
        ),
        ("parent", "../secret.json5".into()),
        ("link", "./link.json5".into()),
        ("linked folder", "./folder/secret.json5".into()),
        ("fifo", "./fifo.json5".into()),
        ("chain", "./d1.json5".into()),
        ("cycle", "./cycle.json5".into()),
        ("big", "./big.json5".into()),
        ("missing", "./missing.json5".into()),
    ];
    for (what, include) in &cases {
        let home = Home::with_config(json!({"$include": include}));
        let state = home.state();
        fs::write(
            home.path().join("secret.json5"),
            "{ gateway: { port: 'canary-7171' } }",
        )
        .unwrap();
        symlink(
            outside.path().join("secret.json5"),
            state.join("link.json5"),
        )
        .unwrap();
        symlink(outside.path(), state.join("folder")).unwrap();
        let made = std::process::Command::new("mkfifo")
            .arg(state.join("fifo.json5"))
            .status()
            .unwrap();
        assert!(made.success());
        for depth in 1..=10 {
            fs::write(
                state.join(format!("d{depth}.json5")),
                format!("{{$include: './d{}.json5'}}", depth + 1),
            )
            .unwrap();
        }
        fs::write(state.join("d11.json5"), "{}").unwrap();
        fs::write(state.join("cycle.json5"), "{$include: './openclaw.json'}").unwrap();
        let big = fs::File::create(state.join("big.json5")).unwrap();
        big.set_len(100 << 20).unwrap();

        let output = home
            .run(&["gateway", "--port", &free_port().to_string()])
            .expect(78);
        let shown = format!("{}{}", output.stdout, output.stderr);
        let name = include.rsplit('/').next().unwrap();
        let named = if *what == "chain" { "d1" } else { name };
        assert!(
            shown.contains(named),
            "{what}: the message does not name {named}: {shown}"
        );
        assert!(
            !shown.contains("canary-7171") && !shown.contains("root:x:"),
            "{what}: the content is shown: {shown}"
        );
    }

    // The same through config.set: refused, nothing written, nothing shown.
    let home = Home::with_config(json!({}));
    fs::write(
        home.path().join("secret.json5"),
        "{ gateway: { port: 'canary-7171' } }",
    )
    .unwrap();
    symlink(
        outside.path().join("secret.json5"),
        home.state().join("link.json5"),
    )
    .unwrap();
    let gateway = home.start();
    let mut admin = gateway.admin();
    let before = home.config_text();
    for include in ["/etc/passwd", "../secret.json5", "./link.json5"] {
        let hash = ok(&admin.call("config.get", json!({})))["hash"].clone();
        let raw = home.config(json!({"$include": include})).to_string();
        let response = admin.call("config.set", json!({"raw": raw, "baseHash": hash}));
        refused(&response);
        let text = response.to_string();
        assert!(
            !text.contains("canary-7171") && !text.contains("root:x:"),
            "{text}"
        );
        assert_eq!(home.config_text(), before);
    }

    // The twin: files inside, nested as deep as allowed.
    let home = Home::with_config(json!({"gateway": {"auth": {"$include": "./i1.json5"}}}));
    for depth in 1..=9 {
        fs::write(
            home.state().join(format!("i{depth}.json5")),
            format!("{{$include: './i{}.json5'}}", depth + 1),
        )
        .unwrap();
    }
    fs::write(
        home.state().join("i10.json5"),
        "{mode: 'token', token: 'included-token-1'}",
    )
    .unwrap();
    let gateway = {
        let mut config = home.config(json!({}));
        config["gateway"]["auth"] = json!({"$include": "./i1.json5"});
        home.write_config(&config);
        home.start()
    };
    assert!(accepts(gateway.port(), "included-token-1"));
}

#[test]
fn cf_05_writing_the_config_keeps_references_and_includes() {
    const SECRET: &str = "resolved-secret-0123456789";
    let mut home = Home::new();
    home.set("TOK", SECRET);
    fs::create_dir_all(home.state()).unwrap();
    fs::write(
        home.state().join("models.json5"),
        "{ mode: 'merge', /* mine */ providers: {} }\n",
    )
    .unwrap();
    let text = "// the gateway of the attic\n{\n  gateway: {\n    mode: 'local', // here\n    auth: { mode: 'token', token: \"${TOK}\" },\n  },\n\
        \x20 models: { $include: './models.json5' },\n  logging: { level: 'info' },\n}\n";
    home.write_config_text(text);
    let gateway = home.start_with(&["--verbose"]);
    assert!(accepts(gateway.port(), SECRET));

    // Everything under the state directory, backups included, but for the logs.
    let no_secret = |when: &str| {
        for (path, content) in home.snapshot() {
            let text = String::from_utf8_lossy(&content);
            assert!(
                !text.contains(SECRET),
                "{when}: the resolved secret is in {}",
                path.display()
            );
        }
        let now = home.config_text();
        assert!(now.contains("\"${TOK}\""), "{when}: {now}");
        assert!(now.contains("$include: './models.json5'"), "{when}: {now}");
        assert!(
            now.starts_with("// the gateway of the attic\n")
                && now.contains("mode: 'local', // here"),
            "{when}: {now}"
        );
    };
    let who = Connect::operator().auth(json!({"token": SECRET}));
    let mut admin = Client::connect(gateway.port(), &who, Some(&Device::new()));
    let hash = ok(&admin.call("config.get", json!({})))["hash"].clone();
    let patch = json!({"raw": "{logging: {consoleLevel: 'warn'}}", "baseHash": hash, "restartDelayMs": 60000});
    ok(&admin.call("config.patch", patch));
    no_secret("after config.patch");
    assert!(home.config_text().contains("consoleLevel"));

    home.run(&["config", "set", "session.idleMinutes", "90"])
        .expect(0);
    no_secret("after config set");
    home.run(&[
        "config",
        "set",
        "gateway.auth.rateLimit",
        "{maxAttempts: 5}",
    ])
    .expect(0);
    no_secret("after a config set beside the reference");
    home.run(&["config", "unset", "session.idleMinutes"])
        .expect(0);
    no_secret("after config unset");

    // A client sends back what it was shown, with the secret redacted or as the reference.
    let shown = ok(&admin.call("config.get", json!({})));
    let set = json!({"raw": shown["raw"], "baseHash": shown["hash"]});
    ok(&admin.call("config.set", set));
    no_secret("after config.set of what config.get showed");

    let backups = home
        .snapshot()
        .into_keys()
        .filter(|path| path.to_string_lossy().contains("openclaw.json.bak"))
        .count();
    assert!(backups >= 3, "{backups} backups");
}

#[test]
fn a_gateway_without_token_accepts_the_one_from_the_environment() {
    let mut home = Home::with_config(tokenless());
    home.set("OPENCLAW_GATEWAY_TOKEN", "token-from-the-environment");
    let gateway = home.start();
    assert!(accepts(gateway.port(), "token-from-the-environment"));
    assert!(!accepts(gateway.port(), "another"));
}
