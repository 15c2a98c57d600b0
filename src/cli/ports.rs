//! Who holds a port, in words.

use std::fs;
use std::io;

use serde_json::{Value, json};

use crate::sys::port::{self, Owner};
use crate::sys::process;

/// Bytes of /etc/passwd that are looked at.
const MAX_PASSWD: u64 = 1024 * 1024;

/// The listeners of a port and what they mean.
pub struct Usage {
    pub port: u16,
    /// An error where the system does not tell.
    pub owners: io::Result<Vec<Owner>>,
}

impl Usage {
    /// Looks at `port` now.
    pub fn of(port: u16) -> Usage {
        Usage {
            port,
            owners: port::owners(port),
        }
    }

    /// The listeners; empty also when nobody tells.
    pub fn owners(&self) -> &[Owner] {
        self.owners.as_deref().unwrap_or_default()
    }

    /// Whether a gateway is among the listeners.
    pub fn has_gateway(&self) -> bool {
        self.owners().iter().any(is_gateway)
    }

    /// What can be done about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self.owners() {
            [] => None,
            _ if self.has_gateway() => Some(
                "Gateway already running locally. Stop it (openclaw gateway stop) or use a different port.",
            ),
            _ => Some("Another process is listening on this port."),
        }
    }

    /// `Port N is already in use.`, a line for each listener, the hint; empty when it is free.
    pub fn lines(&self) -> Vec<String> {
        if self.owners().is_empty() {
            return Vec::new();
        }
        let mut lines = vec![format!("Port {} is already in use.", self.port)];
        let mut told = Vec::new();
        for o in self.owners() {
            let who = (o.pid, o.uid);
            if told.contains(&who) {
                continue;
            }
            told.push(who);
            let same = self.owners().iter().filter(|p| (p.pid, p.uid) == who);
            let addresses: Vec<String> = same.map(|p| p.address.to_string()).collect();
            let pid = o.pid.map_or_else(String::new, |pid| format!("pid {pid} "));
            let program = match o.command_line.as_str() {
                "" => "a process of another user",
                line => line,
            };
            let user = user_name(o.uid);
            lines.push(format!(
                "- {pid}{user}: {program} ({})",
                addresses.join(", ")
            ));
        }
        lines.extend(self.hint().map(|h| format!("- {h}")));
        lines
    }

    /// `{port, status, listeners[], hints[]}`.
    pub fn to_value(&self) -> Value {
        let status = match &self.owners {
            Err(_) => "unknown",
            Ok(list) if list.is_empty() => "free",
            Ok(_) => "busy",
        };
        let listeners: Vec<Value> = self
            .owners()
            .iter()
            .map(|o| {
                let mut v = json!({
                    "command": o.command, "commandLine": o.command_line,
                    "address": o.address.to_string(), "user": user_name(o.uid),
                });
                if let Some(pid) = o.pid {
                    v["pid"] = pid.into();
                    v["ppid"] = process::parent(pid).into();
                }
                v
            })
            .collect();
        let hints: Vec<&str> = self.hint().into_iter().collect();
        json!({"port": self.port, "status": status, "listeners": listeners, "hints": hints})
    }
}

/// Whether a listener looks like a gateway, ours or the reference's.
fn is_gateway(owner: &Owner) -> bool {
    owner.command_line.contains("openclaw") && owner.command_line.contains("gateway")
}

/// The name of user `uid`, or the number when it has none.
pub fn user_name(uid: u32) -> String {
    use std::io::Read;
    let mut text = String::new();
    let read =
        fs::File::open("/etc/passwd").and_then(|f| f.take(MAX_PASSWD).read_to_string(&mut text));
    let named = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_string();
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    };
    match read {
        Ok(_) => text.lines().find_map(named),
        Err(_) => None,
    }
    .unwrap_or_else(|| uid.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_busy_port_names_its_holder() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let usage = Usage::of(listener.local_addr().unwrap().port());
        if usage.owners.is_err() {
            return; // No /proc here.
        }
        let lines = usage.lines();
        let pid = std::process::id();
        assert!(lines[0].ends_with("is already in use."), "{lines:?}");
        assert!(lines[1].starts_with(&format!("- pid {pid} ")), "{lines:?}");
        assert_eq!(usage.to_value()["listeners"][0]["pid"], pid);
        assert_eq!(usage.to_value()["status"], "busy");
    }

    #[test]
    fn only_a_gateway_is_called_one() {
        let usage = |line: &str| Usage {
            port: 1,
            owners: Ok(vec![Owner {
                pid: Some(1),
                command: "x".into(),
                command_line: line.into(),
                uid: 0,
                address: "127.0.0.1:1".parse().unwrap(),
            }]),
        };
        assert!(usage("/usr/bin/openclaw gateway --port 1").has_gateway());
        assert!(usage("openclaw-gateway").has_gateway());
        assert!(!usage("vim openclaw.json").has_gateway());
        assert!(usage("python3 s.py").lines()[2].contains("Another process"));
        assert_eq!(user_name(0), "root");
    }
}
