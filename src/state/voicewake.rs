//! The words that wake phones and desktops: `settings/voicewake.json`.

use serde_json::{Value, json};

use super::{Error, Paths};
use crate::sys::{clock, file};

/// The words when none were set, or nothing is left of what was.
const DEFAULT: [&str; 3] = ["openclaw", "claude", "computer"];
/// Words that are kept.
const MAX_WORDS: usize = 32;
/// Characters of a word that are kept.
const MAX_CHARS: usize = 64;
/// Bytes of the file that are read.
const MAX_FILE: u64 = 1024 * 1024;

/// The words now. A file that is missing or broken has the default ones.
pub fn triggers(paths: &Paths) -> Vec<String> {
    let stored = file::read_bounded(&paths.voicewake(), MAX_FILE)
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    normalised(stored.as_ref().and_then(|v| v.get("triggers")))
}

/// Keeps the strings of `words` and returns what is kept: trimmed, without blank ones, cut to size; the
/// default words when nothing is left.
pub fn set_triggers(paths: &Paths, words: &Value) -> Result<Vec<String>, Error> {
    let words = normalised(Some(words));
    let path = paths.voicewake();
    let content = json!({"triggers": words, "updatedAtMs": clock::now_ms()});
    if let Some(dir) = path.parent() {
        file::make_private_dir(dir).map_err(Error::io(dir))?;
    }
    file::write_atomic(&path, format!("{content:#}\n").as_bytes()).map_err(Error::io(&path))?;
    Ok(words)
}

fn normalised(words: Option<&Value>) -> Vec<String> {
    let words: Vec<String> = words
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|w| w.as_str().map(str::trim))
        .filter(|w| !w.is_empty())
        .take(MAX_WORDS)
        .map(|w| w.chars().take(MAX_CHARS).collect())
        .collect();
    if words.is_empty() {
        return DEFAULT.map(str::to_string).to_vec();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::testing::Folder;

    #[test]
    fn words_are_kept_as_the_reference_keeps_them() {
        let dir = Folder::new();
        let paths = Paths::new(dir.path());
        assert_eq!(triggers(&paths), DEFAULT);
        let sent = json!([" hey ", "", 5, "ä".repeat(70), null]);
        let kept = set_triggers(&paths, &sent).unwrap();
        assert_eq!(kept, ["hey".to_string(), "ä".repeat(64)]);
        assert_eq!(triggers(&paths), kept);
        let stored: Value =
            serde_json::from_slice(&std::fs::read(paths.voicewake()).unwrap()).unwrap();
        assert_eq!(stored["triggers"], json!(kept));
        assert!(stored["updatedAtMs"].as_u64().unwrap() > 0);
        let many = Value::from(vec!["w"; 100]);
        assert_eq!(set_triggers(&paths, &many).unwrap().len(), MAX_WORDS);
        assert_eq!(set_triggers(&paths, &json!([])).unwrap(), DEFAULT);
        std::fs::write(paths.voicewake(), "{broken").unwrap();
        assert_eq!(triggers(&paths), DEFAULT);
    }
}
