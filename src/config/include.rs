//! `$include`: other files of the config folder, merged in.
//!
//! Nothing outside the folder of the main file is read, not even through a link, and nothing that is not
//! a regular file. Depth, number and size of the files are bounded. Error texts name the path as
//! written and never quote a file.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::json5;
use super::load::MAX_BYTES;
use super::locations::absolute;
use crate::sys::file;

/// The key that stands for other files.
pub const KEY: &str = "$include";
/// Deepest chain of files that include each other.
pub const MAX_DEPTH: usize = 10;
/// Most times that a file is included by one configuration, repetitions counted.
pub const MAX_INCLUDES: usize = 256;

/// A configuration with its includes merged in.
pub struct Included {
    pub value: Value,
    /// The files that took part, the main one left out; each once.
    pub files: Vec<PathBuf>,
}

/// Merges into `value`, read from `main`, the files that it includes.
pub fn resolve(value: &Value, main: &Path) -> Result<Included, String> {
    let main = absolute(main);
    let root = main.parent().unwrap_or(Path::new("/")).to_path_buf();
    let mut reader = Reader {
        real_root: root.canonicalize().unwrap_or_else(|_| root.clone()),
        root,
        files: Vec::new(),
        bytes_left: MAX_BYTES,
        includes: 0,
    };
    let value = reader.value(value, &mut vec![main])?;
    Ok(Included {
        value,
        files: reader.files,
    })
}

struct Reader {
    root: PathBuf,
    real_root: PathBuf,
    files: Vec<PathBuf>,
    bytes_left: u64,
    includes: usize,
}

impl Reader {
    /// `chain` holds the files being read, the innermost last; it is never empty.
    fn value(&mut self, value: &Value, chain: &mut Vec<PathBuf>) -> Result<Value, String> {
        match value {
            Value::Array(items) => {
                let items = items.iter().map(|v| self.value(v, chain));
                Ok(Value::Array(items.collect::<Result<_, _>>()?))
            }
            Value::Object(map) => match map.get(KEY) {
                None => Ok(Value::Object(self.members(map, chain)?)),
                Some(what) => {
                    let included = self.included(what, chain)?;
                    let beside = self.members(map, chain)?;
                    if beside.is_empty() {
                        return Ok(included);
                    }
                    if !included.is_object() {
                        return Err(
                            "Sibling keys require included content to be an object".to_string()
                        );
                    }
                    Ok(merge(included, Value::Object(beside)))
                }
            },
            other => Ok(other.clone()),
        }
    }

    /// The members of `map` other than `$include`.
    fn members(
        &mut self,
        map: &Map<String, Value>,
        chain: &mut Vec<PathBuf>,
    ) -> Result<Map<String, Value>, String> {
        map.iter()
            .filter(|(k, _)| *k != KEY)
            .map(|(k, v)| Ok((k.clone(), self.value(v, chain)?)))
            .collect()
    }

    fn included(&mut self, what: &Value, chain: &mut Vec<PathBuf>) -> Result<Value, String> {
        match what {
            Value::String(path) => self.file(path, chain),
            Value::Array(paths) => {
                let mut merged = Value::Object(Map::new());
                for path in paths {
                    let Some(path) = path.as_str() else {
                        return Err(format!(
                            "Invalid $include array item: expected string, got {}",
                            type_of(path)
                        ));
                    };
                    merged = merge(merged, self.file(path, chain)?);
                }
                Ok(merged)
            }
            other => Err(format!(
                "Invalid $include value: expected string or array of strings, got {}",
                type_of(other)
            )),
        }
    }

    fn file(&mut self, written: &str, chain: &mut Vec<PathBuf>) -> Result<Value, String> {
        let folder = chain.last().and_then(|f| f.parent()).unwrap_or(&self.root);
        let path = absolute(&folder.join(written));
        if !path.starts_with(&self.root) && !path.starts_with(&self.real_root) {
            return Err(format!(
                "Include path escapes config directory: {written} (root: {})",
                self.root.display()
            ));
        }
        let real = path.canonicalize();
        if real.as_ref().is_ok_and(|r| !r.starts_with(&self.real_root)) {
            return Err(format!(
                "Include path resolves outside config directory (symlink): {written} (root: {})",
                self.root.display()
            ));
        }
        if chain.contains(&path) {
            let mut steps: Vec<_> = chain.iter().map(|f| f.display().to_string()).collect();
            steps.push(path.display().to_string());
            return Err(format!("Circular include detected: {}", steps.join(" -> ")));
        }
        if chain.len() > MAX_DEPTH {
            return Err(format!(
                "Maximum include depth ({MAX_DEPTH}) exceeded at: {written}"
            ));
        }
        self.includes += 1;
        if self.includes > MAX_INCLUDES {
            return Err(format!(
                "More than {MAX_INCLUDES} includes in one configuration at: {written}"
            ));
        }
        if !self.files.contains(&path) {
            self.files.push(path.clone());
        }
        let read = real.and_then(|real| file::read_bounded(&real, self.bytes_left));
        let bytes = read.map_err(|e| {
            let why = match e.kind() {
                std::io::ErrorKind::NotFound => String::new(),
                _ => format!(": {e}"),
            };
            format!(
                "Failed to read include file: {written} (resolved: {}){why}",
                path.display()
            )
        })?;
        self.bytes_left -= bytes.len() as u64;
        let parsed = String::from_utf8(bytes)
            .ok()
            .and_then(|t| json5::value(&t).ok());
        let Some(parsed) = parsed else {
            return Err(format!(
                "Failed to parse include file: {written} (resolved: {})",
                path.display()
            ));
        };
        chain.push(path);
        let value = self.value(&parsed, chain);
        chain.pop();
        value
    }
}

/// `over` laid on `base`: objects member by member, lists one after the other, else `over`.
fn merge(base: Value, over: Value) -> Value {
    match (base, over) {
        (Value::Object(mut base), Value::Object(over)) => {
            for (key, value) in over {
                if matches!(key.as_str(), "__proto__" | "prototype" | "constructor") {
                    continue;
                }
                let merged = match base.remove(&key) {
                    Some(old) => merge(old, value),
                    None => value,
                };
                base.insert(key, merged);
            }
            Value::Object(base)
        }
        (Value::Array(mut base), Value::Array(over)) => {
            base.extend(over);
            Value::Array(base)
        }
        (_, over) => over,
    }
}

/// The type of `value` as JavaScript's `typeof` has it.
fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        _ => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::Folder;
    use serde_json::json;
    use std::os::unix::fs::symlink;

    fn resolved(dir: &Folder, main: Value) -> Result<Value, String> {
        resolve(&main, &dir.path().join("openclaw.json")).map(|i| i.value)
    }

    #[test]
    fn files_are_merged_left_to_right_and_neighbours_over_them() {
        let dir = Folder::new();
        dir.write("a.json5", "{x: {p: 1, q: [1]}, y: 'a'}");
        dir.write(
            "sub/b.json5",
            "{x: {q: [2]}, y: 'b', inner: {$include: './c.json5'}}",
        );
        dir.write("sub/c.json5", "{c: true}");
        dir.write("list.json5", "[1, 2]");
        let main = json!({
            "s": {"$include": ["./a.json5", "sub/b.json5"], "x": {"q": [3]}, "z": 1},
            "l": [{"$include": "./list.json5"}, 5],
            "abs": {"$include": dir.path().join("sub/c.json5")},
        });
        let expected = json!({
            "s": {"x": {"p": 1, "q": [1, 2, 3]}, "y": "b", "inner": {"c": true}, "z": 1},
            "l": [[1, 2], 5],
            "abs": {"c": true},
        });
        let found = resolve(&main, &dir.path().join("openclaw.json")).unwrap();
        assert_eq!(found.value, expected);
        let files = ["a.json5", "sub/b.json5", "sub/c.json5", "list.json5"];
        let mut found = found.files;
        found.sort();
        let mut files = files.map(|f| dir.path().join(f)).to_vec();
        files.sort();
        assert_eq!(found, files);
    }

    #[test]
    fn every_refusal_names_the_path_and_never_the_content() {
        let dir = Folder::new();
        let root = dir.path().display().to_string();
        dir.write("bad.json5", "{secret-text");
        dir.write("list.json5", "[1]");
        dir.write("loop.json5", "{a: {$include: './loop2.json5'}}");
        dir.write("loop2.json5", "{a: {$include: './loop.json5'}}");
        let why = |what: Value| resolved(&dir, what).unwrap_err();
        assert_eq!(
            why(json!({"$include": "./zzz.json5"})),
            format!("Failed to read include file: ./zzz.json5 (resolved: {root}/zzz.json5)")
        );
        assert_eq!(
            why(json!({"$include": "./bad.json5"})),
            format!("Failed to parse include file: ./bad.json5 (resolved: {root}/bad.json5)")
        );
        assert_eq!(
            why(json!({"$include": "../x.json5"})),
            format!("Include path escapes config directory: ../x.json5 (root: {root})")
        );
        assert!(why(json!({"$include": "/etc/passwd"})).starts_with("Include path escapes"));
        assert_eq!(
            why(json!({"$include": "./loop.json5"})),
            format!(
                "Circular include detected: {root}/openclaw.json -> {root}/loop.json5 -> \
                 {root}/loop2.json5 -> {root}/loop.json5"
            )
        );
        assert_eq!(
            why(json!({"$include": 5})),
            "Invalid $include value: expected string or array of strings, got number"
        );
        assert_eq!(
            why(json!({"$include": ["./list.json5", 5]})),
            "Invalid $include array item: expected string, got number"
        );
        assert_eq!(
            why(json!({"$include": "./list.json5", "x": 1})),
            "Sibling keys require included content to be an object"
        );
    }

    #[test]
    fn cf_04_links_out_of_the_folder_are_refused() {
        let (dir, outside) = (Folder::new(), Folder::new());
        outside.write("x.json5", "{a: 1}");
        symlink(outside.path().join("x.json5"), dir.path().join("sym.json5")).unwrap();
        symlink(outside.path(), dir.path().join("folder")).unwrap();
        dir.write("real.json5", "{b: 2}");
        symlink(
            dir.path().join("real.json5"),
            dir.path().join("inside.json5"),
        )
        .unwrap();
        for path in ["./sym.json5", "./folder/x.json5"] {
            let why = resolved(&dir, json!({"$include": path})).unwrap_err();
            let root = dir.path().display();
            assert_eq!(
                why,
                format!(
                    "Include path resolves outside config directory (symlink): {path} (root: {root})"
                )
            );
        }
        assert_eq!(
            resolved(&dir, json!({"$include": "./inside.json5"})),
            Ok(json!({"b": 2}))
        );
    }

    #[test]
    fn a_config_folder_that_is_a_link_itself_works() {
        let (dir, other) = (Folder::new(), Folder::new());
        dir.write("a.json5", "{a: 1}");
        symlink(dir.path(), other.path().join("link")).unwrap();
        let main = other.path().join("link/openclaw.json");
        let found = resolve(&json!({"$include": "./a.json5"}), &main).unwrap();
        assert_eq!(found.value, json!({"a": 1}));
    }

    #[test]
    fn ten_files_deep_and_no_more() {
        let dir = Folder::new();
        for n in 1..=11 {
            let next = format!("{{$include: './d{}.json5'}}", n + 1);
            dir.write(&format!("d{n}.json5"), if n == 11 { "{}" } else { &next });
        }
        assert!(resolved(&dir, json!({"$include": "./d2.json5"})).is_ok());
        let why = resolved(&dir, json!({"$include": "./d1.json5"})).unwrap_err();
        assert_eq!(why, "Maximum include depth (10) exceeded at: ./d11.json5");
    }

    #[test]
    fn cf_04_only_regular_files_of_a_bounded_size() {
        let dir = Folder::new();
        dir.write("folder/x", "");
        let why = resolved(&dir, json!({"$include": "./folder"})).unwrap_err();
        assert!(why.ends_with(": not a regular file"), "{why}");

        let fifo = dir.path().join("fifo");
        let made = std::process::Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap();
        assert!(made.success());
        let why = resolved(&dir, json!({"$include": "./fifo"})).unwrap_err();
        assert!(why.ends_with(": not a regular file"), "{why}");

        let big = std::fs::File::create(dir.path().join("big.json5")).unwrap();
        big.set_len(100 << 20).unwrap();
        let why = resolved(&dir, json!({"$include": "./big.json5"})).unwrap_err();
        assert!(why.contains("larger than"), "{why}");
    }

    #[test]
    fn many_includes_are_bounded_together() {
        let dir = Folder::new();
        dir.write("leaf.json5", "{a: [1]}");
        let ten = "{$include: ['./leaf.json5', './leaf.json5', './leaf.json5', './leaf.json5', \
                   './leaf.json5', './leaf.json5', './leaf.json5', './leaf.json5', './leaf.json5']}";
        dir.write("m1.json5", ten);
        dir.write("m2.json5", &ten.replace("leaf", "m1"));
        dir.write("m3.json5", &ten.replace("leaf", "m2"));
        let why = resolved(&dir, json!({"$include": "./m3.json5"})).unwrap_err();
        assert!(why.starts_with("More than 256 includes"), "{why}");
    }

    #[test]
    fn names_that_reach_into_prototypes_are_dropped_in_a_merge() {
        let dir = Folder::new();
        dir.write("a.json5", "{x: 1}");
        let main = json!({"$include": "./a.json5", "__proto__": {"y": 1}, "constructor": 2});
        assert_eq!(resolved(&dir, main), Ok(json!({"x": 1})));
    }
}
