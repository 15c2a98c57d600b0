//! Whether a skill can be used on this host, and what is missing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use super::{Requirements, Skill};
use crate::config::{Config, Env};

/// What holds for a skill here and now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    /// Switched off in the config.
    pub disabled: bool,
    pub missing: Requirements,
    /// Each required config path, and whether it is set.
    pub config: Vec<(String, bool)>,
    pub eligible: bool,
}

/// The name of this system in `os` lists.
pub fn os_name() -> &'static str {
    match std::env::consts::OS {
        "macos" => "darwin",
        "windows" => "win32",
        other => other,
    }
}

/// Judges `skill` by the config and its environment.
pub fn gate(skill: &Skill, config: &Config) -> Gate {
    let entry = config.get_in(&["skills", "entries", &skill.key]);
    let entry = entry.unwrap_or(&Value::Null);
    let env = config.env();
    let given = |name: &str| {
        set(env.get(name))
            || set(entry["env"][name].as_str())
            || (skill.primary_env.as_deref() == Some(name) && set(entry["apiKey"].as_str()))
    };
    let without = |list: &[String], has: &dyn Fn(&str) -> bool| -> Vec<String> {
        list.iter().filter(|x| !has(x)).cloned().collect()
    };
    let need = &skill.requires;
    let on_path = |bin: &str| has_program(env, bin);
    let any = need.any_bins.is_empty() || need.any_bins.iter().any(|b| on_path(b));
    let here = need.os.is_empty() || need.os.iter().any(|o| o == os_name());
    let missing = Requirements {
        bins: without(&need.bins, &on_path),
        any_bins: if any {
            Vec::new()
        } else {
            need.any_bins.clone()
        },
        env: without(&need.env, &given),
        config: without(&need.config, &|path| truthy(config.get(path))),
        os: if here { Vec::new() } else { need.os.clone() },
    };
    // `always` skips every gate but the switch.
    let missing = if skill.always {
        Requirements::default()
    } else {
        missing
    };
    let disabled = entry["enabled"] == false;
    let eligible = !disabled && missing == Requirements::default();
    let checks = need.config.iter();
    Gate {
        config: checks
            .map(|path| (path.clone(), !missing.config.contains(path)))
            .collect(),
        disabled,
        missing,
        eligible,
    }
}

fn set(text: Option<&str>) -> bool {
    text.is_some_and(|t| !t.trim().is_empty())
}

fn truthy(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::String(s)) => !s.trim().is_empty(),
        Some(Value::Number(n)) => n.as_f64() != Some(0.0),
        Some(_) => true,
    }
}

/// Whether a program of that name can be started. Names with a slash are not looked for.
fn has_program(env: &Env, name: &str) -> bool {
    if name.is_empty() || name.contains('/') {
        return false;
    }
    let path = env.get("PATH").unwrap_or_default();
    path.split(':').filter(|d| d.starts_with('/')).any(|dir| {
        fs::metadata(Path::new(dir).join(name))
            .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::skills::{Source, load};
    use crate::config::testing::Folder;

    fn only(meta: &str) -> Skill {
        let f = Folder::new();
        f.write(
            "skills/s/SKILL.md",
            &format!("---\nname: s\ndescription: d\nmetadata: {{openclaw: {meta}}}\n---\n"),
        );
        load(&[(f.path().join("skills"), Source::Managed)]).remove(0)
    }

    fn judged(meta: &str, config: &str) -> Gate {
        let f = Folder::new();
        let bin = f.write("bin/tool", "");
        fs::set_permissions(&bin, fs::Permissions::from_mode(0o755)).unwrap();
        f.write("bin/plain", "");
        let path = f.path().join("bin");
        let loaded = f.load(config, &[("PATH", path.to_str().unwrap()), ("SET", "1")]);
        assert_eq!(loaded.issues, []);
        gate(&only(meta), &loaded.config)
    }

    #[test]
    fn what_is_missing_is_named() {
        let g = judged(
            "{os: ['plan9'], requires: {bins: ['tool', 'plain', '../bin/tool'], anyBins: ['x', 'y'], env: ['SET', 'KEY'], config: ['gateway.mode', 'hooks.token']}}",
            "{gateway: {mode: 'local'}}",
        );
        assert!(!g.eligible);
        assert_eq!(g.missing.bins, ["plain", "../bin/tool"]);
        assert_eq!(g.missing.any_bins, ["x", "y"]);
        assert_eq!(g.missing.env, ["KEY"]);
        assert_eq!(g.missing.config, ["hooks.token"]);
        assert_eq!(g.missing.os, ["plan9"]);
        assert_eq!(
            g.config,
            [
                ("gateway.mode".to_string(), true),
                ("hooks.token".to_string(), false)
            ]
        );
    }

    #[test]
    fn the_config_supplies_and_switches_off() {
        let needs = "{primaryEnv: 'KEY', requires: {bins: ['tool'], env: ['KEY']}}";
        assert!(!judged(needs, "{}").eligible);
        assert!(judged(needs, "{skills: {entries: {s: {apiKey: 'k'}}}}").eligible);
        assert!(judged(needs, "{skills: {entries: {s: {env: {KEY: 'k'}}}}}").eligible);
        let off = judged(
            needs,
            "{skills: {entries: {s: {apiKey: 'k', enabled: false}}}}",
        );
        assert!(off.disabled && !off.eligible);
        assert!(
            judged(
                "{always: true, os: ['plan9'], requires: {bins: ['none']}}",
                "{}"
            )
            .eligible
        );
        assert!(judged("{}", "{}").eligible);
    }
}
