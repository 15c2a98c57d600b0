//! The text of a patch as sections, hunks and lines.

/// Longest patch in bytes.
const MAX_INPUT: usize = 4 * 1024 * 1024;
/// Sections of a patch.
const MAX_SECTIONS: usize = 256;

const BEGIN: &str = "*** Begin Patch";
const END: &str = "*** End Patch";
const END_OF_FILE: &str = "*** End of File";

/// What happens to one file.
#[derive(Debug, PartialEq)]
pub struct Section<'a> {
    pub path: &'a str,
    pub change: Change<'a>,
}

#[derive(Debug, PartialEq)]
pub enum Change<'a> {
    /// A new file with this text.
    Add(String),
    Delete,
    Update {
        to: Option<&'a str>,
        hunks: Vec<Hunk<'a>>,
    },
}

/// Lines that are replaced by others.
#[derive(Debug, Default, PartialEq)]
pub struct Hunk<'a> {
    /// A line that comes somewhere before the hunk, `@@ LINE`.
    pub after: Option<&'a str>,
    pub old: Vec<&'a str>,
    pub new: Vec<&'a str>,
    /// The hunk is at the end of the file.
    pub at_end: bool,
}

impl Section<'_> {
    /// `A`, `M` or `D`.
    pub fn letter(&self) -> char {
        match self.change {
            Change::Add(_) => 'A',
            Change::Delete => 'D',
            Change::Update { .. } => 'M',
        }
    }

    /// The path afterwards.
    pub fn result(&self) -> &str {
        match self.change {
            Change::Update { to: Some(to), .. } => to,
            _ => self.path,
        }
    }
}

/// The sections of `input`; an error says what is wrong with which line.
pub fn parse(input: &str) -> Result<Vec<Section<'_>>, String> {
    if input.len() > MAX_INPUT {
        return Err(format!("the patch is longer than {MAX_INPUT} bytes"));
    }
    let mut lines = input.trim().lines().enumerate().peekable();
    if lines.next().map(|(_, l)| l.trim()) != Some(BEGIN) {
        return Err(format!("the patch has to begin with `{BEGIN}`"));
    }
    let mut sections: Vec<Section<'_>> = Vec::new();
    loop {
        let Some((n, line)) = lines.next() else {
            return Err(format!("the patch has to end with `{END}`"));
        };
        let line = line.trim();
        if line == END {
            break;
        }
        if line.is_empty() {
            continue;
        }
        if sections.len() == MAX_SECTIONS {
            return Err(format!("the patch has more than {MAX_SECTIONS} sections"));
        }
        let body = std::iter::from_fn(|| {
            let ends = |l: &str| {
                ["*** Add File:", "*** Delete File:", "*** Update File:", END]
                    .iter()
                    .any(|mark| l.trim_end().starts_with(mark))
            };
            lines.next_if(|(_, l)| !ends(l)).map(|(_, l)| l)
        });
        let section = section(line, body).map_err(|e| format!("line {}: {e}", n + 1))?;
        sections.push(section);
    }
    match (sections.is_empty(), lines.next()) {
        (_, Some(_)) => Err(format!("there is text after `{END}`")),
        (true, None) => Err("the patch changes no file".into()),
        (false, None) => Ok(sections),
    }
}

fn section<'a>(
    head: &'a str,
    mut body: impl Iterator<Item = &'a str>,
) -> Result<Section<'a>, String> {
    let named = |mark: &str| head.strip_prefix(mark).map(str::trim);
    let (path, change) = if let Some(path) = named("*** Add File:") {
        let mut text = String::new();
        for line in body {
            let line = line
                .strip_prefix('+')
                .ok_or("lines of a new file begin with `+`")?;
            text.push_str(line);
            text.push('\n');
        }
        (path, Change::Add(text))
    } else if let Some(path) = named("*** Delete File:") {
        if body.any(|line| !line.trim().is_empty()) {
            return Err("there is nothing to say about a file that goes".into());
        }
        (path, Change::Delete)
    } else if let Some(path) = named("*** Update File:") {
        (path, update(body)?)
    } else {
        return Err("expected `*** Add File:`, `*** Delete File:` or `*** Update File:`".into());
    };
    match path.is_empty() {
        true => Err("the path is missing".into()),
        false => Ok(Section { path, change }),
    }
}

fn update<'a>(body: impl Iterator<Item = &'a str>) -> Result<Change<'a>, String> {
    let mut to = None;
    let mut hunks: Vec<Hunk<'a>> = Vec::new();
    for line in body {
        if let Some(path) = line.strip_prefix("*** Move to:") {
            if !hunks.is_empty() || to.is_some() || path.trim().is_empty() {
                return Err("`*** Move to: PATH` stands once, before the hunks".into());
            }
            to = Some(path.trim());
            continue;
        }
        if let Some(after) = line.strip_prefix("@@") {
            // `@@ -1,2 +1,3 @@` is what other tools write; the numbers mean nothing here.
            let after = after.strip_prefix(' ').unwrap_or(after).trim_end();
            let numbers = after.starts_with('-') && after.ends_with("@@");
            hunks.push(Hunk {
                after: Some(after).filter(|a| !a.is_empty() && !numbers),
                ..Hunk::default()
            });
            continue;
        }
        if hunks.is_empty() {
            if line.trim().is_empty() {
                continue;
            }
            hunks.push(Hunk::default());
        }
        let Some(hunk) = hunks.last_mut() else {
            continue;
        };
        if line.trim_end() == END_OF_FILE {
            hunk.at_end = true;
            continue;
        }
        match (line.chars().next(), line.get(1..)) {
            (Some(' '), Some(rest)) => {
                hunk.old.push(rest);
                hunk.new.push(rest);
            }
            (Some('-'), Some(rest)) => hunk.old.push(rest),
            (Some('+'), Some(rest)) => hunk.new.push(rest),
            // A blank line that lost its blank.
            (None, _) => {
                hunk.old.push("");
                hunk.new.push("");
            }
            _ => return Err("lines of a hunk begin with a blank, `-` or `+`".into()),
        }
    }
    let empty = |h: &Hunk<'_>| h.old.is_empty() && h.new.is_empty();
    if hunks.iter().any(empty) || (hunks.is_empty() && to.is_none()) {
        return Err("a hunk is empty".into());
    }
    Ok(Change::Update { to, hunks })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_is_sections_of_hunks() {
        let text = "*** Begin Patch\n*** Update File: a b \n*** Move to: c\n@@ fn x() {\n same\n-old\n+new\n\
            \n@@\n+last\n*** End of File\n*** Add File: n\n*** Delete File: d\n\n*** End Patch\n";
        let sections = parse(text).unwrap();
        let hunks = vec![
            Hunk {
                after: Some("fn x() {"),
                old: vec!["same", "old", ""],
                new: vec!["same", "new", ""],
                at_end: false,
            },
            Hunk {
                new: vec!["last"],
                at_end: true,
                ..Hunk::default()
            },
        ];
        let to = Some("c");
        assert_eq!(sections[0].path, "a b");
        assert_eq!(sections[0].change, Change::Update { to, hunks });
        assert_eq!(sections[0].result(), "c");
        assert_eq!(sections[1].change, Change::Add(String::new()));
        assert_eq!(sections[2].change, Change::Delete);
    }

    #[test]
    fn hunks_may_come_without_their_head_or_with_numbers() {
        for head in ["", "@@\n", "@@ -1,3 +1,3 @@\n"] {
            let text = format!("*** Begin Patch\n*** Update File: a\n{head}-x\n+y\n*** End Patch");
            let Change::Update { hunks, .. } = &parse(&text).unwrap()[0].change else {
                panic!("no update");
            };
            assert_eq!((hunks.len(), hunks[0].after), (1, None), "{head}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (body, want) in [
            ("", "no file"),
            ("*** Frob File: a", "line 2: expected"),
            ("*** Add File: a\nx", "begin with `+`"),
            ("*** Add File:\n+x", "path is missing"),
            ("*** Delete File: a\nx", "nothing to say"),
            ("*** Update File: a", "empty"),
            ("*** Update File: a\n@@", "empty"),
            ("*** Update File: a\n@@\n-x\n*** Move to: b", "once, before"),
            ("*** Update File: a\n@@\n?x", "begin with a blank"),
            ("*** Update File: a\n@@\néx", "begin with a blank"),
        ] {
            let text = format!("*** Begin Patch\n{body}\n*** End Patch");
            let error = parse(&text).unwrap_err();
            assert!(error.contains(want), "{body}: {error}");
        }
        assert!(parse("").unwrap_err().contains("begin with"));
        let open = parse("*** Begin Patch\n*** Delete File: a");
        assert!(open.unwrap_err().contains("end with"));
        let more = parse("*** Begin Patch\n*** Delete File: a\n*** End Patch\nx");
        assert!(more.unwrap_err().contains("after"));
    }
}
