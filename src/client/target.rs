//! Which gateway a command means, and with which secret: flags, environment, config, state directory.

use std::fmt;
use std::path::PathBuf;

use super::error::ClientError;
use super::socket::Address;
use super::{Connect, Credentials};
use crate::config::{Config, Env, gateway_port};
use crate::state::{Paths, credential};

/// What the command line says about the gateway to talk to.
#[derive(Clone, Default)]
pub struct Wanted {
    pub url: Option<String>,
    /// Secret.
    pub token: Option<String>,
    /// Secret.
    pub password: Option<String>,
}

/// How the address was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Flag,
    Remote,
    Local,
}

impl Source {
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Flag => "cli --url",
            Source::Remote => "config gateway.remote.url",
            Source::Local => "local loopback",
        }
    }
}

/// A gateway and the secret for it.
#[derive(Clone)]
pub struct Target {
    pub address: Address,
    pub source: Source,
    pub credentials: Credentials,
    /// The config file that was looked at.
    pub config_path: PathBuf,
    /// `gateway.bind`, for a local gateway.
    pub bind: Option<String>,
    /// State directory with the device identity.
    pub paths: Paths,
    /// The profile that all this belongs to.
    pub profile: Option<String>,
}

impl Target {
    /// `--url` (with credentials of its own), else `gateway.remote.url` in remote mode, else this machine.
    pub fn resolve(config: &Config, wanted: &Wanted) -> Result<Target, TargetError> {
        let explicit = Credentials {
            token: some(wanted.token.as_deref()),
            password: some(wanted.password.as_deref()),
        };
        let given = explicit.token.is_some() || explicit.password.is_some();
        let remote = config.str("gateway.mode") == Some("remote");
        let (url, source) = match some(wanted.url.as_deref()) {
            // A URL that somebody slipped in must never be shown the secrets of this installation.
            Some(_) if !given => return Err(TargetError::NoCredentials),
            Some(url) => (url, Source::Flag),
            None if remote => match config.str("gateway.remote.url") {
                Some(url) => (url.to_string(), Source::Remote),
                None => return Err(TargetError::NoRemoteUrl),
            },
            None => (local_url(config, gateway_port(None, config)), Source::Local),
        };
        let credentials = match source {
            _ if given => explicit,
            Source::Remote => remote_credentials(config),
            _ => local_credentials(config)?,
        };
        Ok(Target {
            address: Address::parse(&url).map_err(TargetError::Address)?,
            source,
            credentials,
            config_path: config.path().to_path_buf(),
            bind: (source == Source::Local).then(|| {
                let bind = config.str("gateway.bind");
                bind.unwrap_or("loopback").to_string()
            }),
            paths: state_paths(config),
            profile: config.locations().profile.clone(),
        })
    }

    /// The gateway of this machine at `port`, whatever mode the config is in.
    pub fn local(config: &Config, port: u16, wanted: &Wanted) -> Result<Target, TargetError> {
        let explicit = Credentials {
            token: some(wanted.token.as_deref()),
            password: some(wanted.password.as_deref()),
        };
        let given = explicit.token.is_some() || explicit.password.is_some();
        let bind = config.str("gateway.bind").unwrap_or("loopback");
        Ok(Target {
            address: Address::parse(&local_url(config, port)).map_err(TargetError::Address)?,
            source: Source::Local,
            credentials: match given {
                true => explicit,
                false => local_credentials(config)?,
            },
            config_path: config.path().to_path_buf(),
            bind: Some(bind.to_string()),
            paths: state_paths(config),
            profile: config.locations().profile.clone(),
        })
    }

    /// How an operator on the command line introduces itself there.
    pub fn operator(&self) -> Connect {
        Connect {
            device: Some(self.paths.clone()),
            ..Connect::operator(self.credentials.clone())
        }
    }

    /// The lines under an error: which gateway, why that one, which config.
    pub fn describe(&self) -> String {
        let mut text = format!(
            "Gateway target: {}\nSource: {}\nConfig: {}",
            self.address.url,
            self.source.as_str(),
            self.config_path.display()
        );
        if let Some(bind) = &self.bind {
            text.push_str("\nBind: ");
            text.push_str(bind);
        }
        text
    }
}

/// The state directory that goes with `config`.
pub fn state_paths(config: &Config) -> Paths {
    Paths::of(config.locations())
}

fn local_url(config: &Config, port: u16) -> String {
    let tls = config.bool("gateway.tls.enabled", false);
    format!("{}://127.0.0.1:{port}", if tls { "wss" } else { "ws" })
}

fn remote_credentials(config: &Config) -> Credentials {
    let env = config.env();
    let first = |all: [Option<&str>; 3]| all.into_iter().flatten().next().map(str::to_string);
    Credentials {
        token: first([
            config.str("gateway.remote.token"),
            secret_in(env, "TOKEN"),
            config.str("gateway.auth.token"),
        ]),
        password: first([
            secret_in(env, "PASSWORD"),
            config.str("gateway.remote.password"),
            config.str("gateway.auth.password"),
        ]),
    }
}

fn local_credentials(config: &Config) -> Result<Credentials, TargetError> {
    let env = config.env();
    let found = |name, path| {
        env.text(name)
            .or_else(|| config.str(path))
            .map(str::to_string)
    };
    let mut known = Credentials {
        token: found("OPENCLAW_GATEWAY_TOKEN", "gateway.auth.token"),
        password: found("OPENCLAW_GATEWAY_PASSWORD", "gateway.auth.password"),
    };
    let token_mode = matches!(config.str("gateway.auth.mode"), None | Some("token"));
    if known.token.is_none() && known.password.is_none() && token_mode {
        known.token = credential::read(&state_paths(config)).map_err(TargetError::Credential)?;
    }
    Ok(known)
}

/// `OPENCLAW_GATEWAY_TOKEN` or `…_PASSWORD`, also under the product's earlier name.
fn secret_in<'a>(env: &'a Env, what: &str) -> Option<&'a str> {
    let of = |product: &str| env.text(&format!("{product}_GATEWAY_{what}"));
    of("OPENCLAW").or_else(|| of("CLAWDBOT"))
}

fn some(text: Option<&str>) -> Option<String> {
    text.map(str::trim)
        .filter(|t| !t.is_empty())
        .map(str::to_string)
}

/// Why there is no gateway to talk to.
#[derive(Debug)]
pub enum TargetError {
    /// `--url` without `--token` or `--password`.
    NoCredentials,
    /// Remote mode without an address.
    NoRemoteUrl,
    Address(ClientError),
    Credential(credential::CredentialError),
}

impl TargetError {
    /// The command or setting that helps, when one does.
    pub fn fix(&self) -> Option<&'static str> {
        match self {
            TargetError::NoCredentials => Some("pass --token or --password with --url"),
            TargetError::NoRemoteUrl => Some("set gateway.remote.url, or set gateway.mode=local"),
            TargetError::Address(e) => e.fix(),
            TargetError::Credential(_) => None,
        }
    }
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TargetError::NoCredentials => {
                f.write_str("gateway url override requires explicit credentials")
            }
            TargetError::NoRemoteUrl => {
                f.write_str("gateway remote mode misconfigured: gateway.remote.url missing")
            }
            TargetError::Address(e) => e.fmt(f),
            TargetError::Credential(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for TargetError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::Folder;

    fn resolve(text: &str, env: &[(&str, &str)], wanted: &Wanted) -> Result<Target, TargetError> {
        Target::resolve(&Folder::new().load(text, env).config, wanted)
    }

    fn flags(url: Option<&str>, token: Option<&str>) -> Wanted {
        Wanted {
            url: url.map(str::to_string),
            token: token.map(str::to_string),
            password: None,
        }
    }

    const LOCAL: &str = "{gateway: {port: 5, auth: {token: 'file'}}}";

    #[test]
    fn a_local_gateway_is_found_by_port_and_secret() {
        let t = resolve(LOCAL, &[], &Wanted::default()).unwrap();
        assert_eq!(t.address.url, "ws://127.0.0.1:5");
        assert_eq!(t.credentials.token.as_deref(), Some("file"));
        assert!(t.describe().contains("Source: local loopback\n"));
        assert!(t.describe().ends_with("\nBind: loopback"));
        let env = [
            ("OPENCLAW_GATEWAY_TOKEN", "env"),
            ("OPENCLAW_GATEWAY_PORT", "6"),
        ];
        let t = resolve(LOCAL, &env, &Wanted::default()).unwrap();
        assert_eq!(t.address.url, "ws://127.0.0.1:6");
        assert_eq!(t.credentials.token.as_deref(), Some("env"));
        let t = resolve(LOCAL, &env, &flags(None, Some("flag"))).unwrap();
        assert_eq!(t.credentials.token.as_deref(), Some("flag"));
    }

    #[test]
    fn the_secret_that_the_gateway_made_is_the_last_resort() {
        let dir = Folder::new();
        let config = |text: &str| dir.load(text, &[]).config;
        let made = credential::ensure(&state_paths(&config("{}"))).unwrap();
        let token = |text: &str| {
            let t = Target::resolve(&config(text), &Wanted::default());
            t.unwrap().credentials.token
        };
        assert_eq!(token("{}"), Some(made));
        assert_eq!(token(LOCAL).as_deref(), Some("file"));
        assert_eq!(token("{gateway: {auth: {mode: 'none'}}}"), None);
        assert_eq!(
            token("{gateway: {auth: {mode: 'password', password: 'p'}}}"),
            None
        );
    }

    #[test]
    fn a_url_gets_no_secret_that_was_not_given_with_it() {
        let url = Some("ws://127.0.0.1:9");
        let e = resolve(
            LOCAL,
            &[("OPENCLAW_GATEWAY_TOKEN", "env")],
            &flags(url, None),
        );
        assert!(matches!(e, Err(TargetError::NoCredentials)));
        let t = resolve(LOCAL, &[], &flags(url, Some("t"))).unwrap();
        assert_eq!((t.source, t.address.port), (Source::Flag, 9));
        assert_eq!(t.credentials.password, None);
        assert_eq!(t.bind, None);
    }

    #[test]
    fn remote_mode_needs_an_address_and_prefers_its_own_token() {
        let e = resolve("{gateway: {mode: 'remote'}}", &[], &Wanted::default());
        assert!(matches!(e, Err(TargetError::NoRemoteUrl)));
        let text = "{gateway: {mode: 'remote', auth: {token: 'local'},
                     remote: {url: 'wss://gw.example', token: 'remote'}}}";
        let env = [("OPENCLAW_GATEWAY_TOKEN", "env")];
        let t = resolve(text, &env, &Wanted::default()).unwrap();
        assert_eq!((t.source, t.address.port), (Source::Remote, 443));
        assert_eq!(t.credentials.token.as_deref(), Some("remote"));
    }
}
