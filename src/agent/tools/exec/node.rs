//! Commands that run on a node: asked about here where they are guarded, judged again there.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::call::Call;
use super::guard::{self, Rules};
use super::later::{NOTE_TAIL, Teller};
use super::output::{clean, shortened};
use super::{Answer, Deps, Question, waiting};
use crate::agent::tools::{Context, Output, ToolError};
use crate::state::approvals::Security;

/// Runs commands on nodes.
pub trait Nodes: Send + Sync {
    /// The id of the node that `name` means, by id or by name; `None`: the only one that can run commands.
    fn find(&self, name: Option<&str>) -> Result<String, String>;

    /// Runs a command there and waits for what the node says of it.
    fn run(&self, run: NodeRun) -> Result<Value, String>;
}

/// A command for a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRun {
    /// With the node's id.
    pub question: Question,
    pub limit: Duration,
    /// The approval that it runs with, used up by this.
    pub approval: Option<String>,
}

pub fn run(
    deps: &Arc<Deps>,
    call: Call,
    rules: &Rules,
    node: Option<&str>,
    context: &Context<'_>,
) -> Result<Output, ToolError> {
    if rules.security == Security::Deny {
        return Err(ToolError::new(guard::SWITCHED_OFF));
    }
    let node = deps.nodes.find(node).map_err(ToolError::new)?;
    let run = NodeRun {
        question: Question {
            argv: vec!["/bin/sh".into(), "-lc".into(), call.line.clone()],
            program: None,
            cwd: call.workdir.as_ref().map(Into::into),
            env: call.overrides.clone(),
            agent: context.agent.to_string(),
            session_key: context.session_key.map(str::to_string),
            node: Some(node.clone()),
            security: rules.security.as_str(),
            ask: rules.ask.as_str(),
        },
        limit: call.limit,
        approval: None,
    };
    if rules.is_free() {
        let answer = deps.nodes.run(run).map_err(ToolError::new)?;
        let (text, succeeded) = told(&answer);
        return match succeeded {
            true => Ok(Output::text(text).with_details(answer)),
            false => Err(ToolError::new(text)),
        };
    }
    let details =
        json!({"host": "node", "nodeId": node, "command": call.line, "cwd": call.workdir});
    let (deps, teller, line) = (deps.clone(), Teller::of(deps, &call, context), call.line);
    let (asked, approver) = (run.question.clone(), deps.approver.clone());
    let done = Box::new(move |id: &str, answer| {
        let why = match answer {
            Answer::Denied => "denied",
            Answer::Silence => "nobody has decided in time",
            Answer::Once | Answer::Always => {
                let id = id.to_string();
                let work = move || approved(&deps, run, &teller, &id, &line);
                let thread = thread::Builder::new().name("exec-approved".into());
                if let Err(e) = thread.spawn(work) {
                    log::error!(target: "exec", "an approved command was not sent: {e}");
                }
                return;
            }
        };
        teller.say(id, format!("Exec denied (approval {id}, {why}): {line}"));
    });
    let ticket = approver.ask(asked, done);
    let ticket = ticket.map_err(|e| ToolError::new(format!("exec denied: {e}")))?;
    Ok(waiting(&ticket, details))
}

fn approved(deps: &Deps, mut run: NodeRun, teller: &Teller, id: &str, line: &str) {
    run.approval = Some(id.to_string());
    let text = match deps.nodes.run(run) {
        Ok(answer) => {
            let (text, _) = told(&answer);
            let tail = crate::protocol::frame::clip(&text, NOTE_TAIL);
            format!("Exec finished (approval {id})\n{tail}")
        }
        Err(why) => format!("Exec denied (approval {id}, {why}): {line}"),
    };
    teller.say(id, text);
}

/// What a node says of a command, and whether it went well.
fn told(answer: &Value) -> (String, bool) {
    let part = |key: &str| clean(answer[key].as_str().unwrap_or_default().as_bytes());
    let code = answer["exitCode"].as_i64();
    let mut parts: Vec<String> = [part("stdout"), part("stderr"), part("error")]
        .into_iter()
        .map(|text| shortened(text.trim_end()))
        .filter(|text| !text.is_empty())
        .collect();
    let over = answer["timedOut"].as_bool() == Some(true);
    match code {
        _ if over => parts.push("Command timed out".into()),
        Some(code) if code != 0 => parts.push(format!("(Command exited with code {code})")),
        _ if parts.is_empty() => parts.push("(no output)".into()),
        _ => {}
    }
    let failed = over || (code.is_none() && answer["success"].as_bool() == Some(false));
    (parts.join("\n"), !failed)
}
