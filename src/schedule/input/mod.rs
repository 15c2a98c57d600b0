//! What callers send to `cron.add` and `cron.update`: put in order as the reference does, then checked.

mod order;
mod shapes;

use serde_json::{Value, json};

use super::Error;
use super::clock::plausible;
use super::job::Object;
use super::when;
use crate::protocol::shape::Shape;
use crate::sys::clock;

pub use order::fill_stagger;
use order::{fill_defaults, normalise};
use shapes::{ADD, PATCH};

/// How far before now an `at` may lie, in ms: the request took its time.
const PAST_GRACE_MS: u64 = 60_000;
const YEAR_MS: f64 = 365.25 * 86_400_000.0;
/// How far ahead an `at` may lie, in years.
const MAX_YEARS: f64 = 10.0;

/// The parameters of `cron.add`, in order and checked; `now` in ms since 1970.
pub fn add(params: &Value, now: u64) -> Result<Object, Error> {
    let mut fields = normalise(params);
    fill_defaults(&mut fields);
    let checked = check("cron.add", &ADD, fields)?;
    check_time(&checked, now)?;
    Ok(checked)
}

/// The patch of `cron.update`, in order and checked.
pub fn patch(patch: &Value, now: u64) -> Result<Object, Error> {
    let checked = check("cron.update", &PATCH, normalise(patch))?;
    check_time(&checked, now)?;
    Ok(checked)
}

/// Puts a stored job of an older version in order; what is in order stays as it is.
pub fn repair(fields: &mut Object) {
    let id = fields.get("id").cloned();
    let state = fields.remove("state").filter(Value::is_object);
    let mut next = normalise(&Value::Object(std::mem::take(fields)));
    if let Some(id) = id {
        next.insert("id".into(), id);
    }
    fill_defaults(&mut next);
    next.insert("state".into(), state.unwrap_or_else(|| json!({})));
    if let Some(delivery) = next.get_mut("delivery").and_then(Value::as_object_mut) {
        delivery.entry("mode").or_insert(json!("announce"));
    }
    *fields = next;
}

/// Whether `to` is an address that a webhook can have.
pub fn check_webhook(to: Option<&str>) -> Result<(), Error> {
    let bad = || {
        Error::spec("Error: cron webhook delivery requires delivery.to to be a valid http(s) URL")
    };
    let to = to.ok_or_else(bad)?;
    let rest = to
        .strip_prefix("https://")
        .or_else(|| to.strip_prefix("http://"))
        .ok_or_else(bad)?;
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let plain = to.bytes().all(|b| b.is_ascii_graphic());
    if host.is_empty() || host.contains('@') || !plain {
        Err(bad())
    } else {
        Ok(())
    }
}

fn check(method: &str, shape: &Shape, fields: Object) -> Result<Object, Error> {
    let value = Value::Object(fields);
    shape
        .check(&value)
        .map_err(|why| Error::Params(format!("invalid {method} params: {why}")))?;
    match value {
        Value::Object(fields) => Ok(fields),
        _ => Ok(Object::new()),
    }
}

fn check_time(fields: &Object, now: u64) -> Result<(), Error> {
    let Some(schedule) = fields.get("schedule").filter(|s| s["kind"] == "at") else {
        return Ok(());
    };
    if !plausible(now) {
        return Err(Error::spec(
            "the clock of this host is not set; a job at a fixed time cannot be added before it is",
        ));
    }
    let text = schedule["at"].as_str().unwrap_or_default();
    let Some(at) = when::parse_time(text) else {
        let shown: String = text.chars().filter(|c| !c.is_control()).take(64).collect();
        return Err(Error::Params(format!(
            "Invalid schedule.at: expected ISO-8601 timestamp (got {shown})"
        )));
    };
    if at + PAST_GRACE_MS < now {
        return Err(Error::Params(format!(
            "schedule.at is in the past: {} ({} minutes ago). Current time: {}",
            clock::iso(at),
            (now - at) / 60_000,
            clock::iso(now)
        )));
    }
    let years = at.saturating_sub(now) as f64 / YEAR_MS;
    if years > MAX_YEARS {
        return Err(Error::Params(format!(
            "schedule.at is too far in the future: {} ({} years ahead). Maximum allowed: 10 years",
            clock::iso(at),
            years.floor()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_364_778_784;

    fn every() -> Value {
        json!({"kind": "every", "everyMs": 1000})
    }

    fn added(params: Value) -> Value {
        Value::Object(add(&params, NOW).unwrap())
    }

    fn refused(params: Value) -> String {
        add(&params, NOW).unwrap_err().to_string()
    }

    #[test]
    fn what_is_missing_is_filled_in() {
        assert_eq!(
            added(
                json!({"schedule": every(), "payload": {"kind": "systemEvent", "text": "  tick\nsecond"}})
            ),
            json!({"name": "tick", "enabled": true, "schedule": every(), "sessionTarget": "main", "wakeMode": "now",
                   "payload": {"kind": "systemEvent", "text": "tick\nsecond"}})
        );
        assert_eq!(
            added(
                json!({"name": " n ", "schedule": {"at": "2027-06-10T16:24:31Z"}, "message": "hi", "model": " m ", "timeoutSeconds": 1.7})
            ),
            json!({"name": "n", "enabled": true, "deleteAfterRun": true, "sessionTarget": "isolated", "wakeMode": "now",
                   "schedule": {"kind": "at", "at": "2027-06-10T16:24:31.000Z"},
                   "payload": {"kind": "agentTurn", "message": "hi", "model": "m", "timeoutSeconds": 1},
                   "delivery": {"mode": "announce"}})
        );
        let hourly = added(json!({"schedule": {"expr": " 0 * * * * "}, "text": "x"}));
        assert_eq!(
            hourly["schedule"],
            json!({"kind": "cron", "expr": "0 * * * *", "staggerMs": 300_000})
        );
        let exact =
            added(json!({"schedule": {"expr": "0 * * * *", "staggerMs": "0"}, "text": "x"}));
        assert_eq!(exact["schedule"]["staggerMs"], 0);
        let named = added(json!({"schedule": every(), "payload": {"message": "x".repeat(80)}}));
        assert_eq!(named["name"].as_str().unwrap().chars().count(), 60);
        // Unknown words count as missing.
        let odd = added(
            json!({"schedule": every(), "text": "x", "sessionTarget": "moon", "wakeMode": "never", "enabled": "false"}),
        );
        assert_eq!(
            (&odd["sessionTarget"], &odd["wakeMode"], &odd["enabled"]),
            (&json!("main"), &json!("now"), &json!(false))
        );
    }

    #[test]
    fn a_delivery_in_the_old_place_moves_to_its_own() {
        let job = added(
            json!({"schedule": every(), "payload": {"kind": "agentturn", "message": "x", "deliver": true,
            "provider": "Telegram", "to": " 123 ", "bestEffortDeliver": true}}),
        );
        assert_eq!(
            job["delivery"],
            json!({"mode": "announce", "channel": "telegram", "to": "123", "bestEffort": true})
        );
        assert_eq!(job["payload"], json!({"kind": "agentTurn", "message": "x"}));
        let job = added(json!({"schedule": every(), "message": "x", "deliver": false}));
        assert_eq!(job["delivery"], json!({"mode": "none"}));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let event = json!({"kind": "systemEvent", "text": "x"});
        assert_eq!(
            refused(json!({})),
            "invalid cron.add params: must have required property 'name'; must have required property 'schedule'; \
             must have required property 'sessionTarget'; must have required property 'payload'"
        );
        for (params, text) in [
            (
                json!({"schedule": {"kind": "every", "everyMs": 0}, "payload": event}),
                "at /schedule/everyMs: must be >= 1",
            ),
            (
                json!({"schedule": {"kind": "lunar"}, "payload": event}),
                "at /schedule/kind: must be one of at, every, cron",
            ),
            (
                json!({"schedule": every(), "payload": event, "bogus": 1}),
                "at root: unexpected property 'bogus'",
            ),
            (
                json!({"schedule": every(), "payload": event, "missed": "twice"}),
                "at /missed: must match a schema in anyOf",
            ),
            (
                json!({"schedule": every(), "payload": {"kind": "systemEvent", "text": ""}, "name": "n"}),
                "at /payload/text: must NOT have fewer",
            ),
            (
                json!({"schedule": 5, "payload": event}),
                "at /schedule: must be object",
            ),
            (json!([1]), "must have required property 'name'"),
        ] {
            let error = refused(params);
            assert!(
                error.starts_with("invalid cron.add params: ") && error.contains(text),
                "{error}"
            );
        }
    }

    // Recorded from the reference.
    #[test]
    fn times_that_cannot_come_are_refused_in_its_words() {
        let at = |at: &str| json!({"schedule": {"kind": "at", "at": at}, "text": "x"});
        assert_eq!(
            refused(at("2026-11-22T14:26:18Z")),
            "schedule.at is in the past: 2026-11-22T14:26:18.000Z (120 minutes ago). Current time: 2026-11-22T16:26:18.784Z"
        );
        assert_eq!(
            refused(at("soonish")),
            "Invalid schedule.at: expected ISO-8601 timestamp (got soonish)"
        );
        assert_eq!(
            refused(at("2999-01-01T00:00:00Z")),
            "schedule.at is too far in the future: 2999-01-01T00:00:00.000Z (972 years ahead). Maximum allowed: 10 years"
        );
        // A minute of grace for the way here.
        assert!(add(&at("2026-11-22T16:25:30Z"), NOW).is_ok());
    }

    #[test]
    fn a_patch_gets_no_defaults() {
        let out = patch(
            &json!({"name": " x ", "delivery": {"mode": "deliver"}, "missed": {"withinMs": 5}}),
            NOW,
        )
        .unwrap();
        assert_eq!(
            Value::Object(out),
            json!({"name": "x", "delivery": {"mode": "announce"}, "missed": {"withinMs": 5}})
        );
        assert!(patch(&json!({"bogus": 1}), NOW).is_err());
        assert!(
            patch(
                &json!({"schedule": {"kind": "at", "at": "2026-11-22T14:26:18Z"}}),
                NOW
            )
            .is_err()
        );
    }

    #[test]
    fn jobs_of_older_versions_are_put_in_order() {
        let mut old = json!({"id": "a", "schedule": {"kind": "at", "atMs": 1_812_644_671_000u64}, "notify": true,
            "payload": {"kind": "AgentTurn", "message": "x", "deliver": false}, "sessionTarget": "isolated", "createdAtMs": 5});
        let fields = old.as_object_mut().unwrap();
        repair(fields);
        assert_eq!(
            old["schedule"],
            json!({"kind": "at", "at": "2027-06-10T16:24:31.000Z"})
        );
        assert_eq!(old["delivery"], json!({"mode": "none"}));
        assert_eq!(
            (&old["enabled"], &old["name"], &old["state"]),
            (&json!(true), &json!("x"), &json!({}))
        );
        assert_eq!(
            (&old["notify"], &old["createdAtMs"]),
            (&json!(true), &json!(5))
        );
    }

    #[test]
    fn a_webhook_needs_an_address() {
        for to in ["https://example.org/x", "http://127.0.0.1:8080"] {
            assert!(check_webhook(Some(to)).is_ok(), "{to}");
        }
        for to in [
            "",
            "ftp://x",
            "https://",
            "example.org",
            "https://a b",
            "https://u:p@h/",
            "http://h/\nX: y",
        ] {
            assert!(check_webhook(Some(to)).is_err(), "{to}");
        }
        assert!(check_webhook(None).is_err());
    }
}
