//! The `connect` request: from the first frame of a socket to a client with a role and scopes.
//!
//! The order of the checks is part of the protocol: the first one that fails decides the answer. What a
//! client claims is never taken for granted: scopes without a proven device are dropped, and a shared
//! secret stands in for pairing only on an unforwarded loopback connection (HS-01).

use serde_json::{Map, Value, json};

use super::Gateway;
use super::auth::{Presented, Refusal};
use super::client::AuthMethod;
use super::peer::{Peer, host_name, is_loopback_name};
use crate::protocol::device;
use crate::protocol::frame::{self, BadFrame};
use crate::protocol::shape::{Field, Kind, Shape, at_least, opt, req};
use crate::protocol::{Event, Role, RpcError, Scopes, negotiate};
use crate::state::devices::{Ask, Asked, TokenCheck};
use crate::sys::{clock, id};

/// How far a device's clock may be off, in milliseconds, in both directions.
const MAX_CLOCK_SKEW_MS: u64 = 120_000;
/// Longest device field (id, key, signature, nonce) that is looked at, in bytes.
const MAX_DEVICE_FIELD: usize = 4096;

/// The closed list of client ids of protocol 3.
pub const CLIENT_IDS: &[&str] = &[
    "webchat-ui",
    "openclaw-control-ui",
    "webchat",
    "cli",
    "gateway-client",
    "openclaw-macos",
    "openclaw-ios",
    "openclaw-android",
    "node-host",
    "test",
    "fingerprint",
    "openclaw-probe",
];
/// The closed list of client modes of protocol 3.
pub const CLIENT_MODES: &[&str] = &["webchat", "cli", "ui", "backend", "node", "probe", "test"];

const CLIENT: Shape = Shape::strict(&[
    req("id", Kind::OneOf(CLIENT_IDS)),
    req("version", Kind::NonEmpty),
    req("platform", Kind::NonEmpty),
    req("mode", Kind::OneOf(CLIENT_MODES)),
    opt("displayName", Kind::NonEmpty),
    opt("deviceFamily", Kind::NonEmpty),
    opt("modelIdentifier", Kind::NonEmpty),
    opt("instanceId", Kind::NonEmpty),
]);
const DEVICE: Shape = Shape::strict(&[
    req("id", Kind::NonEmpty),
    req("publicKey", Kind::NonEmpty),
    req("signature", Kind::NonEmpty),
    req("signedAt", at_least(0)),
    req("nonce", Kind::Text),
]);
const AUTH: Shape = Shape::strict(&[
    opt("token", Kind::Text),
    opt("deviceToken", Kind::Text),
    opt("password", Kind::Text),
]);
const FIELDS: &[Field] = &[
    req("minProtocol", at_least(1)),
    req("maxProtocol", at_least(1)),
    req("client", Kind::Object(&CLIENT)),
    opt("caps", Kind::List(&Kind::NonEmpty)),
    opt("commands", Kind::List(&Kind::NonEmpty)),
    opt("permissions", Kind::Map(&Kind::Bool)),
    opt("pathEnv", Kind::Text),
    opt("role", Kind::NonEmpty),
    opt("scopes", Kind::List(&Kind::NonEmpty)),
    opt("device", Kind::Object(&DEVICE)),
    opt("auth", Kind::Object(&AUTH)),
    opt("locale", Kind::Text),
    opt("userAgent", Kind::Text),
];
/// Parameters of `connect`.
pub const CONNECT: Shape = Shape::strict(FIELDS);

/// A connect request that was accepted.
pub struct Accepted {
    /// The id of the request, for the answer.
    pub id: Value,
    /// The protocol version that both sides speak.
    pub protocol: u64,
    pub role: Role,
    pub scopes: Scopes,
    pub auth: AuthMethod,
    pub secret_print: String,
    pub device_id: Option<String>,
    pub info: Map<String, Value>,
    pub caps: Vec<String>,
    pub commands: Vec<String>,
    pub permissions: Option<Value>,
    pub path_env: Option<String>,
    /// `hello-ok.auth`, for devices that hold a token.
    pub issued: Option<Value>,
}

/// A connect request that was refused: what is sent, and how the socket is closed.
pub struct Refused {
    /// The request's id and the error, when there is an answer at all.
    pub answer: Option<(Value, RpcError)>,
    pub code: u16,
    pub reason: String,
}

impl Refused {
    fn silent(code: u16, reason: &str) -> Box<Refused> {
        Box::new(Refused {
            answer: None,
            code,
            reason: reason.to_string(),
        })
    }

    fn policy(id: &Value, error: RpcError) -> Box<Refused> {
        let reason = error.message.clone();
        Box::new(Refused {
            answer: Some((id.clone(), error)),
            code: 1008,
            reason,
        })
    }
}

/// Judges the first frame of a socket whose challenge was `nonce`.
pub fn connect(
    gateway: &Gateway,
    peer: &Peer,
    nonce: &str,
    text: &str,
) -> Result<Accepted, Box<Refused>> {
    let request = match frame::parse_request(text) {
        Ok(r) => r,
        Err(BadFrame::NotJson(_)) => return Err(Refused::silent(1000, "")),
        Err(BadFrame::NotARequest { .. }) => {
            return Err(Refused::silent(1008, "invalid request frame"));
        }
    };
    let id = Value::String(request.id);
    let refuse = |error: RpcError| Refused::policy(&id, error);
    if request.method != "connect" {
        return Err(refuse(RpcError::invalid(
            "invalid handshake: first request must be connect",
        )));
    }
    let params = &request.params;
    CONNECT
        .check(params)
        .map_err(|why| refuse(RpcError::invalid(format!("invalid connect params: {why}"))))?;

    let number = |key: &str| {
        params[key]
            .as_u64()
            .or(params[key].as_f64().map(|f| f as u64))
            .unwrap_or(0)
    };
    let Some(protocol) = negotiate(number("minProtocol"), number("maxProtocol")) else {
        let newest = crate::protocol::VERSIONS.last();
        let error = RpcError::invalid("protocol mismatch")
            .with_details(json!({"expectedProtocol": newest}));
        let mut refused = refuse(error);
        refused.code = 1002;
        return Err(refused);
    };
    let role = match params.get("role").and_then(Value::as_str) {
        None => Role::Operator,
        Some(word) => Role::parse(word).ok_or_else(|| refuse(RpcError::invalid("invalid role")))?,
    };
    let info = params["client"].as_object().cloned().unwrap_or_default();
    let word = |key: &str| info.get(key).and_then(Value::as_str).unwrap_or("");
    let (client_id, client_mode) = (word("id"), word("mode"));
    let page = Page::of(client_id, client_mode, peer);
    page.check_origin(gateway, peer).map_err(refuse)?;

    let words = |key: &str| -> Vec<String> {
        let list = params.get(key).and_then(Value::as_array);
        list.into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_string)
            .collect()
    };
    let auth = |key: &str| {
        params
            .get("auth")
            .and_then(|a| a.get(key))
            .and_then(Value::as_str)
    };
    let asked = Scopes::from_words(words("scopes"));
    let presented = Presented {
        token: auth("token"),
        password: auth("password"),
    };
    let device_token = auth("deviceToken").filter(|t| !t.is_empty());
    let secrets = gateway.secrets();

    let mut accepted = Accepted {
        id: id.clone(),
        protocol,
        role,
        scopes: Scopes::none(),
        auth: AuthMethod::None,
        secret_print: String::new(),
        device_id: None,
        caps: words("caps"),
        commands: words("commands"),
        permissions: params.get("permissions").cloned(),
        path_env: params
            .get("pathEnv")
            .and_then(Value::as_str)
            .map(str::to_string),
        issued: None,
        info: Map::new(),
    };

    let Some(device) = params.get("device") else {
        let judged = secrets.judge(&gateway.limiter(), peer, &presented, Err);
        accepted.auth = without_device(
            gateway,
            peer,
            page,
            role,
            &presented,
            judged,
            (client_id, client_mode),
        )
        .map_err(refuse)?;
        if page == Page::ControlUi {
            // Only reached with one of the explicit switches of gateway.controlUi.
            accepted.scopes = asked;
        }
        accepted.secret_print = secrets.print().to_string();
        accepted.info = info;
        return Ok(accepted);
    };
    let proof = Proof {
        role,
        client_id,
        client_mode,
        scopes: &words("scopes"),
        token: presented.token.or(device_token),
    };
    let device = prove_device(device, nonce, &proof).map_err(|reason| {
        let (message, reason) = reason;
        refuse(
            RpcError::invalid(message)
                .with_details(json!({"code": "DEVICE_AUTH_INVALID", "reason": reason})),
        )
    })?;

    // A device token may come under its own name or as `token`; either way it is one attempt.
    let by_token = |candidate: &str| {
        gateway
            .devices
            .verify_token(&device.id, role, &asked, candidate)
            == TokenCheck::Good
    };
    let judged = secrets.judge(&gateway.limiter(), peer, &presented, |refusal| {
        match (device_token, presented.token) {
            (Some(t), _) if by_token(t) => Ok(AuthMethod::DeviceToken),
            (Some(_), None) => Err(Refusal::DeviceTokenMismatch),
            (_, Some(t)) if by_token(t) => Ok(AuthMethod::DeviceToken),
            _ => Err(refusal),
        }
    });
    let method = judged.map_err(|r| refuse(r.to_error(client_id, client_mode)))?;
    if method != AuthMethod::DeviceToken {
        accepted.secret_print = secrets.print().to_string();
    }
    let shared = matches!(
        method,
        AuthMethod::Token | AuthMethod::Password | AuthMethod::None
    );
    let trusted_without_pairing =
        role == Role::Operator && shared && peer.local && page == Page::No;
    if !trusted_without_pairing {
        let ask = Ask {
            device_id: &device.id,
            public_key: &device.public_key,
            role,
            scopes: &asked,
            info: &info,
            commands: &accepted.commands,
            remote_ip: peer.shown_address(),
        };
        accepted.commands = pair(gateway, peer, &ask).map_err(refuse)?;
        accepted.issued = gateway
            .devices
            .issue(&device.id, role, &asked)
            .map_err(|e| {
                log::error!(target: "gateway", "device token not stored: {e}");
                refuse(RpcError::unavailable(
                    "device token could not be stored; see the gateway's log",
                ))
            })?;
    }
    accepted.scopes = if role == Role::Operator {
        asked
    } else {
        Scopes::none()
    };
    accepted.auth = method;
    accepted.device_id = Some(device.id);
    accepted.info = info;
    Ok(accepted)
}

/// Whether the client is a page in a browser, which pairing and origin rules care about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Page {
    No,
    ControlUi,
    Webchat,
    /// Any other client that sent an Origin header (UI-01).
    Other,
}

impl Page {
    fn of(client_id: &str, client_mode: &str, peer: &Peer) -> Page {
        match client_id {
            "openclaw-control-ui" => Page::ControlUi,
            "webchat-ui" => Page::Webchat,
            _ if client_mode == "webchat" => Page::Webchat,
            _ if peer.origin().is_some() => Page::Other,
            _ => Page::No,
        }
    }

    fn check_origin(self, gateway: &Gateway, peer: &Peer) -> Result<(), RpcError> {
        if self == Page::No || origin_allowed(gateway, peer) {
            return Ok(());
        }
        Err(RpcError::invalid(
            "origin not allowed (open the Control UI from the gateway host or allow it in gateway.controlUi.allowedOrigins)",
        ))
    }
}

/// Whether the Origin header of `peer` is one of a page that may act on this gateway.
pub fn origin_allowed(gateway: &Gateway, peer: &Peer) -> bool {
    let Some(origin) = peer.origin().filter(|o| !o.is_empty() && *o != "null") else {
        return false;
    };
    let config = gateway.config.current();
    let listed = config.list("gateway.controlUi.allowedOrigins");
    if listed
        .iter()
        .any(|l| l.trim().trim_end_matches('/').eq_ignore_ascii_case(origin))
    {
        return true;
    }
    let Some((_, authority)) = origin.split_once("://") else {
        return false;
    };
    if is_loopback_name(host_name(authority)) && is_loopback_name(peer.host()) {
        return true;
    }
    config.bool(
        "gateway.controlUi.dangerouslyAllowHostHeaderOriginFallback",
        false,
    ) && !peer.host_and_port().is_empty()
        && authority.eq_ignore_ascii_case(peer.host_and_port())
}

/// Rules for a client that shows no device: a shared secret opens the socket, but no scope.
fn without_device(
    gateway: &Gateway,
    peer: &Peer,
    page: Page,
    role: Role,
    presented: &Presented<'_>,
    judged: Result<AuthMethod, Refusal>,
    (client_id, client_mode): (&str, &str),
) -> Result<AuthMethod, RpcError> {
    let config = gateway.config.current();
    let off = config.bool("gateway.controlUi.dangerouslyDisableDeviceAuth", false);
    let insecure = config.bool("gateway.controlUi.allowInsecureAuth", false) && peer.local;
    if page == Page::ControlUi && !off && !insecure {
        return Err(RpcError::invalid(
            "control ui requires device identity (use HTTPS or localhost secure context)",
        )
        .with_details(json!({"code": "CONTROL_UI_DEVICE_IDENTITY_REQUIRED"})));
    }
    let required = || {
        let details = json!({"code": "DEVICE_IDENTITY_REQUIRED"});
        RpcError::not_paired("device identity required").with_details(details)
    };
    match judged {
        Ok(method) if role == Role::Operator => Ok(method),
        Err(Refusal::RateLimited(ms)) => {
            Err(Refusal::RateLimited(ms).to_error(client_id, client_mode))
        }
        Err(refusal) if presented.token.is_some() || presented.password.is_some() => {
            Err(refusal.to_error(client_id, client_mode))
        }
        _ => Err(required()),
    }
}

/// What the signature has to cover besides the device's own fields.
struct Proof<'a> {
    role: Role,
    client_id: &'a str,
    client_mode: &'a str,
    scopes: &'a [String],
    token: Option<&'a str>,
}

/// A device that has proven to hold its key.
struct Device {
    id: String,
    public_key: String,
}

/// Checks the device block; the error is message and `details.reason`.
fn prove_device(
    d: &Value,
    nonce: &str,
    proof: &Proof<'_>,
) -> Result<Device, (&'static str, &'static str)> {
    let field = |key: &str| {
        d[key]
            .as_str()
            .filter(|t| t.len() <= MAX_DEVICE_FIELD)
            .unwrap_or("")
    };
    let key = device::public_key(field("publicKey"));
    let raw = key.filter(|k| id::sha256_hex(k) == field("id"));
    let raw = raw.ok_or(("device identity mismatch", "device-id-mismatch"))?;
    let signed_at = d["signedAt"]
        .as_u64()
        .or(d["signedAt"].as_f64().map(|f| f as u64))
        .unwrap_or(0);
    if clock::now_ms().abs_diff(signed_at) > MAX_CLOCK_SKEW_MS {
        return Err(("device signature expired", "device-signature-stale"));
    }
    let given = field("nonce").trim();
    if given.is_empty() {
        return Err(("device nonce required", "device-nonce-missing"));
    }
    if given != nonce {
        return Err(("device nonce mismatch", "device-nonce-mismatch"));
    }
    let signed = device::Signed {
        device_id: field("id"),
        client_id: proof.client_id,
        client_mode: proof.client_mode,
        role: proof.role.as_str(),
        scopes: proof.scopes,
        signed_at,
        token: proof.token.unwrap_or(""),
        nonce,
    };
    let text = signed.text();
    let verified = id::from_b64(field("signature"))
        .and_then(|s| ed25519_compact::Signature::from_slice(&s).ok())
        .is_some_and(|s| {
            ed25519_compact::PublicKey::new(raw)
                .verify(text.as_bytes(), &s)
                .is_ok()
        });
    if !verified {
        return Err(("device signature invalid", "device-signature"));
    }
    Ok(Device {
        id: field("id").to_string(),
        public_key: id::b64url(&raw),
    })
}

/// Finds the device paired, pairs it silently where that is allowed, or asks for approval.
///
/// Gives the commands that a node may be sent.
fn pair(gateway: &Gateway, peer: &Peer, ask: &Ask<'_>) -> Result<Vec<String>, RpcError> {
    let failed = |e: &dyn std::fmt::Display| {
        log::error!(target: "gateway", "device pairing not stored: {e}");
        RpcError::unavailable("pairing could not be stored; see the gateway's log")
    };
    let asked = gateway
        .devices
        .ask(ask, peer.local)
        .map_err(|e| failed(&e))?;
    match asked {
        Asked::Paired { commands, announce } => {
            if let Some(request) = announce {
                gateway
                    .hub
                    .publish(Event::DevicePairRequested, &request.to_string());
            }
            Ok(commands)
        }
        Asked::ApprovedSilently { request_id } => {
            let payload = json!({
                "requestId": request_id, "deviceId": ask.device_id,
                "decision": "approved", "ts": clock::now_ms(),
            });
            gateway
                .hub
                .publish(Event::DevicePairResolved, &payload.to_string());
            Ok(ask.commands.to_vec())
        }
        Asked::Pending {
            request,
            created,
            reason,
        } => {
            let request_id = request["requestId"].clone();
            if created {
                gateway
                    .hub
                    .publish(Event::DevicePairRequested, &request.to_string());
            }
            let details =
                json!({"code": "PAIRING_REQUIRED", "requestId": request_id, "reason": reason});
            Err(RpcError::not_paired("pairing required").with_details(details))
        }
    }
}
