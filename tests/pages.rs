//! The manual pages against the tables that the binary works from: options, methods, events, config keys,
//! exit statuses, environment variables. Parts between `BEGIN generated` and `END generated` are written
//! by `scripts/manual.sh`, which runs this file with `UPDATE_PAGES` set.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use openclaw_gateway::cli::options::{self, Command, Group, Opt};
use openclaw_gateway::config::schema::{self, Field, Form, Kind, Object};
use openclaw_gateway::methods::{self, Access};
use openclaw_gateway::protocol::event::{Audience, Event};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join("man").join(name))
        .unwrap_or_else(|error| panic!("man/{name}: {error}"))
}

/// Text for a line of mdoc: no escapes, no control line, quotes as quotes.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut quoted = false;
    for letter in text.chars() {
        match letter {
            '\\' => out.push_str("\\e"),
            '"' => out.push_str("\\(dq"),
            '`' => {
                out.push_str(if quoted { "\\(rq" } else { "\\(lq" });
                quoted = !quoted;
            }
            other => out.push(other),
        }
    }
    if out.starts_with(['.', '\'']) {
        format!("\\&{out}")
    } else {
        out
    }
}

/// A sentence with a capital and a full stop.
fn sentence(text: &str) -> String {
    let text = text.trim().trim_end_matches('.');
    let mut letters = text.chars();
    let first = letters
        .next()
        .map(|c| c.to_uppercase().to_string())
        .unwrap_or_default();
    plain(&format!("{first}{}.", letters.as_str()))
}

/// Compares a generated part of a page with what it has to be, or writes it.
#[track_caller]
fn check(name: &str, part: &str, expected: &str) {
    let text = page(name);
    let (begin, end) = (
        format!(".\\\" BEGIN generated: {part}\n"),
        ".\\\" END generated\n",
    );
    let start = text
        .find(&begin)
        .unwrap_or_else(|| panic!("man/{name} has no part {part:?}"))
        + begin.len();
    let stop = start + text[start..].find(end).expect("an end of the part");
    if std::env::var_os("UPDATE_PAGES").is_some() {
        let text = format!("{}{expected}{}", &text[..start], &text[stop..]);
        fs::write(root().join("man").join(name), text).expect("write the page");
        return;
    }
    assert!(
        text[start..stop] == *expected,
        "man/{name}, part {part:?}, is not up to date: run scripts/manual.sh"
    );
}

fn option(option: &Opt) -> String {
    let short = option
        .short
        .map(|short| format!("Fl {short} , "))
        .unwrap_or_default();
    let value = option
        .value
        .map(|value| format!(" Ar {value}"))
        .unwrap_or_default();
    let default = option
        .default
        .map(|default| format!("The default is {default}.\n"))
        .unwrap_or_default();
    format!(
        ".It {short}Fl -{}{value}\n{}\n{default}",
        option.long,
        sentence(option.about)
    )
}

fn gateway_command() -> &'static Command {
    options::find("gateway").expect("the gateway command")
}

/// What a value may be, for the manual.
fn kind(kind: &Kind) -> String {
    let range = |min: Option<f64>, above: Option<f64>, max: Option<f64>| {
        let mut text = String::new();
        for (word, bound) in [("from", min), ("above", above), ("up to", max)] {
            if let Some(bound) = bound {
                text.push_str(&format!(" {word} {bound}"));
            }
        }
        text
    };
    match kind {
        Kind::Bool => "boolean".into(),
        Kind::Text(Form::Url | Form::HttpUrl) => "URL".into(),
        Kind::Text(_) => "string".into(),
        Kind::Number(bounds) => {
            format!(
                "{}{}",
                if bounds.whole { "integer" } else { "number" },
                range(bounds.min, bounds.above, bounds.max)
            )
        }
        Kind::Word(words) | Kind::Choice(words) => words.join(" | "),
        Kind::OneOfNumbers(numbers) => numbers
            .iter()
            .map(i64::to_string)
            .collect::<Vec<_>>()
            .join(" | "),
        Kind::False => "false".into(),
        Kind::List(of) => format!("list of {}", self::kind(of)),
        Kind::Map(of) => format!("map of {}", self::kind(of)),
        Kind::Object(_) => "object".into(),
        Kind::Either(kinds) => kinds.iter().map(self::kind).collect::<Vec<_>>().join(" | "),
        Kind::Any => "anything".into(),
    }
}

fn key(path: &str, field: &Field) -> String {
    let mut lines = format!(
        ".It Va {path} Pq {}\n",
        plain(&kind(&field.kind)).replace(" | ", " No | ")
    );
    if !field.about.is_empty() {
        lines.push_str(&format!("{}\n", sentence(field.about)));
    }
    let default = field.default.text();
    if !default.is_empty() {
        lines.push_str(&format!("The default is {}.\n", plain(default)));
    }
    if field.unused {
        lines.push_str("Accepted, without effect here.\n");
    }
    lines
}

fn keys(prefix: &str, object: &'static Object, out: &mut String) {
    for field in object.all() {
        let path = format!("{prefix}{}", field.name);
        match &field.kind {
            Kind::Object(inner) => keys(&format!("{path}."), inner, out),
            _ => out.push_str(&key(&path, field)),
        }
    }
}

#[test]
fn the_options_of_the_gateway() {
    let mut all: Vec<&Opt> = gateway_command().all_options().collect();
    all.sort_by_key(|option| option.long);
    let text: String = all.iter().map(|one| option(one)).collect();
    check("openclaw-gateway.1", "gateway options", &text);
    // The synopsis names them as well.
    let page = page("openclaw-gateway.1");
    let synopsis = page.split(".Sh DESCRIPTION").next().expect("synopsis");
    for option in all {
        assert!(
            synopsis.contains(&format!("Fl -{}", option.long)),
            "--{} is not in the synopsis",
            option.long
        );
    }
}

/// Options that openclaw(1) describes once for all commands.
fn common() -> Vec<&'static Opt> {
    let tables = [options::JSON, options::CONNECT, options::TIMEOUT];
    tables.into_iter().flatten().collect()
}

/// A command with its own options and arguments, as an item of a list.
fn command(command: &Command) -> String {
    let mut line = format!(".It Cm {}", command.path);
    for other in command.aliases {
        line.push_str(&format!(" | {other}"));
    }
    let shared = common();
    for option in command
        .all_options()
        .filter(|option| !shared.iter().any(|one| one.long == option.long))
    {
        let value = option
            .value
            .map(|value| format!(" Ar {value}"))
            .unwrap_or_default();
        line.push_str(&match option.required {
            true => format!(" Fl -{}{value}", option.long),
            false => format!(" Oo Fl -{}{value} Oc", option.long),
        });
    }
    for argument in command.args {
        let dots = if argument.many { " ..." } else { "" };
        line.push_str(&match argument.required {
            true => format!(" Ar {}{dots}", argument.name),
            false => format!(" Oo Ar {}{dots} Oc", argument.name),
        });
    }
    format!("{line}\n{}\n", sentence(command.about))
}

#[test]
fn the_commands() {
    let shared: String = common().into_iter().map(option).collect();
    check("openclaw.1", "common options", &shared);
    let global: String = options::GLOBAL.iter().map(option).collect();
    check("openclaw.1", "global options", &global);
    let mut text = String::new();
    for (group, title) in [
        (Group::Gateway, "Gateway"),
        (Group::Agents, "Agents"),
        (Group::Control, "Devices and schedules"),
        (Group::Local, "This machine"),
    ] {
        text.push_str(&format!(".Ss {title}\n.Bl -tag -width Ds\n"));
        for one in options::COMMANDS {
            // Heads of subcommands say nothing by themselves; the daemon has its own page.
            if one.group == group && one.run.is_some() && !one.path.ends_with("gateway run") {
                match one.path {
                    "gateway" => text.push_str(
                        ".It Cm gateway Op Cm run\nRun the gateway in the foreground; see\n.Xr openclaw-gateway 1 .\n",
                    ),
                    _ => text.push_str(&command(one)),
                }
            }
        }
        text.push_str(".El\n");
    }
    check("openclaw.1", "commands", &text);
}

#[test]
fn every_option_of_every_command_is_in_a_page() {
    let pages = page("openclaw.1") + &page("openclaw-gateway.1");
    for option in options::GLOBAL.iter().chain(
        options::COMMANDS
            .iter()
            .flat_map(|command| command.all_options()),
    ) {
        assert!(
            pages.contains(&format!("Fl -{}", option.long)),
            "--{} is in no page",
            option.long
        );
    }
    for command in options::COMMANDS {
        let words = format!("Cm {}", command.path);
        let last = format!("Cm {}", command.name());
        assert!(
            pages.contains(&words) || pages.contains(&last),
            "{} is in no page",
            command.path
        );
    }
}

#[test]
fn the_methods() {
    let mut all: Vec<_> = methods::all().collect();
    all.sort_by_key(|method| method.name);
    let text: String = all
        .iter()
        .map(|method| {
            let who = match method.access {
                Access::Anyone => "anyone".to_string(),
                Access::Operator(scope) => scope.as_str().to_string(),
                Access::Node => "nodes".to_string(),
            };
            format!(
                ".It Cm {} Pq {who}\n{}\n",
                method.name,
                sentence(method.about)
            )
        })
        .collect();
    check("openclaw-protocol.7", "methods", &text);
}

#[test]
fn the_events() {
    let text: String = Event::ALL
        .iter()
        .map(|event| {
            let who = match event.audience() {
                Audience::Everyone => "everyone".to_string(),
                Audience::Operators(scope) => scope.as_str().to_string(),
                Audience::Targeted => "one connection".to_string(),
            };
            let droppable = if event.droppable() { ", droppable" } else { "" };
            format!(
                ".It Cm {} Pq {who}{droppable}\n{}\n",
                event.name(),
                sentence(event.about())
            )
        })
        .collect();
    check("openclaw-protocol.7", "events", &text);
}

#[test]
fn the_error_codes() {
    use openclaw_gateway::protocol::ErrorCode;
    let page = page("openclaw-protocol.7");
    for code in [
        ErrorCode::InvalidRequest,
        ErrorCode::Unavailable,
        ErrorCode::NotPaired,
        ErrorCode::NotLinked,
        ErrorCode::AgentTimeout,
    ] {
        assert!(
            page.contains(&format!(".It Er {}\n", code.as_str())),
            "{} is missing",
            code.as_str()
        );
    }
}

#[test]
fn the_config_sections_and_the_keys_of_the_gateway() {
    let (unused, used): (Vec<&Field>, Vec<&Field>) =
        schema::root().all().partition(|field| field.unused);
    let mut sections: String = used
        .iter()
        .map(|field| {
            assert!(
                !field.about.is_empty(),
                "nothing is said about {}",
                field.name
            );
            format!(".It Va {}\n{}\n", field.name, sentence(field.about))
        })
        .collect();
    let names: Vec<&str> = unused.iter().map(|field| field.name).collect();
    sections.push_str(&format!(
        ".It Va {}\nAccepted, without effect here.\n",
        names.join(" , ")
    ));
    check("openclaw.json.5", "sections", &sections);

    let mut text = String::new();
    match schema::root().field("gateway").map(|field| &field.kind) {
        Some(Kind::Object(object)) => keys("gateway.", object, &mut text),
        _ => panic!("no section gateway"),
    }
    check("openclaw.json.5", "gateway keys", &text);
}

#[test]
fn the_exit_statuses() {
    for (name, statuses) in [
        (
            "openclaw-gateway.1",
            vec![
                options::EXIT_OK,
                options::EXIT_FAILED,
                options::EXIT_USAGE,
                options::EXIT_CONFIG,
            ],
        ),
        (
            "openclaw.1",
            vec![options::EXIT_OK, options::EXIT_FAILED, options::EXIT_USAGE],
        ),
    ] {
        let page = page(name);
        let section = page
            .split(".Sh EXIT STATUS")
            .nth(1)
            .and_then(|rest| rest.split(".Sh ").next())
            .expect(name);
        for status in statuses {
            assert!(
                section.contains(&format!(".It {status}\n")),
                "{name}: exit status {status} is missing"
            );
        }
    }
}

/// Names of variables in string literals below `folder`. Names that a file may not set are no variables that
/// somebody reads, hence not config/env.rs.
fn variables(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("source folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            variables(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !path.ends_with("config/env.rs")
        {
            let text = fs::read_to_string(&path).expect("source");
            // Unit tests may make up names.
            let text = text.split("#[cfg(test)]").next().unwrap_or_default();
            for piece in text.split("\"OPENCLAW_").skip(1) {
                let name: String = piece
                    .chars()
                    .take_while(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || *c == '_')
                    .collect();
                if piece[name.len()..].starts_with('"') {
                    found.insert(format!("OPENCLAW_{name}"));
                }
            }
        }
    }
}

#[test]
fn the_environment_variables() {
    let mut names = BTreeSet::new();
    variables(&root().join("src"), &mut names);
    assert!(names.contains("OPENCLAW_STATE_DIR"), "{names:?}");
    let pages = page("openclaw.1") + &page("openclaw-gateway.1");
    let missing: Vec<_> = names
        .iter()
        .filter(|name| !pages.contains(&format!("Ev {name}")))
        .collect();
    assert!(missing.is_empty(), "in no page: {missing:?}");
}
