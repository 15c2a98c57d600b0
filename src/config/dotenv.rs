//! `<state>/.env`: variables that the process environment does not set.
//!
//! No other `.env` is ever read: one in the working folder or in a workspace may come from anybody.

use std::path::Path;

use super::env::{self, Env};
use crate::sys::file;

/// Largest `.env` that is read, in bytes.
const MAX_BYTES: u64 = 64 * 1024;

/// Fills `env` from the `.env` in `state_dir`. Returns what was not taken, as sentences for the log.
pub fn fill(env: &mut Env, state_dir: &Path) -> Vec<String> {
    let path = state_dir.join(".env");
    let bytes = match file::read_bounded(&path, MAX_BYTES) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(e) => return vec![format!("{} was not read: {e}", path.display())],
    };
    let mut warnings = Vec::new();
    for (name, value) in parse(&String::from_utf8_lossy(&bytes)) {
        if env::refused(&name) {
            warnings.push(format!(
                "{}: {} is ignored: a file may not set this variable",
                path.display(),
                name.escape_debug()
            ));
        } else {
            env.fill(&name, &value);
        }
    }
    warnings
}

/// `NAME=value` lines. `export` and blanks are allowed; a value may stand in double, single or back quotes,
/// and then over several lines; in double quotes `\n` and `\r` are line ends. Anything else is skipped.
fn parse(text: &str) -> Vec<(String, String)> {
    let mut out = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
        rest = after;
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line);
        if line.starts_with('#') {
            continue;
        }
        let Some((name, value)) = line.split_once('=') else {
            continue;
        };
        let value = value.trim();
        let quote = value
            .chars()
            .next()
            .filter(|c| matches!(c, '"' | '\'' | '`'));
        let value = match quote {
            None => value
                .split('#')
                .next()
                .unwrap_or_default()
                .trim()
                .to_string(),
            Some(quote) => match value[1..].split_once(quote) {
                Some((inside, _)) => unescaped(inside, quote),
                // The quote is closed on a later line, or nowhere: then it is part of the value.
                None => match rest.split_once(quote) {
                    Some((more, after)) => {
                        rest = after.split_once('\n').map_or("", |(_, next)| next);
                        unescaped(&format!("{}\n{more}", &value[1..]), quote)
                    }
                    None => value.to_string(),
                },
            },
        };
        out.push((name.trim().to_string(), value));
    }
    out
}

fn unescaped(text: &str, quote: char) -> String {
    match quote {
        '"' => text.replace("\\n", "\n").replace("\\r", "\r"),
        _ => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::Folder;

    #[test]
    fn the_usual_forms() {
        let text = "# note\nA=1\n export B = two words # note\nC=\"x\\ny # z\" # note\nD='a\\n'\r\nE=\n\
                    junk\nF=\"one\ntwo\"\nG=`q`\nH=\"open\nI=9";
        let found = parse(text);
        let expected = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "x\ny # z"),
            ("D", "a\\n"),
            ("E", ""),
            ("F", "one\ntwo"),
            ("G", "q"),
            ("H", "\"open"),
            ("I", "9"),
        ];
        let found: Vec<_> = found
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn cf_01_the_process_wins_and_loader_and_path_variables_are_refused() {
        let dir = Folder::new();
        dir.write(
            ".env",
            "SET=file\nNEW=file\nLD_PRELOAD=/x\nPATH=/x\nOPENCLAW_STATE_DIR=/x\nOPENCLAW_GATEWAY_TOKEN=t\n",
        );
        let mut env: Env = [("SET", "process")].into_iter().collect();
        let warnings = fill(&mut env, dir.path());
        assert_eq!(env.get("SET"), Some("process"));
        assert_eq!(env.get("NEW"), Some("file"));
        assert_eq!(env.get("OPENCLAW_GATEWAY_TOKEN"), Some("t"));
        for name in ["LD_PRELOAD", "PATH", "OPENCLAW_STATE_DIR"] {
            assert_eq!(env.get(name), None);
            assert!(warnings.iter().any(|w| w.contains(name)), "{name}");
        }
        assert_eq!(warnings.len(), 3);
    }

    #[test]
    fn a_folder_in_its_place_is_a_warning() {
        let dir = Folder::new();
        dir.write(".env/x", "");
        assert_eq!(fill(&mut Env::default(), dir.path()).len(), 1);
    }
}
