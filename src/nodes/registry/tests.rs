use super::*;
use std::sync::mpsc;

type Frames = mpsc::Receiver<Value>;
type Answers = mpsc::Receiver<Result<Answer, InvokeError>>;

fn registry() -> Registry {
    Registry::new(Arc::new(|_| ()))
}

fn join(r: &Registry, node: &str, conn: &str) -> (Frames, Option<String>) {
    let (tx, rx) = mpsc::channel();
    let node = Node {
        node_id: node.into(),
        conn_id: conn.into(),
        ..Node::default()
    };
    let old = r.connect(
        node,
        Arc::new(move |_, text| tx.send(serde_json::from_str(text).unwrap()).is_ok()),
    );
    (rx, old)
}

fn ask(r: &Registry, node: &str, timeout_ms: Option<u64>) -> Answers {
    let (tx, rx) = mpsc::channel();
    let invoke = Invoke {
        node_id: node.into(),
        command: "location.get".into(),
        params_json: Some("{}".into()),
        timeout_ms,
        idempotency_key: Some("k".into()),
        run: Some(RunTag {
            run_id: Some("r".into()),
            session_key: None,
        }),
    };
    r.invoke(
        invoke,
        Box::new(move |a| {
            tx.send(a).unwrap();
        }),
    );
    rx
}

fn good() -> Result<Answer, InvokeError> {
    Ok(Answer {
        payload: Some(json!(1)),
        payload_json: None,
    })
}

#[test]
fn an_answer_comes_back_once_and_only_from_the_connection_that_was_asked() {
    let r = registry();
    let (frames, _) = join(&r, "n", "c1");
    let answers = ask(&r, "n", Some(500));
    let frame = frames.try_recv().unwrap();
    assert_eq!(frame["timeoutMs"], 500);
    assert_eq!(frame["paramsJSON"], "{}");
    let id = frame["id"].as_str().unwrap();
    assert!(!r.result("other", id, good()));
    assert!(!r.result("c1", "unknown", good()));
    assert!(answers.try_recv().is_err());
    assert!(r.result("c1", id, good()));
    assert_eq!(answers.try_recv().unwrap(), good());
    assert!(!r.result("c1", id, good()), "late");
}

#[test]
fn a_newer_connection_takes_over_and_the_older_one_cannot_end_it() {
    let r = registry();
    let (old_frames, none) = join(&r, "n", "c1");
    assert_eq!(none, None);
    let waiting = ask(&r, "n", None);
    let (frames, took) = join(&r, "n", "c2");
    assert_eq!(took.as_deref(), Some("c1"));
    let _answers = ask(&r, "n", None);
    assert!(frames.try_recv().is_ok());
    assert_eq!(old_frames.try_iter().count(), 1);
    assert!(!r.disconnect("c1"));
    assert!(matches!(
        waiting.try_recv().unwrap(),
        Err(InvokeError::Disconnected { .. })
    ));
    assert!(r.get("n").is_some());
    assert!(r.disconnect("c2"));
    assert!(r.get("n").is_none());
}

#[test]
fn time_runs_out_and_a_dead_sender_is_not_connected() {
    let r = registry();
    let (frames, _) = join(&r, "n", "c");
    let answers = ask(&r, "n", Some(10));
    r.expire(Instant::now() - Duration::from_secs(1));
    assert!(answers.try_recv().is_err());
    r.expire(Instant::now() + Duration::from_secs(1));
    assert_eq!(answers.try_recv().unwrap(), Err(InvokeError::TimedOut));
    drop(frames);
    assert_eq!(
        ask(&r, "n", None).try_recv().unwrap(),
        Err(InvokeError::NotConnected)
    );
    assert_eq!(
        ask(&r, "x", None).try_recv().unwrap(),
        Err(InvokeError::NotConnected)
    );
}

#[test]
fn one_wake_up_serves_many_deadlines() {
    let (tx, woken) = mpsc::channel();
    let r = Registry::new(Arc::new(move |at| tx.send(at).unwrap()));
    let (_frames, _) = join(&r, "n", "c");
    let waiting: Vec<Answers> = [5000, 6000, 100, 7000]
        .map(|ms| ask(&r, "n", Some(ms)))
        .into();
    let asked: Vec<Instant> = woken.try_iter().collect();
    assert_eq!(asked.len(), 2, "for the first, and for the earlier one");
    r.expire(asked[1]);
    assert_eq!(waiting[2].try_recv().unwrap(), Err(InvokeError::TimedOut));
    assert_eq!(woken.try_iter().collect::<Vec<_>>(), [asked[0]]);
}

#[test]
fn one_node_cannot_use_up_the_places_of_all() {
    let r = registry();
    let (_frames, _) = join(&r, "n", "c");
    let (_more, _) = join(&r, "m", "d");
    let waiting: Vec<Answers> = (0..MAX_PENDING_PER_NODE)
        .map(|_| ask(&r, "n", None))
        .collect();
    assert!(waiting.iter().all(|w| w.try_recv().is_err()));
    assert_eq!(
        ask(&r, "n", None).try_recv().unwrap(),
        Err(InvokeError::Busy)
    );
    assert!(ask(&r, "m", None).try_recv().is_err());
}

/// SC-14
#[test]
fn a_node_reports_only_on_runs_that_wait_on_it() {
    let r = registry();
    let (_frames, _) = join(&r, "n", "c");
    let _answers = ask(&r, "n", None);
    let tag = |id: &str, session: Option<&str>| RunTag {
        run_id: Some(id.into()),
        session_key: session.map(str::to_string),
    };
    assert_eq!(r.waiting_run("c", &tag("r", None)), Some(tag("r", None)));
    assert_eq!(
        r.waiting_run("c", &tag("r", Some("agent:main:other"))),
        None
    );
    assert_eq!(r.waiting_run("c", &tag("x", None)), None);
    assert_eq!(r.waiting_run("d", &tag("r", None)), None);
    let nothing = RunTag {
        run_id: None,
        session_key: None,
    };
    assert_eq!(r.waiting_run("c", &nothing), None);
}

#[test]
fn a_node_hears_of_the_sessions_that_it_follows() {
    let r = registry();
    let (frames, _) = join(&r, "n", "c");
    let (others, _) = join(&r, "m", "d");
    let tell = |key: &str| r.tell_followers(key, Event::Chat, "{\"x\":1}");
    r.follow("c", "k", true);
    r.follow("no such connection", "k", true);
    tell("k");
    tell("else");
    assert_eq!(frames.try_iter().count(), 1);
    r.follow("c", "k", false);
    tell("k");
    for i in 0..2 * MAX_FOLLOWED {
        r.follow("c", &i.to_string(), true);
    }
    (0..2 * MAX_FOLLOWED).for_each(|i| tell(&i.to_string()));
    assert_eq!(frames.try_iter().count(), MAX_FOLLOWED);
    assert_eq!(others.try_iter().count(), 0);
    // A new connection of the node follows nothing yet.
    let (again, _) = join(&r, "n", "e");
    tell("1");
    assert_eq!(again.try_iter().count(), 0);
}
