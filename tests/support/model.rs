//! A scripted OpenAI-compatible model server: `POST …/chat/completions`, streaming and not.
//!
//! The script is a function from the request's body to a [`Reply`]. Every request is recorded. Replies
//! can wait in the middle of a stream for a [`Gate`] that the test opens, so that a test decides what
//! happens when, without sleeping.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::DEADLINE;

/// What the model does with one request.
pub enum Reply {
    /// A stream (or, unstreamed, the concatenation) of these parts.
    Parts(Vec<Part>),
    /// One tool call.
    Tool { name: String, arguments: Value },
    /// An HTTP error with this JSON body.
    Status(u16, Value),
    /// Does what it likes with the connection, which ends afterwards.
    Takeover(Box<dyn FnOnce(&mut TcpStream) + Send>),
}

impl Reply {
    /// The text, in words.
    pub fn text(text: &str) -> Reply {
        Reply::Parts(
            text.split_inclusive(' ')
                .map(|word| Part::Text(word.to_string()))
                .collect(),
        )
    }
}

/// A piece of a streamed reply.
pub enum Part {
    Text(String),
    /// Stops here until the test opens the gate.
    Wait(Gate),
    /// Bytes into the stream as they are.
    Raw(Vec<u8>),
    /// Ends the connection without a proper end of the stream.
    HangUp,
}

/// Closed until opened; opened for good.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn new() -> Gate {
        Gate::default()
    }

    pub fn open(&self) {
        *self.0.0.lock().expect("gate") = true;
        self.0.1.notify_all();
    }

    /// Waits until it is open; false when the peer went away or the deadline passed.
    fn pass(&self, peer: &TcpStream) -> bool {
        let end = Instant::now() + 4 * DEADLINE;
        let mut open = self.0.0.lock().expect("gate");
        while !*open {
            // A caller that aborts closes its socket: looked for now and then while waiting.
            (open, _) = self
                .0
                .1
                .wait_timeout(open, Duration::from_millis(50))
                .expect("gate");
            if !*open && (Instant::now() > end || gone(peer)) {
                return false;
            }
        }
        true
    }
}

fn gone(peer: &TcpStream) -> bool {
    let _ = peer.set_nonblocking(true);
    let read = peer.peek(&mut [0u8; 1]);
    let _ = peer.set_nonblocking(false);
    match read {
        Ok(count) => count == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

type Script = dyn Fn(&Value) -> Reply + Send + Sync;

struct Shared {
    script: Box<Script>,
    seen: Mutex<Vec<Value>>,
    changed: Condvar,
    /// Requests whose caller went away before the reply was complete.
    aborted: Mutex<usize>,
    stop: AtomicBool,
}

/// The running server; ends when dropped.
pub struct Model {
    port: u16,
    shared: Arc<Shared>,
}

impl Model {
    /// Answers everything with "Hello from the scripted model.".
    pub fn start() -> Model {
        Model::scripted(|_| Reply::text("Hello from the scripted model."))
    }

    /// Answers as the script says.
    pub fn scripted(script: impl Fn(&Value) -> Reply + Send + Sync + 'static) -> Model {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind the model");
        let port = listener.local_addr().expect("address").port();
        let shared = Arc::new(Shared {
            script: Box::new(script),
            seen: Mutex::default(),
            changed: Condvar::new(),
            aborted: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let server = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if server.stop.load(Ordering::SeqCst) {
                    return;
                }
                let server = server.clone();
                if let Ok(stream) = stream {
                    std::thread::spawn(move || serve(stream, &server));
                }
            }
        });
        Model { port, shared }
    }

    /// Base URL for a provider's `baseUrl`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Bodies of the requests so far.
    pub fn requests(&self) -> Vec<Value> {
        self.shared.seen.lock().expect("requests").clone()
    }

    /// Waits until there have been `count` requests.
    #[track_caller]
    pub fn wait_requests(&self, count: usize) -> Vec<Value> {
        let end = Instant::now() + DEADLINE;
        let mut seen = self.shared.seen.lock().expect("requests");
        while seen.len() < count {
            let left = end.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "the model saw {} of {count} requests",
                seen.len()
            );
            (seen, _) = self
                .shared
                .changed
                .wait_timeout(seen, left)
                .expect("requests");
        }
        seen.clone()
    }

    /// Waits until `count` callers have gone away before their reply was complete.
    #[track_caller]
    pub fn wait_aborted(&self, count: usize) {
        let end = Instant::now() + DEADLINE;
        let mut aborted = self.shared.aborted.lock().expect("aborted");
        while *aborted < count {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{} of {count} callers went away", *aborted);
            (aborted, _) = self
                .shared
                .changed
                .wait_timeout(aborted, left)
                .expect("aborted");
        }
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// The text of the last user message of a request.
pub fn last_user_text(body: &Value) -> String {
    let empty = Vec::new();
    let messages = body["messages"].as_array().unwrap_or(&empty);
    let Some(message) = messages
        .iter()
        .rev()
        .find(|message| message["role"] == "user")
    else {
        return String::new();
    };
    match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts
            .iter()
            .filter_map(|part| part["text"].as_str())
            .collect::<Vec<_>>()
            .join(" "),
        _ => String::new(),
    }
}

fn serve(stream: TcpStream, shared: &Shared) {
    let _ = stream.set_nodelay(true);
    let Ok(mut reader) = stream.try_clone().map(BufReader::new) else {
        return;
    };
    while let Some(body) = read_request(&mut reader) {
        let reply = (shared.script)(&body);
        shared.seen.lock().expect("requests").push(body.clone());
        shared.changed.notify_all();
        if answer(&stream, &body, reply).is_none() {
            *shared.aborted.lock().expect("aborted") += 1;
            shared.changed.notify_all();
            let _ = stream.shutdown(Shutdown::Both);
            return;
        }
    }
}

/// The JSON body of the next request on a connection.
fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Value> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(serde_json::from_slice(&body).unwrap_or(Value::Null))
}

/// Writes the reply; None when the caller went away (or the script hung up).
fn answer(mut stream: &TcpStream, body: &Value, reply: Reply) -> Option<()> {
    let (parts, tool) = match reply {
        Reply::Status(status, error) => return json_response(stream, status, &error),
        Reply::Takeover(take) => {
            take(&mut stream.try_clone().ok()?);
            return None;
        }
        Reply::Parts(parts) => (parts, None),
        Reply::Tool { name, arguments } => (
            vec![],
            Some(json!({
                "index": 0, "id": "call_1", "type": "function",
                "function": {"name": name, "arguments": arguments.to_string()},
            })),
        ),
    };
    let usage = json!({"prompt_tokens": 11, "completion_tokens": 10, "total_tokens": 21});
    let finish = if tool.is_some() { "tool_calls" } else { "stop" };
    if body["stream"] != true {
        let text: String = parts
            .iter()
            .filter_map(|part| {
                if let Part::Text(text) = part {
                    Some(text.as_str())
                } else {
                    None
                }
            })
            .collect();
        let message = json!({"role": "assistant", "content": text, "tool_calls": tool.map(|tool| vec![tool])});
        let choice = json!({"index": 0, "message": message, "finish_reason": finish});
        return json_response(
            stream,
            200,
            &json!({"id": "c1", "object": "chat.completion", "choices": [choice], "usage": usage}),
        );
    }
    // One chunk of HTTP per piece, so that the stream ends properly and the connection can live on.
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        .ok()?;
    let chunk = |delta: Value, finish: Value, usage: &Value| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
        format!("data: {}\n\n", json!({"id": "c1", "object": "chat.completion.chunk", "choices": [choice], "usage": usage}))
            .into_bytes()
    };
    for part in parts {
        match part {
            Part::Text(text) => piece(
                stream,
                &chunk(
                    json!({"role": "assistant", "content": text}),
                    Value::Null,
                    &Value::Null,
                ),
            )?,
            Part::Raw(bytes) => piece(stream, &bytes)?,
            Part::Wait(gate) => gate.pass(stream).then_some(())?,
            Part::HangUp => return None,
        }
    }
    if let Some(tool) = tool {
        piece(
            stream,
            &chunk(
                json!({"role": "assistant", "tool_calls": [tool]}),
                Value::Null,
                &Value::Null,
            ),
        )?;
    }
    piece(stream, &chunk(json!({}), json!(finish), &usage))?;
    piece(stream, b"data: [DONE]\n\n")?;
    stream.write_all(b"0\r\n\r\n").ok()
}

fn json_response(mut stream: &TcpStream, status: u16, body: &Value) -> Option<()> {
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status} Scripted\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).ok()
}

/// One chunk of a chunked body.
fn piece(mut stream: &TcpStream, bytes: &[u8]) -> Option<()> {
    stream
        .write_all(format!("{:x}\r\n", bytes.len()).as_bytes())
        .ok()?;
    stream.write_all(bytes).ok()?;
    stream.write_all(b"\r\n").ok()
}
