//! The addresses of this host, as bind modes and status lines need them.

use std::net::{IpAddr, Ipv4Addr};

use super::os;

/// Whether `ip` is in 100.64.0.0/10, the range that Tailscale hands out.
pub fn is_tailnet(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    a == 100 && (64..128).contains(&b)
}

/// Whether `ip` is this host talking to itself: 127.0.0.0/8, ::1, and their IPv4-mapped forms.
pub fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// The addresses of this host that others can reach, in the system's order: no loopback, no IPv6
/// link-local ones. Empty when the system does not tell.
pub fn own_addresses() -> Vec<IpAddr> {
    os::interfaces()
        .unwrap_or_default()
        .into_iter()
        .filter(|i| !i.loopback && is_reachable(i.address))
        .map(|i| i.address)
        .collect()
}

/// The first IPv4 address of this host in the tailnet range.
pub fn tailnet_address() -> Option<Ipv4Addr> {
    first_v4(&own_addresses(), is_tailnet)
}

/// The first IPv4 address of this host in a private network, else any other but the tailnet's.
pub fn lan_address() -> Option<Ipv4Addr> {
    let all = own_addresses();
    first_v4(&all, |ip| ip.is_private()).or_else(|| first_v4(&all, |ip| !is_tailnet(ip)))
}

fn first_v4(all: &[IpAddr], fits: impl Fn(Ipv4Addr) -> bool) -> Option<Ipv4Addr> {
    all.iter().find_map(|ip| match ip {
        IpAddr::V4(v4) if fits(*v4) => Some(*v4),
        _ => None,
    })
}

fn is_reachable(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_unspecified(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unspecified() && !v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_tailnet_range_ends_where_it_ends() {
        let inside = ["100.64.0.0", "100.100.1.2", "100.127.255.255"];
        let outside = ["100.63.255.255", "100.128.0.0", "10.64.0.1"];
        assert!(inside.iter().all(|t| is_tailnet(t.parse().unwrap())));
        assert!(!outside.iter().any(|t| is_tailnet(t.parse().unwrap())));
    }

    #[test]
    fn loopback_has_three_faces() {
        let yes = ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"];
        let no = ["0.0.0.0", "::", "10.0.0.1", "::ffff:10.0.0.1"];
        assert!(yes.iter().all(|t| is_loopback(ip(t))));
        assert!(!no.iter().any(|t| is_loopback(ip(t))));
    }

    #[test]
    fn the_first_fitting_address_is_taken() {
        let all = [
            ip("fd00::1"),
            ip("100.64.0.9"),
            ip("203.0.113.5"),
            ip("192.168.1.2"),
        ];
        assert_eq!(
            first_v4(&all, is_tailnet),
            Some(Ipv4Addr::new(100, 64, 0, 9))
        );
        assert_eq!(
            first_v4(&all, |v4| v4.is_private()),
            Some(Ipv4Addr::new(192, 168, 1, 2))
        );
    }

    #[test]
    fn own_addresses_are_reachable_ones() {
        assert!(own_addresses().into_iter().all(|a| !is_loopback(a)));
    }
}
