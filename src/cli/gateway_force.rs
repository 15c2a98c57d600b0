//! `gateway --force`: end whoever listens on the port, and say whom.

use std::time::{Duration, Instant};

use crate::sys::port::{self, Owner};
use crate::sys::process::{self, Signal};

/// How long a listener may take to end after SIGTERM. A gateway drains in that time.
const TERM_WAIT: Duration = Duration::from_secs(3);
/// How long the system may take to end it after SIGKILL.
const KILL_WAIT: Duration = Duration::from_secs(2);
/// Time between two looks at the port.
const POLL: Duration = Duration::from_millis(50);

/// Frees `port`. The error is the end of a sentence that begins with `Force: `.
pub fn free(port: u16) -> Result<(), String> {
    free_within(port, TERM_WAIT)
}

fn free_within(port: u16, term_wait: Duration) -> Result<(), String> {
    let started = Instant::now();
    let holders = holders(port)?;
    if holders.is_empty() {
        log::info!(target: "gateway", "force: no listeners on port {port}");
        return Ok(());
    }
    for h in &holders {
        let (pid, line) = (h.pid, &h.command_line);
        log::info!(target: "gateway", "force: ending pid {pid} ({line}), which listens on port {port}");
        h.signal(Signal::Term)?;
    }
    if !wait_until_free(port, term_wait)? {
        log::info!(target: "gateway", "force: escalated to SIGKILL while freeing port {port}");
        // Only those that were named: whoever came in between is another matter.
        for h in &holders {
            h.signal(Signal::Kill)?;
        }
        if !wait_until_free(port, KILL_WAIT)? {
            let left: Vec<String> = holders_or_users(port)?;
            return Err(format!(
                "port {port} still has listeners after --force: {}",
                left.join(", ")
            ));
        }
    }
    for h in &holders {
        log::info!(target: "gateway", "force: killed pid {} ({}) on port {port}", h.pid, h.command);
    }
    let ms = started.elapsed().as_millis();
    log::info!(target: "gateway", "force: waited {ms}ms for port {port} to free");
    Ok(())
}

/// A process that listens on the port, known for good by its start time.
struct Holder {
    pid: u32,
    start: Option<u64>,
    command: String,
    command_line: String,
}

impl Holder {
    /// Sends `signal`, unless the process has ended and its id means another one now.
    fn signal(&self, signal: Signal) -> Result<(), String> {
        if !process::alive(self.pid) || process::start_time(self.pid) != self.start {
            return Ok(());
        }
        process::signal(self.pid, signal).map_err(|e| {
            format!(
                "cannot send {signal} to pid {} ({}): {e}",
                self.pid, self.command
            )
        })
    }
}

fn holders(port: u16) -> Result<Vec<Holder>, String> {
    let me = std::process::id();
    let mut found: Vec<Holder> = Vec::new();
    for Owner {
        pid,
        command,
        command_line,
        uid,
        ..
    } in owners(port)?
    {
        let user = super::ports::user_name(uid);
        let pid = pid.ok_or_else(|| {
            format!("port {port} is held by a process of user {user}, which only that user or root can end")
        })?;
        if pid != me && !found.iter().any(|h| h.pid == pid) {
            found.push(Holder {
                pid,
                start: process::start_time(pid),
                command,
                command_line,
            });
        }
    }
    Ok(found)
}

fn owners(port: u16) -> Result<Vec<Owner>, String> {
    port::owners(port).map_err(|e| format!("cannot tell who listens on port {port}: {e}"))
}

fn holders_or_users(port: u16) -> Result<Vec<String>, String> {
    let name = |o: Owner| match o.pid {
        Some(pid) => pid.to_string(),
        None => format!("a process of user {}", super::ports::user_name(o.uid)),
    };
    Ok(owners(port)?.into_iter().map(name).collect())
}

fn wait_until_free(port: u16, wait: Duration) -> Result<bool, String> {
    let until = Instant::now() + wait;
    loop {
        if owners(port)?.is_empty() {
            return Ok(true);
        }
        if Instant::now() >= until {
            return Ok(false);
        }
        std::thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::process::{Child, Command, Stdio};

    #[test]
    fn a_free_port_is_left_alone() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        free(port).unwrap();
    }

    /// A shell that inherits a listener, as the only process to hold it.
    fn shell(script: &str) -> (Child, u16) {
        use std::os::fd::{AsRawFd, OwnedFd};
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(listener.as_raw_fd() > 2);
        let child = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        (child, port)
    }

    fn ready(child: &mut Child) {
        use std::io::Read;
        let mut byte = [0];
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut byte)
            .unwrap();
    }

    #[test]
    fn a_listener_is_ended_gently_or_not() {
        for script in [
            "echo r; exec sleep 60",
            "trap '' TERM; echo r; exec sleep 60",
        ] {
            let (mut child, port) = shell(script);
            ready(&mut child);
            let freed = free_within(port, Duration::from_millis(300));
            let _ = child.kill();
            let status = child.wait().unwrap();
            freed.unwrap();
            assert!(!status.success(), "{script}");
            assert!(TcpListener::bind(("127.0.0.1", port)).is_ok());
        }
    }
}
