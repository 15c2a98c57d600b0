//! Other processes: are they there, what are they, and a signal to one of them by its id.
//!
//! Everything but [`signal`] reads /proc; where there is none, the answers are `None`.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};

use super::os;

/// Bytes of a command line that are kept.
const MAX_COMMAND_LINE: u64 = 4096;

/// The signals that the gateway sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// As Ctrl-C does.
    Int,
    /// Please end.
    Term,
    /// End at once; cannot be caught.
    Kill,
    /// Restart, for a gateway.
    Usr1,
}

impl Signal {
    fn number(self) -> i32 {
        match self {
            Signal::Int => libc::SIGINT,
            Signal::Term => libc::SIGTERM,
            Signal::Kill => libc::SIGKILL,
            Signal::Usr1 => libc::SIGUSR1,
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Signal::Int => "SIGINT",
            Signal::Term => "SIGTERM",
            Signal::Kill => "SIGKILL",
            Signal::Usr1 => "SIGUSR1",
        })
    }
}

/// Sends `signal` to the process `pid`, and to no other.
pub fn signal(pid: u32, signal: Signal) -> io::Result<()> {
    os::kill(pid, signal.number())
}

/// Sends `signal` to the process group that `leader` leads. The leader must not have been waited for yet:
/// until then the id is nobody else's.
pub fn signal_group(leader: u32, signal: Signal) -> io::Result<()> {
    os::kill_group(leader, signal.number())
}

/// Whether the process `pid` is there and has not ended. One of another user counts.
pub fn alive(pid: u32) -> bool {
    let there = match os::kill(pid, 0) {
        Ok(()) => true,
        Err(e) => e.kind() == io::ErrorKind::PermissionDenied,
    };
    // A zombie has ended, though its parent has not asked yet.
    there && !matches!(stat(pid), Some(s) if s.state == b'Z' || s.state == b'X')
}

/// When `pid` was started, in the kernel's ticks since boot: together with the id it names a
/// process for good. Field 22 of /proc/PID/stat.
pub fn start_time(pid: u32) -> Option<u64> {
    stat(pid).map(|s| s.start)
}

/// The process that started `pid`.
pub fn parent(pid: u32) -> Option<u32> {
    stat(pid).map(|s| s.parent)
}

/// The short name of `pid`, 15 bytes at most.
pub fn name(pid: u32) -> Option<String> {
    let text = fs::read(format!("/proc/{pid}/comm")).ok()?;
    Some(printable(text.trim_ascii_end()))
}

/// The words of `pid`'s command line; empty for a kernel thread, at most 4 KiB.
pub fn arguments(pid: u32) -> Option<Vec<String>> {
    let mut bytes = Vec::new();
    File::open(format!("/proc/{pid}/cmdline"))
        .and_then(|f| f.take(MAX_COMMAND_LINE).read_to_end(&mut bytes))
        .ok()?;
    let words = bytes.strip_suffix(&[0]).unwrap_or(&bytes);
    if words.is_empty() {
        return Some(Vec::new());
    }
    Some(words.split(|b| *b == 0).map(printable).collect())
}

/// The command line of `pid` as one line for people: control characters are replaced.
pub fn command_line(pid: u32) -> Option<String> {
    arguments(pid)
        .map(|words| words.join(" "))
        .filter(|line| !line.is_empty())
        .or_else(|| name(pid))
}

/// The user that `pid` runs as.
pub fn owner(pid: u32) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(format!("/proc/{pid}")).ok().map(|m| m.uid())
}

struct Stat {
    state: u8,
    parent: u32,
    start: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// The name, field 2, is in brackets and may itself hold spaces and brackets: count from its end.
fn parse_stat(text: &[u8]) -> Option<Stat> {
    let end = text.iter().rposition(|b| *b == b')')?;
    let rest = std::str::from_utf8(text.get(end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    let parent = fields.next()?.parse().ok()?;
    let start = fields.nth(17)?.parse().ok()?;
    Some(Stat {
        state,
        parent,
        start,
    })
}

fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let line = b"7 (a) R 1) Z) S 4 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2 3\n";
        let s = parse_stat(line).unwrap();
        assert_eq!((s.state, s.parent, s.start), (b'S', 4, 987_654));
        assert!(parse_stat(b"7 (cut) S 4").is_none());
        assert!(parse_stat(b"").is_none());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_is_known() {
        let pid = std::process::id();
        assert!(alive(pid));
        assert!(start_time(pid).unwrap() > 0);
        assert_eq!(owner(pid), Some(os::uid()));
        assert!(!command_line(pid).unwrap().is_empty());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_child_can_be_ended_and_is_then_gone() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let pid = child.id();
        assert!(alive(pid));
        assert_eq!(parent(pid), Some(std::process::id()));
        signal(pid, Signal::Kill).unwrap();
        child.wait().unwrap();
        assert!(!alive(pid));
        assert_eq!(start_time(pid), None);
        assert_eq!(command_line(pid), None);
    }

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        assert_eq!(printable(b"a\x1b[2J\nb"), "a?[2J?b");
    }
}
