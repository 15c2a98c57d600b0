//! The arguments of a call of `exec`, read, with what is configured filled in.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

use super::env;
use super::guard::Command;
use super::job::{self, Start};
use crate::agent::tools::files::setting;
use crate::agent::tools::policy::Policy;
use crate::agent::tools::{Context, ToolError, count_of, text_of};

/// Longest time that a command may be given, in seconds.
const MAX_LIMIT_SECS: u64 = 7 * 24 * 60 * 60;
/// Longest time in the foreground, in ms.
const MAX_YIELD_MS: u64 = 10 * 60 * 1000;
/// Longest command line, in bytes.
pub const MAX_LINE: usize = 128 * 1024;

/// A call, with its arguments read.
#[derive(Clone)]
pub struct Call {
    pub line: String,
    /// The folder that was asked for, as it was written.
    pub workdir: Option<String>,
    pub cwd: PathBuf,
    /// Something about the call that the model should know.
    pub remark: Option<String>,
    pub overrides: BTreeMap<String, String>,
    /// All of the environment, overrides included.
    pub env: BTreeMap<String, String>,
    /// Time in the foreground.
    pub foreground: Duration,
    /// Its input stays open: it was meant for the background from the start.
    pub input: bool,
    pub limit: Duration,
    /// The session is told of the end in the background; `quiet`: not of one without errors and output.
    pub notify: bool,
    pub quiet: bool,
}

impl Call {
    /// The call with `arguments`; an error says what is wrong with them.
    pub fn of(arguments: &Map<String, Value>, context: &Context<'_>) -> Result<Call, ToolError> {
        let line = text_of(arguments, &["command"]);
        let line = line.ok_or_else(|| ToolError::input("command required"))?;
        if line.len() > MAX_LINE || line.contains('\0') {
            let text = format!("command has to be a text of at most {MAX_LINE} bytes without NUL");
            return Err(ToolError::input(text));
        }
        let number = |key: &str| count_of(arguments, key).map(|n| n.map(|n| n as u64));
        let configured = |key: &str, default: u64| {
            let set = setting(context, &["exec", key]).and_then(Value::as_f64);
            set.map_or(default, |n| n as u64)
        };
        let switch = |key: &str| setting(context, &["exec", key]).and_then(Value::as_bool);
        let secs = number("timeout")?.unwrap_or_else(|| configured("timeoutSec", 1800));
        let limit = Duration::from_secs(secs.clamp(1, MAX_LIMIT_SECS));
        // Without the tool `process` nobody could see to it later.
        let policy = Policy::of(context.config, context.agent, &context.model.provider);
        let may_leave = policy.allows("process");
        let at_once = arguments.get("background").and_then(Value::as_bool) == Some(true);
        let wait = number("yieldMs")?.unwrap_or_else(|| configured("backgroundMs", 10_000));
        let foreground = match (may_leave, at_once) {
            (false, _) => limit + job::ENDING,
            (true, true) => Duration::ZERO,
            (true, false) => Duration::from_millis(wait.min(MAX_YIELD_MS)),
        };
        let overrides = env::overrides(context, arguments)?;
        let mut all = env::base(context);
        all.extend(overrides.clone());
        let workdir = text_of(arguments, &["workdir"]);
        let (cwd, remark) = folder(context, workdir);
        Ok(Call {
            line: line.to_string(),
            workdir: workdir.map(str::to_string),
            cwd,
            remark,
            overrides,
            env: all,
            foreground,
            input: at_once && may_leave,
            limit,
            notify: switch("notifyOnExit") != Some(false),
            quiet: switch("notifyOnExitEmptySuccess") != Some(true),
        })
    }

    /// How to start `command` in the folder `dir`.
    pub fn start(&self, agent: &str, command: &Command, dir: File, cwd: PathBuf) -> Start {
        Start {
            agent: agent.to_string(),
            line: self.line.clone(),
            program: command.program.path.clone(),
            argv: command.argv.clone(),
            env: self.env.clone(),
            dir,
            cwd,
            input: self.input,
            limit: self.limit,
        }
    }
}

/// The folder to run in: the one asked for, else the workspace.
fn folder(context: &Context<'_>, asked: Option<&str>) -> (PathBuf, Option<String>) {
    let workspace = context.workspace.to_path_buf();
    let Some(asked) = asked else {
        return (workspace, None);
    };
    let path = match asked == "~" || asked.starts_with("~/") {
        true => context.config.locations().expand(asked),
        false => workspace.join(asked),
    };
    if path.is_dir() {
        return (path, None);
    }
    let remark = format!(
        "Warning: the folder {asked:?} is not there; running in {} instead.",
        workspace.display()
    );
    (workspace, Some(remark))
}
