//! From a command line to an answer of the gateway, or to the words for why there is none.

use std::time::Duration;

use serde_json::{Value, json};

use super::context::Context;
use super::failure::Failure;
use super::parse::Args;
use crate::client::{Client, ClientError, Target, TargetError, Wanted};

/// The `--url`, `--token` and `--password` of a command.
pub fn wanted(args: &Args) -> Wanted {
    let own = |long| args.given(long).map(str::to_string);
    Wanted {
        url: own("url"),
        token: own("token"),
        password: own("password"),
    }
}

/// The `--timeout` of a command, in milliseconds.
pub fn timeout(args: &Args) -> Result<Duration, Failure> {
    let ms = args.positive("timeout")?.unwrap_or(10_000);
    Ok(Duration::from_millis(ms))
}

/// The gateway that the command line means.
pub fn target(ctx: &Context, wanted: &Wanted) -> Result<Target, Failure> {
    Target::resolve(&ctx.config(), wanted).map_err(|e| no_target(ctx, &e))
}

/// Connects to it as an operator.
pub fn connect(target: &Target, timeout: Duration) -> Result<Client, ClientError> {
    let mut about = target.operator();
    about.timeout = timeout;
    Client::connect(&target.address, &about)
}

/// A connection, and what is needed to say why it failed.
pub struct Link {
    pub target: Target,
    pub client: Client,
    /// For each call.
    pub timeout: Duration,
}

impl Link {
    /// Connects to the gateway that the command line means.
    pub fn open(ctx: &Context, args: &Args) -> Result<Link, Failure> {
        let target = target(ctx, &wanted(args))?;
        let timeout = timeout(args)?;
        let client = connect(&target, timeout).map_err(|e| failure(&target, &e))?;
        Ok(Link {
            target,
            client,
            timeout,
        })
    }

    /// Asks and waits for the answer.
    pub fn call(&mut self, method: &str, params: &Value) -> Result<Value, Failure> {
        let answer = self.client.call(method, params, self.timeout);
        answer.map_err(|e| failure(&self.target, &e))
    }
}

/// Asks one question, with the connection options of `args`.
pub fn ask(ctx: &Context, args: &Args, method: &str, params: &Value) -> Result<Value, Failure> {
    let target = target(ctx, &wanted(args))?;
    ask_at(&target, method, params, timeout(args)?)
}

/// Asks one question of the gateway of this installation.
pub fn ask_at(
    target: &Target,
    method: &str,
    params: &Value,
    timeout: Duration,
) -> Result<Value, Failure> {
    let failed = |e: ClientError| failure(target, &e);
    let mut client = connect(target, timeout).map_err(failed)?;
    let answer = client.call(method, params, timeout).map_err(failed)?;
    client.close();
    Ok(answer)
}

/// The words for a call that failed: the reason, which gateway was meant, what helps.
pub fn failure(target: &Target, e: &ClientError) -> Failure {
    match e {
        // The gateway is fine; it is the request that it does not like.
        ClientError::Failed(_) => Failure::new(format!("Error: {e}")),
        _ => Failure::new(report(target, e, "Error: ", "")),
    }
}

/// `e` in lines: the reason after `head`, then the target and what helps, each after `indent`.
pub fn report(target: &Target, e: &ClientError, head: &str, indent: &str) -> String {
    let mut lines = vec![format!("{head}{e}")];
    lines.extend(target.describe().lines().map(|l| format!("{indent}{l}")));
    let profile = target.profile.as_deref();
    lines.extend(
        e.fix()
            .map(|fix| format!("{indent}Fix: {}", for_profile(fix, profile))),
    );
    lines.join("\n")
}

/// `text` with the profile in every `openclaw` command line of it, so that it can be typed as it is.
pub fn for_profile(text: &str, profile: Option<&str>) -> String {
    match profile {
        None => text.to_string(),
        Some("dev") => text.replace("openclaw ", "openclaw --dev "),
        Some(name) => text.replace("openclaw ", &format!("openclaw --profile {name} ")),
    }
}

/// The gateway's own entry among those present: `{host, ip, version, platform}`, or `Null`.
pub fn own_presence(hello: &Value) -> Value {
    let present = hello["snapshot"]["presence"].as_array();
    let own = present
        .into_iter()
        .flatten()
        .find(|p| p["reason"] == "self");
    own.map_or(Value::Null, |p| {
        json!({"host": p["host"], "ip": p["ip"], "version": p["version"], "platform": p["platform"]})
    })
}

/// The words for a command line or config that names no gateway.
pub fn no_target(ctx: &Context, e: &TargetError) -> Failure {
    let mut text = format!("Error: {e}");
    if let Some(fix) = e.fix() {
        text.push_str(&format!("\nFix: {fix}"));
    }
    let path = ctx.locations.config_path.display();
    Failure::new(format!("{text}\nConfig: {path}"))
}
