use super::*;
use crate::state::testing::Folder;
use std::fs;

fn store(dir: &Folder) -> Store {
    Store::new(&dir.path().join("exec-approvals.json"))
}

#[test]
fn an_edit_names_the_version_that_it_was_made_from() {
    let dir = Folder::new();
    let s = store(&dir);
    let none = s.load().unwrap();
    assert!(!none.exists);
    assert_eq!(
        none.file,
        json!({"version": 1, "defaults": {}, "agents": {}})
    );
    let first = s.save(&json!({"version": 1}), None).unwrap();
    assert!(first.exists);
    let token = first.file["socket"]["token"].clone();
    assert_eq!(token.as_str().unwrap().len(), 32);
    assert!(matches!(s.save(&json!({}), None), Err(Error::HashRequired)));
    assert!(matches!(s.save(&json!({}), Some("x")), Err(Error::Changed)));
    let second = s
        .save(
            &json!({"socket": {"path": "/s"}, "kept": 1}),
            Some(&first.hash),
        )
        .unwrap();
    assert_eq!(second.file["socket"], json!({"path": "/s", "token": token}));
    assert_eq!(second.file["kept"], 1);
}

#[test]
fn the_own_settings_count_before_those_of_all_and_the_defaults() {
    let dir = Folder::new();
    let s = store(&dir);
    assert_eq!(s.policy("main").unwrap(), Policy::default());
    let file = json!({
        "defaults": {"security": "deny", "ask": "always", "askFallback": "full"},
        "agents": {
            "*": {"ask": "off", "allowlist": [{"pattern": "/bin/all"}]},
            "default": {"security": "allowlist", "allowlist": ["/bin/ls", {"pattern": "/bin/x"}]},
            "odd": {"security": "whatever", "ask": "never", "allowlist": [7, null, "", {}]},
            "text": "dropped",
        },
    });
    let saved = s.save(&file, None).unwrap();
    assert!(saved.file["agents"]["main"]["allowlist"][0]["id"].is_string());
    let p = s.policy("Main").unwrap();
    assert_eq!(
        (p.security, p.ask),
        (Some(Security::Allowlist), Some(AskWhen::Off))
    );
    assert_eq!(p.ask_fallback, Security::Full);
    assert_eq!(p.allowlist, ["/bin/ls", "/bin/x", "/bin/all"]);
    let p = s.policy("odd").unwrap();
    assert_eq!(
        (p.security, p.ask),
        (Some(Security::Deny), Some(AskWhen::Always))
    );
    assert!(p.allowlist.iter().all(|p| p == "/bin/all"));
    assert!(saved.file["agents"].get("text").is_none());
    assert!(saved.file["agents"]["*"].get("allowlist").is_some());
    assert!(s.allow("main", "/bin/new").unwrap());
    assert!(!s.allow("main", "/bin/new").unwrap());
    assert_eq!(s.policy("main").unwrap().allowlist[2], "/bin/new");
}

/// TX-18
#[test]
fn an_entry_with_an_unknown_restriction_matches_nothing() {
    let dir = Folder::new();
    let s = store(&dir);
    let entry = json!({"pattern": "/bin/ls", "argPattern": "^-l$"});
    let file = json!({"agents": {"main": {"allowlist": [entry]}}});
    let saved = s.save(&file, None).unwrap();
    assert_eq!(
        saved.file["agents"]["main"]["allowlist"][0]["argPattern"],
        "^-l$"
    );
    assert!(s.policy("main").unwrap().allowlist.is_empty());
}

#[test]
fn a_broken_file_allows_nothing_and_stays() {
    let dir = Folder::new();
    let s = store(&dir);
    let path = dir.path().join("exec-approvals.json");
    for text in ["{\"agents\":", "[]", "null"] {
        fs::write(&path, text).unwrap();
        assert!(matches!(s.policy("main"), Err(Error::Broken(_))), "{text}");
        assert!(s.save(&json!({}), Some("x")).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
    fs::write(&path, " ".repeat(MAX_FILE as usize + 1)).unwrap();
    assert!(matches!(s.load(), Err(Error::TooLarge)));
}
