//! What is hidden, and that all of it comes back.

use super::*;
use crate::config::testing::Folder;
use serde_json::json;

#[test]
fn secrets_go_by_mark_by_name_and_where_nothing_is_known() {
    let shown = value(&json!({
        "gateway": {"port": 1, "auth": {"mode": "token", "token": "abc", "password": "${PW}"}},
        "models": {"providers": {"secretcorp": {
            "baseUrl": "http://me:pw@h/v1?api_key=k&x=1", "apiKey": "k",
            "headers": {"X": "v"}, "models": [{"id": "m", "name": "M", "headers": {"Y": "w"}}],
        }}},
        "env": {"vars": {"TZ": "x"}, "FOO": "bar", "shellEnv": {"enabled": false}},
        "browser": {"x": {"pin": 1, "password": 5, "name": "n"}},
        "channels": {"irc": {"nick": "n", "password": "p", "passwordFile": "/f",
                             "accounts": {"a": {"nickserv": {"password": "q"}}}},
                     "slack": {"botToken": "x"}},
        "agents": {"defaults": {"model": "a/b", "contextTokens": 5},
                   "list": [{"id": "a", "model": {"primary": "c/d"}}]},
        "skills": {"entries": {"s": {"apiKey": "", "env": {"K": "v"}, "config": {"a": ["b"]}}}},
        "ui": {"$include": "./ui.json5"},
    }));
    assert_eq!(
        shown,
        json!({
            "gateway": {"port": 1, "auth": {"mode": "token", "token": MARKER, "password": "${PW}"}},
            "models": {"providers": {"secretcorp": {
                "baseUrl": format!("http://{MARKER}@h/v1?api_key={MARKER}&x=1"), "apiKey": MARKER,
                "headers": {"X": MARKER}, "models": [{"id": "m", "name": "M", "headers": {"Y": MARKER}}],
            }}},
            "env": {"vars": {"TZ": MARKER}, "FOO": MARKER, "shellEnv": {"enabled": false}},
            "browser": {"x": {"pin": 1, "password": MARKER, "name": MARKER}},
            "channels": {"irc": {"nick": "n", "password": MARKER, "passwordFile": "/f",
                                 "accounts": {"a": {"nickserv": {"password": MARKER}}}},
                         "slack": {"botToken": MARKER}},
            "agents": {"defaults": {"model": "a/b", "contextTokens": 5},
                       "list": [{"id": "a", "model": {"primary": "c/d"}}]},
            "skills": {"entries": {"s": {"apiKey": "", "env": {"K": MARKER}, "config": {"a": [MARKER]}}}},
            "ui": {"$include": "./ui.json5"},
        })
    );
}

#[test]
fn sl_02_no_canary_of_a_secret_leaf_survives() {
    // Every text of the table gets a value of its own; those that are marked must be gone.
    let mut config = json!({});
    let mut canaries = Vec::new();
    for row in schema::rows() {
        let is_text =
            matches!(row.field.kind, Kind::Text(_)) || matches!(row.field.kind, Kind::Any);
        if !is_text || row.path.contains("[]") {
            continue;
        }
        let canary = format!("canary-{}-end", canaries.len());
        let mut at = &mut config;
        for step in row.path.split('.') {
            at = at
                .as_object_mut()
                .unwrap()
                .entry(step)
                .or_insert_with(|| json!({}));
        }
        *at = canary.clone().into();
        let secret = row.field.secret || matches!(row.field.kind, Kind::Any);
        canaries.push((canary, secret, row.path));
    }
    let shown = value(&config).to_string();
    for (canary, secret, path) in &canaries {
        let gone = *secret || is_secret_name(path.rsplit('.').next().unwrap());
        assert_eq!(shown.contains(canary), !gone, "{path}");
    }
    assert!(canaries.iter().filter(|c| c.1).count() > 20);
}

#[test]
fn the_text_keeps_everything_but_the_secrets() {
    let dir = Folder::new();
    let raw = "// the token is hunter2-long, do not tell\n{\n  gateway: {\n    // rt\n    \
               auth: { token: 'hunter2-long', password: \"${PW}\" },\n  },\n  \
               update: { checkOnStart: false }, // rt\n  hooks: { token: 'rt' , enabled: true, path: '/x' },\n}\n";
    let loaded = dir.load(raw, &[("PW", "from-the-environment")]);
    assert_eq!(loaded.issues, []);
    let expected = raw
        .replace("is hunter2-long", &format!("is {MARKER}"))
        .replace("'hunter2-long'", &format!("\"{MARKER}\""))
        .replace("'rt'", &format!("\"{MARKER}\""));
    assert_eq!(text(raw, &loaded.config), expected);
}

#[test]
fn secrets_of_included_files_and_of_repeated_names_go_from_the_text_as_well() {
    let dir = Folder::new();
    dir.write("t.json5", "{token: 'included-secret'}");
    let raw = "{hooks: {$include: './t.json5'}, // included-secret\n gateway: {auth: {token: 'shadowed', \
               token: 'x'}}}";
    let loaded = dir.load(raw, &[]);
    assert_eq!(loaded.issues, []);
    let shown = text(raw, &loaded.config);
    for secret in ["included-secret", "shadowed", "'x'"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(shown.contains("./t.json5"));
    assert_eq!(
        text("{gateway: {auth: {token: 'oops'", &loaded.config),
        MARKER
    );
}

#[test]
fn ordinary_words_at_unknown_places_do_not_mangle_the_rest() {
    let dir = Folder::new();
    let raw = "{browser: {name: 'openclaw'}, env: {TZ: 'Europe/Paris'}, // openclaw in Europe/Paris\n \
               logging: {file: '/tmp/openclaw/x.log'}}";
    let loaded = dir.load(raw, &[]);
    let expected = raw
        .replace("'openclaw'", &format!("\"{MARKER}\""))
        .replace("'Europe/Paris'", &format!("\"{MARKER}\""));
    assert_eq!(text(raw, &loaded.config), expected);
}

fn old(dir: &Folder) -> std::sync::Arc<Config> {
    let loaded = dir.load(
        "{gateway: {auth: {token: 'real', password: 'x${PW}'}},
          cron: {webhook: 'https://u:p@h/x'},
          models: {providers: {p: {baseUrl: '${URL}', apiKey: 'k1', models: [
            {id: 'one', name: 'n', headers: {A: 'h1'}}, {id: 'two', name: 'n', headers: {A: 'h2'}}]}}}}",
        &[("PW", "word"), ("URL", "http://h/v1")],
    );
    assert_eq!(loaded.issues, []);
    loaded.config
}

#[test]
fn what_was_hidden_comes_back() {
    let dir = Folder::new();
    let old = old(&dir);
    for source in [old.parsed(), old.resolved()] {
        let shown = value(source);
        assert!(shown.to_string().contains(MARKER));
        assert_eq!(restore(&shown, &old).as_ref(), Ok(old.parsed()));
    }
    let mut shown = value(old.parsed());
    shown["models"]["providers"]["p"]["models"]
        .as_array_mut()
        .unwrap()
        .remove(0);
    let back = restore(&shown, &old).unwrap();
    let models = &back["models"]["providers"]["p"]["models"];
    assert_eq!(
        models[0]["headers"]["A"], "h2",
        "entries are found by their id"
    );
}

#[test]
fn a_marker_without_a_secret_behind_it_is_refused() {
    let dir = Folder::new();
    let old = old(&dir);
    let new = json!({"channels": {"telegram": {"botToken": MARKER}}});
    assert_eq!(
        restore(&new, &old).unwrap_err().to_string(),
        "Sentinel value \"__OPENCLAW_REDACTED__\" in key channels.telegram.botToken is not valid as \
         real data"
    );
    for bad in [format!("x{MARKER}"), format!("https://{MARKER}@other/x")] {
        assert!(restore(&json!({"cron": {"webhook": bad}}), &old).is_err());
    }
}

#[test]
fn a_text_round_trip_changes_nothing() {
    let dir = Folder::new();
    let old = old(&dir);
    let raw = old.raw().unwrap();
    let back = restore_text(&text(raw, &old), &old).unwrap();
    assert_eq!(json5::value(&back), json5::value(raw));
    let edited = text(raw, &old)
        .replace("'n'", "'new' /* why */")
        .replace("'${URL}'", "'http://h/v1'");
    let back = restore_text(&edited, &old).unwrap();
    assert!(
        back.contains("'new' /* why */") && back.contains("${URL}"),
        "{back}"
    );
    assert!(
        back.contains("\"real\"") && back.contains("\"x${PW}\""),
        "{back}"
    );
}
