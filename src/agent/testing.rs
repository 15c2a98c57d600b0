//! A scripted model endpoint for tests: real sockets on loopback, each answer written by the test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use serde_json::Value;

use super::model::{Api, Model, Secret};

/// A request as the endpoint saw it.
pub struct Seen {
    /// How many requests came before this one.
    pub number: usize,
    /// Head in lower case, request line included.
    pub head: String,
}

type Answer = dyn Fn(&Seen, &mut TcpStream) -> std::io::Result<()> + Send + Sync;

/// The endpoint. Dropping it ends its threads.
pub struct Endpoint {
    address: SocketAddr,
    pub connections: Arc<AtomicUsize>,
    pub requests: Arc<Mutex<Vec<Value>>>,
    stop: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Endpoint {
    /// Answers each request with `answer`; an error of it closes the connection, anything else keeps it.
    pub fn new(
        answer: impl Fn(&Seen, &mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Endpoint {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let answer: Arc<Answer> = Arc::new(answer);
        let accepting = {
            let (connections, requests, stop) =
                (connections.clone(), requests.clone(), stop.clone());
            thread::spawn(move || {
                for stream in listener.incoming() {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    connections.fetch_add(1, Ordering::SeqCst);
                    let (answer, requests) = (answer.clone(), requests.clone());
                    thread::spawn(move || serve(stream.unwrap(), &*answer, &requests));
                }
            })
        };
        Endpoint {
            address,
            connections,
            requests,
            stop,
            accepting: Some(accepting),
        }
    }

    /// A model behind this endpoint, `stub/stub-1`.
    pub fn model(&self) -> Model {
        Model {
            provider: "stub".into(),
            id: "stub-1".into(),
            api: Api::OpenAiCompletions,
            base_url: self.base_url(),
            auth_header: true,
            key: Some(Secret::new("stub-key-not-secret")),
            context_window: 128_000,
            max_tokens: 4096,
            ..Model::echo()
        }
    }

    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.accepting.take() {
            let _ = thread.join();
        }
    }
}

fn serve(mut stream: TcpStream, answer: &Answer, requests: &Mutex<Vec<Value>>) {
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some((head, body)) = read_request(&mut reader) {
        let number = {
            let mut requests = requests.lock().unwrap();
            requests.push(body);
            requests.len() - 1
        };
        let seen = Seen { number, head };
        if answer(&seen, &mut stream).is_err() {
            return;
        }
    }
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<(String, Value)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let head = head.to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|l| l.strip_prefix("content-length: "));
    let mut body = vec![0; length?.trim().parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    Some((head, serde_json::from_slice(&body).ok()?))
}

/// The head of a streamed answer whose connection stays open.
pub fn begin_stream(out: &mut TcpStream) -> std::io::Result<()> {
    out.write_all(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
    )
}

/// One event, as one chunk.
pub fn event(out: &mut TcpStream, data: &str) -> std::io::Result<()> {
    let event = format!("data: {data}\n\n");
    out.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes())
}

/// An event with a piece of text.
pub fn text(out: &mut TcpStream, piece: &str) -> std::io::Result<()> {
    let delta = serde_json::json!({"choices": [{"index": 0, "delta": {"content": piece}}]});
    event(out, &delta.to_string())
}

/// Finish reason, usage, end of the stream.
pub fn end_stream(out: &mut TcpStream, finish: &str) -> std::io::Result<()> {
    let last = serde_json::json!({
        "choices": [{"index": 0, "delta": {}, "finish_reason": finish}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 10, "total_tokens": 21},
    });
    event(out, &last.to_string())?;
    event(out, "[DONE]")?;
    out.write_all(b"0\r\n\r\n")
}

/// A whole streamed reply.
pub fn reply(out: &mut TcpStream, pieces: &[&str]) -> std::io::Result<()> {
    begin_stream(out)?;
    for piece in pieces {
        text(out, piece)?;
    }
    end_stream(out, "stop")
}

/// A streamed reply that calls one tool.
pub fn call_tool(
    out: &mut TcpStream,
    id: &str,
    name: &str,
    arguments: &str,
) -> std::io::Result<()> {
    begin_stream(out)?;
    let call = |call: Value| serde_json::json!({"choices": [{"delta": {"tool_calls": [call]}}]});
    let head = serde_json::json!({"index": 0, "id": id, "type": "function",
        "function": {"name": name, "arguments": ""}});
    event(out, &call(head).to_string())?;
    let tail = serde_json::json!({"index": 0, "function": {"arguments": arguments}});
    event(out, &call(tail).to_string())?;
    end_stream(out, "tool_calls")
}

/// An answer with a status and a JSON body.
pub fn status(out: &mut TcpStream, status: u16, headers: &str, body: &str) -> std::io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n",
        body.len()
    );
    out.write_all(head.as_bytes())?;
    out.write_all(body.as_bytes())
}
