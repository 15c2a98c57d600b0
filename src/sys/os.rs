//! What only libc can do: the one module with unsafe code.
//!
//! Each function wraps one system call, checks its result and hands out owned values; policy lives in
//! the safe modules around it.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Allocator arenas. glibc would make eight per core, each of which keeps what its threads freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const ARENAS: libc::c_int = 2;
/// Free bytes at the top of the heap from which on they go back to the system.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const TRIM_BYTES: libc::c_int = 128 * 1024;
/// Allocations from this size on get pages of their own, which freeing gives back at once.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MMAP_BYTES: libc::c_int = 128 * 1024;

/// Bounds what the C allocator holds on to. Call once, before the first thread is started.
///
/// Does nothing where the C library is not glibc.
pub fn bound_allocator() {
    // SAFETY: mallopt takes plain integers and only changes parameters of the allocator.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, ARENAS);
        libc::mallopt(libc::M_TRIM_THRESHOLD, TRIM_BYTES);
        libc::mallopt(libc::M_MMAP_THRESHOLD, MMAP_BYTES);
    }
}

/// Gives freed memory back to the system, after something large is over.
///
/// Does nothing where the C library is not glibc.
pub fn release_memory() {
    // SAFETY: malloc_trim only walks the allocator's own free lists, under its locks.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Sends signal number `signal` to process `pid`; 0 only asks whether the process is there.
pub fn kill(pid: u32, signal: i32) -> io::Result<()> {
    // 0 and negative numbers address process groups, which nobody here means.
    let pid = i32::try_from(pid)
        .ok()
        .filter(|p| *p > 0)
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: kill takes plain integers.
    check(unsafe { libc::kill(pid, signal) })
}

/// Sends signal number `signal` to all processes of the group `group`.
pub fn kill_group(group: u32, signal: i32) -> io::Result<()> {
    // 0 is our own group, 1 is init's or, negated, everybody.
    let group = i32::try_from(group)
        .ok()
        .filter(|g| *g > 1)
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: kill takes plain integers.
    check(unsafe { libc::kill(-group, signal) })
}

/// Waits until the child `pid` has ended, and leaves it to be asked for its status: its id, and that of its
/// group, stay taken until then.
pub fn wait_ended(pid: u32) -> io::Result<()> {
    let pid = libc::id_t::from(pid);
    loop {
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        let flags = libc::WEXITED | libc::WNOWAIT;
        // SAFETY: the buffer is of the type that the call fills.
        match check(unsafe { libc::waitid(libc::P_PID, pid, info.as_mut_ptr(), flags) }) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Has `command` start in the open folder `dir`, whatever is at its path by then.
pub fn start_in(command: &mut Command, dir: File) {
    let enter = move || {
        // SAFETY: the descriptor is open as long as `dir`, which the closure owns.
        check(unsafe { libc::fchdir(dir.as_raw_fd()) })
    };
    // SAFETY: between fork and exec, the closure makes one system call and allocates nothing.
    unsafe { command.pre_exec(enter) };
}

/// Takes the exclusive lock on `file` if nobody holds it; whether it was free.
///
/// The lock belongs to the open file: it goes when the last descriptor of it is closed, also by a crash.
pub fn try_lock(file: &impl AsRawFd) -> io::Result<bool> {
    // SAFETY: the descriptor is open as long as `file` is borrowed.
    match check(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(e) => Err(e),
    }
}

/// Lets go of the lock on `file` at once, also when a child that was just forked still has it open.
pub fn unlock(file: &impl AsRawFd) -> io::Result<()> {
    // SAFETY: the descriptor is open as long as `file` is borrowed.
    check(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_UN) })
}

/// Has the kernel probe a silent peer after `idle`, and give up on data unacknowledged for `timeout`.
///
/// Half-open connections end that way without any thread waking up. Where the platform lacks one of
/// the options, it is left at its default.
pub fn watch_peer(stream: &TcpStream, idle: Duration, timeout: Duration) -> io::Result<()> {
    /// Probes that may go unanswered, spread over `timeout`.
    const PROBES: libc::c_int = 4;
    let fd = stream.as_raw_fd();
    let secs = |d: Duration| libc::c_int::try_from(d.as_secs().max(1)).unwrap_or(libc::c_int::MAX);
    set_option(fd, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)?;
    #[cfg(target_os = "linux")]
    {
        let ms = libc::c_int::try_from(timeout.as_millis()).unwrap_or(libc::c_int::MAX);
        set_option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, secs(idle))?;
        set_option(
            fd,
            libc::IPPROTO_TCP,
            libc::TCP_KEEPINTVL,
            secs(timeout / PROBES as u32),
        )?;
        set_option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPCNT, PROBES)?;
        set_option(fd, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, ms)?;
    }
    #[cfg(target_os = "macos")]
    {
        set_option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPALIVE, secs(idle))?;
        set_option(
            fd,
            libc::IPPROTO_TCP,
            libc::TCP_KEEPINTVL,
            secs(timeout / PROBES as u32),
        )?;
        set_option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPCNT, PROBES)?;
    }
    Ok(())
}

fn set_option(
    fd: RawFd,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: `value` lives through the call and the length is its own.
    check(unsafe {
        libc::setsockopt(
            fd,
            level,
            name,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    })
}

/// Opens the file `name` of the open folder `dir`; `flags` and `mode` as in open(2).
pub fn open_at(dir: &File, name: &CStr, flags: i32, mode: u32) -> io::Result<File> {
    // SAFETY: the descriptor is open as long as `dir` is borrowed, the name ends with a NUL.
    let fd = unsafe {
        libc::openat(
            dir.as_raw_fd(),
            name.as_ptr(),
            flags | libc::O_CLOEXEC,
            libc::c_uint::from(mode),
        )
    };
    check(fd.min(0))?;
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Renames `from` of the open folder `dir` to `to` of the open folder `other`, over what is there.
pub fn rename_at(dir: &File, from: &CStr, other: &File, to: &CStr) -> io::Result<()> {
    let (dir, other) = (dir.as_raw_fd(), other.as_raw_fd());
    // SAFETY: the descriptors are open as long as the files are borrowed, the names end with a NUL.
    check(unsafe { libc::renameat(dir, from.as_ptr(), other, to.as_ptr()) })
}

/// Makes the folder `name` in the open folder `dir`.
pub fn make_dir_at(dir: &File, name: &CStr, mode: u32) -> io::Result<()> {
    let mode = libc::mode_t::try_from(mode).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open as long as `dir` is borrowed, the name ends with a NUL.
    check(unsafe { libc::mkdirat(dir.as_raw_fd(), name.as_ptr(), mode) })
}

/// Removes the file `name` of the open folder `dir`.
pub fn remove_at(dir: &File, name: &CStr) -> io::Result<()> {
    // SAFETY: the descriptor is open as long as `dir` is borrowed, the name ends with a NUL.
    check(unsafe { libc::unlinkat(dir.as_raw_fd(), name.as_ptr(), 0) })
}

/// The effective user id of this process.
pub fn uid() -> u32 {
    // SAFETY: geteuid has no arguments and cannot fail.
    unsafe { libc::geteuid() }
}

/// The name of this host; empty when it has none.
pub fn host_name() -> String {
    let mut buffer = [0u8; 256];
    // SAFETY: the length given leaves the last byte zero, so that the text always ends.
    let ok = unsafe { libc::gethostname(buffer.as_mut_ptr().cast(), buffer.len() - 1) } == 0;
    match CStr::from_bytes_until_nul(&buffer) {
        Ok(name) if ok => name.to_string_lossy().into_owned(),
        _ => String::new(),
    }
}

/// Whether descriptor `fd` (0, 1, 2) is a terminal.
pub fn is_terminal(fd: RawFd) -> bool {
    // SAFETY: isatty only looks at the number.
    unsafe { libc::isatty(fd) == 1 }
}

/// Columns of the terminal at descriptor `fd`; `None` when it is no terminal or does not say.
pub fn terminal_columns(fd: RawFd) -> Option<u16> {
    let mut size = MaybeUninit::<libc::winsize>::zeroed();
    // SAFETY: the request fills a winsize, and zeroes are one already.
    let size = unsafe {
        check(libc::ioctl(fd, libc::TIOCGWINSZ, size.as_mut_ptr())).ok()?;
        size.assume_init()
    };
    Some(size.ws_col).filter(|c| *c > 0)
}

/// Room on a file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    pub total: u64,
    /// What an ordinary user may still write.
    pub available: u64,
}

/// The file system that holds `path`.
pub fn disk(path: &Path) -> io::Result<Disk> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut stat = MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: the path ends in NUL and the buffer is of the type that the call fills.
    let stat = unsafe {
        check(libc::statvfs(path.as_ptr(), stat.as_mut_ptr()))?;
        stat.assume_init()
    };
    // The widths of these fields differ by platform.
    #[allow(clippy::unnecessary_cast)]
    let (unit, blocks, free) = (
        stat.f_frsize as u64,
        stat.f_blocks as u64,
        stat.f_bavail as u64,
    );
    Ok(Disk {
        total: blocks.saturating_mul(unit),
        available: free.saturating_mul(unit),
    })
}

/// Bytes of memory that this process occupies, or `None` where the system does not say.
pub fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    // SAFETY: sysconf takes a plain integer.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    Some(pages.saturating_mul(u64::try_from(page).ok()?))
}

/// One address of a network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub address: IpAddr,
    pub loopback: bool,
}

/// The addresses of all interfaces that are up, in the system's order.
pub fn interfaces() -> io::Result<Vec<Interface>> {
    let mut head: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: on success `head` is a list that we own until freeifaddrs.
    check(unsafe { libc::getifaddrs(&raw mut head) })?;
    let mut found = Vec::new();
    let mut next = head;
    while !next.is_null() {
        // SAFETY: a non-null link of the list, which is freed only below.
        let entry = unsafe { &*next };
        next = entry.ifa_next;
        let up = entry.ifa_flags & libc::IFF_UP as libc::c_uint != 0;
        // SAFETY: the address, when there is one, is of the type that its family says.
        let Some(address) = (unsafe { address_of(entry.ifa_addr) }) else {
            continue;
        };
        if up {
            // SAFETY: the name is a C string for as long as the list.
            let name = unsafe { CStr::from_ptr(entry.ifa_name) };
            found.push(Interface {
                name: name.to_string_lossy().into_owned(),
                address,
                loopback: entry.ifa_flags & libc::IFF_LOOPBACK as libc::c_uint != 0,
            });
        }
    }
    // SAFETY: the list came from getifaddrs, and nothing of it is kept.
    unsafe { libc::freeifaddrs(head) };
    Ok(found)
}

/// The IP address at `addr`.
///
/// # Safety
/// `addr` is null or points to a socket address as long as its family asks for.
unsafe fn address_of(addr: *const libc::sockaddr) -> Option<IpAddr> {
    if addr.is_null() {
        return None;
    }
    // SAFETY: by the contract above; the reads do not rely on alignment.
    unsafe {
        match libc::c_int::from((&raw const (*addr).sa_family).read_unaligned()) {
            libc::AF_INET => {
                let a = addr.cast::<libc::sockaddr_in>().read_unaligned();
                Some(Ipv4Addr::from(a.sin_addr.s_addr.to_ne_bytes()).into())
            }
            libc::AF_INET6 => {
                let a = addr.cast::<libc::sockaddr_in6>().read_unaligned();
                Some(Ipv6Addr::from(a.sin6_addr.s6_addr).into())
            }
            _ => None,
        }
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn groups_of_processes_are_never_signalled() {
        for pid in [0, u32::MAX, 1 << 31] {
            assert_eq!(
                kill(pid, 0).unwrap_err().kind(),
                io::ErrorKind::InvalidInput
            );
        }
        assert!(kill(std::process::id(), 0).is_ok());
    }

    #[test]
    fn a_group_that_everybody_is_in_is_never_signalled() {
        for group in [0, 1, u32::MAX, 1 << 31] {
            let error = kill_group(group, 0).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn a_child_starts_in_the_folder_that_was_opened() {
        let dir = std::env::temp_dir().join(format!("openclaw-os-{}", super::super::id::uuid()));
        std::fs::create_dir_all(dir.join("a")).unwrap();
        let open = File::open(dir.join("a")).unwrap();
        std::fs::rename(dir.join("a"), dir.join("b")).unwrap();
        let mut command = Command::new("/bin/sh");
        start_in(command.args(["-c", "pwd -P"]), open);
        let output = command.output().unwrap();
        let there = dir.canonicalize().unwrap().join("b");
        assert_eq!(
            String::from_utf8_lossy(&output.stdout).trim(),
            there.to_str().unwrap()
        );
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn an_ended_child_keeps_its_id_until_it_is_asked() {
        let mut child = Command::new("true").spawn().unwrap();
        wait_ended(child.id()).unwrap();
        wait_ended(child.id()).unwrap();
        assert!(kill(child.id(), 0).is_ok());
        assert!(child.wait().unwrap().success());
        assert!(wait_ended(child.id()).is_err());
    }

    #[test]
    fn loopback_is_among_the_interfaces() {
        let all = interfaces().unwrap();
        assert!(
            all.iter()
                .any(|i| i.loopback && i.address == IpAddr::from([127, 0, 0, 1]))
        );
    }

    #[test]
    fn a_disk_has_a_size_and_a_missing_path_is_an_error() {
        let d = disk(Path::new("/")).unwrap();
        assert!(d.total > 0 && d.available <= d.total);
        assert!(disk(Path::new("/no such path")).is_err());
    }

    #[test]
    fn the_process_has_a_size() {
        if cfg!(target_os = "linux") {
            assert!(resident_bytes().unwrap() > 100_000);
        }
    }

    #[test]
    fn a_stream_takes_the_keepalive_options() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        watch_peer(&stream, Duration::from_secs(60), Duration::from_secs(40)).unwrap();
    }
}
