//! Transcripts: what a session said, one JSON line each, in `agents/<id>/sessions/<sessionId>.jsonl`.
//!
//! The first line is the header; all others have an `id` and the `parentId` of the line before, and so
//! form a tree of which the last line is the tip. A line is on disk when the call that appended it
//! returns. A torn last line, never acknowledged, is cut off before anything is appended.

mod backward;
mod cut;
mod history;
mod text;
mod writer;

use std::path::PathBuf;

use super::Paths;
use super::paths::plain_name;
use super::sessions::Entry;

pub use cut::{Cut, compact, count_messages};
pub use history::{Context, context, last_messages};
pub use text::{Item, message_text, preview, title, title_fields, without_stamp};
pub use writer::{Line, Transcript};

/// Bytes of a line that is still read; longer ones are skipped.
const MAX_LINE: usize = 32 * 1024 * 1024;

/// The path of the transcript of `entry`, always inside the sessions folder of `agent`.
///
/// Of `sessionFile` only the name counts: a state directory may have been moved, and no entry may lead
/// elsewhere. `None` when neither that nor the session id is a plain file name. The file need not exist.
pub fn locate(paths: &Paths, agent: &str, entry: &Entry) -> Option<PathBuf> {
    let folder = paths.sessions(agent);
    let named = entry
        .text("sessionFile")
        .and_then(|f| f.rsplit('/').next())
        .and_then(plain_name)
        .filter(|name| name.ends_with(".jsonl"))
        .map(|name| folder.join(name));
    named.or_else(|| paths.transcript(agent, entry.session_id()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn no_entry_leads_out_of_the_sessions_folder() {
        let paths = Paths::new("/s");
        let at = |v: serde_json::Value| {
            let entry = Entry::from(v.as_object().unwrap().clone());
            locate(&paths, "main", &entry).map(|p| p.display().to_string())
        };
        let folder = "/s/agents/main/sessions";
        assert_eq!(
            at(json!({"sessionId": "a"})),
            Some(format!("{folder}/a.jsonl"))
        );
        let moved = json!({"sessionId": "a", "sessionFile": "/old/home/.openclaw/agents/main/sessions/a-topic-7.jsonl"});
        assert_eq!(at(moved), Some(format!("{folder}/a-topic-7.jsonl")));
        for outside in [
            "../../../etc/passwd",
            "/etc/shadow",
            "..",
            ".jsonl",
            "a/../.x.jsonl",
            "x\0.jsonl",
        ] {
            let entry = json!({"sessionId": "a", "sessionFile": outside});
            assert_eq!(at(entry), Some(format!("{folder}/a.jsonl")), "{outside:?}");
        }
        assert_eq!(at(json!({"sessionId": "../x"})), None);
        assert_eq!(
            at(json!({"sessionFile": "/x/y.jsonl"})),
            Some(format!("{folder}/y.jsonl"))
        );
        assert_eq!(at(json!({})), None);
    }
}
