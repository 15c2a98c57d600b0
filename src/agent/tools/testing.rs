//! What the tests of the tools share: a workspace, a config, and calls as a run makes them.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Context, Output, Tool};
use crate::agent::cancel::Cancel;
use crate::agent::model::Model;
use crate::agent::provider::Part;
use crate::config::Config;
use crate::sys::{file, id};

/// A folder with a workspace `ws` in it, which goes with the value.
pub struct Bench {
    pub path: PathBuf,
    pub config: Config,
    pub model: Model,
    pub cancel: Cancel,
    pub workspace: PathBuf,
    pub session_key: Option<String>,
    pub owner: bool,
}

impl Bench {
    /// A run of `main` with the configuration `config`.
    pub fn new(config: &str) -> Bench {
        let path = std::env::temp_dir().join(format!("openclaw-tool-{}", id::uuid()));
        file::make_private_dir(&path.join("ws")).unwrap();
        let path = path.canonicalize().unwrap();
        Bench {
            config: Config::from_text(config),
            model: Model::echo(),
            cancel: Cancel::new(None),
            workspace: path.join("ws"),
            session_key: Some("agent:main:main".into()),
            owner: true,
            path,
        }
    }

    pub fn context(&self) -> Context<'_> {
        Context {
            config: &self.config,
            agent: "main",
            session_key: self.session_key.as_deref(),
            workspace: &self.workspace,
            model: &self.model,
            cancel: &self.cancel,
            owner: self.owner,
        }
    }

    /// The output, or the text of the error.
    pub fn run(&self, tool: &dyn Tool, arguments: Value) -> Result<Output, String> {
        let output = tool.run(arguments.as_object().unwrap(), &self.context());
        output.map_err(|e| e.text)
    }

    /// The text of the output.
    pub fn text(&self, tool: &dyn Tool, arguments: Value) -> String {
        text(&self.run(tool, arguments).unwrap())
    }

    /// The error.
    pub fn error(&self, tool: &dyn Tool, arguments: Value) -> String {
        self.run(tool, arguments).unwrap_err()
    }

    /// Writes a file of the workspace.
    pub fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.workspace.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// A file of the workspace.
    pub fn get(&self, name: &str) -> String {
        fs::read_to_string(self.workspace.join(name)).unwrap()
    }

    /// Spellings of paths that lead out of the workspace, the file `secret` beside it among them. (FP-06)
    pub fn ways_out(&self) -> Vec<String> {
        fs::write(self.path.join("secret"), "secret").unwrap();
        fs::hard_link(self.path.join("secret"), self.workspace.join("hard")).unwrap();
        for (name, target) in [("link", "secret"), ("dangling", "new"), ("folder", "")] {
            let target = self.path.join(target);
            std::os::unix::fs::symlink(target, self.workspace.join(name)).unwrap();
        }
        let shown = |p: PathBuf| p.display().to_string();
        let mut ways: Vec<String> = [
            "../secret",
            "../new",
            "a/./../../secret",
            "/etc/passwd",
            "link",
            "dangling",
            "hard",
            "folder/secret",
            "folder/new",
            "x\0y",
            "..",
            "/",
            ".",
        ]
        .map(str::to_string)
        .into();
        ways.push(shown(self.path.join("secret")));
        ways.push(shown(self.workspace.join("../secret")));
        ways.push(format!("file://{}", self.path.join("secret").display()));
        ways
    }

    /// Whether what is beside the workspace is as [`Bench::ways_out`] has left it.
    pub fn outside_is_untouched(&self) -> bool {
        let mut names: Vec<_> = fs::read_dir(&self.path)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        names.sort();
        names == ["secret", "ws"] && fs::read(self.path.join("secret")).unwrap() == b"secret"
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// The text of an output.
pub fn text(output: &Output) -> String {
    match output.content.as_slice() {
        [Part::Text(text)] => text.clone(),
        other => panic!("{other:?}"),
    }
}

/// A config whose state directory is `state` and whose config file is `config`.
pub fn config_at(state: &Path, config: &Path, text: &str) -> Config {
    fs::create_dir_all(state).unwrap();
    fs::write(config, text).unwrap();
    let env = [
        ("HOME", state.to_str().unwrap()),
        ("OPENCLAW_STATE_DIR", state.to_str().unwrap()),
        ("OPENCLAW_CONFIG_PATH", config.to_str().unwrap()),
    ];
    let locations = crate::config::Locations::from_env(&env.into_iter().collect());
    let loaded = crate::config::load(&locations);
    assert!(loaded.issues.is_empty(), "{:?}", loaded.issues);
    std::sync::Arc::into_inner(loaded.config).unwrap()
}

/// `json!` of one argument.
pub fn path(path: &str) -> Value {
    json!({"path": path})
}
