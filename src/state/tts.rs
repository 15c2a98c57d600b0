//! What an operator chose about spoken replies: `settings/tts.json`. Nothing here makes a sound.

use serde_json::{Map, Value, json};

use super::{Error, Paths};
use crate::sys::file;

/// Bytes of the file that are read.
const MAX_FILE: u64 = 64 * 1024;

/// A choice (`auto`, `provider`); `None` when none was made.
pub fn get(paths: &Paths, key: &str) -> Option<String> {
    let settings = settings(paths);
    Some(settings.get("tts")?.get(key)?.as_str()?.to_string())
}

/// Makes a choice; what else is in the file stays.
pub fn set(paths: &Paths, key: &str, value: &str) -> Result<(), Error> {
    let mut settings = settings(paths);
    let mut tts = match settings.remove("tts") {
        Some(Value::Object(tts)) => tts,
        _ => Map::new(),
    };
    tts.insert(key.to_string(), json!(value));
    settings.insert("tts".into(), Value::Object(tts));
    let path = paths.tts();
    if let Some(dir) = path.parent() {
        file::make_private_dir(dir).map_err(Error::io(dir))?;
    }
    let text = format!("{:#}\n", Value::Object(settings));
    file::write_atomic(&path, text.as_bytes()).map_err(Error::io(&path))
}

fn settings(paths: &Paths) -> Map<String, Value> {
    let bytes = file::read_bounded(&paths.tts(), MAX_FILE).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::testing::Folder;

    #[test]
    fn choices_are_kept_beside_what_we_do_not_know() {
        let dir = Folder::new();
        let paths = Paths::new(dir.path());
        assert_eq!(get(&paths, "auto"), None);
        set(&paths, "auto", "always").unwrap();
        let text = std::fs::read_to_string(paths.tts()).unwrap();
        std::fs::write(paths.tts(), text.replace("\"tts\"", "\"x\": 1, \"tts\"")).unwrap();
        set(&paths, "provider", "openai").unwrap();
        assert_eq!(get(&paths, "auto").as_deref(), Some("always"));
        assert_eq!(get(&paths, "provider").as_deref(), Some("openai"));
        let text = std::fs::read_to_string(paths.tts()).unwrap();
        assert!(text.contains("\"x\": 1"));
        std::fs::write(paths.tts(), "{").unwrap();
        assert_eq!(get(&paths, "auto"), None);
    }
}
