//! One running command: a process group, its output, and its end.
//!
//! Two threads belong to it: one reads and, at the end, asks for the status; the other ends the group when
//! its time is over or somebody wants it to end. The leader is not waited for before everything that it
//! started has closed the output, so that the id of the group stays its own as long as it may be signalled.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, PipeReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, TrySendError, bounded};

use super::output::Output;
use crate::agent::cancel::Cancel;
use crate::sys::process::Signal;
use crate::sys::{clock, id, os, process, sync};

/// Time between asking a group to end and ending it.
const GRACE: Duration = Duration::from_secs(3);
/// How long the end of a killed group is waited for: one that has left it may hold the output open.
const LAST: Duration = Duration::from_secs(2);
/// The longest that the end takes once the time is over.
pub const ENDING: Duration = Duration::from_secs(10);
/// Stack of a job's threads in bytes.
const STACK: usize = 128 * 1024;
/// Bytes that one read takes.
const CHUNK: usize = 8 * 1024;
/// Pieces of input that may wait for a command that does not read.
const MAX_INPUT_QUEUE: usize = 16;
/// Longest piece of input in bytes.
pub const MAX_INPUT: usize = 64 * 1024;

/// How to start a command.
pub struct Start {
    /// Whose job it is.
    pub agent: String,
    /// What people see.
    pub line: String,
    pub program: PathBuf,
    pub argv: Vec<String>,
    pub env: BTreeMap<String, String>,
    /// The folder, opened, and its path.
    pub dir: File,
    pub cwd: PathBuf,
    /// Keep its input open for [`Job::write`]; otherwise it has none.
    pub input: bool,
    pub limit: Duration,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Exit code, or `None` when a signal ended it.
    pub code: Option<i32>,
    pub signal: Option<i32>,
    /// Its time was over.
    pub timed_out: bool,
    /// Ms since 1970.
    pub at: u64,
    pub took: Duration,
}

impl Ended {
    /// Code 0.
    pub fn is_success(&self) -> bool {
        self.code == Some(0)
    }

    /// `code 3`, `signal SIGTERM`.
    pub fn shown(&self) -> String {
        match (self.code, self.signal) {
            (Some(code), _) => format!("code {code}"),
            (None, signal) => format!("signal {}", signal_name(signal.unwrap_or_default())),
        }
    }
}

/// What a wait came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    Ended(Ended),
    /// The time is over.
    Time,
    /// The run that waits is to end.
    Cancelled,
}

/// Called when a job ends, once.
type AtEnd = Box<dyn FnOnce(&Job) + Send>;

/// A command that was started.
pub struct Job {
    pub id: String,
    pub agent: String,
    pub line: String,
    pub cwd: PathBuf,
    pub pid: u32,
    /// Ms since 1970.
    pub started_at: u64,
    started: Instant,
    limit: Duration,
    /// One lock; never held across a call that blocks.
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    output: Output,
    input: Option<Sender<Vec<u8>>>,
    ended: Option<Ended>,
    /// The leader was waited for: its id is no longer ours.
    gone: bool,
    stop: Option<Stop>,
    background: bool,
    at_end: Option<AtEnd>,
}

/// Why a job is to end before its time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    Asked,
    Time,
}

impl Job {
    /// Starts the command.
    pub fn start(start: Start) -> io::Result<Arc<Job>> {
        let (reader, writer) = io::pipe()?;
        let mut command = Command::new(&start.program);
        let mut words = start.argv.iter();
        command
            .arg0(words.next().ok_or(io::ErrorKind::InvalidInput)?)
            .args(words)
            .env_clear()
            .envs(&start.env)
            .stdin(if start.input {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .process_group(0);
        os::start_in(&mut command, start.dir);
        let mut child = command.spawn()?;
        // It holds the other ends of the pipe.
        drop(command);
        let input = child.stdin.take().map(input_thread).transpose();
        let job = Arc::new(Job {
            id: id::hex8(),
            agent: start.agent,
            line: start.line,
            cwd: start.cwd,
            pid: child.id(),
            started_at: clock::now_ms(),
            started: Instant::now(),
            limit: start.limit,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let read = job.clone();
        let mind = job.clone();
        let threads = input.and_then(|input| {
            job.lock().input = input;
            // The child goes with the closure when the thread cannot be made; it is ended below.
            spawn("exec-mind", move || mind.mind())?;
            spawn("exec-read", move || read.read(reader, child))
        });
        if let Err(e) = threads {
            let _ = process::signal_group(job.pid, Signal::Kill);
            job.end(None, true);
            return Err(e);
        }
        Ok(job)
    }

    /// Waits for the end, at most for `time`.
    pub fn wait(self: &Arc<Job>, time: Duration, cancel: &Cancel) -> Waited {
        self.wait_for(time, cancel, |_| false)
    }

    /// Waits for the end or for output that nobody has seen, at most for `time`.
    pub fn wait_for_output(self: &Arc<Job>, time: Duration, cancel: &Cancel) -> Waited {
        self.wait_for(time, cancel, |state| state.output.has_fresh())
    }

    fn wait_for(
        self: &Arc<Job>,
        time: Duration,
        cancel: &Cancel,
        enough: impl Fn(&State) -> bool,
    ) -> Waited {
        let wake = Instant::now() + cancel.left().map_or(time, |left| left.min(time));
        // The token has a lock of its own, under which it calls the hook: it is not asked under ours.
        let stopped = Arc::new(AtomicBool::new(false));
        let _hook = {
            let (job, stopped) = (self.clone(), stopped.clone());
            cancel.on_cancel(move || {
                stopped.store(true, Ordering::SeqCst);
                let _state = job.lock();
                job.changed.notify_all();
            })
        };
        let mut state = self.lock();
        while state.ended.is_none() && !enough(&state) && !stopped.load(Ordering::SeqCst) {
            let left = wake.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.sleep(state, left);
        }
        let ended = state.ended;
        drop(state);
        match ended {
            Some(ended) => Waited::Ended(ended),
            None if cancel.reason().is_some() => Waited::Cancelled,
            None => Waited::Time,
        }
    }

    /// Lets it run on when its run ends, and calls `at_end` when it does, at once if it has.
    pub fn into_background(self: &Arc<Job>, at_end: Option<AtEnd>) {
        let mut state = self.lock();
        state.background = true;
        match state.ended {
            None => state.at_end = at_end,
            Some(_) => {
                drop(state);
                if let Some(at_end) = at_end {
                    at_end(self);
                }
            }
        }
    }

    pub fn is_background(&self) -> bool {
        self.lock().background
    }

    pub fn ended(&self) -> Option<Ended> {
        self.lock().ended
    }

    /// How long it has run.
    pub fn took(&self) -> Duration {
        self.ended()
            .map_or_else(|| self.started.elapsed(), |e| e.took)
    }

    /// What it wrote.
    pub fn with_output<T>(&self, f: impl FnOnce(&mut Output, bool) -> T) -> T {
        let mut state = self.lock();
        let ended = state.ended.is_some();
        f(&mut state.output, ended)
    }

    /// Has the group ended: asked to, and after a while made to. Nobody is told of the end any more.
    pub fn kill(&self) {
        let mut state = self.lock();
        state.stop.get_or_insert(Stop::Asked);
        state.at_end = None;
        drop(state);
        self.changed.notify_all();
    }

    /// Puts `bytes` into its input.
    pub fn write(&self, bytes: Vec<u8>) -> Result<(), &'static str> {
        match &self.lock().input {
            None => Err("its input is closed; start it with background: true to keep it open"),
            Some(input) => input.try_send(bytes).map_err(|e| match e {
                TrySendError::Full(_) => "it does not read its input; try again later",
                TrySendError::Disconnected(_) => "its input is closed",
            }),
        }
    }

    /// Ends its input.
    pub fn close_input(&self) {
        self.lock().input = None;
    }

    /// Sends `signal` to the group, as a terminal would.
    pub fn signal(&self, signal: Signal) {
        signal_group(&self.lock(), self.pid, signal);
    }

    /// Takes the output until nobody can write any more, then the status.
    fn read(&self, mut reader: PipeReader, mut child: Child) {
        let mut chunk = [0; CHUNK];
        loop {
            match reader.read(&mut chunk) {
                Ok(0) => break,
                Ok(n) => {
                    self.lock().output.push(&chunk[..n]);
                    self.changed.notify_all();
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        let _ = os::wait_ended(self.pid);
        let at_end = {
            let mut state = self.lock();
            // At once: it has ended.
            let status = child.wait().ok();
            state.gone = true;
            self.note_end(&mut state, status)
        };
        self.tell(at_end);
    }

    /// Ends the group when its time is over or somebody asks.
    fn mind(&self) {
        let over = self.started + self.limit;
        let mut state = self.lock();
        while state.ended.is_none() && state.stop.is_none() {
            let left = over.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.stop = Some(Stop::Time);
                break;
            }
            state = self.sleep(state, left);
        }
        for (signal, time) in [(Signal::Term, GRACE), (Signal::Kill, LAST)] {
            let until = Instant::now() + time;
            if state.ended.is_none() {
                signal_group(&state, self.pid, signal);
            }
            while state.ended.is_none() {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                state = self.sleep(state, left);
            }
        }
        drop(state);
        self.end(None, false);
    }

    /// Notes the end, unless it has been.
    fn end(&self, status: Option<ExitStatus>, gone: bool) {
        let mut state = self.lock();
        state.gone |= gone;
        let at_end = self.note_end(&mut state, status);
        drop(state);
        self.tell(at_end);
    }

    fn note_end(&self, state: &mut State, status: Option<ExitStatus>) -> Option<AtEnd> {
        if state.ended.is_some() {
            return None;
        }
        state.ended = Some(Ended {
            code: status.and_then(|s| s.code()),
            signal: status.map_or(Some(libc::SIGKILL), |s| s.signal()),
            timed_out: state.stop == Some(Stop::Time),
            at: clock::now_ms(),
            took: self.started.elapsed(),
        });
        state.input = None;
        state.at_end.take()
    }

    fn tell(&self, at_end: Option<AtEnd>) {
        self.changed.notify_all();
        if let Some(at_end) = at_end {
            at_end(self);
        }
    }

    fn sleep<'s>(&self, state: MutexGuard<'s, State>, time: Duration) -> MutexGuard<'s, State> {
        let waited = self.changed.wait_timeout(state, time);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        sync::lock(&self.state)
    }
}

/// Signals the group as long as its id is its own. (TX-30)
fn signal_group(state: &State, leader: u32, signal: Signal) {
    if !state.gone {
        // It fails when the group has just ended, which is what was wanted.
        let _ = process::signal_group(leader, signal);
    }
}

/// A thread that writes what it is sent to `input`, and closes it when the sender goes.
fn input_thread(mut input: impl Write + Send + 'static) -> io::Result<Sender<Vec<u8>>> {
    let (sender, receiver) = bounded::<Vec<u8>>(MAX_INPUT_QUEUE);
    spawn("exec-input", move || {
        for bytes in receiver {
            if input
                .write_all(&bytes)
                .and_then(|()| input.flush())
                .is_err()
            {
                return;
            }
        }
    })?;
    Ok(sender)
}

fn spawn(name: &str, f: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = thread::Builder::new().name(name.into()).stack_size(STACK);
    thread.spawn(f).map(|_| ())
}

/// The name of a signal, as far as commands usually end by it.
pub fn signal_name(signal: i32) -> String {
    let known = [
        (libc::SIGHUP, "SIGHUP"),
        (libc::SIGINT, "SIGINT"),
        (libc::SIGQUIT, "SIGQUIT"),
        (libc::SIGILL, "SIGILL"),
        (libc::SIGABRT, "SIGABRT"),
        (libc::SIGBUS, "SIGBUS"),
        (libc::SIGFPE, "SIGFPE"),
        (libc::SIGKILL, "SIGKILL"),
        (libc::SIGSEGV, "SIGSEGV"),
        (libc::SIGPIPE, "SIGPIPE"),
        (libc::SIGALRM, "SIGALRM"),
        (libc::SIGTERM, "SIGTERM"),
    ];
    let name = known.iter().find(|(number, _)| *number == signal);
    name.map_or_else(|| signal.to_string(), |(_, name)| name.to_string())
}
