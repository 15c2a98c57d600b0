//! The store as a whole: what is on disk after each call, and after things went wrong.

use super::*;
use crate::state::testing::Folder;

const KEY: &str = "agent:main:main";

fn store(dir: &Folder) -> Store {
    Store::new(Paths::new(dir.path()))
}

fn on_disk(dir: &Folder) -> Value {
    let text = fs::read(Paths::new(dir.path()).sessions_file("main")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn fill(s: &Store, n: usize, padding: usize) {
    for i in 0..n {
        s.update(&format!("agent:main:s{i}"), |m| {
            m.insert("skillsSnapshot".into(), json!("x".repeat(padding)));
        })
        .unwrap();
    }
}

#[test]
fn an_update_is_on_disk_and_keeps_unknown_fields() {
    let dir = Folder::new();
    let file = Paths::new(dir.path()).sessions_file("main");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "{\n  \"main\": {\n    \"sessionId\": \"s\", \"updatedAt\": 5, \"neu\": {\"x\": [1]}\n  },\n  \"other\": {}\n}").unwrap();
    let s = store(&dir);
    assert_eq!(s.get(KEY).unwrap().unwrap().session_id(), Some("s"));
    let e = s
        .update(KEY, |m| {
            m.insert("label".into(), json!("L"));
        })
        .unwrap();
    assert!(e.updated_at() > 5);
    let disk = on_disk(&dir);
    assert_eq!(disk[KEY]["neu"], json!({"x": [1]}));
    assert_eq!(
        (&disk[KEY]["label"], &disk[KEY]["sessionId"]),
        (&json!("L"), &json!("s"))
    );
    assert_eq!(disk["agent:main:other"], json!({}));
    assert_eq!(store(&dir).get(KEY).unwrap(), Some(e));
}

#[test]
fn what_others_write_is_seen() {
    let dir = Folder::new();
    let (a, b) = (store(&dir), store(&dir));
    a.update(KEY, |_| {}).unwrap();
    assert_eq!(b.count("main").unwrap(), 1);
    b.update("agent:main:x", |_| {}).unwrap();
    assert_eq!(a.count("main").unwrap(), 2);
    a.update("agent:main:y", |_| {}).unwrap();
    assert_eq!(b.count("main").unwrap(), 3);
    let file = Paths::new(dir.path()).sessions_file("main");
    crate::sys::file::write_atomic(&file, b"{}").unwrap();
    assert_eq!(a.count("main").unwrap(), 0);
}

#[test]
fn a_large_store_is_not_rewritten_for_each_change_and_a_clean_stop_leaves_no_journal() {
    let dir = Folder::new();
    let paths = Paths::new(dir.path());
    let s = store(&dir);
    fill(&s, 100, 1000);
    let stamp = crate::sys::file::stamp(&paths.sessions_file("main"));
    assert!(paths.sessions_journal("main").exists());
    for i in 0..50 {
        s.update("agent:main:s7", |m| {
            m.insert("totalTokens".into(), json!(i));
        })
        .unwrap();
    }
    s.delete("agent:main:s8", false).unwrap();
    assert_eq!(crate::sys::file::stamp(&paths.sessions_file("main")), stamp);
    // A second process sees it all, before and after.
    for settled in [false, true] {
        if settled {
            s.settle();
            assert!(!paths.sessions_journal("main").exists());
        }
        let other = store(&dir);
        assert_eq!(other.count("main").unwrap(), 99);
        let e = other.get("agent:main:s7").unwrap().unwrap();
        assert_eq!(e.number("totalTokens"), Some(49));
    }
    assert_eq!(on_disk(&dir).as_object().unwrap().len(), 99);
}

#[test]
fn the_journal_is_folded_in_when_it_has_grown() {
    let dir = Folder::new();
    let s = store(&dir);
    fill(&s, 10, 20_000);
    let journal = Paths::new(dir.path()).sessions_journal("main");
    let mut largest = 0;
    for _ in 0..120 {
        s.update("agent:main:s1", |_| {}).unwrap();
        largest = largest.max(fs::metadata(&journal).map_or(0, |m| m.len()));
    }
    assert!(largest > 500_000 && largest < 1_200_000, "{largest}");
    assert_eq!(store(&dir).count("main").unwrap(), 10);
}

#[test]
fn a_journal_of_an_older_file_counts_only_where_it_is_newer() {
    let dir = Folder::new();
    let paths = Paths::new(dir.path());
    let s = store(&dir);
    fill(&s, 100, 1000);
    s.settle();
    s.delete("agent:main:s1", false).unwrap();
    s.update("agent:main:s2", |m| {
        m.insert("label".into(), json!("journal"));
    })
    .unwrap();
    drop(s);
    // The reference, which knows no journal, writes the file meanwhile: s2 later than we did, s3 earlier.
    let mut disk = on_disk(&dir);
    disk["agent:main:s2"]["label"] = json!("reference");
    disk["agent:main:s2"]["updatedAt"] = json!(u64::MAX / 4);
    fs::write(paths.sessions_file("main"), disk.to_string()).unwrap();
    let s = store(&dir);
    let label = |s: &Store| {
        s.get("agent:main:s2")
            .unwrap()
            .unwrap()
            .text("label")
            .map(str::to_string)
    };
    assert_eq!(label(&s).as_deref(), Some("reference"));
    assert!(
        s.get("agent:main:s1").unwrap().is_some(),
        "a removal is only known of our own file"
    );
    s.settle();
    assert!(!paths.sessions_journal("main").exists());
    assert_eq!(label(&store(&dir)).as_deref(), Some("reference"));
}

#[test]
fn a_crash_between_fold_and_removal_of_the_journal_brings_nothing_back() {
    let dir = Folder::new();
    let paths = Paths::new(dir.path());
    let s = store(&dir);
    fill(&s, 100, 1000);
    // A line with a later time, then one that was put back: as a heartbeat without news does.
    s.update("agent:main:s5", |m| {
        m.insert("updatedAt".into(), json!(u64::MAX / 4));
        m.insert("label".into(), json!("during"));
    })
    .unwrap();
    s.update("agent:main:s5", |m| {
        m.insert("updatedAt".into(), json!(7));
        m.insert("label".into(), json!("after"));
    })
    .unwrap();
    s.delete("agent:main:s6", false).unwrap();
    let journal = fs::read(paths.sessions_journal("main")).unwrap();
    s.settle();
    fs::write(paths.sessions_journal("main"), journal).unwrap();
    let s = store(&dir);
    assert!(s.get("agent:main:s6").unwrap().is_none());
    assert_eq!(
        s.get("agent:main:s5").unwrap().unwrap().text("label"),
        Some("after")
    );
}

#[test]
fn a_torn_journal_line_is_dropped_and_never_glued_to() {
    let dir = Folder::new();
    let paths = Paths::new(dir.path());
    let s = store(&dir);
    fill(&s, 100, 1000);
    s.settle();
    s.update("agent:main:s1", |m| {
        m.insert("label".into(), json!("kept"));
    })
    .unwrap();
    drop(s);
    let mut journal = fs::read(paths.sessions_journal("main")).unwrap();
    journal.extend_from_slice(b"{\"key\":\"agent:main:s1\",\"entry\":{\"lab");
    fs::write(paths.sessions_journal("main"), &journal).unwrap();
    let s = store(&dir);
    s.update("agent:main:s2", |m| {
        m.insert("label".into(), json!("next"));
    })
    .unwrap();
    let s = store(&dir);
    for (key, label) in [("agent:main:s1", "kept"), ("agent:main:s2", "next")] {
        assert_eq!(s.get(key).unwrap().unwrap().text("label"), Some(label));
    }
}

#[test]
fn a_torn_file_is_kept_aside_and_what_can_be_read_goes_on() {
    let dir = Folder::new();
    let paths = Paths::new(dir.path());
    let s = store(&dir);
    fill(&s, 5, 10);
    let whole = fs::read(paths.sessions_file("main")).unwrap();
    let torn = &whole[..whole.len() * 3 / 4];
    fs::write(paths.sessions_file("main"), torn).unwrap();
    // Reading shows what is there, also in a store that knew the whole, and changes nothing.
    assert_eq!(s.count("main").unwrap(), 3);
    assert_eq!(fs::read(paths.sessions_file("main")).unwrap(), torn);
    s.update("agent:main:new", |_| {}).unwrap();
    assert_eq!(on_disk(&dir).as_object().unwrap().len(), 4);
    let kept: Vec<_> = fs::read_dir(paths.sessions("main"))
        .unwrap()
        .flatten()
        .filter(|e| e.file_name().to_string_lossy().contains(".broken."))
        .collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(fs::read(kept[0].path()).unwrap(), torn);
}

#[test]
fn a_failed_write_is_an_error_and_changes_nothing() {
    let dir = Folder::new();
    let s = store(&dir);
    s.update(KEY, |_| {}).unwrap();
    let file = Paths::new(dir.path()).sessions_file("main");
    let before = fs::read(&file).unwrap();
    // A folder in the place of the journal and one in that of the file: neither can be written.
    fs::rename(&file, dir.path().join("away")).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(s.update(KEY, |_| {}).is_err());
    fs::remove_dir(&file).unwrap();
    fs::rename(dir.path().join("away"), &file).unwrap();
    assert_eq!(fs::read(&file).unwrap(), before);
    assert!(s.update(KEY, |_| {}).is_ok());
}

#[test]
fn keys_that_cannot_be_stored_are_refused() {
    let dir = Folder::new();
    let s = store(&dir);
    for key in [
        "",
        "agent:main:a\nb",
        &format!("agent:main:{}", "x".repeat(2000)),
    ] {
        let e = s.update(key, |_| {}).unwrap_err();
        assert!(matches!(e, Error::BadName { .. }), "{key:?}");
    }
    let e = s
        .update(KEY, |m| {
            m.insert("x".into(), json!("x".repeat(5_000_000)));
        })
        .unwrap_err();
    assert!(matches!(e, Error::TooLarge { .. }));
    assert_eq!(s.count("main").unwrap(), 0);
    // Asking for agents that do not exist leaves no trace.
    assert!(s.get("agent:nobody:main").unwrap().is_none());
    assert!(s.agents_on_disk().iter().all(|a| a == "main"));
    assert_eq!(sync::lock(&s.agents).len(), 1);
}

#[test]
fn a_late_result_does_not_land_in_a_new_session() {
    let dir = Folder::new();
    let s = store(&dir);
    let old = s.update(KEY, |_| {}).unwrap();
    let id = old.session_id().unwrap();
    let tokens = |m: &mut Map<String, Value>| {
        m.insert("totalTokens".into(), json!(9));
    };
    assert!(s.update_session(KEY, id, tokens).unwrap().is_some());
    s.reset(KEY).unwrap();
    assert!(s.update_session(KEY, id, tokens).unwrap().is_none());
    assert_eq!(s.get(KEY).unwrap().unwrap().number("totalTokens"), Some(0));
    assert!(
        s.update_session("agent:main:never", "x", tokens)
            .unwrap()
            .is_none()
    );
    assert_eq!(s.count("main").unwrap(), 1);
}

#[test]
fn reset_and_delete_archive_the_transcript() {
    let dir = Folder::new();
    let s = store(&dir);
    let talk = |key: &str| {
        let e = s.update(key, |_| {}).unwrap();
        let path = s.transcript(key, &e).unwrap();
        let t = transcript::Transcript::new(&path, e.session_id().unwrap(), dir.path());
        t.append(&[transcript::Line::message(
            json!({"role": "user", "content": "x"}),
        )])
        .unwrap();
        path
    };
    let path = talk(KEY);
    let ended = s.reset(KEY).unwrap();
    assert!(!path.exists());
    let name = |p: &PathBuf| p.file_name().unwrap().to_str().unwrap().to_string();
    assert_eq!(ended.archived.len(), 1);
    assert!(ended.archived[0].exists() && name(&ended.archived[0]).contains(".jsonl.reset.2"));
    assert_ne!(
        ended.old.unwrap().session_id(),
        ended.new.unwrap().session_id()
    );

    let path = talk("agent:main:x");
    let stale = s.renew("agent:main:x", Renewal::Stale).unwrap();
    assert!(path.exists() && stale.archived.is_empty());

    talk("agent:main:y");
    let gone = s.delete("agent:main:y", true).unwrap();
    assert!(name(&gone.archived[0]).contains(".jsonl.deleted.2"));
    assert!(gone.old.is_some() && s.get("agent:main:y").unwrap().is_none());
    let again = s.delete("agent:main:y", true).unwrap();
    assert!(again.old.is_none() && again.archived.is_empty());
    let path = talk("agent:main:z");
    assert!(s.delete("agent:main:z", false).unwrap().archived.is_empty());
    assert!(path.exists());
}

#[test]
fn compacting_answers_as_the_reference_does() {
    let dir = Folder::new();
    let s = store(&dir);
    assert_eq!(s.compact(KEY, 400).unwrap(), Compacted::NoSession);
    let e = s
        .update(KEY, |m| {
            m.insert("totalTokens".into(), json!(9));
        })
        .unwrap();
    assert_eq!(s.compact(KEY, 400).unwrap(), Compacted::NoTranscript);
    let path = s.transcript(KEY, &e).unwrap();
    let t = transcript::Transcript::new(&path, e.session_id().unwrap(), dir.path());
    let line = transcript::Line::message(json!({"role": "user", "content": "x"}));
    t.append(&vec![line; 5]).unwrap();
    assert_eq!(s.compact(KEY, 400).unwrap(), Compacted::Short { kept: 6 });
    assert!(matches!(
        s.compact(KEY, 1).unwrap(),
        Compacted::Cut { kept: 1, .. }
    ));
    assert_eq!(s.get(KEY).unwrap().unwrap().number("totalTokens"), None);
}

#[test]
fn sessions_are_found_by_id_and_label() {
    let dir = Folder::new();
    let s = store(&dir);
    let e = s
        .update(KEY, |m| {
            m.insert("label".into(), json!("Mine"));
        })
        .unwrap();
    s.update("agent:other:main", |_| {}).unwrap();
    let agents = s.agents_on_disk();
    assert_eq!(agents, ["main", "other"]);
    let id = e.session_id().unwrap();
    assert_eq!(
        s.find_session_id(&agents, id).unwrap().as_deref(),
        Some(KEY)
    );
    assert_eq!(s.find_label(&agents, "Mine").unwrap().as_deref(), Some(KEY));
    assert_eq!(s.find_label(&agents, "mine").unwrap(), None);
    assert_eq!(s.find_label(&["other".to_string()], "Mine").unwrap(), None);
    s.update("agent:main:later", |m| {
        m.insert("updatedAt".into(), json!(u64::MAX / 4));
    })
    .unwrap();
    let (count, newest) = s.newest("main", 1).unwrap();
    assert_eq!(
        (count, newest),
        (2, vec![("agent:main:later".to_string(), u64::MAX / 4)])
    );
}

#[test]
fn keys_without_an_agent_belong_to_the_default_one() {
    let dir = Folder::new();
    let s = store(&dir);
    s.set_default_agent("work");
    s.update("global", |_| {}).unwrap();
    assert!(Paths::new(dir.path()).sessions_file("work").exists());
    s.set_default_agent("home");
    assert!(s.get("global").unwrap().is_none());
}

struct NoModels;

impl ModelChoice for NoModels {
    fn choose(&self, name: &str) -> Result<Choice, String> {
        Err(format!("unknown model: {name}"))
    }
}

#[test]
fn a_refused_patch_leaves_no_entry_and_labels_are_unique() {
    let dir = Folder::new();
    let s = store(&dir);
    let patch = |key: &str, v: Value| {
        s.patch(key, v.as_object().unwrap(), &NoModels)
            .map_err(|e| e.to_string())
    };
    assert!(patch(KEY, json!({"thinkingLevel": "galactic"})).is_err());
    assert_eq!(s.count("main").unwrap(), 0);
    let e = patch(
        KEY,
        json!({"label": "L", "thinkingLevel": "low", "verboseLevel": "on"}),
    )
    .unwrap();
    let keys: Vec<&str> = e.map().keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "label",
            "sessionId",
            "thinkingLevel",
            "updatedAt",
            "verboseLevel"
        ]
    );
    assert_eq!(
        patch("agent:main:x", json!({"label": "L"})).unwrap_err(),
        "label already in use: L"
    );
    assert!(
        patch(KEY, json!({"label": "L"})).is_ok(),
        "its own label is not taken"
    );
    assert!(
        patch("agent:other:x", json!({"label": "L"})).is_ok(),
        "another agent, another store"
    );
}

#[test]
fn readers_and_writers_do_not_disturb_each_other() {
    let dir = Folder::new();
    let s = store(&dir);
    fill(&s, 80, 1000);
    std::thread::scope(|scope| {
        for t in 0..3 {
            let s = &s;
            scope.spawn(move || {
                for i in 0..20 {
                    s.update(&format!("agent:main:w{t}-{i}"), |_| {}).unwrap();
                }
            });
        }
        let s = &s;
        scope.spawn(move || {
            let mut seen = 0;
            while seen < 140 {
                let now = s
                    .list(&["main".to_string()], &Filter::default())
                    .unwrap()
                    .len();
                assert!(now >= seen);
                seen = now;
            }
        });
    });
    assert_eq!(store(&dir).count("main").unwrap(), 140);
}

/// What the reference wrote stays as it is, but for what we change; its transcript goes on as one.
#[test]
fn state_of_the_reference_is_read_kept_and_continued() {
    let dir = Folder::new();
    let paths = Paths::new(dir.path());
    let recorded = include_str!("../testdata/sessions.json");
    fs::create_dir_all(paths.sessions("main")).unwrap();
    fs::write(paths.sessions_file("main"), recorded).unwrap();
    let id = "cff0441a-3f37-4647-a0b1-c215a2b1ecfd";
    let file = paths.transcript("main", id).unwrap();
    fs::write(&file, include_str!("../testdata/transcript.jsonl")).unwrap();

    let s = store(&dir);
    let entry = s.get(KEY).unwrap().unwrap();
    assert_eq!(entry.session_id(), Some(id));
    // The recorded path is that of another home.
    assert_eq!(s.transcript(KEY, &entry), Some(file.clone()));
    s.update(KEY, |m| {
        m.insert("thinkingLevel".into(), json!("low"));
    })
    .unwrap();
    let mut expected: Value = serde_json::from_str(recorded).unwrap();
    let mut found = on_disk(&dir);
    assert_eq!(found[KEY]["thinkingLevel"], "low");
    for v in [&mut expected, &mut found] {
        let entry = v[KEY].as_object_mut().unwrap();
        entry.remove("thinkingLevel");
        entry.remove("updatedAt");
    }
    assert_eq!(found, expected);

    let context = transcript::context(&file, u64::MAX).unwrap();
    assert_eq!(context.summary.as_deref(), Some("what came before"));
    let texts: Vec<String> = context
        .lines
        .iter()
        .filter_map(|l| transcript::message_text(&l["message"]))
        .collect();
    assert_eq!(texts, ["assistant 5", "assistant 6", "assistant last"]);
    let before = fs::read(&file).unwrap();
    let t = transcript::Transcript::new(&file, id, dir.path());
    t.append(&[transcript::Line::message(
        json!({"role": "user", "content": "on"}),
    )])
    .unwrap();
    let after = fs::read(&file).unwrap();
    assert!(after.starts_with(&before));
    let added: Value = serde_json::from_slice(&after[before.len()..]).unwrap();
    assert_eq!(added["parentId"], "1427afef");
}
