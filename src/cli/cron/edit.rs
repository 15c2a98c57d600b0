//! `cron add` and `cron edit`: from options to a job.

use serde_json::{Map, Value, json};

use super::TIMEOUT;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::options::{CONNECT, Command, Group, JSON, Opt, flag, val};
use crate::cli::parse::Args;
use crate::config::units::duration_ms;
use crate::sys::clock;

/// What a job is about: options of both commands.
const JOB: &[Opt] = &[
    val("name", "name", "what to call it"),
    val("description", "text", "what it is for"),
    val("agent", "id", "which agent (else the default one)"),
    val(
        "session",
        "target",
        "main, or isolated: a session of its own for each run",
    ),
    val("at", "when", "once: an ISO time, or so long from now (20m)"),
    val("every", "duration", "again and again: 10m, 1h"),
    val(
        "cron",
        "expr",
        "by a cron expression of 5 fields, or 6 with seconds",
    ),
    val("tz", "zone", "time zone of --cron: Europe/Berlin"),
    val("stagger", "duration", "spread --cron runs over this window"),
    flag("exact", "do not spread --cron runs"),
    val(
        "missed",
        "policy",
        "runs missed while the gateway was off: once, skip, or those of the last 30m",
    ),
    val("system-event", "text", "tell the main session this"),
    val("message", "text", "say this to the agent"),
    val(
        "model",
        "model",
        "model of the run: provider/model or an alias",
    ),
    val("thinking", "level", "thinking level of the run"),
    val("timeout-seconds", "n", "how long the run may take"),
    val(
        "wake",
        "mode",
        "when an event is heard: now or next-heartbeat",
    ),
    flag("announce", "send what comes of it to a chat"),
    flag("deliver", "the same as --announce"),
    flag("no-deliver", "send nothing"),
    val("channel", "channel", "channel of the announcement, or last"),
    val("to", "target", "who gets the announcement"),
    flag(
        "best-effort-deliver",
        "a failed announcement is no failed run",
    ),
    flag("delete-after-run", "remove a single run when it went well"),
    flag("keep-after-run", "keep a single run when it went well"),
];

pub static ADD: Command = Command {
    aliases: &["create"],
    options: &[
        JOB,
        &[flag("disabled", "do not switch it on yet")],
        JSON,
        CONNECT,
        TIMEOUT,
    ],
    examples: &[
        (
            "openclaw cron add --name brief --cron '0 7 * * *' --tz Europe/Berlin --message 'What is on today?' --announce",
            "a briefing at seven, sent to the last chat",
        ),
        (
            "openclaw cron add --at 20m --system-event 'take the cake out'",
            "remind the main session in twenty minutes",
        ),
    ],
    run: Some(add),
    ..Command::new("cron add", Group::Control, "add a job")
};

pub static EDIT: Command = Command {
    args: super::ID,
    options: &[
        JOB,
        &[
            flag("enable", "switch it on"),
            flag("disable", "switch it off"),
            flag("clear-agent", "back to the default agent"),
            flag(
                "no-best-effort-deliver",
                "a failed announcement is a failed run",
            ),
        ],
        JSON,
        CONNECT,
        TIMEOUT,
    ],
    run: Some(edit),
    ..Command::new("cron edit", Group::Control, "change a job")
};

fn add(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    super::show(
        ctx,
        args,
        "cron.add",
        &Value::Object(new_job(args, clock::now_ms())?),
    )
}

fn edit(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    let patch = patch(args, clock::now_ms())?;
    let params = json!({"id": args.word(0), "patch": patch});
    super::show(ctx, args, "cron.update", &params)
}

fn wrong(text: impl std::fmt::Display) -> Failure {
    Failure::new(format!("Error: {text}"))
}

/// The parameters of `cron.add`.
fn new_job(args: &Args, now: u64) -> Result<Map<String, Value>, Failure> {
    let one = "Choose exactly one schedule: --at, --every, or --cron";
    let schedule = schedule(args, now)?.ok_or_else(|| wrong(one))?;
    let payload = payload(args)?
        .ok_or_else(|| wrong("Choose exactly one payload: --system-event or --message"))?;
    let is_event = payload["kind"] == "systemEvent";
    let target = match args.given("session") {
        Some(target) => target,
        None if is_event => "main",
        None => "isolated",
    };
    match (target, is_event) {
        ("main", true) | ("isolated", false) => {}
        ("main", false) => return Err(wrong("Main jobs require --system-event (systemEvent).")),
        ("isolated", true) => return Err(wrong("Isolated jobs require --message (agentTurn).")),
        _ => return Err(wrong("--session must be main or isolated")),
    }
    let mut job = common(args)?;
    job.insert("sessionTarget".into(), target.into());
    job.insert(
        "wakeMode".into(),
        args.given("wake").unwrap_or("now").into(),
    );
    job.insert("enabled".into(), (!args.flag("disabled")).into());
    if args.flag("delete-after-run") || args.flag("keep-after-run") {
        job.insert(
            "deleteAfterRun".into(),
            args.flag("delete-after-run").into(),
        );
    }
    if let Some(mut delivery) = delivery(args)? {
        if is_event {
            return Err(wrong("--announce and --no-deliver are for isolated jobs"));
        }
        delivery.entry("channel").or_insert("last".into());
        job.insert("delivery".into(), Value::Object(delivery));
    }
    job.insert("schedule".into(), schedule);
    job.insert("payload".into(), payload);
    Ok(job)
}

/// The patch of `cron.update`: only what was given.
fn patch(args: &Args, now: u64) -> Result<Map<String, Value>, Failure> {
    let mut patch = common(args)?;
    if args.flag("enable") && args.flag("disable") {
        return Err(wrong("Choose --enable or --disable, not both"));
    }
    if args.flag("enable") || args.flag("disable") {
        patch.insert("enabled".into(), args.flag("enable").into());
    }
    if args.flag("clear-agent") {
        patch.insert("agentId".into(), Value::Null);
    }
    for (long, key) in [("session", "sessionTarget"), ("wake", "wakeMode")] {
        if let Some(word) = args.given(long) {
            patch.insert(key.into(), word.into());
        }
    }
    if args.flag("delete-after-run") || args.flag("keep-after-run") {
        patch.insert(
            "deleteAfterRun".into(),
            args.flag("delete-after-run").into(),
        );
    }
    if let Some(schedule) = schedule(args, now)? {
        patch.insert("schedule".into(), schedule);
    }
    if let Some(payload) = payload(args)? {
        patch.insert("payload".into(), payload);
    } else {
        let rest = turn_options(args)?;
        if !rest.is_empty() {
            let mut payload = rest;
            payload.insert("kind".into(), "agentTurn".into());
            patch.insert("payload".into(), Value::Object(payload));
        }
    }
    let mut delivery = delivery(args)?.unwrap_or_default();
    if args.flag("no-best-effort-deliver") {
        delivery.insert("bestEffort".into(), false.into());
    }
    if !delivery.is_empty() {
        patch.insert("delivery".into(), Value::Object(delivery));
    }
    Ok(patch)
}

/// Name, description, agent and what becomes of missed runs.
fn common(args: &Args) -> Result<Map<String, Value>, Failure> {
    let mut job = Map::new();
    for (long, key) in [
        ("name", "name"),
        ("description", "description"),
        ("agent", "agentId"),
    ] {
        if let Some(text) = args.given(long) {
            job.insert(key.into(), text.into());
        }
    }
    if let Some(policy) = args.given("missed") {
        let policy = match policy {
            "once" | "skip" => policy.into(),
            span => {
                let bad = || wrong("--missed must be once, skip, or a duration like 30m");
                json!({"withinMs": duration_ms(span, 1).ok_or_else(bad)?})
            }
        };
        job.insert("missed".into(), policy);
    }
    Ok(job)
}

/// The schedule that was given; an error for more than one.
fn schedule(args: &Args, now: u64) -> Result<Option<Value>, Failure> {
    let (at, every, cron) = (args.given("at"), args.given("every"), args.given("cron"));
    let spread = args.given("stagger").is_some() || args.flag("exact");
    if cron.is_none() && spread {
        return Err(wrong("--stagger and --exact are only valid with --cron"));
    }
    if cron.is_none() && args.given("tz").is_some() {
        return Err(wrong("--tz is only valid with --cron"));
    }
    match (at, every, cron) {
        (None, None, None) => Ok(None),
        (Some(when), None, None) => Ok(Some(json!({"kind": "at", "at": instant(when, now)?}))),
        (None, Some(span), None) => {
            let ms = duration_ms(span, 1).filter(|ms| *ms > 0);
            let ms = ms.ok_or_else(|| wrong("Invalid --every; use a duration like 10m or 1h"))?;
            Ok(Some(json!({"kind": "every", "everyMs": ms})))
        }
        (None, None, Some(expr)) => {
            let mut s = json!({"kind": "cron", "expr": expr});
            if let Some(tz) = args.given("tz") {
                s["tz"] = tz.into();
            }
            if args.flag("exact") {
                s["staggerMs"] = 0.into();
            } else if let Some(window) = args.given("stagger") {
                let bad = || wrong("Invalid --stagger; use a duration like 30s or 5m");
                s["staggerMs"] = duration_ms(window, 1).ok_or_else(bad)?.into();
            }
            Ok(Some(s))
        }
        _ => Err(wrong(
            "Choose exactly one schedule: --at, --every, or --cron",
        )),
    }
}

/// An ISO time, or so long after `now`, as ISO time.
fn instant(when: &str, now: u64) -> Result<String, Failure> {
    let when = when.trim();
    if let Some(ms) =
        duration_ms(when.trim_start_matches('+'), 1).filter(|_| when.parse::<u64>().is_err())
    {
        return Ok(clock::iso(now.saturating_add(ms)));
    }
    // Without a zone, UTC is meant: the gateway may stand elsewhere.
    let zoned = when.parse::<jiff::Timestamp>().ok();
    let plain = || {
        when.parse::<jiff::civil::DateTime>()
            .ok()?
            .in_tz("UTC")
            .ok()
    };
    let found = zoned.or_else(|| plain().map(|z| z.timestamp()));
    let ms = found.and_then(|t| u64::try_from(t.as_millisecond()).ok());
    ms.map(clock::iso)
        .ok_or_else(|| wrong("Invalid --at; use ISO time or duration like 20m"))
}

/// The payload that was given; an error for more than one.
fn payload(args: &Args) -> Result<Option<Value>, Failure> {
    match (args.given("system-event"), args.given("message")) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(wrong(
            "Choose exactly one payload: --system-event or --message",
        )),
        (Some(text), None) => Ok(Some(json!({"kind": "systemEvent", "text": text}))),
        (None, Some(text)) => {
            let mut payload = turn_options(args)?;
            payload.insert("kind".into(), "agentTurn".into());
            payload.insert("message".into(), text.into());
            Ok(Some(Value::Object(payload)))
        }
    }
}

fn turn_options(args: &Args) -> Result<Map<String, Value>, Failure> {
    let mut turn = Map::new();
    for long in ["model", "thinking"] {
        if let Some(text) = args.given(long) {
            turn.insert(long.into(), text.into());
        }
    }
    if let Some(n) = args.positive("timeout-seconds")? {
        turn.insert("timeoutSeconds".into(), n.into());
    }
    Ok(turn)
}

/// What was said about delivery; nothing when nothing was.
fn delivery(args: &Args) -> Result<Option<Map<String, Value>>, Failure> {
    let announce = args.flag("announce") || args.flag("deliver");
    let none = args.flag("no-deliver");
    if announce && none {
        return Err(wrong("Choose --announce or --no-deliver, not both"));
    }
    let mut d = Map::new();
    if announce || none {
        let mode = if none { "none" } else { "announce" };
        d.insert("mode".into(), mode.into());
    }
    for long in ["channel", "to"] {
        if let Some(text) = args.given(long) {
            d.insert(long.into(), text.into());
        }
    }
    if args.flag("best-effort-deliver") {
        d.insert("bestEffort".into(), true.into());
    }
    Ok((!d.is_empty()).then_some(d))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::parse::{Parsed, parse};

    const NOW: u64 = 1_795_363_302_146;

    fn args(line: &str) -> Args {
        let words = line.split('|').map(|w| w.trim().into());
        match parse(words) {
            Ok((_, Parsed::Run(_, args))) => args,
            Ok(_) => panic!("{line}"),
            Err(f) => panic!("{line}: {f}"),
        }
    }

    fn job(line: &str) -> Value {
        Value::Object(new_job(&args(&format!("cron|add|{line}")), NOW).unwrap())
    }

    fn refused(line: &str) -> String {
        new_job(&args(&format!("cron|add|{line}")), NOW)
            .unwrap_err()
            .text
    }

    #[test]
    fn jobs_as_the_reference_builds_them() {
        assert_eq!(
            job("--name|once|--at|20m|--message|say hi|--session|isolated|--no-deliver"),
            json!({"name": "once", "enabled": true, "sessionTarget": "isolated", "wakeMode": "now",
                "schedule": {"kind": "at", "at": "2026-11-22T16:21:42.146Z"},
                "payload": {"kind": "agentTurn", "message": "say hi"},
                "delivery": {"mode": "none", "channel": "last"}})
        );
        assert_eq!(
            job("--name|beat|--every|10m|--system-event|tick"),
            json!({"name": "beat", "enabled": true, "sessionTarget": "main", "wakeMode": "now",
                "schedule": {"kind": "every", "everyMs": 600_000},
                "payload": {"kind": "systemEvent", "text": "tick"}})
        );
        let daily = job(
            "--cron|0 7 * * *|--tz|Europe/Berlin|--exact|--message|b|--model|m|--timeout-seconds|5|--missed|30m|--disabled",
        );
        assert_eq!(
            daily["schedule"],
            json!({"kind": "cron", "expr": "0 7 * * *", "tz": "Europe/Berlin", "staggerMs": 0})
        );
        assert_eq!(daily["payload"]["timeoutSeconds"], 5);
        assert_eq!(daily["missed"], json!({"withinMs": 1_800_000}));
        assert_eq!(
            (&daily["enabled"], &daily["delivery"]),
            (&json!(false), &Value::Null)
        );
    }

    #[test]
    fn what_makes_no_job_is_refused_here() {
        for (line, why) in [
            (
                "--message|hi",
                "Choose exactly one schedule: --at, --every, or --cron",
            ),
            (
                "--every|1h|--cron|* * * * *|--message|hi",
                "Choose exactly one schedule: --at, --every, or --cron",
            ),
            (
                "--every|1h",
                "Choose exactly one payload: --system-event or --message",
            ),
            (
                "--every|1h|--message|hi|--session|main",
                "Main jobs require --system-event (systemEvent).",
            ),
            (
                "--at|yesterday-ish|--message|hi",
                "Invalid --at; use ISO time or duration like 20m",
            ),
            (
                "--every|soon|--message|hi",
                "Invalid --every; use a duration like 10m or 1h",
            ),
            (
                "--every|1h|--tz|UTC|--message|hi",
                "--tz is only valid with --cron",
            ),
            (
                "--every|1h|--message|hi|--announce|--no-deliver",
                "Choose --announce or --no-deliver, not both",
            ),
        ] {
            assert_eq!(refused(line), format!("Error: {why}"), "{line}");
        }
    }

    #[test]
    fn times_with_and_without_a_zone() {
        for when in [
            "2026-11-22T16:21:42Z",
            "2026-11-22T17:21:42+01:00",
            "2026-11-22T16:21:42",
        ] {
            assert_eq!(
                instant(when, NOW).unwrap(),
                "2026-11-22T16:21:42.000Z",
                "{when}"
            );
        }
        assert_eq!(instant("+20m", NOW).unwrap(), instant("20m", NOW).unwrap());
        assert!(instant("20", NOW).is_err());
    }

    #[test]
    fn a_patch_holds_only_what_was_given() {
        let patch =
            |line: &str| Value::Object(patch(&args(&format!("cron|edit|id|{line}")), NOW).unwrap());
        assert_eq!(
            patch("--name|x|--every|5m"),
            json!({"name": "x", "schedule": {"kind": "every", "everyMs": 300_000}})
        );
        assert_eq!(
            patch("--disable|--clear-agent"),
            json!({"enabled": false, "agentId": null})
        );
        assert_eq!(
            patch("--model|m"),
            json!({"payload": {"kind": "agentTurn", "model": "m"}})
        );
        assert_eq!(
            patch("--no-best-effort-deliver|--to|x|--keep-after-run"),
            json!({"delivery": {"bestEffort": false, "to": "x"}, "deleteAfterRun": false})
        );
    }
}
