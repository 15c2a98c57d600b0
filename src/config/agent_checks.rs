//! What can be wrong with the agents as a whole: two that share a folder of credentials, pictures outside
//! of their workspace.

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::agents::{agent_dir, default_id, entries, normalise, workspace};
use super::{Config, Issue, locations};

/// What is wrong, in the order of the file. Shared folders come alone.
pub fn check(config: &Config) -> Vec<Issue> {
    let shared = shared_dirs(config);
    if shared.is_some() {
        return shared.into_iter().collect();
    }
    let entries = entries(config).enumerate();
    let wrong = entries.filter_map(|(i, entry)| {
        let avatar = entry.get("identity")?.get("avatar")?.as_str()?;
        let message = wrong_avatar(config, &id_of(entry), avatar.trim())?;
        let path = format!("agents.list.{i}.identity.avatar");
        Some(Issue::new(path, message))
    });
    wrong.collect()
}

fn shared_dirs(config: &Config) -> Option<Issue> {
    let mut ids = vec![default_id(config)];
    let bindings = config.get("bindings").and_then(Value::as_array);
    let bound = bindings.into_iter().flatten();
    let bound = bound.filter_map(|b| Some(normalise(b.get("agentId")?.as_str()?)));
    for id in entries(config).map(id_of).chain(bound) {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    let mut by_dir: Vec<(PathBuf, Vec<String>)> = Vec::new();
    for id in ids {
        let dir = agent_dir(config, config.locations(), &id);
        match by_dir.iter_mut().find(|(d, _)| *d == dir) {
            Some((_, sharing)) => sharing.push(id),
            None => by_dir.push((dir, vec![id])),
        }
    }
    let conflicts: Vec<_> = by_dir
        .iter()
        .filter(|(_, ids)| ids.len() > 1)
        .map(|(dir, ids)| format!("{}: {}", dir.display(), ids.join(", ")))
        .collect();
    (!conflicts.is_empty()).then(|| {
        let conflicts = conflicts.join("; ");
        Issue::new(
            "agents.list",
            format!(
                "Duplicate agentDir detected (multi-agent config). Give each agent its own: {conflicts}"
            ),
        )
    })
}

fn wrong_avatar(config: &Config, id: &str, avatar: &str) -> Option<&'static str> {
    const FORM: &str =
        "identity.avatar must be a workspace-relative path, http(s) URL, or data URI.";
    let lower = avatar.to_ascii_lowercase();
    match lower.split_once(':').map(|(scheme, _)| scheme) {
        Some("http" | "https" | "data") => return None,
        Some(s) if s.starts_with(|c: char| c.is_ascii_alphabetic()) && !s.contains('/') => {
            return Some(FORM);
        }
        _ if avatar.starts_with('~') => return Some(FORM),
        _ => {}
    }
    let workspace = workspace(config, config.locations(), id);
    let inside = locations::absolute(&workspace.join(avatar)).starts_with(&workspace);
    (!avatar.is_empty() && !inside)
        .then_some("identity.avatar must stay within the agent workspace.")
}

fn id_of(entry: &Map<String, Value>) -> String {
    normalise(entry.get("id").and_then(Value::as_str).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use crate::config::testing::Folder;

    #[test]
    fn shared_credential_folders_are_refused() {
        let dir = Folder::new();
        let text = "{agents: {list: [{id: 'a', agentDir: '/x'}, {id: 'b', agentDir: '/y/../x'}]}}";
        let issue = dir.load(text, &[]).issues[0].to_string();
        assert!(
            issue.starts_with("agents.list: Duplicate agentDir detected (multi-agent config).")
        );
        assert!(issue.ends_with("/x: a, b"), "{issue}");
    }

    #[test]
    fn avatars_stay_in_the_workspace() {
        let dir = Folder::new();
        let issue = |avatar: &str| {
            let text =
                format!("{{agents: {{list: [{{id: 'a', identity: {{avatar: '{avatar}'}}}}]}}}}");
            dir.load(&text, &[]).issues.first().map(ToString::to_string)
        };
        for fine in [
            "",
            "a.png",
            "x/../a.png",
            "https://h/a.png",
            "data:image/png;base64,x",
            "🦞",
        ] {
            assert_eq!(issue(fine), None, "{fine}");
        }
        let outside =
            "agents.list.0.identity.avatar: identity.avatar must stay within the agent workspace.";
        for bad in ["../a.png", "/etc/passwd"] {
            assert_eq!(issue(bad).as_deref(), Some(outside), "{bad}");
        }
        let form = "agents.list.0.identity.avatar: identity.avatar must be a workspace-relative path, \
                    http(s) URL, or data URI.";
        for bad in ["~/a.png", "file:///etc/passwd", "javascript:1"] {
            assert_eq!(issue(bad).as_deref(), Some(form), "{bad}");
        }
    }
}
