//! Blocking client of a gateway: the handshake, requests with one or two answers, events.
//!
//! One connection, one caller, no thread. Everything has a deadline; a gateway that is not there, or
//! says no, is an error at once, and nothing else is tried in its place.

mod error;
pub mod identity;
mod socket;
pub mod target;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

pub use error::{Answer, ClientError, Phase};
use identity::{DeviceToken, Identity};
pub use socket::Address;
use socket::Socket;
pub use target::{Source, Target, TargetError, Wanted};

use crate::protocol::{Role, VERSIONS, device};
use crate::state::Paths;
use crate::sys::{clock, id};

/// Events that wait for [`Client::next_event`]; beyond, the oldest go.
const MAX_EVENTS: usize = 1024;

/// Upper bounds of the parts of connecting. [`Connect::timeout`] bounds their sum.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    pub connect: Duration,
    pub upgrade: Duration,
    pub challenge: Duration,
    pub hello: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Deadlines {
            connect: Duration::from_secs(5),
            upgrade: Duration::from_secs(5),
            challenge: Duration::from_secs(5),
            hello: Duration::from_secs(10),
        }
    }
}

/// The secrets that a client may show. At most one of each kind.
#[derive(Clone, Default)]
pub struct Credentials {
    pub token: Option<String>,
    pub password: Option<String>,
}

/// What a client says about itself when it connects.
#[derive(Clone)]
pub struct Connect {
    /// One of the protocol's client ids: `cli`, `gateway-client`, `node-host`, `test`, …
    pub client_id: &'static str,
    /// One of the protocol's modes: `cli`, `probe`, `backend`, `node`, `test`, …
    pub mode: &'static str,
    pub role: Role,
    /// Asked for, in this order; the gateway grants what it sees fit.
    pub scopes: Vec<String>,
    /// What a node can do; sent as `caps` and `commands` when not empty.
    pub caps: Vec<String>,
    pub commands: Vec<String>,
    pub credentials: Credentials,
    /// State directory with the device identity; `None` connects without a device, and so without scopes.
    pub device: Option<Paths>,
    pub deadlines: Deadlines,
    /// Bounds connecting as a whole.
    pub timeout: Duration,
}

impl Connect {
    /// An operator on the command line, with every scope.
    pub fn operator(credentials: Credentials) -> Connect {
        Connect {
            client_id: "cli",
            mode: "cli",
            role: Role::Operator,
            scopes: [
                "operator.admin",
                "operator.read",
                "operator.write",
                "operator.approvals",
                "operator.pairing",
            ]
            .map(str::to_string)
            .to_vec(),
            caps: Vec::new(),
            commands: Vec::new(),
            credentials,
            device: None,
            deadlines: Deadlines::default(),
            timeout: Duration::from_secs(10),
        }
    }
}

/// An event frame.
#[derive(Clone, Debug, PartialEq)]
pub struct EventFrame {
    pub event: String,
    pub payload: Value,
    /// Missing on targeted events.
    pub seq: Option<u64>,
}

/// A connection on which the handshake is done.
pub struct Client {
    socket: Socket,
    hello: Value,
    events: VecDeque<EventFrame>,
    /// Number of the next request.
    next: u64,
}

impl Client {
    /// Connects to the gateway at `address`.
    pub fn connect(address: &Address, about: &Connect) -> Result<Client, ClientError> {
        let until = Instant::now() + about.timeout;
        let identity = about
            .device
            .as_ref()
            .map(Identity::load_or_create)
            .transpose()?;
        let d = about.deadlines;
        let mut socket = Socket::open(address, d.connect, d.upgrade, until)?;
        let nonce = challenge(&mut socket, until.min(Instant::now() + d.challenge))?;
        let params = Introduction::new(about, identity.as_ref());
        let request = json!({
            "type": "req", "id": "connect", "method": "connect",
            "params": params.to_value(&nonce, clock::now_ms()),
        });
        let hello_until = until.min(Instant::now() + d.hello);
        socket.send(request.to_string(), Phase::Hello, hello_until)?;
        let mut client = Client {
            socket,
            hello: Value::Null,
            events: VecDeque::new(),
            next: 1,
        };
        match client.answer("connect", Phase::Hello, hello_until) {
            Ok(hello) => client.hello = hello,
            Err(ClientError::Failed(answer)) => {
                params.forget_token_if(&answer);
                let close = match client.socket.receive(Phase::Hello, hello_until) {
                    Err(ClientError::Closed { code, .. }) => code,
                    _ => 1006,
                };
                return Err(ClientError::Rejected { answer, close });
            }
            Err(e) => return Err(e),
        }
        params.keep_token(&client.hello["auth"])?;
        Ok(client)
    }

    /// The gateway's `hello-ok`.
    pub fn hello(&self) -> &Value {
        &self.hello
    }

    /// Asks and waits for the answer, the first one when there are two.
    pub fn call(
        &mut self,
        method: &str,
        params: &Value,
        timeout: Duration,
    ) -> Result<Value, ClientError> {
        let until = Instant::now() + timeout;
        let id = self.send(method, params, until)?;
        self.answer(&id, Phase::Answer, until)
    }

    /// Asks and waits for the final answer: one whose status is `accepted` is not it.
    pub fn call_final(
        &mut self,
        method: &str,
        params: &Value,
        timeout: Duration,
    ) -> Result<Value, ClientError> {
        let until = Instant::now() + timeout;
        let id = self.send(method, params, until)?;
        let first = self.answer(&id, Phase::Answer, until)?;
        if first["status"] != "accepted" {
            return Ok(first);
        }
        self.answer(&id, Phase::Final, until)
    }

    /// The next event, or `None` when none comes in time.
    pub fn next_event(&mut self, timeout: Duration) -> Result<Option<EventFrame>, ClientError> {
        let until = Instant::now() + timeout;
        while self.events.is_empty() {
            match self.frame(Phase::Answer, until) {
                // An answer that nobody waits for any more.
                Ok(_) => {}
                Err(ClientError::Timeout { .. }) => return Ok(None),
                Err(e) => return Err(e),
            }
        }
        Ok(self.events.pop_front())
    }

    /// Ends the connection in good order.
    pub fn close(mut self) {
        self.socket.close();
    }

    /// Sends a request without waiting; the id of its answers.
    pub fn send(
        &mut self,
        method: &str,
        params: &Value,
        until: Instant,
    ) -> Result<String, ClientError> {
        let id = self.next.to_string();
        self.next += 1;
        let frame = json!({"type": "req", "id": id, "method": method, "params": params});
        self.socket.send(frame.to_string(), Phase::Answer, until)?;
        Ok(id)
    }

    /// The next answer to the request `id`; events that come before are kept.
    pub fn answer(&mut self, id: &str, phase: Phase, until: Instant) -> Result<Value, ClientError> {
        loop {
            let Some(mut frame) = self.frame(phase, until)? else {
                continue;
            };
            if frame["id"] != id {
                continue;
            }
            if frame["ok"] == true {
                return Ok(frame["payload"].take());
            }
            let error = &frame["error"];
            return Err(ClientError::Failed(Answer {
                code: error["code"].as_str().unwrap_or_default().to_string(),
                message: error["message"]
                    .as_str()
                    .unwrap_or("no reason given")
                    .to_string(),
                details: error["details"].clone(),
                payload: frame["payload"].clone(),
            }));
        }
    }

    /// The next frame that is an answer; `None` for an event, which is kept.
    fn frame(&mut self, phase: Phase, until: Instant) -> Result<Option<Value>, ClientError> {
        let text = self.socket.receive(phase, until)?;
        let mut frame: Value = serde_json::from_str(&text)
            .map_err(|e| ClientError::NotAGateway(format!("{}: {e}", self.socket.peer)))?;
        if frame["type"] != "event" {
            return Ok(Some(frame));
        }
        if self.events.len() == MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(EventFrame {
            event: frame["event"].as_str().unwrap_or_default().to_string(),
            seq: frame["seq"].as_u64(),
            payload: frame["payload"].take(),
        });
        Ok(None)
    }
}

/// Waits for the gateway's first frame and takes the nonce out of it.
fn challenge(socket: &mut Socket, until: Instant) -> Result<String, ClientError> {
    let text = socket.receive(Phase::Challenge, until)?;
    let frame: Value = serde_json::from_str(&text).unwrap_or_default();
    match (frame["event"].as_str(), frame["payload"]["nonce"].as_str()) {
        (Some("connect.challenge"), Some(nonce)) => Ok(nonce.to_string()),
        _ => Err(ClientError::NotAGateway(format!(
            "{} did not begin with connect.challenge",
            socket.peer
        ))),
    }
}

/// The parts of `connect` that are settled before the challenge is known.
struct Introduction<'a> {
    about: &'a Connect,
    identity: Option<&'a Identity>,
    /// A token from an earlier pairing, when there is no shared secret to show.
    device_token: Option<DeviceToken>,
}

impl<'a> Introduction<'a> {
    fn new(about: &'a Connect, identity: Option<&'a Identity>) -> Self {
        let shown = &about.credentials;
        let device_token = match (identity, &about.device) {
            (Some(me), Some(paths)) if shown.token.is_none() && shown.password.is_none() => {
                identity::stored_token(paths, &me.device_id, about.role.as_str())
            }
            _ => None,
        };
        Introduction {
            about,
            identity,
            device_token,
        }
    }

    fn to_value(&self, nonce: &str, now: u64) -> Value {
        let about = self.about;
        let (first, last) = (VERSIONS.first(), VERSIONS.last());
        let scopes = match &self.device_token {
            // More than the token opens would be refused as a whole.
            Some(t) => &t.scopes,
            None => &about.scopes,
        };
        let mut params = json!({
            "minProtocol": first, "maxProtocol": last,
            "client": {
                "id": about.client_id, "mode": about.mode,
                "version": crate::VERSION, "platform": std::env::consts::OS,
            },
            "role": about.role.as_str(), "scopes": scopes,
        });
        for (key, words) in [("caps", &about.caps), ("commands", &about.commands)] {
            if !words.is_empty() {
                params[key] = json!(words);
            }
        }
        let mut auth = Map::new();
        let device_token = self.device_token.as_ref().map(|t| &t.token);
        let shown = &about.credentials;
        for (key, secret) in [
            ("token", shown.token.as_ref()),
            ("password", shown.password.as_ref()),
            ("deviceToken", device_token),
        ] {
            if let Some(secret) = secret {
                auth.insert(key.into(), json!(secret));
            }
        }
        if !auth.is_empty() {
            params["auth"] = Value::Object(auth);
        }
        if let Some(me) = self.identity {
            let token = shown.token.as_ref().or(device_token);
            let signed = device::Signed {
                device_id: &me.device_id,
                client_id: about.client_id,
                client_mode: about.mode,
                role: about.role.as_str(),
                scopes,
                signed_at: now,
                token: token.map_or("", String::as_str),
                nonce,
            };
            params["device"] = json!({
                "id": me.device_id, "publicKey": me.public_key(), "signature": me.sign(&signed.text()),
                "signedAt": now, "nonce": nonce,
            });
        }
        params
    }

    /// Keeps the device token that came with `hello-ok`.
    fn keep_token(&self, auth: &Value) -> Result<(), ClientError> {
        let (Some(me), Some(paths)) = (self.identity, &self.about.device) else {
            return Ok(());
        };
        let Some(token) = auth["deviceToken"].as_str() else {
            return Ok(());
        };
        let scopes = auth["scopes"].as_array().cloned().unwrap_or_default();
        let scopes = scopes.iter().filter_map(|s| s.as_str().map(str::to_string));
        let token = DeviceToken {
            token: token.to_string(),
            scopes: scopes.collect(),
        };
        let role = self.about.role.as_str();
        identity::store_token(paths, &me.device_id, role, Some(&token))?;
        Ok(())
    }

    /// Forgets the stored token when it was that which the gateway refused.
    fn forget_token_if(&self, refused: &Answer) {
        let ours = refused.details["code"] == "AUTH_DEVICE_TOKEN_MISMATCH";
        if let (true, Some(_), Some(me), Some(paths)) =
            (ours, &self.device_token, self.identity, &self.about.device)
        {
            // Should the file not be writable, the next connect is refused in the same words.
            let _ = identity::store_token(paths, &me.device_id, self.about.role.as_str(), None);
        }
    }
}

/// A new idempotency key.
pub fn idempotency_key() -> String {
    id::uuid()
}
