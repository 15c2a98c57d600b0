//! The tool `write`: a whole file.

use serde_json::{Map, Value, json};

use super::files::{self, Access, path_of};
use super::{Context, Output, Tool, ToolError};
use crate::agent::provider::ToolSpec;

/// The tool.
pub struct Write;

impl Tool for Write {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "write",
            description: "Write a file of the workspace, whole: it is made, with the folders on the way, or \
                replaced. To change a part of a file, use edit.",
            parameters: json!({
                "type": "object",
                "properties": {
                    "path": {"type": "string", "description": "File, relative to the workspace or absolute"},
                    "file_path": {"type": "string", "description": "The same as path"},
                    "content": {"type": "string", "description": "All of the new content"},
                },
                "required": ["content"],
            }),
        }
    }

    fn summary(&self) -> &'static str {
        "Create or overwrite files"
    }

    fn meta(&self, arguments: &Map<String, Value>) -> Option<String> {
        let content = arguments.get("content").and_then(Value::as_str);
        let size = content.map_or(0, str::len);
        Some(format!("to {} ({size} bytes)", path_of(arguments).ok()?))
    }

    fn run(
        &self,
        arguments: &Map<String, Value>,
        context: &Context<'_>,
    ) -> Result<Output, ToolError> {
        let asked = path_of(arguments)?;
        let content = arguments.get("content").and_then(Value::as_str);
        let content = content.ok_or_else(|| {
            ToolError::input("Missing required parameter: content. It has to be a text.")
        })?;
        if content.len() as u64 > files::MAX_FILE {
            let text = format!("content is longer than {} bytes", files::MAX_FILE);
            return Err(ToolError::input(text));
        }
        let confined = files::workspace_only(context);
        files::place(context, asked, Access::Write, confined)
            .and_then(|place| place.root.write(&place.path, content.as_bytes()))
            .map_err(|e| ToolError::new(format!("cannot write {asked}: {e}")))?;
        let size = content.len();
        Ok(Output::text(format!(
            "Successfully wrote {size} bytes to {asked}"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::*;

    #[test]
    fn a_file_is_written_with_its_folders() {
        let bench = Bench::new("{}");
        let call = json!({"path": "b/c.txt", "content": "héllo\n"});
        assert_eq!(
            bench.text(&Write, call),
            "Successfully wrote 7 bytes to b/c.txt"
        );
        let call = json!({"file_path": "b/c.txt", "content": ""});
        bench.text(&Write, call);
        assert_eq!(bench.get("b/c.txt"), "");
        let error = bench.error(&Write, json!({"path": "x"}));
        assert!(error.contains("content"), "{error}");
        let error = bench.error(&Write, json!({"content": "x"}));
        assert!(error.contains("path or file_path"), "{error}");
        let long = "x".repeat(files::MAX_FILE as usize + 1);
        bench.error(&Write, json!({"path": "long", "content": long}));
        assert!(!bench.workspace.join("long").exists());
    }

    /// FP-03, FP-04, FP-06
    #[test]
    fn nothing_outside_of_the_workspace_is_written() {
        let bench = Bench::new("{}");
        for way in bench.ways_out() {
            let error = bench.error(&Write, json!({"path": way, "content": "x"}));
            assert!(error.starts_with("cannot write"), "{error}");
        }
        assert!(bench.outside_is_untouched());
    }
}
