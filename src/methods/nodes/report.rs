//! `node.event`: what nodes report of their own accord.
//!
//! A report is acknowledged whatever it says. It changes something only as far as the node may: it says
//! something to its own agent with a few harmless tools (SC-13), it follows chats of that agent, and it
//! tells how commands ended that wait on that very connection (SC-14).

use serde_json::Value;

use super::super::sessions::canonical;
use super::super::{Call, Reply, ok};
use crate::agent::provider::Thinking;
use crate::agent::run::{Callbacks, RunRequest, Source};
use crate::config;
use crate::nodes::registry::RunTag;
use crate::protocol::RpcError;
use crate::protocol::frame::clip;
use crate::schedule::heartbeat;
use crate::state::session_key;
use crate::state::system_events::Note;

/// Longest message that a node may say, in bytes.
const MAX_MESSAGE: usize = 64 * 1024;
/// Bytes of a command's output that a report adds to a session.
const MAX_OUTPUT: usize = 2000;
/// Bytes of a command and of a name in a report.
const MAX_WORDS: usize = 200;
/// What a run that a node began may use: nothing that executes, writes, sends or decides.
const TOOLS: &[&str] = &[
    "read",
    "group:web",
    "group:memory",
    "session_status",
    "image",
];

pub fn event(call: &Call<'_>) -> Result<Reply, RpcError> {
    let payload = payload(call);
    match call.str("event").unwrap_or_default() {
        "agent.request" => say(call, &payload, "message"),
        "voice.transcript" => say(call, &payload, "text"),
        "chat.subscribe" => follow(call, &payload, true),
        "chat.unsubscribe" => follow(call, &payload, false),
        "exec.finished" => ended(call, &payload, "finished"),
        "exec.denied" => ended(call, &payload, "denied"),
        _ => {}
    }
    ok()
}

/// What the report says; null when it is not JSON.
fn payload(call: &Call<'_>) -> Value {
    match call.str("payloadJSON") {
        Some(text) => serde_json::from_str(text).unwrap_or(Value::Null),
        None => call.params.get("payload").cloned().unwrap_or(Value::Null),
    }
}

/// The session that a report names, else the main one; `None` for another agent's.
fn session(call: &Call<'_>, payload: &Value) -> Option<String> {
    let config = call.gateway.config.current();
    let agent = config::agents::default_id(&config);
    let named = payload["sessionKey"]
        .as_str()
        .map(str::trim)
        .filter(|k| !k.is_empty());
    let Some(named) = named else {
        return Some(session_key::main_key(&agent));
    };
    let key = canonical(&config, named);
    let own = session_key::parse(&key).is_some_and(|k| k.agent == agent);
    own.then_some(key)
}

/// Has the agent answer to what the node's user said.
fn say(call: &Call<'_>, payload: &Value, field: &str) {
    let message = payload[field].as_str().unwrap_or_default().trim();
    let Some(key) = session(call, payload) else {
        return;
    };
    if message.is_empty() || message.len() > MAX_MESSAGE {
        return;
    }
    let agent = config::agents::default_id(&call.gateway.config.current());
    let mut request = RunRequest::new(agent, message, Source::Agent);
    request.sent_key = Some(key.clone());
    request.session_key = Some(key);
    request.thinking = payload["thinking"].as_str().and_then(Thinking::parse);
    request.channel = Some("node".into());
    request.owner = false;
    request.only_tools = Some(TOOLS.iter().map(|t| t.to_string()).collect());
    if let Err(e) = call.gateway.runs.start(request, Callbacks::default()) {
        log::warn!(target: "gateway", "a node's request was not run: {e}");
    }
}

fn follow(call: &Call<'_>, payload: &Value, on: bool) {
    if let Some(key) = session(call, payload) {
        call.gateway.nodes.follow(&call.client.conn_id, &key, on);
    }
}

/// Notes the end of a command in the session that had it run, for the agent's next turn.
fn ended(call: &Call<'_>, payload: &Value, how: &str) {
    let text = |key: &str| payload[key].as_str().map(str::to_string);
    let report = RunTag {
        run_id: text("runId"),
        session_key: text("sessionKey"),
    };
    let waiting = call
        .gateway
        .nodes
        .waiting_run(&call.client.conn_id, &report);
    let Some(RunTag {
        run_id: Some(id),
        session_key: Some(key),
    }) = waiting
    else {
        return;
    };
    let config = call.gateway.config.current();
    let key = canonical(&config, &key);
    let Some(agent) = session_key::parse(&key).map(|k| k.agent.to_string()) else {
        return;
    };
    let known = config::agents::exists(&config, &agent);
    if !known || !config.bool("tools.exec.notifyOnExit", true) {
        return;
    }
    let name = call.client.info_str("displayName");
    let source = format!("node {}", clip(name, MAX_WORDS));
    let note = Note::new(source, told(payload, how)).with_context(format!("exec:{id}"));
    match call.gateway.notes.push(&key, note) {
        Ok(_) => {
            let heartbeats = &call.gateway.schedule.heartbeats;
            heartbeats.wake(heartbeat::Reason::Exec, Some(&agent), Some(&key));
        }
        Err(e) => log::warn!(target: "gateway", "a node's report was not kept: {e}"),
    }
}

/// A report in one line, and the end of the output below it.
fn told(payload: &Value, how: &str) -> String {
    let command = clip(payload["command"].as_str().unwrap_or_default(), MAX_WORDS);
    let detail = match (payload["exitCode"].as_i64(), payload["reason"].as_str()) {
        (Some(code), _) => format!(" with exit code {code}"),
        (None, Some(reason)) => format!(": {}", clip(reason, MAX_WORDS)),
        (None, None) => String::new(),
    };
    let output = payload["output"].as_str().unwrap_or_default().trim();
    let over = output.len().saturating_sub(MAX_OUTPUT);
    let from = (over..=output.len()).find(|i| output.is_char_boundary(*i));
    let from = from.unwrap_or(output.len());
    format!("command {how}{detail}: {command}\n{}", &output[from..])
        .trim_end()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_report_is_short_and_keeps_the_end_of_the_output() {
        let done = json!({"command": "ls", "exitCode": 0, "output": "ä".repeat(3000)});
        let text = told(&done, "finished");
        assert!(text.starts_with("command finished with exit code 0: ls\nä"));
        assert!(text.len() < MAX_OUTPUT + 100);
        let denied = json!({"command": "rm", "reason": "approval required"});
        assert_eq!(
            told(&denied, "denied"),
            "command denied: approval required: rm"
        );
        assert_eq!(told(&Value::Null, "finished"), "command finished:");
    }
}
