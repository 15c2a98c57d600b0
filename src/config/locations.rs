//! Where the configuration and the state live: the variables, the profile, the older names.
//!
//! Settled once, when the process starts. The tree inside the state folder is described in `state`.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use super::env::Env;

/// Folder of the state under the home folder, and those of earlier names of the product.
const STATE_DIRS: [&str; 4] = [".openclaw", ".clawdbot", ".moldbot", ".moltbot"];
/// Name of the config file, and those of earlier names of the product.
const CONFIG_FILES: [&str; 4] = [
    "openclaw.json",
    "clawdbot.json",
    "moldbot.json",
    "moltbot.json",
];
/// The profile that is no profile.
const DEFAULT_PROFILE: &str = "default";
/// The profile of `--dev`.
pub const DEV_PROFILE: &str = "dev";
/// The port that goes with it.
const DEV_PORT: &str = "19001";
/// Longest name of a profile in bytes; it becomes part of file and service names.
const MAX_PROFILE: usize = 64;

/// The places of one installation, and the environment that they were found with.
#[derive(Clone, Debug)]
pub struct Locations {
    /// The process environment.
    pub env: Env,
    /// What `~` stands for.
    pub home: PathBuf,
    /// Folder of everything that the gateway keeps.
    pub state_dir: PathBuf,
    /// The config file; need not exist.
    pub config_path: PathBuf,
    /// Folder of channel credentials and pairings.
    pub oauth_dir: PathBuf,
    /// The profile, unless it is the default one.
    pub profile: Option<String>,
}

impl Locations {
    /// The places that `env` names.
    pub fn from_env(env: &Env) -> Locations {
        let home = home(env);
        let first = |names: [&str; 2]| {
            let text = names.iter().find_map(|n| env.text(n))?;
            Some(expand(text, &home))
        };
        let override_dir = first(["OPENCLAW_STATE_DIR", "CLAWDBOT_STATE_DIR"]);
        let defaults = STATE_DIRS.map(|d| home.join(d));
        let state_dir = override_dir.clone().unwrap_or_else(|| {
            let found = defaults.iter().find(|d| d.exists());
            found.unwrap_or(&defaults[0]).clone()
        });
        let config_path =
            first(["OPENCLAW_CONFIG_PATH", "CLAWDBOT_CONFIG_PATH"]).unwrap_or_else(|| {
                let folders = override_dir.iter().chain(&defaults);
                let mut files = folders.flat_map(|d| CONFIG_FILES.map(|f| d.join(f)));
                let found = files.find(|f| f.exists());
                found.unwrap_or_else(|| state_dir.join(CONFIG_FILES[0]))
            });
        let oauth_dir = env.text("OPENCLAW_OAUTH_DIR");
        let profile = env.text("OPENCLAW_PROFILE");
        Locations {
            oauth_dir: oauth_dir
                .map_or_else(|| state_dir.join("credentials"), |dir| expand(dir, &home)),
            profile: profile
                .filter(|p| !p.eq_ignore_ascii_case(DEFAULT_PROFILE))
                .map(str::to_string),
            env: env.clone(),
            home,
            state_dir,
            config_path,
        }
    }

    /// `text` as a path: a leading `~` is the home folder, anything relative starts in the working
    /// folder, and `.` and `..` are worked out.
    pub fn expand(&self, text: &str) -> PathBuf {
        expand(text.trim(), &self.home)
    }

    /// `path` as one shows it to a person: the home folder is `~`.
    pub fn shown(&self, path: &Path) -> String {
        match path.strip_prefix(&self.home) {
            Ok(rest) if rest.as_os_str().is_empty() => "~".to_string(),
            Ok(rest) => format!("~/{}", rest.display()),
            Err(_) => path.display().to_string(),
        }
    }
}

/// A profile name that is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadProfile;

impl fmt::Display for BadProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Invalid --profile (use letters, numbers, \"_\", \"-\" only)")
    }
}

impl std::error::Error for BadProfile {}

/// Points `env` at the profile `name`: its own state folder and config file, and for `dev` its port, each
/// unless its variable is set already.
pub fn apply_profile(env: &mut Env, name: &str) -> Result<(), BadProfile> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !starts_well || name.len() > MAX_PROFILE || !name.chars().all(plain) {
        return Err(BadProfile);
    }
    let suffix = match name.eq_ignore_ascii_case(DEFAULT_PROFILE) {
        true => String::new(),
        false => format!("-{name}"),
    };
    env.set("OPENCLAW_PROFILE", name);
    let dir = home(env).join(format!("{}{suffix}", STATE_DIRS[0]));
    env.fill("OPENCLAW_STATE_DIR", &dir.to_string_lossy());
    let dir = expand(
        env.text("OPENCLAW_STATE_DIR").unwrap_or_default(),
        &home(env),
    );
    let file = dir.join(CONFIG_FILES[0]);
    env.fill("OPENCLAW_CONFIG_PATH", &file.to_string_lossy());
    if name == DEV_PROFILE {
        env.fill("OPENCLAW_GATEWAY_PORT", DEV_PORT);
    }
    Ok(())
}

fn home(env: &Env) -> PathBuf {
    let real = env.text("HOME").or_else(|| env.text("USERPROFILE"));
    let real = PathBuf::from(real.unwrap_or("."));
    match env.text("OPENCLAW_HOME") {
        Some(text) => expand(text, &absolute(&real)),
        None => absolute(&real),
    }
}

fn expand(text: &str, home: &Path) -> PathBuf {
    match text.strip_prefix('~') {
        Some("") => home.to_path_buf(),
        Some(rest) if rest.starts_with('/') => absolute(&home.join(rest.trim_start_matches('/'))),
        _ => absolute(Path::new(text)),
    }
}

/// `path` from the root, without `.` and `..`; links are not looked at.
pub(super) fn absolute(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let mut out = PathBuf::new();
    for part in whole.components() {
        match part {
            Component::ParentDir => {
                out.pop();
            }
            Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::Folder;

    fn found(pairs: &[(&str, &str)]) -> Locations {
        Locations::from_env(&pairs.iter().copied().collect())
    }

    #[test]
    fn the_home_folder_holds_everything_by_default() {
        let dir = Folder::new();
        let home = dir.path().to_str().unwrap();
        let at = found(&[("HOME", home)]);
        assert_eq!(at.state_dir, dir.path().join(".openclaw"));
        assert_eq!(at.config_path, dir.path().join(".openclaw/openclaw.json"));
        assert_eq!(at.oauth_dir, dir.path().join(".openclaw/credentials"));
        assert_eq!(at.profile, None);
        assert_eq!(at.shown(&at.config_path), "~/.openclaw/openclaw.json");
    }

    #[test]
    fn older_names_count_only_without_the_new_one() {
        let dir = Folder::new();
        let home = dir.path().to_str().unwrap();
        dir.write(".moldbot/moldbot.json", "{}");
        dir.write(".clawdbot/clawdbot.json", "{}");
        let at = found(&[("HOME", home)]);
        assert_eq!(at.state_dir, dir.path().join(".clawdbot"));
        assert_eq!(at.config_path, dir.path().join(".clawdbot/clawdbot.json"));
        dir.write(".openclaw/clawdbot.json", "{}");
        let at = found(&[("HOME", home)]);
        assert_eq!(at.state_dir, dir.path().join(".openclaw"));
        assert_eq!(at.config_path, dir.path().join(".openclaw/clawdbot.json"));
    }

    #[test]
    fn variables_win_new_before_old() {
        let at = found(&[
            ("HOME", "/h"),
            ("OPENCLAW_HOME", "~/other"),
            ("OPENCLAW_STATE_DIR", " ~/s/../state "),
            ("CLAWDBOT_STATE_DIR", "/old"),
            ("CLAWDBOT_CONFIG_PATH", "~/c.json"),
            ("OPENCLAW_OAUTH_DIR", "/o"),
        ]);
        assert_eq!(at.home, Path::new("/h/other"));
        assert_eq!(at.state_dir, Path::new("/h/other/state"));
        assert_eq!(at.config_path, Path::new("/h/other/c.json"));
        assert_eq!(at.oauth_dir, Path::new("/o"));
        assert_eq!(
            found(&[("HOME", "/h"), ("CLAWDBOT_STATE_DIR", "/old")]).state_dir,
            Path::new("/old")
        );
    }

    #[test]
    fn the_config_of_the_default_folder_serves_an_empty_state_folder() {
        let dir = Folder::new();
        let home = dir.path().to_str().unwrap();
        dir.write(".openclaw/openclaw.json", "{}");
        let other = dir.path().join("other");
        let at = found(&[
            ("HOME", home),
            ("OPENCLAW_STATE_DIR", other.to_str().unwrap()),
        ]);
        assert_eq!(at.state_dir, other);
        assert_eq!(at.config_path, dir.path().join(".openclaw/openclaw.json"));
    }

    #[test]
    fn a_profile_has_its_own_folder() {
        let mut env: Env = [("HOME", "/h")].into_iter().collect();
        apply_profile(&mut env, "work").unwrap();
        let at = Locations::from_env(&env);
        assert_eq!(at.profile.as_deref(), Some("work"));
        assert_eq!(at.config_path, Path::new("/h/.openclaw-work/openclaw.json"));

        let mut env: Env = [("HOME", "/h"), ("OPENCLAW_STATE_DIR", "/s")]
            .into_iter()
            .collect();
        apply_profile(&mut env, DEV_PROFILE).unwrap();
        let at = Locations::from_env(&env);
        assert_eq!(at.config_path, Path::new("/s/openclaw.json"));
        assert_eq!(at.env.get("OPENCLAW_GATEWAY_PORT"), Some("19001"));

        let mut env: Env = [("HOME", "/h")].into_iter().collect();
        apply_profile(&mut env, "default").unwrap();
        assert_eq!(Locations::from_env(&env).profile, None);
        for bad in ["", "a b", "a/b", "..", "é", "-x"] {
            assert_eq!(apply_profile(&mut env, bad), Err(BadProfile), "{bad:?}");
        }
    }
}
