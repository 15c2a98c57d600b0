//! Words of the command line into a command and its options, by the table in [`super::options`].

use std::collections::BTreeMap;
use std::ffi::OsString;

use lexopt::Arg::{Long, Short, Value};

use super::failure::Failure;
use super::options::{self, Command, GLOBAL, Opt};

/// What stood before the command word.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Globals {
    pub dev: bool,
    pub profile: Option<String>,
    pub no_color: bool,
    pub log_level: Option<String>,
}

/// What the command line asks for.
pub enum Parsed {
    /// No command at all.
    Nothing,
    Version,
    /// Help on a command, or on all of them.
    Help(Option<&'static Command>),
    Run(&'static Command, Args),
}

/// The options and arguments of a command, checked against its table.
#[derive(Debug, Default)]
pub struct Args {
    defaults: BTreeMap<&'static str, &'static str>,
    known: Vec<&'static str>,
    values: BTreeMap<&'static str, Vec<String>>,
    words: Vec<String>,
}

impl Args {
    /// Whether the switch was given.
    pub fn flag(&self, long: &str) -> bool {
        self.known(long);
        self.values.contains_key(long)
    }

    /// The value of the option, or its default.
    pub fn get(&self, long: &str) -> Option<&str> {
        self.given(long)
            .or_else(|| self.defaults.get(long).copied())
    }

    /// The value of the option when it was given; the last one when it was given twice.
    pub fn given(&self, long: &str) -> Option<&str> {
        self.known(long);
        self.values.get(long)?.last().map(String::as_str)
    }

    /// All values of an option that may be repeated.
    pub fn all(&self, long: &str) -> &[String] {
        self.known(long);
        self.values.get(long).map_or(&[], Vec::as_slice)
    }

    /// The value as a whole number of 1 or more.
    pub fn positive(&self, long: &str) -> Result<Option<u64>, Failure> {
        match self.get(long) {
            None => Ok(None),
            Some(text) => match text.trim().parse::<u64>() {
                Ok(n) if n > 0 => Ok(Some(n)),
                _ => Err(Failure::new(format!(
                    "Invalid --{long} (use a whole number above 0)"
                ))),
            },
        }
    }

    /// The arguments without dashes.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// The argument at that place.
    pub fn word(&self, at: usize) -> Option<&str> {
        self.words.get(at).map(String::as_str)
    }

    /// A question for an option that is not in the command's table is a mistake of ours.
    fn known(&self, long: &str) {
        debug_assert!(self.known.contains(&long), "--{long} is in no table");
    }
}

/// Reads the words after the program's name.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<(Globals, Parsed), Failure> {
    let mut parser = lexopt::Parser::from_args(words);
    let mut globals = Globals::default();
    let command = loop {
        match parser.next().map_err(broken)? {
            None => return Ok((globals, Parsed::Nothing)),
            Some(Long("version") | Short('V' | 'v')) => return Ok((globals, Parsed::Version)),
            Some(Long("help") | Short('h')) => return Ok((globals, Parsed::Help(None))),
            Some(Long("dev")) => globals.dev = true,
            Some(Long("no-color")) => globals.no_color = true,
            Some(Long("profile")) => match parser.value() {
                Ok(v) => globals.profile = Some(text(v)?),
                Err(_) => return Err(Failure::usage("[openclaw] --profile requires a value")),
            },
            Some(Long("log-level")) => globals.log_level = Some(value(&mut parser, &GLOBAL[3])?),
            Some(Long(name)) => return Err(unknown(&format!("--{name}"))),
            Some(Short(c)) => return Err(unknown(&format!("-{c}"))),
            Some(Value(word)) => break text(word)?,
        }
    };
    let parsed = match command.as_str() {
        "help" => help_on(&mut parser)?,
        word => match options::find(word) {
            Some(command) => of_command(&mut parser, command, &mut globals)?,
            None => return Err(no_such_command(word)),
        },
    };
    Ok((globals, parsed))
}

/// `help [command words]`.
fn help_on(parser: &mut lexopt::Parser) -> Result<Parsed, Failure> {
    let mut path = String::new();
    while let Some(next) = parser.next().map_err(broken)? {
        if let Value(word) = next {
            if !path.is_empty() {
                path.push(' ');
            }
            path.push_str(&text(word)?);
        }
    }
    match options::find(&path) {
        Some(command) => Ok(Parsed::Help(Some(command))),
        None if path.is_empty() => Ok(Parsed::Help(None)),
        None => Err(no_such_command(&path)),
    }
}

fn of_command(
    parser: &mut lexopt::Parser,
    mut command: &'static Command,
    globals: &mut Globals,
) -> Result<Parsed, Failure> {
    let mut given: Vec<(&'static Opt, Option<String>)> = Vec::new();
    let mut words: Vec<String> = Vec::new();
    while let Some(next) = parser.next().map_err(broken)? {
        let (opt, name) = match next {
            Long("help") | Short('h') => return Ok(Parsed::Help(Some(command))),
            Long(name) => (command.option(name), format!("--{name}")),
            Short(c) => (
                command.all_options().find(|o| o.short == Some(c)),
                format!("-{c}"),
            ),
            Value(word) => {
                let word = text(word)?;
                let child = command.children().find(|c| c.is_called(&word));
                match child.filter(|_| words.is_empty()) {
                    Some(child) => command = child,
                    None if command.run.is_none() => return Err(no_such_command(&word)),
                    None => words.push(word),
                }
                continue;
            }
        };
        match opt {
            Some(o) if o.value.is_some() => given.push((o, Some(value(parser, o)?))),
            Some(o) => given.push((o, None)),
            None if name == "--no-color" => globals.no_color = true,
            None if name == "--log-level" => {
                globals.log_level = Some(value(parser, &GLOBAL[3])?);
            }
            None => return Err(unknown(&name)),
        }
    }
    if command.run.is_none() {
        return Ok(Parsed::Help(Some(command)));
    }
    check(command, given, words).map(|args| Parsed::Run(command, args))
}

/// Holds what was given against the table of the command that it is finally for.
fn check(
    command: &'static Command,
    given: Vec<(&'static Opt, Option<String>)>,
    words: Vec<String>,
) -> Result<Args, Failure> {
    let mut args = Args::default();
    for o in command.all_options() {
        args.known.push(o.long);
        if let Some(d) = o.default {
            args.defaults.insert(o.long, d);
        }
    }
    for (o, v) in given {
        // An option that stood before a subcommand's word counts for the subcommand.
        match command.option(o.long) {
            Some(own) if own.value.is_some() == v.is_some() => {
                args.values.entry(own.long).or_default().extend(v);
            }
            _ => return Err(unknown(&format!("--{}", o.long))),
        }
    }
    let most = match command.args.last() {
        Some(last) if last.many => usize::MAX,
        _ => command.args.len(),
    };
    if words.len() > most {
        let plural = if most == 1 { "argument" } else { "arguments" };
        return Err(Failure::new(format!(
            "error: too many arguments for '{}'. Expected {most} {plural} but got {}.",
            command.name(),
            words.len()
        )));
    }
    if let Some(missing) = command.args.get(words.len()).filter(|a| a.required) {
        let name = missing.name;
        return Err(Failure::new(format!(
            "error: missing required argument '{name}'"
        )));
    }
    if let Some(missing) = command
        .all_options()
        .find(|o| o.required && !args.values.contains_key(o.long))
    {
        let usage = missing.usage();
        return Err(Failure::new(format!(
            "error: required option '{usage}' not specified"
        )));
    }
    args.words = words;
    Ok(args)
}

fn value(parser: &mut lexopt::Parser, opt: &Opt) -> Result<String, Failure> {
    match parser.value() {
        Ok(v) => text(v),
        Err(_) => Err(Failure::new(format!(
            "error: option '{}' argument missing",
            opt.usage()
        ))),
    }
}

fn text(word: OsString) -> Result<String, Failure> {
    word.into_string()
        .map_err(|w| Failure::new(format!("error: '{}' is not UTF-8", w.to_string_lossy())))
}

fn unknown(option: &str) -> Failure {
    Failure::usage(format!("error: unknown option '{option}'"))
}

fn no_such_command(word: &str) -> Failure {
    Failure::new(format!("error: unknown command '{word}'"))
}

fn broken(e: lexopt::Error) -> Failure {
    Failure::usage(format!("error: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<(Globals, Parsed), Failure> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn refused(line: &str) -> (u8, String) {
        let f = read(line).err().unwrap_or_else(|| panic!("{line}"));
        (f.code, f.text)
    }

    fn ran(line: &str) -> (&'static str, Args) {
        match read(line) {
            Ok((_, Parsed::Run(c, args))) => (c.path, args),
            Ok(_) => panic!("{line}: not a command"),
            Err(f) => panic!("{line}: {f}"),
        }
    }

    #[test]
    fn options_that_do_not_exist_end_with_2_everywhere() {
        for line in [
            "--frobnicate health",
            "health --frobnicate",
            "health -x",
            "gateway health --frobnicate",
            "--profile",
        ] {
            assert_eq!(refused(line).0, 2, "{line}");
        }
        let text = "error: unknown option '--frobnicate'";
        assert_eq!(refused("health --frobnicate").1, text);
    }

    #[test]
    fn commands_and_arguments_that_do_not_fit_end_with_1() {
        for (line, text) in [
            ("frobnicate", "error: unknown command 'frobnicate'"),
            ("help frobnicate", "error: unknown command 'frobnicate'"),
            (
                "health x",
                "error: too many arguments for 'health'. Expected 0 arguments but got 1.",
            ),
            ("gateway call", "error: missing required argument 'method'"),
            (
                "health --timeout",
                "error: option '--timeout <ms>' argument missing",
            ),
        ] {
            assert_eq!(refused(line), (1, text.to_string()), "{line}");
        }
    }

    #[test]
    fn globals_stand_before_the_command() {
        let (globals, _) = read("--dev --no-color --log-level debug health").unwrap();
        assert!(globals.dev && globals.no_color);
        assert_eq!(globals.log_level.as_deref(), Some("debug"));
        let (globals, _) = read("health --no-color --log-level=warn").unwrap();
        assert!(globals.no_color && globals.log_level.as_deref() == Some("warn"));
        assert_eq!(refused("health --dev").0, 2);
        assert_eq!(refused("health --profile x").0, 2);
    }

    #[test]
    fn values_defaults_and_repetitions() {
        let (path, args) = ran("gateway call health --params={} --timeout 5 --timeout 7");
        assert_eq!(path, "gateway call");
        assert_eq!(args.word(0), Some("health"));
        assert_eq!(args.given("params"), Some("{}"));
        assert_eq!(args.positive("timeout").unwrap(), Some(7));
        assert!(!args.flag("json") && args.given("url").is_none());
        let (_, args) = ran("gateway call -- --odd");
        assert_eq!(
            (args.word(0), args.get("timeout")),
            (Some("--odd"), Some("10000"))
        );
        let (_, args) = ran("health --timeout abc");
        assert_eq!(args.positive("timeout").unwrap_err().code, 1);
    }

    #[test]
    fn help_and_version_win_over_what_follows() {
        assert!(matches!(read("").unwrap().1, Parsed::Nothing));
        for line in ["--version", "-V", "-v", "--dev --version"] {
            assert!(matches!(read(line).unwrap().1, Parsed::Version), "{line}");
        }
        assert!(matches!(read("help").unwrap().1, Parsed::Help(None)));
        for line in [
            "gateway call --help",
            "help gateway call",
            "gateway call -h x y",
        ] {
            match read(line).unwrap().1 {
                Parsed::Help(Some(c)) => assert_eq!(c.path, "gateway call", "{line}"),
                _ => panic!("{line}"),
            }
        }
    }
}
