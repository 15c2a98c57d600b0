//! The dev profile: a config that starts, a workspace, a model that needs no network, and a way back to
//! nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::context::Context;
use super::failure::Failure;
use crate::config::write;
use crate::state::workspace;
use crate::sys::lock::FileLock;
use crate::sys::{clock, file};

/// The name of the profile, and of its only agent.
pub const NAME: &str = "dev";

/// What was made.
pub struct Made {
    /// The config file, unless it was there.
    pub config: Option<PathBuf>,
    pub workspace: PathBuf,
}

/// The workspace of the dev agent.
fn workspace_dir(ctx: &Context) -> PathBuf {
    ctx.locations.state_dir.join("workspace")
}

/// Makes what a dev gateway needs and does not find.
pub fn ensure(ctx: &Context) -> Result<Made, Failure> {
    let at = &ctx.locations;
    let dir = workspace_dir(ctx);
    let failed = |path: &Path, e: io::Error| {
        Failure::new(format!("Error: cannot write {}: {e}", at.shown(path)))
    };
    let config = match at.config_path.exists() {
        true => None,
        false => {
            write::write(at, None, &config_text(&dir), "cli dev profile")
                .map_err(|e| Failure::new(format!("Error: {e}")))?;
            Some(at.config_path.clone())
        }
    };
    workspace::ensure(&dir, false).map_err(|e| failed(&dir, e))?;
    Ok(Made {
        config,
        workspace: dir,
    })
}

fn config_text(workspace: &Path) -> String {
    let dir = serde_json::Value::from(workspace.display().to_string());
    format!(
        r#"// The dev profile. `openclaw --dev gateway --reset` starts over.
{{
  "gateway": {{
    "mode": "local",
    "bind": "loopback"
  }},
  "agents": {{
    "defaults": {{
      "workspace": {dir},
      "skipBootstrap": true,
      // Repeats what it is told, without network. A real model, on this machine or elsewhere:
      //   openclaw --dev models set ollama/llama3.2
      //   openclaw --dev models set openai/gpt-5-mini   (and OPENAI_API_KEY in .env beside this file)
      "model": {{ "primary": "builtin/echo" }}
    }},
    "list": [
      {{
        "id": "{NAME}",
        "default": true,
        "workspace": {dir},
        "identity": {{ "name": "Echo", "theme": "test agent", "emoji": "🔁" }}
      }}
    ]
  }}
}}
"#
    )
}

/// What the gateway says once it listens.
pub fn greeting() -> Vec<String> {
    vec![
        "control UI: http://127.0.0.1:{port}/ (open it: openclaw --dev dashboard)".to_string(),
        "talk to it: openclaw --dev agent --message hi".to_string(),
    ]
}

/// Moves config, credentials, sessions and workspace of the dev profile aside, into one folder of the state
/// directory. What was moved, in words; empty when there was nothing.
pub fn reset(ctx: &Context) -> Result<Vec<String>, Failure> {
    let at = &ctx.locations;
    let paths = ctx.paths();
    if !paths.root().exists() && !at.config_path.exists() {
        return Ok(Vec::new());
    }
    let failed = |what: &Path, e: &dyn std::fmt::Display| {
        Failure::new(format!("Error: cannot reset {}: {e}", at.shown(what)))
    };
    file::make_private_dir(paths.root()).map_err(|e| failed(paths.root(), &e))?;
    // Nobody may be writing there.
    let _lock = FileLock::acquire(&paths.gateway_lock(), Duration::ZERO)
        .map_err(|e| failed(paths.root(), &e))?;
    let stamp = clock::iso(clock::now_ms()).replace(':', "-");
    let aside = paths.root().join("reset").join(stamp);
    let workspace = workspace_dir(ctx);
    let mut said = Vec::new();
    for (name, from) in [
        ("openclaw.json", at.config_path.as_path()),
        ("credentials", paths.credentials()),
        ("agents", &paths.agents()),
        ("workspace", &workspace),
    ] {
        if from.symlink_metadata().is_err() {
            continue;
        }
        let to = aside.join(name);
        file::make_private_dir(&aside).map_err(|e| failed(&aside, &e))?;
        fs::rename(from, &to).map_err(|e| failed(from, &e))?;
        said.push(format!("moved {} to {}", at.shown(from), at.shown(&to)));
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, testing::Folder};

    #[test]
    fn the_dev_config_is_made_once_and_is_valid() {
        let dir = Folder::new();
        let ctx = Context::of(dir.locations(&[("OPENCLAW_PROFILE", "dev")]));
        let made = ensure(&ctx).unwrap();
        assert!(made.config.is_some() && made.workspace.join("SOUL.md").exists());
        let loaded = config::load(&ctx.locations);
        assert_eq!(loaded.issues, []);
        assert_eq!(loaded.config.str("gateway.mode"), Some("local"));
        let model = loaded.config.str("agents.defaults.model.primary");
        assert_eq!(model, Some("builtin/echo"));
        fs::write(&ctx.locations.config_path, "{}").unwrap();
        assert!(ensure(&ctx).unwrap().config.is_none());
        assert_eq!(
            fs::read_to_string(&ctx.locations.config_path).unwrap(),
            "{}"
        );
    }

    #[test]
    fn a_reset_moves_and_loses_nothing() {
        let dir = Folder::new();
        let ctx = Context::of(dir.locations(&[("OPENCLAW_PROFILE", "dev")]));
        ensure(&ctx).unwrap();
        dir.write("credentials/x.json", "secret");
        dir.write("agents/dev/sessions/s.jsonl", "line");
        let said = reset(&ctx).unwrap();
        assert_eq!(said.len(), 4, "{said:?}");
        assert!(!ctx.locations.config_path.exists() && !dir.path().join("agents").exists());
        let kept = fs::read_dir(dir.path().join("reset")).unwrap().next();
        let kept = kept.unwrap().unwrap().path();
        for (name, text) in [
            ("credentials/x.json", "secret"),
            ("agents/dev/sessions/s.jsonl", "line"),
        ] {
            assert_eq!(fs::read_to_string(kept.join(name)).unwrap(), text);
        }
        assert!(reset(&ctx).unwrap().is_empty());
        assert!(ensure(&ctx).unwrap().config.is_some());
    }

    #[test]
    fn a_running_gateway_is_not_reset() {
        let dir = Folder::new();
        let ctx = Context::of(dir.locations(&[]));
        dir.write("openclaw.json", "{}");
        let _running = FileLock::acquire(&ctx.paths().gateway_lock(), Duration::ZERO).unwrap();
        assert!(reset(&ctx).is_err());
        assert!(ctx.locations.config_path.exists());
    }
}
