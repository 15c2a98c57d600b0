//! Which tools a run may use: profile, allow and deny lists, groups; deny wins.
//!
//! Four lists are looked at, and a tool has to pass all of them: `tools`, its `byProvider`, and the same
//! two of the agent.

use serde_json::Value;

use crate::config::{Config, agents};

/// The profiles, and what is in them. `full` has no limit and is not listed.
const PROFILES: &[(&str, &[&str])] = &[
    ("minimal", &["session_status"]),
    (
        "messaging",
        &[
            "sessions_list",
            "sessions_history",
            "sessions_send",
            "session_status",
            "message",
        ],
    ),
    (
        "coding",
        &[
            "group:fs",
            "group:runtime",
            "group:sessions",
            "group:memory",
            "image",
        ],
    ),
];

/// The groups, and what is in them. `group:openclaw` is every tool outside of fs and runtime.
const GROUPS: &[(&str, &[&str])] = &[
    ("group:fs", &["read", "write", "edit", "apply_patch"]),
    ("group:runtime", &["exec", "process"]),
    ("group:web", &["web_search", "web_fetch"]),
    ("group:memory", &["memory_search", "memory_get"]),
    (
        "group:sessions",
        &[
            "sessions_list",
            "sessions_history",
            "sessions_send",
            "sessions_spawn",
            "subagents",
            "session_status",
        ],
    ),
    ("group:ui", &["browser", "canvas"]),
    ("group:messaging", &["message"]),
    ("group:automation", &["cron", "gateway"]),
    ("group:nodes", &["nodes"]),
    ("group:agents", &["agents_list"]),
    ("group:media", &["image", "tts"]),
];

/// The group of a tool without its prefix (`fs`), and its place among the groups; `None` outside of all.
pub fn group_of(name: &str) -> Option<(usize, &'static str)> {
    let place = GROUPS.iter().position(|(_, tools)| tools.contains(&name))?;
    Some((place, GROUPS[place].0.trim_start_matches("group:")))
}

/// The limited profiles that a tool is part of.
pub fn profiles_of(name: &str) -> Vec<&'static str> {
    let part = |tools: &[&str]| tools.iter().any(|entry| covers(entry, name));
    PROFILES
        .iter()
        .filter(|(_, tools)| part(tools))
        .map(|(profile, _)| *profile)
        .collect()
}

/// Which tools one run may use.
#[derive(Debug, Default)]
pub struct Policy(Vec<Rules>);

/// One list of the configuration.
#[derive(Debug, Default)]
struct Rules {
    /// `None`: everything.
    allow: Option<Vec<String>>,
    deny: Vec<String>,
}

impl Policy {
    /// The policy of `agent` with models of `provider`.
    pub fn of(config: &Config, agent: &str, provider: &str) -> Policy {
        let own = agents::own_setting(config, agent, &["tools"]);
        let mut rules = Vec::new();
        for tools in [config.get("tools"), own].into_iter().flatten() {
            rules.push(Rules::of(tools));
            rules.push(Rules::of(&tools["byProvider"][provider]));
        }
        Policy(rules)
    }

    /// Whether the tool of that name may be used.
    pub fn allows(&self, name: &str) -> bool {
        self.0.iter().all(|rules| rules.allow(name))
    }
}

impl Rules {
    fn of(value: &Value) -> Rules {
        let words = |key: &str| {
            let list = value[key].as_array()?;
            let words = list.iter().filter_map(Value::as_str);
            Some(words.map(normal).collect::<Vec<_>>())
        };
        let also = words("alsoAllow").unwrap_or_default();
        let profile = value["profile"].as_str();
        let named = PROFILES.iter().find(|(name, _)| Some(*name) == profile);
        let allow = match (named, words("allow")) {
            (Some((_, tools)), None) => Some(tools.iter().map(|t| t.to_string()).collect()),
            // An allow list within a profile narrows it; the same list without one stands alone.
            (Some((_, tools)), Some(listed)) => {
                let in_profile = |t: &String| tools.iter().any(|p| covers(p, t));
                Some(expand(&listed).into_iter().filter(in_profile).collect())
            }
            (None, listed) => listed,
        };
        Rules {
            allow: allow.map(|mut list: Vec<String>| {
                list.extend(also);
                list
            }),
            deny: words("deny").unwrap_or_default(),
        }
    }

    fn allow(&self, name: &str) -> bool {
        let listed = |list: &[String]| list.iter().any(|entry| covers(entry, name));
        let allowed = |list: &[String]| {
            // Whoever may execute may change files in any case.
            listed(list) || name == "apply_patch" && list.iter().any(|entry| covers(entry, "exec"))
        };
        !listed(&self.deny) && self.allow.as_deref().is_none_or(allowed)
    }
}

/// A tool's name as it is compared.
fn normal(name: &str) -> String {
    match name.trim().to_ascii_lowercase().as_str() {
        "bash" => "exec".to_string(),
        "apply-patch" => "apply_patch".to_string(),
        other => other.to_string(),
    }
}

/// The entries of a list with its groups written out.
fn expand(list: &[String]) -> Vec<String> {
    let mut out = Vec::new();
    for entry in list {
        match group(entry) {
            Some(tools) => out.extend(tools.iter().map(|t| t.to_string())),
            None => out.push(entry.clone()),
        }
    }
    out
}

fn group(entry: &str) -> Option<&'static [&'static str]> {
    let found = GROUPS.iter().find(|(name, _)| *name == entry)?;
    Some(found.1)
}

/// Whether `entry` of a list means the tool `name`: its name, a group, or a pattern with `*`.
pub(super) fn covers(entry: &str, name: &str) -> bool {
    if entry == "group:openclaw" {
        return !covers("group:fs", name) && !covers("group:runtime", name);
    }
    match group(entry) {
        Some(tools) => tools.contains(&name),
        None => matches(entry, name),
    }
}

/// Whether `name` fits `pattern`, in which `*` stands for anything.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut name) = name.strip_prefix(head) else {
        return false;
    };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let tail = pieces.pop().unwrap_or_default();
    for piece in pieces {
        match name.find(piece) {
            Some(at) => name = &name[at + piece.len()..],
            None => return false,
        }
    }
    name.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(config: &str, agent: &str, provider: &str, name: &str) -> bool {
        Policy::of(&Config::from_text(config), agent, provider).allows(name)
    }

    #[test]
    fn without_rules_everything_is_allowed() {
        assert!(allows("{}", "main", "p", "exec"));
        assert!(allows("{tools: {profile: 'full'}}", "main", "p", "exec"));
    }

    #[test]
    fn deny_wins_over_everything() {
        let config = "{tools: {allow: ['*', 'read'], deny: ['group:fs', 'Bash']}}";
        for name in ["read", "write", "apply_patch", "exec"] {
            assert!(!allows(config, "main", "p", name), "{name}");
        }
        assert!(allows(config, "main", "p", "web_fetch"));
    }

    #[test]
    fn profiles_groups_and_patterns() {
        let coding = "{tools: {profile: 'coding', alsoAllow: ['web_*']}}";
        for (name, want) in [
            ("read", true),
            ("exec", true),
            ("web_fetch", true),
            ("message", false),
        ] {
            assert_eq!(allows(coding, "main", "p", name), want, "{name}");
        }
        let narrowed = "{tools: {profile: 'coding', allow: ['read', 'message']}}";
        assert!(allows(narrowed, "main", "p", "read"));
        assert!(!allows(narrowed, "main", "p", "message"));
        assert!(!allows(narrowed, "main", "p", "exec"));
        let own = "{tools: {allow: ['group:openclaw']}}";
        assert!(allows(own, "main", "p", "cron") && !allows(own, "main", "p", "read"));
        assert!(!allows("{tools: {allow: []}}", "main", "p", "read"));
    }

    #[test]
    fn an_agent_and_a_provider_can_only_narrow() {
        let config = "{
            tools: {deny: ['exec'], byProvider: {weak: {deny: ['read']}}},
            agents: {list: [{id: 'Ops', tools: {allow: ['exec', 'read'], byProvider: {p: {allow: ['read']}}}}]},
        }";
        assert!(allows(config, "main", "p", "read"));
        assert!(!allows(config, "main", "weak", "read"));
        assert!(!allows(config, "ops", "p", "exec"));
        assert!(allows(config, "ops", "p", "read"));
        assert!(!allows(config, "ops", "p", "write"));
        assert!(allows(config, "main", "p", "write"));
    }

    #[test]
    fn a_tool_knows_its_group_and_profiles() {
        assert_eq!(group_of("read"), Some((0, "fs")));
        assert_eq!(group_of("frob"), None);
        assert_eq!(profiles_of("read"), ["coding"]);
        let all = ["minimal", "messaging", "coding"];
        assert_eq!(profiles_of("session_status"), all);
        assert!(profiles_of("cron").is_empty());
    }

    #[test]
    fn stars() {
        for (pattern, name, want) in [
            ("*", "", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*c", "abc", true),
            ("a*b*c", "axbxc", true),
            ("a*b*c", "axc", false),
            ("abc*c", "abc", false),
            ("abc", "abcd", false),
        ] {
            assert_eq!(matches(pattern, name), want, "{pattern} {name}");
        }
    }
}
