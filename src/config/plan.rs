//! What an edit of the config means for a running gateway: nothing to do, work to do now, or a restart.

use serde_json::Value;

use super::Config;

/// What a changed path asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Read fresh at each use: counts from the next run or request on.
    NextUse,
    /// Taken over at once, in place.
    Live,
    /// Fixed at start.
    Restart,
}

impl Effect {
    /// The words of `openclaw config reload --dry-run`.
    pub fn about(self) -> &'static str {
        match self {
            Effect::NextUse => "next run",
            Effect::Live => "live",
            Effect::Restart => "restart",
        }
    }
}

/// `gateway.reload.mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    Off,
    Hot,
    Restart,
    #[default]
    Hybrid,
}

impl Mode {
    /// The mode that `config` asks for.
    pub fn of(config: &Config) -> Mode {
        match config.str("gateway.reload.mode") {
            Some("off") => Mode::Off,
            Some("hot") => Mode::Hot,
            Some("restart") => Mode::Restart,
            _ => Mode::Hybrid,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Off => "off",
            Mode::Hot => "hot",
            Mode::Restart => "restart",
            Mode::Hybrid => "hybrid",
        }
    }
}

/// Rules by prefix, in whole segments; the first that matches counts. What has none needs a restart.
///
/// Beyond the reference, credentials, trusted proxies, limits and tool lists are live: what was taken away
/// has to be gone at once (HS-08, SL-01).
const RULES: &[(&str, Effect)] = &[
    ("gateway.remote", Effect::NextUse),
    ("gateway.reload", Effect::NextUse),
    ("gateway.auth", Effect::Live),
    ("gateway.limits", Effect::Live),
    ("gateway.trustedProxies", Effect::Live),
    ("gateway.allowRealIpFallback", Effect::Live),
    ("gateway.tools", Effect::Live),
    ("gateway.nodes", Effect::Live),
    ("gateway.controlUi.allowedOrigins", Effect::Live),
    ("hooks", Effect::Live),
    ("agents.defaults.heartbeat", Effect::Live),
    ("agent.heartbeat", Effect::Live),
    // The jobs of another file are other jobs: those that run have to end first.
    ("cron.store", Effect::Restart),
    ("cron", Effect::Live),
    ("logging", Effect::Live),
    ("channels.defaults", Effect::Restart),
    ("channels", Effect::Live),
    ("meta", Effect::NextUse),
    ("identity", Effect::NextUse),
    ("wizard", Effect::NextUse),
    ("models", Effect::NextUse),
    ("agents", Effect::NextUse),
    ("tools", Effect::NextUse),
    ("bindings", Effect::NextUse),
    ("audio", Effect::NextUse),
    ("agent", Effect::NextUse),
    ("routing", Effect::NextUse),
    ("messages", Effect::NextUse),
    ("session", Effect::NextUse),
    ("talk", Effect::NextUse),
    ("skills", Effect::NextUse),
    ("ui", Effect::NextUse),
];

/// What a changed path asks for.
pub fn effect(path: &str) -> Effect {
    let under = |prefix: &str| {
        path.strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    RULES
        .iter()
        .find(|(prefix, _)| under(prefix))
        .map_or(Effect::Restart, |(_, e)| *e)
}

/// The changed paths between two configs, and what each asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub changes: Vec<(String, Effect)>,
}

/// What a gateway does about an edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing differs.
    Nothing,
    /// The mode is `off`: the edit is noted, and nothing of it counts before a restart.
    Ignore,
    /// Take the new config over in place. `ignored` are the paths that would need a restart (`hot`).
    Apply { ignored: Vec<String> },
    /// Start over with the new config.
    Restart,
}

impl Action {
    /// The action in one word, for clients.
    pub fn as_str(&self) -> &'static str {
        match self {
            Action::Nothing => "nothing",
            Action::Ignore => "ignore",
            Action::Apply { .. } => "apply",
            Action::Restart => "restart",
        }
    }
}

impl Plan {
    /// Compares what was written (includes and references resolved, defaults left out).
    pub fn between(old: &Config, new: &Config) -> Plan {
        let mut paths = Vec::new();
        differences(old.resolved(), new.resolved(), String::new(), &mut paths);
        Plan {
            changes: paths.into_iter().map(|p| (p.clone(), effect(&p))).collect(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The changed paths with that effect.
    pub fn with(&self, effect: Effect) -> Vec<&str> {
        self.changes
            .iter()
            .filter(|(_, e)| *e == effect)
            .map(|(p, _)| p.as_str())
            .collect()
    }

    /// All changed paths, joined by commas.
    pub fn paths(&self) -> String {
        join(self.changes.iter().map(|(p, _)| p.as_str()))
    }

    /// What to do in `mode`, the mode of the new config.
    pub fn decide(&self, mode: Mode) -> Action {
        let restart = self.with(Effect::Restart);
        match mode {
            _ if self.is_empty() => Action::Nothing,
            Mode::Off => Action::Ignore,
            Mode::Restart => Action::Restart,
            Mode::Hybrid if !restart.is_empty() => Action::Restart,
            Mode::Hot | Mode::Hybrid => Action::Apply {
                ignored: restart.into_iter().map(str::to_string).collect(),
            },
        }
    }

    /// What the log says about `action`, after `config change detected; evaluating reload (…)`.
    ///
    /// The flag tells a warning from plain news.
    pub fn log_lines(&self, action: &Action) -> Vec<(bool, String)> {
        let live = self.with(Effect::Live);
        let mut lines = Vec::new();
        match action {
            Action::Nothing => {}
            Action::Ignore => lines.push((
                false,
                "config reload disabled (gateway.reload.mode=off)".to_string(),
            )),
            Action::Restart => {
                let restart = self.with(Effect::Restart);
                let named = if restart.is_empty() {
                    self.paths()
                } else {
                    join(restart.into_iter())
                };
                lines.push((
                    true,
                    format!("config change requires gateway restart ({named})"),
                ));
            }
            Action::Apply { ignored } => {
                if !ignored.is_empty() {
                    let named = join(ignored.iter().map(String::as_str));
                    let text = format!(
                        "config reload requires gateway restart; hot mode ignoring ({named})"
                    );
                    lines.push((true, text));
                }
                let dynamic = self.with(Effect::NextUse);
                if !live.is_empty() {
                    lines.push((
                        false,
                        format!("config hot reload applied ({})", join(live.into_iter())),
                    ));
                } else if !dynamic.is_empty() {
                    let named = join(dynamic.into_iter());
                    lines.push((
                        false,
                        format!("config change applied (dynamic reads: {named})"),
                    ));
                }
            }
        }
        lines
    }
}

fn join<'a>(paths: impl Iterator<Item = &'a str>) -> String {
    paths.collect::<Vec<_>>().join(", ")
}

/// Paths at which `old` and `new` differ: as deep as objects go on both sides, lists as a whole.
fn differences(old: &Value, new: &Value, at: String, out: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(a), Value::Object(b)) => {
            let step = |key: &str| {
                if at.is_empty() {
                    key.to_string()
                } else {
                    format!("{at}.{key}")
                }
            };
            for (key, before) in a {
                match b.get(key) {
                    Some(after) => differences(before, after, step(key), out),
                    None => out.push(step(key)),
                }
            }
            out.extend(b.keys().filter(|k| !a.contains_key(*k)).map(|k| step(k)));
        }
        _ if old == new => {}
        _ => out.push(if at.is_empty() {
            "<root>".to_string()
        } else {
            at
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(old: &str, new: &str) -> Plan {
        Plan::between(&Config::from_text(old), &Config::from_text(new))
    }

    #[test]
    fn paths_are_as_deep_as_objects_go() {
        let p = plan(
            "{gateway: {port: 1, auth: {token: 'a'}}, session: {resetTriggers: ['a']}, ui: {seamColor: '111111'}}",
            "{gateway: {port: 2, auth: {token: 'b'}}, session: {resetTriggers: ['b']}, hooks: {token: 'x'}}",
        );
        let named: Vec<_> = p.changes.iter().map(|(p, _)| p.as_str()).collect();
        assert_eq!(
            named,
            [
                "gateway.auth.token",
                "gateway.port",
                "session.resetTriggers",
                "ui",
                "hooks"
            ]
        );
        assert_eq!(p.with(Effect::Restart), ["gateway.port"]);
        assert_eq!(p.with(Effect::Live), ["gateway.auth.token", "hooks"]);
        assert_eq!(p.with(Effect::NextUse), ["session.resetTriggers", "ui"]);
    }

    #[test]
    fn prefixes_are_whole_segments() {
        assert_eq!(effect("hooksy"), Effect::Restart);
        assert_eq!(effect("gateway.remote.url"), Effect::NextUse);
        assert_eq!(effect("gateway.remotely"), Effect::Restart);
        assert_eq!(effect("channels.defaults.heartbeat"), Effect::Restart);
        assert_eq!(effect("channels.irc.nick"), Effect::Live);
        assert_eq!(effect("agents.defaults.heartbeat.every"), Effect::Live);
        assert_eq!(effect("cron.store"), Effect::Restart);
        assert_eq!(effect("cron.maxConcurrentRuns"), Effect::Live);
        assert_eq!(effect("agents.defaults.workspace"), Effect::NextUse);
    }

    #[test]
    fn every_mode_decides_as_documented() {
        let none = plan("{ui: {seamColor: '111111'}}", "{ui: {seamColor: '222222'}}");
        let hot = plan("{hooks: {token: 'a'}}", "{hooks: {token: 'b'}}");
        let both = plan(
            "{hooks: {token: 'a'}, env: {A: '1'}}",
            "{hooks: {token: 'b'}, env: {A: '2'}}",
        );
        let apply = Action::Apply {
            ignored: Vec::new(),
        };
        for p in [&none, &hot, &both] {
            assert_eq!(p.decide(Mode::Off), Action::Ignore);
            assert_eq!(p.decide(Mode::Restart), Action::Restart);
        }
        assert_eq!(
            (none.decide(Mode::Hybrid), none.decide(Mode::Hot)),
            (apply.clone(), apply.clone())
        );
        assert_eq!(
            (hot.decide(Mode::Hybrid), hot.decide(Mode::Hot)),
            (apply.clone(), apply)
        );
        assert_eq!(both.decide(Mode::Hybrid), Action::Restart);
        let partly = both.decide(Mode::Hot);
        assert_eq!(
            partly,
            Action::Apply {
                ignored: vec!["env.A".into()]
            }
        );
        let lines = both.log_lines(&partly);
        assert_eq!(
            lines[0].1,
            "config reload requires gateway restart; hot mode ignoring (env.A)"
        );
        assert_eq!(lines[1].1, "config hot reload applied (hooks.token)");
        assert_eq!(
            plan("{ui: {}}", "{ui: {}}").decide(Mode::Restart),
            Action::Nothing
        );
    }
}
