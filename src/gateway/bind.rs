//! Which addresses a bind mode means, and taking them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use super::options::Bind;
use super::start::StartError;
use crate::config::Config;
use crate::sys::{net, port};

/// The sockets of a gateway.
pub struct Bound {
    pub sockets: Vec<TcpListener>,
    pub port: u16,
    /// Whether only this machine can reach all of them.
    pub loopback: bool,
}

impl Bound {
    /// `ws://127.0.0.1:18789, ws://[::1]:18789`.
    pub fn urls(&self, scheme: &str) -> String {
        let urls = self
            .sockets
            .iter()
            .filter_map(|s| s.local_addr().ok())
            .map(|a| format!("{scheme}://{a}"));
        urls.collect::<Vec<_>>().join(", ")
    }
}

/// The address that `mode` stands for on this machine.
pub fn address(mode: Bind, config: &Config) -> Result<IpAddr, StartError> {
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let everywhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let bindable = |ip: IpAddr| TcpListener::bind((ip, 0)).is_ok();
    Ok(match mode {
        Bind::Loopback => loopback,
        Bind::Lan => everywhere,
        Bind::Tailnet => net::tailnet_address().map_or(loopback, IpAddr::V4),
        Bind::Auto if bindable(loopback) => loopback,
        Bind::Auto => everywhere,
        Bind::Custom => {
            let text = config
                .str("gateway.customBindHost")
                .map(str::trim)
                .unwrap_or("");
            if text.is_empty() {
                return Err(StartError::Failed(
                    "gateway.bind=custom requires gateway.customBindHost".into(),
                ));
            }
            let Ok(ip) = text.parse::<Ipv4Addr>() else {
                let text = format!(
                    "gateway.bind=custom requires a valid IPv4 customBindHost (got {text})"
                );
                return Err(StartError::Failed(text));
            };
            if !bindable(IpAddr::V4(ip)) {
                let text = format!(
                    "gateway bind=custom requested {ip}, which is no address of this machine; refusing fallback"
                );
                return Err(StartError::Failed(text));
            }
            IpAddr::V4(ip)
        }
    })
}

/// Listens on `ip`; on both loopback addresses when it is the IPv4 one.
pub fn listen(ip: IpAddr, wanted: u16) -> Result<Bound, StartError> {
    let first = bind((ip, wanted).into(), wanted)?;
    let port = first
        .local_addr()
        .map_err(|e| StartError::Failed(format!("no local address: {e}")))?
        .port();
    let mut sockets = vec![first];
    if ip == IpAddr::V4(Ipv4Addr::LOCALHOST) {
        match TcpListener::bind((Ipv6Addr::LOCALHOST, port)) {
            Ok(second) => sockets.push(second),
            // Many small hosts have no IPv6 at all; that is no reason to stay away.
            Err(e) if e.kind() != io::ErrorKind::AddrInUse => {
                log::debug!(target: "gateway", "not listening on [::1]:{port}: {e}");
            }
            Err(_) => return Err(in_use(SocketAddr::from((Ipv6Addr::LOCALHOST, port)))),
        }
    }
    Ok(Bound {
        sockets,
        port,
        loopback: net::is_loopback(ip),
    })
}

fn bind(address: SocketAddr, wanted: u16) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).map_err(|e| match e.kind() {
        io::ErrorKind::AddrInUse => in_use(address),
        io::ErrorKind::PermissionDenied if wanted < 1024 => StartError::Failed(format!(
            "no permission to listen on port {wanted}: choose one from 1024 on (gateway.port) or grant CAP_NET_BIND_SERVICE"
        )),
        _ => StartError::Failed(format!("cannot listen on {address}: {e}")),
    })
}

fn in_use(address: SocketAddr) -> StartError {
    let name = |o: &port::Owner| match o.pid {
        Some(pid) => format!("pid {pid} ({})", o.command),
        None => format!("a process of user {}", o.uid),
    };
    let owners = port::owners(address.port())
        .unwrap_or_default()
        .iter()
        .map(name)
        .collect();
    StartError::PortInUse { address, owners }
}
