//! The gateway's own credential: which mode is on, whether what a client sent fits, and whether it may
//! still try.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::client::AuthMethod;
use super::limiter::{Attempt, Limiter};
use super::peer::Peer;
use crate::config::Config;
use crate::protocol::RpcError;
use crate::sys::{id, secret};

/// `gateway.auth.mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMode {
    None,
    Token,
    Password,
    TrustedProxy,
}

impl AuthMode {
    pub fn parse(text: &str) -> Option<AuthMode> {
        match text {
            "none" => Some(AuthMode::None),
            "token" => Some(AuthMode::Token),
            "password" => Some(AuthMode::Password),
            "trusted-proxy" => Some(AuthMode::TrustedProxy),
            _ => None,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            AuthMode::None => "none",
            AuthMode::Token => "token",
            AuthMode::Password => "password",
            AuthMode::TrustedProxy => "trusted-proxy",
        }
    }
}

/// The credential in force. Replaced whole when the config changes.
#[derive(Clone)]
pub struct Secrets {
    pub mode: AuthMode,
    /// The token or password, by `mode`; empty for the other modes.
    value: String,
    /// Digest of mode and value: says whether a connection was opened with this credential.
    print: String,
    proxy: ProxyRules,
}

/// `gateway.auth.trustedProxy`.
#[derive(Clone, Default)]
struct ProxyRules {
    user_header: String,
    required_headers: Vec<String>,
    allow_users: Vec<String>,
}

/// What a client sent in `connect.auth`, or the bearer value of an HTTP request.
#[derive(Clone, Debug, Default)]
pub struct Presented<'a> {
    pub token: Option<&'a str>,
    pub password: Option<&'a str>,
}

/// Why a credential does not open the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    TokenMissing,
    TokenMismatch,
    PasswordMissing,
    PasswordMismatch,
    DeviceTokenMismatch,
    /// The proxy headers are missing, repeated or not allowed, or the peer is no trusted proxy.
    ProxyIdentity,
    /// Milliseconds until the lockout ends.
    RateLimited(u64),
}

impl Secrets {
    /// `value` is the token or password in force (flag, config, environment or the kept credential).
    pub fn new(mode: AuthMode, value: &str, config: &Config) -> Secrets {
        let list = |path: &str| config.list(path).into_iter().map(str::to_string).collect();
        Secrets {
            mode,
            value: value.to_string(),
            print: id::sha256_hex(format!("{}\n{value}", mode.as_str()).as_bytes()),
            proxy: ProxyRules {
                user_header: config
                    .str("gateway.auth.trustedProxy.userHeader")
                    .unwrap_or("")
                    .to_string(),
                required_headers: list("gateway.auth.trustedProxy.requiredHeaders"),
                allow_users: list("gateway.auth.trustedProxy.allowUsers"),
            },
        }
    }

    /// Identifies the credential without telling it. See `Client::secret_print`.
    pub fn print(&self) -> &str {
        &self.print
    }

    /// Compares what was presented with what is in force; no limits are applied here.
    fn compare(&self, peer: &Peer, presented: &Presented<'_>) -> Result<AuthMethod, Refusal> {
        let check =
            |given: Option<&str>, missing, wrong, method| match given.filter(|g| !g.is_empty()) {
                None => Err(missing),
                Some(g) if secret::same(g, &self.value) => Ok(method),
                Some(_) => Err(wrong),
            };
        match self.mode {
            AuthMode::None => Ok(AuthMethod::None),
            AuthMode::Token => check(
                presented.token,
                Refusal::TokenMissing,
                Refusal::TokenMismatch,
                AuthMethod::Token,
            ),
            AuthMode::Password => {
                let (missing, wrong) = (Refusal::PasswordMissing, Refusal::PasswordMismatch);
                check(presented.password, missing, wrong, AuthMethod::Password)
            }
            AuthMode::TrustedProxy => self
                .proxy
                .user(peer)
                .map(|_| AuthMethod::TrustedProxy)
                .ok_or(Refusal::ProxyIdentity),
        }
    }

    /// [`Secrets::compare`] under the limiter: counted before anything is compared (HS-10).
    ///
    /// `also` is asked when the shared secret does not fit (a device token); it is part of the same attempt.
    /// Presenting nothing at all is no guess and is not counted.
    pub fn judge(
        &self,
        limiter: &Limiter,
        peer: &Peer,
        presented: &Presented<'_>,
        also: impl FnOnce(Refusal) -> Result<AuthMethod, Refusal>,
    ) -> Result<AuthMethod, Refusal> {
        let attempt = limiter.attempt(peer.client, || match self.compare(peer, presented) {
            Ok(method) => Attempt::Good(Ok(method)),
            Err(refusal) => match also(refusal) {
                Ok(method) => Attempt::Good(Ok(method)),
                Err(r @ (Refusal::TokenMissing | Refusal::PasswordMissing)) => {
                    Attempt::NoGuess(Err(r))
                }
                Err(r) => Attempt::Bad(Err(r)),
            },
        });
        attempt.unwrap_or_else(|locked_ms| Err(Refusal::RateLimited(locked_ms)))
    }
}

impl ProxyRules {
    /// The user that a trusted proxy vouches for.
    fn user<'p>(&self, peer: &'p Peer) -> Option<&'p str> {
        if !peer.behind_trusted_proxy || self.user_header.is_empty() {
            return None;
        }
        let user = peer.single_header(&self.user_header)?;
        let complete = self
            .required_headers
            .iter()
            .all(|h| peer.single_header(h).is_some());
        let allowed = self.allow_users.is_empty() || self.allow_users.iter().any(|u| u == user);
        (complete && allowed).then_some(user)
    }
}

impl Refusal {
    /// `details.authReason`.
    pub fn reason(self) -> &'static str {
        match self {
            Refusal::TokenMissing => "token_missing",
            Refusal::TokenMismatch => "token_mismatch",
            Refusal::PasswordMissing => "password_missing",
            Refusal::PasswordMismatch => "password_mismatch",
            Refusal::DeviceTokenMismatch => "device_token_mismatch",
            Refusal::ProxyIdentity => "trusted_proxy_identity",
            Refusal::RateLimited(_) => "rate_limited",
        }
    }

    /// The error of a WebSocket handshake; the hint depends on the client.
    pub fn to_error(self, client_id: &str, client_mode: &str) -> RpcError {
        let browser = client_id == "openclaw-control-ui"
            || client_mode == "webchat"
            || client_id == "webchat-ui";
        let hint = |cli: &'static str, page: &'static str, other: &'static str| match client_id {
            "cli" => cli,
            _ if browser => page,
            _ => other,
        };
        let token_hint = hint(
            "set gateway.remote.token to match gateway.auth.token",
            "open the dashboard URL and paste the token in Control UI settings",
            "provide gateway auth token",
        );
        let password_hint = hint(
            "set gateway.remote.password to match gateway.auth.password",
            "enter the password in Control UI settings",
            "provide gateway auth password",
        );
        let (what, hint) = match self {
            Refusal::TokenMissing => ("gateway token missing", token_hint),
            Refusal::TokenMismatch => ("gateway token mismatch", token_hint),
            Refusal::PasswordMissing => ("gateway password missing", password_hint),
            Refusal::PasswordMismatch => ("gateway password mismatch", password_hint),
            Refusal::DeviceTokenMismatch => (
                "device token mismatch",
                "rotate or reissue the device token",
            ),
            Refusal::ProxyIdentity => (
                "trusted proxy identity missing",
                "connect through the configured proxy",
            ),
            Refusal::RateLimited(_) => ("too many failed authentication attempts", "retry later"),
        };
        let code = format!("AUTH_{}", self.reason().to_uppercase());
        // Clients of the reference expect no retryAfterMs here, not even from a lockout.
        RpcError::invalid(format!("unauthorized: {what} ({hint})"))
            .with_details(json!({"code": code, "authReason": self.reason()}))
    }
}

/// Settings of the limiter as configured, or what holds when nothing is configured.
///
/// Without `gateway.auth.rateLimit` it is on for every bind but loopback (HS-10).
pub fn limiter_for(config: &Config, loopback_bind: bool) -> Limiter {
    let configured = matches!(config.get("gateway.auth.rateLimit"), Some(Value::Object(_)));
    if !configured && loopback_bind {
        return Limiter::off();
    }
    let path = |key: &str| format!("gateway.auth.rateLimit.{key}");
    Limiter::new(
        config.u64(&path("maxAttempts"), 10).max(1),
        config.u64(&path("windowMs"), 60_000),
        config.u64(&path("lockoutMs"), 300_000),
        config.bool(&path("exemptLoopback"), true),
    )
}

/// The key under which the failures of `address` are counted: IPv6 by its /64, as one host owns that much.
pub fn limiter_key(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_none() => {
            let s = v6.segments();
            IpAddr::from([s[0], s[1], s[2], s[3], 0, 0, 0, 0])
        }
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        v4 => v4,
    }
}
