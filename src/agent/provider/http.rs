//! HTTP to a model endpoint: kept-alive connections, a deadline for each phase, and a cancel that
//! interrupts a blocked read at once.
//!
//! Each exchange has a [`Line`] to itself: a ureq agent with at most one connection. A cancel shuts that
//! agent down, which reaches the socket whatever it is doing, the TLS handshake included; such a line is
//! thrown away. All others go back and are found again by scheme, host and port. Redirects are not
//! followed (credentials stay where they were configured to go) and no proxy is taken from the
//! environment.

use std::io::Read;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, NextTimeout, TcpConnector,
    Transport, time,
};
use ureq::{Agent, Timeout};

use super::{Phase, ProviderError};
use crate::agent::cancel::{Cancel, Hook};
use crate::sys::sync;

/// Idle connections that are kept, all endpoints together.
const MAX_IDLE_LINES: usize = 8;
/// An idle connection older than this is closed instead of used.
const MAX_IDLE_AGE: Duration = Duration::from_secs(60);
/// Largest response head in bytes.
const MAX_HEAD: usize = 32 * 1024;
/// Buffer for what comes in, and for what goes out, in bytes, per connection.
const BUFFER: usize = 32 * 1024;
/// Time for the rest of an error's body, however slowly it comes.
const ERROR_BODY_TIME: Duration = Duration::from_secs(5);
/// Time for the end of a stream whose content is complete; after that the connection is closed.
const DRAIN_TIME: Duration = Duration::from_millis(10);

/// How long each phase of an exchange may take. The run's own limit comes on top.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// Name lookup, TCP and TLS, together.
    pub connect: Duration,
    /// Sending the request.
    pub send: Duration,
    /// From the end of the request to the end of the response's head.
    pub first_byte: Duration,
    /// Between two reads of the body.
    pub idle: Duration,
}

impl Default for Deadlines {
    /// Generous from the first byte on: a local model may think for minutes over a long prompt.
    fn default() -> Self {
        Deadlines {
            connect: Duration::from_secs(10),
            send: Duration::from_secs(60),
            first_byte: Duration::from_secs(300),
            idle: Duration::from_secs(120),
        }
    }
}

/// The connections to model endpoints.
#[derive(Debug, Default)]
pub struct Http {
    deadlines: Deadlines,
    /// The lock is held only to take a line out or put one in.
    idle: Mutex<Vec<Line>>,
}

#[derive(Debug)]
struct Line {
    origin: String,
    agent: Agent,
    pace: Arc<Pace>,
    since: Instant,
}

impl Http {
    pub fn new(deadlines: Deadlines) -> Http {
        Http {
            deadlines,
            idle: Mutex::default(),
        }
    }

    /// Sends a POST and reads the head of the answer, whatever its status.
    pub fn post(
        &self,
        url: &str,
        headers: &[(String, String)],
        body: &[u8],
        cancel: &Cancel,
    ) -> Result<Exchange<'_>, ProviderError> {
        let line = self.take(origin(url)?);
        let agent = line.agent.clone();
        let hook = cancel.on_cancel(move || agent.shutdown());
        if let Some(reason) = cancel.reason() {
            return Err(ProviderError::Cancelled(reason));
        }
        line.pace.set(None);
        let d = &self.deadlines;
        let mut request = line
            .agent
            .post(url)
            .config()
            .timeout_resolve(Some(d.connect))
            .timeout_connect(Some(d.connect))
            .timeout_send_request(Some(d.send))
            .timeout_send_body(Some(d.send))
            .timeout_recv_response(Some(d.first_byte))
            .timeout_global(cancel.left())
            .build();
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let sent = request.send(body);
        let response = sent.map_err(|e| self.explain(e, cancel))?;
        line.pace.set(Some(d.idle));
        let (head, body) = response.into_parts();
        Ok(Exchange {
            status: head.status.as_u16(),
            headers: head.headers,
            body: body.into_reader(),
            ended: false,
            http: self,
            line: Some(line),
            hook: Some(hook),
            cancel: cancel.clone(),
        })
    }

    /// Closes connections that have been idle for too long. For a clock that comes by now and then.
    pub fn tidy(&self) {
        let old: Vec<Line> = {
            let mut idle = self.lock();
            let (keep, old) = idle.drain(..).partition(Line::is_fresh);
            *idle = keep;
            old
        };
        drop(old);
    }

    fn take(&self, origin: String) -> Line {
        self.tidy();
        let found = {
            let mut idle = self.lock();
            let at = idle.iter().rposition(|l| l.origin == origin);
            at.map(|i| idle.swap_remove(i))
        };
        found.unwrap_or_else(|| Line::new(origin))
    }

    fn give_back(&self, mut line: Line) {
        line.since = Instant::now();
        let mut idle = self.lock();
        if idle.len() < MAX_IDLE_LINES {
            idle.push(line);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Line>> {
        sync::lock(&self.idle)
    }

    /// An error of ureq in our words. What a cancel brought about is a cancel.
    fn explain(&self, error: ureq::Error, cancel: &Cancel) -> ProviderError {
        if let Some(reason) = cancel.reason() {
            return ProviderError::Cancelled(reason);
        }
        let d = &self.deadlines;
        let timeout = |phase, after| ProviderError::Timeout { phase, after };
        match error {
            ureq::Error::Timeout(t) => match t {
                Timeout::Resolve | Timeout::Connect => timeout(Phase::Connect, d.connect),
                Timeout::SendRequest | Timeout::SendBody => timeout(Phase::Send, d.send),
                Timeout::RecvResponse => timeout(Phase::FirstByte, d.first_byte),
                _ => timeout(Phase::Idle, d.idle),
            },
            ureq::Error::Io(e) => ProviderError::Connection(e.to_string()),
            ureq::Error::HostNotFound => ProviderError::Connection("host not found".into()),
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => ProviderError::Config(
                "the base URL or a header of the provider is not valid".into(),
            ),
            other => ProviderError::Connection(other.to_string()),
        }
    }
}

impl Line {
    fn new(origin: String) -> Line {
        let config = Config::builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_response_header_size(MAX_HEAD)
            .input_buffer_size(BUFFER)
            .output_buffer_size(BUFFER)
            .max_idle_connections(1)
            .max_idle_connections_per_host(1)
            .max_idle_age(MAX_IDLE_AGE)
            .user_agent(concat!("openclaw/", env!("CARGO_PKG_VERSION")))
            .build();
        let pace = Arc::new(Pace::default());
        let tcp = ().chain(ConnectProxyConnector::default()).chain(TcpConnector::default());
        #[cfg(feature = "tls")]
        let tcp = tcp.chain(ureq::unversioned::transport::RustlsConnector::default());
        let connector = tcp.chain(Pacer(pace.clone()));
        Line {
            origin,
            agent: Agent::with_parts(config, connector, Literal(DefaultResolver::default())),
            pace,
            since: Instant::now(),
        }
    }

    fn is_fresh(&self) -> bool {
        self.since.elapsed() < MAX_IDLE_AGE
    }
}

/// Scheme, host and port of `url`.
fn origin(url: &str) -> Result<String, ProviderError> {
    let bad = |why: &str| ProviderError::Config(format!("the provider's base URL {why}"));
    let uri: ureq::http::Uri = url.parse().map_err(|_| bad("is not a URL"))?;
    match (uri.scheme_str(), uri.authority()) {
        (Some("http"), Some(a)) => Ok(format!("http://{a}")),
        (Some("https"), Some(a)) if cfg!(feature = "tls") => Ok(format!("https://{a}")),
        (Some("https"), _) => Err(bad("is https, and this build has no TLS")),
        _ => Err(bad("has to begin with http:// or https://")),
    }
}

/// An answer whose head has come in. Dropping it before the end closes the connection.
pub struct Exchange<'a> {
    pub status: u16,
    headers: ureq::http::HeaderMap,
    body: ureq::BodyReader<'static>,
    ended: bool,
    http: &'a Http,
    line: Option<Line>,
    hook: Option<Hook>,
    cancel: Cancel,
}

impl Exchange<'_> {
    /// The value of a header, when it is there and text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// What has come in next; 0 at the end. Returns as soon as there is anything.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ProviderError> {
        let result = self.body.read(buffer);
        // A shut down socket reads as the end of the body: never take that for an answer.
        if let Some(reason) = self.cancel.reason() {
            return Err(ProviderError::Cancelled(reason));
        }
        match result {
            Ok(n) => {
                self.ended = n == 0;
                Ok(n)
            }
            Err(e) => Err(self.http.explain(e.into(), &self.cancel)),
        }
    }

    /// The first `max` bytes of the body, or what of them comes in a few seconds: for errors.
    pub fn read_some(&mut self, max: usize) -> Vec<u8> {
        let until = Instant::now() + ERROR_BODY_TIME;
        let mut bytes = Vec::new();
        let mut buffer = [0u8; 4096];
        while bytes.len() < max {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            self.set_pace(left);
            match self.read(&mut buffer) {
                Ok(n) if n > 0 => bytes.extend_from_slice(&buffer[..n.min(max - bytes.len())]),
                _ => break,
            }
        }
        bytes
    }

    /// The content is complete: waits a moment for the end of the body, so that the connection can be
    /// used again.
    pub fn finish(mut self) {
        self.set_pace(DRAIN_TIME);
        let mut buffer = [0u8; 256];
        let until = Instant::now() + DRAIN_TIME;
        while !self.ended && Instant::now() < until {
            if self.read(&mut buffer).is_err() {
                break;
            }
        }
    }

    fn set_pace(&self, time: Duration) {
        if let Some(line) = &self.line {
            line.pace.set(Some(time));
        }
    }
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        // First the hook, so that no cancel reaches the line once it is somebody else's.
        drop(self.hook.take());
        if let Some(line) = self.line.take()
            && self.ended
            && self.cancel.reason().is_none()
        {
            self.http.give_back(line);
        }
    }
}

/// The longest wait for a single read, which changes within an exchange; ureq's own is fixed per call.
#[derive(Debug, Default)]
struct Pace(AtomicU64);

impl Pace {
    fn set(&self, limit: Option<Duration>) {
        let ms = limit.map_or(0, |d| d.as_millis().max(1) as u64);
        self.0.store(ms, Ordering::Relaxed);
    }

    fn apply(&self, mut timeout: NextTimeout) -> NextTimeout {
        let ms = self.0.load(Ordering::Relaxed);
        timeout.per_read = (ms > 0).then(|| time::Duration::from_millis(ms));
        timeout
    }
}

/// The last link of the connector chain: puts the pace on whatever transport was made.
#[derive(Debug)]
struct Pacer(Arc<Pace>);

impl<In: Transport> Connector<In> for Pacer {
    type Out = Paced<In>;

    fn connect(
        &self,
        _: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        Ok(chained.map(|inner| Paced {
            inner,
            pace: self.0.clone(),
        }))
    }
}

#[derive(Debug)]
struct Paced<T> {
    inner: T,
    pace: Arc<Pace>,
}

impl<T: Transport> Transport for Paced<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.inner.await_input(self.pace.apply(timeout))
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

/// Answers addresses itself; ureq would start a thread for each of them to bound the lookup.
#[derive(Debug)]
struct Literal(DefaultResolver);

impl ureq::unversioned::resolver::Resolver for Literal {
    fn resolve(
        &self,
        uri: &ureq::http::Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ureq::unversioned::resolver::ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().unwrap_or_default();
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let port = match uri.scheme_str() {
            Some("https") => 443,
            _ => 80,
        };
        match bare.unwrap_or(host).parse::<IpAddr>() {
            Ok(ip) => {
                let mut found = self.empty();
                found.push((ip, uri.port_u16().unwrap_or(port)).into());
                Ok(found)
            }
            Err(_) => self.0.resolve(uri, config, timeout),
        }
    }
}
