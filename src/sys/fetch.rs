//! The way out to addresses that somebody else named: webhooks of jobs, links in answers.
//!
//! Only what the whole internet can reach is reached: a name is looked up once, all its addresses have to
//! be public, and the connection goes to one of them. No redirect is followed and no proxy is asked, so
//! that nothing can lead back into this host or its network. Endpoints that the operator configures (model
//! providers) have a client of their own.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ureq::Agent;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::DefaultConnector;
use ureq::unversioned::transport::NextTimeout;

/// Bytes of an answer's head.
const MAX_HEAD: usize = 32 * 1024;

/// Why there was no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchError {
    /// The address is not one for the whole internet, or is no http address at all.
    Refused(String),
    Failed(String),
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FetchError::Refused(why) => write!(f, "address refused: {why}"),
            FetchError::Failed(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for FetchError {}

/// Posts `body` as JSON to `url` and gives back the status. `bearer` goes into the `Authorization` header.
pub fn post_json(
    url: &str,
    bearer: Option<&str>,
    body: &str,
    limit: Duration,
) -> Result<u16, FetchError> {
    let uri: Uri = url
        .parse()
        .map_err(|_| FetchError::Refused("not a URL".into()))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(FetchError::Refused("not http or https".into()));
    }
    if uri.authority().is_some_and(|a| a.as_str().contains('@')) {
        return Err(FetchError::Refused("a URL with a user name".into()));
    }
    let config = Config::builder()
        .http_status_as_error(false)
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .max_response_header_size(MAX_HEAD)
        .max_idle_connections(0)
        .timeout_global(Some(limit))
        .user_agent(concat!("openclaw/", env!("CARGO_PKG_VERSION")))
        .build();
    let agent = Agent::with_parts(
        config,
        DefaultConnector::default(),
        PublicOnly(DefaultResolver::default()),
    );
    let mut request = agent.post(url).header("Content-Type", "application/json");
    if let Some(token) = bearer {
        request = request.header("Authorization", format!("Bearer {token}"));
    }
    match request.send(body) {
        Ok(answer) => Ok(answer.status().as_u16()),
        Err(ureq::Error::Other(e)) => match e.downcast::<FetchError>() {
            Ok(refused) => Err(*refused),
            Err(e) => Err(FetchError::Failed(e.to_string())),
        },
        Err(e) => Err(FetchError::Failed(e.to_string())),
    }
}

/// Looks names up, and refuses those that lead to anything but the internet.
struct PublicOnly(DefaultResolver);

impl fmt::Debug for PublicOnly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublicOnly")
    }
}

impl Resolver for PublicOnly {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.0.resolve(uri, config, timeout)?;
        // One private address among public ones is a trap, not a fallback.
        match found.iter().find(|a| !is_public(a.ip())) {
            None => Ok(found),
            Some(a) => {
                let host = uri.host().unwrap_or_default();
                let why = format!("{host} is {}, which is not a public address", a.ip());
                Err(ureq::Error::Other(Box::new(FetchError::Refused(why))))
            }
        }
    }
}

/// Whether everybody on the internet means the same host by `ip`.
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

/// The special-purpose blocks of IPv4: first address and prefix length.
const V4_BLOCKS: &[([u8; 4], u32)] = &[
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 31, 196, 0], 24),
    ([192, 52, 193, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([192, 175, 48, 0], 24),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([224, 0, 0, 0], 3),
];

/// Those within 2000::/3, outside of which nothing is public.
const V6_BLOCKS: &[(u128, u32)] = &[
    (0x2001_0000 << 96, 23),
    (0x2001_0db8 << 96, 32),
    (0x2002_0000 << 96, 16),
    (0x2620_004f_8000 << 80, 48),
    (0x3ffe_0000 << 96, 16),
    (0x3fff_0000 << 96, 20),
];

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let bits = ip.to_bits();
    !V4_BLOCKS
        .iter()
        .any(|(first, len)| (bits ^ u32::from_be_bytes(*first)) >> (32 - len) == 0)
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let bits = ip.to_bits();
    let in_block = |(first, len): &(u128, u32)| (bits ^ first) >> (128 - len) == 0;
    // ISATAP carries an IPv4 address in its last four bytes.
    let isatap = matches!((bits >> 32) as u32, 0x0000_5efe | 0x0200_5efe);
    in_block(&(0x2000 << 112, 3)) && !isatap && !V6_BLOCKS.iter().any(in_block)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use std::net::TcpListener;

    // Advisory NF-02: address classes had holes.
    #[test]
    fn nf_02_only_the_internet_is_public() {
        for text in [
            "0.0.0.0",
            "0.255.255.255",
            "10.0.0.0",
            "10.255.255.255",
            "100.64.0.0",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.0.0",
            "169.254.169.254",
            "172.16.0.0",
            "172.31.255.255",
            "192.0.0.0",
            "192.0.0.255",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.0",
            "192.168.255.255",
            "198.18.0.0",
            "198.19.255.255",
            "198.51.100.9",
            "203.0.113.9",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:10::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:808:808::",
            "3fff::1",
            "fc00::1",
            "fd00::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2a00:1450::5efe:7f00:1",
            "2a00:1450::200:5efe:a00:1",
            "5f00::1",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450:4001::1",
            "2001:4860:4860::8888",
        ] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }

    // Advisory NF-06: some fetches went around the guard, the webhook of a job among them.
    #[test]
    fn nf_06_nothing_on_this_host_is_reached() {
        let trap = TcpListener::bind("127.0.0.1:0").unwrap();
        trap.set_nonblocking(true).unwrap();
        let port = trap.local_addr().unwrap().port();
        for host in [
            "127.0.0.1",
            "localhost",
            "localhost.",
            "[::ffff:7f00:1]",
            "[::1]",
            "0.0.0.0",
            "2130706433",
            "127.1",
            "0x7f.1",
        ] {
            let url = format!("http://{host}:{port}/");
            let result = post_json(&url, Some("secret"), "{}", Duration::from_secs(5));
            assert!(result.is_err(), "{host}: {result:?}");
        }
        assert_eq!(
            trap.accept().unwrap_err().kind(),
            ErrorKind::WouldBlock,
            "the trap got a connection"
        );
        let refused = post_json(
            &format!("http://127.0.0.1:{port}/"),
            None,
            "{}",
            Duration::from_secs(5),
        );
        assert_eq!(
            refused,
            Err(FetchError::Refused(
                "127.0.0.1 is 127.0.0.1, which is not a public address".into()
            ))
        );
    }

    #[test]
    fn what_is_no_web_address_is_refused() {
        for url in [
            "ftp://example.org/",
            "file:///etc/passwd",
            "http://user:pw@example.org/",
            "not a url",
            "/x",
            "",
        ] {
            let result = post_json(url, None, "{}", Duration::from_secs(1));
            assert!(
                matches!(result, Err(FetchError::Refused(_))),
                "{url}: {result:?}"
            );
        }
    }
}
