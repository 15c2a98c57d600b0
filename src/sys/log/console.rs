//! The console: which records are shown, on which stream, and how a line looks.

use std::io::Write as _;

use env_logger::{Logger, Target};
use log::{Level, LevelFilter, Log as _, Record};

use super::Filter;
use crate::sys::clock;

/// How a console line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// `16:24:13 [reload] message`, for people at a terminal.
    Pretty,
    /// `2026-11-22T16:24:17.945Z [gateway] message`.
    Compact,
    /// One JSON object a line.
    Json,
}

/// Standard output for what is well, standard error for warnings and errors.
pub struct Console {
    out: Logger,
    err: Logger,
}

impl Console {
    /// A console that shows what `filter` lets through; `color` for standard output and standard error.
    pub fn new(filter: &Filter, style: Style, color: (bool, bool)) -> Console {
        let stream = |target, color| {
            let mut builder = env_logger::Builder::new();
            filter.apply(&mut builder);
            builder
                .target(target)
                .format(move |out, record| {
                    let message = record.args().to_string();
                    let line = render(
                        style,
                        color,
                        clock::now_ms(),
                        record.level(),
                        record.target(),
                        &message,
                    );
                    out.write_all(line.as_bytes())
                })
                .build()
        };
        Console {
            out: stream(Target::Stdout, color.0),
            err: stream(Target::Stderr, color.1),
        }
    }

    /// The most detailed level that is shown anywhere.
    pub fn max_level(&self) -> LevelFilter {
        self.out.filter()
    }

    /// Whether `record` is shown.
    pub fn shows(&self, record: &Record<'_>) -> bool {
        self.out.matches(record)
    }

    /// Prints `record`, whose target is the subsystem and whose text is clean. A closed stream is no error.
    pub fn print(&self, record: &Record<'_>) {
        if record.level() <= Level::Warn {
            self.err.log(record);
        } else {
            self.out.log(record);
        }
    }
}

/// One line with its line feed.
fn render(
    style: Style,
    color: bool,
    now: u64,
    level: Level,
    subsystem: &str,
    message: &str,
) -> String {
    let time = clock::iso(now);
    if style == Style::Json {
        let level = level.as_str().to_ascii_lowercase();
        let line = serde_json::json!({
            "time": time, "level": level, "subsystem": subsystem, "message": message,
        });
        return format!("{line}\n");
    }
    let name = short_name(subsystem);
    let message = without_label(message, &name);
    let time = match style {
        Style::Pretty => time.get(11..19).unwrap_or_default(),
        _ => &time,
    };
    if !color {
        return format!("{time} [{name}] {message}\n");
    }
    let tint = |code: u8, text: &str| format!("\x1b[{code}m{text}\x1b[39m");
    format!(
        "{} {} {}\n",
        tint(GREY, time),
        tint(name_color(&name), &format!("[{name}]")),
        tint(level_color(level), message),
    )
}

const GREY: u8 = 90;
/// Colours of the brackets: cyan, green, yellow, blue, magenta, red.
const NAME_COLORS: [u8; 6] = [36, 32, 33, 34, 35, 31];

fn level_color(level: Level) -> u8 {
    match level {
        Level::Error => 31,
        Level::Warn => 33,
        Level::Info => 36,
        Level::Debug | Level::Trace => GREY,
    }
}

/// The same colour for the same name, always.
fn name_color(name: &str) -> u8 {
    let hash = name
        .bytes()
        .fold(0usize, |h, b| h.wrapping_mul(31).wrapping_add(b.into()));
    NAME_COLORS[hash % NAME_COLORS.len()]
}

/// A subsystem as it is shown in brackets: without leading `gateway`, `channels`, `providers` (unless nothing
/// is left), its last two segments; of a channel its name alone.
fn short_name(subsystem: &str) -> String {
    let all: Vec<&str> = subsystem.split('/').filter(|s| !s.is_empty()).collect();
    let skip = all
        .iter()
        .take_while(|s| matches!(**s, "gateway" | "channels" | "providers"))
        .count();
    match (&all[..skip], &all[skip..]) {
        (_, []) => all.last().copied().unwrap_or(subsystem).to_string(),
        (front, [name, ..]) if front.contains(&"channels") => (*name).to_string(),
        (_, rest) => rest[rest.len().saturating_sub(2)..].join("/"),
    }
}

/// `message` without the label that the bracket says already: `[ws] x`, `ws: x`, `ws x`.
fn without_label<'a>(message: &'a str, name: &str) -> &'a str {
    let strip = |text: &'a str| match text.get(..name.len()) {
        Some(start) if !name.is_empty() && start.eq_ignore_ascii_case(name) => {
            Some(&text[name.len()..])
        }
        _ => None,
    };
    if let Some(rest) = message
        .strip_prefix('[')
        .and_then(strip)
        .and_then(|r| r.strip_prefix(']'))
    {
        return rest.trim_start_matches(' ');
    }
    match strip(message) {
        Some(rest) if rest.starts_with([':', ' ']) => {
            let rest = rest.trim_start_matches(' ');
            rest.strip_prefix(':')
                .unwrap_or(rest)
                .trim_start_matches(' ')
        }
        _ => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subsystems_are_shortened() {
        for (full, short) in [
            ("gateway", "gateway"),
            ("gateway/ws", "ws"),
            ("gateway/channels/telegram", "telegram"),
            ("gateway/channels/telegram/polling", "telegram"),
            ("agent/embedded", "agent/embedded"),
            ("a/b/c", "b/c"),
            ("gateway/channels", "channels"),
            ("", ""),
        ] {
            assert_eq!(short_name(full), short, "{full}");
        }
    }

    #[test]
    fn a_message_loses_the_label_that_the_bracket_says() {
        assert_eq!(
            without_label("canvas host mounted", "canvas"),
            "host mounted"
        );
        assert_eq!(without_label("Hooks: off", "hooks"), "off");
        assert_eq!(without_label("[ws]  up", "ws"), "up");
        assert_eq!(without_label("wsx up", "ws"), "wsx up");
        assert_eq!(without_label("é", "ws"), "é");
        assert_eq!(without_label("ws", "ws"), "ws");
    }

    #[test]
    fn the_three_styles() {
        let line = |style, color| {
            render(
                style,
                color,
                1_795_364_653_945,
                Level::Warn,
                "gateway/reload",
                "é \"x\"",
            )
        };
        assert_eq!(line(Style::Pretty, false), "16:24:13 [reload] é \"x\"\n");
        assert_eq!(
            line(Style::Compact, false),
            "2026-11-22T16:24:13.945Z [reload] é \"x\"\n"
        );
        let json: serde_json::Value = serde_json::from_str(&line(Style::Json, true)).unwrap();
        assert_eq!(json["subsystem"], "gateway/reload");
        assert_eq!(json["level"], "warn");
        assert_eq!(json["message"], "é \"x\"");
        assert!(line(Style::Pretty, true).ends_with("\x1b[33mé \"x\"\x1b[39m\n"));
    }
}
