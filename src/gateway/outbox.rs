//! The outgoing side of one WebSocket connection: a frame lock around the socket, and a bounded queue.
//!
//! A response to a request is written by the connection's own thread, there and then. Events, and answers
//! that other threads give, go through the queue, which a second thread drains: a slow reader therefore
//! delays nobody but itself. The queue is bounded in bytes; past the bound droppable events are skipped
//! (their number in the sequence is not, so that the client sees the gap) and the connection is closed for
//! anything else.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use crate::protocol::{MAX_BUFFERED_BYTES, frame};

/// Close code and reason of a client that does not read fast enough.
const SLOW_CONSUMER: (u16, &str) = (1008, "slow consumer");
/// A close reason is at most 123 bytes by RFC 6455; the reference cuts at 120.
const MAX_CLOSE_REASON: usize = 120;

/// How long a peer may take to answer a close frame.
const CLOSE_LINGER: Duration = Duration::from_secs(2);

/// A frame that waits for the drain thread.
enum Item {
    /// Shared text of the event, and this connection's own end of the frame.
    Event(Arc<str>, String),
    Response(String),
    Close(u16, String),
}

impl Item {
    fn len(&self) -> usize {
        match self {
            Item::Event(head, tail) => head.len() + tail.len(),
            Item::Response(text) => text.len(),
            Item::Close(..) => 0,
        }
    }
}

/// Lock order: none; `queue` and `socket` are never held together.
pub struct Outbox {
    /// The frame lock: whoever holds it writes whole frames.
    socket: Mutex<TcpStream>,
    /// The same socket, to shut it down while a writer is stuck in it.
    breaker: TcpStream,
    queue: Mutex<Queue>,
    ready: Condvar,
    closed: AtomicBool,
}

#[derive(Default)]
struct Queue {
    items: VecDeque<Item>,
    /// Bytes of the items, and of the frame that the drain thread is writing.
    bytes: usize,
    /// Sequence number of the last event meant for this connection.
    seq: u64,
    /// Nothing more is accepted: a close frame is queued or the socket is gone.
    sealed: bool,
}

impl Outbox {
    /// Takes the writing side of `socket`.
    pub fn new(socket: &TcpStream) -> io::Result<Outbox> {
        Ok(Outbox {
            socket: Mutex::new(socket.try_clone()?),
            breaker: socket.try_clone()?,
            queue: Mutex::default(),
            ready: Condvar::new(),
            closed: AtomicBool::new(false),
        })
    }

    /// Writes one text frame now, on the caller's thread. An error means that the connection is gone.
    pub fn write_text(&self, text: &str) -> io::Result<()> {
        self.write_frame(OpCode::Data(Data::Text), &[text.as_bytes()])
    }

    /// Queues a broadcast event under the next sequence number.
    pub fn push_event(&self, head: &Arc<str>, droppable: bool) {
        let mut q = self.lock();
        q.seq += 1;
        let tail = frame::event_tail(Some(q.seq));
        self.push(q, Item::Event(head.clone(), tail), droppable);
    }

    /// Queues an event for this connection only; it has no sequence number.
    pub fn push_targeted(&self, head: &Arc<str>) {
        self.push(
            self.lock(),
            Item::Event(head.clone(), frame::event_tail(None)),
            false,
        );
    }

    /// Queues a response, in order with the events.
    pub fn push_response(&self, text: String) {
        self.push(self.lock(), Item::Response(text), false);
    }

    /// Queues a close frame behind what waits; nothing is accepted after it.
    pub fn close(&self, code: u16, reason: &str) {
        let mut q = self.lock();
        if !q.sealed {
            q.sealed = true;
            q.items.push_back(Item::Close(code, reason.to_string()));
            self.ready.notify_all();
        }
    }

    /// Drops what waits and closes at once; used when the connection has lost its right to be served.
    pub fn close_now(&self, code: u16, reason: &str) {
        let mut q = self.lock();
        q.items.clear();
        q.bytes = 0;
        q.sealed = true;
        q.items.push_back(Item::Close(code, reason.to_string()));
        self.ready.notify_all();
    }

    /// Writes a close frame on the caller's thread, ahead of the queue; for a handshake that failed.
    pub fn write_close(&self, code: u16, reason: &str) {
        let mut body = code.to_be_bytes().to_vec();
        body.extend_from_slice(frame::clip(reason, MAX_CLOSE_REASON).as_bytes());
        let _ = self.write_frame(OpCode::Control(Control::Close), &[&body]);
    }

    /// Ends both directions of the socket and the drain thread, whatever they are waiting for.
    pub fn abandon(&self) {
        self.closed.store(true, Ordering::Release);
        let _ = self.breaker.shutdown(Shutdown::Both);
        self.lock().sealed = true;
        self.ready.notify_all();
    }

    /// Waits until the connection has ended, to `deadline` at the latest.
    pub fn wait_closed(&self, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now());
        let open = |_: &mut Queue| !self.is_closed();
        drop(
            self.ready
                .wait_timeout_while(self.lock(), left, open)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    /// Whether [`Outbox::abandon`] was called.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Whether the connection is being closed: what it still sends is not to be carried out.
    pub fn is_sealed(&self) -> bool {
        self.lock().sealed
    }

    /// Bytes that wait.
    pub fn buffered(&self) -> usize {
        self.lock().bytes
    }

    /// Body of the drain thread: writes what is queued until the connection ends.
    pub fn drain(&self) {
        loop {
            let item = {
                let mut q = self.lock();
                loop {
                    if self.is_closed() {
                        return;
                    }
                    match q.items.pop_front() {
                        Some(item) => break item,
                        None => q = self.ready.wait(q).unwrap_or_else(PoisonError::into_inner),
                    }
                }
            };
            let len = item.len();
            let written = match &item {
                Item::Event(head, tail) => self.write_frame(
                    OpCode::Data(Data::Text),
                    &[head.as_bytes(), tail.as_bytes()],
                ),
                Item::Response(text) => self.write_text(text),
                Item::Close(code, reason) => {
                    self.write_close(*code, reason);
                    let _ = self.breaker.shutdown(Shutdown::Write);
                    self.linger();
                    return;
                }
            };
            if written.is_err() {
                self.abandon();
                return;
            }
            let mut q = self.lock();
            q.bytes = q.bytes.saturating_sub(len);
        }
    }

    /// Gives the peer time to read the close frame and to answer it, then ends the connection.
    ///
    /// Closing while input is unread would reset the connection, and the peer might lose the frame. The
    /// connection's reading thread goes on meanwhile and calls [`Outbox::abandon`] when the peer is gone.
    fn linger(&self) {
        let q = self.lock();
        let gone = |_: &mut Queue| !self.is_closed();
        drop(
            self.ready
                .wait_timeout_while(q, CLOSE_LINGER, gone)
                .unwrap_or_else(PoisonError::into_inner),
        );
        self.abandon();
    }

    fn push(&self, mut q: MutexGuard<'_, Queue>, item: Item, droppable: bool) {
        if q.sealed {
            return;
        }
        if q.bytes + item.len() > MAX_BUFFERED_BYTES {
            if droppable {
                return;
            }
            q.items.clear();
            q.sealed = true;
            q.items
                .push_back(Item::Close(SLOW_CONSUMER.0, SLOW_CONSUMER.1.to_string()));
            drop(q);
            // The drain thread is stuck in a write that the peer does not read: free it.
            log::warn!(target: "gateway/ws", "slow consumer: closing, over {MAX_BUFFERED_BYTES} bytes wait");
            self.abandon();
            return;
        }
        q.bytes += item.len();
        q.items.push_back(item);
        drop(q);
        self.ready.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_frame(&self, opcode: OpCode, parts: &[&[u8]]) -> io::Result<()> {
        let length: usize = parts.iter().map(|p| p.len()).sum();
        let header = FrameHeader {
            is_final: true,
            opcode,
            ..FrameHeader::default()
        };
        let mut head = Vec::with_capacity(10);
        header
            .format(length as u64, &mut head)
            .map_err(io::Error::other)?;
        let mut slices = Vec::with_capacity(3);
        slices.push(IoSlice::new(&head));
        slices.extend(parts.iter().map(|p| IoSlice::new(p)));
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        write_all_vectored(&mut *socket, &mut slices)
    }
}

/// Lets tungstenite's reader answer pings and closes without breaking into a frame of another thread.
///
/// With a write buffer of 0 each call holds whole frames.
impl Write for &Outbox {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        socket.write_all(buf)?;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_all_vectored(w: &mut impl Write, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        match w.write_vectored(slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => IoSlice::advance_slices(&mut slices, n),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::TcpListener;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let a = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (a, listener.accept().unwrap().0)
    }

    #[test]
    fn events_carry_a_gapless_number_and_stay_in_order() {
        let (mut peer, mine) = pair();
        let outbox = Arc::new(Outbox::new(&mine).unwrap());
        let head: Arc<str> = r#"{"type":"event","event":"tick","payload":{}"#.into();
        outbox.push_event(&head, true);
        outbox.push_response(r#"{"type":"res"}"#.into());
        outbox.push_event(&head, true);
        outbox.close(1012, "service restart");
        let drained = outbox.clone();
        let thread = std::thread::spawn(move || drained.drain());
        let mut got = Vec::new();
        peer.read_to_end(&mut got).unwrap();
        outbox.abandon();
        thread.join().unwrap();
        drop(mine);
        let text = String::from_utf8_lossy(&got);
        let at = |needle: &str| {
            text.find(needle)
                .unwrap_or_else(|| panic!("{needle} in {text}"))
        };
        assert!(at("\"seq\":1}") < at("{\"type\":\"res\"}"));
        assert!(at("{\"type\":\"res\"}") < at("\"seq\":2}"));
        assert!(at("\"seq\":2}") < at("service restart"));
    }

    #[test]
    fn past_the_bound_droppable_events_are_skipped_and_others_close() {
        let (_peer, mine) = pair();
        let outbox = Outbox::new(&mine).unwrap();
        let big: Arc<str> = "x".repeat(MAX_BUFFERED_BYTES - 100).into();
        let head: Arc<str> = "y".repeat(200).into();
        outbox.push_event(&big, false);
        outbox.push_event(&head, true);
        assert!(!outbox.is_closed());
        assert_eq!(outbox.lock().seq, 2, "a dropped event leaves a gap");
        outbox.push_event(&head, false);
        assert!(outbox.is_closed());
        assert!(outbox.buffered() <= MAX_BUFFERED_BYTES);
    }
}
