//! A job: the object that `jobs.json` and the wire show, and what the scheduler reads in it.
//!
//! The object is kept whole, so that fields of a newer reference survive. The schedule is understood once,
//! when the job is made, loaded or changed.

use serde_json::{Map, Value, json};

use super::Error;
use super::clock;
use super::input;
use super::when::When;

pub(super) type Object = Map<String, Value>;

/// Names of the fields of `state`.
pub mod state {
    pub const NEXT_RUN: &str = "nextRunAtMs";
    pub const RUNNING: &str = "runningAtMs";
    pub const LAST_RUN: &str = "lastRunAtMs";
    pub const LAST_RUN_STATUS: &str = "lastRunStatus";
    pub const LAST_STATUS: &str = "lastStatus";
    pub const LAST_ERROR: &str = "lastError";
    pub const LAST_DURATION: &str = "lastDurationMs";
    pub const CONSECUTIVE_ERRORS: &str = "consecutiveErrors";
    pub const SCHEDULE_ERRORS: &str = "scheduleErrorCount";
    pub const LAST_DELIVERED: &str = "lastDelivered";
    pub const LAST_DELIVERY_STATUS: &str = "lastDeliveryStatus";
    pub const LAST_DELIVERY_ERROR: &str = "lastDeliveryError";
}

/// What happens to a run whose time passed while the gateway could not run it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// Run once, however many were missed. The reference's way, and the default.
    Once,
    /// Wait for the next time.
    Skip,
    /// Run once when the last missed time is at most so many ms ago.
    Within(u64),
}

/// What a run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload<'a> {
    /// Text for the main session.
    Event { text: &'a str },
    /// A turn in a session of its own.
    Turn {
        message: &'a str,
        model: Option<&'a str>,
        thinking: Option<&'a str>,
        timeout_s: Option<u64>,
    },
}

/// Where the result of an isolated run goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    None,
    Announce,
    Webhook,
}

/// A scheduled job.
#[derive(Clone, Debug)]
pub struct Job {
    fields: Object,
    when: Result<When, String>,
}

impl Job {
    /// A new job from parameters that were normalised and checked.
    pub fn create(id: String, mut fields: Object, now: u64) -> Result<Job, Error> {
        for key in ["agentId", "sessionKey", "missed"] {
            if fields.get(key).is_some_and(Value::is_null) {
                fields.remove(key);
            }
        }
        trim_description(&mut fields);
        fields.insert("id".into(), json!(id));
        fields.entry("enabled").or_insert(json!(true));
        fields.insert("createdAtMs".into(), json!(now));
        fields.insert("updatedAtMs".into(), json!(now));
        fields.insert("state".into(), json!({}));
        anchor(&mut fields, now);
        let mut job = Job {
            fields,
            when: Err(String::new()),
        };
        job.check(now)?;
        let next = job.compute_next(now);
        job.set_next(next);
        Ok(job)
    }

    /// A job from `jobs.json`; `None` without an id. Forms of older versions are put in order.
    pub fn stored(mut fields: Object) -> Option<Job> {
        fields
            .get("id")
            .and_then(Value::as_str)
            .filter(|id| !id.trim().is_empty())?;
        input::repair(&mut fields);
        let when = parse_when(&fields);
        Some(Job { fields, when })
    }

    /// Applies a patch that was normalised and checked.
    pub fn patch(&mut self, patch: &Object, now: u64) -> Result<(), Error> {
        let mut next = self.clone();
        next.merge(patch, now);
        next.check(now)?;
        next.fields.insert("updatedAtMs".into(), json!(now));
        let replan = patch.contains_key("schedule") || patch.contains_key("enabled");
        if !next.enabled() {
            next.set_next(None);
        } else if replan || next.next_run().is_none() {
            let at = next.compute_next(now);
            next.set_next(at);
        }
        *self = next;
        Ok(())
    }

    /// The object, for the file and the wire.
    pub fn fields(&self) -> &Object {
        &self.fields
    }

    pub fn id(&self) -> &str {
        self.text("id").unwrap_or_default()
    }

    pub fn name(&self) -> &str {
        self.text("name").unwrap_or_default()
    }

    pub fn description(&self) -> Option<&str> {
        self.text("description")
    }

    pub fn enabled(&self) -> bool {
        self.fields
            .get("enabled")
            .and_then(Value::as_bool)
            .unwrap_or(true)
    }

    pub fn agent_id(&self) -> Option<&str> {
        self.text("agentId")
    }

    pub fn session_key(&self) -> Option<&str> {
        self.text("sessionKey")
    }

    /// Whether it talks to the main session; else it runs a turn of its own.
    pub fn is_main(&self) -> bool {
        self.text("sessionTarget") != Some("isolated")
    }

    /// Whether its text wakes the session at once.
    pub fn wakes_now(&self) -> bool {
        self.text("wakeMode") != Some("next-heartbeat")
    }

    pub fn updated_at(&self) -> u64 {
        self.fields
            .get("updatedAtMs")
            .and_then(Value::as_u64)
            .unwrap_or(0)
    }

    pub fn payload(&self) -> Option<Payload<'_>> {
        let p = self.fields.get("payload")?;
        let text = |key| p.get(key).and_then(Value::as_str);
        match text("kind")? {
            "systemEvent" => Some(Payload::Event {
                text: text("text")?,
            }),
            "agentTurn" => Some(Payload::Turn {
                message: text("message")?,
                model: text("model"),
                thinking: text("thinking"),
                timeout_s: p.get("timeoutSeconds").and_then(Value::as_u64),
            }),
            _ => None,
        }
    }

    /// How the result is delivered; the text fields of `delivery` are at [`Job::delivery_text`].
    pub fn delivery_mode(&self) -> Mode {
        match self.delivery_text("mode") {
            Some("announce" | "deliver") => Mode::Announce,
            Some("webhook") => Mode::Webhook,
            Some(_) => Mode::None,
            None if self.fields.get("delivery").is_some() => Mode::Announce,
            None => Mode::None,
        }
    }

    /// `mode`, `channel` or `to` of the delivery.
    pub fn delivery_text(&self, key: &str) -> Option<&str> {
        let text = self.fields.get("delivery")?.get(key)?.as_str()?.trim();
        (!text.is_empty()).then_some(text)
    }

    /// Whether a failed delivery leaves the run a success.
    pub fn delivery_is_best_effort(&self) -> bool {
        let flag = self
            .fields
            .get("delivery")
            .and_then(|d| d.get("bestEffort"));
        flag.and_then(Value::as_bool).unwrap_or(false)
    }

    pub fn missed(&self) -> Missed {
        match self.fields.get("missed") {
            Some(Value::String(word)) if word == "skip" => Missed::Skip,
            Some(Value::Object(o)) => match o.get("withinMs").and_then(Value::as_u64) {
                Some(ms) => Missed::Within(ms),
                None => Missed::Once,
            },
            _ => Missed::Once,
        }
    }

    pub fn deletes_after_run(&self) -> bool {
        self.fields
            .get("deleteAfterRun")
            .and_then(Value::as_bool)
            .unwrap_or(false)
    }

    /// The schedule, or why it cannot be understood.
    pub fn when(&self) -> Result<&When, &str> {
        self.when.as_ref().map_err(String::as_str)
    }

    /// Whether it runs one time only.
    pub fn is_once(&self) -> bool {
        matches!(&self.when, Ok(when) if when.is_once())
    }

    pub fn next_run(&self) -> Option<u64> {
        self.get(state::NEXT_RUN)
    }

    pub fn running_at(&self) -> Option<u64> {
        self.get(state::RUNNING)
    }

    pub fn last_run(&self) -> Option<u64> {
        self.get(state::LAST_RUN)
    }

    /// A number of `state`.
    pub fn get(&self, key: &str) -> Option<u64> {
        let n = self.fields.get("state")?.get(key)?;
        n.as_u64()
            .or_else(|| n.as_f64().filter(|f| *f >= 0.0).map(|f| f as u64))
    }

    /// A text of `state`.
    pub fn state_text(&self, key: &str) -> Option<&str> {
        self.fields.get("state")?.get(key)?.as_str()
    }

    /// Sets a field of `state`, or removes it.
    pub fn set<T: Into<Value>>(&mut self, key: &str, value: Option<T>) {
        let entry = self.fields.entry("state").or_insert_with(|| json!({}));
        if !entry.is_object() {
            *entry = json!({});
        }
        if let Some(state) = entry.as_object_mut() {
            match value {
                Some(v) => state.insert(key.into(), v.into()),
                None => state.remove(key),
            };
        }
    }

    pub fn set_next(&mut self, next: Option<u64>) {
        self.set(state::NEXT_RUN, next);
    }

    /// Switches the job off: it has no next run.
    pub fn disable(&mut self) {
        self.fields.insert("enabled".into(), json!(false));
        self.set_next(None);
    }

    pub fn touch(&mut self, now: u64) {
        self.fields.insert("updatedAtMs".into(), json!(now));
    }

    /// The next run after `now`; `None` when the job is off, has had its one run, or never runs again.
    /// `None` also by a clock that is not set: a time of 1970 would be due at once when it is.
    pub fn compute_next(&self, now: u64) -> Option<u64> {
        let when = self
            .when
            .as_ref()
            .ok()
            .filter(|_| self.enabled() && clock::plausible(now))?;
        if when.is_once()
            && self.state_text(state::LAST_STATUS) == Some("ok")
            && self.last_run().is_some()
        {
            return None;
        }
        let created = self
            .fields
            .get("createdAtMs")
            .and_then(Value::as_u64)
            .unwrap_or(now);
        when.next(self.id(), created, self.last_run(), now)
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.fields.get(key)?.as_str()
    }

    fn merge(&mut self, patch: &Object, now: u64) {
        for (key, value) in patch {
            match key.as_str() {
                "schedule" => self.merge_schedule(value, now),
                "payload" => {
                    let old = self.fields.get("payload").cloned().unwrap_or_default();
                    self.fields.insert(key.clone(), merge_payload(old, value));
                }
                "delivery" => {
                    let old = self.fields.get("delivery").cloned().unwrap_or_default();
                    self.fields.insert(key.clone(), merge_delivery(&old, value));
                }
                "state" => {
                    let mut state = self
                        .fields
                        .get("state")
                        .and_then(Value::as_object)
                        .cloned()
                        .unwrap_or_default();
                    state.extend(value.as_object().cloned().unwrap_or_default());
                    self.fields.insert(key.clone(), Value::Object(state));
                }
                _ if value.is_null() => {
                    self.fields.remove(key);
                }
                _ => {
                    self.fields.insert(key.clone(), value.clone());
                }
            }
        }
        trim_description(&mut self.fields);
        if self.is_main() && self.delivery_mode() != Mode::Webhook {
            self.fields.remove("delivery");
        }
    }

    fn merge_schedule(&mut self, value: &Value, now: u64) {
        let mut schedule = value.as_object().cloned().unwrap_or_default();
        let old = self.fields.get("schedule");
        let both_cron = schedule.get("kind") == Some(&json!("cron"))
            && old.and_then(|o| o.get("kind")) == Some(&json!("cron"));
        if both_cron && !schedule.contains_key("staggerMs") {
            if let Some(stagger) = old.and_then(|o| o.get("staggerMs")) {
                schedule.insert("staggerMs".into(), stagger.clone());
            }
        } else {
            input::fill_stagger(&mut schedule);
        }
        self.fields
            .insert("schedule".into(), Value::Object(schedule));
        anchor(&mut self.fields, now);
    }

    /// What the parts of a job have to say to each other; the schedule is read anew.
    fn check(&mut self, now: u64) -> Result<(), Error> {
        let turn = matches!(self.payload(), Some(Payload::Turn { .. }));
        let kind = self
            .fields
            .get("payload")
            .and_then(|p| p.get("kind"))
            .and_then(Value::as_str);
        if self.is_main() && kind != Some("systemEvent") {
            return Err(Error::spec(
                r#"Error: main cron jobs require payload.kind="systemEvent""#,
            ));
        }
        if !self.is_main() && kind != Some("agentTurn") {
            return Err(Error::spec(
                r#"Error: isolated cron jobs require payload.kind="agentTurn""#,
            ));
        }
        if self.payload().is_none() {
            let (kind, field) = if turn {
                ("agentTurn", "message")
            } else {
                (kind.unwrap_or_default(), "its text")
            };
            return Err(Error::spec(format!(
                "Error: cron payload.kind=\"{kind}\" requires {field}"
            )));
        }
        match self.delivery_mode() {
            Mode::Webhook => input::check_webhook(self.delivery_text("to"))?,
            _ if self.is_main() && self.fields.get("delivery").is_some() => {
                return Err(Error::spec(
                    r#"Error: cron channel delivery config is only supported for sessionTarget="isolated""#,
                ));
            }
            _ => {}
        }
        let when = parse_when(&self.fields).map_err(Error::Spec)?;
        let never =
            matches!(&when, When::Cron { .. }) && when.next(self.id(), 0, None, now).is_none();
        if never {
            return Err(Error::spec(
                "Error: schedule.expr names no time that ever comes",
            ));
        }
        self.when = Ok(when);
        Ok(())
    }
}

fn parse_when(fields: &Object) -> Result<When, String> {
    let none = Object::new();
    let schedule = fields
        .get("schedule")
        .and_then(Value::as_object)
        .unwrap_or(&none);
    When::parse(schedule).map_err(|e| e.to_string())
}

fn trim_description(fields: &mut Object) {
    if let Some(text) = fields.get("description").and_then(Value::as_str) {
        match text.trim() {
            "" => fields.remove("description"),
            text => {
                let text = json!(text);
                fields.insert("description".into(), text)
            }
        };
    }
}

/// Gives an interval the anchor that it lacks.
fn anchor(fields: &mut Object, now: u64) {
    if let Some(schedule) = fields.get_mut("schedule").and_then(Value::as_object_mut)
        && schedule.get("kind") == Some(&json!("every"))
    {
        schedule.entry("anchorMs").or_insert(json!(now));
    }
}

/// A payload of the same kind takes over single fields; another kind replaces it.
fn merge_payload(old: Value, patch: &Value) -> Value {
    match (old, patch) {
        (Value::Object(mut old), Value::Object(new)) if old.get("kind") == new.get("kind") => {
            old.extend(new.clone());
            Value::Object(old)
        }
        _ => patch.clone(),
    }
}

fn merge_delivery(old: &Value, patch: &Value) -> Value {
    let mut out = old.as_object().cloned().unwrap_or_default();
    out.entry("mode").or_insert(json!("none"));
    out.extend(patch.as_object().cloned().unwrap_or_default());
    Value::Object(out)
}
