//! Patterns of program paths, as the allowlist of the exec approvals has them.
//!
//! `*` and `?` stay within one component, `**` stands for any number of them; nothing is folded, so that a
//! pattern never covers more than it says (TX-01). A bare name covers nothing.

use std::path::Path;

/// Whether `pattern` covers the program at `path`, which is absolute and has its links resolved.
///
/// The pattern may go through links itself, as far as it has no wildcards: `/bin/ls` means `/usr/bin/ls`
/// where `/bin` leads there.
pub fn covers(pattern: &str, home: &Path, path: &Path) -> bool {
    let Some(pattern) = expanded(pattern, home) else {
        return false;
    };
    let Some(path) = path.to_str() else {
        return false;
    };
    fits(&pattern, path) || resolved(&pattern).is_some_and(|pattern| fits(&pattern, path))
}

/// `pattern` as an absolute one without steps backwards.
fn expanded(pattern: &str, home: &Path) -> Option<String> {
    let pattern = match pattern.strip_prefix("~/") {
        Some(rest) => format!("{}/{rest}", home.to_str()?),
        None => pattern.to_string(),
    };
    let steps = pattern
        .split('/')
        .skip(1)
        .all(|s| !matches!(s, "" | "." | ".."));
    (pattern.starts_with('/') && steps).then_some(pattern)
}

/// `pattern` with the links resolved as far as it has no wildcards.
fn resolved(pattern: &str) -> Option<String> {
    let Some(wild) = pattern.find(['*', '?']) else {
        let path = Path::new(pattern).canonicalize().ok()?;
        return path.into_os_string().into_string().ok();
    };
    let cut = pattern[..wild].rfind('/')?;
    let folder = Path::new(&pattern[..cut.max(1)]).canonicalize().ok()?;
    let folder = folder.to_str()?.trim_end_matches('/');
    Some(format!("{folder}{}", &pattern[cut..]))
}

fn fits(pattern: &str, path: &str) -> bool {
    let pattern: Vec<&str> = pattern.split('/').collect();
    let path: Vec<&str> = path.split('/').collect();
    components(&pattern, &path)
}

fn components(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        (Some((&"**", rest)), _) => (0..=path.len()).any(|n| components(rest, &path[n..])),
        (Some((first, rest)), Some((name, below))) => {
            component(first.as_bytes(), name.as_bytes()) && components(rest, below)
        }
        _ => false,
    }
}

/// One component: `*` for any characters, `?` for one byte.
fn component(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    // Where the last star was, and how much it had taken by then.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == b'?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    n = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(pattern: &str, path: &str) -> bool {
        covers(pattern, Path::new("/home/me"), Path::new(path))
    }

    #[test]
    fn a_pattern_covers_what_it_says() {
        for (pattern, path) in [
            ("/opt/x", "/opt/x"),
            ("/opt/ech?", "/opt/echo"),
            ("/opt/t*/run", "/opt/tool/run"),
            ("/opt/*", "/opt/x"),
            ("/opt/**/run", "/opt/run"),
            ("/opt/**/run", "/opt/a/b/run"),
            ("/opt/**", "/opt/a/b"),
            ("~/bin/*", "/home/me/bin/x"),
            ("/opt/a*b*c", "/opt/a-b-b-c"),
        ] {
            assert!(fit(pattern, path), "{pattern} {path}");
        }
    }

    /// TX-01
    #[test]
    fn a_pattern_covers_no_more() {
        for (pattern, path) in [
            ("/opt/ech?", "/OPT/ECHO"),
            ("/opt/echo", "/opt/ECHO"),
            ("/opt/ech?", "/opt/ech/x"),
            ("/opt/ech?", "/opt/ech"),
            ("/opt/t*/run", "/opt/ta/b/run"),
            ("/opt/t*/run", "/tmp/run"),
            ("/opt/t*/../../tmp/run", "/tmp/run"),
            ("echo", "/opt/echo"),
            ("*", "/opt/echo"),
            ("**", "/opt/echo"),
            ("", "/opt/echo"),
            ("/", "/opt/echo"),
            ("/opt/", "/opt/echo"),
            ("/opt//echo", "/opt/echo"),
            ("/opt/*", "/opt/a/b"),
            ("~/bin/*", "/home/you/bin/x"),
        ] {
            assert!(!fit(pattern, path), "{pattern} {path}");
        }
    }

    #[test]
    fn links_in_a_pattern_are_resolved_up_to_its_wildcards() {
        let dir = std::env::temp_dir().join(format!("openclaw-pattern-{}", crate::sys::id::uuid()));
        std::fs::create_dir_all(dir.join("real")).unwrap();
        std::fs::write(dir.join("real/tool"), "").unwrap();
        std::os::unix::fs::symlink("real", dir.join("bin")).unwrap();
        std::os::unix::fs::symlink("tool", dir.join("real/alias")).unwrap();
        let tool = dir.canonicalize().unwrap().join("real/tool");
        let tool = tool.to_str().unwrap();
        let shown = |p: &str| dir.join(p).display().to_string();
        for pattern in ["bin/tool", "bin/alias", "bin/t*", "real/*"] {
            assert!(fit(&shown(pattern), tool), "{pattern}");
        }
        for pattern in ["bin/other", "bin/a*", "b*/alias"] {
            assert!(!fit(&shown(pattern), tool), "{pattern}");
        }
        std::fs::remove_dir_all(dir).unwrap();
    }
}
