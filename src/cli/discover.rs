//! `gateway discover`: gateways that announce themselves in the local network by mDNS.
//!
//! A question is sent only when somebody types the command. What answers is hearsay: anybody in the network
//! can say anything, so it is shown and nothing is ever connected to because of it.

mod dns;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::context::Context;
use super::failure::Failure;
use super::options::{Command, EXIT_OK, Group, JSON, val};
use super::parse::Args;
use super::rpc;
use super::term::{self, Tone, clean};
use crate::config::DEFAULT_GATEWAY_PORT;
use dns::{Data, Record};

/// The service that gateways announce.
const SERVICE: &str = "_openclaw-gw._tcp.local";
/// The domain, as it is shown.
const DOMAIN: &str = "local.";
/// Where mDNS questions go.
const MDNS: (Ipv4Addr, u16) = (Ipv4Addr::new(224, 0, 0, 251), 5353);
/// Bytes of the largest packet that is looked at.
const MAX_PACKET: usize = 9000;
/// Packets that are looked at.
const MAX_PACKETS: usize = 256;
/// Gateways that are told of.
const MAX_FOUND: usize = 64;

pub static DISCOVER: Command = Command {
    options: &[
        JSON,
        &[val("timeout", "ms", "how long to listen for answers").default("2000")],
    ],
    run: Some(run),
    ..Command::new(
        "gateway discover",
        Group::Gateway,
        "ask the local network, by mDNS, which gateways there are",
    )
};

fn run(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    let wait = rpc::timeout(args)?;
    let found = ask(SocketAddr::from(MDNS), wait)
        .map_err(|e| Failure::new(format!("gateway discover failed: {e}")))?;
    if args.flag("json") {
        let beacons: Vec<Value> = found.iter().map(Beacon::to_value).collect();
        term::json(&json!({
            "timeoutMs": wait.as_millis() as u64, "domains": [DOMAIN], "count": beacons.len(),
            "beacons": beacons,
        }));
        return Ok(EXIT_OK);
    }
    term::say(&ctx.term.paint(Tone::Heading, "Gateway Discovery"));
    term::say(&format!(
        "Found {} gateway(s) · domains: {DOMAIN}",
        found.len()
    ));
    for beacon in &found {
        term::say(&clean(&beacon.lines().join("\n")));
    }
    Ok(EXIT_OK)
}

/// Asks at `place` and listens for `wait`.
fn ask(place: SocketAddr, wait: Duration) -> io::Result<Vec<Beacon>> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let question = dns::question(SERVICE);
    let until = Instant::now() + wait;
    socket.send_to(&question, place)?;
    // Once more half-way: a single datagram is easily lost.
    let mut again = Some(Instant::now() + wait / 2);
    let mut seen = Seen::default();
    let mut buffer = vec![0; MAX_PACKET];
    for _ in 0..MAX_PACKETS {
        let now = Instant::now();
        if again.is_some_and(|at| now >= at) {
            again = None;
            socket.send_to(&question, place)?;
        }
        let left = again.unwrap_or(until).saturating_duration_since(now);
        if until.saturating_duration_since(now).is_zero() {
            break;
        }
        socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        match socket.recv_from(&mut buffer) {
            Ok((n, _)) => seen.take(dns::records(&buffer[..n])),
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(seen.beacons())
}

/// What was said so far, by lower-case name.
#[derive(Default)]
struct Seen {
    /// Instances of the service, with the label as it was written.
    instances: BTreeMap<String, String>,
    services: BTreeMap<String, (String, u16)>,
    texts: BTreeMap<String, BTreeMap<String, String>>,
    addresses: BTreeMap<String, std::net::IpAddr>,
}

impl Seen {
    fn take(&mut self, records: Vec<Record>) {
        for r in records {
            let key = r.name.to_lowercase();
            match r.data {
                Data::Pointer(to) if key == SERVICE && self.instances.len() < MAX_FOUND => {
                    let suffix = SERVICE.len() + 1;
                    let label = to.len().checked_sub(suffix).and_then(|n| to.get(..n));
                    let label = label.unwrap_or(&to).to_string();
                    self.instances.insert(to.to_lowercase(), label);
                }
                Data::Service { host, port } if self.services.len() < MAX_FOUND => {
                    self.services.insert(key, (host, port));
                }
                Data::Text(pairs) if self.texts.len() < MAX_FOUND => {
                    self.texts.insert(key, pairs.into_iter().collect());
                }
                Data::Address(ip) if self.addresses.len() < MAX_FOUND => {
                    // IPv4 first: it is what people type.
                    let known = self.addresses.get(&key).is_some_and(|a| a.is_ipv4());
                    if !known {
                        self.addresses.insert(key, ip);
                    }
                }
                _ => {}
            }
        }
    }

    fn beacons(&self) -> Vec<Beacon> {
        let of = |(key, label): (&String, &String)| {
            let (host, port) = self.services.get(key).cloned().unwrap_or_default();
            Beacon {
                instance: label.clone(),
                address: self.addresses.get(&host.to_lowercase()).copied(),
                host,
                port,
                text: self.texts.get(key).cloned().unwrap_or_default(),
            }
        };
        self.instances.iter().map(of).collect()
    }
}

/// A gateway that announced itself.
#[derive(Debug, PartialEq, Eq)]
struct Beacon {
    instance: String,
    host: String,
    address: Option<std::net::IpAddr>,
    port: u16,
    text: BTreeMap<String, String>,
}

impl Beacon {
    fn said(&self, key: &str) -> Option<&str> {
        let text = self.text.get(key)?.trim();
        (!text.is_empty()).then_some(text)
    }

    /// Where it says that it is.
    fn place(&self) -> Option<String> {
        match self.address {
            Some(std::net::IpAddr::V6(ip)) => Some(format!("[{ip}]")),
            Some(ip) => Some(ip.to_string()),
            None if !self.host.is_empty() => Some(self.host.clone()),
            None => self
                .said("tailnetDns")
                .or(self.said("lanHost"))
                .map(str::to_string),
        }
    }

    fn url(&self) -> Option<String> {
        let said = self.said("gatewayPort").and_then(|p| p.parse().ok());
        let announced = Some(self.port).filter(|p| *p > 0);
        let port: u16 = announced.or(said).unwrap_or(DEFAULT_GATEWAY_PORT);
        let scheme = if self.tls() { "wss" } else { "ws" };
        Some(format!("{scheme}://{}:{port}", self.place()?))
    }

    fn tls(&self) -> bool {
        self.said("gatewayTls")
            .is_some_and(|t| matches!(t, "1" | "true"))
    }

    fn to_value(&self) -> Value {
        let number = |key| self.said(key).and_then(|n| n.parse::<u16>().ok());
        json!({
            "instanceName": self.instance, "domain": DOMAIN, "displayName": self.said("displayName"),
            "host": self.host, "port": self.port, "address": self.address.map(|ip| ip.to_string()),
            "lanHost": self.said("lanHost"), "tailnetDns": self.said("tailnetDns"),
            "gatewayPort": number("gatewayPort"), "sshPort": number("sshPort"),
            "gatewayTls": self.tls(), "role": self.said("role"), "transport": self.said("transport"),
            "gatewayTlsFingerprintSha256": self.said("gatewayTlsSha256"), "wsUrl": self.url(),
        })
    }

    fn lines(&self) -> Vec<String> {
        let name = self.said("displayName").unwrap_or(&self.instance);
        let mut lines = vec![format!("- {name} {DOMAIN}")];
        let url = self.url();
        for (label, value) in [
            ("tailnet", self.said("tailnetDns")),
            ("lan", self.said("lanHost")),
            ("host", Some(self.host.as_str()).filter(|h| !h.is_empty())),
            ("ws", url.as_deref()),
            ("role", self.said("role")),
            ("transport", self.said("transport")),
        ] {
            lines.extend(value.map(|v| format!("  {label}: {v}")));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_that_answers_is_told() {
        let responder = UdpSocket::bind("127.0.0.1:0").unwrap();
        let place = responder.local_addr().unwrap();
        let answers = std::thread::spawn(move || {
            let mut buffer = [0; 512];
            let (n, from) = responder.recv_from(&mut buffer).unwrap();
            assert_eq!(&buffer[..n], &dns::question(SERVICE)[..]);
            responder.send_to(b"not dns", from).unwrap();
            responder
                .send_to(&dns::tests::announcement(), from)
                .unwrap();
        });
        let found = ask(place, Duration::from_millis(400)).unwrap();
        answers.join().unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        let v = found[0].to_value();
        assert_eq!(v["instanceName"], "Attic (OpenClaw)");
        assert_eq!(v["wsUrl"], "ws://198.51.100.7:18789");
        assert_eq!(v["displayName"], "Attic");
        assert!(found[0].lines().contains(&"  role: gateway".to_string()));
    }

    #[test]
    fn silence_is_no_error() {
        let nobody = UdpSocket::bind("127.0.0.1:0").unwrap();
        let found = ask(nobody.local_addr().unwrap(), Duration::from_millis(20)).unwrap();
        assert_eq!(found, []);
    }
}
