//! The tools `memory_search` and `memory_get`: what the agent has written down in MEMORY.md and memory/*.md.
//!
//! The search is plain full text, done on the spot: no index to keep, nothing leaves the machine.

mod rank;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::files::{self, Access};
use super::{Context, Output, Tool, ToolError, count_of, text_of};
use crate::agent::provider::ToolSpec;
use crate::config::agents;
use crate::protocol::frame::clip;
use rank::Passage;

/// Names of the one file at the top of a workspace.
const TOP: &[&str] = &["MEMORY.md", "memory.md"];
/// The folder beside it.
const FOLDER: &str = "memory";
/// Folders in folders.
const MAX_DEPTH: usize = 4;
/// Files that are searched; the latest by name, which begin with their day.
const MAX_FILES: usize = 2000;
/// Bytes of one file, and of all.
const MAX_FILE: u64 = 1024 * 1024;
const MAX_TOTAL: usize = 16 * 1024 * 1024;
/// Results when nothing is said about them, and at most.
const RESULTS: usize = 6;
const MAX_RESULTS: usize = 50;
/// Bytes of a query, and of a snippet.
const MAX_QUERY: usize = 2000;
const MAX_SNIPPET: usize = 700;
/// Lines of one passage.
const PASSAGE_LINES: usize = 12;
/// Bytes that one `memory_get` gives.
const MAX_TEXT: usize = 48 * 1024;

/// The tool `memory_search`.
pub struct Search;

/// The tool `memory_get`.
pub struct Get;

/// Whether the agent has a memory at all.
fn enabled(context: &Context<'_>) -> bool {
    let setting = agents::setting(context.config, context.agent, &["memorySearch", "enabled"]);
    setting.and_then(Value::as_bool) != Some(false)
}

impl Tool for Search {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "memory_search",
            description: "Search MEMORY.md and memory/*.md for words, before answering what was said, decided \
                or planned earlier. Gives passages with their file and lines; read more with memory_get.",
            parameters: json!({
                "type": "object",
                "properties": {
                    "query": {"type": "string"},
                    "maxResults": {"type": "number"},
                    "minScore": {"type": "number"},
                },
                "required": ["query"],
            }),
        }
    }

    fn summary(&self) -> &'static str {
        "Search memory files"
    }

    fn available(&self, context: &Context<'_>) -> bool {
        enabled(context)
    }

    fn meta(&self, arguments: &Map<String, Value>) -> Option<String> {
        text_of(arguments, &["query"]).map(str::to_string)
    }

    fn run(
        &self,
        arguments: &Map<String, Value>,
        context: &Context<'_>,
    ) -> Result<Output, ToolError> {
        let query = text_of(arguments, &["query"]);
        let query = query.ok_or_else(|| ToolError::input("query required"))?;
        let count = count_of(arguments, "maxResults")?.unwrap_or(RESULTS);
        let least = arguments.get("minScore").and_then(Value::as_f64);
        let mut passages = Vec::new();
        let mut total = 0;
        for path in paths(context) {
            let Ok(text) = read(context, &path) else {
                continue;
            };
            total += text.len();
            if total > MAX_TOTAL {
                break;
            }
            passages.extend(cut(&path, &text));
        }
        let found = rank::best(clip(query, MAX_QUERY), passages);
        let results: Vec<Value> = found
            .into_iter()
            .filter(|(score, _)| least.is_none_or(|least| *score >= least))
            .take(count.min(MAX_RESULTS))
            .map(|(score, passage)| shown(score, &passage))
            .collect();
        Ok(Output::json(json!({
            "results": results, "provider": "none", "citations": "auto", "mode": "fts-only",
        })))
    }
}

impl Tool for Get {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "memory_get",
            description: "Read MEMORY.md or a file of memory/, all of it or some lines.",
            parameters: json!({
                "type": "object",
                "properties": {
                    "path": {"type": "string"},
                    "from": {"type": "number", "description": "First line, counted from 1"},
                    "lines": {"type": "number", "description": "Number of lines"},
                },
                "required": ["path"],
            }),
        }
    }

    fn summary(&self) -> &'static str {
        "Read memory files"
    }

    fn available(&self, context: &Context<'_>) -> bool {
        enabled(context)
    }

    fn meta(&self, arguments: &Map<String, Value>) -> Option<String> {
        Some(format!("from {}", text_of(arguments, &["path"])?))
    }

    fn run(
        &self,
        arguments: &Map<String, Value>,
        context: &Context<'_>,
    ) -> Result<Output, ToolError> {
        let path = text_of(arguments, &["path"]);
        let path = path.ok_or_else(|| ToolError::input("path required"))?;
        let from = count_of(arguments, "from")?;
        let lines = count_of(arguments, "lines")?;
        match read(context, path) {
            Ok(text) => {
                let text = match (from, lines) {
                    (None, None) => text,
                    (from, lines) => {
                        let all = text.lines().skip(from.unwrap_or(1) - 1);
                        all.take(lines.unwrap_or(usize::MAX))
                            .collect::<Vec<_>>()
                            .join("\n")
                    }
                };
                let cut = clip(&text, MAX_TEXT);
                let mut answer = json!({"path": path, "text": cut});
                if cut.len() < text.len() {
                    answer["truncated"] = json!(true);
                }
                Ok(Output::json(answer))
            }
            // An answer rather than an error: that there is no such note is something to know.
            Err(_) => Ok(Output::json(json!({
                "path": path, "text": "", "disabled": true, "error": "no such memory file",
            }))),
        }
    }
}

/// The text of the memory file `asked`; an error for any other file. (FP-11)
fn read(context: &Context<'_>, asked: &str) -> io::Result<String> {
    let place = files::place(context, asked, Access::Read, true)?;
    if !is_memory(&place.path) {
        return Err(io::ErrorKind::NotFound.into());
    }
    let bytes = place.root.read(&place.path, MAX_FILE)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Whether `path`, relative to the workspace, is one of memory.
fn is_memory(path: &Path) -> bool {
    let Some(text) = path.to_str() else {
        return false;
    };
    TOP.contains(&text) || (path.starts_with(FOLDER) && text.ends_with(".md"))
}

/// The memory files by name, latest first, without a promise that they can be read.
fn paths(context: &Context<'_>) -> Vec<String> {
    let mut found = Vec::new();
    let folder = context.workspace.join(FOLDER);
    // Names only; each file is opened through the workspace.
    if folder.symlink_metadata().is_ok_and(|m| m.is_dir()) {
        list(&folder, PathBuf::from(FOLDER), 1, &mut found);
    }
    found.sort_unstable_by(|a, b| b.cmp(a));
    found.truncate(MAX_FILES);
    // On a file system without case both names are one file.
    let top = TOP
        .iter()
        .find(|name| context.workspace.join(name).is_file());
    if let Some(top) = top {
        found.insert(0, top.to_string());
    }
    found
}

fn list(folder: &Path, shown: PathBuf, depth: usize, out: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let name = shown.join(entry.file_name());
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth < MAX_DEPTH => {
                list(&entry.path(), name, depth + 1, out);
            }
            Ok(kind) if kind.is_file() && is_memory(&name) && out.len() < 10 * MAX_FILES => {
                out.extend(name.to_str().map(str::to_string));
            }
            _ => {}
        }
    }
}

/// `text` in passages: what stands between headings, and no more than a few lines.
fn cut(path: &str, text: &str) -> Vec<Passage> {
    let mut passages: Vec<Passage> = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let last = passages.last_mut().filter(|p| p.lines < PASSAGE_LINES);
        match last {
            Some(passage) if !line.starts_with('#') => {
                passage.text.push('\n');
                passage.text.push_str(line);
                passage.lines += 1;
            }
            _ => passages.push(Passage {
                path: path.to_string(),
                first: n + 1,
                lines: 1,
                text: line.to_string(),
            }),
        }
    }
    passages
}

fn shown(score: f64, passage: &Passage) -> Value {
    let last = passage.first + passage.lines - 1;
    let citation = match passage.lines {
        1 => format!("{}#L{last}", passage.path),
        _ => format!("{}#L{}-L{last}", passage.path, passage.first),
    };
    json!({
        "path": passage.path,
        "startLine": passage.first,
        "endLine": last,
        "score": (score * 1000.0).round() / 1000.0,
        "snippet": clip(passage.text.trim(), MAX_SNIPPET),
        "source": "memory",
        "citation": citation,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, path};
    use super::*;

    fn bench() -> Bench {
        let bench = Bench::new("{}");
        bench.put(
            "MEMORY.md",
            "# Facts\nThe cat is called Mimi.\nThe server runs on port 8080.\n",
        );
        bench.put(
            "memory/2026-01-01.md",
            "# Day\nWe talked about the lighthouse project.\nNothing else.\n",
        );
        bench.put("memory/old/2025.md", "Mimi went to the vet.\n");
        bench.put("AGENTS.md", "The lighthouse is a secret.\n");
        bench
    }

    fn search(bench: &Bench, query: Value) -> Vec<Value> {
        let output = bench.run(&Search, query).unwrap();
        let details = output.details.unwrap();
        details["results"].as_array().unwrap().clone()
    }

    #[test]
    fn words_are_found_with_their_place() {
        let bench = bench();
        let found = search(&bench, json!({"query": "what is the CAT's name, Mimi?"}));
        assert_eq!(found[0]["path"], "MEMORY.md");
        assert_eq!(
            (&found[0]["startLine"], &found[0]["endLine"]),
            (&json!(1), &json!(3))
        );
        assert_eq!(found[0]["citation"], "MEMORY.md#L1-L3");
        assert!(
            found[0]["snippet"]
                .as_str()
                .unwrap()
                .contains("called Mimi")
        );
        assert_eq!(found[1]["path"], "memory/old/2025.md");
        assert!(found[0]["score"].as_f64() > found[1]["score"].as_f64());
        let found = search(&bench, json!({"query": "lighthouse"}));
        assert_eq!(found.len(), 1, "AGENTS.md is no memory");
        assert!(search(&bench, json!({"query": "submarine"})).is_empty());
        assert_eq!(
            search(&bench, json!({"query": "mimi", "maxResults": 1})).len(),
            1
        );
        assert!(search(&bench, json!({"query": "mimi", "minScore": 1.1})).is_empty());
        assert_eq!(bench.error(&Search, json!({})), "query required");
    }

    #[test]
    fn passages_end_at_headings_and_after_some_lines() {
        let text = format!("a\n# b\nc\n{}", "x\n".repeat(30));
        let spans: Vec<_> = cut("f", &text).iter().map(|p| (p.first, p.lines)).collect();
        assert_eq!(spans, [(1, 1), (2, 12), (14, 12), (26, 8)]);
    }

    #[test]
    fn lines_are_read() {
        let bench = bench();
        let get = |call: Value| bench.run(&Get, call).unwrap().details.unwrap();
        assert!(
            get(path("MEMORY.md"))["text"]
                .as_str()
                .unwrap()
                .ends_with("8080.\n")
        );
        let lines = get(json!({"path": "memory/2026-01-01.md", "from": 2, "lines": 1}));
        assert_eq!(lines["text"], "We talked about the lighthouse project.");
        let end = get(json!({"path": "MEMORY.md", "from": 3}));
        assert_eq!(end["text"], "The server runs on port 8080.");
        bench.put("memory/long.md", "y".repeat(100_000));
        let long = get(path("memory/long.md"));
        assert_eq!(long["truncated"], true);
    }

    /// FP-11
    #[test]
    fn nothing_but_memory_is_read() {
        let bench = bench();
        bench.put("docs/x.md", "secret");
        bench.put("MEMORY.md.bak", "secret");
        bench.put("memory/data.json", "secret");
        bench.put("USER.md", "secret");
        std::os::unix::fs::symlink("/etc/passwd", bench.workspace.join("memory/link.md")).unwrap();
        for asked in [
            "AGENTS.md",
            "docs/x.md",
            "memory/../USER.md",
            "memory/link.md",
            "MEMORY.md.bak",
            "memory/data.json",
            "memory",
            "../ws/memory/../../secret.md",
            "/etc/passwd",
            "memory/none.md",
        ] {
            let answer = bench.run(&Get, path(asked)).unwrap().details.unwrap();
            assert_eq!(
                (&answer["text"], &answer["disabled"]),
                (&json!(""), &json!(true)),
                "{asked}"
            );
        }
        assert!(search(&bench, json!({"query": "root secret"})).is_empty());
    }

    #[test]
    fn it_can_be_switched_off() {
        let off = Bench::new("{agents: {defaults: {memorySearch: {enabled: false}}}}");
        assert!(!Search.available(&off.context()) && !Get.available(&off.context()));
        assert!(Search.available(&bench().context()));
    }
}
