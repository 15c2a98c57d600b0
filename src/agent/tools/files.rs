//! Which file a path of a model means, and whether it is within its reach.
//!
//! A run's files are those of its workspace; reading also reaches the folders of skills. Only
//! `tools.fs.workspaceOnly: false` opens the rest of the disk. The config file, what it includes, the
//! exec approvals and the state directory are out of reach in any case (TX-16), but for a workspace
//! that lies in the state directory.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{Context, ToolError, text_of};
use crate::agent::skills;
use crate::config::{Config, agents};
use crate::state::Paths;
use crate::sys::confine::Root;
use crate::sys::file;

/// The file that is read, written or edited, at most, in bytes.
pub const MAX_FILE: u64 = 16 * 1024 * 1024;
/// Characters that look like the separator of a path.
const FALSE_SLASHES: &[char] = &['\u{2044}', '\u{2215}', '\u{29f8}', '\u{ff0f}', '\\'];

/// What is to be done with a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
}

/// A path within reach: a folder, and the way from there.
pub struct Place {
    pub root: Root,
    pub path: PathBuf,
}

/// The argument `path`, or its other name `file_path`.
pub fn path_of(arguments: &Map<String, Value>) -> Result<&str, ToolError> {
    text_of(arguments, &["path", "file_path"]).ok_or_else(|| {
        ToolError::input(
            "Missing required parameter: path (path or file_path). Supply correct parameters before retrying.",
        )
    })
}

/// Whether the run is kept in its workspace.
pub fn workspace_only(context: &Context<'_>) -> bool {
    setting(context, &["fs", "workspaceOnly"]).and_then(Value::as_bool) != Some(false)
}

/// `tools.<steps>` of the agent, else of all.
pub fn setting<'c>(context: &Context<'c>, steps: &[&str]) -> Option<&'c Value> {
    let config: &'c Config = context.config;
    let steps: Vec<&str> = ["tools"].iter().chain(steps).copied().collect();
    agents::own_setting(config, context.agent, &steps).or_else(|| config.get_in(&steps))
}

/// The place that `asked` names, for `access`; `confined` to the workspace and, when reading, to skills.
pub fn place(
    context: &Context<'_>,
    asked: &str,
    access: Access,
    confined: bool,
) -> io::Result<Place> {
    let asked = plain(asked)?;
    let asked = match asked == "~" || asked.starts_with("~/") {
        true => context.config.locations().expand(asked),
        false => PathBuf::from(asked),
    };
    let text = asked.to_str().ok_or(io::ErrorKind::InvalidInput)?;
    if access == Access::Write {
        file::make_private_dir(context.workspace)?;
    }
    let root = Root::open(context.workspace)?;
    match root.relative(text) {
        Ok(path) => {
            let root = guarded(root, context.config);
            return Ok(Place { root, path });
        }
        Err(_) if confined && access == Access::Read => {
            if let Some(place) = in_skills(context, text) {
                return Ok(place);
            }
            return Err(outside());
        }
        Err(_) if confined => return Err(outside()),
        Err(_) => {}
    }
    anywhere(context, &context.workspace.join(&asked))
}

/// A path outside of the workspace, where that is allowed.
fn anywhere(context: &Context<'_>, path: &Path) -> io::Result<Place> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    // What is missing yet cannot hold links; the walk follows none in any case.
    let parent = parent.canonicalize().unwrap_or_else(|_| parent.into());
    let path = parent.join(name);
    let workspace = Root::open(context.workspace)?;
    let text = path.to_str().ok_or(io::ErrorKind::InvalidInput)?;
    let (root, path) = match workspace.relative(text) {
        Ok(path) => (workspace, path),
        Err(_) => {
            let root = Root::open(Path::new("/"))?;
            let path = root.relative(text)?;
            (root, path)
        }
    };
    let root = guarded(root, context.config).with_linked();
    Ok(Place { root, path })
}

/// A path in a folder of skills, which is read only.
fn in_skills(context: &Context<'_>, text: &str) -> Option<Place> {
    let paths = Paths::of(context.config.locations());
    let folders = skills::folders(context.config, &paths.skills(), context.workspace);
    folders.iter().find_map(|(folder, _)| {
        let root = Root::open(folder).ok()?;
        let path = Path::new(text).is_absolute().then(|| root.relative(text));
        let path = path?.ok()?;
        let root = guarded(root, context.config);
        Some(Place { root, path })
    })
}

/// `root` without what guards the gateway.
fn guarded(root: Root, config: &Config) -> Root {
    let paths = Paths::of(config.locations());
    let root = root
        .bar(config.path())
        .bar(paths.root())
        .bar(paths.exec_approvals())
        .bar(paths.credentials());
    config.included().iter().fold(root, |root, p| root.bar(p))
}

/// `asked` as a path, if it is nothing else in disguise.
fn plain(asked: &str) -> io::Result<&str> {
    let bad = |why: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    let asked = match asked.strip_prefix('@') {
        // Some models mark files so.
        Some(rest) if rest.starts_with(['/', '.', '~']) => rest,
        _ => asked,
    };
    if asked.contains("://") || asked.starts_with("file:") {
        return bad("a URL is no path");
    }
    if asked.chars().any(char::is_control) || asked.contains(FALSE_SLASHES) {
        return bad("the path has characters that no path here may have");
    }
    if asked.ends_with('/') {
        return bad("the path names a folder");
    }
    Ok(asked)
}

fn outside() -> io::Error {
    io::Error::new(
        io::ErrorKind::PermissionDenied,
        "the path leads outside of the workspace (tools.fs.workspaceOnly)",
    )
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, config_at};
    use super::*;
    use std::fs;

    fn write(bench: &Bench, asked: &str, confined: bool) -> io::Result<()> {
        let place = place(&bench.context(), asked, Access::Write, confined)?;
        place.root.write(&place.path, b"x")
    }

    fn read(bench: &Bench, asked: &str, confined: bool) -> io::Result<Vec<u8>> {
        let place = place(&bench.context(), asked, Access::Read, confined)?;
        place.root.read(&place.path, MAX_FILE)
    }

    /// FP-03, FP-04, FP-06
    #[test]
    fn a_confined_path_stays_in_the_workspace() {
        let bench = Bench::new("{}");
        for way in bench.ways_out() {
            let marked = way.starts_with(['/', '.']).then(|| format!("@{way}"));
            for way in [Some(way), marked].into_iter().flatten() {
                assert!(write(&bench, &way, true).is_err(), "{way}");
                assert!(read(&bench, &way, true).is_err(), "{way}");
            }
        }
        for way in [
            "a/",
            "~/x",
            "a\u{2044}b",
            "x\ny",
            "@~/x",
            "file:///etc/passwd",
        ] {
            assert!(write(&bench, way, true).is_err(), "{way}");
        }
        assert!(bench.outside_is_untouched());
        write(&bench, "deep/er/x", true).unwrap();
        assert_eq!(bench.get("deep/er/x"), "x");
        assert_eq!(read(&bench, "@./deep/er/x", true).unwrap(), b"x");
    }

    #[test]
    fn an_operator_can_open_the_rest_of_the_disk() {
        let bench = Bench::new("{tools: {fs: {workspaceOnly: false}}}");
        assert!(!workspace_only(&bench.context()));
        let other = bench.path.join("other");
        write(&bench, "../other", false).unwrap();
        write(&bench, bench.path.join("new/deep").to_str().unwrap(), false).unwrap();
        assert_eq!(read(&bench, other.to_str().unwrap(), false).unwrap(), b"x");
        let own = Bench::new(
            "{tools: {fs: {workspaceOnly: true}}, agents: {list: [{id: 'main', tools: {fs: {workspaceOnly: false}}}]}}",
        );
        assert!(!workspace_only(&own.context()));
    }

    /// TX-16
    #[test]
    fn the_config_and_the_state_are_out_of_reach() {
        let mut bench = Bench::new("{}");
        let home = bench.path.clone();
        let state = home.join(".openclaw");
        let text = "{tools: {fs: {workspaceOnly: false}}}";
        let config = home.join("openclaw.json");
        bench.config = config_at(&state, &config, text);
        fs::create_dir_all(state.join("ws")).unwrap();
        fs::write(state.join("exec-approvals.json"), "{}").unwrap();
        std::os::unix::fs::symlink(&state, home.join("alias")).unwrap();
        // The workspace holds it all; then it is one in the state directory, and the rest of the disk is open.
        bench.workspace = home.clone();
        let guarded = [
            "openclaw.json",
            ".openclaw/exec-approvals.json",
            ".openclaw/agents/main/x",
            ".openclaw/ws/../gateway-token",
            "alias/exec-approvals.json",
        ];
        for confined in [true, false] {
            for asked in guarded {
                assert!(write(&bench, asked, confined).is_err(), "{asked}");
                assert!(read(&bench, asked, confined).is_err(), "{asked}");
            }
        }
        bench.workspace = state.join("ws");
        for asked in guarded {
            let asked = home.join(asked);
            let asked = asked.to_str().unwrap();
            assert!(write(&bench, asked, false).is_err(), "{asked}");
        }
        write(&bench, "notes/a", true).unwrap();
        let own = state.join("ws/notes/a");
        write(&bench, own.to_str().unwrap(), false).unwrap();
        assert_eq!(fs::read_to_string(&config).unwrap(), text);
        bench.workspace = state.clone();
        assert!(write(&bench, "exec-approvals.json", true).is_err());
    }

    #[test]
    fn skills_are_read_and_not_written() {
        let mut bench = Bench::new("{}");
        let state = bench.path.join("state");
        bench.config = config_at(&state, &bench.path.join("c.json"), "{}");
        let skill = state.join("skills/x/SKILL.md");
        fs::create_dir_all(skill.parent().unwrap()).unwrap();
        fs::write(&skill, "how").unwrap();
        let asked = skill.to_str().unwrap();
        assert_eq!(read(&bench, asked, true).unwrap(), b"how");
        assert!(write(&bench, asked, true).is_err());
        let other = state.join("skills/../exec-approvals.json");
        assert!(read(&bench, other.to_str().unwrap(), true).is_err());
    }
}
