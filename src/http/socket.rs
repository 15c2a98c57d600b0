//! What this room needs of a socket: bytes both ways, each read and write under a time limit.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// A stream whose reads and writes can be limited in time.
pub trait Socket: Read + Write {
    /// Longest time that one read may block; `None` for ever.
    fn limit_read(&self, time: Option<Duration>) -> io::Result<()>;
    /// Longest time that one write may block; `None` for ever.
    fn limit_write(&self, time: Option<Duration>) -> io::Result<()>;
    /// Says that nothing more will be written, while reading goes on.
    fn finish_write(&self) -> io::Result<()>;
}

impl Socket for TcpStream {
    fn limit_read(&self, time: Option<Duration>) -> io::Result<()> {
        self.set_read_timeout(time)
    }

    fn limit_write(&self, time: Option<Duration>) -> io::Result<()> {
        self.set_write_timeout(time)
    }

    fn finish_write(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

/// One read that ends at `deadline` at the latest. An error of kind `TimedOut` says that it did.
pub fn read_until<S: Socket + ?Sized>(
    socket: &mut S,
    into: &mut [u8],
    deadline: Instant,
) -> io::Result<usize> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.limit_read(Some(left))?;
        match socket.read(into) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            // What a timed out read is called differs between systems.
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            other => return other,
        }
    }
}

/// Writes all of `bytes` in slices, each of which has to be taken within `slice_time`.
///
/// A reader that takes a byte now and then cannot stretch this for ever.
pub fn write_within<S: Socket + ?Sized>(
    socket: &mut S,
    bytes: &[u8],
    slice_time: Duration,
) -> io::Result<()> {
    for slice in bytes.chunks(WRITE_SLICE_BYTES) {
        let deadline = Instant::now() + slice_time;
        let mut rest = slice;
        while !rest.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            socket.limit_write(Some(left))?;
            match socket.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => rest = &rest[n..],
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Err(e) => return Err(e),
            }
        }
    }
    Ok(())
}

/// Bytes that are written under one deadline.
const WRITE_SLICE_BYTES: usize = 16 * 1024;

#[cfg(test)]
pub(crate) mod testing {
    //! A socket in memory: what the peer sends is given in pieces, what it gets is collected.

    use super::*;
    use std::collections::VecDeque;

    /// `pieces` are handed out one a read; after the last, `then` happens.
    pub struct Script {
        pub pieces: VecDeque<Vec<u8>>,
        pub then: Then,
        pub written: Vec<u8>,
        /// Largest number of bytes that one write takes.
        pub takes: usize,
    }

    #[derive(Clone, Copy, PartialEq, Eq)]
    pub enum Then {
        Eof,
        Silence,
        Reset,
    }

    impl Script {
        pub fn new(pieces: &[&[u8]], then: Then) -> Script {
            Script {
                pieces: pieces.iter().map(|p| p.to_vec()).collect(),
                then,
                written: Vec::new(),
                takes: usize::MAX,
            }
        }

        /// Every byte as a piece of its own.
        pub fn dripping(bytes: &[u8], then: Then) -> Script {
            let pieces: Vec<&[u8]> = bytes.chunks(1).collect();
            Script::new(&pieces, then)
        }
    }

    impl Read for Script {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let Some(mut piece) = self.pieces.pop_front() else {
                return match self.then {
                    Then::Eof => Ok(0),
                    Then::Silence => Err(io::ErrorKind::WouldBlock.into()),
                    Then::Reset => Err(io::ErrorKind::ConnectionReset.into()),
                };
            };
            let n = piece.len().min(into.len());
            into[..n].copy_from_slice(&piece[..n]);
            if n < piece.len() {
                self.pieces.push_front(piece.split_off(n));
            }
            Ok(n)
        }
    }

    impl Write for Script {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let n = bytes.len().min(self.takes);
            self.written.extend_from_slice(&bytes[..n]);
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Socket for Script {
        fn limit_read(&self, _: Option<Duration>) -> io::Result<()> {
            Ok(())
        }

        fn limit_write(&self, _: Option<Duration>) -> io::Result<()> {
            Ok(())
        }

        fn finish_write(&self) -> io::Result<()> {
            Ok(())
        }
    }
}
