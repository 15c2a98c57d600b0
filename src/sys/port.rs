//! Who listens on a TCP port, from /proc; no lsof, no ss.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::process;

/// State LISTEN in /proc/net/tcp.
const LISTEN: &str = "0A";
/// Bytes of a socket table that are read; 64 Ki sockets.
const MAX_TABLE: u64 = 10 * 1024 * 1024;

/// One listening socket and, as far as we may see it, the process behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// `None` when the process belongs to another user.
    pub pid: Option<u32>,
    /// Short name of the program; empty when unknown.
    pub command: String,
    /// The whole command line; empty when unknown.
    pub command_line: String,
    /// The user who owns the socket.
    pub uid: u32,
    pub address: SocketAddr,
}

/// The owners of all sockets that listen on TCP port `port`, one entry for each socket and process.
///
/// An error only where there is no /proc; a process that cannot be looked into is named by its user.
pub fn owners(port: u16) -> io::Result<Vec<Owner>> {
    let mut sockets = listeners(&read_table("/proc/net/tcp")?, port);
    // Without IPv6 the second table does not exist.
    if let Ok(table) = read_table("/proc/net/tcp6") {
        sockets.extend(listeners(&table, port));
    }
    if sockets.is_empty() {
        return Ok(Vec::new());
    }
    let holders = holders(sockets.iter().map(|s| s.inode));
    let mut found = Vec::new();
    for s in sockets {
        let pids = holders.get(&s.inode).cloned().unwrap_or_default();
        let known = pids.iter().map(|pid| Some(*pid));
        for pid in known.chain(pids.is_empty().then_some(None)) {
            found.push(Owner {
                pid,
                command: pid.and_then(process::name).unwrap_or_default(),
                command_line: pid.and_then(process::command_line).unwrap_or_default(),
                uid: s.uid,
                address: s.address,
            });
        }
    }
    Ok(found)
}

fn read_table(path: &str) -> io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    fs::File::open(path)?
        .take(MAX_TABLE)
        .read_to_string(&mut text)?;
    Ok(text)
}

struct Socket {
    address: SocketAddr,
    uid: u32,
    inode: u64,
}

/// The rows of a socket table that listen on `port`. A row that we do not understand is skipped.
fn listeners(table: &str, port: u16) -> Vec<Socket> {
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let address = parse_address(fields.nth(1)?)?;
            if address.port() != port || fields.nth(1)? != LISTEN {
                return None;
            }
            let uid = fields.nth(3)?.parse().ok()?;
            let inode = fields.nth(1)?.parse().ok()?;
            Some(Socket {
                address,
                uid,
                inode,
            })
        })
        .collect()
}

/// `0100007F:4965`: the address in words of the machine's byte order, the port as a number.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |i: usize| {
        let digits = host.get(i * 8..i * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let ip: IpAddr = match host.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let mut bytes = [0u8; 16];
            for i in 0..4 {
                bytes[i * 4..i * 4 + 4].copy_from_slice(&word(i)?);
            }
            Ipv6Addr::from(bytes).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// The processes that hold one of the sockets `inodes`, by socket.
fn holders(inodes: impl Iterator<Item = u64>) -> HashMap<u64, Vec<u32>> {
    let mut by_link: HashMap<String, u64> = HashMap::new();
    for inode in inodes {
        by_link.insert(format!("socket:[{inode}]"), inode);
    }
    let mut found: HashMap<u64, Vec<u32>> = HashMap::new();
    let Ok(processes) = fs::read_dir("/proc") else {
        return found;
    };
    let pids = processes
        .flatten()
        .filter_map(|p| p.file_name().to_str()?.parse::<u32>().ok());
    for pid in pids {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            continue;
        };
        for fd in descriptors.flatten() {
            let Ok(link) = fs::read_link(fd.path()) else {
                continue;
            };
            if let Some(inode) = link.to_str().and_then(|l| by_link.get(l)) {
                let pids = found.entry(*inode).or_default();
                if !pids.contains(&pid) {
                    pids.push(pid);
                }
            }
        }
    }
    found
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn our_own_listener_is_found_and_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let found = owners(address.port()).unwrap();
        let ours = found
            .iter()
            .find(|o| o.pid == Some(std::process::id()))
            .expect("this process is among the owners");
        assert_eq!(ours.address, address);
        assert_eq!(ours.uid, super::super::os::uid());
        assert!(!ours.command_line.is_empty());
    }

    #[test]
    fn a_listener_on_ipv6_is_found() {
        let Ok(listener) = TcpListener::bind("[::1]:0") else {
            return; // a host without IPv6
        };
        let address = listener.local_addr().unwrap();
        let found = owners(address.port()).unwrap();
        assert!(found.iter().any(|o| o.address == address));
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn rows_are_read_as_the_kernel_writes_them() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
            0: 0100007F:4965 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4242 1 x 100 0 0 10 0\n   \
            1: 0100007F:4965 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  1000        0 4243 1 x 20 4 30 10 -1\n   \
            2: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 x 100 0 0 10 0\n   \
            3: broken\n";
        let rows = listeners(table, 18789);
        assert_eq!(rows.len(), 1);
        assert_eq!(
            (rows[0].address, rows[0].uid, rows[0].inode),
            ("127.0.0.1:18789".parse().unwrap(), 1000, 4242)
        );
        assert_eq!(
            parse_address("00000000000000000000000001000000:4965"),
            Some("[::1]:18789".parse().unwrap())
        );
        assert_eq!(parse_address("0100007:4965"), None);
        assert_eq!(parse_address("ééé00007:4965"), None);
    }
}
