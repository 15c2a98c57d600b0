//! The client against a gateway that follows a script.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ed25519_compact::{PublicKey, Signature};
use serde_json::{Value, json};
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};

use super::identity::{DeviceToken, Identity, store_token, stored_token};
use super::*;

const SOON: Duration = Duration::from_secs(10);

/// The gateway's end of one connection.
struct Peer(WebSocket<TcpStream>);

impl Peer {
    fn say(&mut self, frame: Value) {
        self.0.send(Message::text(frame.to_string())).unwrap();
    }

    fn hear(&mut self) -> Value {
        let text = self.0.read().unwrap().into_text().unwrap();
        serde_json::from_str(text.as_str()).unwrap()
    }

    fn challenge(&mut self) {
        self.say(json!({"type": "event", "event": "connect.challenge",
            "payload": {"nonce": "n-1", "ts": 1}}));
    }

    /// Challenge, connect, hello-ok with `auth`; what the client said.
    fn welcome(&mut self, auth: Value) -> Value {
        self.challenge();
        let said = self.hear();
        assert_eq!(said["method"], "connect");
        self.say(json!({"type": "res", "id": said["id"], "ok": true,
            "payload": {"type": "hello-ok", "protocol": 3, "auth": auth}}));
        said["params"].clone()
    }

    /// Refuses connect with `message` and closes with 1008.
    fn refuse(&mut self, message: &str, details: Value) {
        self.challenge();
        let said = self.hear();
        self.say(json!({"type": "res", "id": said["id"], "ok": false,
            "error": {"code": "INVALID_REQUEST", "message": message, "details": details}}));
        let frame = CloseFrame {
            code: CloseCode::Policy,
            reason: message.to_string().into(),
        };
        self.0.close(Some(frame)).unwrap();
        let _ = self.0.flush();
    }
}

/// Serves one connection with `script`.
fn gateway<T: Send + 'static>(
    script: impl FnOnce(&mut Peer) -> T + Send + 'static,
) -> (Address, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = address_of(listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        script(&mut Peer(tungstenite::accept(stream).unwrap()))
    });
    (address, thread)
}

fn address_of(socket: SocketAddr) -> Address {
    Address::parse(&format!("ws://{socket}")).unwrap()
}

fn state() -> Paths {
    Paths::new(std::env::temp_dir().join(format!("openclaw-client-{}", id::uuid())))
}

fn operator(token: Option<&str>) -> Connect {
    Connect::operator(Credentials {
        token: token.map(str::to_string),
        password: None,
    })
}

#[test]
fn connect_shows_the_secret_and_signs_the_challenge() {
    let (at, server) = gateway(|peer| peer.welcome(Value::Null));
    let paths = state();
    let about = Connect {
        device: Some(paths.clone()),
        ..operator(Some("s3cret"))
    };
    let client = Client::connect(&at, &about).unwrap();
    assert_eq!(client.hello()["protocol"], 3);
    let said = server.join().unwrap();
    assert_eq!(said["auth"], json!({"token": "s3cret"}));
    let d = &said["device"];
    let text = format!(
        "v2|{}|cli|cli|operator|operator.admin,operator.read,operator.write,operator.approvals,\
         operator.pairing|{}|s3cret|n-1",
        d["id"].as_str().unwrap(),
        d["signedAt"]
    );
    let bytes = |v: &Value| id::from_b64(v.as_str().unwrap()).unwrap();
    let key = bytes(&d["publicKey"]);
    assert_eq!(d["id"], id::sha256_hex(&key));
    let signature = Signature::from_slice(&bytes(&d["signature"])).unwrap();
    PublicKey::from_slice(&key)
        .unwrap()
        .verify(text, &signature)
        .unwrap();
    std::fs::remove_dir_all(paths.root()).unwrap();
}

#[test]
fn a_device_token_is_kept_shown_without_a_secret_and_forgotten_when_refused() {
    let paths = state();
    let me = Identity::load_or_create(&paths).unwrap().device_id;
    let about = |token| Connect {
        device: Some(paths.clone()),
        ..operator(token)
    };
    let auth = json!({"deviceToken": "dt", "role": "operator", "scopes": ["operator.read"]});
    let (at, server) = gateway(|peer| peer.welcome(auth));
    Client::connect(&at, &about(Some("shared"))).unwrap();
    assert_eq!(server.join().unwrap()["auth"], json!({"token": "shared"}));

    let (at, server) = gateway(|peer| peer.welcome(Value::Null));
    Client::connect(&at, &about(None)).unwrap();
    let said = server.join().unwrap();
    assert_eq!(said["auth"], json!({"deviceToken": "dt"}));
    assert_eq!(said["scopes"], json!(["operator.read"]));

    let other = DeviceToken {
        token: "n".into(),
        scopes: vec![],
    };
    store_token(&paths, &me, "node", Some(&other)).unwrap();
    let (at, server) = gateway(|peer| {
        let details = json!({"code": "AUTH_DEVICE_TOKEN_MISMATCH"});
        peer.refuse("unauthorized: device token mismatch (x)", details);
    });
    let refused = Client::connect(&at, &about(None)).err().unwrap();
    server.join().unwrap();
    assert!(
        refused
            .to_string()
            .contains("unauthorized: device token mismatch")
    );
    assert_eq!(stored_token(&paths, &me, "operator"), None);
    assert_eq!(stored_token(&paths, &me, "node"), Some(other));
    std::fs::remove_dir_all(paths.root()).unwrap();
}

#[test]
fn a_refusal_says_what_the_gateway_said_and_what_helps() {
    let (at, server) = gateway(|peer| {
        let details = json!({"code": "AUTH_TOKEN_MISMATCH", "authReason": "token_mismatch"});
        peer.refuse("unauthorized: gateway token mismatch (hint)", details);
    });
    let e = Client::connect(&at, &operator(Some("nope"))).err().unwrap();
    server.join().unwrap();
    assert_eq!(
        e.to_string(),
        "gateway closed (1008): unauthorized: gateway token mismatch (hint)"
    );
    assert!(e.fix().unwrap().contains("gateway.auth.token"));
}

#[test]
fn answers_are_told_apart_by_id_and_events_are_kept_in_order() {
    let (at, server) = gateway(|peer| {
        peer.welcome(Value::Null);
        let asked = peer.hear();
        peer.say(json!({"type": "event", "event": "tick", "payload": {"ts": 1}, "seq": 1}));
        peer.say(json!({"type": "res", "id": "other", "ok": true, "payload": 0}));
        peer.say(json!({"type": "res", "id": asked["id"], "ok": true,
            "payload": {"runId": "r", "status": "accepted"}}));
        peer.say(json!({"type": "event", "event": "agent", "payload": {}, "seq": 2}));
        peer.say(json!({"type": "res", "id": asked["id"], "ok": true,
            "payload": {"runId": "r", "status": "ok"}}));
        let asked = peer.hear();
        peer.say(json!({"type": "res", "id": asked["id"], "ok": false,
            "error": {"code": "UNAVAILABLE", "message": "no"}, "payload": {"status": "error"}}));
    });
    let mut client = Client::connect(&at, &operator(None)).unwrap();
    let done = client.call_final("agent", &json!({}), SOON).unwrap();
    assert_eq!(done["status"], "ok");
    match client.call("agent", &json!({}), SOON) {
        Err(ClientError::Failed(a)) => {
            assert_eq!((a.code.as_str(), a.message.as_str()), ("UNAVAILABLE", "no"));
            assert_eq!(a.payload["status"], "error");
        }
        other => panic!("{other:?}"),
    }
    let names: Vec<_> = std::iter::from_fn(|| client.next_event(Duration::from_millis(50)).ok()?)
        .map(|e| (e.event, e.seq))
        .collect();
    assert_eq!(names, [("tick".into(), Some(1)), ("agent".into(), Some(2))]);
    server.join().unwrap();
}

#[test]
fn a_dead_gateway_answers_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = address_of(listener.local_addr().unwrap());
    drop(listener);
    let started = Instant::now();
    let e = Client::connect(&at, &operator(None)).err().unwrap();
    assert!(matches!(e, ClientError::Refused(_)), "{e}");
    assert!(e.to_string().contains("ECONNREFUSED"));
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[test]
fn silence_ends_at_the_deadline_of_its_phase() {
    let quick = |about: &mut Connect| {
        about.deadlines.upgrade = Duration::from_millis(60);
        about.deadlines.challenge = Duration::from_millis(60);
        about.deadlines.hello = Duration::from_millis(60);
    };
    let mut about = operator(None);
    quick(&mut about);
    // Accepts and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = address_of(listener.local_addr().unwrap());
    let e = Client::connect(&at, &about).err().unwrap();
    assert!(
        matches!(
            e,
            ClientError::Timeout {
                phase: Phase::Upgrade,
                ..
            }
        ),
        "{e}"
    );

    let (at, server) = gateway(|peer| {
        let _ = peer.0.read();
    });
    let e = Client::connect(&at, &about).err().unwrap();
    assert!(
        matches!(
            e,
            ClientError::Timeout {
                phase: Phase::Challenge,
                ..
            }
        ),
        "{e}"
    );
    server.join().unwrap();

    let (at, server) = gateway(|peer| {
        peer.challenge();
        peer.hear();
        let _ = peer.0.read();
    });
    let e = Client::connect(&at, &about).err().unwrap();
    assert!(
        matches!(
            e,
            ClientError::Timeout {
                phase: Phase::Hello,
                ..
            }
        ),
        "{e}"
    );
    server.join().unwrap();

    let (at, server) = gateway(|peer| {
        peer.welcome(Value::Null);
        peer.hear();
        let _ = peer.0.read();
    });
    let mut client = Client::connect(&at, &about).unwrap();
    let e = client.call("health", &json!({}), Duration::from_millis(60));
    let e = e.unwrap_err();
    assert!(
        matches!(
            e,
            ClientError::Timeout {
                phase: Phase::Answer,
                ..
            }
        ),
        "{e}"
    );
    drop(client);
    server.join().unwrap();
}

#[test]
fn what_is_no_gateway_is_named() {
    let serve = |answer: &'static [u8]| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = address_of(listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = [0; 64];
            let _ = stream.read(&mut head);
            let _ = stream.write_all(answer);
        });
        let e = Client::connect(&at, &operator(None)).err().unwrap();
        server.join().unwrap();
        e.to_string()
    };
    let text = serve(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    assert!(
        text.contains("not a gateway") && text.contains("404"),
        "{text}"
    );
    let text = serve(b"SSH-2.0-x\r\n");
    assert!(text.contains("not a gateway"), "{text}");
}

#[test]
fn a_restart_in_the_middle_of_a_call_is_a_close_with_its_code() {
    let (at, server) = gateway(|peer| {
        peer.welcome(Value::Null);
        peer.hear();
        let frame = CloseFrame {
            code: CloseCode::Restart,
            reason: "service restart".into(),
        };
        peer.0.close(Some(frame)).unwrap();
        let _ = peer.0.flush();
    });
    let mut client = Client::connect(&at, &operator(None)).unwrap();
    let e = client.call("health", &json!({}), SOON).unwrap_err();
    assert_eq!(e.to_string(), "gateway closed (1012 service restart)");
    server.join().unwrap();
}
