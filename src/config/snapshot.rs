//! One configuration, as read at one moment, and the accessors that the other rooms use.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::Issue;
use super::env::Env;
use super::locations::Locations;
use super::path;
use super::schema;
use crate::sys::id;

/// An immutable, valid configuration. Shared behind `Arc`.
pub struct Config {
    pub(super) locations: Locations,
    pub(super) raw: Option<String>,
    pub(super) exists: bool,
    pub(super) hash: String,
    pub(super) parsed: Value,
    pub(super) written: Value,
    pub(super) resolved: Value,
    pub(super) effective: Value,
    pub(super) env: Env,
    pub(super) included: Vec<PathBuf>,
    pub(super) warnings: Vec<Issue>,
}

impl Config {
    /// What holds without a config file: the defaults.
    pub fn empty(locations: &Locations) -> Config {
        let nothing = Value::Object(Map::new());
        Config {
            locations: locations.clone(),
            raw: None,
            exists: false,
            hash: id::sha256_hex(b""),
            parsed: nothing.clone(),
            written: nothing.clone(),
            resolved: nothing.clone(),
            effective: schema::fill(nothing),
            env: locations.env.clone(),
            included: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// The configuration of the JSON5 text `text`, as if it stood in an otherwise empty folder; for tests
    /// of other rooms.
    #[cfg(test)]
    pub fn from_text(text: &str) -> Config {
        let dir = super::testing::Folder::new();
        let loaded = dir.load(text, &[]);
        assert_eq!(loaded.issues, []);
        std::sync::Arc::into_inner(loaded.config).unwrap()
    }

    /// Includes merged in, references replaced, defaults filled in.
    pub fn effective(&self) -> &Value {
        &self.effective
    }

    /// Includes merged in and references replaced; without defaults.
    pub fn resolved(&self) -> &Value {
        &self.resolved
    }

    /// The file as written: references and includes stand as such.
    pub fn parsed(&self) -> &Value {
        &self.parsed
    }

    /// As written in the file and in those that it includes, merged: references stand as such.
    pub fn written(&self) -> &Value {
        &self.written
    }

    /// The text of the file; `None` when it is missing or invalid.
    pub fn raw(&self) -> Option<&str> {
        self.raw.as_deref()
    }

    /// SHA-256 of the file's text in hex; of the empty text when it is missing.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The config file, whether it exists or not.
    pub fn path(&self) -> &Path {
        &self.locations.config_path
    }

    /// Whether the file was there when this snapshot was taken.
    pub fn exists(&self) -> bool {
        self.exists
    }

    /// The places that this snapshot was loaded with.
    pub fn locations(&self) -> &Locations {
        &self.locations
    }

    /// The files that it includes.
    pub fn included(&self) -> &[PathBuf] {
        &self.included
    }

    /// What was accepted but has no effect, and what was ignored.
    pub fn warnings(&self) -> &[Issue] {
        &self.warnings
    }

    /// The environment with what `.env` in the state folder and the `env` section add to it.
    pub fn env(&self) -> &Env {
        &self.env
    }

    /// The variables of [`Config::env`] that the process itself does not have: for children.
    pub fn added_env(&self) -> impl Iterator<Item = (&str, &str)> {
        let process = &self.locations.env;
        self.env
            .iter()
            .filter(|(name, value)| process.get(name) != Some(value))
    }

    /// The value at the dotted path `dotted`, defaults included.
    pub fn get(&self, dotted: &str) -> Option<&Value> {
        dotted
            .split('.')
            .try_fold(&self.effective, |value, step| path::find(value, &[step]))
    }

    /// The value at `steps`, which may hold dots.
    pub fn get_in(&self, steps: &[&str]) -> Option<&Value> {
        path::find(&self.effective, steps)
    }

    /// The text at `dotted`; blank counts as none.
    pub fn str(&self, dotted: &str) -> Option<&str> {
        let text = self.get(dotted)?.as_str()?;
        (!text.trim().is_empty()).then_some(text)
    }

    pub fn bool(&self, dotted: &str, default: bool) -> bool {
        self.get(dotted).and_then(Value::as_bool).unwrap_or(default)
    }

    /// The number at `dotted`, fractions cut off; `default` for anything negative or missing.
    pub fn u64(&self, dotted: &str, default: u64) -> u64 {
        let number = self.get(dotted).and_then(Value::as_f64);
        number.filter(|n| *n >= 0.0).map_or(default, |n| n as u64)
    }

    pub fn f64(&self, dotted: &str, default: f64) -> f64 {
        self.get(dotted).and_then(Value::as_f64).unwrap_or(default)
    }

    /// The texts in the list at `dotted`; other elements are left out.
    pub fn list(&self, dotted: &str) -> Vec<&str> {
        let items = self.get(dotted).and_then(Value::as_array);
        items
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect()
    }
}

/// Without values, since a snapshot holds secrets.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Config({}, {})", self.path().display(), self.hash)
    }
}
