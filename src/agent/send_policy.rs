//! Whether a session may be spoken to: its own setting, else the rules of `session.sendPolicy`.

use serde_json::Value;

use crate::config::Config;
use crate::state::session_key;
use crate::state::sessions::Entry;

/// Whether `session.sendPolicy` and the session itself let a message to `key` through.
pub fn allows(config: &Config, key: &str, entry: Option<&Entry>) -> bool {
    match entry.and_then(|e| e.text("sendPolicy")) {
        Some("deny") => return false,
        Some("allow") => return true,
        _ => {}
    }
    let rules = config
        .get("session.sendPolicy.rules")
        .and_then(Value::as_array);
    let mut allowed = false;
    for rule in rules
        .into_iter()
        .flatten()
        .filter(|r| matches(r, key, entry))
    {
        if rule["action"] == "deny" {
            return false;
        }
        allowed = true;
    }
    allowed || config.str("session.sendPolicy.default") != Some("deny")
}

/// Whether every condition of the rule's `match` holds; a rule without one matches all.
fn matches(rule: &Value, key: &str, entry: Option<&Entry>) -> bool {
    let wanted = |name: &str| {
        rule["match"][name]
            .as_str()
            .map(str::trim)
            .filter(|w| !w.is_empty())
    };
    let own = session_key::parse(key).map_or(key, |k| k.rest);
    let channel = entry
        .and_then(|e| e.text("lastChannel"))
        .or_else(|| session_key::group(key).map(|g| g.channel));
    let kind = entry
        .and_then(|e| e.text("chatType"))
        .or_else(|| session_key::chat_type(key));
    let kind_is = |w: &str| kind.is_some_and(|k| k == if w == "dm" { "direct" } else { w });
    wanted("channel").is_none_or(|w| channel.is_some_and(|c| c.eq_ignore_ascii_case(w)))
        && wanted("chatType").is_none_or(kind_is)
        && wanted("keyPrefix").is_none_or(|w| own.starts_with(&w.to_lowercase()))
        && wanted("rawKeyPrefix").is_none_or(|w| key.starts_with(&w.to_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::allows;
    use crate::config::Config;

    #[test]
    fn a_denying_rule_wins_and_the_default_comes_last() {
        let c = Config::from_text(
            "{session: {sendPolicy: {default: 'deny', rules: [
                {action: 'allow', match: {keyPrefix: 'team-'}},
                {action: 'deny', match: {rawKeyPrefix: 'agent:main:team-x'}},
                {action: 'allow', match: {chatType: 'group', channel: 'irc'}}]}}}",
        );
        assert!(allows(&c, "agent:main:team-a", None));
        assert!(!allows(&c, "agent:main:team-x1", None));
        assert!(!allows(&c, "agent:main:other", None));
        assert!(allows(&c, "agent:main:irc:group:#x", None));
        assert!(allows(&Config::from_text("{}"), "agent:main:main", None));
    }
}
