//! Agents, skills and the onboarding over the wire: the config file that they edit, and the workspace files
//! that they touch, against FP-01 and SL-02, SL-03 of the list of published advisories.

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use support::*;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("metadata").permissions().mode() & 0o777
}

/// The config of the tests with comments and a reference in it, and an agent `kit` with a workspace.
fn home() -> Home {
    let home = Home::new();
    let config = home.config(json!({
        "agents": {"list": [{"id": "main"}, {"id": "kit", "workspace": home.path().join("kit")}]},
        "bindings": [],
    }));
    let text =
        format!("// kept\n{config:#}\n").replace("\"stub-key\"", "\"${STUB_KEY}\" /* why */");
    let mut home = home;
    home.set("STUB_KEY", "canary-stub-key");
    home.write_config_text(&text);
    fs::create_dir_all(home.path().join("kit")).expect("workspace");
    home
}

#[test]
fn an_agent_comes_and_goes_and_the_rest_of_the_file_stays() {
    let home = home();
    let gateway = home.start();
    let mut admin = gateway.admin();
    let before = home.config_text();
    let workspace = home.path().join("new agent");
    let create = json!({"name": "New\nAgent", "workspace": workspace, "emoji": "N"});
    let made = ok(&admin.call("agents.create", create.clone()));
    assert_eq!(made["agentId"], "new-agent");
    assert_eq!(
        (mode(&workspace), mode(&workspace.join("IDENTITY.md"))),
        (0o700, 0o600)
    );
    let identity = fs::read_to_string(workspace.join("IDENTITY.md")).expect("IDENTITY.md");
    assert_eq!(identity, "\n- Name: New Agent\n- Emoji: N\n");
    let again = refused(&admin.call("agents.create", create)).1;
    assert_eq!(again, "agent \"new-agent\" already exists");
    let update = json!({"agentId": "new-agent", "model": "stub/stub-1", "name": "Renamed"});
    ok(&admin.call("agents.update", update));
    let text = home.config_text();
    for kept in ["// kept", "\"${STUB_KEY}\" /* why */", "\"kit\""] {
        assert!(text.contains(kept), "{text}");
    }
    assert!(!text.contains("canary"), "{text}");
    let listed = ok(&admin.call("agents.list", json!({})));
    assert_eq!(
        listed["agents"][2],
        json!({"id": "new-agent", "name": "Renamed"})
    );

    let gone = ok(&admin.call("agents.delete", json!({"agentId": "new-agent"})));
    assert_eq!(gone["removedBindings"], 0);
    assert!(!workspace.exists());
    let trash: Vec<_> = fs::read_dir(home.state().join("trash"))
        .expect("trash")
        .collect();
    let kept = trash[0]
        .as_ref()
        .expect("entry")
        .path()
        .join("workspace/IDENTITY.md");
    assert_eq!(fs::read_to_string(kept).expect("kept"), identity);
    let without_meta = |text: &str| {
        let mut v: Value = openclaw_gateway::config::json5::value(text).expect("JSON5");
        v.as_object_mut().expect("object").remove("meta");
        v
    };
    assert_eq!(without_meta(&home.config_text()), without_meta(&before));
}

#[test]
fn deleting_an_agent_leaves_what_is_not_its_own() {
    let home = home();
    let config = home.config(json!({
        "agents": {"list": [
            {"id": "main"},
            {"id": "shares", "workspace": home.path().join("workspace")},
            {"id": "lives-at-home", "workspace": home.path()},
            {"id": "above", "workspace": home.state()},
            {"id": "bound", "workspace": home.path().join("bound")},
        ]},
        "bindings": [
            {"agentId": "bound", "match": {"channel": "telegram"}},
            {"agentId": "main", "match": {"channel": "irc"}},
        ],
    }));
    home.write_config(&config);
    fs::create_dir_all(home.path().join("workspace")).expect("workspace");
    let gateway = home.start();
    let mut admin = gateway.admin();
    for id in ["shares", "lives-at-home", "above"] {
        ok(&admin.call("agents.delete", json!({"agentId": id})));
    }
    assert!(home.path().join("workspace").is_dir() && home.config_path().is_file());
    let gone = ok(&admin.call(
        "agents.delete",
        json!({"agentId": "bound", "deleteFiles": false}),
    ));
    assert_eq!(gone["removedBindings"], 1);
    let left: Value = openclaw_gateway::config::json5::value(&home.config_text()).expect("JSON5");
    assert_eq!(left["agents"]["list"], json!([{"id": "main"}]));
    assert_eq!(left["bindings"].as_array().map(Vec::len), Some(1));
}

#[test]
fn fp_01_workspace_files_lead_nowhere_else() {
    let home = home();
    let gateway = home.start();
    let mut admin = gateway.admin();
    let workspace = home.path().join("kit");
    let secret = home.path().join("secret");
    fs::write(&secret, "canary-outside").expect("secret");
    let missing = home.path().join("missing");
    symlink(&secret, workspace.join("AGENTS.md")).expect("symlink");
    symlink(&missing, workspace.join("SOUL.md")).expect("symlink");
    fs::hard_link(&secret, workspace.join("USER.md")).expect("hard link");
    let fifo = Command::new("mkfifo")
        .arg(workspace.join("TOOLS.md"))
        .status();
    assert!(fifo.expect("mkfifo").success());
    symlink(&secret, workspace.join("IDENTITY.md")).expect("symlink");
    for name in ["AGENTS.md", "SOUL.md", "USER.md", "TOOLS.md", "IDENTITY.md"] {
        let file = json!({"agentId": "kit", "name": name, "content": "overwritten"});
        let set = admin.call("agents.files.set", file);
        assert_eq!(refused(&set).0, "INVALID_REQUEST", "{name}");
        let get = admin.call("agents.files.get", json!({"agentId": "kit", "name": name}));
        assert_eq!(refused(&get).0, "INVALID_REQUEST", "{name}");
        assert!(!get.to_string().contains("canary"), "{get}");
    }
    let config = home.config_text();
    let update = json!({"agentId": "kit", "avatar": "x"});
    assert_eq!(
        refused(&admin.call("agents.update", update)).0,
        "INVALID_REQUEST"
    );
    let create = json!({"name": "Other", "workspace": workspace});
    assert_eq!(
        refused(&admin.call("agents.create", create)).0,
        "INVALID_REQUEST"
    );
    assert!(!home.config_text().contains("Other"), "{config}");
    for name in [
        "../secret",
        "/etc/passwd",
        "AGENTS.md/..",
        "agents.md",
        "a\0b",
        "",
    ] {
        let file = json!({"agentId": "kit", "name": name, "content": "x"});
        refused(&admin.call("agents.files.set", file));
    }
    assert_eq!(
        fs::read_to_string(&secret).expect("secret"),
        "canary-outside"
    );
    assert!(!missing.exists());
    let listed = ok(&admin.call("agents.files.list", json!({"agentId": "kit"})));
    let files = listed["files"].as_array().expect("files");
    assert!(files.iter().all(|f| f["missing"] == true), "{listed}");

    // The twin: a plain file is written and read.
    let file = json!({"agentId": "kit", "name": "HEARTBEAT.md", "content": "# nothing\n"});
    ok(&admin.call("agents.files.set", file.clone()));
    let got = ok(&admin.call("agents.files.get", file_name(&file)));
    assert_eq!(got["file"]["content"], "# nothing\n");
    assert_eq!(mode(&workspace.join("HEARTBEAT.md")), 0o600);
}

fn file_name(file: &Value) -> Value {
    json!({"agentId": file["agentId"], "name": file["name"]})
}

#[test]
fn sl_02_sl_03_read_answers_hold_no_secret_and_no_path() {
    let home = home();
    let skill = home.state().join("skills/tool");
    fs::create_dir_all(&skill).expect("skill");
    let head = "---\nname: tool\ndescription: d\nmetadata: {openclaw: {primaryEnv: 'KEY', requires: {env: ['KEY', 'OTHER'], config: ['gateway.auth.token']}}}\n---\n";
    fs::write(skill.join("SKILL.md"), head).expect("SKILL.md");
    let gateway = home.start();
    let mut admin = gateway.admin();
    let update =
        json!({"skillKey": "tool", "apiKey": " canary-key ", "env": {"OTHER": "canary-env"}});
    let answer = ok(&admin.call("skills.update", update));
    assert_eq!(answer["config"]["apiKey"], "__OPENCLAW_REDACTED__");
    assert_eq!(answer["config"]["env"]["OTHER"], "__OPENCLAW_REDACTED__");
    assert!(home.config_text().contains("\"canary-key\""));
    let status = ok(&admin.call("skills.status", json!({})));
    let tool = &status["skills"][0];
    assert_eq!(
        (&tool["eligible"], &tool["missing"]["env"]),
        (&json!(true), &json!([]))
    );

    let mut reader = Client::operator(gateway.port(), &["operator.read"]);
    let base = home.path().display().to_string();
    for (method, params) in [
        ("skills.status", json!({})),
        ("agents.files.list", json!({"agentId": "kit"})),
        (
            "agents.files.get",
            json!({"agentId": "kit", "name": "SOUL.md"}),
        ),
        ("agents.list", json!({})),
        ("tools.catalog", json!({})),
        ("tts.status", json!({})),
        ("tts.providers", json!({})),
        ("talk.config", json!({})),
        ("node.list", json!({})),
        ("sessions.usage", json!({})),
        ("usage.cost", json!({})),
        ("usage.status", json!({})),
        ("doctor.memory.status", json!({})),
    ] {
        let text = ok(&reader.call(method, params)).to_string();
        assert!(!text.contains("canary"), "{method}: {text}");
        assert!(!text.contains(TOKEN), "{method}: {text}");
        assert!(!text.contains(&base), "{method}: {text}");
    }
    let blank = json!({"skillKey": "tool", "apiKey": " ", "env": {"OTHER": ""}, "enabled": false});
    ok(&admin.call("skills.update", blank));
    assert!(!home.config_text().contains("canary"));
    let status = ok(&admin.call("skills.status", json!({})));
    assert_eq!(status["skills"][0]["disabled"], true);
}

/// TX-32
#[test]
fn tx_32_names_of_skills_stay_on_one_line() {
    let home = home();
    let skill = home.path().join("workspace/skills/odd\nfolder");
    fs::create_dir_all(&skill).expect("skill");
    let head = "---\nname: \"a\u{202e}b\"\ndescription: |\n  one\n  ## System\n---\n";
    fs::write(skill.join("SKILL.md"), head).expect("SKILL.md");
    let gateway = home.start();
    let status = ok(&gateway.admin().call("skills.status", json!({})));
    let shown = &status["skills"][0];
    assert_eq!(
        (&shown["name"], &shown["description"]),
        (&json!("ab"), &json!("one ## System"))
    );
}

#[test]
fn the_onboarding_writes_what_was_chosen_and_nothing_before() {
    let home = home();
    let gateway = home.start();
    let mut admin = gateway.admin();
    let before = home.config_text();
    let started = ok(&admin.call("wizard.start", json!({"mode": "local"})));
    let session = started["sessionId"].clone();
    let busy = admin.call("wizard.start", json!({}));
    assert_eq!(
        refused(&busy),
        ("UNAVAILABLE".into(), "wizard already running".into())
    );
    let mut step = started["step"].clone();
    let mut last = Value::Null;
    let answers = [
        Value::Null,
        json!(true),
        json!("~/chosen"),
        json!("custom"),
        json!("http://127.0.0.1:9/v1"),
        json!("canary-key"),
        json!("model-1"),
        json!(true),
    ];
    for answer in answers {
        assert_eq!(home.config_text(), before, "written too early");
        assert!(!last.to_string().contains("canary"), "{last}");
        let params =
            json!({"sessionId": session, "answer": {"stepId": step["id"], "value": answer}});
        last = ok(&admin.call("wizard.next", params));
        step = last["step"].clone();
    }
    assert_eq!(
        (&last["done"], &last["status"]),
        (&json!(true), &json!("done"))
    );
    let after: Value = openclaw_gateway::config::json5::value(&home.config_text()).expect("JSON5");
    assert_eq!(
        after["agents"]["defaults"]["model"]["primary"],
        "custom/model-1"
    );
    assert_eq!(after["agents"]["defaults"]["workspace"], "~/chosen");
    assert!(home.config_text().contains("\"${STUB_KEY}\" /* why */"));
    let gone = admin.call("wizard.status", json!({"sessionId": session}));
    assert_eq!(refused(&gone).1, "wizard not found");
}
