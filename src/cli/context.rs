//! What every command starts with: environment, places, terminal, and the config when it is asked for.

use std::cell::OnceCell;
use std::sync::Arc;

use super::failure::Failure;
use super::parse::Globals;
use super::term::Term;
use crate::config::locations::apply_profile;
use crate::config::{self, Config, Env, Issue, Loaded, Locations};
use crate::state::Paths;

/// The profile that `--dev` stands for.
const DEV_PROFILE: &str = "dev";
/// The levels that `--log-level` takes.
const LEVELS: [&str; 7] = ["silent", "fatal", "error", "warn", "info", "debug", "trace"];

/// One invocation of the program.
pub struct Context {
    pub locations: Locations,
    pub term: Term,
    loaded: OnceCell<Loaded>,
}

impl Context {
    /// Applies what stood before the command word to `env`, and finds the places.
    pub fn new(globals: &Globals, mut env: Env) -> Result<Context, Failure> {
        let ours = |text: &str| Failure::usage(format!("[openclaw] {text}"));
        match &globals.profile {
            Some(_) if globals.dev => {
                return Err(ours("Cannot combine --dev with --profile"));
            }
            Some(name) if name.is_empty() => return Err(ours("--profile requires a value")),
            name => {
                let dev = globals.dev.then_some(DEV_PROFILE);
                if let Some(name) = name.as_deref().or(dev) {
                    apply_profile(&mut env, name).map_err(|e| ours(&e.to_string()))?;
                }
            }
        }
        if let Some(level) = &globals.log_level {
            if !LEVELS.contains(&level.as_str()) {
                let text = format!("Invalid --log-level (use {})", LEVELS.join(", "));
                return Err(Failure::new(text));
            }
            env.set("OPENCLAW_LOG_LEVEL", level);
        }
        Ok(Context {
            term: Term::new(&env, globals.no_color),
            locations: Locations::from_env(&env),
            loaded: OnceCell::new(),
        })
    }

    /// The same, with the config read anew when it is asked for.
    #[must_use]
    pub fn again(&self) -> Context {
        Context {
            term: self.term,
            locations: self.locations.clone(),
            loaded: OnceCell::new(),
        }
    }

    /// A context for tests: plain output, config in the folder of `locations`.
    #[cfg(test)]
    pub fn of(locations: Locations) -> Context {
        Context {
            locations,
            term: Term::plain(),
            loaded: OnceCell::new(),
        }
    }

    /// The config as it is now, or the defaults when the file is invalid. Read once.
    pub fn config(&self) -> Arc<Config> {
        self.loaded().config.clone()
    }

    /// What makes the config file invalid; empty when it is fine or missing.
    pub fn issues(&self) -> &[Issue] {
        &self.loaded().issues
    }

    /// Where the state of this installation is.
    pub fn paths(&self) -> Paths {
        Paths::of(&self.locations)
    }

    /// What to tell somebody whose config is invalid.
    pub fn invalid_config(&self) -> String {
        let mut text = format!(
            "Config invalid\nFile: {}\nProblem:\n",
            self.locations.shown(&self.locations.config_path)
        );
        for issue in self.issues() {
            text.push_str(&format!("  - {issue}\n"));
        }
        text.push_str(
            "\nRun: openclaw doctor --fix (or edit the file, then: openclaw config check)",
        );
        text
    }

    fn loaded(&self) -> &Loaded {
        self.loaded.get_or_init(|| config::load(&self.locations))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(globals: Globals, pairs: &[(&str, &str)]) -> Result<Context, Failure> {
        let mut env: Env = pairs.iter().copied().collect();
        env.fill("HOME", "/home/u");
        Context::new(&globals, env)
    }

    fn named(profile: Option<&str>, dev: bool) -> Globals {
        Globals {
            profile: profile.map(str::to_string),
            dev,
            ..Globals::default()
        }
    }

    #[test]
    fn a_profile_moves_state_and_config_but_no_explicit_variable() {
        let c = context(named(Some("a_B-1"), false), &[]).unwrap();
        assert_eq!(
            c.locations.state_dir.to_str(),
            Some("/home/u/.openclaw-a_B-1")
        );
        let c = context(named(Some("x"), false), &[("OPENCLAW_STATE_DIR", "/s")]).unwrap();
        assert_eq!(c.locations.state_dir.to_str(), Some("/s"));
        let c = context(named(None, true), &[]).unwrap();
        assert_eq!(
            c.locations.state_dir.to_str(),
            Some("/home/u/.openclaw-dev")
        );
        assert_eq!(config::gateway_port(None, &c.config()), 19001);
        assert_eq!(c.locations.profile.as_deref(), Some("dev"));
    }

    #[test]
    fn impossible_profiles_end_with_2() {
        for (globals, says) in [
            (named(Some("bad/name"), false), "Invalid --profile"),
            (
                named(Some("x"), true),
                "Cannot combine --dev with --profile",
            ),
            (named(Some(""), false), "requires a value"),
        ] {
            let f = context(globals, &[]).err().unwrap();
            assert!(f.code == 2 && f.text.contains(says), "{}", f.text);
        }
    }
}
