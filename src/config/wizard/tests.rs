use super::*;

fn go(w: &mut Wizard, value: Value) -> Result<Progress, Refusal> {
    let step = w.step()["id"].as_str().unwrap().to_string();
    w.answer(&step, &value)
}

fn walk(w: &mut Wizard, answers: &[Value]) -> Progress {
    let mut last = Progress::Asks;
    for a in answers {
        assert_eq!(last, Progress::Asks);
        last = go(w, a.clone()).unwrap();
    }
    last
}

#[test]
fn a_local_gateway_with_an_endpoint() {
    let config = Config::from_text("{agents: {defaults: {workspace: '~/ws'}}}");
    let mut w = Wizard::start(&config, None, None);
    assert_eq!(
        (&w.step()["type"], &w.step()["executor"]),
        (&json!("note"), &json!("client"))
    );
    let mut answers: Vec<Value> = vec![Value::Null, json!(true), json!("local")];
    assert_eq!(walk(&mut w, &answers), Progress::Asks);
    assert_eq!(w.step()["initialValue"], "~/ws");
    answers = vec![
        json!(" ~/other "),
        json!("openai"),
        json!("sk-1"),
        json!("gpt-x"),
    ];
    assert_eq!(walk(&mut w, &answers), Progress::Asks);
    assert!(!w.step().to_string().contains("sk-1"));
    let Progress::Done(patch) = go(&mut w, json!(true)).unwrap() else {
        panic!()
    };
    assert_eq!(patch["agents"]["defaults"]["workspace"], "~/other");
    assert_eq!(
        patch["agents"]["defaults"]["model"]["primary"],
        "openai/gpt-x"
    );
    assert_eq!(patch["models"]["providers"]["openai"]["apiKey"], "sk-1");
    assert_eq!(patch["gateway"]["mode"], "local");
    // What it gives is a configuration.
    Config::from_text(&patch.to_string());
}

#[test]
fn every_way_ends_in_a_valid_configuration() {
    let config = Config::from_text("{}");
    let ways: [Vec<Value>; 3] = [
        vec![json!("local"), json!("/w"), json!("keep"), json!(true)],
        vec![
            json!("local"),
            json!("/w"),
            json!("custom"),
            json!("http://127.0.0.1:1/v1"),
            json!(""),
            json!("m"),
            json!(true),
        ],
        vec![
            json!("remote"),
            json!("wss://h:1"),
            json!("tok"),
            json!(true),
        ],
    ];
    for way in ways {
        let mut w = Wizard::start(&config, None, None);
        let answers: Vec<Value> = [vec![Value::Null, json!(true)], way].concat();
        let Progress::Done(patch) = walk(&mut w, &answers) else {
            panic!("{answers:?}")
        };
        Config::from_text(&patch.to_string());
    }
}

#[test]
fn unfit_answers_leave_the_step_as_it_is() {
    let config = Config::from_text("{}");
    let mut w = Wizard::start(&config, Some("remote"), None);
    assert_eq!(w.answer("nope", &Value::Null), Err(Refusal::NoPendingStep));
    walk(&mut w, &[Value::Null, json!(true)]);
    let step = w.step();
    for bad in [
        json!("ws://203.0.113.1"),
        json!("ws://localhost.evil.com"),
        json!("ws://127.0.0.1@evil"),
        json!("http://h"),
        json!(""),
        json!(5),
        json!("wss://a\nb"),
        json!("x".repeat(5000)),
    ] {
        assert!(go(&mut w, bad).is_err());
        assert_eq!(w.step(), step);
    }
    assert_eq!(go(&mut w, json!("ws://[::1]:18789")), Ok(Progress::Asks));
    assert_eq!(w.step()["sensitive"], true);
}

#[test]
fn a_no_stops_and_a_no_at_the_end_starts_over() {
    let config = Config::from_text("{}");
    let mut w = Wizard::start(&config, Some("local"), Some("/w"));
    assert_eq!(
        walk(&mut w, &[Value::Null, json!(false)]),
        Progress::Stopped
    );
    let mut w = Wizard::start(&config, Some("local"), None);
    walk(
        &mut w,
        &[
            Value::Null,
            json!(true),
            json!("/w"),
            json!("keep"),
            json!(false),
        ],
    );
    assert_eq!(w.step()["type"], "note");
}
