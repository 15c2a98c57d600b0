//! `gateway` and `gateway run`: the daemon in the foreground, once nothing speaks against it.

use serde_json::Value;

use super::context::Context;
use super::failure::Failure;
use super::options::{Command, EXIT_CONFIG, EXIT_OK, Group, Need, Opt, flag, val};
use super::parse::Args;
use super::ports::Usage;
use super::rpc::for_profile;
use super::{dev, gateway_force, term};
use crate::config::gateway_port;
use crate::gateway::options::{AuthFlag, Bind, RunOptions, Tailscale, WsLog};
use crate::gateway::{self, StartError};
use crate::sys::log::{self as sink, Filter, Settings};

/// The subsystem that `--claude-cli-logs` leaves on the console.
const CLAUDE_CLI: &str = "off,agent/claude-cli=trace";

const RUN: &[Opt] = &[
    val(
        "port",
        "port",
        "TCP port (else OPENCLAW_GATEWAY_PORT, gateway.port, 18789)",
    ),
    val(
        "bind",
        "mode",
        "addresses: loopback, lan, tailnet, auto, custom (else gateway.bind)",
    ),
    val("auth", "mode", "token or password (else gateway.auth.mode)"),
    val(
        "token",
        "token",
        "shared token; anybody may read it in the process list",
    ),
    val(
        "password",
        "password",
        "shared password; anybody may read it in the process list",
    ),
    val(
        "tailscale",
        "mode",
        "off, serve or funnel (else gateway.tailscale.mode)",
    ),
    flag(
        "tailscale-reset-on-exit",
        "undo the Tailscale setting at the end",
    ),
    flag(
        "allow-unconfigured",
        "start without a config, or without gateway.mode=local",
    ),
    flag(
        "dev",
        "make the dev config and workspace where they are missing",
    ),
    flag(
        "reset",
        "move config, credentials, sessions and workspace of the dev profile aside first",
    ),
    flag(
        "force",
        "end whoever listens on the port: SIGTERM, then SIGKILL",
    ),
    flag("verbose", "debug level on the console"),
    val(
        "ws-log",
        "style",
        "frames on a verbose console: auto, full, compact",
    )
    .default("auto"),
    flag("compact", "the same as --ws-log compact"),
    flag(
        "claude-cli-logs",
        "on the console, only the log of agent/claude-cli",
    ),
];

const EXITS: &[(u8, &str)] = &[(
    EXIT_CONFIG,
    "the config is invalid; all problems are on stderr, and a supervisor must not retry",
)];

pub static GATEWAY: Command = Command {
    options: &[RUN],
    need: Need::Nothing,
    exits: EXITS,
    examples: &[
        ("openclaw gateway", "run the gateway in the foreground"),
        (
            "openclaw --dev gateway",
            "run a dev gateway on port 19001, with its own config and state",
        ),
        (
            "openclaw gateway --force",
            "end whoever holds the port, then run",
        ),
        ("openclaw gateway status", "see whether it runs and answers"),
    ],
    run: Some(run),
    ..Command::new(
        "gateway",
        Group::Gateway,
        "run, inspect and query the gateway",
    )
};

pub static GATEWAY_RUN: Command = Command {
    options: &[RUN],
    need: Need::Nothing,
    exits: EXITS,
    run: Some(run),
    ..Command::new(
        "gateway run",
        Group::Gateway,
        "run the gateway in the foreground",
    )
};

fn run(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    start_log(ctx, args);
    let (now, options) = prepare(ctx, args)?;
    match gateway::run(now.locations.clone(), options.clone()) {
        Ok(()) => Ok(EXIT_OK),
        Err(e) => Err(refused(&now, &options, &e)),
    }
}

/// Everything that may speak against a start, and everything that has to happen before it.
fn prepare(ctx: &Context, args: &Args) -> Result<(Context, RunOptions), Failure> {
    let in_dev = args.flag("dev") || ctx.locations.profile.as_deref() == Some(dev::NAME);
    if args.flag("reset") && !in_dev {
        return Err(Failure::new("Use --reset with --dev."));
    }
    let own = ctx.locations.home.join(".openclaw");
    if args.flag("reset") && ctx.locations.state_dir == own {
        return Err(Failure::new(
            "Refusing to reset the default profile. Use: openclaw --dev gateway --reset",
        ));
    }
    let mut options = words(args)?;
    if let Some(mode @ (Tailscale::Serve | Tailscale::Funnel)) = options.tailscale {
        // Better no gateway than one that is believed to be reachable.
        let (word, port) = (mode.as_str(), gateway_port(options.port, &ctx.config()));
        return Err(Failure::new(format!(
            "Gateway failed to start: --tailscale {word} is not done by this gateway.\n\
             Start it without, then run: tailscale {word} --bg {port}"
        )));
    }
    // An invalid config must not cost anybody its running gateway; only a reset gets past it.
    if !args.flag("reset") {
        valid(ctx)?;
    }
    if args.flag("force") {
        let port = gateway_port(options.port, &ctx.config());
        gateway_force::free(port).map_err(|e| Failure::new(format!("Force: {e}")))?;
    }
    if in_dev {
        make_dev(ctx, args.flag("reset"))?;
        options.greeting = dev::greeting();
    }
    // Read again: the dev config may be new, and --force may have taken its time.
    let now = ctx.again();
    valid(&now)?;
    configured(&now, &options)?;
    Ok((now, options))
}

/// The flags as words, each checked.
fn words(args: &Args) -> Result<RunOptions, Failure> {
    fn word<T>(
        args: &Args,
        long: &str,
        parse: impl Fn(&str) -> Option<T>,
        choices: &str,
    ) -> Result<Option<T>, Failure> {
        let bad = || Failure::new(format!("Invalid --{long} (use {choices})"));
        let given = args.given(long);
        given.map(|w| parse(w.trim()).ok_or_else(bad)).transpose()
    }
    let ws_log = word(
        args,
        "ws-log",
        WsLog::parse,
        "\"auto\", \"full\", \"compact\"",
    )?;
    let port = match args.given("port") {
        None => None,
        Some(text) => match text.trim().parse::<u16>() {
            Ok(port) if port > 0 => Some(port),
            _ => return Err(Failure::new("Invalid port")),
        },
    };
    let owned = |long| args.given(long).map(str::to_string);
    Ok(RunOptions {
        port,
        auth: word(args, "auth", AuthFlag::parse, "\"token\" or \"password\"")?,
        tailscale: word(
            args,
            "tailscale",
            Tailscale::parse,
            "\"off\", \"serve\", or \"funnel\"",
        )?,
        bind: word(
            args,
            "bind",
            Bind::parse,
            "\"loopback\", \"lan\", \"tailnet\", \"auto\", or \"custom\"",
        )?,
        token: owned("token"),
        password: owned("password"),
        tailscale_reset_on_exit: args.flag("tailscale-reset-on-exit"),
        allow_unconfigured: args.flag("allow-unconfigured"),
        verbose: args.flag("verbose"),
        ws_log: match args.flag("compact") {
            true => WsLog::Compact,
            false => ws_log.unwrap_or_default(),
        },
        greeting: Vec::new(),
    })
}

fn valid(ctx: &Context) -> Result<(), Failure> {
    match ctx.issues() {
        [] => Ok(()),
        _ => Err(Failure::new(ctx.invalid_config()).with_code(EXIT_CONFIG)),
    }
}

/// A config file must be there and mean a gateway on this machine.
fn configured(ctx: &Context, options: &RunOptions) -> Result<(), Failure> {
    let config = ctx.config();
    let mode = config.str("gateway.mode");
    if options.allow_unconfigured || mode == Some("local") {
        return Ok(());
    }
    if !config.exists() {
        let text = "Missing config. Run `openclaw setup` or set gateway.mode=local (or pass --allow-unconfigured).";
        return Err(Failure::new(for_profile(
            text,
            ctx.locations.profile.as_deref(),
        )));
    }
    Err(Failure::new(format!(
        "Gateway start blocked: set gateway.mode=local (current: {}) or pass --allow-unconfigured.\n\
         Config write audit: {}",
        mode.unwrap_or("unset"),
        ctx.paths().config_audit().display()
    )))
}

fn make_dev(ctx: &Context, reset: bool) -> Result<(), Failure> {
    if reset {
        for line in dev::reset(ctx)? {
            term::say(&format!("Dev reset: {line}"));
        }
    }
    let made = dev::ensure(ctx)?;
    let shown = |p: &std::path::Path| ctx.locations.shown(p);
    if let Some(config) = &made.config {
        term::say(&format!("Dev config ready: {}", shown(config)));
        term::say(&format!("Dev workspace ready: {}", shown(&made.workspace)));
    }
    Ok(())
}

/// The log as config, environment and flags ask for, from the first line on.
fn start_log(ctx: &Context, args: &Args) {
    let config = ctx.config();
    let logging = config.get("logging").unwrap_or(&Value::Null);
    let env = config
        .env()
        .iter()
        .map(|(k, v)| (k.to_string(), v.to_string()));
    let (mut settings, warnings) = Settings::resolve(logging, &env.collect(), args.flag("verbose"));
    if args.flag("claude-cli-logs")
        && let Some(only) = Filter::parse(CLAUDE_CLI)
    {
        settings.console_filter = only;
    }
    sink::apply(&settings);
    for w in warnings {
        log::warn!(target: "gateway", "{w}");
    }
}

/// The words for a gateway that does not start.
fn refused(ctx: &Context, options: &RunOptions, e: &StartError) -> Failure {
    match e {
        StartError::InvalidConfig(_) => {
            Failure::new(ctx.again().invalid_config()).with_code(EXIT_CONFIG)
        }
        StartError::NoAuth(_) => Failure::new(e.to_string()),
        StartError::PortInUse { .. } | StartError::Locked { .. } => {
            let mut lines = vec![
                format!("Gateway failed to start: {e}"),
                "If the gateway is supervised, stop it with: openclaw gateway stop".to_string(),
            ];
            let port = gateway_port(options.port, &ctx.config());
            lines.extend(Usage::of(port).lines());
            Failure::new(lines.join("\n"))
        }
        _ => Failure::new(format!("Gateway failed to start: {e}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::parse::{Parsed, parse};
    use crate::config::testing::Folder;

    fn args(line: &str) -> Args {
        let words = format!("gateway {line}");
        match parse(words.split_whitespace().map(Into::into)) {
            Ok((_, Parsed::Run(_, args))) => args,
            _ => panic!("{line}"),
        }
    }

    /// What `gateway LINE` says before it would start.
    fn refusal(dir: &Folder, line: &str) -> (u8, String) {
        let f = prepare(&Context::of(dir.locations(&[])), &args(line)).err();
        let f = f.unwrap_or_else(|| panic!("{line} would start"));
        (f.code, f.text)
    }

    #[test]
    fn words_that_are_none_are_refused_first() {
        let dir = Folder::new();
        dir.write("openclaw.json", "{");
        for (line, text) in [
            ("--reset", "Use --reset with --dev."),
            (
                "--ws-log x",
                "Invalid --ws-log (use \"auto\", \"full\", \"compact\")",
            ),
            ("--port 0", "Invalid port"),
            ("--port abc", "Invalid port"),
            ("--port 70000", "Invalid port"),
            (
                "--auth none",
                "Invalid --auth (use \"token\" or \"password\")",
            ),
            (
                "--tailscale x",
                "Invalid --tailscale (use \"off\", \"serve\", or \"funnel\")",
            ),
            (
                "--bind x",
                "Invalid --bind (use \"loopback\", \"lan\", \"tailnet\", \"auto\", or \"custom\")",
            ),
        ] {
            assert_eq!(refusal(&dir, line), (1, text.to_string()), "{line}");
        }
    }

    #[test]
    fn an_invalid_config_ends_with_78_and_lists_every_problem() {
        let dir = Folder::new();
        dir.write(
            "openclaw.json",
            "{gateway: {mode: 'local', auth: {token: '${MISS}'}}, env: {a: '${ALSO}'}}",
        );
        // Also before anybody is ended.
        for line in ["", "--force", "--allow-unconfigured", "run"] {
            let (code, text) = refusal(&dir, line);
            assert_eq!(code, 78, "{line}");
            for part in [
                "Config invalid\nFile: ~/openclaw.json\nProblem:\n",
                "Missing env var \"MISS\" referenced at config path: gateway.auth.token\n",
                "Missing env var \"ALSO\" referenced at config path: env.a\n",
            ] {
                assert!(text.contains(part), "{part:?} is not in {text}");
            }
        }
    }

    #[test]
    fn a_gateway_of_another_machine_is_not_started_here() {
        let dir = Folder::new();
        let (code, text) = refusal(&dir, "");
        assert_eq!(code, 1);
        assert!(
            text.starts_with("Missing config. Run `openclaw setup`"),
            "{text}"
        );
        for (file, current) in [("{}", "unset"), ("{gateway: {mode: 'remote'}}", "remote")] {
            dir.write("openclaw.json", file);
            let (code, text) = refusal(&dir, "");
            let start =
                format!("Gateway start blocked: set gateway.mode=local (current: {current}) ");
            assert!(code == 1 && text.starts_with(&start), "{text}");
            assert!(text.contains("Config write audit: "), "{text}");
            let ctx = Context::of(dir.locations(&[]));
            assert!(prepare(&ctx, &args("--allow-unconfigured")).is_ok());
        }
    }

    #[test]
    fn what_is_not_done_for_tailscale_is_not_promised() {
        let dir = Folder::new();
        dir.write("openclaw.json", "{gateway: {mode: 'local'}}");
        let (code, text) = refusal(&dir, "--tailscale serve --port 7");
        assert_eq!(code, 1);
        assert!(text.contains("tailscale serve --bg 7"), "{text}");
        let ctx = Context::of(dir.locations(&[]));
        assert!(prepare(&ctx, &args("--tailscale off")).is_ok());
    }

    #[test]
    fn the_default_profile_is_never_reset() {
        let dir = Folder::new();
        dir.write(".openclaw/openclaw.json", "{}");
        let env = [
            ("HOME", dir.path().to_str().unwrap()),
            ("OPENCLAW_PROFILE", "dev"),
        ];
        let ctx = Context::of(crate::config::Locations::from_env(
            &env.into_iter().collect(),
        ));
        for line in ["--reset", "--dev --reset"] {
            let f = prepare(&ctx, &args(line)).err().unwrap();
            assert!(
                f.text.starts_with("Refusing to reset the default profile"),
                "{}",
                f.text
            );
        }
        assert!(dir.path().join(".openclaw/openclaw.json").exists());
    }

    #[test]
    fn the_dev_profile_makes_what_it_lacks() {
        let dir = Folder::new();
        let ctx = Context::of(dir.locations(&[("OPENCLAW_PROFILE", "dev")]));
        let (now, options) = prepare(&ctx, &args("--compact --port 7 run --verbose")).unwrap();
        assert_eq!(now.config().str("gateway.mode"), Some("local"));
        assert!(!options.greeting.is_empty() && options.verbose);
        assert_eq!((options.port, options.ws_log), (Some(7), WsLog::Compact));
        dir.write("openclaw.json", "{");
        assert_eq!(prepare(&ctx.again(), &args("")).err().unwrap().code, 78);
        assert!(prepare(&ctx.again(), &args("--reset")).is_ok());
    }

    #[test]
    fn a_port_in_use_names_its_holder() {
        let dir = Folder::new();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let options = RunOptions {
            port: Some(address.port()),
            ..RunOptions::default()
        };
        let e = StartError::PortInUse {
            address,
            owners: Vec::new(),
        };
        let f = refused(&Context::of(dir.locations(&[])), &options, &e);
        assert_eq!(f.code, 1);
        for part in [
            format!(
                "Gateway failed to start: another gateway instance is already listening on ws://{address}"
            ),
            "\nIf the gateway is supervised, stop it with: openclaw gateway stop".to_string(),
            format!("\nPort {} is already in use.", address.port()),
        ] {
            assert!(f.text.contains(&part), "{part:?} is not in {}", f.text);
        }
    }
}
