//! The rows of the device files: made, read and shown. No I/O, no locks.

use serde_json::{Map, Value, json};

use super::{Ask, token_value};
use crate::protocol::frame::clip;
use crate::protocol::{Role, Scopes};

/// Longest text that is taken over from a client, in bytes.
const MAX_TEXT: usize = 256;
/// Commands of one node that are kept.
const MAX_COMMANDS: usize = 256;

/// A row of pending.json.
pub struct Pending(Value);

impl Pending {
    pub fn new(request_id: &str, ask: &Ask<'_>, silent: bool, repair: bool, now: u64) -> Pending {
        let mut m = Map::new();
        m.insert("requestId".into(), json!(request_id));
        m.insert("deviceId".into(), json!(ask.device_id));
        m.insert("publicKey".into(), json!(ask.public_key));
        describe(&mut m, ask);
        m.insert("role".into(), json!(ask.role.as_str()));
        m.insert("roles".into(), json!([ask.role.as_str()]));
        m.insert("scopes".into(), json!(ask.scopes.words()));
        if !declared(ask).is_empty() {
            m.insert("commands".into(), json!(declared(ask)));
        }
        m.insert("silent".into(), json!(silent));
        m.insert("isRepair".into(), json!(repair));
        m.insert("ts".into(), json!(now));
        Pending(Value::Object(m))
    }

    pub fn value(&self) -> &Value {
        &self.0
    }

    pub fn into_value(self) -> Value {
        self.0
    }
}

/// Who the client says it is, and where it comes from.
fn describe(m: &mut Map<String, Value>, ask: &Ask<'_>) {
    let names = [
        ("displayName", "displayName"),
        ("platform", "platform"),
        ("clientId", "id"),
        ("clientMode", "mode"),
    ];
    for (ours, theirs) in names {
        if let Some(v) = ask.info.get(theirs).and_then(Value::as_str) {
            m.insert(ours.into(), json!(clip(v, MAX_TEXT)));
        }
    }
    if let Some(ip) = &ask.remote_ip {
        m.insert("remoteIp".into(), json!(ip));
    }
}

fn declared<'a>(ask: &Ask<'a>) -> Vec<&'a str> {
    ask.commands
        .iter()
        .take(MAX_COMMANDS)
        .map(|c| clip(c, MAX_TEXT))
        .collect()
}

/// Whether a pending row asks for exactly what `ask` does.
pub fn same_request(row: &Value, ask: &Ask<'_>) -> bool {
    row["deviceId"] == ask.device_id
        && row["publicKey"] == ask.public_key
        && row["role"] == ask.role.as_str()
        && words(row.get("scopes")) == ask.scopes.words()
        && (ask.role != Role::Node || words(row.get("commands")) == declared(ask))
}

/// What `device` lacks for `ask`; `None` when it is paired for it.
pub fn missing(device: &Value, ask: &Ask<'_>) -> Option<&'static str> {
    let roles = roles(device);
    if device["publicKey"] != ask.public_key {
        return Some("not-paired");
    }
    if !roles.iter().any(|r| r == ask.role.as_str()) {
        return Some("role-upgrade");
    }
    if revoked(device, ask.role) {
        return Some("not-paired");
    }
    (ask.role == Role::Operator && !approved_scopes(device).covers(ask.scopes))
        .then_some("scope-upgrade")
}

/// Whether `device` holds `role` and `scopes`, unrevoked.
pub fn allows(device: &Value, role: Role, scopes: &Scopes) -> bool {
    roles(device).iter().any(|r| r == role.as_str())
        && !revoked(device, role)
        && (role == Role::Node || approved_scopes(device).covers(scopes))
}

fn roles(device: &Value) -> Vec<String> {
    let mut roles = words(device.get("roles"));
    if let Some(r) = device["role"].as_str()
        && !roles.iter().any(|x| x == r)
    {
        roles.push(r.to_string());
    }
    roles
}

fn revoked(device: &Value, role: Role) -> bool {
    device["tokens"][role.as_str()]
        .get("revokedAtMs")
        .is_some_and(|v| !v.is_null())
}

/// The scopes that were approved for `device`.
pub fn approved_scopes(device: &Value) -> Scopes {
    let field = if device.get("approvedScopes").is_some() {
        "approvedScopes"
    } else {
        "scopes"
    };
    Scopes::from_words(words(device.get(field)))
}

/// The paired row after `request` was approved over `old`.
pub fn approve(old: Option<&Value>, request: &Value, now: u64) -> Value {
    let mut device = old.and_then(Value::as_object).cloned().unwrap_or_default();
    for key in [
        "deviceId",
        "publicKey",
        "displayName",
        "platform",
        "clientId",
        "clientMode",
        "remoteIp",
        "commands",
    ] {
        if let Some(v) = request.get(key) {
            device.insert(key.into(), v.clone());
        }
    }
    if request["role"] == Role::Node.as_str() && request.get("commands").is_none() {
        device.insert("commands".into(), json!([]));
    }
    let merged = |key: &str| {
        let asked = words(request.get(key));
        let have = words(old.and_then(|o| o.get(key)));
        Scopes::from_words(have.iter().chain(&asked))
            .words()
            .to_vec()
    };
    // What was revoked does not come back with a request for less (HS-04): then exactly what it asks counts.
    let again = request["role"].as_str().and_then(Role::parse);
    let scopes = match (again, old) {
        (Some(Role::Operator), Some(old)) if revoked(old, Role::Operator) => {
            words(request.get("scopes"))
        }
        _ => merged("scopes"),
    };
    device.insert("role".into(), request["role"].clone());
    device.insert("roles".into(), json!(merged("roles")));
    device.insert("scopes".into(), json!(scopes));
    device.insert("approvedScopes".into(), json!(scopes));
    device.entry("createdAtMs").or_insert_with(|| json!(now));
    device.insert("approvedAtMs".into(), json!(now));
    let mut device = Value::Object(device);
    if let Some(role) = request["role"].as_str().and_then(Role::parse) {
        let held = device["tokens"].get(role.as_str()).cloned();
        let token = new_token(role, &words(request.get("scopes")), held.as_ref(), now);
        set_token(&mut device, role, token);
    }
    device
}

/// Takes over what may change without approval: name and address. The platform stays what was approved,
/// since it decides which commands a node may be sent (HS-07). True when something changed.
pub fn touch(device: &mut Value, ask: &Ask<'_>) -> bool {
    let Some(m) = device.as_object_mut() else {
        return false;
    };
    let before = m.clone();
    let mut now = Map::new();
    describe(&mut now, ask);
    for key in ["displayName", "remoteIp", "clientId", "clientMode"] {
        if let Some(v) = now.remove(key) {
            m.insert(key.into(), v);
        }
    }
    if let Some(platform) = now.remove("platform") {
        m.entry("platform").or_insert(platform);
    }
    // A record of the reference's names no commands: what the node declares now is pinned.
    if ask.role == Role::Node {
        m.entry("commands").or_insert_with(|| json!(declared(ask)));
    }
    *m != before
}

/// A token row; creation time is kept from the one it replaces.
pub fn new_token(role: Role, scopes: &[String], old: Option<&Value>, now: u64) -> Value {
    let created = old.and_then(|o| o["createdAtMs"].as_u64()).unwrap_or(now);
    let mut scopes = scopes.to_vec();
    scopes.sort();
    json!({"token": token_value(), "role": role.as_str(), "scopes": scopes, "createdAtMs": created})
}

pub fn set_token(device: &mut Value, role: Role, token: Value) {
    if let Some(m) = device.as_object_mut() {
        let tokens = m.entry("tokens").or_insert_with(|| json!({}));
        if !tokens.is_object() {
            *tokens = json!({});
        }
        tokens[role.as_str()] = token;
    }
}

pub fn token_of_mut(device: Option<&mut Value>, role: Role) -> Option<&mut Value> {
    device?
        .get_mut("tokens")?
        .get_mut(role.as_str())
        .filter(|t| t.is_object())
}

/// `hello-ok.auth`.
pub fn hello_auth(token: &Value) -> Value {
    let issued = token
        .get("rotatedAtMs")
        .filter(|v| v.is_u64())
        .unwrap_or(&token["createdAtMs"]);
    json!({
        "deviceToken": token["token"], "role": token["role"], "scopes": token["scopes"], "issuedAtMs": issued,
    })
}

/// A request as the list shows it: without an empty scope list.
pub fn request_view(row: &Value) -> Value {
    let mut v = row.clone();
    drop_empty_scopes(&mut v);
    v
}

/// A paired device as the wire shows it: no token values, tokens as a list, approved commands left to
/// `node.describe`.
pub fn paired_view(device: &Value) -> Value {
    let mut v = without_secrets(device);
    if let Some(m) = v.as_object_mut() {
        m.remove("commands");
    }
    v
}

/// A paired device for the gateway's own use: as [`paired_view`], with the approved commands.
pub fn without_secrets(device: &Value) -> Value {
    let mut v = device.clone();
    drop_empty_scopes(&mut v);
    let Some(m) = v.as_object_mut() else { return v };
    m.remove("approvedScopes");
    let tokens = m.remove("tokens");
    let rows = tokens
        .as_ref()
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(Map::values);
    let rows: Vec<_> = rows
        .filter_map(Value::as_object)
        .map(|t| {
            let mut t = t.clone();
            t.remove("token");
            Value::Object(t)
        })
        .collect();
    if !rows.is_empty() {
        m.insert("tokens".into(), Value::Array(rows));
    }
    v
}

fn drop_empty_scopes(v: &mut Value) {
    if let Some(m) = v.as_object_mut()
        && m.get("scopes")
            .and_then(Value::as_array)
            .is_some_and(Vec::is_empty)
    {
        m.remove("scopes");
    }
}

/// The strings of a list; anything else is empty.
pub fn words(v: Option<&Value>) -> Vec<String> {
    let list = v.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_string).collect()
}
