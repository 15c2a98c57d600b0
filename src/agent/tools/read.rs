//! The tool `read`: a file of the workspace, as lines of text or as an image.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};

use data_encoding::BASE64;
use serde_json::{Map, Value, json};

use super::files::{self, Access, path_of};
use super::{Context, Output, Tool, ToolError, count_of};
use crate::agent::provider::{Part, ToolSpec};

/// Lines that one call gives at most.
const MAX_LINES: usize = 2000;
/// Bytes of text that one call gives at most.
const MAX_BYTES: usize = 50 * 1024;
/// Bytes of a file that are looked at to find the lines asked for.
const MAX_SCAN: u64 = 64 * 1024 * 1024;
/// Largest image in bytes.
const MAX_IMAGE: u64 = 5 * 1024 * 1024;
/// Bytes that tell what a file is.
const SNIFF: usize = 12;

/// The tool.
pub struct Read;

impl Tool for Read {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "read",
            description: "Read a file of the workspace. Text comes as lines, at most 2000 lines or 50 KB \
                at a time; ask for more with offset. Images (jpg, png, gif, webp) come as pictures.",
            parameters: json!({
                "type": "object",
                "properties": {
                    "path": {"type": "string", "description": "File, relative to the workspace or absolute"},
                    "file_path": {"type": "string", "description": "The same as path"},
                    "offset": {"type": "number", "description": "First line, counted from 1"},
                    "limit": {"type": "number", "description": "Most lines to read"},
                },
                "required": [],
            }),
        }
    }

    fn summary(&self) -> &'static str {
        "Read file contents"
    }

    fn meta(&self, arguments: &Map<String, Value>) -> Option<String> {
        let path = path_of(arguments).ok()?;
        let number = |name| count_of(arguments, name).ok().flatten();
        Some(match (number("offset"), number("limit")) {
            (None, None) => format!("from {path}"),
            (from, None) => format!("from {path}, line {} on", from.unwrap_or(1)),
            (from, Some(count)) => {
                let from = from.unwrap_or(1);
                format!(
                    "from {path}, lines {from}-{}",
                    from.saturating_add(count) - 1
                )
            }
        })
    }

    fn run(
        &self,
        arguments: &Map<String, Value>,
        context: &Context<'_>,
    ) -> Result<Output, ToolError> {
        let asked = path_of(arguments)?;
        let from = count_of(arguments, "offset")?.unwrap_or(1);
        let limit = count_of(arguments, "limit")?.unwrap_or(MAX_LINES);
        let (file, size) = open(context, asked)
            .map_err(|e| ToolError::new(format!("cannot read {asked}: {e}")))?;
        let failed = |e: io::Error| ToolError::new(format!("cannot read {asked}: {e}"));
        let mut file = BufReader::new(file.take(MAX_SCAN));
        let start = file.fill_buf().map_err(failed)?;
        if let Some(mime) = image_type(&start[..start.len().min(SNIFF)]) {
            if size > MAX_IMAGE {
                let text =
                    format!("{asked} is an image of {size} bytes; at most {MAX_IMAGE} are read");
                return Err(ToolError::new(text));
            }
            return image(file, mime, context).map_err(failed);
        }
        lines(file, from, limit.min(MAX_LINES)).map_err(failed)
    }
}

fn open(context: &Context<'_>, asked: &str) -> io::Result<(File, u64)> {
    let confined = files::workspace_only(context);
    let place = files::place(context, asked, Access::Read, confined)?;
    let (file, metadata) = place.root.open_file(&place.path)?;
    Ok((file, metadata.len()))
}

fn image(mut file: impl io::Read, mime: &str, context: &Context<'_>) -> io::Result<Output> {
    if !context.model.images {
        return Ok(Output::text(format!(
            "[{mime}; this model cannot see images]"
        )));
    }
    let mut bytes = Vec::new();
    file.by_ref().take(MAX_IMAGE).read_to_end(&mut bytes)?;
    Ok(Output {
        content: vec![
            Part::Text(format!("Read image file [{mime}]")),
            Part::Image {
                mime: mime.to_string(),
                data: BASE64.encode(&bytes),
            },
        ],
        details: None,
        is_error: false,
    })
}

/// Lines `from..from + limit` (counted from 1), and how to get the rest.
fn lines(mut file: impl BufRead, from: usize, limit: usize) -> io::Result<Output> {
    let mut page = Page::default();
    loop {
        let bytes = file.fill_buf()?;
        if bytes.is_empty() {
            break;
        }
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            page.take(piece, from, limit);
        }
        let n = bytes.len();
        file.consume(n);
    }
    let (total, shown) = (page.ended + usize::from(page.open), page.shown());
    let mut text = String::from_utf8_lossy(&page.text).into_owned();
    if page.cut {
        text.push_str("\n[line cut]");
    }
    if total < from && from > 1 {
        text = format!("[there is no line {from}: the file has {total}]");
    } else if from + shown <= total {
        let (last, next) = (from + shown - 1, from + shown);
        text.push_str(&format!(
            "\n[lines {from}-{last} of {total}; go on with offset={next}]"
        ));
    }
    Ok(Output::text(text))
}

/// The lines that one call gives, as they are found. Holds no more than [`MAX_BYTES`].
#[derive(Default)]
struct Page {
    text: Vec<u8>,
    /// Lines that have ended, all of the file.
    ended: usize,
    /// The line after those has begun.
    open: bool,
    /// Whole lines in `text`, and where the line after them begins there.
    whole: usize,
    start: usize,
    full: bool,
    /// The only line did not fit and is there in part.
    cut: bool,
}

impl Page {
    /// Takes a line, or a piece of one that goes on.
    fn take(&mut self, piece: &[u8], from: usize, limit: usize) {
        let ends = piece.ends_with(b"\n");
        if self.ended + 1 >= from && !self.full {
            let room = MAX_BYTES - self.text.len();
            if self.whole == limit {
                self.full = true;
            } else if piece.len() <= room {
                self.text.extend_from_slice(piece);
                if ends {
                    self.whole += 1;
                    self.start = self.text.len();
                }
            } else {
                self.full = true;
                if self.whole == 0 {
                    self.text.extend_from_slice(&piece[..room]);
                    self.cut = true;
                } else {
                    self.text.truncate(self.start);
                }
            }
        }
        self.open = !ends;
        self.ended += usize::from(ends);
    }

    /// Lines of which there is something in `text`.
    fn shown(&self) -> usize {
        self.whole + usize::from(self.text.len() > self.start)
    }
}

/// The type of an image, by its first bytes.
fn image_type(start: &[u8]) -> Option<&'static str> {
    match start {
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P'] => Some("image/webp"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, path};
    use super::*;

    #[test]
    fn lines_come_with_the_way_to_the_next_ones() {
        let f = Bench::new("{}");
        f.put("a", "one\ntwo\nthree\nfour");
        assert_eq!(f.text(&Read, json!({"path": "a"})), "one\ntwo\nthree\nfour");
        assert_eq!(
            f.text(&Read, json!({"file_path": "a", "offset": 2, "limit": "2"})),
            "two\nthree\n\n[lines 2-3 of 4; go on with offset=4]"
        );
        assert_eq!(f.text(&Read, json!({"path": "a", "offset": 4})), "four");
        assert_eq!(
            f.text(&Read, json!({"path": "a", "offset": 9})),
            "[there is no line 9: the file has 4]"
        );
        f.put("empty", "");
        assert_eq!(f.text(&Read, json!({"path": "empty"})), "");
    }

    #[test]
    fn the_output_is_bounded_by_lines_and_bytes() {
        let f = Bench::new("{}");
        f.put("lines", "x\n".repeat(5000));
        let text = f.text(&Read, json!({"path": "lines", "limit": 4000}));
        assert!(
            text.ends_with("[lines 1-2000 of 5000; go on with offset=2001]"),
            "{text}"
        );
        f.put("long", "é".repeat(200_000));
        let text = f.text(&Read, json!({"path": "long"}));
        assert!(text.len() < MAX_BYTES + 100 && text.ends_with("[line cut]"));
        f.put("wide", format!("{}\n", "y".repeat(1000)).repeat(100));
        let text = f.text(&Read, json!({"path": "wide"}));
        assert!(text.len() < MAX_BYTES + 100 && text.contains("of 100; go on with offset=52]"));
    }

    #[test]
    fn images_are_pictures_to_those_who_see() {
        let mut f = Bench::new("{}");
        f.put("p.png", b"\x89PNG\r\n\x1a\nrest");
        assert!(
            f.text(&Read, json!({"path": "p.png"}))
                .contains("cannot see")
        );
        f.model.images = true;
        let parts = f.run(&Read, path("p.png")).unwrap().content;
        let want = Part::Image {
            mime: "image/png".into(),
            data: BASE64.encode(b"\x89PNG\r\n\x1a\nrest"),
        };
        assert_eq!(parts[1], want);
    }

    /// FP-04, FP-06
    #[test]
    fn nothing_outside_of_the_workspace_is_read() {
        let f = Bench::new("{}");
        for way in f.ways_out() {
            let error = f.error(&Read, path(&way));
            assert!(
                error.starts_with("cannot read") && !error.ends_with("secret"),
                "{error}"
            );
        }
        f.error(&Read, path(""));
        let inside = f.put("in", "inside");
        assert_eq!(f.text(&Read, path(inside.to_str().unwrap())), "inside");
    }

    #[test]
    fn calls_are_told_in_a_line() {
        let meta = |v: Value| Read.meta(v.as_object().unwrap()).unwrap_or_default();
        assert_eq!(meta(json!({"path": "TOOLS.md"})), "from TOOLS.md");
        assert_eq!(meta(json!({"path": "a", "offset": 3})), "from a, line 3 on");
        assert_eq!(
            meta(json!({"path": "a", "offset": 3, "limit": 2})),
            "from a, lines 3-4"
        );
        assert_eq!(meta(json!({})), "");
    }
}
