use super::*;
use std::sync::{Arc, mpsc};

fn approvals() -> Approvals {
    Approvals::new(Arc::new(|_| ()))
}

fn me() -> Caller {
    Caller {
        device_id: Some("d".into()),
        conn_id: "c".into(),
    }
}

fn request() -> Request {
    Request {
        command: "ls -l".into(),
        cwd: Some("/".into()),
        node_id: Some("n".into()),
        host: Some("node".into()),
        agent_id: Some("main".into()),
        session_key: Some("agent:main:main".into()),
        env: BTreeMap::from([("A".to_string(), "1".to_string())]),
        ..Request::default()
    }
}

fn open(a: &Approvals, id: &str) -> Ticket {
    a.open(Some(id.into()), request(), me(), Some(1000))
        .unwrap()
}

fn wait(a: &Approvals, id: &str) -> Option<mpsc::Receiver<Ticket>> {
    let (tx, rx) = mpsc::channel();
    a.wait(
        id,
        Box::new(move |t| {
            let _ = tx.send(t.clone());
        }),
    )
    .then_some(rx)
}

fn past_all() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

#[test]
fn decided_once_and_seen_for_a_while() {
    let a = approvals();
    open(&a, "x");
    let early = wait(&a, "x").unwrap();
    assert!(early.try_recv().is_err());
    assert_eq!(
        a.open(Some("x".into()), request(), me(), None),
        Err(OpenError::Pending)
    );
    let t = a.resolve("x", Decision::AllowOnce).unwrap();
    assert_eq!(t.outcome()["decision"], "allow-once");
    assert_eq!(early.try_recv().unwrap(), t);
    assert_eq!(wait(&a, "x").unwrap().try_recv().unwrap(), t);
    assert_eq!(a.resolve("x", Decision::Deny), None);
    assert_eq!(
        a.open(Some("x".into()), request(), me(), None),
        Err(OpenError::Pending)
    );
    a.expire(past_all());
    assert!(wait(&a, "x").is_none());
}

/// TX-14
#[test]
fn silence_is_a_denial_and_a_late_decision_is_unknown() {
    let a = approvals();
    open(&a, "x");
    let early = wait(&a, "x").unwrap();
    a.expire(past_all());
    assert_eq!(early.try_recv().unwrap().decision, None);
    assert_eq!(a.resolve("x", Decision::AllowOnce), None);
    assert_eq!(a.consume("x", &request(), &me()), Err(UseError::Unknown));
    open(&a, "y");
    let early = wait(&a, "y").unwrap();
    assert!(a.abandon("y").is_some());
    assert_eq!(early.try_recv().unwrap().decision, None);
    assert_eq!(a.resolve("y", Decision::AllowOnce), None);
}

/// TX-12
#[test]
fn an_approval_is_one_use_of_exactly_what_was_shown() {
    let a = approvals();
    open(&a, "x");
    assert_eq!(
        a.consume("x", &request(), &me()),
        Err(UseError::NotApproved)
    );
    a.resolve("x", Decision::AllowAlways).unwrap();
    let change: [fn(&mut Request); 9] = [
        |r| r.command = "ls -a".into(),
        |r| r.cwd = None,
        |r| r.cwd = Some("/tmp".into()),
        |r| r.agent_id = None,
        |r| r.session_key = Some("agent:main:x".into()),
        |r| r.env = BTreeMap::new(),
        |r| r.env = BTreeMap::from([("A".into(), "2".into())]),
        |r| {
            r.env.insert("a".into(), "1".into());
        },
        |r| r.host = Some("gateway".into()),
    ];
    for f in change {
        let mut r = request();
        f(&mut r);
        assert_eq!(a.consume("x", &r, &me()), Err(UseError::Differs), "{r:?}");
    }
    assert_eq!(a.consume("x", &request(), &me()), Ok(Decision::AllowAlways));
    assert_eq!(
        a.consume("x", &request(), &me()),
        Err(UseError::NotApproved)
    );
}

/// TX-13
#[test]
fn an_approval_for_one_node_is_good_nowhere_else() {
    let a = approvals();
    open(&a, "x");
    a.resolve("x", Decision::AllowOnce).unwrap();
    let mut other = request();
    other.node_id = Some("m".into());
    assert_eq!(a.consume("x", &other, &me()), Err(UseError::OtherNode));
    other.node_id = None;
    assert_eq!(a.consume("x", &other, &me()), Err(UseError::OtherNode));
    let stranger = Caller {
        device_id: Some("e".into()),
        conn_id: "c".into(),
    };
    assert_eq!(
        a.consume("x", &request(), &stranger),
        Err(UseError::OtherDevice)
    );
    assert_eq!(a.consume("x", &request(), &me()), Ok(Decision::AllowOnce));
    let local = Request {
        node_id: None,
        ..request()
    };
    a.open(Some("y".into()), local, me(), None).unwrap();
    assert_eq!(a.consume("y", &request(), &me()), Err(UseError::NoNode));
}

/// TX-08
#[test]
fn what_nobody_can_read_is_not_asked() {
    let a = approvals();
    let long = Request {
        command: format!("echo {}; rm -rf x", "a".repeat(200_000)),
        ..Request::default()
    };
    assert_eq!(a.open(None, long, me(), None), Err(OpenError::TooLong));
    let mut large = request();
    large.env.insert("X".into(), "x".repeat(MAX_REQUEST_BYTES));
    assert_eq!(a.open(None, large, me(), None), Err(OpenError::TooLong));
    for _ in 0..MAX_OPEN {
        a.open(None, request(), me(), None).unwrap();
    }
    assert_eq!(a.open(None, request(), me(), None), Err(OpenError::Busy));
    assert_eq!(a.open_requests().len(), MAX_OPEN);
}

#[test]
fn a_denial_opens_nothing_and_values_of_the_environment_are_not_shown() {
    let a = approvals();
    open(&a, "x");
    a.resolve("x", Decision::Deny).unwrap();
    assert_eq!(
        a.consume("x", &request(), &me()),
        Err(UseError::NotApproved)
    );
    let shown = request().to_value();
    assert_eq!(shown["envKeys"], json!(["A"]));
    assert_eq!(shown["security"], Value::Null);
    assert!(shown.get("commandArgv").is_none());
}
