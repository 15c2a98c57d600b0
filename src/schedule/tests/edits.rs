//! What callers and editors do to jobs, and what they may not.

use super::*;

#[test]
fn changes_by_hand_are_taken_over_and_a_broken_file_stops_everything() {
    let dir = Folder::new();
    let rig = Rig::new(&dir);
    let id = rig.minutely(json!({}));
    let path = dir.path().join("cron/jobs.json");
    let good = fs::read_to_string(&path).unwrap();
    fs::write(&path, "{").unwrap();
    rig.pass(2 * MINUTE);
    rig.nothing_runs();
    assert!(matches!(
        rig.service.update(&id, &json!({"name": "x"})),
        Err(Error::Broken(_))
    ));
    assert!(matches!(
        rig.service.run_now(&id, false),
        Err(Error::Broken(_))
    ));
    assert!(
        rig.service.status()["storeError"]
            .as_str()
            .unwrap()
            .contains("jobs.json")
    );
    assert!(
        rig.service.next_deadline().unwrap() > Duration::from_secs(1),
        "no busy loop"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), "{");
    fs::write(&path, good.replace("\"m\"", "\"by hand\"")).unwrap();
    rig.pass(MINUTE);
    assert_eq!(rig.begins().0, "by hand");
    rig.finished();
    assert_eq!(rig.service.status()["storeError"], Value::Null);
}

#[test]
fn a_job_that_is_written_by_hand_is_found_without_any_other() {
    let dir = Folder::new();
    let rig = Rig::new(&dir);
    rig.pass(MINUTE);
    assert_eq!(rig.service.next_deadline(), None);
    let job = json!({"id": "a", "name": "a", "schedule": {"kind": "every", "everyMs": HOUR}, "payload": {"kind": "systemEvent", "text": "x"}});
    fs::write(
        dir.path().join("cron/jobs.json"),
        json!({"version": 1, "jobs": [job]}).to_string(),
    )
    .unwrap();
    assert_eq!(rig.service.list(&json!({})).unwrap()["total"], 1);
    assert_eq!(rig.service.next_deadline(), Some(Duration::from_secs(60)));
    rig.pass(MINUTE);
    assert!(rig.state("a")["nextRunAtMs"].is_u64());
}

#[test]
fn a_broken_file_at_the_start_is_told_and_kept() {
    let dir = Folder::new();
    fs::create_dir_all(dir.path().join("cron")).unwrap();
    fs::write(dir.path().join("cron/jobs.json"), "[1]").unwrap();
    let rig = Rig::new(&dir);
    assert!(matches!(
        rig.service.list(&json!({})),
        Err(Error::Broken(_))
    ));
    assert!(
        rig.service
            .add(&json!({"text": "x", "schedule": {"kind": "every", "everyMs": 5}}))
            .is_err()
    );
    assert_eq!(
        fs::read_to_string(dir.path().join("cron/jobs.json")).unwrap(),
        "[1]"
    );
}

#[test]
fn jobs_are_changed_and_removed() {
    let dir = Folder::new();
    let rig = Rig::new(&dir);
    let id = rig.minutely(json!({}));
    rig.wait_for("added");
    rig.pass(SECOND);
    let job = rig.service.update(&id, &json!({"enabled": false})).unwrap();
    assert_eq!(
        (&job["enabled"], &job["state"], &job["updatedAtMs"]),
        (&json!(false), &json!({}), &json!(NOW + SECOND))
    );
    assert_eq!(
        rig.wait_for("updated"),
        json!({"jobId": id, "action": "updated"})
    );
    let job = rig.service.update(&id, &json!({"enabled": true, "schedule": {"kind": "every", "everyMs": 300_000}, "missed": "skip"})).unwrap();
    assert_eq!(
        job["schedule"],
        json!({"kind": "every", "everyMs": 300_000, "anchorMs": NOW + SECOND})
    );
    assert_eq!(
        (&job["state"]["nextRunAtMs"], &job["missed"]),
        (&json!(NOW + SECOND + 300_000), &json!("skip"))
    );
    let job = rig
        .service
        .update(&id, &json!({"missed": null, "description": " d "}))
        .unwrap();
    assert_eq!(
        (&job["missed"], &job["description"]),
        (&Value::Null, &json!("d"))
    );
    let turn = json!({"payload": {"kind": "agentTurn", "message": "x"}});
    assert!(
        matches!(rig.service.update(&id, &turn), Err(Error::Spec(_))),
        "a main job takes no turn"
    );
    let turn = json!({"payload": {"kind": "agentTurn", "message": "x"}, "sessionTarget": "isolated", "delivery": {"mode": "announce", "channel": "irc"}});
    assert_eq!(
        rig.service.update(&id, &turn).unwrap()["delivery"],
        json!({"mode": "announce", "channel": "irc"})
    );
    let job = rig
        .service
        .update(
            &id,
            &json!({"payload": {"kind": "agentTurn", "model": "a/b"}, "delivery": {"to": "x"}}),
        )
        .unwrap();
    assert_eq!(
        job["payload"],
        json!({"kind": "agentTurn", "message": "x", "model": "a/b"})
    );
    assert_eq!(
        job["delivery"],
        json!({"mode": "announce", "channel": "irc", "to": "x"})
    );
    assert!(matches!(
        rig.service.update("nope", &json!({})),
        Err(Error::UnknownJob(_))
    ));
    assert_eq!(
        rig.service.remove(&id).unwrap(),
        json!({"ok": true, "removed": true})
    );
    assert_eq!(
        rig.wait_for("removed"),
        json!({"jobId": id, "action": "removed"})
    );
    assert_eq!(
        rig.service.remove(&id).unwrap(),
        json!({"ok": true, "removed": false})
    );
    assert_eq!(rig.service.status()["jobs"], 0);
}

#[test]
fn what_makes_no_job_is_refused_in_the_words_of_the_reference() {
    let dir = Folder::new();
    let rig = Rig::new(&dir);
    let every = json!({"kind": "every", "everyMs": 5});
    for (job, text) in [
        (
            json!({"schedule": every, "sessionTarget": "main", "message": "m"}),
            r#"Error: main cron jobs require payload.kind="systemEvent""#,
        ),
        (
            json!({"schedule": every, "sessionTarget": "isolated", "text": "m"}),
            r#"Error: isolated cron jobs require payload.kind="agentTurn""#,
        ),
        (
            json!({"schedule": every, "text": "m", "delivery": {"mode": "announce"}}),
            "only supported for sessionTarget=\"isolated\"",
        ),
        (
            json!({"schedule": every, "message": "m", "delivery": {"mode": "webhook", "to": "x"}}),
            "valid http(s) URL",
        ),
        (
            json!({"schedule": {"expr": "not a cron"}, "text": "m"}),
            "TypeError: CronPattern: invalid configuration format ('not a cron')",
        ),
        (
            json!({"schedule": {"expr": "0 0 30 2 *"}, "text": "m"}),
            "names no time that ever comes",
        ),
        (
            json!({"schedule": {"expr": "0 0 1 1 *", "tz": "Mars/X"}, "text": "m"}),
            "unknown time zone",
        ),
    ] {
        match rig.service.add(&job) {
            Err(Error::Spec(why)) => assert!(why.contains(text), "{why}"),
            other => panic!("{job}: {other:?}"),
        }
    }
    assert_eq!(rig.service.status()["jobs"], 0);
}

#[test]
fn a_job_that_is_removed_while_it_runs_leaves_its_log() {
    let dir = Folder::new();
    let rig = Rig::new(&dir);
    let id = rig.minutely(json!({}));
    let open = rig.hold();
    rig.pass(MINUTE);
    rig.begins();
    rig.service.remove(&id).unwrap();
    open.send(()).unwrap();
    assert_eq!(rig.finished()["status"], "ok");
    assert_eq!(rig.log(&id).len(), 1);
}

#[test]
fn listing_changes_nothing() {
    let dir = Folder::new();
    let rig = Rig::new(&dir);
    let id = rig.minutely(json!({}));
    let store = CronStore::new(dir.path().join("cron/jobs.json"));
    let (stamp, state) = (store.stamp(), rig.state(&id));
    // Past its time, on a scheduler that has not looked yet.
    rig.clock.wall.store(NOW + HOUR, Ordering::SeqCst);
    rig.service.list(&json!({"includeDisabled": true})).unwrap();
    rig.service.runs(&json!({})).unwrap();
    assert_eq!(rig.service.status()["nextWakeAtMs"], json!(NOW + MINUTE));
    rig.service.next_deadline();
    assert_eq!((store.stamp(), rig.state(&id)), (stamp, state));
    rig.nothing_runs();
}

#[test]
fn a_forced_run_has_its_own_rules() {
    let dir = Folder::new();
    let rig = Rig::new(&dir);
    let id = rig.add(json!({"name": "m", "schedule": {"kind": "every", "everyMs": HOUR}}));
    assert!(matches!(
        rig.service.run_now("nope", false),
        Err(Error::UnknownJob(_))
    ));
    assert!(matches!(rig.service.run_now(&id, true), Ok(Forced::NotDue)));
    rig.pass(MINUTE);
    let open = rig.hold();
    let Ok(Forced::Started(ended)) = rig.service.run_now(&id, false) else {
        panic!()
    };
    rig.begins();
    assert!(matches!(
        rig.service.run_now(&id, false),
        Ok(Forced::AlreadyRunning)
    ));
    open.send(()).unwrap();
    assert!(
        ended
            .recv_timeout(PATIENCE)
            .is_err_and(|e| e.is_disconnected())
    );
    rig.finished();
    // As the reference: the interval counts from the forced run.
    assert_eq!(rig.state(&id)["nextRunAtMs"], json!(NOW + MINUTE + HOUR));
    // Switched off: nothing runs by itself, but can be forced.
    rig.settings.lock().unwrap().enabled = false;
    *rig.worker.gate.lock().unwrap() = None;
    rig.pass(2 * HOUR);
    rig.nothing_runs();
    assert_eq!(rig.service.status()["nextWakeAtMs"], Value::Null);
    assert_eq!(rig.service.next_deadline(), None);
    assert!(matches!(
        rig.service.run_now(&id, true),
        Ok(Forced::Started(_))
    ));
    rig.begins();
}

#[test]
fn a_scheduler_without_jobs_sleeps() {
    let dir = Folder::new();
    let rig = Rig::new(&dir);
    assert!(
        dir.path().join("cron/jobs.json").exists(),
        "an empty store shows where jobs are"
    );
    assert_eq!(
        rig.service.next_deadline(),
        Some(Duration::from_secs(60)),
        "old sessions, once"
    );
    rig.pass(MINUTE);
    assert_eq!(
        *rig.worker.reaped.lock().unwrap(),
        [NOW + MINUTE - 24 * HOUR]
    );
    assert_eq!(rig.service.next_deadline(), None);
    // A job an hour ahead: only the clock is looked at.
    rig.add(json!({"name": "m", "schedule": {"kind": "every", "everyMs": HOUR}}));
    assert_eq!(rig.service.next_deadline(), Some(Duration::from_secs(60)));
}
