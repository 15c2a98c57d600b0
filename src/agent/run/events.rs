//! The events of one run, in the order and the shapes of the wire.
//!
//! An `assistant` event carries the whole text so far. It is kept as JSON already, so that a delta costs
//! one copy of it and no escaping; each payload is built once, whoever reads it.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Sink;
use crate::agent::cancel::Reason;
use crate::agent::prompt::SILENT;
use crate::agent::provider::ToolCall;
use crate::agent::tools;
use crate::protocol::Event;
use crate::sys::{clock, sync};

/// Time between two `chat` deltas of a run.
const DELTA_INTERVAL: Duration = Duration::from_millis(150);

/// An event, ready to be sent.
#[derive(Clone, Debug)]
pub struct Output {
    /// [`Event::Agent`] or [`Event::Chat`].
    pub event: Event,
    /// JSON text.
    pub payload: String,
    pub run_id: Arc<str>,
    /// The canonical key of the run's session, if it has one.
    pub session_key: Option<Arc<str>>,
    /// The connections that get it; `None` for everybody who may see runs.
    pub to: Option<Vec<u64>>,
}

/// What sends the events of a run. Its lock is held while an event is handed on, so that an abort from
/// another thread cannot come between a delta and the one before it; the receiver must not call back.
pub struct Emitter {
    run_id: Arc<str>,
    session_key: Option<Arc<str>>,
    /// Key of the session as the caller wrote it, for `aborted`.
    sent_key: Option<String>,
    sink: Sink,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    seq: u64,
    began: bool,
    /// The current message so far, escaped for a JSON string.
    text: String,
    /// What is held back because it may become [`SILENT`]; `None` once it cannot.
    held: Option<String>,
    thinking: String,
    last_delta: Option<Instant>,
    watchers: Vec<u64>,
    over: Option<Over>,
}

/// How the run ended for those who watch the chat.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Over {
    Done,
    Aborted,
}

impl Emitter {
    pub fn new(
        run_id: Arc<str>,
        session_key: Option<Arc<str>>,
        sent_key: Option<String>,
        sink: Sink,
    ) -> Emitter {
        Emitter {
            run_id,
            session_key,
            sent_key,
            sink,
            state: Mutex::default(),
        }
    }

    /// Has the connection get the tool events.
    pub fn watch(&self, connection: u64) {
        let mut state = self.lock();
        if !state.watchers.contains(&connection) {
            state.watchers.push(connection);
        }
    }

    pub fn lifecycle_start(&self, started_at: u64) {
        let data = json!({"phase": "start", "startedAt": started_at});
        let mut state = self.lock();
        state.began = true;
        self.agent(&mut state, "lifecycle", &data.to_string(), None);
    }

    /// The end of a run that was stopped before it began is told to nobody.
    pub fn lifecycle_end(&self, started_at: u64, ended_at: u64, aborted: bool) {
        let mut state = self.lock();
        if !state.began {
            return;
        }
        let mut data = json!({"phase": "end", "endedAt": ended_at});
        if aborted {
            data["startedAt"] = json!(started_at);
            data["aborted"] = json!(true);
        }
        self.agent(&mut state, "lifecycle", &data.to_string(), None);
    }

    pub fn lifecycle_error(&self, error: &str, ended_at: u64) {
        let data = json!({"phase": "error", "error": error, "endedAt": ended_at});
        self.agent(&mut self.lock(), "lifecycle", &data.to_string(), None);
    }

    /// A new message of the assistant begins.
    pub fn begin_message(&self) {
        let mut state = self.lock();
        state.text.clear();
        state.thinking.clear();
        state.held = Some(String::new());
    }

    /// The message goes on with `delta`. Nothing is sent as long as all of it may still be the word
    /// that means silence.
    pub fn text(&self, delta: &str) {
        let mut state = self.lock();
        if state.over.is_some() {
            return;
        }
        match state.held.take() {
            None => self.assistant(&mut state, delta),
            Some(mut held) => {
                held.push_str(delta);
                if SILENT.starts_with(held.trim()) {
                    state.held = Some(held);
                } else {
                    self.assistant(&mut state, &held);
                }
            }
        }
    }

    /// The message is complete. True when it says nothing: it is empty, or the word for silence.
    pub fn end_message(&self) -> bool {
        let mut state = self.lock();
        let Some(held) = state.held.take() else {
            return false;
        };
        let word = held.trim();
        if word.is_empty() || word == SILENT {
            return true;
        }
        // It only looked like the word.
        if state.over.is_none() {
            self.assistant(&mut state, &held);
        }
        false
    }

    /// The model's reasoning goes on with `delta`.
    pub fn thinking(&self, delta: &str) {
        let mut state = self.lock();
        if state.over.is_some() {
            return;
        }
        let delta = escaped(delta);
        state.thinking.push_str(&delta);
        let data = text_data(&state.thinking, &delta);
        self.agent(&mut state, "thinking", &data, None);
    }

    pub fn tool_start(&self, call: &ToolCall) {
        let data = json!({
            "phase": "start", "name": call.name, "toolCallId": call.id, "args": call.arguments,
        });
        self.tool(&data);
    }

    /// `whole`: with what the tool gave, for sessions that are verbose in full.
    pub fn tool_result(
        &self,
        call: &ToolCall,
        meta: Option<&str>,
        output: &tools::Output,
        whole: bool,
    ) {
        let mut data = json!({
            "phase": "result", "name": call.name, "toolCallId": call.id, "isError": output.is_error,
        });
        if let Some(meta) = meta {
            data["meta"] = json!(meta);
        }
        if whole {
            data["result"] = json!({"content": super::content(&output.content)});
            if let Some(details) = &output.details {
                data["result"]["details"] = details.clone();
            }
        }
        self.tool(&data);
    }

    /// The reply is complete; without `text` there is nothing to say. False when the run was aborted
    /// before: then nobody is told.
    pub fn chat_final(&self, text: Option<&str>) -> bool {
        let mut state = self.lock();
        if !end(&mut state, Over::Done) {
            return false;
        }
        let message = text.map(|t| json!([{"type": "text", "text": t}]).to_string());
        let seq = state.seq;
        self.chat(seq, "final", message.as_deref(), "");
        true
    }

    /// The run has failed. False as for [`Emitter::chat_final`].
    pub fn chat_error(&self, error: &str) -> bool {
        let mut state = self.lock();
        if !end(&mut state, Over::Done) {
            return false;
        }
        let error = format!(",\"errorMessage\":{}", json!(error));
        self.chat(state.seq, "error", None, &error);
        true
    }

    /// Tells that the run was stopped, with what it said so far. False when it was over before.
    pub fn abort(&self, reason: Reason) -> bool {
        let mut state = self.lock();
        if !end(&mut state, Over::Aborted) {
            return false;
        }
        let message = (!state.text.is_empty())
            .then(|| format!("[{{\"type\":\"text\",\"text\":\"{}\"}}]", state.text));
        let stop = format!(",\"stopReason\":\"{}\"", reason.as_str());
        let key = self.sent_key.as_deref().or(self.session_key.as_deref());
        self.chat_as(key, state.seq + 1, "aborted", message.as_deref(), &stop);
        true
    }

    fn assistant(&self, state: &mut State, delta: &str) {
        if delta.is_empty() {
            return;
        }
        let delta = escaped(delta);
        state.text.push_str(&delta);
        let data = text_data(&state.text, &delta);
        self.agent(state, "assistant", &data, None);
        let due = state
            .last_delta
            .is_none_or(|last| last.elapsed() >= DELTA_INTERVAL);
        if due {
            state.last_delta = Some(Instant::now());
            let message = format!("[{{\"type\":\"text\",\"text\":\"{}\"}}]", state.text);
            self.chat(state.seq, "delta", Some(&message), "");
        }
    }

    fn tool(&self, data: &Value) {
        let mut state = self.lock();
        if state.over.is_some() {
            return;
        }
        // Counted also when nobody gets it, so that a gap in the numbers means the same for all.
        let watchers = state.watchers.clone();
        self.agent(&mut state, "tool", &data.to_string(), Some(watchers));
    }

    fn agent(&self, state: &mut State, stream: &str, data: &str, to: Option<Vec<u64>>) {
        state.seq += 1;
        if to.as_ref().is_some_and(Vec::is_empty) {
            return;
        }
        let (seq, ts) = (state.seq, clock::now_ms());
        let mut payload = String::with_capacity(data.len() + 200);
        payload.push_str("{\"runId\":");
        payload.push_str(&json!(&*self.run_id).to_string());
        payload.push_str(&format!(",\"stream\":\"{stream}\",\"data\":"));
        payload.push_str(data);
        if let Some(key) = &self.session_key {
            payload.push_str(&format!(",\"sessionKey\":{}", json!(&**key)));
        }
        payload.push_str(&format!(",\"seq\":{seq},\"ts\":{ts}}}"));
        self.send(Event::Agent, payload, to);
    }

    fn chat(&self, seq: u64, state: &str, content: Option<&str>, more: &str) {
        self.chat_as(self.session_key.as_deref(), seq, state, content, more);
    }

    /// A run without a session has no chat.
    fn chat_as(&self, key: Option<&str>, seq: u64, state: &str, content: Option<&str>, more: &str) {
        let Some(key) = key else {
            return;
        };
        let mut payload = format!(
            "{{\"runId\":{},\"sessionKey\":{},\"seq\":{seq},\"state\":\"{state}\"{more}",
            json!(&*self.run_id),
            json!(key)
        );
        if let Some(content) = content {
            payload.push_str(",\"message\":{\"role\":\"assistant\",\"content\":");
            payload.push_str(content);
            payload.push_str(&format!(",\"timestamp\":{}}}", clock::now_ms()));
        }
        payload.push('}');
        self.send(Event::Chat, payload, None);
    }

    fn send(&self, event: Event, payload: String, to: Option<Vec<u64>>) {
        (self.sink)(Output {
            event,
            payload,
            run_id: self.run_id.clone(),
            session_key: self.session_key.clone(),
            to,
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        sync::lock(&self.state)
    }
}

fn end(state: &mut State, how: Over) -> bool {
    let first = state.over.is_none();
    state.over.get_or_insert(how);
    first
}

/// `text` as the inside of a JSON string.
fn escaped(text: &str) -> String {
    let mut quoted = Value::from(text).to_string();
    quoted.pop();
    quoted.remove(0);
    quoted
}

/// `{"text": …, "delta": …}` of two escaped texts.
fn text_data(text: &str, delta: &str) -> String {
    let mut data = String::with_capacity(text.len() + delta.len() + 24);
    for piece in ["{\"text\":\"", text, "\",\"delta\":\"", delta, "\"}"] {
        data.push_str(piece);
    }
    data
}

/// The single `chat` event of a command that was answered without a run.
pub fn command_final(run_id: &str, sent_key: &str, session_key: &str, message: &Value) -> Output {
    let payload = json!({
        "runId": run_id, "sessionKey": sent_key, "seq": 1, "state": "final", "message": message,
    });
    Output {
        event: Event::Chat,
        payload: payload.to_string(),
        run_id: run_id.into(),
        session_key: Some(session_key.into()),
        to: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Seen = Arc<Mutex<Vec<(Value, Option<Vec<u64>>)>>>;

    fn emitter(key: Option<&str>) -> (Emitter, Seen) {
        let seen: Seen = Arc::default();
        let sink: Sink = {
            let seen = seen.clone();
            Arc::new(move |o: Output| {
                let payload = serde_json::from_str(&o.payload).unwrap();
                seen.lock().unwrap().push((payload, o.to));
            })
        };
        let sent = key.map(|_| "as sent".to_string());
        (
            Emitter::new("r\"1".into(), key.map(Into::into), sent, sink),
            seen,
        )
    }

    fn brief(seen: &Seen) -> Vec<String> {
        let all = seen.lock().unwrap();
        let each = all.iter().map(|(v, _)| match v["stream"].as_str() {
            Some(stream) => {
                let text = v["data"]["text"].as_str().or(v["data"]["phase"].as_str());
                format!("{} {stream} {}", v["seq"], text.unwrap_or_default())
            }
            None => {
                let text = v["message"]["content"][0]["text"]
                    .as_str()
                    .unwrap_or_default();
                format!("{} chat:{} {text}", v["seq"], v["state"].as_str().unwrap())
            }
        });
        each.collect()
    }

    #[test]
    fn a_run_from_start_to_final() {
        let (e, seen) = emitter(Some("agent:main:k"));
        e.lifecycle_start(1);
        e.begin_message();
        e.text("He said \"no\"\n");
        e.text("and more");
        assert!(!e.end_message());
        e.lifecycle_end(1, 2, false);
        assert!(e.chat_final(Some("He said \"no\"\nand more")));
        assert!(!e.chat_final(None) && !e.abort(Reason::Rpc));
        assert_eq!(
            brief(&seen),
            [
                "1 lifecycle start",
                "2 assistant He said \"no\"\n",
                "2 chat:delta He said \"no\"\n",
                "3 assistant He said \"no\"\nand more",
                "4 lifecycle end",
                "4 chat:final He said \"no\"\nand more",
            ]
        );
        let (first, _) = &seen.lock().unwrap()[1];
        assert_eq!(first["runId"], "r\"1");
        assert_eq!(first["sessionKey"], "agent:main:k");
        assert_eq!(first["data"]["delta"], "He said \"no\"\n");
    }

    #[test]
    fn silence_is_held_back_and_what_only_looks_like_it_is_not() {
        let (e, seen) = emitter(Some("k"));
        e.begin_message();
        for piece in ["NO", "_RE", "PLY", "\n"] {
            e.text(piece);
        }
        assert!(e.end_message());
        assert!(e.chat_final(None));
        assert_eq!(brief(&seen), ["0 chat:final "]);
        assert_eq!(seen.lock().unwrap()[0].0.get("message"), None);

        let (e, seen) = emitter(Some("k"));
        e.begin_message();
        e.text("NO_");
        e.text("WAY");
        assert!(!e.end_message());
        e.begin_message();
        e.text("NO");
        assert!(!e.end_message());
        assert_eq!(
            brief(&seen),
            [
                "1 assistant NO_WAY",
                "1 chat:delta NO_WAY",
                "2 assistant NO"
            ]
        );
    }

    #[test]
    fn an_abort_has_the_key_as_sent_and_ends_the_stream() {
        let (e, seen) = emitter(Some("agent:main:k"));
        e.lifecycle_start(1);
        e.begin_message();
        e.text("part");
        assert!(e.abort(Reason::Rpc));
        e.text("lost");
        e.thinking("lost");
        e.tool_start(&ToolCall {
            id: "c".into(),
            name: "read".into(),
            arguments: Default::default(),
            broken: None,
        });
        assert!(!e.chat_error("late"));
        e.lifecycle_end(1, 2, true);
        assert_eq!(
            brief(&seen),
            [
                "1 lifecycle start",
                "2 assistant part",
                "2 chat:delta part",
                "3 chat:aborted part",
                "3 lifecycle end",
            ]
        );
        let (aborted, _) = &seen.lock().unwrap()[3];
        assert_eq!(aborted["sessionKey"], "as sent");
        assert_eq!(aborted["stopReason"], "rpc");
    }

    #[test]
    fn tool_events_go_to_those_who_asked_and_always_count() {
        let (e, seen) = emitter(Some("k"));
        let call = ToolCall {
            id: "c".into(),
            name: "read".into(),
            arguments: Default::default(),
            broken: None,
        };
        e.tool_start(&call);
        e.watch(7);
        e.watch(7);
        let output = tools::Output::text("content");
        e.tool_result(&call, Some("from x"), &output, false);
        e.tool_result(&call, None, &output, true);
        let seen = seen.lock().unwrap();
        assert_eq!(seen.len(), 2);
        let (v, to) = &seen[0];
        assert_eq!(to.as_deref(), Some(&[7][..]));
        assert_eq!(v["seq"], 2);
        let want = json!({"phase": "result", "name": "read", "toolCallId": "c", "meta": "from x",
            "isError": false});
        assert_eq!(v["data"], want);
        assert_eq!(seen[1].0["data"]["result"]["content"][0]["text"], "content");
    }

    #[test]
    fn without_a_session_there_is_no_chat_and_no_key() {
        let (e, seen) = emitter(None);
        e.lifecycle_start(1);
        e.begin_message();
        e.text("x");
        assert!(e.chat_final(Some("x")));
        assert_eq!(brief(&seen), ["1 lifecycle start", "2 assistant x"]);
        assert_eq!(seen.lock().unwrap()[0].0.get("sessionKey"), None);
    }
}
