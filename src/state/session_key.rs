//! Session keys: `agent:<agent>:<rest>`, and the bare `global` and `unknown`.
//!
//! A key is stored in lower case. What `rest` looks like says what kind of conversation it is.

/// The agent that is there when the config names none.
pub const DEFAULT_AGENT: &str = "main";
/// The rest of the key of an agent's main session.
pub const MAIN: &str = "main";
/// The one key of `session.scope: "global"`.
pub const GLOBAL: &str = "global";
/// The key of messages that could not be attributed.
pub const UNKNOWN: &str = "unknown";

/// The parts of a key that has an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'a> {
    pub agent: &'a str,
    pub rest: &'a str,
}

/// The parts of `key`; `None` when it does not have the form `agent:<agent>:<rest>`.
pub fn parse(key: &str) -> Option<Key<'_>> {
    let body = key.trim();
    let body = body
        .get(..6)
        .filter(|p| p.eq_ignore_ascii_case("agent:"))
        .and(body.get(6..))?;
    let (agent, rest) = body.trim_start_matches(':').split_once(':')?;
    let (agent, rest) = (agent.trim(), rest.trim_start_matches(':'));
    (!agent.is_empty() && !rest.is_empty()).then_some(Key { agent, rest })
}

/// Whether `key` begins like a key with an agent without being one: `agent:`, `agent:main`.
///
/// Callers answer `malformed session key "<key as sent>"`.
pub fn is_malformed(key: &str) -> bool {
    let is_agent = |p: &str| p.eq_ignore_ascii_case("agent:");
    key.trim().get(..6).is_some_and(is_agent) && parse(key).is_none()
}

/// An agent id as it is stored: lower case, other characters than `a-z0-9_-` replaced by one `-`, at
/// most 64 of them; `main` when nothing is left.
pub fn agent_id(text: &str) -> String {
    crate::config::agents::normalise(text)
}

/// The key of the main session of `agent`.
pub fn main_key(agent: &str) -> String {
    format!("agent:{}:{MAIN}", agent_id(agent))
}

/// `key` as it is stored: trimmed, lower case, with the default agent's prefix when it has none.
///
/// `main` and the empty key are the default agent's main session; `global` and `unknown` stay.
pub fn canonical(key: &str, default_agent: &str) -> String {
    let lower = key.trim().to_lowercase();
    if lower.is_empty() || lower == MAIN {
        return main_key(default_agent);
    }
    if let Some(k) = parse(&lower) {
        return format!("agent:{}:{}", agent_id(k.agent), k.rest);
    }
    // A malformed key stays what it is, so that it matches no session.
    if lower == GLOBAL || lower == UNKNOWN || lower.starts_with("agent:") {
        return lower;
    }
    format!("agent:{}:{lower}", agent_id(default_agent))
}

/// As [`canonical`], but under `session.scope: "global"`, where every main session is `global`.
pub fn canonical_global(key: &str, default_agent: &str) -> String {
    let key = canonical(key, default_agent);
    match parse(&key) {
        Some(k) if k.rest == MAIN => GLOBAL.to_string(),
        _ => key,
    }
}

/// The agent whose store holds `key`: its own, else the default agent.
pub fn agent_of(key: &str, default_agent: &str) -> String {
    agent_id(parse(key).map_or(default_agent, |k| k.agent))
}

/// The kind of a session as `sessions.list` shows it: `global`, `unknown`, `group` or `direct`.
pub fn kind(key: &str, chat_type: Option<&str>) -> &'static str {
    match key {
        GLOBAL => "global",
        UNKNOWN => "unknown",
        _ if matches!(chat_type, Some("group" | "channel")) => "group",
        _ if key.contains(":group:") || key.contains(":channel:") => "group",
        _ => "direct",
    }
}

/// The chat type that the words of a key tell: `group`, `channel`, `direct`, or none.
pub fn chat_type(key: &str) -> Option<&'static str> {
    let lower = key.trim().to_lowercase();
    let rest = parse(&lower).map_or(lower.as_str(), |k| k.rest);
    let has = |word: &str| rest.split(':').any(|w| w == word);
    if has("group") {
        Some("group")
    } else if has("channel") {
        Some("channel")
    } else if has("direct") || has("dm") {
        Some("direct")
    } else {
        None
    }
}

/// What the key of a group or room names: `<channel>:group|channel:<id>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group<'a> {
    pub channel: &'a str,
    pub id: &'a str,
}

/// The group behind `key`, if it is the key of one.
pub fn group(key: &str) -> Option<Group<'_>> {
    let rest = parse(key).map_or(key, |k| k.rest);
    let (channel, rest) = rest.split_once(':')?;
    let (word, id) = rest.split_once(':')?;
    let ok = matches!(word, "group" | "channel") && !channel.is_empty() && !id.is_empty();
    ok.then_some(Group { channel, id })
}

/// Whether `key` belongs to a sub-agent.
pub fn is_subagent(key: &str) -> bool {
    rest_starts(key, "subagent:")
}

/// How many sub-agents deep `key` is; 0 for any other session.
pub fn subagent_depth(key: &str) -> usize {
    let lower = key.to_lowercase();
    parse(&lower).map_or(0, |k| {
        k.rest.split(':').filter(|w| *w == "subagent").count()
    })
}

/// Whether `key` belongs to an isolated cron job or one of its runs.
pub fn is_cron(key: &str) -> bool {
    rest_starts(key, "cron:")
}

/// Whether `key` is a single run of a cron job, `cron:<job>:run:<uuid>`: such sessions are not listed.
pub fn is_cron_run(key: &str) -> bool {
    let Some(k) = parse(key) else { return false };
    let words: Vec<&str> = k.rest.split(':').collect();
    matches!(words[..], ["cron", job, "run", run] if !job.is_empty() && !run.is_empty())
}

/// Whether `key` belongs to a thread or topic inside a conversation.
pub fn is_thread(key: &str) -> bool {
    let lower = key.to_lowercase();
    lower.contains(":thread:") || lower.contains(":topic:")
}

fn rest_starts(key: &str, word: &str) -> bool {
    let lower = key.trim().to_lowercase();
    parse(&lower)
        .map_or(lower.as_str(), |k| k.rest)
        .starts_with(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_keys() {
        let cases = [
            ("", "agent:main:main"),
            (" main ", "agent:main:main"),
            ("MAIN", "agent:main:main"),
            ("Notes", "agent:main:notes"),
            ("agent:Work:Main", "agent:work:main"),
            ("AGENT:work:X", "agent:work:x"),
            ("agent::my bot::x", "agent:my-bot:x"),
            ("agent:../..:x", "agent:main:x"),
            ("agent:", "agent:"),
            ("global", "global"),
            ("Unknown", "unknown"),
            ("subagent:Abc", "agent:main:subagent:abc"),
            ("telegram:group:-100", "agent:main:telegram:group:-100"),
        ];
        for (sent, stored) in cases {
            assert_eq!(canonical(sent, "main"), stored, "{sent:?}");
            assert_eq!(canonical(stored, "main"), stored, "stable: {stored:?}");
        }
        assert_eq!(canonical("x", "Work Horse"), "agent:work-horse:x");
        assert_eq!(canonical_global("main", "main"), "global");
        assert_eq!(canonical_global("agent:other:main", "main"), "global");
        assert_eq!(canonical_global("x", "main"), "agent:main:x");
    }

    #[test]
    fn malformed_keys_begin_with_agent_and_lack_the_rest() {
        for bad in [
            "agent:",
            "agent:main",
            "agent:main:",
            "AGENT::",
            "agent:::",
            " agent: ",
        ] {
            assert!(is_malformed(bad), "{bad:?}");
            assert_eq!(parse(bad), None);
        }
        for good in [
            "",
            "main",
            "agent",
            "agents:x",
            "agent:main:x",
            "agent::main:x",
            "äagent:",
        ] {
            assert!(!is_malformed(good), "{good:?}");
        }
        let key = parse("agent:main:telegram:direct:1").unwrap();
        assert_eq!((key.agent, key.rest), ("main", "telegram:direct:1"));
    }

    #[test]
    fn agent_ids_are_file_names() {
        let cases = [
            ("Main", "main"),
            ("  ", "main"),
            ("../../etc/passwd", "etc-passwd"),
            ("a b/c", "a-b-c"),
            ("--x--", "x"),
            ("Ünïx", "n-x"),
            ("under_score-9", "under_score-9"),
        ];
        for (text, id) in cases {
            assert_eq!(agent_id(text), id, "{text:?}");
        }
        assert_eq!(agent_id(&"a".repeat(200)).len(), 64);
    }

    #[test]
    fn kinds_and_chat_types() {
        assert_eq!(kind("global", None), "global");
        assert_eq!(kind("agent:main:main", None), "direct");
        assert_eq!(kind("agent:main:main", Some("channel")), "group");
        assert_eq!(kind("agent:main:slack:channel:c1", None), "group");
        assert_eq!(chat_type("agent:main:irc:channel:#x"), Some("channel"));
        assert_eq!(chat_type("agent:main:telegram:dm:1"), Some("direct"));
        assert_eq!(chat_type("agent:main:main"), None);
        assert_eq!(
            group("agent:main:telegram:group:-1:topic:7"),
            Some(Group {
                channel: "telegram",
                id: "-1:topic:7"
            })
        );
        assert_eq!(group("agent:main:main"), None);
    }

    #[test]
    fn families_of_keys() {
        assert!(is_cron_run("agent:main:cron:j1:run:u1"));
        assert!(!is_cron_run("agent:main:cron:j1"));
        assert!(is_cron("agent:main:cron:j1"));
        assert!(is_subagent("subagent:x") && is_subagent("agent:main:subagent:x"));
        assert!(!is_subagent("agent:main:main"));
        assert_eq!(subagent_depth("agent:main:subagent:a:subagent:b"), 2);
        assert_eq!(subagent_depth("agent:main:main"), 0);
        assert!(is_thread("agent:main:slack:channel:c:thread:1"));
    }
}
