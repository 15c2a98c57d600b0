//! What the log is to be: the config's `logging` section, the environment and the command line put together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use env_logger::Builder;
use log::LevelFilter;
use serde_json::Value;

use super::{DEFAULT_MAX_FILE_BYTES, Place, Style};
use crate::sys::os;

/// Libraries that log frames and bodies at their lower levels: shown from warnings on, whatever the level.
const LIBRARIES: [&str; 6] = [
    "tungstenite",
    "ureq",
    "ureq_proto",
    "rustls",
    "tiny_http",
    "mio",
];

/// Which records pass: a level, and other levels for subsystems by the start of their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    level: LevelFilter,
    subsystems: Vec<(String, LevelFilter)>,
}

impl Filter {
    /// `level` for everything.
    pub fn level(level: LevelFilter) -> Filter {
        Filter {
            level,
            subsystems: Vec::new(),
        }
    }

    /// Reads `info` or `info,gateway/ws=debug,…`. `None` when a word is no level.
    ///
    /// `fatal` is `silent`: what ends the process is said on standard error, not logged.
    pub fn parse(text: &str) -> Option<Filter> {
        let mut filter = Filter::level(LevelFilter::Info);
        for (i, part) in text.split(',').enumerate() {
            match part.split_once('=') {
                Some((name, level)) => {
                    let level = parse_level(level)?;
                    filter.subsystems.push((name.trim().to_string(), level));
                }
                None if i == 0 => filter.level = parse_level(part)?,
                None => return None,
            }
        }
        Some(filter)
    }

    pub(super) fn apply(&self, builder: &mut Builder) {
        builder.filter_level(self.level);
        for name in LIBRARIES {
            builder.filter_module(name, self.level.min(LevelFilter::Warn));
        }
        for (name, level) in &self.subsystems {
            builder.filter_module(name, *level);
        }
    }
}

fn parse_level(word: &str) -> Option<LevelFilter> {
    Some(match word.trim().to_ascii_lowercase().as_str() {
        "silent" | "fatal" => LevelFilter::Off,
        "error" => LevelFilter::Error,
        "warn" => LevelFilter::Warn,
        "info" => LevelFilter::Info,
        "debug" => LevelFilter::Debug,
        "trace" => LevelFilter::Trace,
        _ => return None,
    })
}

/// How the process logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub place: Place,
    /// Bytes of one file; [`super::KEPT_FILES`] full ones are kept beside it.
    pub max_file_bytes: u64,
    pub file_filter: Filter,
    pub console_filter: Filter,
    pub style: Style,
    /// Colours on standard output, on standard error.
    pub color: (bool, bool),
}

impl Settings {
    /// No console and no file; the level is info.
    pub fn quiet() -> Settings {
        Settings {
            place: Place::None,
            max_file_bytes: DEFAULT_MAX_FILE_BYTES,
            file_filter: Filter::level(LevelFilter::Info),
            console_filter: Filter::level(LevelFilter::Off),
            style: Style::Compact,
            color: (false, false),
        }
    }

    /// The settings that the config's `logging` section (`null` when there is none), the environment and
    /// `--verbose` ask for, with a warning for each value that is not used.
    ///
    /// Makes the default log folder when it is needed.
    pub fn resolve(
        logging: &Value,
        env: &BTreeMap<String, String>,
        verbose: bool,
    ) -> (Settings, Vec<String>) {
        let mut warnings = Vec::new();
        let text = |key: &str| {
            logging[key]
                .as_str()
                .map(str::trim)
                .filter(|s| !s.is_empty())
        };
        let mut level = |key: &str, from: Option<&str>| {
            let from = from?;
            let filter = Filter::parse(from);
            if filter.is_none() {
                warnings.push(format!(
                    "{key} is not a level and is ignored; use silent, fatal, error, warn, info, debug or trace"
                ));
            }
            filter
        };
        let info = || Filter::level(LevelFilter::Info);
        let word = env.get("OPENCLAW_LOG_LEVEL").map(|w| w.trim());
        let forced = level("OPENCLAW_LOG_LEVEL", word.filter(|w| !w.is_empty()));
        let file_filter = level("logging.level", text("level")).unwrap_or_else(info);
        let mut console_filter =
            level("logging.consoleLevel", text("consoleLevel")).unwrap_or_else(info);
        if verbose {
            console_filter.level = console_filter.level.max(LevelFilter::Debug);
        }
        let terminal = (os::is_terminal(1), os::is_terminal(2));
        let style = match text("consoleStyle") {
            Some("pretty") => Style::Pretty,
            Some("compact") => Style::Compact,
            Some("json") => Style::Json,
            _ if terminal.0 => Style::Pretty,
            _ => Style::Compact,
        };
        if logging["redactPatterns"]
            .as_array()
            .is_some_and(|p| !p.is_empty())
        {
            warnings.push(
                "logging.redactPatterns is not supported (regular expressions); the built-in patterns are used".into(),
            );
        }
        let temp = env.get("TMPDIR").map_or("/tmp", String::as_str);
        let place = match text("file") {
            Some(file) => Place::Fixed(expand_home(file, env)),
            None => Place::default_rolling(Path::new(temp)),
        };
        let settings = Settings {
            place,
            max_file_bytes: logging["maxFileBytes"]
                .as_u64()
                .unwrap_or(DEFAULT_MAX_FILE_BYTES),
            file_filter: forced.clone().unwrap_or(file_filter),
            console_filter: forced.unwrap_or(console_filter),
            style,
            color: (wants_color(env, terminal.0), wants_color(env, terminal.1)),
        };
        if settings.place == Place::None {
            warnings.push("no private folder for the log file; set logging.file, until then the console has it all".into());
        }
        (settings, warnings)
    }
}

/// Whether to colour a stream: `FORCE_COLOR`, then `NO_COLOR`, then whether it is a terminal that can.
pub fn wants_color(env: &BTreeMap<String, String>, terminal: bool) -> bool {
    let set = |name: &str| env.get(name).map(String::as_str).filter(|v| !v.is_empty());
    match (set("FORCE_COLOR"), set("NO_COLOR")) {
        (Some(force), _) => force != "0" && force != "false",
        (None, Some(_)) => false,
        (None, None) => terminal && set("TERM") != Some("dumb"),
    }
}

fn expand_home(path: &str, env: &BTreeMap<String, String>) -> PathBuf {
    match (path.strip_prefix("~/"), env.get("HOME")) {
        (Some(rest), Some(home)) => Path::new(home).join(rest),
        _ => PathBuf::from(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect()
    }

    #[test]
    fn config_then_flag_then_environment() {
        let logging = json!({"level": "warn", "consoleLevel": "error", "consoleStyle": "json",
                             "file": "~/gw.log", "maxFileBytes": 100_000});
        let (s, w) = Settings::resolve(&logging, &env(&[("HOME", "/h")]), false);
        assert!(w.is_empty(), "{w:?}");
        assert_eq!(s.file_filter.level, LevelFilter::Warn);
        assert_eq!(s.console_filter.level, LevelFilter::Error);
        assert_eq!((s.style, s.max_file_bytes), (Style::Json, 100_000));
        assert_eq!(s.place, Place::Fixed("/h/gw.log".into()));
        let (s, _) = Settings::resolve(&logging, &env(&[]), true);
        assert_eq!(s.console_filter.level, LevelFilter::Debug);
        assert_eq!(s.file_filter.level, LevelFilter::Warn);
        let (s, _) = Settings::resolve(&logging, &env(&[("OPENCLAW_LOG_LEVEL", "trace")]), true);
        assert_eq!(s.console_filter.level, LevelFilter::Trace);
        assert_eq!(s.file_filter.level, LevelFilter::Trace);
    }

    #[test]
    fn what_is_not_used_is_said() {
        let logging = json!({"file": "/f", "level": "loud", "redactPatterns": ["x"]});
        let (s, w) = Settings::resolve(&logging, &env(&[("OPENCLAW_LOG_LEVEL", "loud")]), false);
        assert_eq!(w.len(), 3, "{w:?}");
        assert_eq!(s.file_filter, Filter::level(LevelFilter::Info));
    }

    #[test]
    fn colours() {
        assert!(wants_color(&env(&[]), true));
        assert!(!wants_color(&env(&[]), false));
        assert!(!wants_color(&env(&[("TERM", "dumb")]), true));
        assert!(!wants_color(&env(&[("NO_COLOR", "1")]), true));
        assert!(wants_color(
            &env(&[("NO_COLOR", "1"), ("FORCE_COLOR", "1")]),
            false
        ));
        assert!(!wants_color(&env(&[("FORCE_COLOR", "0")]), true));
        assert!(wants_color(&env(&[("NO_COLOR", "")]), true));
    }
}
