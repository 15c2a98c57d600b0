//! One heartbeat: may it run, what comes of it, and the event that says so.

use serde_json::{Map, Value, json};

use super::rules::{self, Answer, Settings, Visibility};
use super::{
    BUSY, DISABLED, Done, Heartbeats, Place, Reason, Target, Turn, Undelivered, session_of,
};
use crate::config::{Config, agents};
use crate::state::sessions::Entry;
use crate::state::system_events::Note;
use crate::sys::file;

/// Bytes of HEARTBEAT.md that are looked at.
const MAX_FILE_BYTES: u64 = 2 * 1024 * 1024;
/// Characters of an answer that the event shows.
const PREVIEW_CHARS: usize = 200;
/// Ms within which the same answer is not sent again.
const REPEAT_MS: u64 = 24 * 3_600_000;

/// What is known of a heartbeat before the agent is asked.
struct Beat<'a> {
    agent: &'a str,
    reason: &'a Reason,
    session_key: String,
    settings: Settings,
    entry: Option<Entry>,
    has_cron: bool,
    has_exec: bool,
    untrusted: bool,
    target: Target,
    visibility: Visibility,
    /// When it began: on the monotonic clock, and ms since 1970.
    mono: u64,
    wall: u64,
}

impl Heartbeats {
    /// Runs one heartbeat to its end.
    pub(super) fn beat(
        &self,
        config: &Config,
        agent: &str,
        session_key: Option<&str>,
        reason: &Reason,
    ) -> Done {
        let (wall, mono) = (self.deps.clock.wall(), self.deps.clock.mono());
        let settings = Settings::of(config, agent);
        let has = rules::agents_with_heartbeat(config)
            .iter()
            .any(|a| a == agent);
        if !self.enabled() || !has || settings.every_ms.is_none() {
            return Done::Skipped(DISABLED);
        }
        // The built-in model would tell the prompt again, each time.
        if *reason == Reason::Interval && !self.deps.host.can_think(agent) {
            return Done::Skipped(DISABLED);
        }
        if !rules::is_active(config, agent, wall) {
            return Done::Skipped("quiet-hours");
        }
        let session_key = session_of(config, agent, &settings, session_key);
        if self.deps.host.busy(&session_key) {
            return Done::Skipped(BUSY);
        }
        let notes = self.deps.notes.peek(&session_key);
        let from = |kind: &str| {
            notes
                .iter()
                .any(|n: &Note| n.context.as_deref().is_some_and(|c| c.starts_with(kind)))
        };
        let (has_cron, has_exec) = (from("cron:"), from("exec:"));
        if !reason.skips_the_file() && !has_cron && !has_exec && self.file_is_empty(config, agent) {
            let mut event = self.event(wall, mono, "skipped");
            event.insert("reason".into(), json!("empty-heartbeat-file"));
            self.emit(Value::Object(event));
            return Done::Skipped("empty-heartbeat-file");
        }
        let target = self.deps.host.target(agent, &session_key, &settings);
        let visibility = match &target {
            Target::Place(p) => Visibility::of(config, &p.channel, p.account.as_deref()),
            Target::Nowhere { .. } => Visibility::DEFAULT,
        };
        let entry = self.deps.sessions.get(&session_key).ok().flatten();
        let untrusted = !notes.is_empty();
        let beat = Beat {
            agent,
            reason,
            session_key,
            settings,
            entry,
            has_cron,
            has_exec,
            untrusted,
            target,
            visibility,
            mono,
            wall,
        };
        if !visibility.alerts && !visibility.ok && !visibility.indicator {
            self.tell(&beat, "skipped", Some("alerts-disabled"), None);
            return Done::Skipped("alerts-disabled");
        }
        let Some(_turn) = Active::begin(self) else {
            return Done::Skipped(DISABLED);
        };
        match self.take_turn(config, &beat) {
            Ok(done) => done,
            Err(why) => {
                log::error!(target: "gateway/heartbeat", "failed: {why}");
                self.tell(&beat, "failed", Some(&why), None);
                Done::Failed(why)
            }
        }
    }

    fn take_turn(&self, config: &Config, beat: &Beat) -> Result<Done, String> {
        let line = rules::time_line(config, beat.wall);
        let ack = beat.settings.ack_max_chars;
        let (exec, last) = (beat.has_exec, beat.repeated());
        let text = self.deps.host.turn(Turn {
            agent: beat.agent.to_string(),
            session_key: beat.session_key.clone(),
            prompt: rules::prompt(&beat.settings, beat.has_cron, beat.has_exec, &line),
            model: beat.settings.model.clone(),
            untrusted: beat.untrusted,
            // An answer that nobody hears of must not stay in the conversation.
            forget: Box::new(move |text| match rules::read_answer(text, ack) {
                Answer::Empty => true,
                Answer::Fine => !exec,
                Answer::Text(text) => last.as_deref() == Some(text.trim()),
            }),
            cancelled: self.lock().dying.clone(),
        })?;
        let answer = match rules::read_answer(&text, ack) {
            // Who started a command wants to hear how it ended, also in a few words.
            Answer::Fine if exec => Answer::Text(text.trim().to_string()),
            other => other,
        };
        match answer {
            Answer::Empty => self.fine(beat, "ok-empty"),
            Answer::Fine => self.fine(beat, "ok-token"),
            Answer::Text(text) => return self.alert(beat, &text),
        }
        Ok(Done::Ran)
    }

    /// All is well: told to a channel only when it wants to know.
    fn fine(&self, beat: &Beat, status: &str) {
        let sent = match &beat.target {
            Target::Place(place) if beat.visibility.ok => {
                self.deps.host.deliver(place, rules::TOKEN).is_ok()
            }
            _ => false,
        };
        let mut event = self.payload(beat, status, Some(&beat.reason.to_string()));
        event.insert("silent".into(), json!(!sent));
        if beat.visibility.indicator {
            event.insert("indicatorType".into(), json!("ok"));
        }
        self.emit(Value::Object(event));
    }

    /// Something is to be told.
    fn alert(&self, beat: &Beat, text: &str) -> Result<Done, String> {
        let skip = |reason: &str| self.tell(beat, "skipped", Some(reason), Some(text));
        if beat.repeated().as_deref() == Some(text.trim()) {
            skip("duplicate");
            return Ok(Done::Ran);
        }
        let place = match &beat.target {
            Target::Place(place) => place,
            Target::Nowhere { reason, .. } => {
                skip(reason);
                return Ok(Done::Ran);
            }
        };
        if !beat.visibility.alerts {
            skip("alerts-disabled");
            return Ok(Done::Ran);
        }
        match self.deps.host.deliver(place, text) {
            Ok(()) => {}
            Err(Undelivered::NotReady(why)) => {
                log::info!(target: "gateway/heartbeat", "{} is not ready: {why}", place.channel);
                skip(&why);
                return Ok(Done::Skipped("channel-not-ready"));
            }
            Err(Undelivered::Failed(why)) => return Err(why),
        }
        if let Some(id) = self
            .deps
            .sessions
            .get(&beat.session_key)
            .ok()
            .flatten()
            .and_then(|e| e.session_id().map(str::to_string))
        {
            let noted = self
                .deps
                .sessions
                .update_session(&beat.session_key, &id, |entry| {
                    entry.insert("lastHeartbeatText".into(), json!(text));
                    entry.insert("lastHeartbeatSentAt".into(), json!(beat.wall));
                });
            if let Err(e) = noted {
                log::warn!(target: "gateway/heartbeat", "cannot note what was sent: {e}");
            }
        }
        self.tell(beat, "sent", None, Some(text));
        Ok(Done::Ran)
    }

    /// Emits an event with the answer's beginning.
    fn tell(&self, beat: &Beat, status: &str, reason: Option<&str>, text: Option<&str>) {
        let mut event = self.payload(beat, status, reason);
        if let Some(text) = text {
            event.insert(
                "preview".into(),
                json!(text.chars().take(PREVIEW_CHARS).collect::<String>()),
            );
            event.insert("hasMedia".into(), json!(false));
        }
        let indicator = match status {
            "sent" => Some("alert"),
            "failed" => Some("error"),
            _ => None,
        };
        if let Some(indicator) = indicator.filter(|_| beat.visibility.indicator) {
            event.insert("indicatorType".into(), json!(indicator));
        }
        if let (Target::Place(place), "sent") = (&beat.target, status) {
            event.insert("to".into(), json!(place.to));
        }
        self.emit(Value::Object(event));
    }

    fn payload(&self, beat: &Beat, status: &str, reason: Option<&str>) -> Map<String, Value> {
        let mut event = self.event(beat.wall, beat.mono, status);
        if let Some(reason) = reason {
            event.insert("reason".into(), json!(reason));
        }
        let account = match &beat.target {
            Target::Place(Place {
                channel, account, ..
            }) => {
                event.insert("channel".into(), json!(channel));
                account
            }
            Target::Nowhere { account, .. } => account,
        };
        if let Some(account) = account {
            event.insert("accountId".into(), json!(account));
        }
        event
    }

    fn event(&self, wall: u64, mono: u64, status: &str) -> Map<String, Value> {
        let duration = self.deps.clock.mono().saturating_sub(mono);
        let mut event = Map::new();
        event.insert("ts".into(), json!(wall.saturating_add(duration)));
        event.insert("status".into(), json!(status));
        event.insert("durationMs".into(), json!(duration));
        event
    }

    fn file_is_empty(&self, config: &Config, agent: &str) -> bool {
        let path = agents::workspace(config, &self.deps.locations, agent).join("HEARTBEAT.md");
        // A missing file runs: the agent may know what to do without.
        file::read_bounded(&path, MAX_FILE_BYTES)
            .is_ok_and(|b| rules::asks_for_nothing(&String::from_utf8_lossy(&b)))
    }
}

impl Beat<'_> {
    /// The answer that was sent lately and is not sent again.
    fn repeated(&self) -> Option<String> {
        let entry = self.entry.as_ref()?;
        let at = entry.number("lastHeartbeatSentAt")?;
        let text = entry.text("lastHeartbeatText")?.trim();
        (!text.is_empty() && self.wall.saturating_sub(at) < REPEAT_MS).then(|| text.to_string())
    }
}

/// Counts a turn for as long as it lives.
struct Active<'a>(&'a Heartbeats);

impl<'a> Active<'a> {
    fn begin(beats: &'a Heartbeats) -> Option<Active<'a>> {
        let mut inner = beats.lock();
        if inner.closed {
            return None;
        }
        inner.active += 1;
        Some(Active(beats))
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.lock().active -= 1;
        self.0.idle.notify_all();
    }
}
