//! Which commands may be invoked on a node: a list per platform, widened and narrowed by the config.
//!
//! The platform is that of the paired record. What a reconnect claims is display text only.

use crate::config::Config;

/// The kind of machine that a node is, as far as the lists below tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    Ios,
    Android,
    Macos,
    Windows,
    Linux,
    /// Anything else, look-alike spellings included: gets the smallest list.
    Unknown,
}

impl Platform {
    /// Reads the platform text of a pairing record: `ios 18.0`, `macOS`, `darwin`, `win32`, `linux`.
    ///
    /// The first word decides, whatever its case. Text that is not plain ASCII is [`Platform::Unknown`].
    pub fn of(text: &str) -> Platform {
        let text = text.trim();
        if !text.bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
            return Platform::Unknown;
        }
        let word = text
            .split(|c: char| !c.is_ascii_alphanumeric())
            .next()
            .unwrap_or_default();
        match word.to_ascii_lowercase().as_str() {
            "ios" | "ipados" => Platform::Ios,
            "android" => Platform::Android,
            "macos" | "darwin" | "mac" => Platform::Macos,
            "windows" | "win32" => Platform::Windows,
            "linux" => Platform::Linux,
            _ => Platform::Unknown,
        }
    }

    /// What may be invoked on it when the config says nothing.
    fn defaults(self) -> &'static [&'static [&'static str]] {
        match self {
            Platform::Ios => &[CANVAS, PERSONAL, NOTIFY],
            Platform::Android => &[CANVAS, PERSONAL],
            Platform::Macos => &[CANVAS, PERSONAL, NOTIFY, HOST],
            Platform::Windows | Platform::Linux => &[NOTIFY, HOST],
            Platform::Unknown => &[NOTIFY],
        }
    }
}

const CANVAS: &[&str] = &[
    "canvas.present",
    "canvas.hide",
    "canvas.navigate",
    "canvas.eval",
    "canvas.snapshot",
    "canvas.a2ui.push",
    "canvas.a2ui.pushJSONL",
    "canvas.a2ui.reset",
];
const PERSONAL: &[&str] = &[
    "camera.list",
    "location.get",
    "device.info",
    "device.status",
    "contacts.search",
    "calendar.events",
    "reminders.list",
    "photos.latest",
    "motion.activity",
    "motion.pedometer",
];
const NOTIFY: &[&str] = &["system.notify"];
const HOST: &[&str] = &["system.run", "system.which", "browser.proxy"];

/// Whether `command` neither executes nor spies: some platform may be sent it by default, and it runs
/// nothing on the host.
pub fn is_harmless(command: &str) -> bool {
    [CANVAS, PERSONAL, NOTIFY]
        .iter()
        .any(|group| group.contains(&command))
}

/// Why a command is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not on the list of the platform, nor allowed by the config; or denied there.
    NotAllowlisted,
    /// The node said that it can do nothing.
    NothingDeclared,
    /// Allowed, but the node did not say that it can do it, or that was never approved.
    NotDeclared,
}

impl Refusal {
    /// The word in `details.reason`.
    pub fn reason(self) -> &'static str {
        match self {
            Refusal::NotAllowlisted => "command not allowlisted",
            Refusal::NothingDeclared => "node did not declare commands",
            Refusal::NotDeclared => "command not declared by node",
        }
    }
}

/// The config's say: `gateway.nodes.allowCommands` adds, `gateway.nodes.denyCommands` takes away and wins.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    allow: Vec<String>,
    deny: Vec<String>,
}

impl Policy {
    /// A policy from two lists of exact command names.
    pub fn new(allow: &[&str], deny: &[&str]) -> Policy {
        let clean = |list: &[&str]| {
            list.iter()
                .map(|s| s.trim().to_string())
                .filter(|s| !s.is_empty())
                .collect()
        };
        Policy {
            allow: clean(allow),
            deny: clean(deny),
        }
    }

    /// The policy of that config.
    pub fn of(config: &Config) -> Policy {
        Policy::new(
            &config.list("gateway.nodes.allowCommands"),
            &config.list("gateway.nodes.denyCommands"),
        )
    }

    /// Whether `command` may be invoked on a node of `platform` at all.
    pub fn allows(&self, platform: Platform, command: &str) -> bool {
        let listed = || {
            platform
                .defaults()
                .iter()
                .any(|group| group.contains(&command))
        };
        !self.deny.iter().any(|d| d == command)
            && (self.allow.iter().any(|a| a == command) || listed())
    }

    /// Those of `declared` that may be invoked, sorted, each once.
    pub fn effective(&self, platform: Platform, declared: &[String]) -> Vec<String> {
        let mut out: Vec<String> = declared
            .iter()
            .filter(|c| self.allows(platform, c))
            .cloned()
            .collect();
        out.sort();
        out.dedup();
        out
    }

    /// Whether `command` may be invoked on a node of `platform` that declared `declared`.
    pub fn check(
        &self,
        platform: Platform,
        declared: &[String],
        command: &str,
    ) -> Result<(), Refusal> {
        if !self.allows(platform, command) {
            Err(Refusal::NotAllowlisted)
        } else if declared.is_empty() {
            Err(Refusal::NothingDeclared)
        } else if !declared.iter().any(|d| d == command) {
            Err(Refusal::NotDeclared)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| s.to_string()).collect()
    }

    #[test]
    fn platforms_are_read_by_their_first_word() {
        for (text, want) in [
            ("ios 18.0", Platform::Ios),
            ("iPadOS 17", Platform::Ios),
            ("Android", Platform::Android),
            ("darwin", Platform::Macos),
            ("macOS 15.2", Platform::Macos),
            ("win32", Platform::Windows),
            ("LINUX", Platform::Linux),
            ("linux-musl", Platform::Linux),
            ("linuxish", Platform::Unknown),
            ("freebsd", Platform::Unknown),
            ("", Platform::Unknown),
        ] {
            assert_eq!(Platform::of(text), want, "{text}");
        }
    }

    /// HS-07
    #[test]
    fn look_alike_platforms_get_the_smallest_list() {
        for text in ["l\u{456}nux", "LINUX\u{200b}", "linux\u{0}", "lin\nux", ""] {
            let platform = Platform::of(text);
            assert_eq!(platform, Platform::Unknown, "{text:?}");
            let policy = Policy::default();
            assert!(!policy.allows(platform, "system.run"));
            assert!(!policy.allows(platform, "system.which"));
            assert!(!policy.allows(platform, "location.get"));
        }
        assert!(Policy::default().allows(Platform::Linux, "system.run"));
    }

    #[test]
    fn the_config_adds_and_takes_away_and_deny_wins() {
        let p = Policy::new(
            &["camera.snap ", "sms.send"],
            &["location.get", "sms.send", ""],
        );
        assert!(p.allows(Platform::Ios, "camera.snap"));
        assert!(!p.allows(Platform::Ios, "location.get"));
        assert!(!p.allows(Platform::Ios, "sms.send"));
        assert!(!Policy::default().allows(Platform::Ios, "camera.snap"));
        assert!(
            !p.allows(Platform::Linux, "canvas.eval"),
            "no display on a headless host"
        );
    }

    #[test]
    fn the_first_reason_is_told() {
        let p = Policy::default();
        let declared = words(&["location.get"]);
        assert_eq!(p.check(Platform::Ios, &declared, "location.get"), Ok(()));
        assert_eq!(
            p.check(Platform::Ios, &declared, "system.run"),
            Err(Refusal::NotAllowlisted)
        );
        assert_eq!(
            p.check(Platform::Ios, &declared, "photos.latest"),
            Err(Refusal::NotDeclared)
        );
        assert_eq!(
            p.check(Platform::Ios, &[], "photos.latest"),
            Err(Refusal::NothingDeclared)
        );
        assert!(is_harmless("location.get") && is_harmless("system.notify"));
        assert!(!is_harmless("system.run") && !is_harmless("camera.snap"));
        let declared = words(&["system.run", "location.get", "canvas.eval", "location.get"]);
        assert_eq!(
            p.effective(Platform::Ios, &declared),
            words(&["canvas.eval", "location.get"])
        );
    }
}
