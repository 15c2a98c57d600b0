//! The RPC methods: one file a family, and the one table that lists them all.
//!
//! The table says who may call a method and what its parameters are; a method that is not in it does not
//! exist. `hello-ok`, the scope checks and openclaw-protocol(7) are made from it.

pub mod agents;
pub mod approvals;
pub mod channels;
pub mod chat;
pub mod config;
pub mod cron;
pub mod devices;
pub mod health;
pub mod heartbeat;
pub mod identity;
pub mod logs;
pub mod misc;
pub mod models;
pub mod nodes;
pub mod run;
pub mod sessions;
pub mod skills;
pub mod system;
pub mod tools;
pub mod usage;
pub mod voice;
pub mod wizard;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use crate::gateway::Gateway;
use crate::gateway::client::Client;
use crate::protocol::frame::{self, BadFrame, Request};
use crate::protocol::shape::Shape;
use crate::protocol::{Role, RpcError, Scope};

/// The families. Their order is that of `hello-ok.features.methods`.
pub const FAMILIES: &[&[Method]] = &[
    health::METHODS,
    logs::METHODS,
    channels::METHODS,
    approvals::METHODS,
    config::METHODS,
    models::METHODS,
    identity::METHODS,
    sessions::METHODS,
    nodes::METHODS,
    devices::METHODS,
    agents::METHODS,
    tools::METHODS,
    skills::METHODS,
    voice::METHODS,
    heartbeat::METHODS,
    cron::METHODS,
    usage::METHODS,
    wizard::METHODS,
    misc::METHODS,
    system::METHODS,
    run::METHODS,
    chat::METHODS,
];

/// Who may call a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Both roles, without any scope.
    Anyone,
    /// Operators that hold the scope.
    Operator(Scope),
    /// Nodes only.
    Node,
}

/// What a handler gives back.
pub enum Reply {
    Value(Value),
    /// JSON text that is ready.
    Raw(Arc<str>),
    /// The handler answers, or has answered, through its [`Responder`].
    Later,
}

/// A row of the table.
pub struct Method {
    pub name: &'static str,
    pub access: Access,
    /// Whether `hello-ok` lists it. Some methods of the reference answer without being listed.
    pub listed: bool,
    pub params: Shape,
    /// The handler may wait for something: it runs on a thread of its own.
    pub waits: bool,
    pub run: fn(&Call<'_>) -> Result<Reply, RpcError>,
    /// One line for the manual.
    pub about: &'static str,
}

impl Method {
    /// A listed method that answers at once.
    pub const fn new(
        name: &'static str,
        access: Access,
        params: Shape,
        run: fn(&Call<'_>) -> Result<Reply, RpcError>,
        about: &'static str,
    ) -> Method {
        Method {
            name,
            access,
            listed: true,
            params,
            waits: false,
            run,
            about,
        }
    }

    /// Runs on a thread of its own.
    #[must_use]
    pub const fn waits(mut self) -> Method {
        self.waits = true;
        self
    }

    /// Is not listed in `hello-ok`.
    #[must_use]
    pub const fn unlisted(mut self) -> Method {
        self.listed = false;
        self
    }
}

/// Every method.
pub fn all() -> impl Iterator<Item = &'static Method> {
    FAMILIES.iter().flat_map(|f| f.iter())
}

/// The method of that name.
pub fn find(name: &str) -> Option<&'static Method> {
    all().find(|m| m.name == name)
}

/// One call of a method. `params` is an object that fits the method's shape.
pub struct Call<'a> {
    pub gateway: &'a Arc<Gateway>,
    pub client: &'a Arc<Client>,
    pub params: &'a Value,
    id: Value,
}

impl Call<'_> {
    /// A string parameter; `None` when missing, null, or no string.
    pub fn str(&self, key: &str) -> Option<&str> {
        self.params.get(key).and_then(Value::as_str)
    }

    /// A string parameter without surrounding blanks; `None` also when nothing is left.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.str(key).map(str::trim).filter(|t| !t.is_empty())
    }

    pub fn bool(&self, key: &str) -> Option<bool> {
        self.params.get(key).and_then(Value::as_bool)
    }

    /// An integer parameter that the shape has checked to be 0 or more.
    pub fn u64(&self, key: &str) -> Option<u64> {
        let v = self.params.get(key)?;
        v.as_u64().or_else(|| v.as_f64().map(|f| f as u64))
    }

    /// Whether the caller holds `scope`.
    pub fn may(&self, scope: Scope) -> bool {
        self.client.role == Role::Operator && self.client.scopes.has(scope)
    }

    /// A place on this machine, as the caller may know of it: absolute paths are for admins (SL-03).
    pub fn path(&self, path: &Path) -> Value {
        match self.may(Scope::Admin) {
            true => json!(path),
            false => json!("[redacted]"),
        }
    }

    /// Answers from another thread, or before the handler is done.
    pub fn responder(&self) -> Responder {
        Responder {
            client: self.client.clone(),
            id: self.id.clone(),
        }
    }
}

/// Answers a request in order with the events of the connection, from any thread.
#[derive(Clone)]
pub struct Responder {
    client: Arc<Client>,
    id: Value,
}

impl Responder {
    pub fn ok(&self, payload: &Value) {
        self.client
            .outbox
            .push_response(frame::response_ok(&self.id, Some(&payload.to_string())));
    }

    pub fn err(&self, error: &RpcError) {
        self.client
            .outbox
            .push_response(frame::response_err(&self.id, error));
    }

    /// A finished handler's result.
    pub fn reply(&self, result: &Result<Reply, RpcError>) {
        match result {
            Ok(Reply::Value(v)) => self.ok(v),
            Ok(Reply::Raw(text)) => self
                .client
                .outbox
                .push_response(frame::response_ok(&self.id, Some(text))),
            Ok(Reply::Later) => {}
            Err(e) => self.err(e),
        }
    }
}

/// What the connection does after a frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    Continue,
    /// Close with code 1008 and this reason; the answer has been written.
    Close(&'static str),
}

/// Refusals for a wrong role in a row that are answered; the next one closes.
const MAX_WRONG_ROLE: u32 = 10;
/// Calls of one connection, and of all, that may wait at a time.
const MAX_WAITING_PER_CONNECTION: u32 = 64;
const MAX_WAITING: u32 = 1024;
/// Stack of a thread on which a call waits, in bytes.
const WAITING_STACK: usize = 512 * 1024;

static WAITING: AtomicU32 = AtomicU32::new(0);

/// Handles one frame of an authenticated connection.
pub fn dispatch(gateway: &Arc<Gateway>, client: &Arc<Client>, text: &str) -> Next {
    let started = std::time::Instant::now();
    // A connection that has lost its right may go on sending until it has read the close frame.
    if client.outbox.is_sealed() {
        return Next::Continue;
    }
    let request = match frame::parse_request(text) {
        Ok(r) => r,
        Err(BadFrame::NotJson(why)) => {
            gateway.ws_log.parse_error(client, &why);
            return Next::Continue;
        }
        Err(BadFrame::NotARequest { id, why }) => {
            let error = RpcError::invalid(format!("invalid request frame: {why}"));
            let _ = client.outbox.write_text(&frame::response_err(&id, &error));
            return Next::Continue;
        }
    };
    gateway.ws_log.request(client, &request);
    let id = Value::String(request.id.clone());
    let method = match admit(gateway, client, &request) {
        Ok(m) => m,
        Err((error, closes)) => {
            gateway
                .ws_log
                .response(client, &request, started, Some(&error));
            let _ = client.outbox.write_text(&frame::response_err(&id, &error));
            return if closes {
                Next::Close("repeated unauthorized calls")
            } else {
                Next::Continue
            };
        }
    };
    if method.waits {
        return wait_elsewhere(gateway, client, request, method, id);
    }
    let call = Call {
        gateway,
        client,
        params: &request.params,
        id,
    };
    let result = guarded(method, &call);
    gateway
        .ws_log
        .response(client, &request, started, result.as_ref().err());
    // Written here and now: nobody else's answer has to wait for it.
    let _ = match &result {
        Ok(Reply::Value(v)) => client
            .outbox
            .write_text(&frame::response_ok(&call.id, Some(&v.to_string()))),
        Ok(Reply::Raw(text)) => client
            .outbox
            .write_text(&frame::response_ok(&call.id, Some(text))),
        Ok(Reply::Later) => Ok(()),
        Err(e) => client.outbox.write_text(&frame::response_err(&call.id, e)),
    };
    Next::Continue
}

/// Role, scope, control-plane rate, existence, parameters: in this order. The flag says to close.
fn admit(
    gateway: &Gateway,
    client: &Client,
    request: &Request,
) -> Result<&'static Method, (RpcError, bool)> {
    let name = request.method.as_str();
    let method = find(name);
    // What is not in the table needs admin, so that only an admin can tell what exists.
    let access = method.map_or(Access::Operator(Scope::Admin), |m| m.access);
    let wrong_role = match (access, client.role) {
        (Access::Anyone, _)
        | (Access::Node, Role::Node)
        | (Access::Operator(_), Role::Operator) => false,
        (Access::Node, Role::Operator) | (Access::Operator(_), Role::Node) => true,
    };
    if wrong_role {
        let error = RpcError::invalid(format!("unauthorized role: {}", client.role));
        return Err((error, client.count_wrong_role() > MAX_WRONG_ROLE));
    }
    client.wrong_role.store(0, Ordering::Relaxed);
    let refuse = |e| (e, false);
    if let Access::Operator(scope) = access
        && !client.scopes.has(scope)
    {
        return Err(refuse(RpcError::invalid(format!(
            "missing scope: {}",
            scope.as_str()
        ))));
    }
    gateway.control_plane.admit(name, client).map_err(refuse)?;
    if name == "connect" {
        return Err(refuse(RpcError::invalid(
            "connect is only valid as the first request",
        )));
    }
    let Some(method) = method else {
        return Err(refuse(RpcError::invalid(format!(
            "unknown method: {}",
            frame::clip(name, 128)
        ))));
    };
    match method.params.check(&request.params) {
        Ok(()) => Ok(method),
        Err(why) => Err(refuse(RpcError::invalid(format!(
            "invalid {name} params: {why}"
        )))),
    }
}

/// A panic in a handler is this call's error, not the connection's end.
fn guarded(method: &Method, call: &Call<'_>) -> Result<Reply, RpcError> {
    catch_unwind(AssertUnwindSafe(|| (method.run)(call))).unwrap_or_else(|_| {
        log::error!(target: "gateway", "{} failed unexpectedly; the connection goes on", method.name);
        Err(RpcError::unavailable("internal error; see the gateway's log"))
    })
}

fn wait_elsewhere(
    gateway: &Arc<Gateway>,
    client: &Arc<Client>,
    request: Request,
    method: &'static Method,
    id: Value,
) -> Next {
    let responder = Responder {
        client: client.clone(),
        id: id.clone(),
    };
    let Some(slot) = Slot::take(client) else {
        responder.err(
            &RpcError::unavailable("too many waiting calls; wait for one to end").retry_after(1000),
        );
        return Next::Continue;
    };
    let (gateway, client) = (gateway.clone(), client.clone());
    let body = move || {
        let started = std::time::Instant::now();
        let call = Call {
            gateway: &gateway,
            client: &client,
            params: &request.params,
            id,
        };
        let result = guarded(method, &call);
        gateway
            .ws_log
            .response(&client, &request, started, result.as_ref().err());
        call.responder().reply(&result);
        drop(slot);
    };
    if std::thread::Builder::new()
        .name("call".into())
        .stack_size(WAITING_STACK)
        .spawn(body)
        .is_err()
    {
        responder.err(&RpcError::unavailable("out of threads; try again later").retry_after(1000));
    }
    Next::Continue
}

/// A place among the calls that wait.
struct Slot(Arc<Client>);

impl Slot {
    fn take(client: &Arc<Client>) -> Option<Slot> {
        let fits = |n: &AtomicU32, max: u32| {
            n.fetch_update(Ordering::AcqRel, Ordering::Acquire, |v| {
                (v < max).then_some(v + 1)
            })
            .is_ok()
        };
        if !fits(&client.waiting, MAX_WAITING_PER_CONNECTION) {
            return None;
        }
        if !fits(&WAITING, MAX_WAITING) {
            client.waiting.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        Some(Slot(client.clone()))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
        WAITING.fetch_sub(1, Ordering::AcqRel);
    }
}

/// `{"ok":true}`.
pub fn ok() -> Result<Reply, RpcError> {
    Ok(Reply::Value(json!({"ok": true})))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique() {
        let names: Vec<_> = super::all().map(|m| m.name).collect();
        assert_eq!(names.len(), names.iter().collect::<BTreeSet<_>>().len());
    }
}
