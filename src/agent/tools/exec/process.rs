//! The tool `process`: what became of commands in the background.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::job::{Job, MAX_INPUT, Waited};
use super::output::shortened;
use super::{Deps, KEPT_MS};
use crate::agent::provider::ToolSpec;
use crate::agent::tools::files::setting;
use crate::agent::tools::{Context, Output, Tool, ToolError, count_of, text_of};
use crate::protocol::frame::clip;
use crate::sys::process::Signal;

/// Longest wait of one poll.
const MAX_POLL: Duration = Duration::from_secs(120);
/// Lines of a log when nothing is said about them.
const LOG_LINES: usize = 200;
/// Bytes of a command line in a list.
const MAX_NAME: usize = 60;
/// Bytes of output in a list.
const TAIL: usize = 500;
/// When to ask again about a command without news, in ms.
const RETRY_MS: u64 = 5000;

/// The tool.
pub struct Process(Arc<Deps>);

impl Process {
    pub fn new(deps: Arc<Deps>) -> Process {
        Process(deps)
    }
}

impl Tool for Process {
    fn spec(&self) -> ToolSpec {
        let text = |about: &str| json!({"type": "string", "description": about});
        let texts = |about: &str| json!({"type": "array", "items": {"type": "string"}, "description": about});
        ToolSpec {
            name: "process",
            description: "See to commands that exec has started in the background: list, poll (new output), log \
                (lines), write (input), send-keys, submit, paste, kill, clear, remove.",
            parameters: json!({
                "type": "object",
                "properties": {
                    "action": text("What to do"),
                    "sessionId": text("The command; needed for all but list"),
                    "data": text("write: the input"),
                    "keys": texts("send-keys: Enter, Tab, Space, C-c, C-d"),
                    "hex": texts("send-keys: bytes in hex"),
                    "literal": text("send-keys: a text as it is"),
                    "text": text("paste: the text"),
                    "bracketed": {"type": "boolean", "description": "paste: mark it as pasted"},
                    "eof": {"type": "boolean", "description": "write: close the input afterwards"},
                    "offset": {"type": "number", "description": "log: the first line, counted from 0"},
                    "limit": {"type": "number", "description": "log: most lines"},
                    "timeout": {"type": "number", "description": "poll: milliseconds to wait for news"},
                },
                "required": ["action"],
            }),
        }
    }

    fn summary(&self) -> &'static str {
        "Manage background exec sessions"
    }

    fn meta(&self, arguments: &Map<String, Value>) -> Option<String> {
        let action = text_of(arguments, &["action"])?;
        Some(match text_of(arguments, &["sessionId"]) {
            Some(id) => format!("{action} {id}"),
            None => action.to_string(),
        })
    }

    fn run(
        &self,
        arguments: &Map<String, Value>,
        context: &Context<'_>,
    ) -> Result<Output, ToolError> {
        let kept = setting(context, &["exec", "cleanupMs"]).and_then(Value::as_u64);
        self.0.jobs.tidy(kept.unwrap_or(KEPT_MS));
        let action = text_of(arguments, &["action"]);
        let action = action.ok_or_else(|| ToolError::input("action required"))?;
        if action == "list" {
            return Ok(list(&self.0.jobs.list(context.agent)));
        }
        let Some(id) = text_of(arguments, &["sessionId"]) else {
            return Ok(failed("sessionId is required for this action."));
        };
        let Some(job) = self.0.jobs.find(context.agent, id) else {
            return Ok(failed(&format!("No session found for {id}")));
        };
        match action {
            "poll" => poll(&job, arguments, context),
            "log" => log(&job, arguments),
            "write" => {
                let data = arguments.get("data").and_then(Value::as_str).unwrap_or("");
                let eof = arguments.get("eof").and_then(Value::as_bool) == Some(true);
                write(&job, data.into(), eof)
            }
            "submit" => write(&job, b"\n".to_vec(), false),
            "paste" => write(&job, pasted(arguments)?, false),
            "send-keys" => send_keys(&job, arguments),
            "kill" if job.ended().is_some() => {
                Ok(failed(&format!("Session {id} has ended already.")))
            }
            "kill" => {
                job.kill();
                Ok(told(
                    "failed",
                    format!("Termination requested for session {id}."),
                    &job,
                ))
            }
            "clear" if job.ended().is_none() => {
                Ok(failed(&format!("No finished session found for {id}")))
            }
            "clear" => {
                self.0.jobs.forget(&job);
                Ok(told("completed", format!("Cleared session {id}."), &job))
            }
            "remove" => {
                let runs = job.ended().is_none();
                job.kill();
                self.0.jobs.forget(&job);
                let more = if runs { " (termination requested)" } else { "" };
                Ok(told(
                    "completed",
                    format!("Removed session {id}{more}."),
                    &job,
                ))
            }
            other => Err(ToolError::input(format!("unknown action {other:?}"))),
        }
    }
}

fn status(job: &Job) -> &'static str {
    match job.ended() {
        None => "running",
        Some(ended) if ended.is_success() => "completed",
        Some(_) => "failed",
    }
}

/// The beginning of the command line, on one line.
fn name(job: &Job) -> String {
    let line: Vec<&str> = job.line.split_whitespace().collect();
    clip(&line.join(" "), MAX_NAME).to_string()
}

fn failed(text: &str) -> Output {
    Output::text(text).with_details(json!({"status": "failed"}))
}

fn told(status: &str, text: String, job: &Job) -> Output {
    Output::text(text).with_details(json!({"status": status, "name": name(job)}))
}

fn list(jobs: &[Arc<Job>]) -> Output {
    let line = |job: &Arc<Job>| {
        let secs = job.took().as_secs();
        format!("{} {:<9} {secs}s :: {}", job.id, status(job), name(job))
    };
    let lines: Vec<String> = jobs.iter().map(line).collect();
    let text = match lines.is_empty() {
        true => "No running or recent sessions.".to_string(),
        false => lines.join("\n"),
    };
    let rows: Vec<Value> = jobs.iter().map(|job| row(job)).collect();
    Output::text(text).with_details(json!({"status": "completed", "sessions": rows}))
}

fn row(job: &Job) -> Value {
    let (tail, cut) = job.with_output(|output, _| (output.tail(TAIL), output.is_cut()));
    let mut row = json!({
        "sessionId": job.id, "status": status(job), "pid": job.pid, "startedAt": job.started_at,
        "runtimeMs": job.took().as_millis() as u64, "cwd": job.cwd, "command": job.line,
        "name": name(job), "tail": tail, "truncated": cut,
    });
    add_end(&mut row, job);
    row
}

/// Puts in how it ended, if it has.
fn add_end(details: &mut Value, job: &Job) {
    let Some(ended) = job.ended() else {
        return;
    };
    details["endedAt"] = json!(ended.at);
    match ended.code {
        Some(code) => details["exitCode"] = json!(code),
        None => {
            let name = super::job::signal_name(ended.signal.unwrap_or_default());
            details["exitSignal"] = json!(name);
        }
    }
}

fn poll(
    job: &Arc<Job>,
    arguments: &Map<String, Value>,
    context: &Context<'_>,
) -> Result<Output, ToolError> {
    let wait = arguments
        .get("timeout")
        .and_then(Value::as_f64)
        .unwrap_or(0.0);
    let wait = Duration::from_millis(wait.clamp(0.0, MAX_POLL.as_millis() as f64) as u64);
    if job.wait_for_output(wait, context.cancel) == Waited::Cancelled {
        return Err(ToolError::new("the run was stopped"));
    }
    // The end first: what is read after it is all there is.
    let ended = job.ended();
    let (fresh, nothing) = job.with_output(|output, _| {
        let fresh = output.fresh(ended.is_some());
        (fresh, output.is_empty())
    });
    let shown = match (fresh.trim_end(), ended) {
        ("", None) => "(no new output)".to_string(),
        ("", Some(_)) if nothing => "(no output recorded)".to_string(),
        ("", Some(_)) => "(no new output)".to_string(),
        (text, _) => shortened(text),
    };
    let last = match ended {
        None => "Process still running.".to_string(),
        Some(e) if e.timed_out => format!("Process timed out and was ended ({}).", e.shown()),
        Some(e) => format!("Process exited with {}.", e.shown()),
    };
    let mut details = json!({
        "status": status(job), "sessionId": job.id, "name": name(job),
        "aggregated": job.with_output(|output, _| shortened(&output.text())),
    });
    match ended {
        None => details["retryInMs"] = json!(RETRY_MS),
        Some(_) => add_end(&mut details, job),
    }
    Ok(Output::text(format!("{shown}\n\n{last}")).with_details(details))
}

fn log(job: &Arc<Job>, arguments: &Map<String, Value>) -> Result<Output, ToolError> {
    let (text, cut) = job.with_output(|output, _| (output.text(), output.is_cut()));
    let lines: Vec<&str> = text.lines().collect();
    let offset = arguments
        .get("offset")
        .and_then(Value::as_u64)
        .map(|n| n as usize);
    let limit = count_of(arguments, "limit")?;
    let from = match (offset, limit) {
        (Some(offset), _) => offset.min(lines.len()),
        (None, limit) => lines.len().saturating_sub(limit.unwrap_or(LOG_LINES)),
    };
    let count = limit.unwrap_or(usize::MAX).min(lines.len() - from);
    let mut shown = shortened(&lines[from..from + count].join("\n"));
    if shown.is_empty() {
        shown.push_str("(no output recorded)");
    }
    if offset.is_none() && limit.is_none() && from > 0 {
        shown.push_str(&format!(
            "\n\n[showing last {count} of {} lines; pass offset/limit to page]",
            lines.len()
        ));
    }
    let mut details = json!({
        "status": status(job), "sessionId": job.id, "name": name(job), "total": lines.len(),
        "totalLines": lines.len(), "totalChars": text.chars().count(), "truncated": cut,
    });
    add_end(&mut details, job);
    Ok(Output::text(shown).with_details(details))
}

fn write(job: &Arc<Job>, bytes: Vec<u8>, eof: bool) -> Result<Output, ToolError> {
    let failed = |why: &str| ToolError::new(format!("cannot write to session {}: {why}", job.id));
    if job.ended().is_some() {
        return Err(failed("it has ended"));
    }
    if bytes.len() > MAX_INPUT {
        let text = format!("the input is longer than {MAX_INPUT} bytes");
        return Err(ToolError::input(text));
    }
    let count = bytes.len();
    job.write(bytes).map_err(failed)?;
    if eof {
        job.close_input();
    }
    let more = if eof { " and closed its input" } else { "" };
    Ok(told(
        "running",
        format!("Wrote {count} bytes to session {}{more}.", job.id),
        job,
    ))
}

fn pasted(arguments: &Map<String, Value>) -> Result<Vec<u8>, ToolError> {
    let text = arguments.get("text").and_then(Value::as_str);
    let text = text.ok_or_else(|| ToolError::input("text required"))?;
    // Without a terminal nobody reads the marks, unless they are asked for.
    let marked = arguments.get("bracketed").and_then(Value::as_bool) == Some(true);
    Ok(match marked {
        true => format!("\x1b[200~{text}\x1b[201~").into_bytes(),
        false => text.into(),
    })
}

/// Keys as a terminal would pass them on: bytes, a signal, the end of the input.
fn send_keys(job: &Arc<Job>, arguments: &Map<String, Value>) -> Result<Output, ToolError> {
    let list = |key: &str| {
        let list = arguments.get(key).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str)
    };
    let mut bytes: Vec<u8> = Vec::new();
    let (mut interrupt, mut eof) = (false, false);
    if let Some(text) = arguments.get("literal").and_then(Value::as_str) {
        bytes.extend(text.bytes());
    }
    for hex in list("hex") {
        let byte = u8::from_str_radix(hex.trim().trim_start_matches("0x"), 16);
        bytes.push(byte.map_err(|_| ToolError::input(format!("{hex:?} is no byte in hex")))?);
    }
    for key in list("keys") {
        match key {
            "Enter" | "Return" => bytes.push(b'\n'),
            "Tab" => bytes.push(b'\t'),
            "Space" => bytes.push(b' '),
            "Escape" | "Esc" => bytes.push(0x1b),
            "C-c" => interrupt = true,
            "C-d" => eof = true,
            one if one.chars().count() == 1 => bytes.extend(one.bytes()),
            other => {
                let text = format!("the key {other:?} means nothing without a terminal");
                return Err(ToolError::input(text));
            }
        }
    }
    if interrupt {
        job.signal(Signal::Int);
        if bytes.is_empty() && !eof {
            return Ok(told(
                "running",
                format!("Interrupted session {}.", job.id),
                job,
            ));
        }
    }
    write(job, bytes, eof)
}
