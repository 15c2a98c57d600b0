//! What a configuration may hold: one table that checks it, fills in defaults, tells which values are
//! secret, and yields `config.schema` and openclaw.json(5).
//!
//! The table is a tree of [`Object`]s in `table`; the other files walk it.

mod build;
mod check;
mod defaults;
mod json;
mod legacy;
mod rows;
mod rules;
mod table;
mod warnings;

use serde_json::{Map, Value};

use super::Issue;

pub use check::check;
pub use defaults::fill;
pub use json::{json_schema, ui_hints};
pub use legacy::legacy_issues;
pub use rows::{Row, rows};
pub use rules::is_channel;
pub use warnings::warnings;

/// The whole configuration.
pub fn root() -> &'static Object {
    &table::ROOT
}

/// What an object may hold.
pub struct Object {
    pub fields: &'static [Field],
    /// Further fields, so that a channel and its accounts can share the others.
    pub more: &'static [Field],
    pub rest: Rest,
    /// What no single field can say. Run only when the fields have the right types.
    pub rule: Option<Rule>,
}

/// A check of a whole object at a dotted path.
pub type Rule = fn(&Map<String, Value>, &str, &mut Vec<Issue>);

/// What becomes of names that an object has no field for.
pub enum Rest {
    Refused,
    Ignored,
    /// They are of this kind.
    Of(&'static Kind),
}

/// A setting.
pub struct Field {
    pub name: &'static str,
    pub kind: Kind,
    pub default: Default,
    /// One sentence for the manual and for clients; may be empty.
    pub about: &'static str,
    pub required: bool,
    /// A value that is never shown.
    pub secret: bool,
    /// Not in the reference.
    pub ours: bool,
    /// Accepted so that an existing file works, without effect in this product.
    pub unused: bool,
}

/// What holds when a setting is absent.
pub enum Default {
    None,
    /// Known to whoever reads the setting.
    Says(&'static str),
    /// Filled into the effective configuration when the object that holds it is there.
    Fills(&'static str),
}

impl Default {
    /// The default as text, empty when there is none.
    pub fn text(&self) -> &'static str {
        match self {
            Default::None => "",
            Default::Says(text) | Default::Fills(text) => text,
        }
    }
}

/// The type of a value.
pub enum Kind {
    Bool,
    Text(Form),
    Number(Range),
    /// One of these words.
    Word(&'static [&'static str]),
    /// The same, where the error names the choices.
    Choice(&'static [&'static str]),
    /// One of these numbers.
    OneOfNumbers(&'static [i64]),
    /// `false` and nothing else.
    False,
    List(&'static Kind),
    Map(&'static Kind),
    Object(&'static Object),
    Either(&'static [Kind]),
    Any,
}

/// What a text must look like.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Plain,
    /// At least one character; the text is the error, or empty for the usual one.
    Filled(&'static str),
    /// At most so many characters.
    AtMost(usize),
    /// `RRGGBB` with or without `#`.
    Colour,
    Url,
    HttpUrl,
    /// A relative path that stays below its folder.
    ModulePath,
    /// A Discord id, which must not be written as a number: numbers that long lose digits.
    DiscordId,
}

/// Bounds of a number.
#[derive(Clone, Copy)]
pub struct Range {
    pub whole: bool,
    pub min: Option<f64>,
    /// The value must be greater than this.
    pub above: Option<f64>,
    pub max: Option<f64>,
}

impl Object {
    /// Every field, in the order of the schema.
    pub fn all(&self) -> impl Iterator<Item = &'static Field> {
        self.fields.iter().chain(self.more)
    }

    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.all().find(|f| f.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn issues(config: Value) -> Vec<String> {
        check(&config).iter().map(Issue::to_string).collect()
    }

    #[test]
    fn each_kind_of_problem_has_the_words_of_the_reference() {
        for (config, expected) in [
            (
                json!({"gateway": {"port": "x"}}),
                "gateway.port: Invalid input: expected number, received string",
            ),
            (
                json!({"agents": {"list": [{}]}}),
                "agents.list.0.id: Invalid input: expected string, received undefined",
            ),
            (
                json!({"gateway": {"bind": "x"}}),
                "gateway.bind: Invalid input",
            ),
            (
                json!({"session": {"maintenance": {"mode": "x"}}}),
                "session.maintenance.mode: Invalid option: expected one of \"enforce\"|\"warn\"",
            ),
            (
                json!({"gateway": {"port": 0}}),
                "gateway.port: Too small: expected number to be >0",
            ),
            (
                json!({"session": {"reset": {"atHour": 24}}}),
                "session.reset.atHour: Too big: expected number to be <=23",
            ),
            (
                json!({"gateway": {"port": 1.5}}),
                "gateway.port: Invalid input: expected int, received number",
            ),
            (json!({"x": 1}), "<root>: Unrecognized key: \"x\""),
            (
                json!({"gateway": {"b": 1, "a": 1}}),
                "gateway: Unrecognized keys: \"a\", \"b\"",
            ),
            (
                json!([]),
                "<root>: Invalid input: expected object, received array",
            ),
            (
                json!({"channels": {"pigeon": {}}}),
                "channels.pigeon: unknown channel id: pigeon",
            ),
            (
                json!({"agents": {"defaults": {"heartbeat": {"target": "pigeon"}}}}),
                "agents.defaults.heartbeat.target: unknown heartbeat target: pigeon",
            ),
            (
                json!({"agents": {"defaults": {"heartbeat": {"every": "5x"}}}}),
                "agents.defaults.heartbeat.every: invalid duration (use ms, s, m, h)",
            ),
            (
                json!({"channels": {"telegram": {"dmPolicy": "open"}}}),
                "channels.telegram.allowFrom: channels.telegram.dmPolicy=\"open\" requires \
                 channels.telegram.allowFrom to include \"*\"",
            ),
            (
                json!({"tools": {"allow": ["a"], "alsoAllow": ["b"]}}),
                "tools: tools cannot set both allow and alsoAllow in the same scope (merge alsoAllow \
                 into allow, or remove allow and use profile + alsoAllow)",
            ),
            (
                json!({"ui": {"seamColor": "#12345g"}}),
                "ui.seamColor: expected hex color (RRGGBB)",
            ),
            (
                json!({"gateway": {"token": "x"}}),
                "gateway.token: gateway.token is ignored; use gateway.auth.token instead \
                 (auto-migrated on load).",
            ),
            (
                json!({"agent": {"workspace": "x"}}),
                "agent: agent.* was moved; use agents.defaults (and tools.* for tool/elevated/exec \
                 settings) instead (auto-migrated on load).",
            ),
            (
                json!({"agents": {"defaults": {"model": {"nope": 1}}}}),
                "agents.defaults.model: Unrecognized key: \"nope\"",
            ),
            (
                json!({"channels": {"discord": {"allowFrom": [123]}}}),
                "channels.discord.allowFrom.0: Discord IDs must be strings (wrap numeric IDs in quotes).",
            ),
        ] {
            assert_eq!(issues(config.clone()), [expected], "{config}");
        }
    }

    #[test]
    fn every_level_is_strict_and_issues_follow_the_schema() {
        let config = json!({
            "nope": 1,
            "gateway": {"bogus": 1, "port": "x", "auth": {"mode": "x"}},
            "agents": {"list": [{"id": "a", "tools": {"exec": {"zap": 1}}}]},
            "channels": {"irc": {"accounts": {"work": {"groups": {"#a": {"zap": 1}}}}}},
        });
        assert_eq!(
            issues(config),
            [
                "agents.list.0.tools.exec: Unrecognized key: \"zap\"",
                "channels.irc.accounts.work.groups.#a: Unrecognized key: \"zap\"",
                "gateway.port: Invalid input: expected number, received string",
                "gateway.auth.mode: Invalid input",
                "gateway: Unrecognized key: \"bogus\"",
                "<root>: Unrecognized key: \"nope\"",
            ]
        );
    }

    #[test]
    fn an_existing_file_with_things_that_we_lack_is_accepted_with_one_warning_each() {
        let config = json!({
            "browser": {"profiles": {"a": {"color": "112233", "cdpPort": 1}}},
            "channels": {"slack": {"botToken": "x"}, "matrix": {"a": 1}, "whatsapp": {"enabled": false}},
            "plugins": {"entries": {"x": {"enabled": true}}},
            "agents": {"defaults": {"sandbox": {"mode": "all"}}},
            "discovery": {"mdns": {"mode": "off"}},
            "update": {"checkOnStart": false},
        });
        assert_eq!(check(&config), []);
        let warned = warnings(&config);
        let mut paths: Vec<_> = warned.iter().map(|w| w.path.as_str()).collect();
        paths.sort_unstable();
        assert_eq!(
            paths,
            [
                "agents.defaults.sandbox",
                "browser",
                "channels.matrix",
                "channels.slack",
                "plugins"
            ]
        );
    }

    #[test]
    fn defaults_go_where_their_object_is() {
        let config = fill(json!({
            "channels": {"irc": {"accounts": {"work": {}}}},
            "models": {"providers": {"p": {
                "baseUrl": "http://h", "api": "ollama",
                "models": [{"id": "m", "name": "M", "contextWindow": 4096}],
            }}},
            "commands": {"restart": false},
        }));
        assert_eq!(config["channels"]["irc"]["dmPolicy"], "pairing");
        assert_eq!(
            config["channels"]["irc"]["accounts"]["work"]["groupPolicy"],
            "allowlist"
        );
        assert_eq!(config["channels"].get("telegram"), None);
        assert_eq!(
            config["commands"],
            json!({
                "native": "auto", "nativeSkills": "auto", "restart": false, "ownerDisplay": "raw",
            })
        );
        let model = &config["models"]["providers"]["p"]["models"][0];
        assert_eq!(model["api"], "ollama");
        assert_eq!(
            (&model["maxTokens"], &model["reasoning"]),
            (&json!(4096), &json!(false))
        );
        assert_eq!(check(&config), []);
    }

    #[test]
    fn the_schema_has_every_section_and_marks_secrets() {
        let schema = json_schema();
        assert_eq!(schema["type"], "object");
        for section in [
            "gateway", "agents", "models", "channels", "session", "cron", "tools",
        ] {
            assert_eq!(schema["properties"][section]["type"], "object", "{section}");
        }
        let auth = &schema["properties"]["gateway"]["properties"]["auth"];
        assert_eq!(auth["additionalProperties"], false);
        assert_eq!(auth["properties"]["mode"]["enum"][0], "none");
        let hints = ui_hints();
        assert_eq!(hints["gateway.auth.token"]["sensitive"], true);
        assert_eq!(hints["gateway.reload.debounceMs"]["label"], "Debounce Ms");
        assert_eq!(hints["gateway.port"].get("sensitive"), None);
    }

    #[test]
    fn the_table_is_sound() {
        let rows = rows();
        let mut seen = std::collections::BTreeSet::new();
        for row in &rows {
            let field = row.field;
            assert!(seen.insert(row.path.clone()), "{} stands twice", row.path);
            assert!(
                field.about.is_empty() || field.about.ends_with('.'),
                "{}",
                row.path
            );
            assert!(
                !(field.ours && field.about.is_empty()),
                "{} needs a sentence",
                row.path
            );
        }
        assert!(seen.contains("gateway.limits.maxConnections"));
        assert!(seen.contains("channels.telegram.groups.*.topics.*.systemPrompt"));
        let port = rows.iter().find(|r| r.path == "gateway.port").unwrap();
        assert_eq!(port.kind(), "integer (>0)");
        assert_eq!(port.field.default.text(), "18789");
    }
}
