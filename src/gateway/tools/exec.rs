//! Commands of agents: operators who approve them, nodes that run them, sessions that are told of their end.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use serde_json::{Value, json};

use crate::agent::tools::exec::{Answer, Approver, Done, NodeRun, Nodes, Notice, Question, Ticket};
use crate::gateway::Gateway;
use crate::gateway::runs::Wire;
use crate::nodes::approvals::{Caller, Decision, Request};
use crate::nodes::registry::{Invoke, Node};
use crate::nodes::{Platform, Policy, run};
use crate::schedule::heartbeat;
use crate::state::session_key;
use crate::state::system_events::Note;

/// What runs a command on a node.
const RUN: &str = "system.run";
/// Time for a node to answer beyond that of the command.
const MARGIN: Duration = Duration::from_secs(10);
/// Who asks for the agents, in place of a connection.
const ASKER: &str = "agent";

/// The operators who are connected and may approve commands.
pub struct Operators(pub Wire);

impl Approver for Operators {
    fn ask(&self, question: Question, done: Done) -> Result<Ticket, String> {
        let gateway = self.0.gateway()?;
        let request = request(&question);
        let (approvals, used) = (&gateway.approvals, gateway.approvals.clone());
        let ticket = approvals
            .open(None, request.clone(), asker(), None)
            .map_err(|e| e.to_string())?;
        let answered = Box::new(move |t: &crate::nodes::approvals::Ticket| {
            let answer = match t.decision {
                None => Answer::Silence,
                Some(Decision::Deny) => Answer::Denied,
                // On a node it is used up when it is sent there.
                Some(decision) if request.node_id.is_some() => allowed(decision),
                Some(_) => match used.consume(&t.id, &request, &asker()) {
                    Ok(decision) => allowed(decision),
                    Err(_) => Answer::Silence,
                },
            };
            done(&t.id, answer);
        });
        if !gateway.show_approval(&ticket) {
            approvals.abandon(&ticket.id);
            return Err(
                "it has to be approved, and no operator who could do that is connected".into(),
            );
        }
        if !approvals.wait(&ticket.id, answered) {
            return Err("the question expired before it was asked".into());
        }
        Ok(Ticket {
            id: ticket.id,
            expires_at_ms: ticket.expires_at_ms,
        })
    }
}

fn allowed(decision: Decision) -> Answer {
    match decision {
        Decision::AllowOnce => Answer::Once,
        Decision::AllowAlways => Answer::Always,
        Decision::Deny => Answer::Denied,
    }
}

fn asker() -> Caller {
    Caller {
        device_id: None,
        conn_id: ASKER.into(),
    }
}

/// The question in the words of an approval.
fn request(question: &Question) -> Request {
    let path = |p: &Option<std::path::PathBuf>| p.as_ref().map(|p| p.display().to_string());
    Request {
        command: run::shown(&question.argv),
        argv: Some(question.argv.clone()),
        env: question.env.clone(),
        cwd: path(&question.cwd),
        node_id: question.node.clone(),
        host: Some(
            if question.node.is_some() {
                "node"
            } else {
                "gateway"
            }
            .into(),
        ),
        security: Some(question.security.into()),
        ask: Some(question.ask.into()),
        agent_id: Some(question.agent.clone()),
        resolved_path: path(&question.program),
        session_key: question.session_key.clone(),
    }
}

/// The nodes that are connected.
pub struct RemoteHosts(pub Wire);

impl Nodes for RemoteHosts {
    fn find(&self, name: Option<&str>) -> Result<String, String> {
        let nodes = self.0.gateway()?.nodes.list();
        find(&nodes, name).map(|n| n.node_id.clone())
    }

    fn run(&self, run: NodeRun) -> Result<Value, String> {
        let gateway = self.0.gateway()?;
        let node_id = run.question.node.clone().unwrap_or_default();
        let node = gateway
            .nodes
            .get(&node_id)
            .ok_or("the node is not connected")?;
        check(&gateway, &node)?;
        let mut params = params(&run);
        if let Some(id) = &run.approval {
            params["approved"] = json!(true);
            params["runId"] = json!(id);
        }
        let sent = run::params_for_node(&params, &node_id, &asker(), &gateway.approvals);
        let sent = sent.map_err(|e| e.to_string())?;
        let limit = run.limit + MARGIN;
        let invoke = Invoke {
            node_id,
            command: RUN.into(),
            run: Some(run::tag(&sent)),
            params_json: Some(Value::Object(sent).to_string()),
            timeout_ms: u64::try_from(limit.as_millis()).ok(),
            idempotency_key: None,
        };
        let (answer_in, answer) = sync_channel(1);
        let done = Box::new(move |result| {
            let _ = answer_in.send(result);
        });
        gateway.nodes.invoke(invoke, done);
        // The registry answers by its own deadline; ours is there in case it does not.
        match answer.recv_timeout(limit + MARGIN) {
            Ok(Ok(answer)) => Ok(answer.into_payload().unwrap_or(Value::Null)),
            Ok(Err(e)) => Err(e.to_string()),
            Err(_) => Err("the node did not answer".into()),
        }
    }
}

/// The node that `name` means; without one, the only node that runs commands.
fn find<'n>(nodes: &'n [Node], name: Option<&str>) -> Result<&'n Node, String> {
    let able = |n: &&Node| n.commands.iter().any(|c| c == RUN);
    let named = |n: &&Node| {
        name.is_none_or(|name| {
            let shown = n.display_name.as_deref().unwrap_or_default();
            n.node_id == name || shown.eq_ignore_ascii_case(name)
        })
    };
    let mut found = nodes.iter().filter(able).filter(named);
    match (found.next(), found.next(), name) {
        (Some(node), None, _) => Ok(node),
        (Some(_), Some(_), _) => {
            Err("several nodes run commands; say which with node, or set tools.exec.node".into())
        }
        (None, _, Some(name)) => Err(format!("no node {name:?} that runs commands is connected")),
        (None, _, None) => Err("no node that runs commands is connected".into()),
    }
}

/// Whether commands may run on the node at all.
fn check(gateway: &Gateway, node: &Node) -> Result<(), String> {
    let device = gateway
        .devices
        .get(&node.node_id)
        .map_err(|e| e.to_string())?;
    let pinned = device.as_ref().and_then(|d| d["platform"].as_str());
    let platform = Platform::of(pinned.unwrap_or_default());
    let policy = Policy::of(&gateway.config.current());
    let checked = policy.check(platform, &node.commands, RUN);
    checked.map_err(|why| format!("the node may not run commands ({})", why.reason()))
}

fn params(run: &NodeRun) -> Value {
    let question = &run.question;
    json!({
        "command": question.argv,
        "rawCommand": run::shown(&question.argv),
        "cwd": question.cwd,
        "env": question.env,
        "timeoutMs": run.limit.as_millis() as u64,
        "agentId": question.agent,
        "sessionKey": question.session_key,
    })
}

/// What tells a session of the end of a command, and has its agent look.
pub fn notify(wire: &Wire) -> Arc<dyn Fn(Notice) + Send + Sync> {
    let wire = wire.clone();
    Arc::new(move |notice: Notice| {
        let Ok(gateway) = wire.gateway() else {
            return;
        };
        let key = notice.session_key;
        let key = key.unwrap_or_else(|| session_key::main_key(&notice.agent));
        let note = Note::new("exec", notice.text).with_context(notice.context);
        match gateway.notes.push(&key, note) {
            Ok(_) => {
                let heartbeats = &gateway.schedule.heartbeats;
                heartbeats.wake(heartbeat::Reason::Exec, Some(&notice.agent), Some(&key));
            }
            Err(e) => log::warn!(target: "exec", "the end of a command was not noted: {e}"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str, name: &str, commands: &[&str]) -> Node {
        Node {
            node_id: id.into(),
            display_name: Some(name.into()),
            commands: commands.iter().map(|c| c.to_string()).collect(),
            ..Node::default()
        }
    }

    #[test]
    fn a_node_is_found_by_id_or_name_and_never_guessed() {
        let nodes = [
            node("a", "Mac", &[RUN]),
            node("b", "phone", &["location.get"]),
        ];
        assert_eq!(find(&nodes, None).unwrap().node_id, "a");
        assert_eq!(find(&nodes, Some("mac")).unwrap().node_id, "a");
        assert!(find(&nodes, Some("phone")).is_err());
        assert!(find(&nodes, Some("m")).is_err());
        assert!(find(&nodes[1..], None).is_err());
        let twice = [node("a", "x", &[RUN]), node("b", "x", &[RUN])];
        assert!(find(&twice, None).is_err() && find(&twice, Some("x")).is_err());
        assert_eq!(find(&twice, Some("b")).unwrap().node_id, "b");
    }

    /// TX-07
    #[test]
    fn operators_are_shown_the_words_that_would_run() {
        let question = Question {
            argv: vec![
                "./env".into(),
                "sh".into(),
                "-c".into(),
                "jq --version".into(),
            ],
            program: Some("/ws/env".into()),
            cwd: Some("/ws".into()),
            env: [("TZ".to_string(), "UTC".to_string())].into(),
            agent: "main".into(),
            session_key: Some("agent:main:main".into()),
            node: None,
            security: "allowlist",
            ask: "on-miss",
        };
        let shown = request(&question).to_value();
        assert_eq!(shown["command"], "./env sh -c \"jq --version\"");
        assert_eq!(shown["commandArgv"], json!(question.argv));
        assert_eq!(shown["resolvedPath"], "/ws/env");
        assert_eq!(
            (&shown["host"], &shown["envKeys"]),
            (&json!("gateway"), &json!(["TZ"]))
        );
    }

    /// TX-13
    #[test]
    fn an_approval_fits_what_is_sent_to_the_node() {
        let approvals = crate::nodes::Approvals::new(Arc::new(|_| ()));
        let run = NodeRun {
            question: Question {
                argv: vec!["/bin/sh".into(), "-lc".into(), "uname -a".into()],
                program: None,
                cwd: None,
                env: Default::default(),
                agent: "main".into(),
                session_key: Some("agent:main:main".into()),
                node: Some("n".into()),
                security: "allowlist",
                ask: "on-miss",
            },
            limit: Duration::from_secs(5),
            approval: None,
        };
        let ticket = approvals
            .open(None, request(&run.question), asker(), None)
            .unwrap();
        approvals.resolve(&ticket.id, Decision::AllowOnce).unwrap();
        let mut params = params(&run);
        params["approved"] = json!(true);
        params["runId"] = json!(ticket.id);
        assert!(run::params_for_node(&params, "other", &asker(), &approvals).is_err());
        let sent = run::params_for_node(&params, "n", &asker(), &approvals).unwrap();
        assert_eq!(
            (&sent["approvalDecision"], &sent["timeoutMs"]),
            (&json!("allow-once"), &json!(5000))
        );
        assert!(run::params_for_node(&params, "n", &asker(), &approvals).is_err());
    }
}
