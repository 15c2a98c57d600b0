//! `openai-completions` against a scripted endpoint over real sockets.

use std::io::{Error, Write};
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Instant;

use serde_json::json;

use super::*;
use crate::agent::cancel::Reason;
use crate::agent::provider::http::Deadlines;
use crate::agent::provider::{Message, Part, Phase, Thinking, ToolSpec};
use crate::agent::testing::{self, Endpoint};

/// Everything here is over long before; only a failure takes this time.
const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(60);

fn provider(deadlines: Deadlines) -> OpenAi {
    OpenAi::new(Arc::new(Http::new(deadlines)))
}

fn hello() -> Vec<Message> {
    vec![Message::User(vec![Part::Text("hello".into())])]
}

fn request<'a>(model: &'a Model, messages: &'a [Message]) -> Request<'a> {
    Request {
        model,
        system: "be brief",
        messages,
        tools: &[],
        thinking: Thinking::Off,
    }
}

fn run(
    provider: &OpenAi,
    model: &Model,
    cancel: &Cancel,
) -> (Vec<String>, Result<Completion, ProviderError>) {
    let mut pieces = Vec::new();
    let messages = hello();
    let result = provider.stream(
        &request(model, &messages),
        &mut |d| {
            pieces.push(match d {
                Delta::Text(t) => t.to_string(),
                Delta::Reasoning(t) => format!("({t})"),
            });
        },
        cancel,
    );
    (pieces, result)
}

fn hang_up<T>() -> std::io::Result<T> {
    Err(Error::other("closed by the script"))
}

#[test]
fn a_reply_streams_and_its_connection_is_used_again() {
    let endpoint = Endpoint::new(|_, out| testing::reply(out, &["Hello", " there"]));
    let provider = provider(Deadlines::default());
    let model = endpoint.model();
    for _ in 0..3 {
        let (pieces, result) = run(&provider, &model, &Cancel::new(None));
        assert_eq!(pieces.concat(), "Hello there");
        let done = result.unwrap();
        assert_eq!(done.text, "Hello there");
        assert_eq!(done.stop, Stop::Stop);
        assert_eq!(
            done.usage,
            Usage {
                input: 11,
                output: 10,
                total: 21,
                ..Usage::default()
            }
        );
    }
    assert_eq!(endpoint.connections.load(Ordering::SeqCst), 1);
    let body = &endpoint.requests.lock().unwrap()[0];
    assert_eq!(
        *body,
        json!({
            "model": "stub-1",
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": [{"type": "text", "text": "hello"}]},
            ],
            "stream": true,
            "stream_options": {"include_usage": true},
            "max_completion_tokens": 4096,
        })
    );
}

#[test]
fn a_token_is_handed_on_before_the_next_one_exists() {
    let (told, tell) = mpsc::sync_channel::<()>(0);
    let tell = std::sync::Mutex::new(tell);
    let endpoint = Endpoint::new(move |_, out| {
        testing::begin_stream(out)?;
        for piece in ["one", "two", "three"] {
            testing::text(out, piece)?;
            // The next one is sent only when this one has arrived.
            if tell.lock().unwrap().recv_timeout(LONG).is_err() {
                return hang_up();
            }
        }
        testing::end_stream(out, "stop")
    });
    let (model, messages) = (endpoint.model(), hello());
    let result = provider(Deadlines::default()).stream(
        &request(&model, &messages),
        &mut |_| told.send(()).unwrap(),
        &Cancel::new(None),
    );
    assert_eq!(result.unwrap().text, "onetwothree");
}

#[test]
fn tool_calls_and_reasoning_are_put_together() {
    let endpoint = Endpoint::new(|_, out| {
        testing::begin_stream(out)?;
        for delta in [
            json!({"reasoning_content": "hm"}),
            json!({"reasoning": "m"}),
            json!({"content": "I look."}),
            json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "read", "arguments": "{\"pa"}}]}),
            json!({"tool_calls": [{"index": 1, "id": "b", "function": {"name": "read", "arguments": "not json"}}]}),
            json!({"tool_calls": [{"index": 0, "function": {"arguments": "th\":\"x\"}"}}]}),
            json!({"tool_calls": [{"index": 2, "function": {"name": "list"}}]}),
        ] {
            testing::event(out, &json!({"choices": [{"delta": delta}]}).to_string())?;
        }
        testing::end_stream(out, "tool_calls")
    });
    let (pieces, result) = run(
        &provider(Deadlines::default()),
        &endpoint.model(),
        &Cancel::new(None),
    );
    assert_eq!(pieces.concat(), "(hm)(m)I look.");
    let done = result.unwrap();
    assert_eq!((done.reasoning.as_str(), done.stop), ("hmm", Stop::ToolUse));
    let [a, b, c] = &done.calls[..] else {
        panic!("{:?}", done.calls)
    };
    assert_eq!(
        (a.id.as_str(), &a.arguments["path"], &a.broken),
        ("a", &json!("x"), &None)
    );
    assert_eq!(b.broken.as_deref(), Some("not json"));
    assert_eq!((c.name.as_str(), c.arguments.len()), ("list", 0));
    assert!(c.id.starts_with("call_"));
}

#[test]
fn a_tool_call_alone_has_no_text() {
    let endpoint = Endpoint::new(|_, out| testing::call_tool(out, "c", "read", r#"{"path":"x"}"#));
    let provider = provider(Deadlines::default());
    let (pieces, result) = run(&provider, &endpoint.model(), &Cancel::new(None));
    assert!(pieces.is_empty());
    assert_eq!(result.unwrap().calls[0].arguments["path"], json!("x"));
}

#[test]
fn an_error_has_the_endpoints_words_and_no_credential() {
    let endpoint = Endpoint::new(|seen, out| {
        assert!(
            seen.head
                .contains("authorization: bearer stub-key-not-secret")
        );
        let body = r#"{"error":{"message":"bad\nkey stub-key-not-secret","type":"x"}}"#;
        testing::status(out, 429, "retry-after: 1.5\r\n", body)
    });
    let (_, result) = run(
        &provider(Deadlines::default()),
        &endpoint.model(),
        &Cancel::new(None),
    );
    let error = result.unwrap_err();
    assert_eq!(error.to_string(), "429 bad key ***");
    assert_eq!(error.retry_after(), Some(Duration::from_millis(1500)));
    assert!(error.is_transient());
}

#[test]
fn error_texts_are_found_wherever_they_are() {
    for (body, want) in [
        (
            r#"{"error":{"message":"stub failure"}}"#,
            "500 stub failure",
        ),
        (r#"{"error":"plain"}"#, "500 plain"),
        (r#"{"message":"m"}"#, "500 m"),
        (r#"{"detail":"d"}"#, "500 d"),
        (r#"{"error":{"a":1}}"#, r#"500 {"a":1}"#),
        ("<html>oops</html>", "500 <html>oops</html>"),
        ("", "500 status code (no body)"),
    ] {
        let endpoint = Endpoint::new(move |_, out| testing::status(out, 500, "", body));
        let (_, result) = run(
            &provider(Deadlines::default()),
            &endpoint.model(),
            &Cancel::new(None),
        );
        assert_eq!(result.unwrap_err().to_string(), want);
    }
}

#[test]
fn a_redirect_is_an_error_and_is_not_followed() {
    let endpoint = Endpoint::new(|_, out| {
        testing::status(out, 307, "location: http://127.0.0.1:1/\r\n", "elsewhere")
    });
    let (_, result) = run(
        &provider(Deadlines::default()),
        &endpoint.model(),
        &Cancel::new(None),
    );
    assert!(
        matches!(result, Err(ProviderError::Status { status: 307, .. })),
        "{result:?}"
    );
    assert_eq!(endpoint.requests.lock().unwrap().len(), 1);
}

#[test]
fn rl_04_endless_answers_are_cut_off() {
    let endpoint = Endpoint::new(|seen, out| {
        if seen.number == 0 {
            out.write_all(b"HTTP/1.1 500 X\r\nconnection: close\r\n\r\n")?;
            loop {
                out.write_all(&[b'x'; 4096])?;
            }
        }
        testing::begin_stream(out)?;
        let big = "y".repeat(64 * 1024);
        loop {
            testing::text(out, &big)?;
        }
    });
    let provider = provider(Deadlines::default());
    let (_, error) = run(&provider, &endpoint.model(), &Cancel::new(None));
    assert_eq!(
        error.unwrap_err().to_string().len(),
        "500 ".len() + MAX_ERROR_TEXT
    );
    let (_, reply) = run(&provider, &endpoint.model(), &Cancel::new(None));
    assert_eq!(reply, Err(ProviderError::TooLarge { limit: MAX_REPLY }));
}

#[test]
fn rl_04_an_error_body_that_drips_ends_with_the_run() {
    let endpoint = Endpoint::new(|_, out| {
        out.write_all(b"HTTP/1.1 500 X\r\ncontent-length: 1000000\r\n\r\n")?;
        loop {
            out.write_all(b"x")?;
            std::thread::yield_now();
        }
    });
    let started = Instant::now();
    let cancel = Cancel::new(Some(SHORT));
    let (_, result) = run(&provider(Deadlines::default()), &endpoint.model(), &cancel);
    assert!(result.is_err());
    assert!(started.elapsed() < LONG);
}

#[test]
fn each_deadline_is_named_after_its_phase() {
    let silent = Endpoint::new(|seen, out| {
        if seen.number > 0 {
            testing::begin_stream(out)?;
            testing::text(out, "a")?;
        }
        // Until the client hangs up.
        let _ = std::io::Read::read(out, &mut [0u8; 1]);
        hang_up()
    });
    let deadlines = Deadlines {
        first_byte: SHORT,
        idle: SHORT,
        ..Deadlines::default()
    };
    let provider = provider(deadlines);
    let (_, result) = run(&provider, &silent.model(), &Cancel::new(None));
    let want = ProviderError::Timeout {
        phase: Phase::FirstByte,
        after: SHORT,
    };
    assert_eq!(result, Err(want));
    let (pieces, result) = run(&provider, &silent.model(), &Cancel::new(None));
    assert_eq!(pieces, ["a"]);
    assert_eq!(
        result,
        Err(ProviderError::Timeout {
            phase: Phase::Idle,
            after: SHORT
        })
    );
}

#[test]
fn the_idle_deadline_does_not_cut_the_wait_for_the_first_byte() {
    let endpoint = Endpoint::new(|_, out| {
        // Longer than the idle deadline, the client must not have hung up.
        out.set_read_timeout(Some(SHORT * 3))?;
        let waited = std::io::Read::read(out, &mut [0u8; 1]);
        assert_eq!(waited.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        out.set_read_timeout(None)?;
        testing::reply(out, &["late"])
    });
    let deadlines = Deadlines {
        idle: SHORT,
        ..Deadlines::default()
    };
    let (pieces, _) = run(&provider(deadlines), &endpoint.model(), &Cancel::new(None));
    assert_eq!(pieces, ["late"]);
}

#[test]
fn the_runs_deadline_ends_a_stream_that_drips() {
    let endpoint = Endpoint::new(|_, out| {
        testing::begin_stream(out)?;
        loop {
            out.write_all(b"1\r\n:\r\n")?;
            std::thread::yield_now();
        }
    });
    let cancel = Cancel::new(Some(SHORT));
    let (_, result) = run(&provider(Deadlines::default()), &endpoint.model(), &cancel);
    assert_eq!(result, Err(ProviderError::Cancelled(Reason::Timeout)));
}

#[test]
fn a_cancel_interrupts_a_blocked_read() {
    let (gone, was_gone) = mpsc::channel();
    let gone = std::sync::Mutex::new(gone);
    let endpoint = Endpoint::new(move |_, out| {
        testing::begin_stream(out)?;
        testing::text(out, "a")?;
        let read = std::io::Read::read(out, &mut [0u8; 1]);
        gone.lock().unwrap().send(read.map_or(0, |n| n)).unwrap();
        hang_up()
    });
    let cancel = Cancel::new(None);
    let stop = cancel.clone();
    let (model, messages) = (endpoint.model(), hello());
    let (first, seen) = mpsc::channel();
    let stopper = std::thread::spawn(move || {
        seen.recv_timeout(LONG).unwrap();
        stop.cancel(Reason::Rpc);
    });
    let provider = provider(Deadlines::default());
    let started = Instant::now();
    let result = provider.stream(
        &request(&model, &messages),
        &mut |_| first.send(()).unwrap(),
        &cancel,
    );
    assert_eq!(result, Err(ProviderError::Cancelled(Reason::Rpc)));
    assert!(started.elapsed() < LONG);
    assert_eq!(
        was_gone.recv_timeout(LONG),
        Ok(0),
        "the endpoint sees the connection close"
    );
    stopper.join().unwrap();
}

#[test]
fn a_cancel_after_the_end_leaves_the_connection_to_the_next_run() {
    let endpoint = Endpoint::new(|_, out| testing::reply(out, &["x"]));
    let provider = provider(Deadlines::default());
    let first = Cancel::new(None);
    run(&provider, &endpoint.model(), &first).1.unwrap();
    first.cancel(Reason::Rpc);
    run(&provider, &endpoint.model(), &Cancel::new(None))
        .1
        .unwrap();
    assert_eq!(endpoint.connections.load(Ordering::SeqCst), 1);
}

#[test]
fn a_broken_stream_is_never_taken_for_a_reply() {
    let endpoint = Endpoint::new(|seen, out| {
        match seen.number {
            // Closed in the middle of a chunked body.
            0 => testing::begin_stream(out)?,
            // A body that ends with the connection, whose last event never came.
            1 => out.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")?,
            // Not the API at all.
            _ => {
                testing::begin_stream(out)?;
                testing::event(out, "{not json")?;
                return testing::end_stream(out, "stop");
            }
        }
        if seen.number == 0 {
            testing::text(out, "part")?;
        } else {
            out.write_all(b"data: {\"choices\":[{\"delta\":{\"content\":\"part\"}}]}\n\n")?;
        }
        out.shutdown(std::net::Shutdown::Both)?;
        hang_up()
    });
    let provider = provider(Deadlines::default());
    for _ in 0..2 {
        let (pieces, result) = run(&provider, &endpoint.model(), &Cancel::new(None));
        assert_eq!(pieces, ["part"]);
        assert!(
            matches!(result, Err(ProviderError::Connection(_))),
            "{result:?}"
        );
    }
    let (_, result) = run(&provider, &endpoint.model(), &Cancel::new(None));
    assert!(
        matches!(result, Err(ProviderError::Protocol(_))),
        "{result:?}"
    );
}

#[test]
fn an_error_inside_the_stream_is_an_error() {
    let endpoint = Endpoint::new(|_, out| {
        testing::begin_stream(out)?;
        testing::event(out, r#"{"error":{"code":502,"message":"upstream gone"}}"#)?;
        testing::end_stream(out, "stop")
    });
    let (_, result) = run(
        &provider(Deadlines::default()),
        &endpoint.model(),
        &Cancel::new(None),
    );
    assert_eq!(result.unwrap_err().to_string(), "502 upstream gone");
}

#[test]
fn nobody_listening_and_bad_urls_are_told_apart() {
    let mut model = Endpoint::new(|_, _| Ok(())).model();
    let provider = provider(Deadlines::default());
    let (_, result) = run(&provider, &model, &Cancel::new(None));
    assert!(result.unwrap_err().is_transient());
    for url in ["", "ftp://127.0.0.1", "127.0.0.1:1/v1", "http://"] {
        model.base_url = url.into();
        let (_, result) = run(&provider, &model, &Cancel::new(None));
        assert!(
            matches!(result, Err(ProviderError::Config(_))),
            "{url}: {result:?}"
        );
    }
}

#[test]
fn a_server_that_does_not_stream_is_understood() {
    let endpoint = Endpoint::new(|_, out| {
        let body = json!({
            "choices": [{"message": {"role": "assistant", "content": "whole"}, "finish_reason": "length"}],
            "usage": {"prompt_tokens": 5, "completion_tokens": 2,
                      "prompt_tokens_details": {"cached_tokens": 3}},
        });
        testing::status(out, 200, "", &body.to_string())
    });
    let (pieces, result) = run(
        &provider(Deadlines::default()),
        &endpoint.model(),
        &Cancel::new(None),
    );
    let done = result.unwrap();
    assert_eq!(
        (pieces.concat().as_str(), done.stop),
        ("whole", Stop::Length)
    );
    let want = Usage {
        input: 2,
        output: 2,
        cache_read: 3,
        cache_write: 0,
        total: 7,
    };
    assert_eq!(done.usage, want);
}

#[test]
fn a_request_carries_the_whole_conversation() {
    let mut model = Endpoint::new(|_, _| Ok(())).model();
    model.images = true;
    model.reasoning = true;
    model.compat.developer_role = Some(true);
    model.compat.store = Some(true);
    model.compat.max_tokens_field = Some("max_tokens".into());
    let image = Part::Image {
        mime: "image/png".into(),
        data: "QUJD".into(),
    };
    let call = ToolCall {
        id: "c1".into(),
        name: "read".into(),
        arguments: json!({"path": "a"}).as_object().unwrap().clone(),
        broken: None,
    };
    let messages = [
        Message::User(vec![Part::Text("look".into()), image.clone()]),
        Message::Assistant {
            text: String::new(),
            calls: vec![call],
        },
        Message::ToolResult {
            call_id: "c1".into(),
            name: "read".into(),
            content: vec![Part::Text("seen".into()), image],
            is_error: false,
        },
        Message::Assistant {
            text: "done".into(),
            calls: vec![],
        },
    ];
    let tools = [ToolSpec {
        name: "read",
        description: "reads",
        parameters: json!({"type": "object"}),
    }];
    let request = Request {
        tools: &tools,
        thinking: Thinking::High,
        ..request(&model, &messages)
    };
    let body: Value = serde_json::from_str(&openai_request::body(&request)).unwrap();
    let picture = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}});
    assert_eq!(
        body,
        json!({
            "model": "stub-1",
            "messages": [
                {"role": "developer", "content": "be brief"},
                {"role": "user", "content": [{"type": "text", "text": "look"}, picture]},
                {"role": "assistant", "content": null, "tool_calls": [
                    {"id": "c1", "type": "function",
                     "function": {"name": "read", "arguments": "{\"path\":\"a\"}"}}]},
                {"role": "tool", "content": "seen", "tool_call_id": "c1"},
                {"role": "user", "content": [
                    {"type": "text", "text": "Attached image(s) from tool result:"}, picture]},
                {"role": "assistant", "content": [{"type": "text", "text": "done"}]},
            ],
            "stream": true,
            "stream_options": {"include_usage": true},
            "store": false,
            "max_tokens": 4096,
            "reasoning_effort": "high",
            "tools": [{"type": "function", "function": {
                "name": "read", "description": "reads",
                "parameters": {"type": "object"}, "strict": false}}],
        })
    );
}
