//! What the command line can say about a gateway run, already checked word by word.
//!
//! Only what was typed: `None` leaves the decision to the environment and the config, which
//! [`RunOptions`] knows nothing of. Whoever starts a gateway resolves the rest, again at every
//! restart in process, so that an edit of `gateway.port` takes effect.

/// The words that `--bind` and `gateway.bind` take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bind {
    /// 127.0.0.1 and ::1.
    Loopback,
    /// 0.0.0.0.
    Lan,
    /// The first 100.64.0.0/10 address of the machine, else loopback.
    Tailnet,
    /// Loopback where it can be bound, else lan.
    Auto,
    /// `gateway.customBindHost`.
    Custom,
}

impl Bind {
    /// The mode of that word; `None` for any other.
    pub fn parse(word: &str) -> Option<Bind> {
        Some(match word {
            "loopback" => Bind::Loopback,
            "lan" => Bind::Lan,
            "tailnet" => Bind::Tailnet,
            "auto" => Bind::Auto,
            "custom" => Bind::Custom,
            _ => return None,
        })
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Bind::Loopback => "loopback",
            Bind::Lan => "lan",
            Bind::Tailnet => "tailnet",
            Bind::Auto => "auto",
            Bind::Custom => "custom",
        }
    }
}

/// The words that `--auth` takes. The config knows two more (`none`, `trusted-proxy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthFlag {
    Token,
    Password,
}

impl AuthFlag {
    /// The mode of that word; `None` for any other.
    pub fn parse(word: &str) -> Option<AuthFlag> {
        match word {
            "token" => Some(AuthFlag::Token),
            "password" => Some(AuthFlag::Password),
            _ => None,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            AuthFlag::Token => "token",
            AuthFlag::Password => "password",
        }
    }
}

/// The words that `--tailscale` and `gateway.tailscale.mode` take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tailscale {
    Off,
    Serve,
    Funnel,
}

impl Tailscale {
    /// The mode of that word; `None` for any other.
    pub fn parse(word: &str) -> Option<Tailscale> {
        match word {
            "off" => Some(Tailscale::Off),
            "serve" => Some(Tailscale::Serve),
            "funnel" => Some(Tailscale::Funnel),
            _ => None,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Tailscale::Off => "off",
            Tailscale::Serve => "serve",
            Tailscale::Funnel => "funnel",
        }
    }
}

/// How frames show in the console of a verbose gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WsLog {
    /// Compact when verbose; otherwise failures and slow answers only.
    #[default]
    Auto,
    /// Every frame, in and out.
    Full,
    /// One line for a request and its answer.
    Compact,
}

impl WsLog {
    /// The style of that word; `None` for any other.
    pub fn parse(word: &str) -> Option<WsLog> {
        match word {
            "auto" => Some(WsLog::Auto),
            "full" => Some(WsLog::Full),
            "compact" => Some(WsLog::Compact),
            _ => None,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            WsLog::Auto => "auto",
            WsLog::Full => "full",
            WsLog::Compact => "compact",
        }
    }
}

/// The flags of `openclaw gateway [run]`.
///
/// `--force`, `--dev` and `--reset` are not here: the command line has done what they ask for
/// before the gateway starts.
#[derive(Clone, Default)]
pub struct RunOptions {
    /// TCP port; `Some(0)` lets the system choose (tests only: the command line refuses it).
    pub port: Option<u16>,
    pub bind: Option<Bind>,
    pub auth: Option<AuthFlag>,
    /// Secret: the shared token of this run.
    pub token: Option<String>,
    /// Secret: the shared password of this run.
    pub password: Option<String>,
    pub tailscale: Option<Tailscale>,
    /// Undo the Tailscale serve or funnel setting at the end.
    pub tailscale_reset_on_exit: bool,
    /// Start without a config file, or with one whose `gateway.mode` is not `local`.
    pub allow_unconfigured: bool,
    /// Debug level on the console.
    pub verbose: bool,
    pub ws_log: WsLog,
    /// What the log says once the gateway listens, one line each; `{port}` becomes the port.
    pub greeting: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_back_as_they_are_written() {
        for w in ["loopback", "lan", "tailnet", "auto", "custom"] {
            assert_eq!(Bind::parse(w).map(Bind::as_str), Some(w));
        }
        for w in ["token", "password"] {
            assert_eq!(AuthFlag::parse(w).map(AuthFlag::as_str), Some(w));
        }
        for w in ["off", "serve", "funnel"] {
            assert_eq!(Tailscale::parse(w).map(Tailscale::as_str), Some(w));
        }
        for w in ["auto", "full", "compact"] {
            assert_eq!(WsLog::parse(w).map(WsLog::as_str), Some(w));
        }
        assert_eq!(Bind::parse("Lan"), None);
        assert_eq!(AuthFlag::parse("none"), None);
    }
}
