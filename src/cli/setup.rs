//! `setup`: a config with which the gateway starts, a workspace, and the folders that go with them.

use std::path::Path;

use serde_json::{Value, json};

use super::context::Context;
use super::dev;
use super::failure::Failure;
use super::options::{Command, EXIT_OK, Group, Need, flag, val};
use super::parse::Args;
use super::rpc::for_profile;
use super::term::{self, clean};
use crate::client::Address;
use crate::config::write;
use crate::config::{Config, agents, edit};
use crate::state::workspace;
use crate::sys::file;

pub static SETUP: Command = Command {
    options: &[&[
        val(
            "workspace",
            "folder",
            "the agent's workspace (stored as agents.defaults.workspace)",
        ),
        val(
            "mode",
            "mode",
            "local: the gateway runs here; remote: it runs elsewhere",
        ),
        val("remote-url", "url", "WebSocket address of a remote gateway"),
        val("remote-token", "token", "its token"),
        flag("non-interactive", "ask nothing (nothing is ever asked)"),
    ]],
    need: Need::Valid,
    examples: &[
        (
            "openclaw setup",
            "make a config, then start with `openclaw gateway`",
        ),
        (
            "openclaw setup --mode remote --remote-url wss://gw.example --remote-token T",
            "use a gateway on another machine",
        ),
    ],
    run: Some(run),
    ..Command::new(
        "setup",
        Group::Local,
        "make the config and the workspace of this installation",
    )
};

fn run(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    let fresh = !ctx.config().exists();
    if fresh && ctx.locations.profile.as_deref() == Some(dev::NAME) {
        dev::ensure(ctx)?;
    }
    let ctx = &ctx.again();
    let patch = patch(ctx, args)?;
    let file = ctx.locations.shown(&ctx.locations.config_path);
    let mut said = match fresh {
        true => format!("Wrote {file}"),
        false => format!("Config OK: {file}"),
    };
    if let Some(patch) = patch {
        let done = write::update(&ctx.locations, "cli setup", |config| {
            edit::merge_patch(config, &patch)
        });
        let done = done.map_err(|e| Failure::new(format!("Error: {e}")))?;
        for notice in &done.notices {
            term::warn(&clean(notice));
        }
        if !fresh {
            said = format!("Updated {file} (set {})", named(&patch).join(", "));
        }
    }
    let ctx = &ctx.again();
    term::say(&clean(&said));
    let (workspace, sessions) = make_folders(ctx)?;
    term::say(&clean(&format!("Workspace OK: {workspace}")));
    term::say(&clean(&format!("Sessions OK: {sessions}")));
    if ctx.config().str("gateway.mode") == Some("local") {
        let start = "Start with: openclaw gateway";
        term::say(&for_profile(start, ctx.locations.profile.as_deref()));
    }
    Ok(EXIT_OK)
}

/// What the config lacks, or is to say differently; `None` when it is fine as it is.
fn patch(ctx: &Context, args: &Args) -> Result<Option<Value>, Failure> {
    let config: &Config = &ctx.config();
    let mut patch = json!({});
    let remote = args.given("remote-url").is_some() || args.given("remote-token").is_some();
    let mode = match args.given("mode") {
        Some(mode @ ("local" | "remote")) => Some(mode),
        Some(_) => return Err(Failure::new("Invalid --mode (use \"local\" or \"remote\")")),
        None if remote => Some("remote"),
        // A gateway that nobody said otherwise of runs here.
        None if config.str("gateway.mode").is_none() => Some("local"),
        None => None,
    };
    if mode == Some("local") && remote {
        return Err(Failure::new(
            "Error: --remote-url and --remote-token need --mode remote",
        ));
    }
    if let Some(mode) = mode.filter(|m| config.str("gateway.mode") != Some(m)) {
        patch["gateway"]["mode"] = mode.into();
    }
    if let Some(url) = args.given("remote-url") {
        Address::parse(url).map_err(|e| Failure::new(format!("Error: {e}")))?;
        patch["gateway"]["remote"]["url"] = url.into();
    }
    if let Some(token) = args.given("remote-token") {
        patch["gateway"]["remote"]["token"] = token.into();
    }
    let set = config.str("agents.defaults.workspace");
    let wanted = match args.given("workspace") {
        Some(dir) => Some(ctx.locations.expand(dir)),
        // With everything else of the profile, and named, so that nobody has to guess it.
        None if set.is_none() && !config.exists() => {
            Some(ctx.locations.state_dir.join("workspace"))
        }
        None => None,
    };
    if let Some(dir) = wanted.filter(|d| set.map(|s| ctx.locations.expand(s)).as_ref() != Some(d)) {
        patch["agents"]["defaults"]["workspace"] = dir.display().to_string().into();
    }
    Ok((patch != json!({})).then_some(patch))
}

/// The dotted paths that a patch sets.
fn named(patch: &Value) -> Vec<String> {
    match patch {
        Value::Object(map) => map
            .iter()
            .flat_map(|(key, value)| match named(value) {
                below if below.is_empty() => vec![key.clone()],
                below => below.iter().map(|b| format!("{key}.{b}")).collect(),
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// Makes workspace and session folder of the default agent; both as one shows them.
fn make_folders(ctx: &Context) -> Result<(String, String), Failure> {
    let config = ctx.config();
    let agent = agents::default_id(&config);
    let failed = |path: &Path, e: std::io::Error| {
        Failure::new(format!("Error: cannot make {}: {e}", path.display()))
    };
    let dir = agents::workspace(&config, &ctx.locations, &agent);
    let bootstrap = !config.bool("agents.defaults.skipBootstrap", false);
    workspace::ensure(&dir, bootstrap).map_err(|e| failed(&dir, e))?;
    let sessions = ctx.paths().sessions(&agent);
    file::make_private_dir(&sessions).map_err(|e| failed(&sessions, e))?;
    Ok((ctx.locations.shown(&dir), ctx.locations.shown(&sessions)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::parse::{Parsed, parse};
    use crate::config::{self, testing::Folder};
    use std::fs;

    fn setup(dir: &Folder, line: &str) -> Result<u8, Failure> {
        let words = format!("setup {line}");
        match parse(words.split_whitespace().map(Into::into)) {
            Ok((_, Parsed::Run(_, args))) => run(&Context::of(dir.locations(&[])), &args),
            _ => panic!("{line}"),
        }
    }

    fn config(dir: &Folder) -> std::sync::Arc<Config> {
        let loaded = config::load(&dir.locations(&[]));
        assert_eq!(loaded.issues, []);
        loaded.config
    }

    #[test]
    fn a_fresh_setup_is_one_that_starts() {
        let dir = Folder::new();
        setup(&dir, "").unwrap();
        assert_eq!(config(&dir).str("gateway.mode"), Some("local"));
        let workspace = config(&dir)
            .str("agents.defaults.workspace")
            .unwrap()
            .to_string();
        assert!(Path::new(&workspace).join("BOOTSTRAP.md").exists());
        assert!(dir.path().join("agents/main/sessions").is_dir());
        let before = fs::read(dir.path().join("openclaw.json")).unwrap();
        setup(&dir, "").unwrap();
        assert_eq!(fs::read(dir.path().join("openclaw.json")).unwrap(), before);
    }

    #[test]
    fn an_existing_config_gets_only_what_it_lacks() {
        let dir = Folder::new();
        dir.write(
            "openclaw.json",
            "{\n  // mine\n  agents: {defaults: {workspace: '~/w'}},\n}\n",
        );
        setup(&dir, "").unwrap();
        let text = fs::read_to_string(dir.path().join("openclaw.json")).unwrap();
        assert!(text.contains("// mine"), "{text}");
        assert_eq!(config(&dir).str("gateway.mode"), Some("local"));
        assert_eq!(config(&dir).str("agents.defaults.workspace"), Some("~/w"));
        assert!(dir.path().join("w/SOUL.md").exists());
        setup(&dir, "--workspace ~/v").unwrap();
        assert!(dir.path().join("v/SOUL.md").exists());
    }

    #[test]
    fn a_remote_gateway_is_written_down_and_checked() {
        let dir = Folder::new();
        setup(&dir, "--remote-url wss://gw.example --remote-token T").unwrap();
        let c = config(&dir);
        assert_eq!(c.str("gateway.mode"), Some("remote"));
        assert_eq!(c.str("gateway.remote.url"), Some("wss://gw.example"));
        assert!(setup(&dir, "--remote-url http://x").is_err());
        assert!(setup(&dir, "--mode local --remote-url wss://x").is_err());
        assert!(setup(&dir, "--mode elsewhere").is_err());
    }

    #[test]
    fn a_patch_is_named_by_its_leaves() {
        let patch = json!({"gateway": {"mode": "local", "remote": {"url": "x"}}});
        assert_eq!(named(&patch), ["gateway.mode", "gateway.remote.url"]);
    }
}
