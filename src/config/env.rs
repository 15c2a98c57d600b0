//! The process environment as data.
//!
//! It is read once; everything else in the crate is handed this snapshot. What the state folder's
//! `.env` and the config's `env` section add is laid over it, and the process's own environment is
//! never changed, so that two threads never see different worlds.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// Names and values. Variables that are not UTF-8 are left out.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Env(BTreeMap<String, String>);

impl Env {
    /// The environment of this process. `HOME` is asked of the system when it is unset.
    pub fn from_process() -> Env {
        let mut env = Env(std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
            .collect());
        if env.text("USERPROFILE").is_none()
            && let Some(home) = std::env::home_dir().as_deref().and_then(Path::to_str)
        {
            env.fill("HOME", home);
        }
        env
    }

    /// The value of `name`, as it is; `None` when unset.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The value of `name` without surrounding blanks; `None` when that leaves nothing.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).map(str::trim).filter(|v| !v.is_empty())
    }

    /// Whether `name` is switched on: `1`, `true`, `yes` or `on`, in any case.
    pub fn flag(&self, name: &str) -> bool {
        self.text(name)
            .is_some_and(|v| ["1", "true", "yes", "on"].contains(&v.to_ascii_lowercase().as_str()))
    }

    /// Sets `name`, for this snapshot only.
    pub fn set(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_string(), value.to_string());
    }

    /// Sets `name` unless it holds something already. True when it was set.
    pub fn fill(&mut self, name: &str, value: &str) -> bool {
        let free = self.text(name).is_none();
        if free {
            self.set(name, value);
        }
        free
    }

    /// All of it.
    pub fn map(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Env {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Env {
        Env(pairs
            .into_iter()
            .map(|(k, v)| (k.into(), v.into()))
            .collect())
    }
}

/// Names only, since values may be secrets.
impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Beginnings of names that load code into a process, or into every child of it.
const HIJACK_PREFIXES: &[&str] = &[
    "LD_",
    "DYLD_",
    "PYTHON",
    "PERL5",
    "RUBY",
    "NODE_",
    "BASH_FUNC_",
    "NPM_CONFIG_",
    "GIT_CONFIG",
    "GIT_SSH",
    "LUA_",
];

/// Names that do the same, or that choose which programs and files a child trusts.
const HIJACK_NAMES: &[&str] = &[
    "BASHOPTS",
    "BASH_ENV",
    "BROWSER",
    "CDPATH",
    "CLASSPATH",
    "COMSPEC",
    "CONFIGURATION_DIRECTORY",
    "EDITOR",
    "ENV",
    "FPATH",
    "GCONV_PATH",
    "GETCONF_DIR",
    "GIT_ASKPASS",
    "GIT_EDITOR",
    "GIT_EXEC_PATH",
    "GIT_EXTERNAL_DIFF",
    "GIT_PAGER",
    "GIT_PROXY_COMMAND",
    "GIT_TEMPLATE_DIR",
    "GLIBC_TUNABLES",
    "HOME",
    "HOSTALIASES",
    "IFS",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "LESSCLOSE",
    "LESSOPEN",
    "LOCALDOMAIN",
    "LOCPATH",
    "MANPAGER",
    "NLSPATH",
    "NOTIFY_SOCKET",
    "OPENSSL_CONF",
    "OPENSSL_ENGINES",
    "OPENSSL_MODULES",
    "PAGER",
    "PATH",
    "PATHEXT",
    "PROMPT_COMMAND",
    "PS4",
    "RESOLV_HOST_CONF",
    "RES_OPTIONS",
    "RUNTIME_DIRECTORY",
    "SHELL",
    "SHELLOPTS",
    "SSH_ASKPASS",
    "SSLKEYLOGFILE",
    "STATE_DIRECTORY",
    "SUDO_ASKPASS",
    "TERMCAP",
    "TERMINFO",
    "TERMINFO_DIRS",
    "TMPDIR",
    "USERPROFILE",
    "VISUAL",
    "ZDOTDIR",
    "_JAVA_OPTIONS",
];

/// Names of our own that a file in the state folder may set. The others say where that folder is and
/// what runs, and only the process environment has a say in that.
const OWN_NAMES: &[&str] = &[
    "OPENCLAW_GATEWAY_PORT",
    "OPENCLAW_GATEWAY_TOKEN",
    "OPENCLAW_GATEWAY_PASSWORD",
    "OPENCLAW_LOG_LEVEL",
    "OPENCLAW_SKIP_CHANNELS",
    "OPENCLAW_SKIP_PROVIDERS",
    "OPENCLAW_SKIP_CRON",
];

/// Whether a file may not set `name`: it could hijack this process or a child, or it is no name.
pub fn refused(name: &str) -> bool {
    let plain = name.trim();
    let upper = plain.to_ascii_uppercase();
    plain.is_empty()
        || plain != name
        || name.contains(['=', '\0', '\n', '\r'])
        || HIJACK_PREFIXES.iter().any(|p| upper.starts_with(p))
        || HIJACK_NAMES.contains(&upper.as_str())
        || ((upper.starts_with("OPENCLAW_") || upper.starts_with("CLAWDBOT_"))
            && !OWN_NAMES.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cf_02_names_that_hijack_are_refused_however_they_are_spelled() {
        for name in [
            "LD_PRELOAD",
            "ld_preload",
            "DYLD_INSERT_LIBRARIES",
            "PATH",
            "Path",
            "NODE_OPTIONS",
            "BASH_ENV",
            "ENV",
            "IFS",
            "PYTHONSTARTUP",
            "PERL5LIB",
            "PERL5OPT",
            "RUBYOPT",
            "PATH ",
            " LD_PRELOAD",
            "A=B",
            "",
            "A\0B",
            "OPENCLAW_STATE_DIR",
            "OPENCLAW_CONFIG_PATH",
            "OPENCLAW_HOME",
            "CLAWDBOT_STATE_DIR",
            "openclaw_state_dir",
        ] {
            assert!(refused(name), "{name:?}");
        }
    }

    #[test]
    fn credentials_and_ordinary_names_pass() {
        for name in [
            "OPENAI_API_KEY",
            "TELEGRAM_BOT_TOKEN",
            "OPENCLAW_GATEWAY_TOKEN",
            "TZ",
            "lower_case",
        ] {
            assert!(!refused(name), "{name:?}");
        }
    }

    #[test]
    fn blank_counts_as_unset() {
        let mut env: Env = [("A", "  "), ("B", " x ")].into_iter().collect();
        assert_eq!(env.get("A"), Some("  "));
        assert_eq!(env.text("A"), None);
        assert_eq!(env.text("B"), Some("x"));
        assert!(env.fill("A", "new"));
        assert!(!env.fill("B", "new"));
        assert_eq!((env.get("A"), env.get("B")), (Some("new"), Some(" x ")));
    }
}
