//! The tool `exec`: a command of this machine, in the foreground for a while, then in the background.
//!
//! `guard` says whether it may run; `bound` keeps what a person was shown as it was; `jobs` are what runs.
//! How operators are asked and how a session is told of what ended later is handed in.

mod bound;
mod call;
mod env;
mod guard;
mod job;
mod jobs;
mod later;
mod line;
mod node;
mod output;
mod pattern;
pub mod process;
mod program;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{Context, Output, Tool, ToolError};
use crate::agent::provider::ToolSpec;
use crate::state::approvals;
use crate::state::sessions;
use bound::Bound;
use call::Call;
use guard::{Command, Host, Rules, Verdict};
use job::{Ended, Job, Waited};
pub use jobs::{Jobs, KEPT_MS};
use later::{Pending, Teller};
pub use node::{NodeRun, Nodes};
use output::shortened;

/// Bytes of output that come with a command that goes to the background.
const TAIL: usize = 2000;

/// What a person is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The words that would be executed.
    pub argv: Vec<String>,
    /// The program that the first of them means; not known for a node.
    pub program: Option<PathBuf>,
    /// `None` for a node's own choice.
    pub cwd: Option<PathBuf>,
    /// What is set on top of the gateway's environment.
    pub env: BTreeMap<String, String>,
    pub agent: String,
    pub session_key: Option<String>,
    /// The node that it would run on, by its id; `None` for this machine.
    pub node: Option<String>,
    pub security: &'static str,
    pub ask: &'static str,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Once,
    Always,
    Denied,
    /// Nobody has decided in time.
    Silence,
}

/// A question that waits for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    pub id: String,
    /// Ms since 1970.
    pub expires_at_ms: u64,
}

/// Called once with the id of the question and the answer to it.
pub type Done = Box<dyn FnOnce(&str, Answer) + Send>;

/// Asks operators.
pub trait Approver: Send + Sync {
    /// The answer may come on any thread, also before this returns. An error when there is nobody to ask.
    fn ask(&self, question: Question, done: Done) -> Result<Ticket, String>;
}

/// Something that happened after the turn that caused it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub agent: String,
    pub session_key: Option<String>,
    /// What it is about, for the gateway: `exec:ID`.
    pub context: String,
    pub text: String,
}

/// What the tool needs of the gateway.
pub struct Deps {
    pub jobs: Arc<Jobs>,
    /// The exec approvals file.
    pub listed: Arc<approvals::Store>,
    pub sessions: Arc<sessions::Store>,
    pub approver: Arc<dyn Approver>,
    pub nodes: Arc<dyn Nodes>,
    /// Tells a session, and wakes its agent.
    pub notify: Arc<dyn Fn(Notice) + Send + Sync>,
}

/// The tool.
pub struct Exec(Arc<Deps>);

impl Exec {
    pub fn new(deps: Arc<Deps>) -> Exec {
        Exec(deps)
    }
}

impl Tool for Exec {
    fn spec(&self) -> ToolSpec {
        let text = |about: &str| json!({"type": "string", "description": about});
        ToolSpec {
            name: "exec",
            description: "Run a shell command. It goes on in the background after yieldMs, or at once with \
                background; see to it with process then. Its input is empty, unless it is started in \
                the background.",
            parameters: json!({
                "type": "object",
                "properties": {
                    "command": text("The command line"),
                    "workdir": text("Folder to run it in; the workspace otherwise"),
                    "env": {
                        "type": "object",
                        "description": "Variables to set; few names are allowed",
                        "additionalProperties": {"type": "string"},
                    },
                    "yieldMs": {"type": "number", "description": "Milliseconds to wait before it goes to the background (10000)"},
                    "background": {"type": "boolean", "description": "Run it in the background at once"},
                    "timeout": {"type": "number", "description": "Seconds after which it is ended"},
                    "pty": {"type": "boolean", "description": "Has no effect: there is no terminal"},
                    "elevated": {"type": "boolean", "description": "Has no effect"},
                    "host": text("Where to run it (gateway, node), if that is allowed"),
                    "security": text("A stricter mode than the configured one (deny, allowlist, full)"),
                    "ask": text("Ask more often than configured (off, on-miss, always)"),
                    "node": text("Node to run it on, with host node"),
                },
                "required": ["command"],
            }),
        }
    }

    fn summary(&self) -> &'static str {
        "Run shell commands"
    }

    fn meta(&self, arguments: &Map<String, Value>) -> Option<String> {
        Some(arguments.get("command")?.as_str()?.trim().to_string())
    }

    fn run(
        &self,
        arguments: &Map<String, Value>,
        context: &Context<'_>,
    ) -> Result<Output, ToolError> {
        let call = Call::of(arguments, context)?;
        let listed = self.0.listed.policy(context.agent);
        let listed = listed.map_err(|e| ToolError::new(format!("exec denied: {e}")))?;
        let fields = self.session(context)?;
        let rules = Rules::of(context, &fields, &listed, arguments)?;
        if let Host::Node(node) = &rules.host {
            return node::run(&self.0, call, &rules, node.as_deref(), context);
        }
        let home = &context.config.locations().home;
        match guard::judge(&rules, &listed, home, &call.line, &call.cwd, &call.env) {
            Verdict::Deny(why) => Err(ToolError::new(why)),
            Verdict::Run(command) => {
                let dir = File::open(&call.cwd);
                let dir = dir.map_err(|e| ToolError::new(format!("workdir: {e}")))?;
                let start = call.start(context.agent, &command, dir, call.cwd.clone());
                let job = self.0.jobs.start(start).map_err(ToolError::new)?;
                self.attend(&call, &job, context)
            }
            Verdict::Ask(command) => self.ask(call, &rules, command, context),
        }
    }
}

impl Exec {
    fn session(&self, context: &Context<'_>) -> Result<Map<String, Value>, ToolError> {
        let Some(key) = context.session_key else {
            return Ok(Map::new());
        };
        // What cannot be read might be strict.
        let entry = self.0.sessions.get(key);
        let entry = entry.map_err(|e| ToolError::new(format!("exec denied: {e}")))?;
        Ok(entry.map(|e| e.map().clone()).unwrap_or_default())
    }

    /// Waits for a started command as long as the call wants it, then leaves it to the background.
    fn attend(
        &self,
        call: &Call,
        job: &Arc<Job>,
        context: &Context<'_>,
    ) -> Result<Output, ToolError> {
        match job.wait(call.foreground, context.cancel) {
            Waited::Ended(ended) if !call.input => {
                self.0.jobs.forget(job);
                finished(call, job, ended)
            }
            Waited::Cancelled => {
                job.kill();
                self.0.jobs.forget(job);
                Err(ToolError::new(
                    "the run was stopped, and the command with it",
                ))
            }
            Waited::Ended(_) | Waited::Time => {
                let teller = call.notify.then(|| Teller::of(&self.0, call, context));
                job.into_background(teller.map(Teller::at_end));
                let tail = job.with_output(|output, _| output.tail(TAIL));
                let text = format!(
                    "Command still running (session {}, pid {}). Use process \
                     (list/poll/log/write/kill/clear/remove) for follow-up.",
                    job.id, job.pid
                );
                Ok(Output::text(text).with_details(json!({
                    "status": "running", "sessionId": job.id, "pid": job.pid,
                    "startedAt": job.started_at, "cwd": job.cwd, "tail": tail,
                })))
            }
        }
    }

    /// Asks a person; the command starts when the answer comes.
    fn ask(
        &self,
        call: Call,
        rules: &Rules,
        command: Command,
        context: &Context<'_>,
    ) -> Result<Output, ToolError> {
        let program = &command.program.path;
        let held = match command.in_shell {
            true => Bound::new(&call.cwd, program, bound::words_of(&call.line)),
            false => Bound::new(
                &call.cwd,
                program,
                command.argv[1..].iter().map(String::as_str),
            ),
        };
        let held = held.map_err(|e| ToolError::new(format!("workdir: {e}")))?;
        let details = json!({"host": "gateway", "command": call.line, "cwd": held.cwd()});
        let question = Question {
            argv: command.argv.clone(),
            program: Some(command.program.path.clone()),
            cwd: Some(held.cwd().to_path_buf()),
            node: None,
            env: call.overrides.clone(),
            agent: context.agent.to_string(),
            session_key: context.session_key.map(str::to_string),
            security: rules.security.as_str(),
            ask: rules.ask.as_str(),
        };
        let pending = Pending {
            teller: Teller::of(&self.0, &call, context),
            deps: self.0.clone(),
            call,
            command,
            held,
        };
        let done = Box::new(move |id: &str, answer| pending.answered(id, answer));
        let ticket = self.0.approver.ask(question, done);
        let ticket = ticket.map_err(|e| ToolError::new(format!("exec denied: {e}")))?;
        Ok(waiting(&ticket, details))
    }
}

/// What is told of a question that waits.
fn waiting(ticket: &Ticket, mut details: Value) -> Output {
    let slug: String = ticket.id.chars().take(8).collect();
    details["status"] = json!("approval-pending");
    details["approvalId"] = json!(ticket.id);
    details["approvalSlug"] = json!(slug);
    details["expiresAtMs"] = json!(ticket.expires_at_ms);
    let text = format!(
        "Approval required (id {slug}). A person has to approve it; you will be told what came of it."
    );
    Output::text(text).with_details(details)
}

/// The result of a command that ended in the foreground.
fn finished(call: &Call, job: &Job, ended: Ended) -> Result<Output, ToolError> {
    let all = job.with_output(|output, _| output.text());
    let mut text = shortened(all.trim_end());
    let mut note = |line: String| {
        if !text.is_empty() {
            text.push_str("\n\n");
        }
        text.push_str(&line);
    };
    let failed = match (ended.code, ended.signal) {
        _ if ended.timed_out => {
            note(format!(
                "Command timed out after {} seconds",
                call.limit.as_secs()
            ));
            true
        }
        (Some(0), _) => false,
        // A shell's own words for what cannot be started.
        (Some(code @ (126 | 127)), _) => {
            note(format!(
                "(Command exited with code {code}: it could not be started)"
            ));
            true
        }
        (Some(code), _) => {
            note(format!("(Command exited with code {code})"));
            false
        }
        (None, _) => {
            note(format!("Command aborted by {}", ended.shown()));
            true
        }
    };
    if text.is_empty() {
        text.push_str("(no output)");
    }
    if let Some(remark) = &call.remark {
        text.insert_str(0, &format!("{remark}\n\n"));
    }
    if failed {
        return Err(ToolError::new(text));
    }
    let details = json!({
        "status": "completed", "exitCode": ended.code, "durationMs": ended.took.as_millis() as u64,
        "aggregated": text, "cwd": job.cwd,
    });
    Ok(Output::text(text).with_details(details))
}
