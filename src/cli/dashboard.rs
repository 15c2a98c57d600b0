//! `dashboard`: the address of the control UI, opened in a browser where there is one.

use std::process::{Command as Process, Stdio};

use super::context::Context;
use super::failure::Failure;
use super::options::{Command, EXIT_OK, Group, flag};
use super::parse::Args;
use super::term;
use crate::client::{Target, Wanted};
use crate::config::{Config, gateway_port};
use crate::sys::net;

pub static DASHBOARD: Command = Command {
    options: &[&[flag("no-open", "print the address only")]],
    run: Some(run),
    ..Command::new(
        "dashboard",
        Group::Gateway,
        "open the control UI with the gateway's token",
    )
};

/// Programs that open an address, in the order of preference.
const OPENERS: [&str; 3] = ["xdg-open", "open", "wslview"];

fn run(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    let config = ctx.config();
    let port = gateway_port(None, &config);
    let Some(url) = url(&config, port) else {
        return Err(Failure::new(
            "The control UI is off (gateway.controlUi.enabled=false).",
        ));
    };
    let target = Target::local(&config, port, &Wanted::default());
    let token = target
        .map_err(|e| super::rpc::no_target(ctx, &e))?
        .credentials
        .token;
    // Behind #, so that it reaches neither the server nor its log nor a referrer.
    let whole = match &token {
        Some(token) => format!("{url}#token={}", escaped(token)),
        None => url,
    };
    term::say(&format!("Dashboard URL: {whole}"));
    if args.flag("no-open") {
        return Ok(EXIT_OK);
    }
    let desktop = |name: &str| ctx.locations.env.text(name).is_some();
    let has_desktop = cfg!(target_os = "macos") || desktop("DISPLAY") || desktop("WAYLAND_DISPLAY");
    let opened =
        has_desktop && !desktop("SSH_CONNECTION") && OPENERS.iter().any(|p| open(p, &whole));
    match opened {
        true => term::say("Opened in your browser."),
        false => term::say(&format!(
            "Open it in a browser on this machine. From another one, first: ssh -N -L {port}:127.0.0.1:{port} user@host"
        )),
    }
    Ok(EXIT_OK)
}

fn open(program: &str, url: &str) -> bool {
    let mut process = Process::new(program);
    process
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // It hands the address on and ends; a browser that stays is not ours to wait for.
    process.spawn().is_ok()
}

/// The address of the control UI as seen from this machine; `None` when it is off.
pub fn url(config: &Config, port: u16) -> Option<String> {
    if !config.bool("gateway.controlUi.enabled", true) {
        return None;
    }
    let scheme = match config.bool("gateway.tls.enabled", false) {
        true => "https",
        false => "http",
    };
    let base = config.str("gateway.controlUi.basePath").unwrap_or("");
    let base = base.trim().trim_matches('/');
    let slash = if base.is_empty() { "" } else { "/" };
    Some(format!("{scheme}://{}:{port}/{base}{slash}", host(config)))
}

/// The address under which this machine reaches its own gateway.
pub fn host(config: &Config) -> String {
    let custom = config.str("gateway.customBindHost");
    match config.str("gateway.bind") {
        Some("custom") => custom.unwrap_or("127.0.0.1").to_string(),
        Some("tailnet") => {
            net::tailnet_address().map_or_else(|| "127.0.0.1".to_string(), |ip| ip.to_string())
        }
        _ => "127.0.0.1".to_string(),
    }
}

/// `text` with everything but letters, digits and `-._~` in percent form.
fn escaped(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(b).to_string()
            }
            b => format!("%{b:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_follows_the_config() {
        let url = |text: &str| url(&Config::from_text(text), 5);
        assert_eq!(url("{}").as_deref(), Some("http://127.0.0.1:5/"));
        let text = "{gateway: {bind: 'custom', customBindHost: '10.0.0.1', tls: {enabled: true},
                     controlUi: {basePath: '/ui'}}}";
        assert_eq!(url(text).as_deref(), Some("https://10.0.0.1:5/ui/"));
        assert_eq!(url("{gateway: {controlUi: {enabled: false}}}"), None);
        assert_eq!(escaped("a b#é"), "a%20b%23%C3%A9");
    }
}
