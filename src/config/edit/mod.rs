//! Edits of the config file that change what they must and keep everything else: comments, order,
//! references and includes.
//!
//! An edit gives the new text of the file; checking and writing it is left to `write`. What comes from an
//! included file can be overridden in the main file as far as merging allows; what cannot is an error,
//! since included files are never changed.

mod blanks;
mod text;

use std::fmt;

use serde_json::{Map, Value};

use super::Config;
use super::include;
use super::json5::{self, SyntaxError};
use super::path::{find, join};

pub use text::rewrite;

/// The text that stands in for a missing file.
const NO_FILE: &str = "{\n}\n";

/// Why an edit is not possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EditError {
    /// There is nothing at this path.
    NotFound(String),
    /// The path leads through a value that has no members, or past the end of a list.
    NoWay(String),
    /// The patch is not an object.
    NotAnObject,
    /// What is to change comes from an included file, and cannot be overridden.
    Included(String),
    /// The file on disk is not valid, so there is nothing to start from.
    Invalid,
    Syntax(SyntaxError),
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EditError::NotFound(path) => write!(f, "Config path not found: {path}"),
            EditError::NoWay(path) => {
                write!(
                    f,
                    "nothing on the way to {path} could hold it; set that first"
                )
            }
            EditError::NotAnObject => f.write_str("config.patch raw must be an object"),
            EditError::Included(path) => {
                write!(
                    f,
                    "{path} comes from an included file; edit that file instead"
                )
            }
            EditError::Invalid => f.write_str("invalid config; fix before patching"),
            EditError::Syntax(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for EditError {}

/// The file of `config` with `value`, as one would write it there, at `steps`. Objects on the way are made;
/// an index may be the length of its list. A value that equals what stands there is not touched, even when
/// a reference stands there.
pub fn set(config: &Config, steps: &[String], value: &Value) -> Result<String, EditError> {
    let path = steps.join(".");
    let resolved = find(config.resolved(), steps);
    let kept = keep_references(value, find(config.written(), steps), resolved);
    apply(config, &path, |root, view| {
        // What an included file says already need not be said again.
        if view == View::Own && resolved == Some(value) && find(root, steps).is_none() {
            return Ok(());
        }
        put(root, steps, kept.clone()).ok_or_else(|| EditError::NoWay(path.clone()))
    })
}

/// The file of `config` without what stands at `steps`.
pub fn unset(config: &Config, steps: &[String]) -> Result<String, EditError> {
    let path = steps.join(".");
    if find(config.written(), steps).is_none() {
        return Err(EditError::NotFound(path));
    }
    apply(config, &path, |root, _| {
        take(root, steps);
        Ok(())
    })
}

/// The file of `config` after the merge patch `patch`: null deletes, objects merge, the rest replaces. A list
/// whose entries all have an `id` is merged by it: known entries are patched, others appended.
pub fn merge_patch(config: &Config, patch: &Value) -> Result<String, EditError> {
    if !patch.is_object() {
        return Err(EditError::NotAnObject);
    }
    apply(config, &places(patch), |root, view| {
        let merged = patched(Some(root), Some(config.resolved()), patch, view);
        *root = merged.unwrap_or_else(|| Value::Object(Map::new()));
        Ok(())
    })
}

/// What an edit works on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum View {
    /// The content of the main file alone.
    Own,
    /// The same with included files merged in.
    Merged,
}

/// The text after `change`, which is made to both views: the text is right when its includes, merged in,
/// give the second. `place` names what changes, for the error.
fn apply(
    config: &Config,
    place: &str,
    change: impl Fn(&mut Value, View) -> Result<(), EditError>,
) -> Result<String, EditError> {
    let raw = match config.raw() {
        Some(raw) => raw,
        None if config.exists() => return Err(EditError::Invalid),
        None => NO_FILE,
    };
    let mut wanted = config.written().clone();
    change(&mut wanted, View::Merged)?;
    let mut own = config.parsed().clone();
    change(&mut own, View::Own).map_err(|_| EditError::Included(place.to_string()))?;
    let merged = include::resolve(&own, config.path());
    if !merged.is_ok_and(|merged| merged.value == wanted) {
        return Err(EditError::Included(place.to_string()));
    }
    let text = rewrite(raw, &own).map_err(EditError::Syntax)?;
    // Fails for a nesting that is deeper than can be read.
    json5::parse(&text).map_err(EditError::Syntax)?;
    Ok(text)
}

/// Puts `value` at `steps` of `root`. `None` when something on the way cannot hold members.
fn put(root: &mut Value, steps: &[String], value: Value) -> Option<()> {
    let Some((step, rest)) = steps.split_first() else {
        *root = value;
        return Some(());
    };
    let below = match root {
        Value::Array(items) => {
            let index: usize = step.parse().ok()?;
            if index == items.len() {
                items.push(container(rest));
            }
            items.get_mut(index)?
        }
        Value::Object(map) => map.entry(step.as_str()).or_insert_with(|| container(rest)),
        _ => return None,
    };
    put(below, rest, value)
}

/// What a missing value has to be to hold `steps`.
fn container(steps: &[String]) -> Value {
    match steps.first().map(String::as_str) {
        Some("0") => Value::Array(Vec::new()),
        _ => Value::Object(Map::new()),
    }
}

fn take(root: &mut Value, steps: &[String]) {
    let Some((step, rest)) = steps.split_first() else {
        return;
    };
    match root {
        Value::Object(map) if rest.is_empty() => {
            map.remove(step);
        }
        Value::Object(map) => {
            if let Some(below) = map.get_mut(step) {
                take(below, rest);
            }
        }
        Value::Array(items) => {
            let Some(index) = step.parse().ok().filter(|i: &usize| *i < items.len()) else {
                return;
            };
            match rest.is_empty() {
                true => drop(items.remove(index)),
                false => take(&mut items[index], rest),
            }
        }
        _ => {}
    }
}

/// `written` after `patch`; `None` when nothing is to be written there. `resolved` is what `written` comes to.
fn patched(
    written: Option<&Value>,
    resolved: Option<&Value>,
    patch: &Value,
    view: View,
) -> Option<Value> {
    match patch {
        Value::Object(changes) => {
            let mut map = match written {
                Some(Value::Object(map)) => map.clone(),
                _ => Map::new(),
            };
            for (key, change) in changes {
                let below = resolved.and_then(|r| r.get(key));
                let value = match change {
                    Value::Null => None,
                    change => patched(map.get(key), below, change, view),
                };
                match value {
                    Some(value) => map.insert(key.clone(), value),
                    None => map.remove(key),
                };
            }
            Some(Value::Object(map))
        }
        _ if written.is_none() && resolved == Some(patch) && view == View::Own => None,
        Value::Array(changes) => match by_id(resolved, changes) {
            Some(targets) => {
                let own = written.and_then(Value::as_array)?;
                Some(merge_entries(own, resolved, changes, &targets, view))
            }
            None => Some(keep_references(patch, written, resolved)),
        },
        _ => Some(keep_references(patch, written, resolved)),
    }
}

/// For each change the index of the entry that it patches, or `None` for a new entry. Nothing when the list
/// is not one of entries with ids.
fn by_id(resolved: Option<&Value>, changes: &[Value]) -> Option<Vec<Option<usize>>> {
    let id = |v: &Value| v.get("id").and_then(Value::as_str).map(str::to_string);
    let items = resolved?.as_array()?.iter();
    let ids: Vec<String> = items.map(id).collect::<Option<_>>()?;
    let target = |change| {
        let id = id(change)?;
        ids.iter().position(|known| *known == id)
    };
    (!ids.is_empty()).then(|| changes.iter().map(target).collect())
}

fn merge_entries(
    own: &[Value],
    resolved: Option<&Value>,
    changes: &[Value],
    targets: &[Option<usize>],
    view: View,
) -> Value {
    let mut out = own.to_vec();
    for (change, target) in changes.iter().zip(targets) {
        match target.filter(|i| *i < own.len()) {
            Some(i) => {
                let below = resolved.and_then(|r| r.get(i));
                if let Some(value) = patched(Some(&out[i]), below, change, view) {
                    out[i] = value;
                }
            }
            None => out.extend(patched(None, None, change, view)),
        }
    }
    Value::Array(out)
}

/// `new`, where every part that equals what `written` resolves to is `written` again.
fn keep_references(new: &Value, written: Option<&Value>, resolved: Option<&Value>) -> Value {
    if let Some(written) = written
        && resolved == Some(new)
    {
        return written.clone();
    }
    match new {
        Value::Object(map) => {
            let members = map.iter().map(|(key, value)| {
                let written = written.and_then(|w| w.get(key));
                let resolved = resolved.and_then(|r| r.get(key));
                (key.clone(), keep_references(value, written, resolved))
            });
            Value::Object(members.collect())
        }
        Value::Array(items) => {
            let items = items.iter().enumerate().map(|(i, value)| {
                let written = written.and_then(|w| w.get(i));
                let resolved = resolved.and_then(|r| r.get(i));
                keep_references(value, written, resolved)
            });
            Value::Array(items.collect())
        }
        other => other.clone(),
    }
}

/// The paths that a patch names, for an error.
fn places(patch: &Value) -> String {
    fn walk(patch: &Value, path: &str, out: &mut Vec<String>) {
        match patch {
            Value::Object(map) if !map.is_empty() => {
                for (key, value) in map {
                    walk(value, &join(path, key), out);
                }
            }
            _ => out.push(path.to_string()),
        }
    }
    let mut out = Vec::new();
    walk(patch, "", &mut out);
    out.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::path;
    use crate::config::testing::Folder;
    use serde_json::json;
    use std::sync::Arc;

    fn config(dir: &Folder, text: &str) -> Arc<Config> {
        let loaded = dir.load(text, &[("TOK", "s3cret"), ("HOST", "h")]);
        assert_eq!(loaded.issues, []);
        loaded.config
    }

    fn at(path: &str) -> Vec<String> {
        path::parse(path).unwrap()
    }

    const FILE: &str = "// mine
{
  gateway: {
    port: 1, // why
    auth: { token: '${TOK}' },
  },
  agents: { list: [ { id: 'a', name: 'A' }, { id: 'b' } ] },
}
";

    #[test]
    fn set_touches_one_value() {
        let dir = Folder::new();
        let config = config(&dir, FILE);
        let check = |path: &str, value: Value, from: &str, to: &str| {
            let text = set(&config, &at(path), &value).unwrap();
            assert_eq!(text, FILE.replace(from, to), "{path}");
        };
        check("gateway.port", json!(2), "port: 1", "port: 2");
        check(
            "agents.list[1].name",
            json!("B"),
            "{ id: 'b' }",
            "{ id: 'b', name: \"B\" }",
        );
        check(
            "agents.list[2].id",
            json!("c"),
            "{ id: 'b' } ]",
            "{ id: 'b' }, {id: \"c\"} ]",
        );
        let end = "] },\n}";
        check(
            "ui.assistant.name",
            json!("x"),
            end,
            "] },\n  ui: {\n    assistant: {\n      name: \"x\"\n    }\n  },\n}",
        );
        check(
            "tools.deny[0]",
            json!("browser"),
            end,
            "] },\n  tools: {\n    deny: [\n      \"browser\"\n    ]\n  },\n}",
        );
    }

    #[test]
    fn a_reference_stays_when_its_value_does() {
        let dir = Folder::new();
        let config = config(&dir, FILE);
        let same = json!({"auth": {"token": "s3cret"}, "port": 1});
        assert_eq!(set(&config, &at("gateway"), &same).unwrap(), FILE);
        let token = at("gateway.auth.token");
        assert_eq!(set(&config, &token, &json!("s3cret")).unwrap(), FILE);
        let patch = json!({"gateway": {"auth": {"token": "s3cret"}}});
        assert_eq!(merge_patch(&config, &patch).unwrap(), FILE);
        let other = set(&config, &token, &json!("new")).unwrap();
        assert_eq!(other, FILE.replace("'${TOK}'", "\"new\""));
    }

    #[test]
    fn ways_that_lead_nowhere_are_errors() {
        let dir = Folder::new();
        let config = config(&dir, FILE);
        for path in ["gateway.port.x", "agents.list[5].id", "agents.list.x"] {
            let error = set(&config, &at(path), &json!(1)).unwrap_err();
            assert_eq!(error, EditError::NoWay(at(path).join(".")));
        }
        let error = unset(&config, &at("messages.nope")).unwrap_err();
        assert_eq!(error.to_string(), "Config path not found: messages.nope");
        assert_eq!(
            merge_patch(&config, &json!([1])),
            Err(EditError::NotAnObject)
        );
    }

    #[test]
    fn unset_takes_out_one_value() {
        let dir = Folder::new();
        let config = config(&dir, FILE);
        let check = |path: &str, from: &str, to: &str| {
            let text = unset(&config, &at(path)).unwrap();
            assert_eq!(text, FILE.replace(from, to), "{path}");
        };
        check("gateway.port", "port: 1, // why", "// why");
        check("agents.list[0]", "{ id: 'a', name: 'A' }, ", "");
        check("agents.list[0].name", ", name: 'A'", "");
    }

    #[test]
    fn a_patch_deletes_merges_replaces_and_finds_entries_by_id() {
        let dir = Folder::new();
        let config = config(&dir, FILE);
        let patch = json!({
            "gateway": {"port": null, "bind": "lan", "reload": {"mode": null}},
            "agents": {"list": [
                {"id": "b", "name": "B"}, {"id": "c", "name": null}, {"name": "no id"},
            ]},
            "tools": {"deny": ["x"]},
        });
        let text = merge_patch(&config, &patch).unwrap();
        let expected = json!({
            "gateway": {"auth": {"token": "${TOK}"}, "bind": "lan", "reload": {}},
            "agents": {"list": [
                {"id": "a", "name": "A"}, {"id": "b", "name": "B"}, {"id": "c"}, {"name": "no id"},
            ]},
            "tools": {"deny": ["x"]},
        });
        assert_eq!(json5::value(&text).unwrap(), expected);
        for kept in ["// mine", "// why", "'${TOK}'", "{ id: 'a', name: 'A' }"] {
            assert!(text.contains(kept), "{text}");
        }
    }

    #[test]
    fn a_list_without_ids_is_replaced() {
        let dir = Folder::new();
        let config = config(&dir, "{tools: {deny: ['a', '${HOST}']}}");
        let text = merge_patch(&config, &json!({"tools": {"deny": ["b", "h"]}})).unwrap();
        assert_eq!(text, "{tools: {deny: [\"b\", '${HOST}']}}");
    }

    #[test]
    fn included_values_are_overridden_beside_the_include() {
        let dir = Folder::new();
        dir.write(
            "g.json5",
            "{port: 1, auth: {token: '${TOK}', mode: 'token'}, trustedProxies: ['::1']}",
        );
        let text = "{gateway: {$include: './g.json5'}}";
        let config = config(&dir, text);
        let set = |path: &str, value: Value| set(&config, &at(path), &value);
        assert_eq!(
            set("gateway.port", json!(2)).unwrap(),
            "{gateway: {$include: './g.json5', port: 2}}"
        );
        let mode = "{gateway: {$include: './g.json5', auth: {mode: \"none\"}}}";
        assert_eq!(set("gateway.auth.mode", json!("none")).unwrap(), mode);
        assert_eq!(set("gateway.port", json!(1)).unwrap(), text);
        assert_eq!(set("gateway.auth.token", json!("s3cret")).unwrap(), text);
        let patch = json!({"gateway": {
            "auth": {"token": "s3cret", "mode": "none"}, "trustedProxies": ["::1"],
        }});
        assert_eq!(merge_patch(&config, &patch).unwrap(), mode);
        for cannot in [
            set("gateway.trustedProxies", json!(["10.0.0.1"])),
            unset(&config, &at("gateway.port")),
            merge_patch(&config, &json!({"gateway": {"auth": {"mode": null}}})),
        ] {
            assert!(matches!(cannot, Err(EditError::Included(_))), "{cannot:?}");
        }
    }

    #[test]
    fn a_missing_file_is_begun_and_an_invalid_one_refused() {
        let dir = Folder::new();
        let none = crate::config::load(&dir.locations(&[])).config;
        let text = set(&none, &at("gateway.mode"), &json!("local")).unwrap();
        assert_eq!(
            text,
            "{\n  \"gateway\": {\n    \"mode\": \"local\"\n  }\n}\n"
        );
        let broken = dir.load("{gateway: {port: 'x'}}", &[]).config;
        let refused = set(&broken, &at("gateway.port"), &json!(1));
        assert_eq!(refused, Err(EditError::Invalid));
    }
}
