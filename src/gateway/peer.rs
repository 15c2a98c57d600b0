//! Where a connection comes from, and what its HTTP head says about that.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::config::Config;

/// Header names with which a proxy says for whom it speaks.
const FORWARDING: &[&str] = &[
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-real-ip",
    "x-forwarded-proto",
];

/// The other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Address of the socket's other end.
    pub socket: SocketAddr,
    /// Address of the client: the socket's, or what a trusted proxy says.
    pub client: IpAddr,
    /// The socket's other end is listed in `gateway.trustedProxies`.
    pub behind_trusted_proxy: bool,
    /// Unforwarded, from this machine, and addressed to it by a loopback name.
    pub local: bool,
    /// Header names in lower case with their values, in order.
    headers: Vec<(String, String)>,
}

impl Peer {
    /// Judges a socket and the head that came over it.
    pub fn new(socket: SocketAddr, headers: Vec<(String, String)>, config: &Config) -> Peer {
        let from = socket.ip().to_canonical();
        let trusted = config.list("gateway.trustedProxies");
        let behind_trusted_proxy = is_trusted(from, &trusted);
        let mut peer = Peer {
            socket,
            client: from,
            behind_trusted_proxy,
            local: false,
            headers,
        };
        if behind_trusted_proxy && let Some(client) = peer.forwarded_client(config, &trusted) {
            peer.client = client;
        }
        // A forwarding header makes the connection remote, whoever sent it and whatever it claims (HS-02).
        peer.local = from.is_loopback() && !peer.forwarded() && peer.host_is_loopback();
        peer
    }

    /// The value of a header that must be there once and not be blank.
    pub fn single_header(&self, name: &str) -> Option<&str> {
        let mut values = self
            .headers
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.trim());
        let first = values.next()?;
        (values.next().is_none() && !first.is_empty()).then_some(first)
    }

    /// The `Origin` header; its presence means a browser. More than one is `null`, the origin that is never
    /// allowed.
    pub fn origin(&self) -> Option<&str> {
        let mut origins = self.headers.iter().filter(|(n, _)| n == "origin");
        let (_, first) = origins.next()?;
        Some(match origins.next() {
            None => first.trim(),
            Some(_) => "null",
        })
    }

    /// The `Host` header without its port.
    pub fn host(&self) -> &str {
        self.headers
            .iter()
            .find(|(n, _)| n == "host")
            .map_or("", |(_, v)| host_name(v.trim()))
    }

    /// The `Host` header as it came.
    pub fn host_and_port(&self) -> &str {
        self.headers
            .iter()
            .find(|(n, _)| n == "host")
            .map_or("", |(_, v)| v.trim())
    }

    /// The client's address as a person may be shown it; `None` for this machine, and where a header claims
    /// that the connection was forwarded and nobody trusted says for whom.
    pub fn shown_address(&self) -> Option<String> {
        let known = self.behind_trusted_proxy || !self.forwarded();
        (known && !self.local).then(|| self.client.to_string())
    }

    fn forwarded(&self) -> bool {
        self.headers
            .iter()
            .any(|(n, _)| FORWARDING.contains(&n.as_str()))
    }

    fn host_is_loopback(&self) -> bool {
        is_loopback_name(self.host())
    }

    /// The client that the chain of proxies names: the last address that is no trusted proxy itself.
    fn forwarded_client(&self, config: &Config, trusted: &[&str]) -> Option<IpAddr> {
        let chain = self
            .headers
            .iter()
            .filter(|(n, _)| n == "x-forwarded-for")
            .flat_map(|(_, v)| v.split(','));
        let hops: Vec<IpAddr> = chain.map(|h| parse_hop(h.trim())).collect::<Option<_>>()?;
        match hops
            .iter()
            .rev()
            .find(|h| !is_trusted(**h, trusted))
            .or(hops.first())
        {
            Some(hop) => Some(*hop),
            None if config.bool("gateway.allowRealIpFallback", false) => {
                parse_hop(self.single_header("x-real-ip")?)
            }
            None => None,
        }
    }
}

/// Whether `name` (no port) means this machine.
pub fn is_loopback_name(name: &str) -> bool {
    let name = name
        .trim_start_matches('[')
        .trim_end_matches(']')
        .trim_end_matches('.');
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// `host:port`, `[::1]:port` or `host` without its port.
pub fn host_name(text: &str) -> &str {
    if let Some(rest) = text.strip_prefix('[') {
        return rest.split(']').next().unwrap_or("");
    }
    match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') && port.bytes().all(|b| b.is_ascii_digit()) => {
            host
        }
        _ => text,
    }
}

fn parse_hop(text: &str) -> Option<IpAddr> {
    let bare = host_name(text);
    bare.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

/// Whether `ip` is one of `list`: addresses or CIDR blocks. An entry that is neither matches nothing.
fn is_trusted(ip: IpAddr, list: &[&str]) -> bool {
    list.iter().any(|entry| match entry.split_once('/') {
        None => entry
            .trim()
            .parse()
            .is_ok_and(|e: IpAddr| e.to_canonical() == ip),
        Some((net, bits)) => in_block(ip, net.trim(), bits.trim()),
    })
}

/// Whether a list of trusted proxies holds an address of this machine's loopback.
pub fn lists_loopback(list: &[&str]) -> bool {
    [
        IpAddr::from([127, 0, 0, 1]),
        IpAddr::from(std::net::Ipv6Addr::LOCALHOST),
    ]
    .iter()
    .any(|ip| is_trusted(*ip, list))
}

fn in_block(ip: IpAddr, net: &str, bits: &str) -> bool {
    let (Ok(net), Ok(bits)) = (net.parse::<IpAddr>(), bits.parse::<u32>()) else {
        return false;
    };
    match (ip, net) {
        (IpAddr::V4(a), IpAddr::V4(b)) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            Ipv4Addr::from(u32::from(a) & mask) == Ipv4Addr::from(u32::from(b) & mask)
        }
        (IpAddr::V6(a), IpAddr::V6(b)) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            u128::from(a) & mask == u128::from(b) & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_and_hosts() {
        let ip = |t: &str| t.parse::<IpAddr>().unwrap();
        assert!(is_trusted(ip("10.1.2.3"), &["10.0.0.0/8"]));
        assert!(!is_trusted(
            ip("11.1.2.3"),
            &["10.0.0.0/8", "nonsense", "1/2/3", "10.0.0.0/99"]
        ));
        assert!(is_trusted(ip("11.1.2.3"), &["0.0.0.0/0"]));
        assert!(is_trusted(ip("fd00::1"), &["fd00::/8"]));
        assert_eq!(host_name("localhost:80"), "localhost");
        assert_eq!(host_name("[::1]:80"), "::1");
        assert_eq!(host_name("::1"), "::1");
        assert!(
            is_loopback_name("LOCALHOST")
                && is_loopback_name("127.9.9.9")
                && is_loopback_name("::1")
        );
        assert!(!is_loopback_name("localhost.evil.example") && !is_loopback_name(""));
    }
}
