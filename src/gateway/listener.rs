//! Listening sockets, the connections that they accept, and the bounds on their number.

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Gateway, conn};

/// Stack of a connection's reading thread, in bytes; only what is touched costs memory.
const CONN_STACK: usize = 512 * 1024;
/// Pause after an accept error, so that running out of descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// A connection that has not authenticated may be evicted for a newcomer once it is this old.
const EVICTABLE_AFTER: Duration = Duration::from_millis(500);
/// Written to a connection that is over a bound; nothing is read from it.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\nRetry-After: 1\r\n\r\n";

/// Bounds on connections (`gateway.limits`).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections in all.
    pub total: usize,
    /// Connections from one address; this machine's own are only bounded by `total`.
    pub per_address: usize,
    /// Connections that have not authenticated yet, in all and from one address.
    pub unauthenticated: usize,
    pub unauthenticated_per_address: usize,
}

impl Limits {
    /// The configured bounds.
    pub fn of(config: &crate::config::Config) -> Limits {
        let n = |key: &str, default: u64| {
            usize::try_from(config.u64(&format!("gateway.limits.{key}"), default))
                .unwrap_or(usize::MAX)
                .max(1)
        };
        let unauthenticated = n("maxUnauthenticated", 256);
        Limits {
            total: n("maxConnections", 4096),
            per_address: n("maxConnectionsPerAddress", 256),
            unauthenticated,
            unauthenticated_per_address: n("maxUnauthenticatedPerAddress", 64).min(unauthenticated),
        }
    }
}

/// The open connections, to count and to end them. One lock, held briefly.
#[derive(Default)]
pub struct Registry {
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    next: u64,
    all: HashMap<u64, Entry>,
    per_address: HashMap<IpAddr, usize>,
    /// Connections that have not authenticated, oldest first, and how many by address.
    waiting: std::collections::BTreeMap<u64, IpAddr>,
}

struct Entry {
    address: IpAddr,
    since: Instant,
    socket: TcpStream,
}

impl Registry {
    /// Enters a connection, or says that it is one too many.
    fn enter(
        &self,
        socket: &TcpStream,
        address: IpAddr,
        limits: &Limits,
    ) -> io::Result<Option<u64>> {
        let socket = socket.try_clone()?;
        let mut open = self.lock();
        let mine = open.per_address.get(&address).copied().unwrap_or(0);
        if open.all.len() >= limits.total || (!address.is_loopback() && mine >= limits.per_address)
        {
            return Ok(None);
        }
        let from_here = open.waiting.values().filter(|a| **a == address).count();
        let crowded = open.waiting.len() >= limits.unauthenticated;
        if crowded || from_here >= limits.unauthenticated_per_address {
            // Rather than lock everybody out while somebody holds idle sockets, the oldest of them goes.
            let oldest = open
                .waiting
                .iter()
                .find(|(_, a)| crowded || **a == address)
                .map(|(n, _)| *n);
            match oldest
                .and_then(|n| open.all.get(&n))
                .filter(|e| e.since.elapsed() >= EVICTABLE_AFTER)
            {
                Some(e) => {
                    let _ = e.socket.shutdown(std::net::Shutdown::Both);
                }
                None => return Ok(None),
            }
            if let Some(n) = oldest {
                open.waiting.remove(&n);
            }
        }
        open.next += 1;
        let number = open.next;
        open.all.insert(
            number,
            Entry {
                address,
                since: Instant::now(),
                socket,
            },
        );
        *open.per_address.entry(address).or_default() += 1;
        open.waiting.insert(number, address);
        Ok(Some(number))
    }

    /// The connection has authenticated, or sent a whole HTTP request, and no longer counts as waiting.
    pub fn authenticated(&self, number: u64) {
        self.lock().waiting.remove(&number);
    }

    /// The connection has ended.
    pub fn leave(&self, number: u64) {
        let mut open = self.lock();
        open.waiting.remove(&number);
        if let Some(e) = open.all.remove(&number)
            && let Some(n) = open.per_address.get_mut(&e.address)
        {
            *n -= 1;
            if *n == 0 {
                open.per_address.remove(&e.address);
            }
        }
    }

    /// Number of open connections, and how many of them have not authenticated.
    pub fn count(&self) -> (usize, usize) {
        let open = self.lock();
        (open.all.len(), open.waiting.len())
    }

    /// Ends every socket that is still open.
    pub fn abandon_all(&self) {
        for e in self.lock().all.values() {
            let _ = e.socket.shutdown(std::net::Shutdown::Both);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leaves the registry when the connection's thread ends, however it ends.
pub struct Place {
    pub gateway: Arc<Gateway>,
    pub number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gateway.connections.leave(self.number);
    }
}

/// The accept threads of one gateway.
#[derive(Default)]
pub struct Listeners {
    stopped: Arc<AtomicBool>,
    threads: Vec<(SocketAddr, JoinHandle<()>)>,
}

impl Listeners {
    /// Starts an accept thread for each socket.
    pub fn start(sockets: Vec<TcpListener>, gateway: &Arc<Gateway>) -> io::Result<Listeners> {
        let mut listeners = Listeners::default();
        for socket in sockets {
            let address = socket.local_addr()?;
            let (gateway, stopped) = (gateway.clone(), listeners.stopped.clone());
            let thread = std::thread::Builder::new()
                .name("accept".into())
                .stack_size(128 * 1024)
                .spawn(move || accept(&socket, &gateway, &stopped))?;
            listeners.threads.push((address, thread));
        }
        Ok(listeners)
    }

    /// Stops accepting and closes the listening sockets before it returns.
    pub fn stop(self) {
        self.stopped.store(true, Ordering::Release);
        for (address, thread) in self.threads {
            // accept() is woken by a connection of our own.
            let target = match address.ip() {
                IpAddr::V4(ip) if ip.is_unspecified() => {
                    SocketAddr::from(([127, 0, 0, 1], address.port()))
                }
                IpAddr::V6(ip) if ip.is_unspecified() => {
                    SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, address.port()))
                }
                _ => address,
            };
            let _ = TcpStream::connect_timeout(&target, Duration::from_secs(1));
            let _ = thread.join();
        }
    }
}

/// Body of an accept thread. No error ends it; only a stop does.
fn accept(listener: &TcpListener, gateway: &Arc<Gateway>, stopped: &AtomicBool) {
    let mut complained = false;
    loop {
        let accepted = listener.accept();
        if stopped.load(Ordering::Acquire) {
            return;
        }
        match accepted {
            Ok((socket, peer)) => {
                complained = false;
                admit(socket, peer, gateway);
            }
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
                ) => {}
            Err(e) => {
                if !complained {
                    log::warn!(target: "gateway", "cannot accept a connection: {e}; trying on");
                    complained = true;
                }
                std::thread::sleep(ACCEPT_PAUSE);
            }
        }
    }
}

fn admit(socket: TcpStream, peer: SocketAddr, gateway: &Arc<Gateway>) {
    let limits = gateway.limits();
    let address = peer.ip().to_canonical();
    let number = match gateway.connections.enter(&socket, address, &limits) {
        Ok(Some(number)) => number,
        Ok(None) => return refuse(&socket),
        Err(_) => return,
    };
    let place = Place {
        gateway: gateway.clone(),
        number,
    };
    let body = move || conn::serve(socket, peer, place);
    // When no thread can be had, the closure is dropped: the socket closes and the place is free again.
    if std::thread::Builder::new()
        .name("conn".into())
        .stack_size(CONN_STACK)
        .spawn(body)
        .is_err()
    {
        log::warn!(target: "gateway", "out of threads: a connection was refused");
    }
}

fn refuse(mut socket: &TcpStream) {
    let _ = socket.set_nonblocking(true);
    let _ = socket.write_all(BUSY);
}
