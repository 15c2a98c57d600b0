//! The process's log: one sink behind the `log` facade, to a file of JSON lines and to the console.
//!
//! The target of a record is its subsystem: `log::info!(target: "gateway/ws", "…")`. Every record becomes
//! one line, bounded, without control characters, with secrets masked ([`redact`]). What a peer chose goes
//! through [`field`], ids through [`short_id`]. Level, style and file can be changed while running.

mod console;
mod file;
pub mod redact;
mod settings;
pub mod tail;
mod text;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use log::{Level, LevelFilter, Log, Metadata, Record};
use serde_json::json;

use crate::sys::{clock, os};

pub use console::Style;
pub use file::{DEFAULT_MAX_FILE_BYTES, KEPT_FILES, Place};
pub use settings::{Filter, Settings, wants_color};
pub use text::{MAX_FIELD_BYTES, MAX_MESSAGE_BYTES, field, short_id};

/// The sinks as configured. Replaced whole; a record uses those that it found.
static SINKS: RwLock<Option<Arc<Sinks>>> = RwLock::new(None);

struct Facade;

/// Starts logging with `settings`, or changes to them. May be called at any time, from any thread.
pub fn apply(settings: &Settings) {
    let sinks = Arc::new(Sinks::new(settings));
    let max = sinks.max_level();
    *SINKS.write().unwrap_or_else(PoisonError::into_inner) = Some(sinks);
    // Only the first call installs the logger; the later ones find it there.
    let _ = log::set_logger(&Facade);
    log::set_max_level(max);
}

/// The current log file, when there is one.
pub fn path() -> Option<PathBuf> {
    sinks()?.file.path(clock::now_ms())
}

fn sinks() -> Option<Arc<Sinks>> {
    SINKS.read().unwrap_or_else(PoisonError::into_inner).clone()
}

impl Log for Facade {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if let Some(sinks) = sinks() {
            sinks.log(record);
        }
    }

    fn flush(&self) {}
}

/// Both sinks and what passes each.
struct Sinks {
    console: console::Console,
    file: file::LogFile,
    /// Decides for the file as the console's own filter does for the console.
    file_filter: env_logger::Logger,
}

impl Sinks {
    fn new(settings: &Settings) -> Sinks {
        let mut builder = env_logger::Builder::new();
        settings.file_filter.apply(&mut builder);
        Sinks {
            console: console::Console::new(
                &settings.console_filter,
                settings.style,
                settings.color,
            ),
            file: file::LogFile::new(settings.place.clone(), settings.max_file_bytes),
            file_filter: builder.build(),
        }
    }

    fn max_level(&self) -> LevelFilter {
        self.console.max_level().max(self.file_filter.filter())
    }

    fn log(&self, record: &Record<'_>) {
        let subsystem = subsystem(record.target());
        let probe = Record::builder()
            .level(record.level())
            .target(&subsystem)
            .build();
        let (to_console, to_file) = (self.console.shows(&probe), self.file_filter.matches(&probe));
        if !to_console && !to_file {
            return;
        }
        let message = record.args().to_string();
        let message = text::clean(&redact::line(&message), MAX_MESSAGE_BYTES);
        if to_file {
            let now = clock::now_ms();
            let at = (
                record.file().unwrap_or_default(),
                record.line().unwrap_or(0),
            );
            let line = file_line(now, record.level(), &subsystem, &message, at);
            self.file.write(now, &line, |lost| {
                let message = format!("{lost} lines could not be written to the log file");
                file_line(now, Level::Warn, "logging", &message, (file!(), line!()))
            });
        }
        if to_console {
            self.console.print(
                &Record::builder()
                    .level(record.level())
                    .target(&subsystem)
                    .args(format_args!("{message}"))
                    .build(),
            );
        }
    }
}

/// The subsystem of a record: its target, or the room that a module path names.
fn subsystem(target: &str) -> String {
    let path = target.strip_prefix(concat!(env!("CARGO_CRATE_NAME"), "::"));
    text::clean(
        &path.unwrap_or(target).replace("::", "/"),
        text::MAX_FIELD_BYTES,
    )
}

/// One line of the file, with its line feed, in the shape that the reference's readers expect.
fn file_line(now: u64, level: Level, subsystem: &str, message: &str, at: (&str, u32)) -> String {
    static HOST: OnceLock<String> = OnceLock::new();
    let name = json!({ "subsystem": subsystem }).to_string();
    let time = clock::iso(now);
    let level_id = match level {
        Level::Trace => 1,
        Level::Debug => 2,
        Level::Info => 3,
        Level::Warn => 4,
        Level::Error => 5,
    };
    let line = json!({
        "0": name,
        "1": message,
        "_meta": {
            "runtime": "native",
            "runtimeVersion": crate::VERSION,
            "hostname": HOST.get_or_init(os::host_name),
            "name": name,
            "parentNames": ["openclaw"],
            "date": time,
            "logLevelId": level_id,
            "logLevelName": level.as_str(),
            "path": { "filePath": at.0, "fileLine": at.1.to_string() },
        },
        "time": time,
    });
    format!("{line}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::id;
    use serde_json::Value;

    fn logged(
        settings: impl FnOnce(&mut Settings),
        level: Level,
        target: &str,
        message: &str,
    ) -> Vec<Value> {
        let dir = std::env::temp_dir().join(format!("openclaw-sink-{}", id::uuid()));
        let path = dir.join("log");
        let mut s = Settings::quiet();
        s.place = Place::Fixed(path.clone());
        settings(&mut s);
        let sinks = Sinks::new(&s);
        sinks.log(
            &Record::builder()
                .level(level)
                .target(target)
                .args(format_args!("{message}"))
                .file(Some("a.rs"))
                .line(Some(7))
                .build(),
        );
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let _ = std::fs::remove_dir_all(dir);
        text.lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect()
    }

    #[test]
    fn a_file_line_has_the_shape_of_the_reference() {
        let lines = logged(|_| (), Level::Warn, "gateway/ws", "hello");
        assert_eq!(lines.len(), 1);
        let l = &lines[0];
        assert_eq!(l["0"], r#"{"subsystem":"gateway/ws"}"#);
        assert_eq!(l["1"], "hello");
        assert_eq!(l["_meta"]["name"], l["0"]);
        assert_eq!(l["_meta"]["logLevelName"], "WARN");
        assert_eq!(l["_meta"]["logLevelId"], 4);
        assert_eq!(l["_meta"]["parentNames"], json!(["openclaw"]));
        assert_eq!(l["_meta"]["date"], l["time"]);
        assert_eq!(l["time"].as_str().unwrap().len(), 24);
    }

    #[test]
    fn sl_04_secrets_do_not_reach_the_file() {
        let lines = logged(
            |_| (),
            Level::Info,
            "x",
            "GET /?token=hunter2hunter2hunter2 failed",
        );
        assert_eq!(lines[0]["1"], "GET /?token=hunter…ter2 failed");
    }

    #[test]
    fn sl_08_a_record_is_one_bounded_line() {
        let evil = format!("origin=\n2026 fake\x1b[2J{}", "x".repeat(100_000));
        let lines = logged(|_| (), Level::Info, "a\nb", &evil);
        assert_eq!(lines.len(), 1);
        let message = lines[0]["1"].as_str().unwrap();
        assert!(message.starts_with("origin=\\n2026 fake\\u{1b}[2J"));
        assert!(message.len() <= MAX_MESSAGE_BYTES + '…'.len_utf8());
        assert_eq!(lines[0]["0"], r#"{"subsystem":"a\\nb"}"#);
    }

    #[test]
    fn levels_hold_for_the_file_and_libraries_are_kept_quiet() {
        let count = |level, target: &str| logged(|_| (), level, target, "m").len();
        assert_eq!(count(Level::Info, "gateway"), 1);
        assert_eq!(count(Level::Debug, "gateway"), 0);
        let all = |s: &mut Settings| s.file_filter = Filter::parse("trace").unwrap();
        assert_eq!(logged(all, Level::Trace, "gateway", "m").len(), 1);
        assert_eq!(
            logged(all, Level::Trace, "tungstenite::protocol", "m").len(),
            0
        );
        let one =
            |s: &mut Settings| s.file_filter = Filter::parse("warn,gateway/ws=debug").unwrap();
        assert_eq!(logged(one, Level::Debug, "gateway/ws", "m").len(), 1);
        assert_eq!(logged(one, Level::Info, "gateway", "m").len(), 0);
        let none = |s: &mut Settings| s.file_filter = Filter::parse("silent").unwrap();
        assert_eq!(logged(none, Level::Error, "gateway", "m").len(), 0);
    }

    #[test]
    fn a_module_path_becomes_a_subsystem() {
        assert_eq!(subsystem("openclaw_gateway::sys::log"), "sys/log");
        assert_eq!(subsystem("gateway/ws"), "gateway/ws");
        assert_eq!(subsystem("rustls::client"), "rustls/client");
    }
}
