//! Who may call what: every method with every single scope, with none, and as a node (SC-03).
//!
//! What is expected comes from the one method table; a few rows are written down here as well, so that a
//! wrong table does not agree with itself.

mod support;

use openclaw_gateway::methods::{self, Access, Method};
use openclaw_gateway::protocol::{Scope, Scopes};
use support::*;

/// The words of the operator scopes that one can hold alone.
const SINGLE: [&str; 6] = [
    "operator.admin",
    "operator.read",
    "operator.write",
    "operator.approvals",
    "operator.pairing",
    "operator.talk.secrets",
];

/// The error that a call of `method` has to give for want of a right; `None` when it is let through.
fn expected(method: &Method, scopes: &Scopes) -> Option<String> {
    match method.access {
        Access::Anyone => None,
        Access::Node => Some("unauthorized role: operator".into()),
        Access::Operator(scope) if scopes.has(scope) => None,
        Access::Operator(scope) => Some(format!("missing scope: {}", scope.as_str())),
    }
}

/// Whether an error is one about rights.
fn about_rights(message: &str) -> bool {
    message.starts_with("missing scope: operator.") || message.starts_with("unauthorized role: ")
}

/// Params that no method does anything with: what has a shape refuses them, what has none ignores them.
fn nothing() -> Value {
    json!({"scopeWalk": true})
}

#[track_caller]
fn check(client: &mut Client, method: &Method, held: &str, want: Option<String>) {
    let answer = client.call(method.name, nothing());
    let message = answer["error"]["message"].as_str().unwrap_or_default();
    match want {
        Some(want) => assert_eq!(
            (message, answer["error"]["code"].as_str()),
            (want.as_str(), Some("INVALID_REQUEST")),
            "{} with {held}",
            method.name
        ),
        None => assert!(
            !about_rights(message),
            "{} with {held}: {message}",
            method.name
        ),
    }
}

#[test]
fn sc_03_every_method_with_every_scope_and_role() {
    let home = Home::with_config(json!({}));
    let gateway = home.start();
    let port = gateway.port();
    let mut held: Vec<Vec<&str>> = SINGLE.iter().map(|s| vec![*s]).collect();
    held.push(vec![]);
    held.push(vec!["operator.made.up"]);
    for words in held {
        let scopes = Scopes::from_words(&words);
        let mut client = Client::operator(port, &words);
        for method in methods::all() {
            check(
                &mut client,
                method,
                &words.join(","),
                expected(method, &scopes),
            );
            // Ten refusals of a role in a row are answered; any other answer starts the count again.
            ok(&client.call("health", json!({})));
        }
        let unknown = refused(&client.call("no.such.method", json!({}))).1;
        let want = match scopes.has(Scope::Admin) {
            true => "unknown method: no.such.method",
            false => "missing scope: operator.admin",
        };
        assert_eq!(unknown, want, "{words:?}");
    }
    let mut node = Client::connect(port, &Connect::node(), Some(&Device::new()));
    for method in methods::all() {
        let want = match method.access {
            Access::Operator(_) => Some("unauthorized role: node".to_string()),
            Access::Anyone | Access::Node => None,
        };
        check(&mut node, method, "role node", want);
        ok(&node.call("health", json!({})));
    }
    let unknown = refused(&node.call("no.such.method", json!({}))).1;
    assert_eq!(unknown, "unauthorized role: node");
}

#[test]
fn sc_03_rows_that_are_written_down_twice() {
    use Scope::{Admin, Approvals, Pairing, Read, Write};
    let rows: [(&str, Access); 28] = [
        ("health", Access::Anyone),
        ("status", Access::Operator(Read)),
        ("node.list", Access::Operator(Read)),
        ("node.invoke", Access::Operator(Write)),
        ("node.invoke.result", Access::Node),
        ("node.event", Access::Node),
        ("skills.bins", Access::Node),
        ("node.pair.request", Access::Operator(Pairing)),
        ("node.pair.approve", Access::Operator(Pairing)),
        ("node.rename", Access::Operator(Pairing)),
        ("device.pair.list", Access::Operator(Pairing)),
        ("device.token.rotate", Access::Operator(Pairing)),
        ("exec.approval.request", Access::Operator(Approvals)),
        ("exec.approval.resolve", Access::Operator(Approvals)),
        ("exec.approvals.get", Access::Operator(Admin)),
        ("exec.approvals.node.set", Access::Operator(Admin)),
        ("agents.create", Access::Operator(Admin)),
        ("agents.files.set", Access::Operator(Admin)),
        ("agents.files.get", Access::Operator(Read)),
        ("skills.install", Access::Operator(Admin)),
        ("skills.update", Access::Operator(Admin)),
        ("wizard.next", Access::Operator(Admin)),
        ("update.run", Access::Operator(Admin)),
        ("send", Access::Operator(Write)),
        ("tts.enable", Access::Operator(Write)),
        ("talk.config", Access::Operator(Read)),
        ("sessions.reset", Access::Operator(Admin)),
        ("config.set", Access::Operator(Admin)),
    ];
    for (name, access) in rows {
        let method = methods::find(name).unwrap_or_else(|| panic!("no method {name}"));
        assert_eq!(method.access, access, "{name}");
    }
}

/// HS-11, the twin: a role that is refused too often is shown the door.
#[test]
fn the_eleventh_refusal_of_a_role_in_a_row_closes() {
    let home = Home::with_config(json!({}));
    let gateway = home.start();
    let mut client = gateway.admin();
    for _ in 0..10 {
        client.call("skills.bins", json!({}));
    }
    ok(&client.call("health", json!({})));
    for _ in 0..11 {
        let (_, message) = refused(&client.call("skills.bins", json!({})));
        assert_eq!(message, "unauthorized role: operator");
    }
    let closed = client.closed();
    assert_eq!(
        (closed.code, closed.reason.as_str()),
        (1008, "repeated unauthorized calls")
    );
}

/// No HTTP route leads to a method: with the credential or without, in a path or in a body, nothing is
/// called, and nothing is written.
#[test]
fn sc_03_no_method_is_reached_over_http() {
    let home = Home::with_config(json!({}));
    let gateway = home.start();
    let port = gateway.port();
    let bearer = format!("Authorization: Bearer {TOKEN}");
    for method in methods::all() {
        let body =
            json!({"type": "req", "id": "1", "method": method.name, "params": {}}).to_string();
        for headers in [&[][..], &[bearer.as_str()][..]] {
            for path in [
                format!("/{}", method.name),
                format!("/api/{}", method.name),
                "/rpc".into(),
            ] {
                let answer = http::request(port, "POST", &path, headers, body.as_bytes());
                assert!(
                    (400..500).contains(&answer.status) && !answer.text().contains("payload"),
                    "{path}: {} {}",
                    answer.status,
                    answer.text()
                );
            }
        }
    }
    // The twin: the same words over WebSocket are a call.
    let mut client = gateway.admin();
    ok(&client.call("health", json!({})));
}
