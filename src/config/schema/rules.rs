//! Checks that span several settings.

use serde_json::{Map, Value};

use super::Issue;
use crate::config::path::{find, join};
use crate::config::units;

/// Every channel of the reference, for the names that a configuration may mention.
const CHANNELS: &[&str] = &[
    "telegram",
    "whatsapp",
    "discord",
    "irc",
    "googlechat",
    "slack",
    "signal",
    "imessage",
    "bluebubbles",
    "feishu",
    "line",
    "matrix",
    "mattermost",
    "msteams",
    "nextcloud-talk",
    "nostr",
    "synology-chat",
    "tlon",
    "twitch",
    "zalo",
    "zalouser",
];
/// Other names of channels, which heartbeat targets may use.
const CHANNEL_ALIASES: &[&str] = &["imsg", "internet-relay-chat", "google-chat", "gchat"];
/// Milliseconds of the units that bare numbers stand for.
const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Whether the reference knows a channel of this name.
pub fn is_channel(id: &str) -> bool {
    CHANNELS.contains(&id)
}

/// What concerns the whole configuration. Run when everything else is in order.
pub(super) fn across(config: &Value, issues: &mut Vec<Issue>) {
    broadcast(config, issues);
    if !issues.is_empty() {
        return;
    }
    let channels = config.get("channels").and_then(Value::as_object);
    for id in channels.into_iter().flat_map(Map::keys) {
        let id = id.trim();
        if !id.is_empty() && !matches!(id, "defaults" | "modelByChannel") && !is_channel(id) {
            let message = format!("unknown channel id: {id}");
            issues.push(Issue::new(join("channels", id), message));
        }
    }
    let target = find(config, &["agents", "defaults", "heartbeat", "target"]);
    heartbeat_target(target, "agents.defaults.heartbeat.target", issues);
    for (i, agent) in agents(config).enumerate() {
        let path = format!("agents.list.{i}.heartbeat.target");
        heartbeat_target(find(agent, &["heartbeat", "target"]), &path, issues);
    }
}

fn agents(config: &Value) -> impl Iterator<Item = &Value> {
    let list = find(config, &["agents", "list"]).and_then(Value::as_array);
    list.into_iter().flatten()
}

fn broadcast(config: &Value, issues: &mut Vec<Issue>) {
    let known: Vec<_> = agents(config).filter_map(|a| text(a, "id")).collect();
    let Some(peers) = config.get("broadcast").and_then(Value::as_object) else {
        return;
    };
    if known.is_empty() {
        return;
    }
    for (peer, ids) in peers {
        for (i, id) in ids.as_array().into_iter().flatten().enumerate() {
            let id = id.as_str().unwrap_or_default();
            if !known.contains(&id) {
                let message = format!("Unknown agent id \"{id}\" (not in agents.list).");
                issues.push(Issue::new(format!("broadcast.{peer}.{i}"), message));
            }
        }
    }
}

fn heartbeat_target(target: Option<&Value>, path: &str, issues: &mut Vec<Issue>) {
    let Some(target) = target.and_then(Value::as_str) else {
        return;
    };
    let name = target.trim().to_ascii_lowercase();
    if name.is_empty() {
        issues.push(Issue::new(path, "heartbeat target must not be empty"));
    } else if !matches!(name.as_str(), "last" | "none")
        && !is_channel(&name)
        && !CHANNEL_ALIASES.contains(&name.as_str())
    {
        let message = format!("unknown heartbeat target: {target}");
        issues.push(Issue::new(path, message));
    }
}

pub(super) fn heartbeat(map: &Map<String, Value>, path: &str, issues: &mut Vec<Issue>) {
    let Some(every) = map
        .get("every")
        .and_then(Value::as_str)
        .filter(|e| !e.is_empty())
    else {
        return;
    };
    if units::duration_ms(every, MINUTE).is_none() {
        let message = "invalid duration (use ms, s, m, h)";
        issues.push(Issue::new(join(path, "every"), message));
    }
    let hours = map.get("activeHours");
    for name in ["start", "end"] {
        let time = hours.and_then(|h| text(h, name)).filter(|t| !t.is_empty());
        if let Some(message) = time.and_then(|t| wrong_time(t, name == "end")) {
            let path = format!("{path}.activeHours.{name}");
            issues.push(Issue::new(path, message));
        }
    }
}

/// What is wrong with a time of day; midnight as `24:00` only where it ends something.
fn wrong_time(time: &str, is_end: bool) -> Option<&'static str> {
    const FORM: &str = "invalid time (use \"HH:MM\" 24h format)";
    let two = |t: &str| {
        let digits = t.len() == 2 && t.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| t.parse::<u8>().ok())?
    };
    let Some((hour, minute)) = time
        .split_once(':')
        .and_then(|(h, m)| Some((two(h)?, two(m)?)))
    else {
        return Some(FORM);
    };
    match (hour, minute) {
        (25.., _) | (_, 60..) => Some(FORM),
        (24, 1..) => Some("invalid time (24:00 is the only allowed 24:xx value)"),
        (24, 0) if !is_end => Some("invalid time (start cannot be 24:00)"),
        _ => None,
    }
}

/// Whether both `allow` and `alsoAllow` hold something.
fn both_allow(map: &Map<String, Value>, scope: &str, path: &str, issues: &mut Vec<Issue>) {
    let filled = |name| {
        let list = map.get(name).and_then(Value::as_array);
        list.is_some_and(|l| !l.is_empty())
    };
    if filled("allow") && filled("alsoAllow") {
        issues.push(Issue::new(
            path,
            format!(
                "{scope} cannot set both allow and alsoAllow in the same scope (merge alsoAllow into \
                 allow, or remove allow and use profile + alsoAllow)"
            ),
        ));
    }
}

pub(super) fn tools(map: &Map<String, Value>, path: &str, issues: &mut Vec<Issue>) {
    both_allow(map, "tools", path, issues);
}

pub(super) fn agent_tools(map: &Map<String, Value>, path: &str, issues: &mut Vec<Issue>) {
    both_allow(map, "agent tools", path, issues);
}

pub(super) fn tool_policy(map: &Map<String, Value>, path: &str, issues: &mut Vec<Issue>) {
    both_allow(map, "tools policy", path, issues);
}

pub(super) fn provider_policy(map: &Map<String, Value>, path: &str, issues: &mut Vec<Issue>) {
    both_allow(map, "tools.byProvider policy", path, issues);
}

pub(super) fn loop_detection(map: &Map<String, Value>, path: &str, issues: &mut Vec<Issue>) {
    let steps = [
        "warningThreshold",
        "criticalThreshold",
        "globalCircuitBreakerThreshold",
    ];
    for pair in steps.windows(2) {
        let number = |name: &str| map.get(name).and_then(Value::as_f64);
        if let (Some(lower), Some(upper)) = (number(pair[0]), number(pair[1]))
            && lower >= upper
        {
            let message = format!(
                "tools.loopDetection.{} must be lower than {}.",
                pair[0], pair[1]
            );
            issues.push(Issue::new(join(path, pair[1]), message));
        }
    }
}

fn duration(value: Option<&Value>, bare: u64, path: String, issues: &mut Vec<Issue>) {
    if value
        .is_some_and(|v| v != &Value::Bool(false) && measure(v, |t| units::duration_ms(t, bare)))
    {
        issues.push(Issue::new(path, "invalid duration (use ms, s, m, h, d)"));
    }
}

fn size(value: Option<&Value>, path: String, issues: &mut Vec<Issue>) {
    if value.is_some_and(|v| measure(v, units::bytes)) {
        issues.push(Issue::new(path, "invalid size (use b, kb, mb, gb, tb)"));
    }
}

/// Whether `parse` refuses `value`, a text or a number.
fn measure(value: &Value, parse: impl Fn(&str) -> Option<u64>) -> bool {
    match value {
        Value::String(text) => parse(text).is_none(),
        other => parse(&other.to_string()).is_none(),
    }
}

pub(super) fn maintenance(map: &Map<String, Value>, path: &str, issues: &mut Vec<Issue>) {
    duration(map.get("pruneAfter"), DAY, join(path, "pruneAfter"), issues);
    size(map.get("rotateBytes"), join(path, "rotateBytes"), issues);
    let name = "resetArchiveRetention";
    duration(map.get(name), DAY, join(path, name), issues);
    for name in ["maxDiskBytes", "highWaterBytes"] {
        size(map.get(name), join(path, name), issues);
    }
}

pub(super) fn cron(map: &Map<String, Value>, path: &str, issues: &mut Vec<Issue>) {
    let name = "sessionRetention";
    duration(map.get(name), HOUR, join(path, name), issues);
    let log = map.get("runLog").and_then(|l| l.get("maxBytes"));
    size(log, format!("{path}.runLog.maxBytes"), issues);
}

/// `dmPolicy: "open"` must say so twice: a slip must not let everybody in.
fn open(policy: Option<&Value>, allow: Option<&Value>) -> bool {
    let anybody = |entry: &Value| entry.as_str().is_some_and(|e| e.trim() == "*");
    let listed = allow.and_then(Value::as_array);
    policy.and_then(Value::as_str) == Some("open") && !listed.is_some_and(|l| l.iter().any(anybody))
}

fn open_policy(map: &Map<String, Value>, channel: &str, path: &str, issues: &mut Vec<Issue>) {
    if open(map.get("dmPolicy"), map.get("allowFrom")) {
        let message = format!(
            "channels.{channel}.dmPolicy=\"open\" requires channels.{channel}.allowFrom to include \"*\""
        );
        issues.push(Issue::new(join(path, "allowFrom"), message));
    }
}

pub(super) fn telegram_account(map: &Map<String, Value>, path: &str, issues: &mut Vec<Issue>) {
    open_policy(map, "telegram", path, issues);
}

pub(super) fn telegram(map: &Map<String, Value>, path: &str, issues: &mut Vec<Issue>) {
    telegram_account(map, path, issues);
    let filled = |of: &Map<String, Value>, name: &str| {
        let text = of.get(name).and_then(Value::as_str);
        text.is_some_and(|t| !t.trim().is_empty())
    };
    let secret = filled(map, "webhookSecret");
    if filled(map, "webhookUrl") && !secret {
        issues.push(Issue::new(
            join(path, "webhookSecret"),
            "channels.telegram.webhookUrl requires channels.telegram.webhookSecret",
        ));
    }
    let accounts = map.get("accounts").and_then(Value::as_object);
    for (id, account) in accounts.into_iter().flatten() {
        let Some(account) = account.as_object() else {
            continue;
        };
        let off = account.get("enabled") == Some(&Value::Bool(false));
        if !off && filled(account, "webhookUrl") && !filled(account, "webhookSecret") && !secret {
            issues.push(Issue::new(
                format!("{path}.accounts.{id}.webhookSecret"),
                "channels.telegram.accounts.*.webhookUrl requires channels.telegram.webhookSecret or \
                 channels.telegram.accounts.*.webhookSecret",
            ));
        }
    }
}

pub(super) fn discord(map: &Map<String, Value>, path: &str, issues: &mut Vec<Issue>) {
    let mut add = |name: &str, message: &str| issues.push(Issue::new(join(path, name), message));
    let filled = |name: &str| {
        let text = map.get(name).and_then(Value::as_str);
        text.is_some_and(|t| !t.trim().is_empty())
    };
    let kind = map.get("activityType").and_then(Value::as_i64);
    let url = filled("activityUrl");
    if (kind.is_some() || url) && !filled("activity") {
        let why = "channels.discord.activity is required when activityType or activityUrl is set";
        add("activity", why);
    }
    if kind == Some(1) && !url {
        let why = "channels.discord.activityUrl is required when activityType is 1 (Streaming)";
        add("activityUrl", why);
    }
    if url && kind != Some(1) {
        let why = "channels.discord.activityType must be 1 (Streaming) when activityUrl is set";
        add("activityType", why);
    }
    let dm = |name| map.get("dm").and_then(|dm| dm.get(name));
    let own = map.get("allowFrom");
    let policy = map.get("dmPolicy").or_else(|| dm("policy"));
    if open(policy, own.or_else(|| dm("allowFrom"))) {
        let place = if own.is_some() {
            "allowFrom"
        } else {
            "dm.allowFrom"
        };
        add(
            place,
            "channels.discord.dmPolicy=\"open\" requires channels.discord.allowFrom (or \
             channels.discord.dm.allowFrom) to include \"*\"",
        );
    }
}

pub(super) fn irc(map: &Map<String, Value>, path: &str, issues: &mut Vec<Issue>) {
    open_policy(map, "irc", path, issues);
    let nickserv = map.get("nickserv");
    let register = nickserv.and_then(|n| n.get("register")) == Some(&Value::Bool(true));
    let mail = nickserv.and_then(|n| text(n, "registerEmail"));
    if register && mail.is_none_or(|m| m.trim().is_empty()) {
        issues.push(Issue::new(
            format!("{path}.nickserv.registerEmail"),
            "channels.irc.nickserv.register=true requires channels.irc.nickserv.registerEmail",
        ));
    }
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str)
}

/// The scheme of an absolute URL in lower case, when it is one that the web has; `Some("")` for others.
pub(super) fn url_scheme(text: &str) -> Option<&'static str> {
    let (scheme, rest) = text.trim().split_once(':')?;
    let valid = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    if !valid {
        return None;
    }
    let web = match scheme.to_ascii_lowercase().as_str() {
        "http" => "http",
        "https" => "https",
        _ => return Some(""),
    };
    let host = rest.trim_start_matches(['/', '\\']);
    let host = host.split(['/', '?', '#', '\\']).next()?;
    let plain = !host.is_empty() && !host.contains([' ', '<', '>', '^', '|', '%']);
    plain.then_some(web)
}

/// Whether `text` names a module below the folder of modules.
pub(super) fn is_module_path(text: &str) -> bool {
    let text = text.trim();
    !text.is_empty()
        && !text.starts_with(['/', '~'])
        && !text.contains(':')
        && text.split(['/', '\\']).all(|part| part != "..")
}
