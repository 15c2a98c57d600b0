//! Selecting sessions, and the row that stands for one in lists.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::Entry;
use super::slots::{Slot, Slots};
use crate::state::session_key;

/// Which sessions to list. The default lets all through but runs of cron jobs, `global` and `unknown`.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// At most so many.
    pub limit: Option<usize>,
    /// Used within so many minutes.
    pub active_minutes: Option<u64>,
    /// Part of a name, label, subject, session id or key, whatever the case.
    pub search: Option<String>,
    pub label: Option<String>,
    pub spawned_by: Option<String>,
    /// Only sessions whose key names this agent.
    pub agent: Option<String>,
    pub include_global: bool,
    pub include_unknown: bool,
}

/// A session in a list.
#[derive(Clone, Debug)]
pub struct Row {
    pub key: String,
    pub entry: Entry,
}

/// The sessions of `all` that `filter` lets through at `now` (ms), the last used first.
pub(super) fn select(all: &[Arc<Slots>], filter: &Filter, now: u64) -> Vec<Row> {
    let agent = filter.agent.as_deref().map(session_key::agent_id);
    let since = filter
        .active_minutes
        .map_or(0, |m| now.saturating_sub(m.max(1).saturating_mul(60_000)));
    let search = filter.search.as_deref().map(|s| s.trim().to_lowercase());
    let label = filter
        .label
        .as_deref()
        .map(str::trim)
        .filter(|l| !l.is_empty());
    let spawned_by = filter.spawned_by.as_deref().filter(|s| !s.is_empty());

    let mut slots: Vec<(&str, &Slot)> = all
        .iter()
        .flat_map(|slots| slots.iter().map(|(key, slot)| (key.as_ref(), slot)))
        .filter(|(key, slot)| slot.updated_at >= since && is_listed(key, filter, agent.as_deref()))
        .collect();
    slots.sort_by(|(a, x), (b, y)| y.updated_at.cmp(&x.updated_at).then_with(|| a.cmp(b)));

    // From here on each entry has to be parsed: only as many as are wanted.
    slots
        .into_iter()
        .filter(|(key, slot)| {
            let head = slot.head();
            label.is_none_or(|l| head.label.is(l))
                && spawned_by
                    .is_none_or(|s| head.spawned_by.is(s) && session_key::parse(key).is_some())
        })
        .filter_map(|(key, slot)| {
            Some(Row {
                key: key.to_string(),
                entry: slot.entry()?,
            })
        })
        .filter(|row| match search.as_deref() {
            None | Some("") => true,
            Some(words) => matches(row, words),
        })
        .take(filter.limit.unwrap_or(usize::MAX))
        .collect()
}

fn is_listed(key: &str, filter: &Filter, agent: Option<&str>) -> bool {
    if key == session_key::GLOBAL || key == session_key::UNKNOWN {
        let included = if key == session_key::GLOBAL {
            filter.include_global
        } else {
            filter.include_unknown
        };
        return included && agent.is_none();
    }
    !session_key::is_cron_run(key)
        && agent.is_none_or(|a| session_key::parse(key).is_some_and(|k| k.agent == a))
}

fn matches(row: &Row, words: &str) -> bool {
    let name = display_name(&row.key, &row.entry);
    [
        name.as_deref(),
        row.entry.text("label"),
        row.entry.text("subject"),
        row.entry.session_id(),
        Some(&row.key),
    ]
    .into_iter()
    .flatten()
    .any(|t| t.to_lowercase().contains(words))
}

/// Fields that a row takes over as they are.
const COPIED: &[&str] = &[
    "label",
    "subject",
    "groupChannel",
    "space",
    "chatType",
    "origin",
    "updatedAt",
    "sessionId",
    "systemSent",
    "abortedLastRun",
    "thinkingLevel",
    "verboseLevel",
    "reasoningLevel",
    "elevatedLevel",
    "sendPolicy",
    "inputTokens",
    "outputTokens",
    "responseUsage",
    "modelProvider",
    "model",
    "contextTokens",
    "lastChannel",
    "lastTo",
    "lastAccountId",
];

/// The row of `sessions.list` for the session `key`. Left to the caller: `modelProvider` and `model`
/// when the session has not run yet, titles and previews.
pub fn row(key: &str, entry: &Entry) -> Map<String, Value> {
    let mut row = Map::new();
    for name in COPIED {
        if let Some(v) = entry.field(name).filter(|v| !v.is_null()) {
            row.insert(name.to_string(), v.clone());
        }
    }
    row.insert("key".into(), json!(key));
    row.insert(
        "kind".into(),
        json!(session_key::kind(key, entry.text("chatType"))),
    );
    row.entry("updatedAt").or_insert(Value::Null);
    let channel = entry
        .text("channel")
        .or_else(|| session_key::group(key).map(|g| g.channel));
    if let Some(channel) = channel {
        row.insert("channel".into(), json!(channel));
    }
    if let Some(name) = display_name(key, entry) {
        row.insert("displayName".into(), json!(name));
    }
    let fresh = entry.field("totalTokensFresh") != Some(&Value::Bool(false));
    let total = entry.number("totalTokens");
    if let (Some(total), true) = (total, fresh) {
        row.insert("totalTokens".into(), json!(total));
    }
    row.insert("totalTokensFresh".into(), json!(total.is_some() && fresh));
    if let Some(context) = delivery_context(entry) {
        for (from, to) in [
            ("channel", "lastChannel"),
            ("to", "lastTo"),
            ("accountId", "lastAccountId"),
        ] {
            if let Some(v) = context.get(from) {
                row.insert(to.into(), v.clone());
            }
        }
        row.insert("deliveryContext".into(), Value::Object(context));
    }
    row
}

/// Where an answer would go: the session's last route, with its delivery context for what that lacks.
pub fn delivery_context(entry: &Entry) -> Option<Map<String, Value>> {
    let stored = entry.field("deliveryContext").and_then(Value::as_object);
    let mut context = Map::new();
    for (name, last) in [
        ("channel", "lastChannel"),
        ("to", "lastTo"),
        ("accountId", "lastAccountId"),
        ("threadId", "lastThreadId"),
    ] {
        let own = entry.field(last).or_else(|| {
            let is_channel = name == "channel";
            entry.field("channel").filter(|_| is_channel)
        });
        let usable = |v: &&Value| v.is_number() || v.as_str().is_some_and(|s| !s.trim().is_empty());
        let value = own
            .filter(usable)
            .or_else(|| stored.and_then(|s| s.get(name)).filter(usable));
        if let Some(v) = value {
            context.insert(name.into(), v.clone());
        }
    }
    (!context.is_empty()).then_some(context)
}

/// The name of a session for people: its own, that of its group, its label, or where it came from.
fn display_name(key: &str, entry: &Entry) -> Option<String> {
    if let Some(name) = entry.text("displayName") {
        return Some(name.to_string());
    }
    let group = session_key::group(key);
    if let Some(channel) = entry.text("channel").or(group.map(|g| g.channel)) {
        return Some(group_name(channel, key, group.map(|g| g.id), entry));
    }
    let origin = entry.field("origin").and_then(|o| o.get("label"));
    entry
        .text("label")
        .or(origin.and_then(Value::as_str))
        .map(str::to_string)
}

/// `<channel>:<space>#<room>`, `<channel>:g-<subject>` or `<channel>:g-<id>`, whatever is known.
fn group_name(channel: &str, key: &str, id: Option<&str>, entry: &Entry) -> String {
    let channel = channel.to_lowercase();
    let room = entry.text("groupChannel");
    let detail = match (room, entry.text("space")) {
        (Some(room), Some(space)) if room.starts_with('#') => Some(format!("{space}{room}")),
        (Some(room), Some(space)) => Some(format!("{space}#{room}")),
        (room, space) => room.or(entry.text("subject")).or(space).map(str::to_string),
    };
    let mut name = slug(detail.as_deref().or(id).unwrap_or(key));
    if room.is_none() {
        name = name.trim_start_matches('#').to_string();
    }
    if name.is_empty() {
        return channel;
    }
    if !name.starts_with(['@', '#']) && !name.starts_with("g-") && !name.contains('#') {
        name.insert_str(0, "g-");
    }
    format!("{channel}:{name}")
}

/// Lower case, letters, digits and `#@._+-`; everything else becomes one `-`.
fn slug(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.trim().to_lowercase().chars() {
        if c.is_ascii_alphanumeric() || "#@._+".contains(c) {
            out.push(c);
        } else if !out.ends_with('-') {
            out.push('-');
        }
    }
    out.trim_matches(['-', '.']).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::sessions::slots;

    fn slots_of(value: Value) -> Arc<Slots> {
        Arc::new(slots::parse(value.to_string().as_bytes(), "main").slots)
    }

    fn keys(all: &[Arc<Slots>], filter: Filter) -> Vec<String> {
        let rows = select(all, &filter, 10_000_000);
        rows.into_iter().map(|r| r.key).collect()
    }

    #[test]
    fn the_last_used_come_first_and_filters_hold() {
        let all = [slots_of(json!({
            "main": {"sessionId": "s1", "updatedAt": 9_000_000},
            "notes": {"sessionId": "s2", "updatedAt": 9_500_000, "label": "Work Notes"},
            "cron:j:run:u": {"sessionId": "s3", "updatedAt": 9_900_000},
            "cron:j": {"sessionId": "s4", "updatedAt": 5},
            "agent:other:main": {"sessionId": "s5", "updatedAt": 6},
            "subagent:a": {"sessionId": "s6", "updatedAt": 7, "spawnedBy": "agent:main:main"},
            "telegram:group:-42": {"sessionId": "s7", "updatedAt": 8, "subject": "Garden Club"},
            "global": {"sessionId": "s8", "updatedAt": 4},
            "unknown": {"sessionId": "s9", "updatedAt": 3},
            "broken": 5,
        }))];
        let plain = keys(&all, Filter::default());
        assert_eq!(
            plain,
            [
                "agent:main:notes",
                "agent:main:main",
                "agent:main:telegram:group:-42",
                "agent:main:subagent:a",
                "agent:other:main",
                "agent:main:cron:j"
            ]
        );
        let with = |f: Filter| keys(&all, f);
        let search = |s: &str| {
            with(Filter {
                search: Some(s.into()),
                ..Filter::default()
            })
        };
        assert_eq!(search(" WORK no"), ["agent:main:notes"]);
        assert_eq!(search("garden-club"), ["agent:main:telegram:group:-42"]);
        assert_eq!(search("s6"), ["agent:main:subagent:a"]);
        assert!(search("nothing of the kind").is_empty());
        let limited = with(Filter {
            limit: Some(1),
            ..Filter::default()
        });
        assert_eq!(limited, ["agent:main:notes"]);
        let active = with(Filter {
            active_minutes: Some(10),
            ..Filter::default()
        });
        assert_eq!(active, ["agent:main:notes"]);
        let label = with(Filter {
            label: Some("Work Notes".into()),
            ..Filter::default()
        });
        assert_eq!(label, ["agent:main:notes"]);
        let spawned = with(Filter {
            spawned_by: Some("agent:main:main".into()),
            ..Filter::default()
        });
        assert_eq!(spawned, ["agent:main:subagent:a"]);
        let other = with(Filter {
            agent: Some("Other".into()),
            include_global: true,
            ..Filter::default()
        });
        assert_eq!(other, ["agent:other:main"]);
        let bare = with(Filter {
            include_global: true,
            include_unknown: true,
            search: Some("s8".into()),
            ..Filter::default()
        });
        assert_eq!(bare, ["global"]);
    }

    fn entry(value: Value) -> Entry {
        Entry::from(value.as_object().unwrap().clone())
    }

    #[test]
    fn a_row_has_the_fields_of_the_reference() {
        let e = entry(
            json!({"sessionId": "s", "updatedAt": 5, "systemSent": true, "abortedLastRun": false, "chatType": "direct",
            "deliveryContext": {"channel": "webchat"}, "origin": {"provider": "webchat"}, "sessionFile": "/x", "skillsSnapshot": {},
            "modelProvider": "stub", "model": "stub-1", "totalTokensFresh": true, "lastChannel": "webchat", "contextTokens": 1,
            "inputTokens": 11, "outputTokens": 10, "totalTokens": 11, "compactionCount": 0}),
        );
        let row = row("agent:main:x", &e);
        let keys: Vec<&str> = row.keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            [
                "abortedLastRun",
                "chatType",
                "contextTokens",
                "deliveryContext",
                "inputTokens",
                "key",
                "kind",
                "lastChannel",
                "model",
                "modelProvider",
                "origin",
                "outputTokens",
                "sessionId",
                "systemSent",
                "totalTokens",
                "totalTokensFresh",
                "updatedAt"
            ]
        );
        assert_eq!(row["kind"], "direct");
    }

    #[test]
    fn totals_that_are_not_fresh_are_not_shown() {
        let r = row(
            "agent:main:x",
            &entry(json!({"totalTokens": 5, "totalTokensFresh": false})),
        );
        assert_eq!(r.get("totalTokens"), None);
        assert_eq!(r["totalTokensFresh"], false);
        assert_eq!(r["updatedAt"], Value::Null);
        let never = row("agent:main:x", &entry(json!({})));
        assert_eq!(never["totalTokensFresh"], false);
    }

    #[test]
    fn groups_are_named_by_what_is_known_of_them() {
        let name = |key: &str, v: Value| display_name(key, &entry(v));
        let group = "agent:main:telegram:group:-42";
        assert_eq!(name(group, json!({})).as_deref(), Some("telegram:g-42"));
        assert_eq!(
            name(group, json!({"subject": "Garden Club"})).as_deref(),
            Some("telegram:g-garden-club")
        );
        assert_eq!(
            name(
                "agent:main:discord:channel:9",
                json!({"groupChannel": "#general", "space": "Home"})
            )
            .as_deref(),
            Some("discord:home#general")
        );
        assert_eq!(
            name(group, json!({"displayName": "Mine"})).as_deref(),
            Some("Mine")
        );
        assert_eq!(
            name(
                "agent:main:main",
                json!({"label": "L", "origin": {"label": "O"}})
            )
            .as_deref(),
            Some("L")
        );
        assert_eq!(
            name("agent:main:main", json!({"origin": {"label": "O"}})).as_deref(),
            Some("O")
        );
        assert_eq!(name("agent:main:main", json!({})), None);
    }

    #[test]
    fn the_last_route_wins_over_the_stored_context() {
        let e = entry(
            json!({"lastChannel": "irc", "lastTo": " ", "deliveryContext": {"channel": "x", "to": "#room", "threadId": 7}}),
        );
        let context = delivery_context(&e).unwrap();
        assert_eq!(
            Value::Object(context),
            json!({"channel": "irc", "to": "#room", "threadId": 7})
        );
        assert_eq!(delivery_context(&entry(json!({}))), None);
    }
}
