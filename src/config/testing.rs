//! What the tests of this room share.

use std::fs;
use std::path::{Path, PathBuf};

use super::env::Env;
use super::load::{self, Loaded};
use super::locations::Locations;
use crate::sys::{file, id};

/// A folder that goes when the test ends.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        let dir = std::env::temp_dir().join(format!("openclaw-config-{}", id::uuid()));
        file::make_private_dir(&dir).unwrap();
        Folder(dir.canonicalize().unwrap())
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file below the folder, and the folders on the way.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        file::make_private_dir(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// The places of an installation whose state folder this is.
    pub fn locations(&self, env: &[(&str, &str)]) -> Locations {
        let mut env: Env = env.iter().copied().collect();
        env.set("HOME", self.0.to_str().unwrap());
        env.set("OPENCLAW_STATE_DIR", self.0.to_str().unwrap());
        Locations::from_env(&env)
    }

    /// Loads `openclaw.json` of this folder after writing `text` to it.
    pub fn load(&self, text: &str, env: &[(&str, &str)]) -> Loaded {
        self.write("openclaw.json", text);
        load::load(&self.locations(env))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
