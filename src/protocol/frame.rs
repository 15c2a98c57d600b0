//! Frames: reading a request, writing a response or an event.

use serde_json::{Map, Value, json};

use super::error::RpcError;
use super::event::Event;

/// A request as it came in.
#[derive(Debug)]
pub struct Request {
    pub id: String,
    pub method: String,
    /// Missing and `null` params are an empty object; anything else that is no object is kept as it came.
    pub params: Value,
}

/// Why a text is not a request.
#[derive(Debug)]
pub enum BadFrame {
    /// Not JSON at all; answered with nothing.
    NotJson(String),
    /// JSON, but no request frame. Holds the frame's own id as it came, or `"invalid"`.
    NotARequest { id: Value, why: String },
}

/// Reads one request frame: `{"type":"req","id","method","params"?}` and no other key.
pub fn parse_request(text: &str) -> Result<Request, BadFrame> {
    let value: Value = serde_json::from_str(text).map_err(|e| BadFrame::NotJson(e.to_string()))?;
    let Value::Object(mut frame) = value else {
        return Err(not_a_request(None, "at root: must be object"));
    };
    let id = frame.get("id").cloned();
    if frame.get("type") != Some(&json!("req")) {
        return Err(not_a_request(id, "at /type: must be equal to constant"));
    }
    let Some(Value::String(id_text)) = frame.remove("id").filter(non_empty) else {
        return Err(not_a_request(id, "at /id: must be a non-empty string"));
    };
    let Some(Value::String(method)) = frame.remove("method").filter(non_empty) else {
        return Err(not_a_request(id, "at /method: must be a non-empty string"));
    };
    let params = match frame.remove("params") {
        None | Some(Value::Null) => Value::Object(Map::new()),
        Some(p) => p,
    };
    frame.remove("type");
    if let Some(key) = frame.keys().next() {
        let why = format!("at root: unexpected property '{}'", clip(key, 64));
        return Err(not_a_request(id, &why));
    }
    Ok(Request {
        id: id_text,
        method,
        params,
    })
}

fn non_empty(v: &Value) -> bool {
    v.as_str().is_some_and(|s| !s.is_empty())
}

fn not_a_request(id: Option<Value>, why: &str) -> BadFrame {
    let id = id.unwrap_or_else(|| json!("invalid"));
    BadFrame::NotARequest {
        id,
        why: why.to_string(),
    }
}

/// At most `max` bytes of `text`, cut at a character boundary.
pub fn clip(text: &str, max: usize) -> &str {
    let mut end = max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// A successful response. `payload` is JSON text; `None` leaves the key out.
pub fn response_ok(id: &Value, payload: Option<&str>) -> String {
    match payload {
        Some(p) => format!(r#"{{"type":"res","id":{id},"ok":true,"payload":{p}}}"#),
        None => format!(r#"{{"type":"res","id":{id},"ok":true}}"#),
    }
}

/// A failed response.
pub fn response_err(id: &Value, error: &RpcError) -> String {
    let mut frame = json!({"type": "res", "id": id, "ok": false, "error": error.to_value()});
    if let Some(p) = &error.payload {
        frame["payload"] = p.clone();
    }
    frame.to_string()
}

/// Counters that go with `presence` and `health`.
#[derive(Clone, Copy, Debug, Default)]
pub struct StateVersion {
    pub presence: u64,
    pub health: u64,
}

impl StateVersion {
    pub fn to_value(self) -> Value {
        json!({"presence": self.presence, "health": self.health})
    }
}

/// An event frame without its end, so that one text serves every subscriber.
///
/// A subscriber's frame is this text followed by [`event_tail`].
pub fn event_head(event: Event, payload: &str, version: Option<StateVersion>) -> String {
    let name = event.name();
    match version {
        Some(v) => {
            let v = v.to_value();
            format!(r#"{{"type":"event","event":"{name}","payload":{payload},"stateVersion":{v}"#)
        }
        None => format!(r#"{{"type":"event","event":"{name}","payload":{payload}"#),
    }
}

/// The end of an event frame: the subscriber's own sequence number, none for targeted events.
pub fn event_tail(seq: Option<u64>) -> String {
    match seq {
        Some(n) => format!(r#","seq":{n}}}"#),
        None => "}".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Value {
        match parse_request(text) {
            Err(BadFrame::NotARequest { id, .. }) => id,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn requests_are_strict_and_keep_the_id_of_what_they_refuse() {
        let r =
            parse_request(r#"{"type":"req","id":"1","method":"health","params":null}"#).unwrap();
        assert_eq!(
            (r.id.as_str(), r.method.as_str(), r.params),
            ("1", "health", json!({}))
        );
        assert!(matches!(parse_request("{"), Err(BadFrame::NotJson(_))));
        assert_eq!(refused("[1]"), json!("invalid"));
        assert_eq!(refused(r#"{"type":"req","id":7,"method":"m"}"#), json!(7));
        assert_eq!(refused(r#"{"type":"req","id":"","method":"m"}"#), json!(""));
        assert_eq!(refused(r#"{"type":"req","id":"x"}"#), json!("x"));
        assert_eq!(
            refused(r#"{"type":"req","id":"x","method":"m","y":1}"#),
            json!("x")
        );
        assert_eq!(refused(r#"{"type":"event","event":"x"}"#), json!("invalid"));
    }

    #[test]
    fn deep_json_is_refused_without_recursion() {
        let deep = "[".repeat(100_000);
        assert!(matches!(parse_request(&deep), Err(BadFrame::NotJson(_))));
    }

    #[test]
    fn frames_are_json() {
        let head = event_head(
            Event::Health,
            r#"{"ok":true}"#,
            Some(StateVersion {
                presence: 1,
                health: 2,
            }),
        );
        let v: Value = serde_json::from_str(&(head + &event_tail(Some(4)))).unwrap();
        assert_eq!(v["seq"], 4);
        assert_eq!(v["stateVersion"]["health"], 2);
        let v: Value = serde_json::from_str(&response_ok(&json!("a\"b"), Some("[]"))).unwrap();
        assert_eq!(v["id"], "a\"b");
    }
}
