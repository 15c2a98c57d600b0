//! A file that is one JSON object of rows by id, kept in step with what others write to it.

use std::io;
use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::sys::clock;
use crate::sys::file::{self, Stamp};

/// Largest file that is read, in bytes.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// The rows, and the version of the file that they were read from.
pub(super) struct Table {
    path: PathBuf,
    pub(super) rows: Map<String, Value>,
    stamp: Option<Stamp>,
}

impl Table {
    /// The table in the file at `path`. Nothing is read before [`Table::refresh`].
    pub(super) fn new(path: PathBuf) -> Table {
        Table {
            path,
            rows: Map::new(),
            stamp: None,
        }
    }

    /// Reads the file again when somebody else has replaced it. A broken file is put aside, not lost.
    pub(super) fn refresh(&mut self) -> io::Result<()> {
        let now = file::stamp(&self.path);
        if now == self.stamp {
            return Ok(());
        }
        let bytes = match file::read_bounded(&self.path, MAX_FILE) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other?,
        };
        // Others may have left it readable for everybody; it holds tokens.
        let _ = file::tighten(&self.path);
        self.rows = match serde_json::from_slice(&bytes) {
            Ok(Value::Object(rows)) => rows,
            _ if bytes.is_empty() => Map::new(),
            _ => {
                let aside = self
                    .path
                    .with_extension(format!("json.broken-{}", clock::now_ms()));
                std::fs::rename(&self.path, &aside)?;
                let (path, aside) = (self.path.display(), aside.display());
                log::error!(target: "gateway", "{path} is not readable JSON: kept as {aside}, starting empty");
                Map::new()
            }
        };
        self.stamp = file::stamp(&self.path);
        Ok(())
    }

    /// Writes the rows. What could not be written does not stay in memory as if it had been.
    pub(super) fn save(&mut self) -> io::Result<()> {
        if let Some(dir) = self.path.parent() {
            file::make_private_dir(dir)?;
        }
        let mut text = serde_json::to_vec_pretty(&self.rows).map_err(io::Error::other)?;
        text.push(b'\n');
        let result = file::write_atomic(&self.path, &text);
        self.stamp = None;
        match &result {
            Ok(()) => self.stamp = file::stamp(&self.path),
            Err(_) => self.rows = Map::new(),
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::testing::Folder;
    use serde_json::json;
    use std::fs;

    #[test]
    fn what_others_write_is_seen_and_what_is_broken_is_kept_aside() {
        let dir = Folder::new();
        let path = dir.path().join("sub/rows.json");
        let mut t = Table::new(path.clone());
        t.refresh().unwrap();
        t.rows.insert("a".into(), json!({"x": 1}));
        t.save().unwrap();
        fs::write(&path, "{\"b\": {}}").unwrap();
        t.refresh().unwrap();
        assert_eq!(t.rows.keys().collect::<Vec<_>>(), ["b"]);
        fs::write(&path, "{\"b\":").unwrap();
        t.refresh().unwrap();
        assert!(t.rows.is_empty());
        let names: Vec<String> = fs::read_dir(path.parent().unwrap())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(names.len(), 1);
        assert!(names[0].starts_with("rows.json.broken-"), "{names:?}");
    }
}
