//! Commands on a session in a state directory of their own.

use super::*;
use crate::agent::run::Deps;
use crate::agent::tools;
use crate::config::{self, Env, Locations};
use crate::state::system_events::SystemEvents;
use crate::state::transcript;
use crate::state::{Paths, sessions};
use crate::sys::{file, id};
use std::path::PathBuf;

const CONFIG: &str =
    "{models: {providers: {stub: {baseUrl: 'http://127.0.0.1:1/v1', api: 'openai-completions',
    models: [{id: 'one', name: 'One', contextWindow: 128000}, {id: 'two', name: 'Two'}]}}},
    agents: {defaults: {model: {primary: 'stub/one'}}}}";

struct Fixture {
    runs: Arc<Runs>,
    home: PathBuf,
}

impl Fixture {
    fn new() -> Fixture {
        let home = std::env::temp_dir().join(format!("openclaw-commands-{}", id::uuid()));
        file::make_private_dir(&home).unwrap();
        let mut env = Env::default();
        env.set("HOME", home.to_str().unwrap());
        let locations = Locations::from_env(&env);
        let paths = Paths::new(&locations.state_dir);
        let config = Arc::new(Config::from_text(CONFIG));
        let runs = Runs::new(Deps {
            config: Arc::new(config::Store::new(config)),
            sessions: Arc::new(sessions::Store::new(paths.clone())),
            notes: Arc::new(SystemEvents::open(paths.system_events())),
            tools: tools::Registry::new(),
            events: Arc::new(|_| {}),
            locations,
            paths,
        });
        Fixture { runs, home }
    }

    fn send(&self, scope: &str, message: &str) -> Result<Intercepted, RpcError> {
        let scopes = Scopes::from_words([scope]);
        let caller = Caller {
            client_id: "cli",
            scopes: &scopes,
        };
        intercept(&self.runs, &caller, &place(), message)
    }

    /// What an admin is answered.
    fn says(&self, message: &str) -> String {
        match self.send("operator.admin", message).unwrap() {
            Intercepted::Reply(said) => said.text,
            Intercepted::Run(text) => format!("run: {text}"),
            Intercepted::No => "not a command".into(),
        }
    }

    fn entry(&self) -> Option<Entry> {
        self.runs.deps().sessions.get("agent:main:k").unwrap()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

fn place() -> Place {
    Place {
        agent: "main".into(),
        key: "agent:main:k".into(),
        sent_key: "K".into(),
    }
}

#[test]
fn stop_words_are_whole_messages() {
    for word in [
        "/stop",
        "Stop!",
        " please  STOP...",
        "stop don\u{2019}t do anything",
        "wait",
    ] {
        assert!(is_stop(word), "{word}");
    }
    for word in ["stop it", "/stop now", "don't stop", "", "!"] {
        assert!(!is_stop(word), "{word}");
    }
}

#[test]
fn what_is_no_command_goes_to_the_model() {
    let f = Fixture::new();
    for message in [
        "hello",
        "/frobnicate",
        "a /status",
        "/",
        "/newx",
        "//status",
    ] {
        assert_eq!(f.says(message), "not a command", "{message}");
    }
    assert!(f.entry().is_none(), "nothing was made for it");
}

#[test]
fn answers_are_told_and_stored_but_not_shown_to_a_model() {
    let f = Fixture::new();
    let Ok(Intercepted::Reply(said)) = f.send("operator.write", "/whoami") else {
        panic!("no answer");
    };
    let output = said.tell(&f.runs, "r1");
    let event: Value = serde_json::from_str(&output.payload).unwrap();
    assert_eq!(event["sessionKey"], "K");
    assert_eq!(
        (&event["seq"], &event["state"]),
        (&json!(1), &json!("final"))
    );
    let message = &event["message"];
    let text = "🧭 Identity\nChannel: webchat\nUser id: cli\nAllowFrom: cli";
    assert_eq!(message["content"], json!([{"type": "text", "text": text}]));
    assert_eq!(message["model"], "gateway-injected");
    assert_eq!(message.get(COMMAND_FIELD), None);
    let path = f
        .runs
        .deps()
        .sessions
        .transcript("agent:main:k", &f.entry().unwrap())
        .unwrap();
    let stored = transcript::last_messages(&path, 10, u64::MAX).unwrap();
    assert_eq!(stored[0]["content"], message["content"]);
    let model = crate::agent::model::Model::echo();
    assert!(
        crate::agent::history::load(&path, &model, 0)
            .unwrap()
            .is_empty()
    );
}

#[test]
fn sc_05_a_reset_by_text_needs_admin() {
    let f = Fixture::new();
    let before = f
        .runs
        .deps()
        .sessions
        .update("agent:main:k", |_| {})
        .unwrap();
    let scopes = Scopes::from_words(["operator.write"]);
    let caller = Caller {
        client_id: "cli",
        scopes: &scopes,
    };
    for message in ["/new", "/reset", "/new x", " /RESET", "/reset\nplease"] {
        let refused = f.send("operator.write", message).err().unwrap();
        assert_eq!(
            refused.message, "missing scope: operator.admin",
            "{message}"
        );
        let refused = before_agent(&f.runs, &caller, &place(), message).unwrap_err();
        assert_eq!(
            refused.message, "missing scope: operator.admin",
            "{message}"
        );
    }
    assert_eq!(f.entry().unwrap().session_id(), before.session_id());
    assert!(f.says("/new").starts_with("✅ New session started"));
    assert_ne!(f.entry().unwrap().session_id(), before.session_id());
}

#[test]
fn sc_07_a_command_does_no_more_than_its_sender_could() {
    let f = Fixture::new();
    for message in [
        "/think high",
        "/verbose full",
        "/reasoning on",
        "/usage full",
        "/send off",
        "/elevated on",
        "/model stub/two",
        "/compact",
        "/config set x=1",
        "/allowlist add telegram 1",
        "/bash ls",
    ] {
        let refused = f.send("operator.write", message).err().unwrap();
        assert_eq!(
            refused.message, "missing scope: operator.admin",
            "{message}"
        );
    }
    let refused = f
        .send("operator.write", "/approve x allow-once")
        .err()
        .unwrap();
    assert_eq!(refused.message, "missing scope: operator.approvals");
    assert!(f.entry().is_none());
    for message in ["/think", "/model", "/status", "/help"] {
        assert!(f.send("operator.write", message).is_ok(), "{message}");
    }
}

#[test]
fn settings_are_shown_and_changed() {
    let f = Fixture::new();
    for (message, want) in [
        (
            "/think",
            "Current thinking level: off.\nOptions: off, minimal, low, medium, high.",
        ),
        ("/think high", "Thinking level set to high."),
        (
            "/t",
            "Current thinking level: high.\nOptions: off, minimal, low, medium, high.",
        ),
        (
            "/think frob",
            "Unrecognized thinking level \"frob\". Valid levels: off, minimal, low, medium, high.",
        ),
        ("/verbose full", "⚙️ Verbose logging set to full."),
        (
            "/v",
            "Current verbose level: full.\nOptions: on, full, off.",
        ),
        ("/reasoning on", "⚙️ Reasoning visibility enabled."),
        ("/usage tokens", "⚙️ Usage footer: tokens."),
        ("/send off", "⚙️ Send policy set to off."),
        ("/send inherit", "⚙️ Send policy set to inherit."),
        (
            "/config show",
            "⚠️ /config is disabled. Set commands.config=true to enable.",
        ),
    ] {
        assert_eq!(f.says(message), want, "{message}");
    }
    let entry = f.entry().unwrap();
    assert_eq!(entry.text("thinkingLevel"), Some("high"));
    assert_eq!(entry.text("verboseLevel"), Some("full"));
    assert_eq!(entry.text("sendPolicy"), None);
}

#[test]
fn models_are_listed_and_chosen_among_those_allowed() {
    let f = Fixture::new();
    assert!(f.says("/model").starts_with("Current: stub/one\n"));
    assert_eq!(f.says("/model stub/two"), "Model set to stub/two.");
    assert!(f.says("/status").contains("Model: stub/two"));
    assert!(
        f.says("/model nope/x")
            .starts_with("Model \"nope/x\" is not allowed.")
    );
    assert_eq!(
        f.says("/model stub/one"),
        "Model reset to default (stub/one)."
    );
    assert_eq!(f.entry().unwrap().text("modelOverride"), None);
    assert!(f.says("/models").contains("- stub (2)"));
    assert!(f.says("/models stub").contains("- stub/two"));
    assert!(f.says("/models nope").starts_with("No models of"));
}

#[test]
fn a_reset_may_choose_a_model_or_go_on_with_a_text() {
    let f = Fixture::new();
    f.says("/think high");
    assert_eq!(f.says("/new hello there"), "run: hello there");
    assert_eq!(f.says("/reset stub/two and go"), "run: and go");
    assert_eq!(f.entry().unwrap().text("modelOverride"), Some("two"));
    assert_eq!(f.says("/new"), "✅ New session started · model: stub/two");
    assert_eq!(f.entry().unwrap().text("thinkingLevel"), Some("high"));
    let scopes = Scopes::from_words(["operator.admin"]);
    let caller = Caller {
        client_id: "cli",
        scopes: &scopes,
    };
    let before = |message| before_agent(&f.runs, &caller, &place(), message).unwrap();
    assert_eq!(before("hello"), None);
    assert_eq!(before("/new hi").as_deref(), Some("hi"));
    assert!(before("/reset").unwrap().contains("new session"));
}

#[test]
fn the_list_has_what_can_be_used() {
    let f = Fixture::new();
    let list = f.says("/commands");
    assert!(
        list.contains("/think (/thinking, /t) - How hard the model thinks."),
        "{list}"
    );
    assert!(!list.contains("/tts"));
    assert!(f.says("/help").contains("/commands"));
    assert!(
        f.says("/status")
            .contains("Session: agent:main:k • updated never")
    );
    assert!(f.says("/compact").contains("Nothing to compact"));
    assert!(f.says("/context").contains("0/128k (0%)"));
    let odd = format!("/model {}\u{1}", "x".repeat(1000));
    assert!(f.says(&odd).len() < 400);
}
