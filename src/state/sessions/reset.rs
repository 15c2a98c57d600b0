//! When a session is stale, and what a new session under the same key takes over.

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde_json::{Map, Value, json};

use super::Entry;
use crate::state::session_key;
use crate::sys::id;

/// Hour of the local day at which sessions start anew, unless configured.
const DEFAULT_HOUR: u8 = 4;
/// Minutes without use after which a session is stale in mode `idle`, unless configured.
const DEFAULT_IDLE_MINUTES: u64 = 60;

/// What `sessions.reset` keeps: settings somebody made, and what the session is; not what it said.
const KEPT_BY_RESET: &[&str] = &[
    "thinkingLevel",
    "verboseLevel",
    "reasoningLevel",
    "elevatedLevel",
    "responseUsage",
    "model",
    "providerOverride",
    "modelOverride",
    "contextTokens",
    "sendPolicy",
    "groupActivation",
    "execHost",
    "execSecurity",
    "execAsk",
    "execNode",
    "label",
    "origin",
    "lastChannel",
    "lastTo",
    "spawnedBy",
    "spawnDepth",
    "skillsSnapshot",
];

/// What belongs to the conversation that is over, whoever ended it.
const OVER: &[&str] = &[
    "sessionFile",
    "systemSent",
    "abortedLastRun",
    "inputTokens",
    "outputTokens",
    "totalTokens",
    "totalTokensFresh",
    "cacheRead",
    "cacheWrite",
    "contextTokens",
    "compactionCount",
    "memoryFlushAt",
    "memoryFlushCompactionCount",
    "forkedFromParent",
    "cliSessionIds",
    "claudeCliSessionId",
    "skillsSnapshot",
    "systemPromptReport",
];

/// What is forgotten as well when nobody asked for the new session.
const FORGOTTEN_WHEN_STALE: &[&str] = &[
    "thinkingLevel",
    "verboseLevel",
    "reasoningLevel",
    "elevatedLevel",
    "ttsAuto",
    "responseUsage",
    "providerOverride",
    "modelOverride",
    "authProfileOverride",
    "authProfileOverrideSource",
    "authProfileOverrideCompactionCount",
    "label",
];

/// Why a session starts anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// Somebody typed `/new` or `/reset`: levels, model and label stay.
    Typed,
    /// It was too old: only what the conversation is, and what limits it, stays.
    Stale,
}

/// The entry after `sessions.reset`.
pub(super) fn reset(old: Option<&Entry>, now: u64) -> Entry {
    let mut map = Map::new();
    if let Some(old) = old {
        for name in KEPT_BY_RESET {
            if let Some(v) = old.field(name) {
                map.insert(name.to_string(), v.clone());
            }
        }
    }
    for name in ["inputTokens", "outputTokens", "totalTokens"] {
        map.insert(name.into(), json!(0));
    }
    map.insert("totalTokensFresh".into(), Value::Bool(true));
    start(map, now)
}

/// The entry of the session that follows `old`.
pub(super) fn renew(old: Option<&Entry>, renewal: Renewal, now: u64) -> Entry {
    let mut map = old.map(|o| o.map().clone()).unwrap_or_default();
    let forgotten = match renewal {
        Renewal::Typed => &[][..],
        Renewal::Stale => FORGOTTEN_WHEN_STALE,
    };
    for name in OVER.iter().chain(forgotten) {
        map.remove(*name);
    }
    start(map, now)
}

fn start(mut map: Map<String, Value>, now: u64) -> Entry {
    map.insert("sessionId".into(), json!(id::uuid()));
    map.insert("updatedAt".into(), json!(now));
    map.insert("systemSent".into(), Value::Bool(false));
    map.insert("abortedLastRun".into(), Value::Bool(false));
    Entry::from(map)
}

/// When sessions of one kind become stale; both rules may hold, the first to be met wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Hour of the local day at which what was used before is stale.
    pub daily_hour: Option<u8>,
    /// Minutes without use after which a session is stale.
    pub idle_minutes: Option<u64>,
}

/// Whether a session may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    Fresh,
    /// The daily hour has passed since it was used.
    StaleByDay,
    /// It was not used for too long.
    StaleByIdle,
}

impl Policy {
    /// The policy for the session `key` under the config section `session`; `channel` is where the
    /// message came from.
    ///
    /// `resetByChannel` comes first and alone; else `resetByType` (`thread`, `group`, `direct` or `dm`)
    /// over `reset`; `idleMinutes` of the section itself is the oldest way to say it.
    pub fn from_config(session: Option<&Value>, key: &str, channel: Option<&str>) -> Policy {
        let none = Value::Null;
        let session = session.unwrap_or(&none);
        let by_channel = channel.and_then(|c| {
            let section = session.get("resetByChannel")?;
            section
                .get(c.trim().to_lowercase())
                .filter(|v| v.is_object())
        });
        let types = session.get("resetByType").filter(|_| by_channel.is_none());
        let by_type = types.and_then(|t| match kind(key) {
            "direct" => t.get("direct").or_else(|| t.get("dm")),
            other => t.get(other),
        });
        let base = by_channel.or_else(|| session.get("reset"));
        let legacy = session.get("idleMinutes").filter(|_| by_channel.is_none());
        let field = |name: &str| {
            let of = |v: Option<&Value>| {
                v.and_then(|v| v.get(name))
                    .filter(|v| !v.is_null())
                    .cloned()
            };
            of(by_type).or_else(|| of(base))
        };
        let idle_only = base.is_none() && types.is_none() && legacy.is_some();
        let idle = match field("mode").as_ref().and_then(Value::as_str) {
            Some(mode) => mode == "idle",
            None => idle_only,
        };
        let minutes = field("idleMinutes")
            .or_else(|| legacy.cloned())
            .and_then(|v| v.as_f64())
            .map(|m| (m.max(1.0)) as u64);
        let hour = field("atHour")
            .and_then(|v| v.as_f64())
            .map_or(DEFAULT_HOUR, |h| h.clamp(0.0, 23.0) as u8);
        Policy {
            daily_hour: (!idle).then_some(hour),
            idle_minutes: minutes.or(idle.then_some(DEFAULT_IDLE_MINUTES)),
        }
    }

    /// Whether a session last used at `updated_at` (ms) may go on at `now` (ms), on a clock in `zone`.
    pub fn freshness(&self, updated_at: u64, now: u64, zone: &TimeZone) -> Freshness {
        if let Some(hour) = self.daily_hour
            && let Some(boundary) = last_hour(now, hour, zone)
            && updated_at < boundary
        {
            return Freshness::StaleByDay;
        }
        match self.idle_minutes {
            Some(m) if now > updated_at.saturating_add(m.saturating_mul(60_000)) => {
                Freshness::StaleByIdle
            }
            _ => Freshness::Fresh,
        }
    }
}

/// The kind of a session for `resetByType`.
fn kind(key: &str) -> &'static str {
    if session_key::is_thread(key) {
        "thread"
    } else if session_key::kind(key, None) == "group" {
        "group"
    } else {
        "direct"
    }
}

/// The last moment not after `now` at which it was `hour`:00 in `zone`. A day without that hour, when
/// the clocks change, has the moment after the gap instead.
fn last_hour(now: u64, hour: u8, zone: &TimeZone) -> Option<u64> {
    let now_ms = i64::try_from(now).ok()?;
    let today = Timestamp::from_millisecond(now_ms)
        .ok()?
        .to_zoned(zone.clone())
        .date();
    let time = Time::new(i8::try_from(hour).ok()?, 0, 0, 0).ok()?;
    [today, today.checked_sub(1.day()).ok()?]
        .into_iter()
        .filter_map(|day| day.to_datetime(time).to_zoned(zone.clone()).ok())
        .map(|z| z.timestamp().as_millisecond())
        .find(|at| *at <= now_ms)
        .and_then(|at| u64::try_from(at).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> u64 {
        text.parse::<Timestamp>().unwrap().as_millisecond() as u64
    }

    fn policy(session: Value, key: &str, channel: Option<&str>) -> Policy {
        Policy::from_config(Some(&session), key, channel)
    }

    const DM: &str = "agent:main:main";
    const GROUP: &str = "agent:main:telegram:group:-1";

    #[test]
    fn daily_at_four_unless_told_otherwise() {
        let p = Policy::from_config(None, DM, None);
        assert_eq!((p.daily_hour, p.idle_minutes), (Some(4), None));
        let utc = TimeZone::UTC;
        let at = |updated: &str, now: &str| p.freshness(ms(updated), ms(now), &utc);
        let day = "2026-11-22T";
        assert_eq!(
            at(&format!("{day}03:59:59Z"), &format!("{day}04:00:00Z")),
            Freshness::StaleByDay
        );
        assert_eq!(
            at(&format!("{day}04:00:00Z"), &format!("{day}23:00:00Z")),
            Freshness::Fresh
        );
        assert_eq!(
            at("2026-11-21T05:00:00Z", &format!("{day}03:00:00Z")),
            Freshness::Fresh
        );
        assert_eq!(
            at("2026-11-21T03:00:00Z", &format!("{day}03:00:00Z")),
            Freshness::StaleByDay
        );
        // A clock that went backwards makes nothing stale.
        assert_eq!(
            at("2026-12-31T00:00:00Z", &format!("{day}12:00:00Z")),
            Freshness::Fresh
        );
        assert_eq!(p.freshness(0, 0, &utc), Freshness::Fresh);
    }

    #[test]
    fn the_hour_is_that_of_the_zone_also_when_the_clocks_change() {
        let fixed = TimeZone::fixed(jiff::tz::offset(-8));
        assert_eq!(
            last_hour(ms("2026-11-22T11:00:00Z"), 4, &fixed),
            Some(ms("2026-11-21T12:00:00Z"))
        );
        assert_eq!(
            last_hour(ms("2026-11-22T12:00:00Z"), 4, &fixed),
            Some(ms("2026-11-22T12:00:00Z"))
        );
        // Central Europe skips 02:00 to 03:00 on 2026-03-29.
        let spring = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let boundary = last_hour(ms("2026-03-29T06:00:00Z"), 2, &spring);
        assert_eq!(boundary, Some(ms("2026-03-29T01:00:00Z")));
    }

    #[test]
    fn idle_alone_and_beside_the_day() {
        let p = policy(json!({"reset": {"mode": "idle"}}), DM, None);
        assert_eq!((p.daily_hour, p.idle_minutes), (None, Some(60)));
        let utc = TimeZone::UTC;
        assert_eq!(p.freshness(0, 3_600_000, &utc), Freshness::Fresh);
        assert_eq!(p.freshness(0, 3_600_001, &utc), Freshness::StaleByIdle);
        let both = policy(
            json!({"reset": {"mode": "daily", "atHour": 6, "idleMinutes": 0.5}}),
            DM,
            None,
        );
        assert_eq!((both.daily_hour, both.idle_minutes), (Some(6), Some(1)));
        let old = policy(json!({"idleMinutes": 30}), DM, None);
        assert_eq!((old.daily_hour, old.idle_minutes), (None, Some(30)));
        let odd = policy(
            json!({"reset": {"atHour": 99, "idleMinutes": null}}),
            DM,
            None,
        );
        assert_eq!((odd.daily_hour, odd.idle_minutes), (Some(23), None));
    }

    #[test]
    fn types_and_channels_have_rules_of_their_own() {
        let section = json!({
            "reset": {"mode": "daily", "atHour": 5},
            "resetByType": {"dm": {"idleMinutes": 10}, "group": {"mode": "idle"}, "thread": {"atHour": 1}},
            "resetByChannel": {"telegram": {"mode": "idle", "idleMinutes": 7}},
        });
        let p = |key, channel| {
            let p = policy(section.clone(), key, channel);
            (p.daily_hour, p.idle_minutes)
        };
        assert_eq!(p(DM, None), (Some(5), Some(10)));
        assert_eq!(p(GROUP, None), (None, Some(60)));
        assert_eq!(
            p("agent:main:slack:channel:c:thread:1", None),
            (Some(1), None)
        );
        assert_eq!(p(GROUP, Some("Telegram")), (None, Some(7)));
        assert_eq!(p(DM, Some("irc")), (Some(5), Some(10)));
    }

    fn old() -> Entry {
        let map = json!({"sessionId": "old", "updatedAt": 1, "sessionFile": "/x", "label": "L", "thinkingLevel": "low",
            "modelOverride": "m", "sendPolicy": "deny", "spawnedBy": "agent:main:main", "totalTokens": 9, "origin": {"a": 1},
            "deliveryContext": {"channel": "irc"}, "execSecurity": "deny", "compactionCount": 3, "queueMode": "collect", "neu": 1});
        Entry::from(map.as_object().unwrap().clone())
    }

    #[test]
    fn a_reset_has_exactly_the_fields_of_the_reference_and_keeps_what_limits() {
        let fresh = reset(None, 7);
        let keys: Vec<&str> = fresh.map().keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            [
                "abortedLastRun",
                "inputTokens",
                "outputTokens",
                "sessionId",
                "systemSent",
                "totalTokens",
                "totalTokensFresh",
                "updatedAt"
            ]
        );
        let e = reset(Some(&old()), 7);
        assert_ne!(e.session_id(), Some("old"));
        assert_eq!((e.updated_at(), e.number("totalTokens")), (7, Some(0)));
        for kept in [
            "label",
            "thinkingLevel",
            "sendPolicy",
            "spawnedBy",
            "origin",
            "execSecurity",
        ] {
            assert_eq!(e.field(kept), old().field(kept), "{kept}");
        }
        for gone in ["sessionFile", "compactionCount", "deliveryContext", "neu"] {
            assert_eq!(e.field(gone), None, "{gone}");
        }
    }

    #[test]
    fn a_stale_session_forgets_settings_but_not_what_it_is_or_what_limits_it() {
        let stale = renew(Some(&old()), Renewal::Stale, 7);
        for kept in [
            "sendPolicy",
            "spawnedBy",
            "origin",
            "deliveryContext",
            "execSecurity",
            "neu",
        ] {
            assert_eq!(stale.field(kept), old().field(kept), "{kept}");
        }
        for gone in [
            "label",
            "thinkingLevel",
            "modelOverride",
            "totalTokens",
            "sessionFile",
            "compactionCount",
        ] {
            assert_eq!(stale.field(gone), None, "{gone}");
        }
        let typed = renew(Some(&old()), Renewal::Typed, 7);
        for kept in ["label", "thinkingLevel", "modelOverride", "queueMode"] {
            assert_eq!(typed.field(kept), old().field(kept), "{kept}");
        }
        assert_ne!(typed.session_id(), stale.session_id());
    }
}
