//! `logs`: the end of the gateway's log file, as the gateway itself reads it.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::context::Context;
use super::failure::Failure;
use super::options::{CONNECT, Command, EXIT_OK, Group, JSON, flag, val};
use super::parse::Args;
use super::term::{Tone, clean};
use super::{rpc, term};
use crate::client::{Client, ClientError, Target};

/// Longest pause between two attempts to reach a gateway that went away.
const MAX_PAUSE: Duration = Duration::from_secs(10);

pub static LOGS: Command = Command {
    options: &[
        &[
            flag("follow", "go on with what is logged from now on"),
            val("limit", "n", "lines at most, 1 to 5000").default("200"),
            val("max-bytes", "n", "bytes at most, up to 1000000").default("250000"),
            val("interval", "ms", "time between two looks with --follow").default("1000"),
            flag("plain", "no colour"),
            flag(
                "local-time",
                "times in this machine's time zone instead of UTC",
            ),
        ],
        JSON,
        CONNECT,
        &[val("timeout", "ms", "give up after so many milliseconds").default("30000")],
    ],
    examples: &[
        ("openclaw logs --follow", "watch the gateway"),
        (
            "openclaw logs --limit 50 --json",
            "the last 50 lines, one JSON object each",
        ),
    ],
    run: Some(run),
    ..Command::new("logs", Group::Gateway, "show the log of the gateway")
};

fn run(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    let want = Want::new(ctx, args)?;
    let target = rpc::target(ctx, &rpc::wanted(args))?;
    let mut client = rpc::connect(&target, want.timeout).map_err(|e| want.failed(&target, &e))?;
    let mut place = Place::default();
    loop {
        match want.step(&mut client, &mut place) {
            Ok(()) if !want.follow => {
                client.close();
                return Ok(EXIT_OK);
            }
            Ok(()) => std::thread::sleep(want.interval),
            Err(e) if want.follow && is_passing(&e) => {
                want.notice(&format!("{e}; trying again"));
                client = want.again(&target)?;
            }
            Err(e) => return Err(want.failed(&target, &e)),
        }
    }
}

/// Whether a gateway that says this may well be back in a moment.
fn is_passing(e: &ClientError) -> bool {
    matches!(
        e,
        ClientError::Closed { .. } | ClientError::Refused(_) | ClientError::Timeout { .. }
    )
}

/// What the command line asks for.
struct Want {
    follow: bool,
    json: bool,
    limit: u64,
    max_bytes: u64,
    interval: Duration,
    timeout: Duration,
    local_time: bool,
    term: term::Term,
}

/// How far one has read.
#[derive(Default)]
struct Place {
    cursor: Option<u64>,
    file: String,
}

impl Want {
    fn new(ctx: &Context, args: &Args) -> Result<Want, Failure> {
        let number = |long| args.positive(long).map(|n| n.unwrap_or(1));
        Ok(Want {
            follow: args.flag("follow"),
            json: args.flag("json"),
            limit: number("limit")?,
            max_bytes: number("max-bytes")?,
            interval: Duration::from_millis(number("interval")?),
            timeout: rpc::timeout(args)?,
            local_time: args.flag("local-time"),
            term: match args.flag("plain") {
                true => term::Term::plain(),
                false => ctx.term,
            },
        })
    }

    /// Fetches and shows what is new.
    fn step(&self, client: &mut Client, place: &mut Place) -> Result<(), ClientError> {
        let mut params = json!({"limit": self.limit, "maxBytes": self.max_bytes});
        if let Some(cursor) = place.cursor {
            params["cursor"] = cursor.into();
        }
        let tail = client.call("logs.tail", &params, self.timeout)?;
        let first = place.cursor.is_none();
        let file = tail["file"].as_str().unwrap_or("?");
        if first || file != place.file {
            self.head(file, &tail);
            place.file = file.to_string();
        }
        // Fewer lines than wanted: it was the bytes that cut them off.
        let wanted = tail["lines"]
            .as_array()
            .is_some_and(|l| l.len() as u64 >= self.limit);
        if tail["truncated"] == true && first && !wanted {
            self.notice("Log tail truncated (increase --max-bytes).");
        }
        if tail["reset"] == true {
            self.notice("Log cursor reset (file rotated).");
        }
        for line in tail["lines"].as_array().into_iter().flatten() {
            self.show(line.as_str().unwrap_or_default());
        }
        place.cursor = tail["cursor"].as_u64().or(place.cursor);
        Ok(())
    }

    fn head(&self, file: &str, tail: &Value) {
        if self.json {
            let (cursor, size) = (&tail["cursor"], &tail["size"]);
            let meta = json!({"type": "meta", "file": file, "cursor": cursor, "size": size});
            term::say(&meta.to_string());
        } else {
            let label = self.term.paint(Tone::Muted, "Log file:");
            term::say(&format!("{label} {}", clean(file)));
        }
    }

    /// Something about the log that is not of the log.
    fn notice(&self, text: &str) {
        match self.json {
            true => term::say(&json!({"type": "notice", "message": text}).to_string()),
            false => term::warn(&clean(text)),
        }
    }

    fn show(&self, line: &str) {
        match (Entry::parse(line), self.json) {
            (Some(entry), true) => term::say(&entry.to_value(line).to_string()),
            (None, true) => term::say(&json!({"type": "raw", "raw": line}).to_string()),
            (Some(entry), false) => term::say(&entry.to_text(&self.term, self.local_time)),
            (None, false) => term::say(&clean(line)),
        }
    }

    /// Connects anew, however long the gateway stays away.
    fn again(&self, target: &Target) -> Result<Client, Failure> {
        let started = Instant::now();
        let mut pause = self.interval;
        loop {
            std::thread::sleep(pause);
            match rpc::connect(target, self.timeout) {
                Ok(client) => {
                    let seconds = started.elapsed().as_secs();
                    self.notice(&format!("gateway reachable again after {seconds}s"));
                    return Ok(client);
                }
                Err(e) if is_passing(&e) => pause = (pause * 2).min(MAX_PAUSE.max(self.interval)),
                Err(e) => return Err(self.failed(target, &e)),
            }
        }
    }

    fn failed(&self, target: &Target, e: &ClientError) -> Failure {
        if !self.json {
            return rpc::failure(target, e);
        }
        let error = json!({"type": "error", "message": e.to_string(), "url": target.address.url});
        term::say(&error.to_string());
        Failure::quiet(super::options::EXIT_FAILED)
    }
}

/// One record of the log file.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    time: String,
    level: String,
    subsystem: String,
    message: String,
}

impl Entry {
    /// Reads a line as ours and the reference's gateway write it; `None` for any other text.
    fn parse(line: &str) -> Option<Entry> {
        let record: Map<String, Value> = serde_json::from_str(line).ok()?;
        let text = |v: Option<&Value>| v.and_then(Value::as_str).map(str::to_string);
        let meta = record.get("_meta");
        let level = text(meta.and_then(|m| m.get("logLevelName"))).or(text(record.get("level")));
        let named = |key: &str| {
            let inner: Value = serde_json::from_str(record.get(key)?.as_str()?).ok()?;
            Some(inner.get("subsystem")?.as_str()?.to_string())
        };
        let own = named("0");
        let numbered = (usize::from(own.is_some())..)
            .map_while(|i| record.get(&i.to_string()))
            .map(|v| text(Some(v)).unwrap_or_else(|| v.to_string()));
        let parts: Vec<String> = numbered.collect();
        Some(Entry {
            time: text(record.get("time"))?,
            level: level.unwrap_or_default().to_lowercase(),
            subsystem: own.or(text(record.get("subsystem"))).unwrap_or_default(),
            message: match parts.is_empty() {
                false => parts.join(" "),
                true => text(record.get("message")).unwrap_or_default(),
            },
        })
    }

    fn to_value(&self, raw: &str) -> Value {
        json!({"type": "log", "time": self.time, "level": self.level,
            "subsystem": self.subsystem, "message": self.message, "raw": raw})
    }

    fn to_text(&self, term: &term::Term, local_time: bool) -> String {
        let tone = match self.level.as_str() {
            "fatal" | "error" => Tone::Bad,
            "warn" => Tone::Warn,
            "debug" | "trace" => Tone::Muted,
            _ => Tone::Good,
        };
        let time = match local_time {
            true => in_local_time(&self.time),
            false => self.time.clone(),
        };
        let mut words = vec![
            term.paint(Tone::Muted, &time),
            term.paint(tone, &self.level),
        ];
        if !self.subsystem.is_empty() {
            words.push(term.paint(Tone::Accent, &self.subsystem));
        }
        words.push(clean(&self.message).into_owned());
        words.join(" ")
    }
}

/// An RFC 3339 time in this machine's zone; anything else stays as it is.
fn in_local_time(time: &str) -> String {
    match time.parse::<jiff::Timestamp>() {
        Ok(t) => {
            let zoned = t.to_zoned(jiff::tz::TimeZone::system());
            zoned.strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string()
        }
        Err(_) => time.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = r#"{"0":"{\"subsystem\":\"gateway/ws\"}","1":"⇄ res ✓ x","_meta":{"logLevelName":"INFO"},"time":"2026-11-22T15:54:47.703Z"}"#;

    #[test]
    fn records_of_every_kind_are_read() {
        let e = Entry::parse(OURS).unwrap();
        assert_eq!(
            e.to_text(&term::Term::plain(), false),
            "2026-11-22T15:54:47.703Z info gateway/ws ⇄ res ✓ x"
        );
        let plain = r#"{"0":"hello","_meta":{"logLevelName":"WARN"},"time":"t"}"#;
        let e = Entry::parse(plain).unwrap();
        assert_eq!(
            (e.level.as_str(), e.subsystem.as_str(), e.message.as_str()),
            ("warn", "", "hello")
        );
        let flat = r#"{"time":"t","level":"warn","subsystem":"logging","message":"cap"}"#;
        let e = Entry::parse(flat).unwrap();
        assert_eq!(
            (e.subsystem.as_str(), e.message.as_str()),
            ("logging", "cap")
        );
        let fields = r#"{"0":"{\"subsystem\":\"a\"}","1":{"n":1},"2":"msg","time":"t"}"#;
        assert_eq!(Entry::parse(fields).unwrap().message, r#"{"n":1} msg"#);
        assert_eq!(Entry::parse("not json"), None);
        assert_eq!(Entry::parse("[1]"), None);
    }

    #[test]
    fn a_log_cannot_steer_the_terminal() {
        let line = r#"{"0":"\u001b[2J","time":"t","_meta":{"logLevelName":"INFO"}}"#;
        let text = Entry::parse(line)
            .unwrap()
            .to_text(&term::Term::plain(), false);
        assert_eq!(text, "t info \\x1b[2J");
    }

    #[test]
    fn local_time_keeps_the_instant() {
        let local = in_local_time("2026-11-22T15:54:47.703Z");
        let (a, b): (jiff::Timestamp, jiff::Timestamp) = (
            local.parse().unwrap(),
            "2026-11-22T15:54:47.703Z".parse().unwrap(),
        );
        assert_eq!(a, b);
        assert_eq!(in_local_time("x"), "x");
    }
}
