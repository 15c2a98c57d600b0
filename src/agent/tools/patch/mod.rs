//! The tool `apply_patch`: files added, changed, moved and removed by one text.
//!
//! `parse` reads the text and `apply` finds the places; here it is decided whether a model may use it,
//! and what it says is done to the files. Nothing is written before all of the text fits.

mod apply;
mod parse;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::files::{self, Access, MAX_FILE, Place};
use super::{Context, Output, Tool, ToolError};
use crate::agent::provider::ToolSpec;
use parse::{Change, Section};

/// Providers whose models were taught this format.
const PROVIDERS: &[&str] = &["openai", "openai-codex"];

/// The tool.
pub struct ApplyPatch;

impl Tool for ApplyPatch {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "apply_patch",
            description: "Change several files of the workspace at once. The text begins with \
                `*** Begin Patch` and ends with `*** End Patch`; between them stand sections \
                `*** Add File: PATH`, `*** Delete File: PATH` and `*** Update File: PATH`, the latter with \
                an optional `*** Move to: PATH` and hunks that begin with `@@`.",
            parameters: json!({
                "type": "object",
                "properties": {
                    "input": {"type": "string", "description": "The whole patch, with its first and last line"},
                },
                "required": ["input"],
            }),
        }
    }

    fn summary(&self) -> &'static str {
        "Apply multi-file patches"
    }

    fn available(&self, context: &Context<'_>) -> bool {
        let setting = |key: &str| files::setting(context, &["exec", "applyPatch", key]);
        let enabled = setting("enabled").and_then(Value::as_bool) == Some(true);
        let names = setting("allowModels").and_then(Value::as_array);
        let model = context.model;
        let means = |name: &Value| {
            let name = name.as_str().unwrap_or_default().trim();
            name.eq_ignore_ascii_case(&model.id) || name.eq_ignore_ascii_case(&model.full_name())
        };
        enabled
            && PROVIDERS.contains(&model.provider.as_str())
            && names.is_none_or(|list| list.is_empty() || list.iter().any(means))
    }

    fn meta(&self, arguments: &Map<String, Value>) -> Option<String> {
        let sections = parse::parse(arguments.get("input")?.as_str()?).ok()?;
        let paths: Vec<&str> = sections.iter().map(|s| s.path).collect();
        Some(paths.join(", "))
    }

    fn run(
        &self,
        arguments: &Map<String, Value>,
        context: &Context<'_>,
    ) -> Result<Output, ToolError> {
        let input = arguments.get("input").and_then(Value::as_str);
        let input = input.ok_or_else(|| ToolError::input("input required"))?;
        let sections = parse::parse(input).map_err(ToolError::input)?;
        let setting = files::setting(context, &["exec", "applyPatch", "workspaceOnly"]);
        let mut plan = Plan {
            context,
            confined: setting.and_then(Value::as_bool) != Some(false),
            seen: BTreeMap::new(),
            steps: Vec::new(),
        };
        for section in &sections {
            let failed = |e: io::Error| ToolError::new(format!("{}: {e}", section.path));
            plan.add(section).map_err(failed)?;
        }
        for step in &plan.steps {
            let failed = |e: io::Error| ToolError::new(format!("{}: {e}", step.name));
            step.take().map_err(failed)?;
        }
        Ok(told(&sections))
    }
}

/// What was done, by kind.
fn told(sections: &[Section<'_>]) -> Output {
    let named = |kind: char| -> Vec<&str> {
        let of_kind = sections.iter().filter(|s| s.letter() == kind);
        of_kind.map(Section::result).collect()
    };
    let mut text = String::from("Success. Updated the following files:");
    for kind in ['A', 'M', 'D'] {
        for name in named(kind) {
            text.push_str(&format!("\n{kind} {name}"));
        }
    }
    Output::text(text).with_details(json!({"summary": {
        "added": named('A'), "modified": named('M'), "deleted": named('D'),
    }}))
}

/// The steps, worked out before the first is taken.
struct Plan<'a> {
    context: &'a Context<'a>,
    confined: bool,
    /// What files hold after the steps so far; `None` for those that are gone.
    seen: BTreeMap<PathBuf, Option<String>>,
    steps: Vec<Step>,
}

/// One change of one file.
struct Step {
    /// As the patch names it.
    name: String,
    place: Place,
    what: What,
}

enum What {
    Write(String),
    Remove,
    Move(Place, String),
}

impl Step {
    fn take(&self) -> io::Result<()> {
        let Place { root, path } = &self.place;
        match &self.what {
            What::Write(text) => root.write(path, text.as_bytes()),
            What::Remove => root.remove(path),
            What::Move(to, text) => {
                root.rename(path, &to.root, &to.path)?;
                to.root.write(&to.path, text.as_bytes())
            }
        }
    }
}

impl Plan<'_> {
    fn add(&mut self, section: &Section<'_>) -> io::Result<()> {
        let place = self.place(section.path)?;
        let what = match &section.change {
            Change::Add(text) => {
                self.free(&place)?;
                self.note(&place, Some(text));
                What::Write(text.clone())
            }
            Change::Delete => {
                self.text(&place)?;
                self.note(&place, None);
                What::Remove
            }
            Change::Update { to, hunks } => {
                let old = self.text(&place)?;
                let new = apply::apply(&old, hunks).map_err(io::Error::other)?;
                if new.len() as u64 > MAX_FILE {
                    return Err(io::ErrorKind::FileTooLarge.into());
                }
                match to.filter(|to| *to != section.path) {
                    None => {
                        self.note(&place, Some(&new));
                        What::Write(new)
                    }
                    Some(to) => {
                        let to = self.place(to)?;
                        self.free(&to)?;
                        self.note(&place, None);
                        self.note(&to, Some(&new));
                        What::Move(to, new)
                    }
                }
            }
        };
        self.steps.push(Step {
            name: section.path.to_string(),
            place,
            what,
        });
        Ok(())
    }

    fn place(&self, path: &str) -> io::Result<Place> {
        files::place(self.context, path, Access::Write, self.confined)
    }

    fn note(&mut self, place: &Place, text: Option<&String>) {
        self.seen.insert(place.path.clone(), text.cloned());
    }

    fn text(&self, place: &Place) -> io::Result<String> {
        match self.seen.get(&place.path) {
            Some(Some(text)) => return Ok(text.clone()),
            Some(None) => return Err(io::ErrorKind::NotFound.into()),
            None => {}
        }
        let bytes = place.root.read(&place.path, MAX_FILE)?;
        String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8 text"))
    }

    /// An error when there is a file already.
    fn free(&self, place: &Place) -> io::Result<()> {
        let taken = match self.seen.get(&place.path) {
            Some(text) => text.is_some(),
            None => place.root.holds(&place.path)?,
        };
        match taken {
            true => Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "there is such a file already; use `*** Update File:`",
            )),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, text};
    use super::*;

    fn patch(body: &str) -> Value {
        json!({"input": format!("*** Begin Patch\n{body}\n*** End Patch")})
    }

    #[test]
    fn files_are_added_changed_moved_and_removed() {
        let bench = Bench::new("{}");
        bench.put("a.txt", "one\ntwo\nthree\n");
        bench.put("gone", "x");
        bench.put("old/name", "1\n2\n");
        let output = bench.run(
            &ApplyPatch,
            patch(
                "*** Add File: p/new.txt\n+l1\n+\n+l3\n*** Update File: a.txt\n@@\n one\n-two\n+2\n\
                 *** Delete File: gone\n*** Update File: old/name\n*** Move to: new/name\n@@\n-2\n+zwei",
            ),
        );
        let output = output.unwrap();
        assert_eq!(
            text(&output),
            "Success. Updated the following files:\nA p/new.txt\nM a.txt\nM new/name\nD gone"
        );
        let want = json!({"summary": {
            "added": ["p/new.txt"], "modified": ["a.txt", "new/name"], "deleted": ["gone"],
        }});
        assert_eq!(output.details, Some(want));
        assert_eq!(bench.get("p/new.txt"), "l1\n\nl3\n");
        assert_eq!(bench.get("a.txt"), "one\n2\nthree\n");
        assert_eq!(bench.get("new/name"), "1\nzwei\n");
        assert!(!bench.workspace.join("gone").exists());
        assert!(!bench.workspace.join("old/name").exists());
    }

    #[test]
    fn a_patch_that_does_not_fit_changes_nothing() {
        let bench = Bench::new("{}");
        bench.put("a", "one\n");
        for (body, want) in [
            (
                "*** Add File: n\n+x\n*** Update File: a\n@@\n-zwei\n+2",
                "a: ",
            ),
            ("*** Add File: n\n+x\n*** Delete File: none", "none: "),
            ("*** Add File: n\n+x\n*** Add File: a\n+x", "a: there is"),
            ("*** Add File: n\n+x\n*** Add File: n\n+x", "n: there is"),
            (
                "*** Add File: n\n+x\n*** Delete File: n\n*** Update File: n\n@@\n-x\n+y",
                "n: ",
            ),
        ] {
            let error = bench.error(&ApplyPatch, patch(body));
            assert!(error.starts_with(want), "{error}");
            assert!(!bench.workspace.join("n").exists());
        }
        assert_eq!(bench.get("a"), "one\n");
        assert_eq!(bench.error(&ApplyPatch, json!({})), "input required");
    }

    #[test]
    fn sections_of_one_file_build_on_each_other() {
        let bench = Bench::new("{}");
        bench.put("a", "1\n2\n");
        let body = "*** Update File: a\n@@\n-1\n+x\n*** Update File: a\n@@\n-x\n+y\n\
            *** Update File: a\n*** Move to: b\n@@\n-2\n+z";
        bench.text(&ApplyPatch, patch(body));
        assert_eq!(bench.get("b"), "y\nz\n");
        assert!(!bench.workspace.join("a").exists());
    }

    #[test]
    fn it_is_for_those_who_know_the_format() {
        let mut bench =
            Bench::new("{tools: {exec: {applyPatch: {enabled: true, allowModels: ['GPT-5']}}}}");
        assert!(!ApplyPatch.available(&bench.context()));
        bench.model.provider = "openai".into();
        assert!(!ApplyPatch.available(&bench.context()));
        bench.model.id = "gpt-5".into();
        assert!(ApplyPatch.available(&bench.context()));
        let mut off = Bench::new("{}");
        off.model.provider = "openai".into();
        assert!(!ApplyPatch.available(&off.context()));
    }

    /// FP-03, FP-04, FP-06
    #[test]
    fn nothing_outside_of_the_workspace_is_touched() {
        let bench = Bench::new("{tools: {fs: {workspaceOnly: false}}}");
        bench.put("in", "secret\n");
        for way in bench.ways_out() {
            for body in [
                format!("*** Add File: {way}\n+x"),
                format!("*** Delete File: {way}"),
                format!("*** Update File: {way}\n@@\n-secret\n+x"),
                format!("*** Update File: in\n*** Move to: {way}\n@@\n-secret\n+x"),
            ] {
                bench.error(&ApplyPatch, patch(&body));
            }
        }
        assert!(bench.outside_is_untouched());
        assert_eq!(bench.get("in"), "secret\n");
    }
}
