//! `--help`, out of the table in [`super::options`].

use std::fmt::Write as _;

use super::options::{COMMANDS, Command, GLOBAL, Group, Opt};
use super::term::{Term, Tone, columns, wrap};

/// Columns of help, whatever the terminal has.
const WIDTH: usize = 80;
/// Columns of the left side at most; longer entries push their text to the next line.
const LEFT: usize = 28;

/// Help on all commands.
pub fn overview(term: &Term) -> String {
    let mut out = format!("openclaw {}\n\n", crate::VERSION);
    let _ = writeln!(
        out,
        "{} openclaw [options] <command>\n",
        term.paint(Tone::Heading, "Usage:")
    );
    section(&mut out, term, "Options:", &rows(GLOBAL.iter()));
    let groups = [
        (Group::Gateway, "Gateway:"),
        (Group::Agents, "Agents:"),
        (Group::Control, "Devices and schedules:"),
        (Group::Local, "This machine:"),
    ];
    for (group, title) in groups {
        let list: Vec<_> = COMMANDS
            .iter()
            .filter(|c| c.group == group && !c.path.contains(' '))
            .map(|c| (c.path.to_string(), c.about.to_string()))
            .collect();
        section(&mut out, term, title, &list);
    }
    out.push_str("Run `openclaw <command> --help` for a command, `man openclaw` for the manual.\n");
    out
}

/// Help on one command.
pub fn command(term: &Term, c: &Command) -> String {
    let mut usage = format!("openclaw {} [options]", c.path);
    let children: Vec<_> = c
        .children()
        .map(|c| (c.name().to_string(), c.about.to_string()))
        .collect();
    if !children.is_empty() {
        usage.push_str(if c.run.is_some() {
            " [command]"
        } else {
            " <command>"
        });
    }
    for a in c.args {
        let dots = if a.many { "..." } else { "" };
        let _ = match a.required {
            true => write!(usage, " <{}{dots}>", a.name),
            false => write!(usage, " [{}{dots}]", a.name),
        };
    }
    let mut out = format!("{} {usage}\n\n", term.paint(Tone::Heading, "Usage:"));
    for line in wrap(&capital(c.about), WIDTH) {
        let _ = writeln!(out, "{line}");
    }
    out.push('\n');
    let args: Vec<_> = c
        .args
        .iter()
        .map(|a| (a.name.to_string(), a.about.to_string()))
        .collect();
    section(&mut out, term, "Arguments:", &args);
    let mut opts = rows(c.all_options());
    opts.push(("-h, --help".into(), "print help".into()));
    section(&mut out, term, "Options:", &opts);
    section(&mut out, term, "Commands:", &children);
    let exits: Vec<_> = c
        .exits
        .iter()
        .map(|(code, what)| (code.to_string(), (*what).to_string()))
        .collect();
    section(&mut out, term, "Exit status:", &exits);
    if !c.examples.is_empty() {
        let _ = writeln!(out, "{}", term.paint(Tone::Heading, "Examples:"));
        for (line, what) in c.examples {
            let _ = writeln!(out, "  {line}\n    {what}");
        }
        out.push('\n');
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

fn rows<'a>(opts: impl Iterator<Item = &'a Opt>) -> Vec<(String, String)> {
    opts.map(|o| {
        let mut about = o.about.to_string();
        if let Some(d) = o.default {
            let _ = write!(about, " (default {d})");
        }
        if o.many {
            about.push_str(" (may be repeated)");
        }
        if o.required {
            about.push_str(" (required)");
        }
        (o.usage(), about)
    })
    .collect()
}

fn section(out: &mut String, term: &Term, title: &str, rows: &[(String, String)]) {
    if rows.is_empty() {
        return;
    }
    let _ = writeln!(out, "{}", term.paint(Tone::Heading, title));
    let widest = rows.iter().map(|(l, _)| columns(l)).max().unwrap_or(0);
    let left = widest.min(LEFT);
    for (name, about) in rows {
        let mut lines = wrap(about, WIDTH - left - 4).into_iter();
        if columns(name) > left {
            let _ = writeln!(out, "  {name}");
        } else {
            let first = lines.next().unwrap_or_default();
            let _ = writeln!(out, "  {name:left$}  {first}");
        }
        for line in lines {
            let _ = writeln!(out, "  {:left$}  {line}", "");
        }
    }
    out.push('\n');
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(c) => c.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_fits_its_width_and_names_every_option() {
        let term = Term::plain();
        for c in COMMANDS {
            let text = command(&term, c);
            for o in c.all_options() {
                assert!(text.contains(&o.usage()), "{}: {}", c.path, o.long);
            }
            let examples: Vec<_> = c.examples.iter().map(|e| e.0).collect();
            for line in text.lines().filter(|l| !examples.contains(&l.trim())) {
                assert!(columns(line) <= 100, "{}: {line}", c.path);
            }
        }
        let all = overview(&term);
        for c in COMMANDS.iter().filter(|c| !c.path.contains(' ')) {
            assert!(all.contains(c.path), "{}", c.path);
        }
    }
}
