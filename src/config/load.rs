//! The config file into a snapshot: read, parse, include, substitute, check, fill in defaults.

use std::io;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::Issue;
use super::agent_checks;
use super::dotenv;
use super::env::{self, Env};
use super::include;
use super::json5;
use super::locations::Locations;
use super::path::join;
use super::schema;
use super::snapshot::Config;
use super::substitute::substitute;
use crate::sys::file;
use crate::sys::id;

/// Most bytes that the config file, or all files that it includes together, may have.
pub const MAX_BYTES: u64 = 8 * 1024 * 1024;

/// The outcome of a load.
pub struct Loaded {
    /// The snapshot. With issues it holds the defaults only, and the path and hash of the file.
    pub config: Arc<Config>,
    /// What makes the file invalid, in the order of the schema.
    pub issues: Vec<Issue>,
}

/// Reads the config file. A missing one is an empty configuration without issues.
pub fn load(locations: &Locations) -> Loaded {
    match file::read_bounded(&locations.config_path, MAX_BYTES) {
        Ok(bytes) => of_bytes(Some(bytes), locations),
        Err(e) if e.kind() == io::ErrorKind::NotFound => of_bytes(None, locations),
        Err(e) => {
            let why = format!("config file cannot be read: {e}");
            unreadable(why, id::sha256_hex(b""), locations)
        }
    }
}

/// Reads `copy` as if it were the config file; its includes are those of the config folder.
pub fn load_copy(locations: &Locations, copy: &Path) -> Loaded {
    match file::read_bounded(copy, MAX_BYTES) {
        Ok(bytes) => of_bytes(Some(bytes), locations),
        Err(e) => unreadable(
            format!("cannot be read: {e}"),
            id::sha256_hex(b""),
            locations,
        ),
    }
}

/// The snapshot of a config file with this content, or of none.
pub(super) fn of_bytes(bytes: Option<Vec<u8>>, locations: &Locations) -> Loaded {
    let Some(bytes) = bytes else {
        return Loaded {
            config: Arc::new(without_file(locations)),
            issues: Vec::new(),
        };
    };
    match String::from_utf8(bytes) {
        Ok(text) => of_text(text, locations),
        Err(e) => {
            let hash = id::sha256_hex(e.as_bytes());
            unreadable("config file is not UTF-8".to_string(), hash, locations)
        }
    }
}

/// What holds without a usable file: the defaults, and the variables of the state folder.
fn without_file(locations: &Locations) -> Config {
    let mut config = Config::empty(locations);
    let warnings = dotenv::fill(&mut config.env, &locations.state_dir);
    config.warnings = warnings.into_iter().map(|w| Issue::new("", w)).collect();
    config
}

fn unreadable(why: String, hash: String, locations: &Locations) -> Loaded {
    Loaded {
        config: Arc::new(Config {
            exists: true,
            hash,
            ..without_file(locations)
        }),
        issues: vec![Issue::new("", why)],
    }
}

/// The snapshot that a config file with this text would give.
pub(super) fn of_text(text: String, locations: &Locations) -> Loaded {
    let mut config = Config {
        exists: true,
        hash: id::sha256_hex(text.as_bytes()),
        ..Config::empty(locations)
    };
    let issues = match Resolved::new(&text, locations) {
        Ok(found) => {
            config.raw = Some(text);
            config.effective = schema::fill(found.resolved.clone());
            config.parsed = found.parsed;
            config.written = found.written;
            config.resolved = found.resolved;
            config.env = found.env;
            config.included = found.included;
            config.warnings = found.warnings;
            agent_checks::check(&config)
        }
        Err(issues) => issues,
    };
    if !issues.is_empty() {
        config = Config {
            exists: true,
            hash: config.hash,
            ..without_file(locations)
        };
    }
    Loaded {
        config: Arc::new(config),
        issues,
    }
}

struct Resolved {
    parsed: Value,
    written: Value,
    resolved: Value,
    env: Env,
    included: Vec<std::path::PathBuf>,
    warnings: Vec<Issue>,
}

impl Resolved {
    fn new(text: &str, locations: &Locations) -> Result<Resolved, Vec<Issue>> {
        let whole = |message: String| vec![Issue::new("", message)];
        let tree = json5::parse(text).map_err(|e| whole(format!("JSON5 parse failed: {e}")))?;
        if let Some(path) = tree.not_finite() {
            let message = "Invalid input: expected number, received Infinity";
            return Err(vec![Issue::new(path, message)]);
        }
        let parsed = tree.to_value();
        let included = include::resolve(&parsed, &locations.config_path).map_err(whole)?;
        let mut env = locations.env.clone();
        let skipped = dotenv::fill(&mut env, &locations.state_dir);
        let mut warnings: Vec<_> = skipped.into_iter().map(|w| Issue::new("", w)).collect();
        fill_from_section(&mut env, &included.value, &mut warnings);
        let (resolved, missing) = substitute(&included.value, &env);
        if !missing.is_empty() {
            return Err(missing);
        }
        let issues = schema::check(&resolved);
        if !issues.is_empty() {
            return Err(issues);
        }
        warnings.extend(schema::warnings(&resolved));
        Ok(Resolved {
            parsed,
            written: included.value,
            resolved,
            env,
            included: included.files,
            warnings,
        })
    }
}

/// Takes over `env.vars.NAME` and `env.NAME`, where the variable is unset.
fn fill_from_section(env: &mut Env, config: &Value, warnings: &mut Vec<Issue>) {
    let none = Map::new();
    let section = config
        .get("env")
        .and_then(Value::as_object)
        .unwrap_or(&none);
    let vars = section
        .get("vars")
        .and_then(Value::as_object)
        .unwrap_or(&none);
    let named = vars.iter().map(|(name, value)| ("env.vars", name, value));
    let direct = section
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "vars" | "shellEnv"))
        .map(|(name, value)| ("env", name, value));
    for (place, name, value) in named.chain(direct) {
        let Some(value) = value.as_str() else {
            continue;
        };
        if env::refused(name) {
            warnings.push(Issue::new(
                join(place, name),
                "ignored: the config may not set this variable",
            ));
        } else if !value.trim().is_empty() {
            env.fill(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::Folder;
    use serde_json::json;

    #[test]
    fn a_file_becomes_a_snapshot() {
        let dir = Folder::new();
        dir.write("tok.json5", "{auth: {token: '${TOK}'}}");
        let text = "{gateway: {$include: './tok.json5', port: 1e4}}";
        let loaded = dir.load(text, &[("TOK", "s3cret")]);
        assert_eq!(loaded.issues, []);
        let config = loaded.config;
        assert_eq!(config.str("gateway.auth.token"), Some("s3cret"));
        assert_eq!(config.u64("gateway.port", 0), 10_000);
        assert_eq!(config.raw(), Some(text));
        assert_eq!(config.hash(), id::sha256_hex(text.as_bytes()));
        assert_eq!(config.parsed()["gateway"]["$include"], "./tok.json5");
        assert_eq!(config.included(), [dir.path().join("tok.json5")]);
        assert_eq!(config.get("agents.defaults.maxConcurrent"), Some(&json!(4)));
        assert_eq!(
            config.resolved().get("agents"),
            None,
            "defaults are not in the file"
        );
        assert!(!format!("{config:?}").contains("s3cret"));
    }

    #[test]
    fn a_missing_file_is_no_error() {
        let dir = Folder::new();
        let loaded = load(&dir.locations(&[]));
        assert_eq!(loaded.issues, []);
        assert!(!loaded.config.exists());
        assert_eq!(loaded.config.hash(), id::sha256_hex(b""));
        assert_eq!(loaded.config.str("commands.native"), Some("auto"));
    }

    #[test]
    fn a_broken_file_is_an_issue_at_the_root() {
        let dir = Folder::new();
        let issue = |text: &str| {
            let loaded = dir.load(text, &[]);
            assert_eq!(loaded.config.raw(), None);
            assert_eq!(loaded.config.hash(), id::sha256_hex(text.as_bytes()));
            loaded.issues[0].to_string()
        };
        assert_eq!(
            issue("{a:"),
            "<root>: JSON5 parse failed: SyntaxError: JSON5: invalid end of input at 1:4"
        );
        assert_eq!(
            issue("[]"),
            "<root>: Invalid input: expected object, received array"
        );
        assert_eq!(
            issue("{gateway: {port: Infinity}}"),
            "gateway.port: Invalid input: expected number, received Infinity"
        );
    }

    #[test]
    fn a_broken_file_leaves_the_variables_of_the_state_folder() {
        let dir = Folder::new();
        dir.write(".env", "OPENCLAW_GATEWAY_TOKEN=t\n");
        for text in ["{", "{nope: 1}", "{}"] {
            let config = dir.load(text, &[]).config;
            assert_eq!(
                config.env().get("OPENCLAW_GATEWAY_TOKEN"),
                Some("t"),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_readable_text_is_an_issue() {
        let dir = Folder::new();
        std::fs::write(dir.path().join("openclaw.json"), b"{a: '\xff'}").unwrap();
        let loaded = load(&dir.locations(&[]));
        assert_eq!(loaded.issues[0].message, "config file is not UTF-8");
        std::fs::remove_file(dir.path().join("openclaw.json")).unwrap();
        dir.write("openclaw.json/x", "");
        let loaded = load(&dir.locations(&[]));
        assert!(loaded.issues[0].message.contains("not a regular file"));
    }

    #[test]
    fn the_env_section_serves_references_and_children() {
        let dir = Folder::new();
        dir.write(".env", "FILE=f\nBOTH=f\n");
        let loaded = dir.load(
            "{env: {vars: {A1: '${B1}', BOTH: 's', SET: 'no'}, B1: 'b', LD_PRELOAD: '/x', 'P ': 'x'},
              ui: {assistant: {name: '${A1}${FILE}${BOTH}'}}}",
            &[("SET", "yes")],
        );
        assert_eq!(loaded.issues, []);
        let config = loaded.config;
        assert_eq!(config.str("ui.assistant.name"), Some("${B1}ff"));
        let added: Vec<_> = config.added_env().collect();
        assert_eq!(
            added,
            [("A1", "${B1}"), ("B1", "b"), ("BOTH", "f"), ("FILE", "f")]
        );
        assert_eq!(config.env().get("SET"), Some("yes"));
        let warned: Vec<_> = config.warnings().iter().map(|w| w.path.as_str()).collect();
        assert_eq!(warned, ["env.LD_PRELOAD", "env.P "]);
    }

    #[test]
    fn cf_01_a_dot_env_beside_the_work_is_not_read() {
        let dir = Folder::new();
        dir.write("workspace/.env", "EVIL=1\n");
        let loaded = dir.load("{}", &[]);
        assert_eq!(loaded.config.env().get("EVIL"), None);
        assert_eq!(loaded.config.added_env().count(), 0);
    }

    #[test]
    fn the_deepest_text_fits_a_small_stack() {
        const STACK: usize = 512 * 1024;
        let depth = json5::MAX_DEPTH - 1;
        let text = format!("{{skills: {}1{}}}", "{a: ".repeat(depth), "}".repeat(depth));
        let work = move || {
            let dir = Folder::new();
            let loaded = dir.load(&text, &[]);
            assert_eq!(
                loaded.issues[0].to_string(),
                "skills: Unrecognized key: \"a\""
            );
            let text = text.replace("skills", "browser");
            let config = dir.load(&text, &[]).config;
            assert_eq!(crate::config::redact::text(&text, &config), text);
            let patch = json!({"ui": {"seamColor": "112233"}});
            assert!(crate::config::edit::merge_patch(&config, &patch).is_ok());
        };
        let thread = std::thread::Builder::new().stack_size(STACK).spawn(work);
        thread.unwrap().join().unwrap();
    }
}
