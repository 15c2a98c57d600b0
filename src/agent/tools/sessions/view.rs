//! Which sessions a run may see: `tools.sessions.visibility`.

use serde_json::{Value, json};

use crate::agent::tools::{Context, Output};
use crate::config::agents;
use crate::state::session_key;
use crate::state::sessions::{Entry, Filter, Row, Store};

/// Steps from a session to the one that it descends from.
const MAX_DEPTH: usize = 8;
/// Longest name of a session that is looked for, in bytes.
const MAX_NAME: usize = 512;

/// How far a run sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Itself,
    /// And what it spawned.
    Tree,
    /// All of its agent.
    Agent,
    /// Those of other agents too, as far as `tools.agentToAgent` lets it.
    All,
}

impl Reach {
    fn of(context: &Context<'_>) -> Reach {
        match context.config.str("tools.sessions.visibility") {
            Some("self") => Reach::Itself,
            Some("agent") => Reach::Agent,
            Some("all") => Reach::All,
            _ => Reach::Tree,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Reach::Itself => "self",
            Reach::Tree => "tree",
            Reach::Agent => "agent",
            Reach::All => "all",
        }
    }

    fn what(self) -> &'static str {
        match self {
            Reach::Itself => "the current session",
            Reach::Tree => "the current session tree",
            Reach::Agent => "the sessions of the current agent",
            Reach::All => "the agents of tools.agentToAgent",
        }
    }
}

/// The sessions as one run sees them.
pub struct View<'a> {
    context: &'a Context<'a>,
    store: &'a Store,
    reach: Reach,
}

/// A session that a run may see; it need not exist.
#[derive(Debug)]
pub struct Seen {
    /// Canonical.
    pub key: String,
    pub entry: Option<Entry>,
}

impl<'a> View<'a> {
    pub fn new(context: &'a Context<'a>, store: &'a Store) -> View<'a> {
        View {
            context,
            store,
            reach: Reach::of(context),
        }
    }

    /// The run's own session.
    pub fn own_key(&self) -> &str {
        self.context.session_key.unwrap_or_default()
    }

    /// The session that `name` means: a key, `main`, or a session id. `None` when it may not be seen, and,
    /// for an id, when there is none.
    pub fn find(&self, name: &str) -> Option<Seen> {
        if name.len() > MAX_NAME {
            return None;
        }
        let key = self.canonical(name);
        let entry = self.store.get(&key).ok()?;
        if entry.is_none() && !name.contains(':') {
            let rows = self.list(&Filter::default());
            let found = rows
                .into_iter()
                .find(|r| r.entry.session_id() == Some(name.trim()));
            if let Some(row) = found {
                return Some(Seen {
                    key: row.key,
                    entry: Some(row.entry),
                });
            }
        }
        self.sees(&key, entry.as_ref())
            .then_some(Seen { key, entry })
    }

    /// The session labelled `label`, of `agent` or of the run's own.
    pub fn find_label(&self, label: &str, agent: Option<&str>) -> Option<Seen> {
        let agent = agents::normalise(agent.unwrap_or(self.context.agent));
        let filter = Filter {
            label: Some(label.trim().to_string()).filter(|l| !l.is_empty() && l.len() <= MAX_NAME),
            agent: Some(agent),
            ..Filter::default()
        };
        filter.label.as_ref()?;
        self.list(&filter).into_iter().next().map(|row| Seen {
            key: row.key,
            entry: Some(row.entry),
        })
    }

    /// The sessions that the run may see, the last used first.
    pub fn list(&self, filter: &Filter) -> Vec<Row> {
        let agents = match self.reach {
            Reach::All => self.store.agents_on_disk(),
            _ => vec![self.context.agent.to_string()],
        };
        let wanted = Filter {
            limit: None,
            ..filter.clone()
        };
        let rows = self.store.list(&agents, &wanted).unwrap_or_default();
        rows.into_iter()
            .filter(|row| self.sees(&row.key, Some(&row.entry)))
            .take(filter.limit.unwrap_or(usize::MAX))
            .collect()
    }

    /// What a run is told of a session that it may not `doing`, be it there or not.
    pub fn forbidden(&self, doing: &str) -> Output {
        Output::json(json!({
            "status": "forbidden",
            "error": format!(
                "Session {doing} visibility is restricted to {} (tools.sessions.visibility={}).",
                self.reach.what(),
                self.reach.word()
            ),
        }))
    }

    fn canonical(&self, name: &str) -> String {
        let key = session_key::canonical(name, self.context.agent);
        match self.context.config.str("session.scope") {
            Some("global") => session_key::canonical_global(&key, self.context.agent),
            _ => key,
        }
    }

    fn sees(&self, key: &str, entry: Option<&Entry>) -> bool {
        if key == self.own_key() {
            return true;
        }
        let agent = session_key::parse(key).map(|k| k.agent);
        let own = agent.is_none_or(|a| a == self.context.agent);
        match self.reach {
            Reach::Itself => false,
            Reach::Tree => self.descends(entry),
            Reach::Agent => own,
            Reach::All => own || agent.is_some_and(|a| self.may_reach(a)),
        }
    }

    /// Whether the session of `entry` was spawned by the run's own, or by one that was.
    fn descends(&self, entry: Option<&Entry>) -> bool {
        let parent = |entry: &Entry| entry.text("spawnedBy").map(str::to_string);
        let mut next = entry.and_then(parent);
        for _ in 0..MAX_DEPTH {
            let Some(key) = next else {
                return false;
            };
            if key == self.own_key() {
                return true;
            }
            next = self
                .store
                .get(&key)
                .ok()
                .flatten()
                .as_ref()
                .and_then(parent);
        }
        false
    }

    /// Whether agents may talk to each other, and these two.
    fn may_reach(&self, other: &str) -> bool {
        let config = self.context.config;
        let listed = config
            .get("tools.agentToAgent.allow")
            .and_then(Value::as_array);
        let named = |agent: &str| {
            listed.is_none_or(|list| {
                let mut names = list.iter().filter_map(Value::as_str).map(str::trim);
                names.any(|n| n == "*" || agents::normalise(n) == agent)
            })
        };
        config.bool("tools.agentToAgent.enabled", false)
            && named(self.context.agent)
            && named(other)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::Bench;
    use super::*;
    use crate::state::Paths;

    const ME: &str = "agent:main:main";

    fn store(bench: &Bench) -> Store {
        let store = Store::new(Paths::new(bench.path.join("state")));
        for (key, parent, label) in [
            (ME, None, None),
            ("agent:main:other", None, Some("other one")),
            ("agent:main:subagent:a", Some(ME), Some("mine")),
            ("agent:main:subagent:b", Some("agent:main:subagent:a"), None),
            (
                "agent:main:subagent:c",
                Some("agent:main:other"),
                Some("theirs"),
            ),
            ("agent:beta:main", None, None),
            ("agent:gamma:main", None, None),
        ] {
            let change = |map: &mut serde_json::Map<String, Value>| {
                map.insert(
                    "sessionId".into(),
                    json!(format!("id-{}", key.replace(':', "-"))),
                );
                if let Some(parent) = parent {
                    map.insert("spawnedBy".into(), json!(parent));
                }
                if let Some(label) = label {
                    map.insert("label".into(), json!(label));
                }
            };
            store.update(key, change).unwrap();
        }
        store
    }

    fn seen(config: &str, me: &str) -> Vec<String> {
        let mut bench = Bench::new(config);
        bench.session_key = Some(me.to_string());
        let store = store(&bench);
        let context = bench.context();
        let view = View::new(&context, &store);
        let mut keys: Vec<String> = view
            .list(&Filter::default())
            .into_iter()
            .map(|r| r.key)
            .collect();
        keys.sort();
        for key in [
            "agent:main:main",
            "agent:main:other",
            "agent:main:subagent:c",
            "agent:beta:main",
        ] {
            let id = format!("id-{}", key.replace(':', "-"));
            let found = view.find(key).map(|s| s.key);
            assert_eq!(found.is_some(), keys.contains(&key.to_string()), "{key}");
            assert_eq!(
                view.find(&id).and_then(|s| s.entry).is_some(),
                found.is_some(),
                "{id}"
            );
        }
        keys
    }

    #[test]
    fn a_run_sees_as_far_as_it_was_set() {
        let tree = [
            "agent:main:main",
            "agent:main:subagent:a",
            "agent:main:subagent:b",
        ];
        assert_eq!(seen("{}", ME), tree);
        assert_eq!(seen("{tools: {sessions: {visibility: 'self'}}}", ME), [ME]);
        let agent = seen("{tools: {sessions: {visibility: 'agent'}}}", ME);
        assert_eq!(agent.len(), 5);
        assert!(agent.iter().all(|k| k.starts_with("agent:main:")));
        assert_eq!(seen("{tools: {sessions: {visibility: 'all'}}}", ME), agent);
        let all = "{tools: {sessions: {visibility: 'all'}, agentToAgent: {enabled: true, allow: ['main', 'Beta']}}}";
        let all = seen(all, ME);
        assert!(all.contains(&"agent:beta:main".to_string()) && all.len() == 6);
    }

    /// TX-27
    #[test]
    fn a_child_sees_itself_and_what_it_spawned() {
        let child = "agent:main:subagent:a";
        assert_eq!(seen("{}", child), [child, "agent:main:subagent:b"]);
        let leaf = "agent:main:subagent:c";
        assert_eq!(seen("{}", leaf), [leaf]);
        let mut bench = Bench::new("{}");
        bench.session_key = Some(leaf.to_string());
        let store = store(&bench);
        let context = bench.context();
        let view = View::new(&context, &store);
        for name in [
            "agent:main:subagent:a",
            "agent:main:subagent:nope",
            "id-agent-main-subagent-a",
            "main",
            "global",
            "agent:",
        ] {
            let found = view.find(name);
            assert!(found.as_ref().is_none(), "{name} {found:?}");
        }
        assert!(view.find_label("mine", None).is_none());
        assert!(view.find_label("theirs", None).is_some());
        assert!(view.find_label("", None).is_none());
        assert!(view.find(&"x".repeat(MAX_NAME + 1)).is_none());
    }
}
