//! What the configuration says about heartbeats, and how their answers are read. Pure rules.

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde_json::Value;

use crate::config::{Config, agents, units};

/// The answer that means that nothing needs attention.
pub const TOKEN: &str = "HEARTBEAT_OK";
/// Time between heartbeats when the config names none.
pub const EVERY: &str = "30m";
/// Characters beside the token up to which an answer still means that all is well.
pub const ACK_MAX_CHARS: u64 = 300;
/// Characters after the token that may end an answer: a full stop, closing markup.
const TAIL_CHARS: usize = 4;

/// What the agent is told when the config does not say it.
pub const PROMPT: &str = "This is a heartbeat. If there is a HEARTBEAT.md in the workspace, read it and do exactly \
what it says. Do not take up or repeat tasks from earlier conversations. If nothing needs attention, answer HEARTBEAT_OK.";

const CRON_PROMPT: &str = "A scheduled job has sent what is quoted above. Tell the user about it in a helpful and friendly \
way. If there is nothing to tell, answer HEARTBEAT_OK.";

const EXEC_PROMPT: &str = "A command that you started earlier has ended; its result is quoted above. Tell the user what \
came of it: what matters in the output, or what went wrong.";

/// The heartbeat settings of one agent.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// As configured, for the operator.
    pub every: String,
    /// Ms between heartbeats; `None` when they are off.
    pub every_ms: Option<u64>,
    pub prompt: String,
    /// `last`, `none`, or a channel.
    pub target: String,
    pub to: Option<String>,
    pub account: Option<String>,
    pub model: Option<String>,
    /// The session to run in; `None`: the main session.
    pub session: Option<String>,
    pub ack_max_chars: usize,
}

impl Settings {
    /// The settings of `agent`, whether it has heartbeats or not.
    pub fn of(config: &Config, agent: &str) -> Settings {
        let value = |key: &str| agents::setting(config, agent, &["heartbeat", key]);
        let text = |key: &str| {
            let t = value(key).and_then(Value::as_str)?.trim();
            (!t.is_empty()).then(|| t.to_string())
        };
        let every = text("every").unwrap_or_else(|| EVERY.into());
        let session =
            text("session").filter(|s| !matches!(s.to_lowercase().as_str(), "main" | "global"));
        let ack = value("ackMaxChars")
            .and_then(Value::as_u64)
            .unwrap_or(ACK_MAX_CHARS);
        Settings {
            every_ms: units::duration_ms(&every, 60_000).filter(|ms| *ms > 0),
            every,
            prompt: text("prompt").unwrap_or_else(|| PROMPT.into()),
            target: text("target").unwrap_or_else(|| "last".into()),
            to: text("to"),
            account: text("accountId"),
            model: text("model"),
            session,
            ack_max_chars: usize::try_from(ack).unwrap_or(usize::MAX),
        }
    }
}

/// The agents that have heartbeats: those with a `heartbeat` section of their own, else the default agent.
pub fn agents_with_heartbeat(config: &Config) -> Vec<String> {
    let list = config.get_in(&["agents", "list"]).and_then(Value::as_array);
    let explicit: Vec<String> = list
        .into_iter()
        .flatten()
        .filter(|e| e.get("heartbeat").is_some_and(Value::is_object))
        .filter_map(|e| Some(agents::normalise(e.get("id")?.as_str()?)))
        .collect();
    if explicit.is_empty() {
        vec![agents::default_id(config)]
    } else {
        explicit
    }
}

/// Whether `wall` (ms since 1970) lies in the active hours of `agent`.
pub fn is_active(config: &Config, agent: &str, wall: u64) -> bool {
    let text = |key: &str| {
        agents::setting(config, agent, &["heartbeat", "activeHours", key]).and_then(Value::as_str)
    };
    let (start, end) = (
        text("start").and_then(minute_of_day),
        text("end").and_then(minute_of_day),
    );
    let (Some(start), Some(end)) = (start.filter(|m| *m < 1440), end) else {
        return true;
    };
    let zone = match text("timezone").map(str::trim) {
        Some("local") => TimeZone::system(),
        None | Some("" | "user") => user_zone(config),
        Some(name) => TimeZone::get(name).unwrap_or_else(|_| user_zone(config)),
    };
    let Some(now) = zoned(wall, zone) else {
        return true;
    };
    let now = now.hour() as u16 * 60 + now.minute() as u16;
    if start <= end {
        start <= now && now < end
    } else {
        now >= start || now < end
    }
}

/// Minutes since midnight of `HH:MM`; `24:00` is the end of the day.
fn minute_of_day(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let number = |t: &str| {
        (t.len() == 2 && t.bytes().all(|b| b.is_ascii_digit())).then(|| t.parse::<u16>().ok())?
    };
    match (number(hour)?, number(minute)?) {
        (24, 0) => Some(1440),
        (h @ 0..=23, m @ 0..=59) => Some(h * 60 + m),
        _ => None,
    }
}

fn user_zone(config: &Config) -> TimeZone {
    let name = config.str("agents.defaults.userTimezone").map(str::trim);
    name.and_then(|n| TimeZone::get(n).ok())
        .unwrap_or_else(TimeZone::system)
}

fn zoned(wall: u64, zone: TimeZone) -> Option<Zoned> {
    Some(
        Timestamp::from_millisecond(i64::try_from(wall).ok()?)
            .ok()?
            .to_zoned(zone),
    )
}

/// The line that tells the agent the time, in the user's zone.
pub fn time_line(config: &Config, wall: u64) -> String {
    match zoned(wall, user_zone(config)) {
        Some(t) => {
            let zone = t
                .time_zone()
                .iana_name()
                .unwrap_or("local time")
                .to_string();
            format!(
                "Current time: {} ({zone})",
                t.strftime("%A, %Y-%m-%d %H:%M")
            )
        }
        None => format!("Current time: {}", crate::sys::clock::iso(wall)),
    }
}

/// What the agent is told at this heartbeat.
pub fn prompt(settings: &Settings, has_cron: bool, has_exec: bool, time_line: &str) -> String {
    let text = match (has_exec, has_cron) {
        (true, _) => EXEC_PROMPT,
        (_, true) => CRON_PROMPT,
        _ => settings.prompt.trim_end(),
    };
    if text.contains("Current time:") {
        text.to_string()
    } else {
        format!("{text}\n{time_line}")
    }
}

/// Whether a HEARTBEAT.md asks for nothing: blank lines, headings and empty list items only.
pub fn asks_for_nothing(content: &str) -> bool {
    content.lines().map(str::trim).all(|line| {
        let heading = line.trim_start_matches('#');
        let is_heading = heading.len() < line.len()
            && (heading.is_empty() || heading.starts_with(char::is_whitespace));
        let is_item = line
            .strip_prefix(['-', '*', '+'])
            .is_some_and(|rest| matches!(rest.trim(), "" | "[]" | "[ ]" | "[x]" | "[X]"));
        line.is_empty() || is_heading || is_item
    })
}

/// What an answer comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing was said.
    Empty,
    /// Nothing needs attention.
    Fine,
    /// Something is to be told.
    Text(String),
}

/// Reads an answer to a heartbeat: the token counts at its start or end only.
pub fn read_answer(text: &str, ack_max_chars: usize) -> Answer {
    let text = text.trim();
    if text.is_empty() {
        return Answer::Empty;
    }
    match without_token(text) {
        None => Answer::Text(text.to_string()),
        Some(rest) if rest.chars().count() <= ack_max_chars => Answer::Fine,
        Some(rest) => Answer::Text(rest),
    }
}

/// `text` without the token at its start or end; `None` when it is not there.
pub fn without_token(text: &str) -> Option<String> {
    let plain = without_markup(text);
    match at_edges(text.trim()) {
        Some(rest) if !rest.is_empty() => Some(rest),
        Some(_) => Some(String::new()),
        None => at_edges(plain.trim()),
    }
}

fn at_edges(text: &str) -> Option<String> {
    let mut text = text.to_string();
    let mut found = false;
    loop {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        if let Some(rest) = text.strip_prefix(TOKEN).filter(|r| !r.starts_with(is_word)) {
            text = rest.trim_start().to_string();
        } else if let Some((before, after)) = text.rsplit_once(TOKEN)
            && after.chars().count() <= TAIL_CHARS
            && !after.contains(is_word)
            && !before.ends_with(is_word)
        {
            let before = before.trim_end();
            text = if before.is_empty() {
                String::new()
            } else {
                format!("{before}{}", after.trim())
            };
        } else {
            return found.then(|| text.trim().to_string());
        }
        found = true;
    }
}

/// `text` without tags, and without emphasis around the whole of it.
fn without_markup(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('<') {
        let Some(close) = rest[open..].find('>') else {
            break;
        };
        out.push_str(&rest[..open]);
        out.push(' ');
        rest = &rest[open + close + 1..];
    }
    out.push_str(rest);
    let out = out.replace("&nbsp;", " ");
    out.trim_matches(['*', '`', '~', '_']).to_string()
}

/// What of a heartbeat a channel shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visibility {
    pub ok: bool,
    pub alerts: bool,
    pub indicator: bool,
}

impl Visibility {
    /// Where nothing is configured, and where there is no channel.
    pub const DEFAULT: Visibility = Visibility {
        ok: false,
        alerts: true,
        indicator: true,
    };

    /// That of a channel: account, then channel, then `channels.defaults`.
    pub fn of(config: &Config, channel: &str, account: Option<&str>) -> Visibility {
        let mut places: Vec<Vec<&str>> = Vec::new();
        if channel != "webchat" {
            if let Some(account) = account {
                places.push(vec!["channels", channel, "accounts", account, "heartbeat"]);
            }
            places.push(vec!["channels", channel, "heartbeat"]);
        }
        places.push(vec!["channels", "defaults", "heartbeat"]);
        let flag = |key: &str, default: bool| {
            let found = places
                .iter()
                .find_map(|p| config.get_in(p)?.get(key)?.as_bool());
            found.unwrap_or(default)
        };
        let d = Visibility::DEFAULT;
        Visibility {
            ok: flag("showOk", d.ok),
            alerts: flag("showAlerts", d.alerts),
            indicator: flag("useIndicator", d.indicator),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> u64 {
        text.parse::<Timestamp>().unwrap().as_millisecond() as u64
    }

    #[test]
    fn settings_come_from_the_agent_and_then_from_the_defaults() {
        let config = Config::from_text(
            "{agents: {defaults: {heartbeat: {every: '10', target: 'none', prompt: ' p '}}, \
              list: [{id: 'a'}, {id: 'b', heartbeat: {every: '2h', session: 'Main', ackMaxChars: 5}}]}}",
        );
        let b = Settings::of(&config, "b");
        assert_eq!(
            (b.every_ms, b.target.as_str(), b.prompt.as_str()),
            (Some(7_200_000), "none", "p")
        );
        assert_eq!((b.session, b.ack_max_chars), (None, 5));
        assert_eq!(Settings::of(&config, "a").every_ms, Some(600_000));
        assert_eq!(agents_with_heartbeat(&config), ["b"]);
        let config = Config::from_text("{agents: {list: [{id: 'a'}, {id: 'b', default: true}]}}");
        assert_eq!(agents_with_heartbeat(&config), ["b"]);
        let b = Settings::of(&config, "b");
        assert_eq!(
            (b.every_ms, b.target.as_str(), b.ack_max_chars),
            (Some(1_800_000), "last", 300)
        );
        let off = Config::from_text("{agents: {defaults: {heartbeat: {every: '0m'}}}}");
        assert_eq!(Settings::of(&off, "main").every_ms, None);
    }

    #[test]
    fn hours_have_a_zone_may_pass_midnight_and_end_exclusively() {
        let active = |start: &str, end: &str, at: &str| {
            let config = Config::from_text(&format!(
                "{{agents: {{defaults: {{heartbeat: {{activeHours: {{start: '{start}', end: '{end}', timezone: 'Europe/Berlin'}}}}}}}}}}"
            ));
            is_active(&config, "main", ms(at))
        };
        // 08:00 in Berlin is 07:00 UTC in winter and 06:00 in summer.
        assert!(!active("08:00", "22:00", "2026-11-22T06:59:59Z"));
        assert!(active("08:00", "22:00", "2026-11-22T07:00:00Z"));
        assert!(active("08:00", "22:00", "2026-07-22T06:00:00Z"));
        assert!(active("08:00", "22:00", "2026-11-22T20:59:59Z"));
        assert!(!active("08:00", "22:00", "2026-11-22T21:00:00Z"));
        assert!(active("22:00", "06:00", "2026-11-22T22:00:00Z"));
        assert!(!active("22:00", "06:00", "2026-11-22T05:00:00Z"));
        assert!(active("00:00", "24:00", "2026-11-22T22:59:59Z"));
        assert!(!active("08:00", "08:00", "2026-11-22T07:00:00Z"), "never");
        assert!(is_active(&Config::from_text("{}"), "main", 0));
    }

    #[test]
    fn a_file_without_a_task_asks_for_nothing() {
        for text in ["", "# Heartbeat\n\n", "## \n- \n* [ ]\n+ [x]\n", "#\n"] {
            assert!(asks_for_nothing(text), "{text:?}");
        }
        for text in [
            "- [ ] water the plants",
            "#tag",
            "check mail",
            "<!-- note -->",
            "- [y]",
        ] {
            assert!(!asks_for_nothing(text), "{text:?}");
        }
    }

    #[test]
    fn the_token_counts_at_the_edges_only() {
        let long = "x".repeat(400);
        for text in [
            "HEARTBEAT_OK",
            " HEARTBEAT_OK.\n",
            "**HEARTBEAT_OK**",
            "<b>HEARTBEAT_OK</b>",
            "`HEARTBEAT_OK`",
            "HEARTBEAT_OK all quiet",
            "All quiet. HEARTBEAT_OK!!",
            "HEARTBEAT_OK HEARTBEAT_OK",
        ] {
            assert_eq!(read_answer(text, 300), Answer::Fine, "{text}");
        }
        assert_eq!(read_answer("  ", 300), Answer::Empty);
        for text in [
            "The word HEARTBEAT_OK means that all is well here.",
            "HEARTBEAT_OKAY",
            "NOT_HEARTBEAT_OK",
            "The disk is full",
        ] {
            assert_eq!(read_answer(text, 300), Answer::Text(text.into()), "{text}");
        }
        assert_eq!(
            read_answer(&format!("HEARTBEAT_OK {long}"), 300),
            Answer::Text(long.clone())
        );
        assert_eq!(
            read_answer(&format!("{long}\n\nsecond HEARTBEAT_OK."), 300),
            Answer::Text(format!("{long}\n\nsecond."))
        );
        assert_eq!(read_answer("HEARTBEAT_OK x", 0), Answer::Text("x".into()));
        assert_eq!(without_token("hello HEARTBEAT_OK"), Some("hello".into()));
        assert_eq!(without_token("hello"), None);
    }

    #[test]
    fn visibility_is_that_of_the_nearest_place() {
        let config = Config::from_text(
            "{channels: {defaults: {heartbeat: {showOk: true, showAlerts: false}}, \
              telegram: {heartbeat: {showAlerts: true}, accounts: {ops: {heartbeat: {useIndicator: false}}}}}}",
        );
        let shown = |channel, account| Visibility::of(&config, channel, account);
        assert_eq!(
            shown("telegram", Some("ops")),
            Visibility {
                ok: true,
                alerts: true,
                indicator: false
            }
        );
        assert_eq!(
            shown("telegram", None),
            Visibility {
                ok: true,
                alerts: true,
                indicator: true
            }
        );
        assert_eq!(
            shown("irc", None),
            Visibility {
                ok: true,
                alerts: false,
                indicator: true
            }
        );
        assert_eq!(
            Visibility::of(&Config::from_text("{}"), "irc", Some("x")),
            Visibility::DEFAULT
        );
    }

    #[test]
    fn the_prompt_tells_the_time_once() {
        let config = Config::from_text("{agents: {defaults: {userTimezone: 'Europe/Berlin'}}}");
        let line = time_line(&config, ms("2026-11-22T17:49:00Z"));
        assert_eq!(
            line,
            "Current time: Sunday, 2026-11-22 18:49 (Europe/Berlin)"
        );
        let mut settings = Settings::of(&config, "main");
        assert!(
            prompt(&settings, false, false, &line)
                .ends_with(&format!("answer HEARTBEAT_OK.\n{line}"))
        );
        assert!(prompt(&settings, true, false, &line).starts_with("A scheduled job"));
        assert!(prompt(&settings, true, true, &line).starts_with("A command"));
        settings.prompt = "Current time: now".into();
        assert_eq!(prompt(&settings, false, false, &line), "Current time: now");
    }
}
