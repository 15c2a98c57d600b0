//! The gateway's port, which the daemon and every local client have to agree on.

use super::Config;

/// The port when nothing says otherwise.
pub const DEFAULT_GATEWAY_PORT: u16 = 18789;

/// Flag, `OPENCLAW_GATEWAY_PORT`, `gateway.port`, 18789: the first that is a port.
pub fn gateway_port(flag: Option<u16>, config: &Config) -> u16 {
    let named = |name: &str| {
        let port = config.env().text(name)?.parse::<u16>().ok()?;
        (port > 0).then_some(port)
    };
    let configured = || u16::try_from(config.u64("gateway.port", 0)).ok();
    flag.or_else(|| named("OPENCLAW_GATEWAY_PORT"))
        .or_else(|| named("CLAWDBOT_GATEWAY_PORT"))
        .or_else(|| configured().filter(|p| *p > 0))
        .unwrap_or(DEFAULT_GATEWAY_PORT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::Folder;

    #[test]
    fn the_flag_beats_the_variable_beats_the_file_beats_the_default() {
        let dir = Folder::new();
        let port =
            |flag, text, env: &[(&str, &str)]| gateway_port(flag, &dir.load(text, env).config);
        let file = "{gateway: {port: 3}}";
        let env = [("OPENCLAW_GATEWAY_PORT", "2")];
        assert_eq!(port(Some(1), file, &env), 1);
        assert_eq!(port(None, file, &env), 2);
        assert_eq!(port(None, file, &[]), 3);
        assert_eq!(port(None, "{}", &[]), DEFAULT_GATEWAY_PORT);
        for nonsense in ["", "0", "x", "70000", "-1"] {
            let env = [("OPENCLAW_GATEWAY_PORT", nonsense)];
            assert_eq!(port(None, file, &env), 3, "{nonsense:?}");
        }
        assert_eq!(
            port(None, "{gateway: {port: 70000}}", &[]),
            DEFAULT_GATEWAY_PORT
        );
    }
}
