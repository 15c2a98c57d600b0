//! A folder of its own for each test of this room.

use std::fs;
use std::path::{Path, PathBuf};

use crate::sys::{file, id};

/// A private folder that goes with the value.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        let dir = std::env::temp_dir().join(format!("openclaw-state-{}", id::uuid()));
        file::make_private_dir(&dir).unwrap();
        Folder(dir)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
