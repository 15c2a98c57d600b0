//! Writes, refusals, backups, and writers at the same time.

use super::*;
use crate::config::edit;
use crate::config::testing::Folder;
use std::os::unix::fs::MetadataExt;

fn hash(text: &str) -> String {
    crate::sys::id::sha256_hex(text.as_bytes())
}

fn read(dir: &Folder, name: &str) -> String {
    fs::read_to_string(dir.path().join(name)).unwrap()
}

fn audit(dir: &Folder) -> Vec<Value> {
    let text = read(dir, AUDIT_LOG);
    text.lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect()
}

#[test]
fn a_write_is_stamped_checked_backed_up_and_recorded() {
    let dir = Folder::new();
    let at = dir.locations(&[]);
    let old = "// mine\n{gateway: {mode: 'local', port: 1}}\n";
    dir.write("openclaw.json", old);
    fs::set_permissions(
        &at.config_path,
        std::os::unix::fs::PermissionsExt::from_mode(0o644),
    )
    .unwrap();
    let new = old.replace("port: 1", "port: 2");
    let done = write(&at, Some(&hash(old)), &new, "test").unwrap();

    let text = read(&dir, "openclaw.json");
    assert!(
        text.starts_with("// mine\n{gateway: {mode: 'local', port: 2}, meta: {"),
        "{text}"
    );
    assert_eq!(done.config.raw(), Some(text.as_str()));
    assert_eq!(done.config.hash(), hash(&text));
    assert_eq!(done.config.str("meta.lastTouchedVersion"), Some(VERSION));
    assert_eq!(read(&dir, "openclaw.json.bak"), old);
    for name in ["openclaw.json", "openclaw.json.bak", AUDIT_LOG] {
        let mode = fs::metadata(dir.path().join(name)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let path = at.config_path.display();
    assert_eq!(
        done.notices,
        [
            format!(
                "Config overwrite: {path} (sha256 {} -> {}, backup={path}.bak, changedPaths=2)",
                hash(old),
                hash(&text)
            ),
            format!("Config write anomaly: {path} (missing-meta-before-write)"),
        ]
    );
    let line = &audit(&dir)[0];
    assert_eq!(line["event"], "config.write");
    assert_eq!(line["previousHash"], hash(old));
    assert_eq!(line["nextHash"], hash(&text));
    assert_eq!(
        (&line["result"], &line["actor"]),
        (&json!("rename"), &json!("test"))
    );
    assert_eq!(line["gatewayModeBefore"], "local");
}

#[test]
fn only_the_expected_content_is_replaced() {
    let dir = Folder::new();
    let at = dir.locations(&[]);
    dir.write("openclaw.json", "{}");
    let error = write(&at, Some(&hash("{ }")), "{}", "test").unwrap_err();
    assert_eq!(
        error.to_string(),
        "config changed since last load; re-run config.get and retry"
    );
    write(&at, Some(&hash("{}")), "{}", "test").unwrap();
    assert!(matches!(
        write(&at, Some(&hash("{}")), "{}", "test"),
        Err(WriteError::Changed)
    ));
    write(&at, None, "{}", "test").unwrap();
}

#[test]
fn what_is_wrong_is_not_written() {
    let dir = Folder::new();
    let at = dir.locations(&[]);
    dir.write("openclaw.json", "{}");
    let error = |text: &str| write(&at, None, text, "test").unwrap_err().to_string();
    assert_eq!(
        error("{bogus: 1}"),
        "Config validation failed: <root>: Unrecognized key: \"bogus\""
    );
    assert_eq!(
        error("{ not json"),
        "SyntaxError: JSON5: invalid character 'j' at 1:7"
    );
    assert_eq!(
        error("{gateway: {auth: {token: '${MISSING}'}}}"),
        "Config validation failed: <root>: Missing env var \"MISSING\" referenced at config path: \
         gateway.auth.token"
    );
    assert_eq!(
        error("{channels: {telegram: {dmPolicy: 'open'}}}"),
        "Config validation failed: channels.telegram.allowFrom: channels.telegram.dmPolicy=\"open\" \
         requires channels.telegram.allowFrom to include \"*\"\n\nFix with:\n  openclaw config set \
         channels.telegram.allowFrom '[\"*\"]'\n\nOr switch policy:\n  openclaw config set \
         channels.telegram.dmPolicy \"pairing\""
    );
    assert!(error("{hooks: {$include: '/etc/passwd'}}").contains("escapes config directory"));
    assert!(error("[]").contains("expected object, received array"));
    assert_eq!(read(&dir, "openclaw.json"), "{}");
    assert!(!dir.path().join("openclaw.json.bak").exists());
}

#[test]
fn five_backups_are_kept() {
    let dir = Folder::new();
    let at = dir.locations(&[]);
    for port in 1..=7 {
        write(&at, None, &format!("{{gateway: {{port: {port}}}}}"), "test").unwrap();
    }
    for (name, port) in [("", 7), (".bak", 6), (".bak.1", 5), (".bak.4", 2)] {
        let text = read(&dir, &format!("openclaw.json{name}"));
        assert!(text.contains(&format!("port: {port}")), "{name}: {text}");
    }
    assert!(!dir.path().join("openclaw.json.bak.5").exists());
    assert_eq!(audit(&dir).len(), 7);
    assert_eq!(audit(&dir)[0]["existsBefore"], false);
}

#[test]
fn cf_05_references_survive_an_edit_in_the_file_and_in_its_backups() {
    let dir = Folder::new();
    let at = dir.locations(&[("TOK", "s3cret-value")]);
    dir.write("auth.json5", "{token: '${TOK}'}");
    dir.write(
        "openclaw.json",
        "{gateway: {auth: {$include: './auth.json5'}}, hooks: {token: '${TOK}'}}",
    );
    let patch = json!({"gateway": {"auth": {"token": "s3cret-value"}}, "hooks": {"token": "s3cret-value", "path": "/h"}});
    for _ in 0..2 {
        update(&at, "test", |config| edit::merge_patch(config, &patch)).unwrap();
    }
    for entry in fs::read_dir(dir.path()).unwrap().flatten() {
        if entry.path().is_file() {
            let text = fs::read_to_string(entry.path()).unwrap();
            assert!(!text.contains("s3cret-value"), "{:?}", entry.path());
        }
    }
    let text = read(&dir, "openclaw.json");
    assert!(
        text.contains("'${TOK}'") && text.contains("./auth.json5"),
        "{text}"
    );
}

#[test]
fn writers_at_the_same_time_lose_no_edit() {
    const WRITERS: usize = 4;
    const EDITS: usize = 5;
    let dir = Folder::new();
    let at = dir.locations(&[]);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let at = &at;
            scope.spawn(move || {
                for n in 0..EDITS {
                    let steps = ["tools".to_string(), "deny".to_string()];
                    update(at, "test", |config| {
                        let mut list = config.list("tools.deny");
                        let name = format!("w{writer}-{n}");
                        list.push(&name);
                        edit::set(config, &steps, &json!(list))
                    })
                    .unwrap();
                }
            });
        }
    });
    let config = load::load(&at).config;
    assert_eq!(config.list("tools.deny").len(), WRITERS * EDITS);
}

#[test]
fn a_broken_file_is_not_edited_but_may_be_replaced() {
    let dir = Folder::new();
    let at = dir.locations(&[]);
    dir.write("openclaw.json", "{gateway: {port: 'x'}}");
    let edit = update(&at, "test", |c| {
        edit::set(c, &["gateway".into(), "port".into()], &json!(1))
    });
    assert_eq!(
        edit.unwrap_err().to_string(),
        "Config validation failed: gateway.port: Invalid input: expected number, received string"
    );
    write(&at, None, "{gateway: {port: 1}}", "test").unwrap();
    assert_eq!(read(&dir, "openclaw.json.bak"), "{gateway: {port: 'x'}}");
}

#[test]
fn the_record_is_bounded() {
    let dir = Folder::new();
    let at = dir.locations(&[]);
    dir.write(AUDIT_LOG, &"x".repeat(MAX_AUDIT as usize + 1));
    write(&at, None, "{}", "test").unwrap();
    assert_eq!(audit(&dir).len(), 1);
    assert!(dir.path().join(format!("{AUDIT_LOG}.1")).exists());
}
