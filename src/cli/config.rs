//! `config`: see, change and check the config file, and what an edit would do to a running gateway.
//!
//! Works on the file; only `config reload` without a file asks the gateway.

use serde_json::{Value, json};

use super::context::Context;
use super::failure::Failure;
use super::options::{
    CONNECT, Command, EXIT_CONFIG, EXIT_FAILED, EXIT_OK, Group, JSON, Need, Opt, TIMEOUT, arg,
    flag, optional,
};
use super::parse::Args;
use super::rpc;
use super::term::{self, clean};
use crate::config::edit::{self, EditError};
use crate::config::json5::{self, Kind, Node};
use crate::config::plan::{Action, Effect, Mode, Plan};
use crate::config::write::{self, WriteError, Written};
use crate::config::{self, Config, Issue, path, redact};

/// Columns up to which paths are lined up.
const MAX_COLUMN: usize = 60;

const PATH: super::options::Arg = arg("path", "dotted path: gateway.port, agents.list[0].id");

pub static CONFIG: Command = Command {
    examples: &[
        (
            "openclaw config set gateway.bind lan",
            "change one setting, and nothing else in the file",
        ),
        (
            "openclaw config reload --dry-run new.json5",
            "see what an edit would do before it is made",
        ),
    ],
    ..Command::new(
        "config",
        Group::Local,
        "see, change and check the config file",
    )
};

pub static GET: Command = Command {
    args: &[PATH],
    options: &[JSON],
    need: Need::Valid,
    run: Some(get),
    ..Command::new(
        "config get",
        Group::Local,
        "print what the file says; secrets are masked",
    )
};

pub static SET: Command = Command {
    args: &[PATH, arg("value", "JSON5, or a plain text")],
    options: &[&[
        flag("strict-json", "fail when the value is not JSON5"),
        flag("json", "the same"),
    ]],
    need: Need::Valid,
    run: Some(set),
    ..Command::new(
        "config set",
        Group::Local,
        "change one setting; comments and everything else stay",
    )
};

pub static UNSET: Command = Command {
    args: &[PATH],
    need: Need::Valid,
    run: Some(unset),
    ..Command::new(
        "config unset",
        Group::Local,
        "take one setting out of the file",
    )
};

pub static CHECK: Command = Command {
    options: &[JSON],
    need: Need::Nothing,
    exits: &[(EXIT_CONFIG, "the config is invalid")],
    run: Some(check),
    ..Command::new(
        "config check",
        Group::Local,
        "say what is wrong with the file, all of it",
    )
};

pub static WHERE: Command = Command {
    need: Need::Nothing,
    run: Some(print_path),
    ..Command::new("config path", Group::Local, "print which file is read")
};

const DRY_RUN: &[Opt] = &[flag("dry-run", "only say what would happen")];

pub static RELOAD: Command = Command {
    args: &[optional(
        "file",
        "an edited copy to compare with the file instead; with --dry-run",
    )],
    options: &[DRY_RUN, JSON, CONNECT, TIMEOUT],
    need: Need::Nothing,
    exits: &[(EXIT_CONFIG, "the config is invalid")],
    run: Some(reload),
    ..Command::new(
        "config reload",
        Group::Local,
        "let the running gateway read the file now, or say what that would change",
    )
};

fn get(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    let path = args.word(0).unwrap_or_default();
    term::say(&clean(&shown(&ctx.config(), path, args.flag("json"))?));
    Ok(EXIT_OK)
}

/// What the file says at `path`: bare when it is a single value, else JSON in the order of the file.
fn shown(config: &Config, path: &str, as_json: bool) -> Result<String, Failure> {
    let missing = || Failure::new(EditError::NotFound(path.to_string()).to_string());
    let steps = steps(path)?;
    let value = redact::value_at(config.resolved(), &steps).ok_or_else(missing)?;
    if let (Value::String(text), false) = (&value, as_json) {
        return Ok(text.clone());
    }
    let tree = config.raw().and_then(|raw| json5::parse(raw).ok());
    let node = steps
        .iter()
        .try_fold(tree.as_ref(), |node, step| Some(node?.child(step)))
        .flatten();
    let mut out = String::new();
    in_file_order(&value, node, "", &mut out);
    Ok(out)
}

/// `value` as indented JSON, the members in the order in which `node` has them.
fn in_file_order(value: &Value, node: Option<&Node>, indent: &str, out: &mut String) {
    let child = |key: &str| node.and_then(|n| n.child(key));
    let (open, close, entries) = match value {
        Value::Object(map) if !map.is_empty() => {
            let mut keys: Vec<&String> = map.keys().collect();
            if let Some(Kind::Object(members)) = node.map(|n| &n.kind) {
                let place = |key: &String| members.iter().position(|m| m.key == *key);
                keys.sort_by_key(|key| place(key).unwrap_or(usize::MAX));
            }
            let entry = |key: &String| {
                let name = format!("{}: ", Value::from(key.as_str()));
                (name, &map[key], child(key))
            };
            ('{', '}', keys.into_iter().map(entry).collect::<Vec<_>>())
        }
        Value::Array(items) if !items.is_empty() => {
            let entry = |(i, item)| (String::new(), item, child(&usize::to_string(&i)));
            ('[', ']', items.iter().enumerate().map(entry).collect())
        }
        other => return out.push_str(&other.to_string()),
    };
    let deeper = format!("{indent}  ");
    out.push(open);
    for (i, (name, value, node)) in entries.into_iter().enumerate() {
        out.push_str(if i == 0 { "\n" } else { ",\n" });
        out.push_str(&deeper);
        out.push_str(&name);
        in_file_order(value, node, &deeper, out);
    }
    out.push('\n');
    out.push_str(indent);
    out.push(close);
}

fn set(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    let (path, text) = (
        args.word(0).unwrap_or_default(),
        args.word(1).unwrap_or_default(),
    );
    let strict = args.flag("strict-json") || args.flag("json");
    let value = match json5::value(text) {
        Ok(value) => value,
        Err(e) if strict => {
            let text = format!("Error: Failed to parse JSON5 value: {e}");
            return Err(Failure::new(text));
        }
        Err(_) => text.into(),
    };
    let steps = steps(path)?;
    let done = write::update(&ctx.locations, "cli config set", |config| {
        edit::set(config, &steps, &value)
    });
    say_done(ctx, &format!("Updated {path}."), done)
}

fn unset(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    let path = args.word(0).unwrap_or_default();
    let steps = steps(path)?;
    let done = write::update(&ctx.locations, "cli config unset", |config| {
        edit::unset(config, &steps)
    });
    say_done(ctx, &format!("Removed {path}."), done)
}

/// Says what was done, and when it counts.
fn say_done(ctx: &Context, what: &str, done: Result<Written, WriteError>) -> Result<u8, Failure> {
    let done = done.map_err(|e| match e {
        WriteError::Edit(EditError::NotFound(_)) => Failure::new(e.to_string()),
        e => Failure::new(format!("Error: {e}")),
    })?;
    for notice in &done.notices {
        term::warn(&clean(notice));
    }
    let when = when_it_counts(&ctx.config(), &done.config);
    term::say(&clean(&format!("{what} {when}")));
    Ok(EXIT_OK)
}

/// When a running gateway takes over the step from `old` to `new`.
fn when_it_counts(old: &Config, new: &Config) -> &'static str {
    let plan = plan(old, new);
    match plan.decide(Mode::of(new)) {
        Action::Nothing => "Nothing else changed.",
        Action::Ignore => "Restart the gateway to apply.",
        Action::Restart => "A running gateway restarts to apply it.",
        Action::Apply { ignored } if !ignored.is_empty() => "Restart the gateway to apply.",
        Action::Apply { .. } if plan.with(Effect::Live).is_empty() => {
            "A running gateway uses it from the next run on."
        }
        Action::Apply { .. } => "A running gateway applies it at once.",
    }
}

/// The changes between two configs, without the stamps that every write makes.
fn plan(old: &Config, new: &Config) -> Plan {
    let mut plan = Plan::between(old, new);
    plan.changes.retain(|(path, _)| !is_stamp(path));
    plan
}

/// Whether `path` is about the stamps that every write makes.
fn is_stamp(path: &str) -> bool {
    path == "meta" || path.starts_with("meta.")
}

fn check(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    let config = ctx.config();
    let issues = ctx.issues();
    let file = ctx.locations.shown(config.path());
    let valid = issues.is_empty();
    if args.flag("json") {
        let list = |l: &[Issue]| -> Value {
            l.iter()
                .map(|i| json!({"path": i.path, "message": i.message}))
                .collect()
        };
        term::json(&json!({
            "path": config.path(), "exists": config.exists(), "valid": valid,
            "issues": list(issues), "warnings": list(config.warnings()),
        }));
    } else if !valid {
        return Err(Failure::new(ctx.invalid_config()).with_code(EXIT_CONFIG));
    } else if config.exists() {
        term::say(&clean(&format!("Config valid: {file}")));
        for warning in config.warnings() {
            term::say(&clean(&format!("  - {warning}")));
        }
    }
    match (valid, config.exists()) {
        (false, _) => Ok(EXIT_CONFIG),
        (true, true) => Ok(EXIT_OK),
        (true, false) if args.flag("json") => Ok(EXIT_FAILED),
        (true, false) => Err(Failure::new(format!(
            "No config file: {file}\nRun: openclaw setup"
        ))),
    }
}

fn print_path(ctx: &Context, _: &Args) -> Result<u8, Failure> {
    term::say(&clean(&ctx.locations.config_path.display().to_string()));
    Ok(EXIT_OK)
}

fn reload(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    let dry = args.flag("dry-run");
    let outlook = match args.word(0) {
        Some(_) if !dry => {
            return Err(Failure::usage(
                "error: a file to compare with needs --dry-run",
            ));
        }
        Some(file) => Outlook::of_copy(ctx, file)?,
        None => {
            if !ctx.issues().is_empty() {
                return Err(Failure::new(ctx.invalid_config()).with_code(EXIT_CONFIG));
            }
            let answer = rpc::ask(ctx, args, "config.reload", &json!({"dryRun": dry}))?;
            Outlook::of_answer(&answer)
        }
    };
    match args.flag("json") {
        true => term::json(&outlook.to_value(dry)),
        false => term::say(&clean(&outlook.text(dry))),
    }
    Ok(EXIT_OK)
}

/// What an edit changes, and what becomes of it.
struct Outlook {
    mode: String,
    /// `nothing`, `apply`, `ignore` or `restart`.
    action: String,
    /// Path and effect.
    changes: Vec<(String, String)>,
}

impl Outlook {
    /// The step from the config file to the edited copy `file`.
    fn of_copy(ctx: &Context, file: &str) -> Result<Outlook, Failure> {
        if !ctx.issues().is_empty() {
            return Err(Failure::new(ctx.invalid_config()).with_code(EXIT_CONFIG));
        }
        let loaded = config::load_copy(&ctx.locations, &ctx.locations.expand(file));
        if !loaded.issues.is_empty() {
            let issues: Vec<_> = loaded.issues.iter().map(|i| format!("  - {i}")).collect();
            let text = format!(
                "Config invalid\nFile: {file}\nProblem:\n{}",
                issues.join("\n")
            );
            return Err(Failure::new(text).with_code(EXIT_CONFIG));
        }
        let plan = plan(&ctx.config(), &loaded.config);
        let mode = Mode::of(&loaded.config);
        let changes = plan.changes.iter();
        Ok(Outlook {
            mode: mode.as_str().to_string(),
            action: plan.decide(mode).as_str().to_string(),
            changes: changes
                .map(|(path, effect)| (path.clone(), effect.about().to_string()))
                .collect(),
        })
    }

    /// What the gateway says of its file.
    fn of_answer(answer: &Value) -> Outlook {
        let text = |v: &Value, key: &str| v[key].as_str().unwrap_or_default().to_string();
        let changes = answer["changes"].as_array().into_iter().flatten();
        Outlook {
            mode: text(answer, "mode"),
            action: text(answer, "action"),
            changes: changes
                .map(|c| (text(c, "path"), text(c, "effect")))
                .filter(|(path, _)| !is_stamp(path))
                .collect(),
        }
    }

    fn to_value(&self, dry: bool) -> Value {
        let changes: Vec<_> = self
            .changes
            .iter()
            .map(|(path, effect)| json!({"path": path, "effect": effect}))
            .collect();
        json!({"dryRun": dry, "mode": self.mode, "action": self.action, "changes": changes})
    }

    fn text(&self, dry: bool) -> String {
        let restart = |effect: &str| effect == Effect::Restart.about();
        let some_wait = self.changes.iter().any(|(_, effect)| restart(effect));
        let end = match (self.action.as_str(), dry) {
            ("nothing", _) => return "No changes.".to_string(),
            ("restart", true) => "The gateway would restart.",
            ("restart", false) => "The gateway restarts.",
            ("ignore", _) => "Ignored: gateway.reload.mode is off. Restart the gateway to apply.",
            (_, true) if some_wait => {
                "The gateway would apply the rest; what says restart waits for one (mode hot)."
            }
            (_, false) if some_wait => {
                "The gateway applies the rest; what says restart waits for one (mode hot)."
            }
            (_, true) => "The gateway would apply all of it in place.",
            (_, false) => "The gateway applies all of it in place.",
        };
        let width = self.changes.iter().map(|(path, _)| path.len()).max();
        let width = width.unwrap_or_default().min(MAX_COLUMN);
        let mut out = format!("Reload mode: {}\n", self.mode);
        for (path, effect) in &self.changes {
            out.push_str(&format!("  {path:width$}  {effect}\n"));
        }
        out.push_str(end);
        out
    }
}

fn steps(text: &str) -> Result<Vec<String>, Failure> {
    path::parse(text).ok_or_else(|| {
        let shown = text.escape_debug();
        Failure::new(format!("Error: not a config path: \"{shown}\""))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::Folder;

    const FILE: &str = "{\n  // why\n  gateway: {\n    port: 23000, mode: 'local', bind: 'loopback',\n    \
                        auth: { mode: 'token', token: 'hunter2' },\n  },\n  tools: { deny: ['browser'] },\n}\n";

    fn context(dir: &Folder, text: &str) -> Context {
        dir.write("openclaw.json", text);
        Context::of(dir.locations(&[]))
    }

    fn got(path: &str, as_json: bool) -> Result<String, String> {
        let dir = Folder::new();
        let ctx = context(&dir, FILE);
        shown(&ctx.config(), path, as_json).map_err(|f| f.text)
    }

    #[test]
    fn get_prints_values_bare_and_the_rest_in_the_order_of_the_file() {
        assert_eq!(got("gateway.port", false).as_deref(), Ok("23000"));
        assert_eq!(got("tools.deny[0]", false).as_deref(), Ok("browser"));
        assert_eq!(got("tools.deny[0]", true).as_deref(), Ok("\"browser\""));
        let tools = "{\n  \"deny\": [\n    \"browser\"\n  ]\n}";
        assert_eq!(got("tools", true).as_deref(), Ok(tools));
        let gateway = "{\n  \"port\": 23000,\n  \"mode\": \"local\",\n  \"bind\": \"loopback\",\n  \
                       \"auth\": {\n    \"mode\": \"token\",\n    \"token\": \"__OPENCLAW_REDACTED__\"\n  \
                       }\n}";
        assert_eq!(got("gateway", false).as_deref(), Ok(gateway));
    }

    #[test]
    fn get_masks_secrets_and_names_what_is_missing() {
        let marker = got("gateway.auth.token", false);
        assert_eq!(marker.as_deref(), Ok("__OPENCLAW_REDACTED__"));
        let missing = got("no.such.path", false);
        assert_eq!(
            missing,
            Err("Config path not found: no.such.path".to_string())
        );
        assert_eq!(
            got("a..b", false),
            Err("Error: not a config path: \"a..b\"".to_string())
        );
    }

    fn run(ctx: &Context, command: &Command, words: &[&str]) -> Result<u8, Failure> {
        let line = command.path.split(' ').chain(words.iter().copied());
        let parsed = crate::cli::parse::parse(line.map(Into::into))?;
        match parsed.1 {
            crate::cli::parse::Parsed::Run(found, args) => {
                assert_eq!(found.path, command.path);
                (found.run.unwrap())(ctx, &args)
            }
            _ => panic!("no command: {words:?}"),
        }
    }

    fn file(dir: &Folder) -> String {
        std::fs::read_to_string(dir.path().join("openclaw.json")).unwrap()
    }

    #[test]
    fn set_takes_json5_or_plain_text_and_keeps_comments() {
        let dir = Folder::new();
        let ctx = context(&dir, FILE);
        run(&ctx, &SET, &["gateway.port", "18789"]).unwrap();
        run(&ctx, &SET, &["messages.responsePrefix", "hey you"]).unwrap();
        run(&ctx, &SET, &["tools.deny[1]", "exec"]).unwrap();
        run(&ctx, &UNSET, &["gateway.bind"]).unwrap();
        let text = file(&dir);
        assert!(
            text.starts_with("{\n  // why\n  gateway: {\n    port: 18789, mode: 'local',\n"),
            "{text}"
        );
        assert!(text.contains("responsePrefix: \"hey you\""), "{text}");
        assert!(text.contains("deny: ['browser', \"exec\"]"), "{text}");
    }

    #[test]
    fn what_cannot_be_set_is_an_error_and_changes_nothing() {
        let dir = Folder::new();
        let ctx = context(&dir, FILE);
        let error = |command: &Command, words: &[&str]| run(&ctx, command, words).unwrap_err().text;
        assert_eq!(
            error(&SET, &["gateway.port", "banana"]),
            "Error: Config validation failed: gateway.port: Invalid input: expected number, received string"
        );
        assert_eq!(
            error(&SET, &["gateway.bogus", "1"]),
            "Error: Config validation failed: gateway: Unrecognized key: \"bogus\""
        );
        assert_eq!(
            error(&SET, &["messages.ackReaction", "{oops", "--strict-json"]),
            "Error: Failed to parse JSON5 value: SyntaxError: JSON5: invalid end of input at 1:6"
        );
        assert_eq!(
            error(&UNSET, &["messages.nope"]),
            "Config path not found: messages.nope"
        );
        assert_eq!(file(&dir), FILE);
    }

    #[test]
    fn check_has_an_exit_status_for_each_case() {
        let dir = Folder::new();
        assert_eq!(run(&context(&dir, FILE), &CHECK, &[]).unwrap(), EXIT_OK);
        let broken = context(&dir, "{gateway: {port: 'x', bogus: 1}, nope: 1}");
        let failure = run(&broken, &CHECK, &[]).unwrap_err();
        assert_eq!(failure.code, EXIT_CONFIG);
        for line in [
            "  - gateway.port: Invalid input: expected number, received string",
            "  - gateway: Unrecognized key: \"bogus\"",
            "  - <root>: Unrecognized key: \"nope\"",
        ] {
            assert!(failure.text.contains(line), "{}", failure.text);
        }
        assert_eq!(run(&broken, &CHECK, &["--json"]).unwrap(), EXIT_CONFIG);
        let none = Context::of(Folder::new().locations(&[]));
        assert_eq!(run(&none, &CHECK, &[]).unwrap_err().code, EXIT_FAILED);
    }

    #[test]
    fn the_words_after_an_edit_say_when_it_counts() {
        let says =
            |old: &str, new: &str| when_it_counts(&Config::from_text(old), &Config::from_text(new));
        assert_eq!(
            says("{}", "{meta: {lastTouchedAt: 'x'}}"),
            "Nothing else changed."
        );
        assert_eq!(
            says("{}", "{gateway: {port: 1}}"),
            "A running gateway restarts to apply it."
        );
        assert_eq!(
            says("{}", "{hooks: {path: '/x'}}"),
            "A running gateway applies it at once."
        );
        assert_eq!(
            says("{}", "{tools: {deny: []}}"),
            "A running gateway uses it from the next run on."
        );
        for mode in ["hot", "off"] {
            let of =
                |port: u16| format!("{{gateway: {{port: {port}, reload: {{mode: '{mode}'}}}}}}");
            assert_eq!(says(&of(1), &of(2)), "Restart the gateway to apply.");
        }
    }

    #[test]
    fn a_copy_is_compared_without_a_gateway() {
        let dir = Folder::new();
        let ctx = context(&dir, FILE);
        let copy = FILE
            .replace("23000", "23001")
            .replace("'browser'", "'exec'");
        let copy = dir.write("new.json5", &copy);
        let outlook = Outlook::of_copy(&ctx, copy.to_str().unwrap()).unwrap();
        assert_eq!(
            outlook.text(true),
            "Reload mode: hybrid\n  gateway.port  restart\n  tools.deny    next run\nThe gateway would restart."
        );
        assert_eq!(
            outlook.to_value(true)["changes"][1],
            json!({"path": "tools.deny", "effect": "next run"})
        );
        let copy = dir.write("bad.json5", "{x: 1}");
        let failure = Outlook::of_copy(&ctx, copy.to_str().unwrap())
            .err()
            .unwrap();
        assert_eq!(failure.code, EXIT_CONFIG);
        assert!(
            run(&ctx, &RELOAD, &["new.json5"]).is_err(),
            "needs --dry-run"
        );
    }
}
