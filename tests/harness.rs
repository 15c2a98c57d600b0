//! The harness itself: what the other tests take for granted of it.

mod support;

use std::io::Write;

use support::*;

#[test]
fn the_model_streams_up_to_a_gate_and_ends_after_it() {
    let gate = Gate::new();
    let script = gate.clone();
    let model = Model::scripted(move |body| {
        assert_eq!(model::last_user_text(body), "hi");
        Reply::Parts(vec![
            Part::Text("before ".into()),
            Part::Wait(script.clone()),
            Part::Text("after".into()),
        ])
    });
    let port = model.port();
    let body = json!({"stream": true, "messages": [{"role": "user", "content": "hi"}]}).to_string();
    let mut stream = http::open(port, DEADLINE);
    write!(
        stream,
        "POST /v1/chat/completions HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();

    let mut seen = Vec::new();
    let mut chunk = [0; 256];
    while !String::from_utf8_lossy(&seen).contains("before ") {
        let count = std::io::Read::read(&mut stream, &mut chunk).unwrap();
        assert!(count > 0, "ended early");
        seen.extend_from_slice(&chunk[..count]);
    }
    assert!(
        !String::from_utf8_lossy(&seen).contains("after"),
        "the gate did not hold"
    );
    gate.open();
    while !String::from_utf8_lossy(&seen).contains("[DONE]") {
        let count = std::io::Read::read(&mut stream, &mut chunk).unwrap();
        assert!(count > 0, "ended early");
        seen.extend_from_slice(&chunk[..count]);
    }
    assert!(String::from_utf8_lossy(&seen).contains("after"));
    assert_eq!(model.wait_requests(1).len(), 1);
}

#[test]
fn the_model_notices_a_caller_that_goes_away() {
    let model = Model::scripted(|_| Reply::Parts(vec![Part::Wait(Gate::new())]));
    let port = model.port();
    let mut stream = http::open(port, DEADLINE);
    write!(
        stream,
        "POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 15\r\n\r\n{{\"stream\":true}}"
    )
    .unwrap();
    model.wait_requests(1);
    drop(stream);
    model.wait_aborted(1);
}

#[test]
fn signatures_verify_and_ports_differ() {
    let device = Device::new();
    assert_eq!(device.id.len(), 64);
    let params = Connect::operator().params(Some(&device), "nonce-1");
    let signature = data_encoding::BASE64URL_NOPAD
        .decode(params["device"]["signature"].as_str().unwrap().as_bytes());
    let text = format!(
        "v2|{}|gateway-client|backend|operator|{}|{}|{TOKEN}|nonce-1",
        device.id,
        ALL_SCOPES.join(","),
        params["device"]["signedAt"]
    );
    let key = data_encoding::BASE64URL_NOPAD
        .decode(device.public.as_bytes())
        .unwrap();
    let key = ed25519_compact::PublicKey::from_slice(&key).unwrap();
    let signature = ed25519_compact::Signature::from_slice(&signature.unwrap()).unwrap();
    key.verify(text, &signature).unwrap();
    assert_ne!(free_port(), free_port());
}
