//! What the clock does to jobs: missed runs, a clock that is not set, jumps ahead and back.

use super::*;

#[test]
fn missed_runs_follow_the_policy_of_their_job() {
    let late = 90 * MINUTE;
    for (missed, runs) in [
        (Value::Null, true),
        (json!("once"), true),
        (json!("skip"), false),
        (json!({"withinMs": HOUR}), false),
        (json!({"withinMs": 2 * HOUR}), true),
    ] {
        let dir = Folder::new();
        let rig = Rig::new(&dir);
        let id = rig.add(
            json!({"name": "m", "missed": missed, "schedule": {"kind": "every", "everyMs": HOUR}}),
        );
        // Two runs are missed while the gateway is off; one is made up for at most.
        let now = NOW + HOUR + late;
        let rig = Rig::at(&dir, now);
        rig.service.work();
        let event = rig.finished();
        let next = json!(NOW + 3 * HOUR);
        assert_eq!(event["nextRunAtMs"], next, "{missed}");
        if runs {
            rig.begins();
            assert_eq!(event["status"], "ok", "{missed}");
        } else {
            assert_eq!(event["status"], "skipped", "{missed}");
            assert_eq!(event["error"], "missed by 1 h 30 min: not made up for");
            assert_eq!(rig.state(&id)["lastStatus"], "skipped");
            assert_eq!(rig.state(&id)["lastRunAtMs"], Value::Null);
        }
        rig.nothing_runs();
        assert_eq!(rig.log(&id).len(), 1);
    }
}

#[test]
fn a_minute_late_is_not_missed_and_a_missed_single_run_is_over() {
    let dir = Folder::new();
    let rig = Rig::new(&dir);
    rig.minutely(json!({"missed": "skip", "schedule": {"kind": "every", "everyMs": HOUR}}));
    rig.pass(HOUR + MINUTE);
    rig.begins();
    let dir = Folder::new();
    let rig = Rig::new(&dir);
    let at = crate::sys::clock::iso(NOW + MINUTE);
    let once =
        rig.add(json!({"name": "o", "missed": "skip", "schedule": {"kind": "at", "at": at}}));
    rig.set(NOW + HOUR);
    rig.pass(11 * SECOND);
    assert_eq!(rig.finished()["status"], "skipped");
    assert!(!rig.service.job(&once).unwrap().enabled());
    rig.nothing_runs();
}

#[test]
fn nothing_fires_before_the_clock_is_set() {
    let dir = Folder::new();
    let rig = Rig::new(&dir);
    let old = rig.minutely(json!({}));
    // The router boots in 1970.
    let rig = Rig::at(&dir, 5 * SECOND);
    rig.service.work();
    assert!(
        rig.service.status()["waitingFor"]
            .as_str()
            .unwrap()
            .starts_with("the clock is not set")
    );
    assert!(rig.service.next_deadline().unwrap() <= Duration::from_secs(5));
    let fresh = rig.minutely(json!({"name": "fresh"}));
    assert_eq!(rig.state(&fresh), json!({}), "nothing is planned in 1970");
    let at =
        json!({"name": "x", "text": "x", "schedule": {"kind": "at", "at": "2027-01-01T00:00:00Z"}});
    assert!(matches!(rig.service.add(&at), Err(Error::Spec(_))));
    rig.pass(2 * MINUTE);
    rig.nothing_runs();
    // NTP sets it, a while after the run was due.
    rig.set(NOW + HOUR);
    assert!(
        rig.service.status()["waitingFor"]
            .as_str()
            .unwrap()
            .contains("jumped")
    );
    rig.nothing_runs();
    rig.pass(10 * SECOND);
    assert_eq!(rig.service.status()["waitingFor"], Value::Null);
    assert_eq!(rig.begins().0, "m", "the missed one, once");
    rig.finished();
    rig.nothing_runs();
    assert_eq!(rig.log(&old).len(), 1);
    let next = rig.state(&fresh)["nextRunAtMs"].as_u64().unwrap();
    assert!(
        next > NOW + HOUR && next <= NOW + HOUR + 10 * SECOND + MINUTE,
        "{next}"
    );
}

#[test]
fn a_clock_that_jumps_ahead_and_back_runs_nothing() {
    let dir = Folder::new();
    let rig = Rig::new(&dir);
    let id = rig.minutely(json!({}));
    rig.pass(SECOND);
    rig.set(NOW + 1000 * HOUR);
    rig.nothing_runs();
    rig.set(NOW + 2 * SECOND);
    rig.pass(10 * SECOND);
    rig.nothing_runs();
    assert_eq!(rig.state(&id)["nextRunAtMs"], json!(NOW + MINUTE));
    rig.pass(MINUTE);
    rig.begins();
}

#[test]
fn a_clock_that_stays_ahead_runs_what_was_jumped_over_once() {
    let dir = Folder::new();
    let rig = Rig::new(&dir);
    let id = rig.minutely(json!({}));
    rig.set(NOW + 10 * HOUR + 30 * SECOND);
    rig.nothing_runs();
    rig.pass(10 * SECOND);
    rig.begins();
    rig.finished();
    rig.nothing_runs();
    assert_eq!(
        rig.state(&id)["nextRunAtMs"],
        json!(NOW + 10 * HOUR + MINUTE)
    );
}

#[test]
fn a_clock_that_steps_back_repeats_nothing() {
    let dir = Folder::new();
    let rig = Rig::new(&dir);
    let cron =
        json!({"name": "c", "schedule": {"kind": "cron", "expr": "*/10 * * * *", "tz": "UTC"}});
    let id = rig.add(cron);
    let due = NOW / (10 * MINUTE) * 10 * MINUTE + 10 * MINUTE;
    rig.pass(due - NOW);
    rig.begins();
    rig.finished();
    // Back to before the run: its time comes a second time and does not count.
    rig.set(due - HOUR);
    rig.pass(HOUR);
    rig.nothing_runs();
    assert_eq!(rig.state(&id)["nextRunAtMs"], json!(due + 10 * MINUTE));
    rig.pass(10 * MINUTE);
    rig.begins();
}

#[test]
fn a_clock_that_was_years_ahead_plans_anew_when_it_is_right() {
    let dir = Folder::new();
    let rig = Rig::at(&dir, NOW + 50_000 * HOUR);
    rig.service.work();
    let id = rig.minutely(json!({}));
    rig.pass(MINUTE);
    rig.begins();
    rig.finished();
    rig.set(NOW);
    rig.pass(5 * MINUTE);
    rig.nothing_runs();
    assert!(
        rig.service.status()["waitingFor"]
            .as_str()
            .unwrap()
            .contains("behind")
    );
    rig.pass(5 * MINUTE);
    assert_eq!(rig.service.status()["waitingFor"], Value::Null);
    let (now, next) = (
        NOW + 10 * MINUTE,
        rig.state(&id)["nextRunAtMs"].as_u64().unwrap(),
    );
    assert!(next > now && next <= now + MINUTE, "{next}");
}

#[test]
fn a_schedule_that_makes_no_sense_switches_its_job_off_in_the_end() {
    let dir = Folder::new();
    fs::create_dir_all(dir.path().join("cron")).unwrap();
    let job = json!({"id": "a", "name": "a", "schedule": {"kind": "cron", "expr": "99 * * * *"},
        "payload": {"kind": "systemEvent", "text": "x"}});
    fs::write(
        dir.path().join("cron/jobs.json"),
        json!({"jobs": [job]}).to_string(),
    )
    .unwrap();
    let rig = Rig::new(&dir);
    for errors in [1, 2] {
        assert_eq!(rig.state("a")["scheduleErrorCount"], json!(errors));
        assert!(rig.service.job("a").unwrap().enabled());
        rig.pass(MINUTE);
    }
    assert!(!rig.service.job("a").unwrap().enabled());
    assert!(
        rig.state("a")["lastError"]
            .as_str()
            .unwrap()
            .starts_with("schedule error: TypeError: CronPattern: minute")
    );
}
