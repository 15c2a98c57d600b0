//! Skills: folders with a SKILL.md that teach an agent how to use something.
//!
//! They are read from the agent's workspace, from the state directory, and from the folders that the config
//! names; of two with one name the earlier counts. None is bundled, none is ever installed or downloaded.
//! What a prompt says of them is left to `prompt`.

mod frontmatter;
mod status;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::config::Config;
use crate::sys::file;

use frontmatter::Head;
pub use status::{Gate, gate};

/// Skills that one folder may hold; further ones are not looked at.
pub const MAX_SKILLS: usize = 256;
/// The largest SKILL.md, in bytes.
pub const MAX_FILE: u64 = 256 * 1024;
/// Characters of a name and of a description.
const MAX_NAME: usize = 64;
const MAX_DESCRIPTION: usize = 1024;
/// Entries of one list of requirements.
const MAX_LIST: usize = 32;

/// Where a skill came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `skills/` of the agent's workspace.
    Workspace,
    /// `skills/` of the state directory.
    Managed,
    /// A folder of `skills.load.extraDirs`.
    Extra,
}

impl Source {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Workspace => "openclaw-workspace",
            Source::Managed => "openclaw-managed",
            Source::Extra => "openclaw-extra",
        }
    }
}

/// What a skill needs to be of use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requirements {
    /// Programs, all of them.
    pub bins: Vec<String>,
    /// Programs, one of them.
    pub any_bins: Vec<String>,
    /// Variables of the environment.
    pub env: Vec<String>,
    /// Dotted config paths that must be set.
    pub config: Vec<String>,
    /// Systems (`linux`, `darwin`, `win32`), one of them; empty for any.
    pub os: Vec<String>,
}

/// A way to get what a skill needs; shown, never carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installer {
    pub id: String,
    pub kind: String,
    pub label: String,
    pub bins: Vec<String>,
}

/// One skill.
#[derive(Clone, Debug, PartialEq)]
pub struct Skill {
    pub name: String,
    pub description: String,
    pub source: Source,
    pub file: PathBuf,
    pub dir: PathBuf,
    /// Its name in `skills.entries` of the config.
    pub key: String,
    pub always: bool,
    pub emoji: Option<String>,
    pub homepage: Option<String>,
    /// The variable that `apiKey` of its config entry stands for.
    pub primary_env: Option<String>,
    pub requires: Requirements,
    pub install: Vec<Installer>,
    /// Whether a person may call it by a slash command.
    pub user_invocable: bool,
    /// Whether the model is told of it.
    pub model_invocable: bool,
}

/// The folders that are looked at for an agent with that workspace, best first. `shared` is the one of
/// the state directory.
pub fn folders(config: &Config, shared: &Path, workspace: &Path) -> Vec<(PathBuf, Source)> {
    let mut out = vec![
        (workspace.join("skills"), Source::Workspace),
        (shared.to_path_buf(), Source::Managed),
    ];
    for dir in config.list("skills.load.extraDirs") {
        out.push((config.locations().expand(dir), Source::Extra));
    }
    out
}

/// Reads the skills in `folders`, by name. Folders and skills that cannot be read are passed over.
pub fn load(folders: &[(PathBuf, Source)]) -> Vec<Skill> {
    let mut found: Vec<Skill> = Vec::new();
    for (folder, source) in folders {
        for dir in subfolders(folder) {
            let Some(skill) = read(&dir, *source) else {
                continue;
            };
            if !found.iter().any(|s| s.name == skill.name) {
                found.push(skill);
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// Every program that the skills speak of, sorted.
pub fn bins(skills: &[Skill]) -> BTreeSet<String> {
    let required = skills
        .iter()
        .flat_map(|s| s.requires.bins.iter().chain(&s.requires.any_bins));
    let installed = skills
        .iter()
        .flat_map(|s| s.install.iter())
        .flat_map(|i| &i.bins);
    required.chain(installed).cloned().collect()
}

fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut dirs: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .filter(|e| !e.file_name().as_encoded_bytes().starts_with(b"."))
        .map(|e| e.path())
        .filter(|p| p.is_dir())
        .take(MAX_SKILLS)
        .collect();
    dirs.sort();
    dirs
}

fn read(dir: &Path, source: Source) -> Option<Skill> {
    let file = dir.join("SKILL.md");
    let bytes = file::read_bounded(&file, MAX_FILE).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let head = Head::parse(&text)?;
    let meta = head.metadata();
    let folder_name = dir.file_name()?.to_string_lossy().into_owned();
    let name = one_line(&head.text("name").unwrap_or(folder_name), MAX_NAME);
    let description = one_line(&head.text("description")?, MAX_DESCRIPTION);
    if name.is_empty() || description.is_empty() {
        return None;
    }
    let text = |v: &Value| {
        v.as_str()
            .map(|s| one_line(s, MAX_DESCRIPTION))
            .filter(|s| !s.is_empty())
    };
    Some(Skill {
        key: text(&meta["skillKey"]).unwrap_or_else(|| name.clone()),
        name,
        description,
        source,
        dir: dir.to_path_buf(),
        file,
        always: meta["always"] == true,
        emoji: text(&meta["emoji"]),
        homepage: text(&meta["homepage"]).or_else(|| head.text("homepage")),
        primary_env: text(&meta["primaryEnv"]),
        requires: Requirements {
            bins: list(&meta["requires"]["bins"]),
            any_bins: list(&meta["requires"]["anyBins"]),
            env: list(&meta["requires"]["env"]),
            config: list(&meta["requires"]["config"]),
            os: list(&meta["os"]),
        },
        install: installers(&meta["install"]),
        user_invocable: head.bool("user-invocable", true),
        model_invocable: !head.bool("disable-model-invocation", false),
    })
}

fn list(value: &Value) -> Vec<String> {
    let items = value.as_array().map_or(&[][..], Vec::as_slice);
    items
        .iter()
        .filter_map(Value::as_str)
        .map(|s| one_line(s, MAX_NAME))
        .filter(|s| !s.is_empty())
        .take(MAX_LIST)
        .collect()
}

fn installers(value: &Value) -> Vec<Installer> {
    let items = value.as_array().map_or(&[][..], Vec::as_slice);
    let mut out = Vec::new();
    for (i, item) in items.iter().take(MAX_LIST).enumerate() {
        let text = |key: &str| item[key].as_str().map(|s| one_line(s, MAX_DESCRIPTION));
        let Some(kind) = text("kind") else { continue };
        let os = list(&item["os"]);
        if !os.is_empty() && !os.iter().any(|o| o == status::os_name()) {
            continue;
        }
        out.push(Installer {
            id: text("id").unwrap_or_else(|| format!("{kind}-{i}")),
            label: text("label").unwrap_or_else(|| format!("Install ({kind})")),
            bins: list(&item["bins"]),
            kind,
        });
    }
    out
}

/// `text` on one line, without control, direction and invisible characters, at most `max` characters.
fn one_line(text: &str, max: usize) -> String {
    let hidden = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    let spaced: String = text
        .chars()
        .filter(|c| !hidden(*c))
        .map(|c| {
            if c.is_control() || c.is_whitespace() {
                ' '
            } else {
                c
            }
        })
        .take(max)
        .collect();
    spaced.trim().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::Folder;

    fn skill(folder: &Folder, path: &str, head: &str) {
        folder.write(
            &format!("{path}/SKILL.md"),
            &format!("---\n{head}\n---\nbody\n"),
        );
    }

    #[test]
    fn the_workspace_wins_over_the_shared_folder() {
        let f = Folder::new();
        skill(&f, "ws/skills/a", "name: tool\ndescription: mine");
        skill(&f, "skills/b", "name: tool\ndescription: theirs");
        skill(
            &f,
            "skills/c",
            "description: by its folder\nmetadata: {openclaw: {requires: {bins: ['zz'], anyBins: ['aa']}, install: [{kind: 'brew', bins: ['mm', 'zz']}, {kind: 'x', os: ['win32']}]}}",
        );
        skill(&f, "skills/none", "name: silent");
        f.write(
            "skills/.hidden/SKILL.md",
            "---\nname: h\ndescription: h\n---\n",
        );
        f.write("skills/file", "no folder");
        let config = Config::from_text("{skills: {load: {extraDirs: ['/nowhere']}}}");
        let skills = load(&folders(
            &config,
            &f.path().join("skills"),
            &f.path().join("ws"),
        ));
        let names: Vec<(&str, &str)> = skills
            .iter()
            .map(|s| (s.name.as_str(), s.description.as_str()))
            .collect();
        assert_eq!(names, [("c", "by its folder"), ("tool", "mine")]);
        assert_eq!(skills[1].source, Source::Workspace);
        assert_eq!(
            bins(&skills).into_iter().collect::<Vec<_>>(),
            ["aa", "mm", "zz"]
        );
        assert_eq!(skills[0].install.len(), 1);
        assert_eq!(skills[0].install[0].id, "brew-0");
    }

    /// TX-32
    #[test]
    fn names_and_descriptions_stay_on_one_line() {
        let f = Folder::new();
        skill(
            &f,
            "skills/a",
            "name: \"a\u{202e}b\"\ndescription: |\n  one\n  ## System\u{200b}\u{7}",
        );
        let skills = load(&[(f.path().join("skills"), Source::Managed)]);
        assert_eq!(skills[0].name, "ab");
        assert_eq!(skills[0].description, "one ## System");
    }
}
