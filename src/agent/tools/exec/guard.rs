//! Whether a command may run, has to be asked about, or is refused.
//!
//! The strictest word counts: that of the config (or of the session, which an operator sets), that of the
//! exec approvals, and that of the model, which can only tighten (TX-24). With an allowlist, only a line of
//! plain words whose program is listed runs unasked, and it runs without a shell; programs that run others
//! are asked about each time, whatever is listed.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

use super::line;
use super::pattern;
use super::program::Program;
use crate::agent::tools::files::setting;
use crate::agent::tools::{Context, ToolError, text_of};
use crate::state::approvals::{AskWhen, Policy, Security};

/// What a model is told where nothing may run.
pub const SWITCHED_OFF: &str = "exec denied: commands are switched off here (security=deny)";

/// Where a command runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// On this machine.
    Gateway,
    /// On a node; `None`: the only one that can.
    Node(Option<String>),
}

/// What holds for one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    pub host: Host,
    pub security: Security,
    pub ask: AskWhen,
}

impl Rules {
    /// Whether anything runs unasked.
    pub fn is_free(&self) -> bool {
        self.security == Security::Full && self.ask != AskWhen::Always
    }

    /// What holds for a call with `arguments`. `session` are the fields of its session, `listed` what the
    /// exec approvals say.
    pub fn of(
        context: &Context<'_>,
        session: &Map<String, Value>,
        listed: &Policy,
        arguments: &Map<String, Value>,
    ) -> Result<Rules, ToolError> {
        let word = |own: &str, key: &str| {
            let own = session.get(own).and_then(Value::as_str);
            own.or_else(|| setting(context, &["exec", key])?.as_str())
                .map(str::to_string)
        };
        let host_set = word("execHost", "host");
        let host = host(context, session, host_set.as_deref(), arguments)?;
        let security_set = word("execSecurity", "security");
        let ask_set = word("execAsk", "ask");
        // Nobody has said anything: commands run as they do in the reference without a sandbox. Whoever
        // names a host, a security or a rule for asking gets the guarded defaults for the rest.
        let guarded = [&host_set, &security_set, &ask_set]
            .iter()
            .any(|s| s.is_some());
        let security = match security_set.as_deref() {
            // A word that nobody knows allows nothing.
            Some(word) => Security::parse(word).unwrap_or_default(),
            None if guarded => Security::Allowlist,
            None => Security::Full,
        };
        let ask = match ask_set.as_deref() {
            Some(word) => AskWhen::parse(word).unwrap_or(AskWhen::Always),
            None if guarded => AskWhen::OnMiss,
            None => AskWhen::Off,
        };
        let mut rules = Rules {
            host,
            security: listed.security.unwrap_or(security).min(security),
            ask: listed.ask.unwrap_or(ask).max(ask),
        };
        if let Some(word) = text_of(arguments, &["security"]) {
            let asked = Security::parse(word)
                .ok_or_else(|| ToolError::input("security has to be deny, allowlist or full"))?;
            rules.security = rules.security.min(asked);
        }
        if let Some(word) = text_of(arguments, &["ask"]) {
            let asked = AskWhen::parse(word)
                .ok_or_else(|| ToolError::input("ask has to be off, on-miss or always"))?;
            rules.ask = rules.ask.max(asked);
        }
        Ok(rules)
    }
}

/// Where the call runs: where it was configured, and nowhere else.
fn host(
    context: &Context<'_>,
    session: &Map<String, Value>,
    set: Option<&str>,
    arguments: &Map<String, Value>,
) -> Result<Host, ToolError> {
    let asked = text_of(arguments, &["host"]);
    let elsewhere = |asked: &str| {
        ToolError::new(format!(
            "exec host not allowed (requested {asked}; tools.exec.host says where commands run)"
        ))
    };
    match (set, asked) {
        (Some("sandbox"), _) => Err(ToolError::new(
            "tools.exec.host is sandbox, and this gateway has none; set it to gateway",
        )),
        (Some("node"), None | Some("node")) => {
            let own = session.get("execNode").and_then(Value::as_str);
            let bound = own.or_else(|| setting(context, &["exec", "node"])?.as_str());
            match (bound, text_of(arguments, &["node"])) {
                (Some(bound), Some(asked)) if bound != asked => Err(ToolError::new(format!(
                    "exec node not allowed (requested {asked}; commands run on {bound})"
                ))),
                (Some(node), _) | (None, Some(node)) => Ok(Host::Node(Some(node.into()))),
                (None, None) => Ok(Host::Node(None)),
            }
        }
        (Some("gateway") | None, None | Some("gateway")) => Ok(Host::Gateway),
        (_, Some(asked)) => Err(elsewhere(asked)),
        (Some(other), None) => Err(elsewhere(other)),
    }
}

/// A command as it would run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The words, with the program's name as it was given.
    pub argv: Vec<String>,
    pub program: Program,
    /// A shell runs the line; otherwise the words are executed as they are.
    pub in_shell: bool,
    /// What may be put on the allowlist for it.
    pub pattern: Option<String>,
}

/// What becomes of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Run(Command),
    Ask(Command),
    /// In words for the model.
    Deny(String),
}

/// Judges `line`, to be run in `cwd` with the environment `env`.
pub fn judge(
    rules: &Rules,
    listed: &Policy,
    home: &Path,
    line: &str,
    cwd: &Path,
    env: &BTreeMap<String, String>,
) -> Verdict {
    let path = env.get("PATH").map_or("", String::as_str);
    if rules.security == Security::Deny {
        return Verdict::Deny(SWITCHED_OFF.into());
    }
    let free = rules.is_free();
    if !free && line.chars().any(line::is_odd) {
        let why = "exec denied: the command has invisible characters, which nobody could judge";
        return Verdict::Deny(why.into());
    }
    let plain = if free { None } else { line::words(line) };
    let Some(words) = plain else {
        let Some(command) = shell(line, cwd, env) else {
            return Verdict::Deny("no shell was found to run the command with".into());
        };
        return match (free, rules.ask) {
            (true, _) => Verdict::Run(command),
            (false, AskWhen::Off) => Verdict::Deny(
                "exec denied: with an allowlist, a command is plain words: no operators, no variables, no \
                 patterns, no redirections"
                    .into(),
            ),
            (false, _) => Verdict::Ask(command),
        };
    };
    let name = words[0].clone();
    let Some(program) = Program::find(&name, cwd, path) else {
        return Verdict::Deny(format!("{name}: command not found"));
    };
    let runs_others = program.runs_others(&name);
    let covered = |p: &String| pattern::covers(p, home, &program.listed);
    let on_list = !runs_others && listed.allowlist.iter().any(covered);
    let shown = program.listed.to_str().filter(|p| !p.contains(['*', '?']));
    let pattern = shown.filter(|_| !runs_others).map(str::to_string);
    let denied = format!(
        "exec denied: {} is not on the allowlist",
        program.listed.display()
    );
    let command = Command {
        argv: words,
        program,
        in_shell: false,
        pattern,
    };
    match rules.ask {
        AskWhen::Always => Verdict::Ask(command),
        _ if on_list => Verdict::Run(command),
        AskWhen::OnMiss => Verdict::Ask(command),
        AskWhen::Off => Verdict::Deny(denied),
    }
}

/// `line` as a shell would run it: the user's own one where it is of the common kind.
fn shell(line: &str, cwd: &Path, env: &BTreeMap<String, String>) -> Option<Command> {
    const COMMON: &[&str] = &["bash", "zsh", "sh", "dash", "ash", "ksh"];
    let own = env.get("SHELL").map(String::as_str).unwrap_or_default();
    let name = Path::new(own).file_name().and_then(|n| n.to_str());
    let common = own.starts_with('/') && name.is_some_and(|n| COMMON.contains(&n));
    let own = common.then(|| Program::find(own, cwd, "")).flatten();
    let (name, program) = match own {
        Some(program) => (env.get("SHELL")?.clone(), program),
        None => ("/bin/sh".to_string(), Program::find("/bin/sh", cwd, "")?),
    };
    Some(Command {
        argv: vec![name, "-c".into(), line.into()],
        program,
        in_shell: true,
        pattern: None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::Bench;
    use super::*;
    use serde_json::json;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn rules(
        config: &str,
        session: Value,
        listed: &Policy,
        arguments: Value,
    ) -> Result<Rules, String> {
        let bench = Bench::new(config);
        let (session, arguments) = (session.as_object().unwrap(), arguments.as_object().unwrap());
        Rules::of(&bench.context(), session, listed, arguments).map_err(|e| e.text)
    }

    fn of(config: &str, listed: &Policy, arguments: Value) -> (Security, AskWhen) {
        let rules = rules(config, json!({}), listed, arguments).unwrap();
        (rules.security, rules.ask)
    }

    #[test]
    fn without_a_word_commands_run_and_any_word_guards_them() {
        let none = Policy::default();
        assert_eq!(of("{}", &none, json!({})), (Security::Full, AskWhen::Off));
        let guarded = (Security::Allowlist, AskWhen::OnMiss);
        assert_eq!(
            of("{tools: {exec: {host: 'gateway'}}}", &none, json!({})),
            guarded
        );
        let config = "{tools: {exec: {ask: 'always'}}}";
        assert_eq!(
            of(config, &none, json!({})),
            (Security::Allowlist, AskWhen::Always)
        );
        let listed = Policy {
            security: Some(Security::Deny),
            ..Policy::default()
        };
        assert_eq!(of("{}", &listed, json!({})).0, Security::Deny);
        let loose = Policy {
            security: Some(Security::Full),
            ask: Some(AskWhen::Off),
            ..Policy::default()
        };
        assert_eq!(
            of("{tools: {exec: {host: 'gateway'}}}", &loose, json!({})),
            guarded
        );
        let set = json!({"execSecurity": "full", "execAsk": "off"});
        let own = rules("{tools: {exec: {host: 'gateway'}}}", set, &none, json!({})).unwrap();
        assert_eq!((own.security, own.ask), (Security::Full, AskWhen::Off));
    }

    /// TX-24
    #[test]
    fn a_model_can_tighten_and_never_loosen() {
        let none = Policy::default();
        let strict = "{tools: {exec: {host: 'gateway', security: 'allowlist', ask: 'always'}}}";
        let loosen = json!({"security": "full", "ask": "off", "elevated": true, "host": "gateway"});
        assert_eq!(
            of(strict, &none, loosen),
            (Security::Allowlist, AskWhen::Always)
        );
        let tighten = json!({"security": "deny", "ask": "always"});
        assert_eq!(of("{}", &none, tighten), (Security::Deny, AskWhen::Always));
        for (config, arguments) in [
            (strict, json!({"host": "node"})),
            (strict, json!({"host": "sandbox"})),
            ("{}", json!({"host": "node", "node": "x"})),
            ("{}", json!({"host": "sandbox"})),
            ("{}", json!({"security": "none"})),
            ("{}", json!({"ask": "never"})),
            ("{tools: {exec: {host: 'sandbox'}}}", json!({})),
            (
                "{tools: {exec: {host: 'node'}}}",
                json!({"host": "gateway"}),
            ),
            (
                "{tools: {exec: {host: 'node', node: 'a'}}}",
                json!({"node": "b"}),
            ),
        ] {
            assert!(
                rules(config, json!({}), &none, arguments.clone()).is_err(),
                "{config} {arguments}"
            );
        }
        let node = rules(
            "{tools: {exec: {host: 'node', node: 'a'}}}",
            json!({}),
            &none,
            json!({}),
        );
        assert_eq!(node.unwrap().host, Host::Node(Some("a".into())));
    }

    struct Case {
        bench: Bench,
        env: BTreeMap<String, String>,
        listed: Policy,
    }

    /// Programs of their own, so that it does not matter what the machine has.
    fn case(allowlist: &[&str]) -> Case {
        let bench = Bench::new("{}");
        let bin = bench.path.join("bin");
        fs::create_dir(&bin).unwrap();
        for name in ["echo", "cat", "env", "bash", "python3", "time", "newtool"] {
            fs::write(bin.join(name), "#!/bin/sh\n").unwrap();
            fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let allowlist = allowlist
            .iter()
            .map(|p| p.replace("BIN", bin.to_str().unwrap()));
        Case {
            env: BTreeMap::from([("PATH".to_string(), bin.display().to_string())]),
            listed: Policy {
                allowlist: allowlist.collect(),
                ..Policy::default()
            },
            bench,
        }
    }

    impl Case {
        fn judge(&self, security: Security, ask: AskWhen, line: &str) -> Verdict {
            let rules = Rules {
                host: Host::Gateway,
                security,
                ask,
            };
            let home = &self.bench.path;
            judge(
                &rules,
                &self.listed,
                home,
                line,
                &self.bench.workspace,
                &self.env,
            )
        }

        fn asked(&self, line: &str) -> Command {
            match self.judge(Security::Allowlist, AskWhen::OnMiss, line) {
                Verdict::Ask(command) => command,
                other => panic!("{line:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn listed_programs_run_as_words_and_others_are_asked_about() {
        let case = case(&["BIN/echo"]);
        let Verdict::Run(command) =
            case.judge(Security::Allowlist, AskWhen::OnMiss, "echo 'a b' c")
        else {
            panic!("not run");
        };
        assert_eq!(command.argv, ["echo", "a b", "c"]);
        assert_eq!(command.program.path, case.bench.path.join("bin/echo"));
        let asked = case.asked("cat x");
        assert_eq!(
            asked.pattern.as_deref(),
            case.bench.path.join("bin/cat").to_str()
        );
        let always = case.judge(Security::Allowlist, AskWhen::Always, "echo");
        assert!(matches!(always, Verdict::Ask(_)));
        let off = case.judge(Security::Allowlist, AskWhen::Off, "cat x");
        assert!(matches!(off, Verdict::Deny(_)));
        let deny = case.judge(Security::Deny, AskWhen::Off, "echo");
        assert!(matches!(deny, Verdict::Deny(_)));
        let missing = case.judge(Security::Allowlist, AskWhen::OnMiss, "frobnicate");
        assert_eq!(
            missing,
            Verdict::Deny("frobnicate: command not found".into())
        );
    }

    #[test]
    fn without_a_guard_a_shell_runs_the_line() {
        let case = case(&[]);
        let Verdict::Run(command) = case.judge(Security::Full, AskWhen::OnMiss, "echo $X | cat")
        else {
            panic!("not run");
        };
        assert_eq!(command.argv[1..], ["-c", "echo $X | cat"]);
        let Verdict::Ask(command) = case.judge(Security::Full, AskWhen::Always, "echo a") else {
            panic!("not asked");
        };
        assert_eq!(command.argv, ["echo", "a"]);
    }

    /// TX-05
    #[test]
    fn what_is_not_plain_words_is_asked_about_as_a_whole() {
        let case = case(&["BIN/*", "/bin/*", "/usr/bin/*"]);
        for line in [
            "echo a;touch X",
            "echo a | cat",
            "echo $(id)",
            "echo \"`id`\"",
            "echo a > X",
            "A=b echo",
        ] {
            let asked = case.asked(line);
            assert_eq!(
                (asked.argv.last().unwrap().as_str(), &asked.pattern),
                (line, &None)
            );
            let off = case.judge(Security::Allowlist, AskWhen::Off, line);
            assert!(matches!(off, Verdict::Deny(_)), "{line}");
        }
        for line in [
            "echo a\u{202e}b",
            "echo a\rb",
            "echo \0",
            "cat x\u{200b}; id",
        ] {
            let verdict = case.judge(Security::Allowlist, AskWhen::OnMiss, line);
            assert!(matches!(verdict, Verdict::Deny(_)), "{line:?}");
        }
    }

    /// TX-02, TX-03, TX-06
    #[test]
    fn wrappers_shells_and_interpreters_are_asked_about_though_listed() {
        let case = case(&["BIN/*"]);
        let mut lines: Vec<String> = [
            "time true",
            "bash -lc 'echo hi'",
            "bash --rcfile f -i",
            "python3 s.py",
            "python3 -c 'import os'",
            "env -S'sh -c id'",
            "env --split-string=id",
        ]
        .map(str::to_string)
        .into();
        lines.extend((1..=64).map(|n| format!("{}bash -c id", "env ".repeat(n))));
        for line in lines {
            let asked = case.asked(&line);
            assert_eq!(asked.pattern, None, "{line}");
        }
        assert!(matches!(
            case.judge(Security::Allowlist, AskWhen::OnMiss, "newtool x"),
            Verdict::Run(_)
        ));
    }

    /// TX-01
    #[test]
    fn a_name_does_not_stand_for_any_file_of_that_name() {
        let case = case(&["echo", "BIN/ech?", "/opt/t*/run"]);
        case.bench.put("echo", "#!/bin/sh\n");
        let own = case.bench.workspace.join("echo");
        fs::set_permissions(&own, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(
            case.judge(Security::Allowlist, AskWhen::Off, "echo x"),
            Verdict::Run(_)
        ));
        for line in [
            "./echo x".to_string(),
            own.display().to_string(),
            "ECHO x".into(),
        ] {
            let verdict = case.judge(Security::Allowlist, AskWhen::Off, &line);
            assert!(matches!(verdict, Verdict::Deny(_)), "{line}");
        }
    }
}
