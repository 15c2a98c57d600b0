//! `cron`: what the gateway does at which time. Answers are JSON, but for the list.

mod edit;

use serde_json::{Value, json};

use super::context::Context;
use super::failure::Failure;
use super::human;
use super::options::{Arg, CONNECT, Command, EXIT_OK, Group, JSON, Opt, arg, flag, val};
use super::parse::Args;
use super::rpc;
use super::term::{self, clean};
use crate::sys::clock;

pub use edit::{ADD, EDIT};

const TIMEOUT: &[Opt] =
    &[val("timeout", "ms", "give up after so many milliseconds").default("30000")];
const CALL: &[&[Opt]] = &[JSON, CONNECT, TIMEOUT];
const ID: &[Arg] = &[arg("id", "the job")];

pub static CRON: Command = Command::new("cron", Group::Control, "have things done at a time");

pub static LIST: Command = Command {
    options: &[
        &[flag("all", "also jobs that are switched off")],
        JSON,
        CONNECT,
        TIMEOUT,
    ],
    run: Some(list),
    ..Command::new("cron list", Group::Control, "list the jobs")
};

pub static STATUS: Command = Command {
    options: CALL,
    run: Some(status),
    ..Command::new("cron status", Group::Control, "show the scheduler")
};

pub static RM: Command = Command {
    aliases: &["remove"],
    args: ID,
    options: CALL,
    run: Some(rm),
    ..Command::new("cron rm", Group::Control, "remove a job")
};

pub static ENABLE: Command = Command {
    args: ID,
    options: CALL,
    run: Some(enable),
    ..Command::new("cron enable", Group::Control, "switch a job on")
};

pub static DISABLE: Command = Command {
    args: ID,
    options: CALL,
    run: Some(disable),
    ..Command::new("cron disable", Group::Control, "switch a job off")
};

pub static RUN: Command = Command {
    args: ID,
    options: &[
        &[flag("due", "only when it is due")],
        JSON,
        CONNECT,
        // A job is an agent run, and this waits for its end.
        &[val("timeout", "ms", "give up after so many milliseconds").default("630000")],
    ],
    run: Some(run),
    ..Command::new(
        "cron run",
        Group::Control,
        "run a job now and wait for its end",
    )
};

pub static RUNS: Command = Command {
    options: &[
        &[
            val("id", "id", "of this job (else of all)"),
            val("limit", "n", "how many, 1 to 200").default("50"),
        ],
        JSON,
        CONNECT,
        TIMEOUT,
    ],
    run: Some(runs),
    ..Command::new(
        "cron runs",
        Group::Control,
        "show when jobs ran, and how it went",
    )
};

/// Asks and shows the answer as it is.
fn show(ctx: &Context, args: &Args, method: &str, params: &Value) -> Result<u8, Failure> {
    term::json(&rpc::ask(ctx, args, method, params)?);
    Ok(EXIT_OK)
}

fn status(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    show(ctx, args, "cron.status", &json!({}))
}

fn rm(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    show(ctx, args, "cron.remove", &json!({"id": args.word(0)}))
}

fn enable(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    switch(ctx, args, true)
}

fn disable(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    switch(ctx, args, false)
}

fn switch(ctx: &Context, args: &Args, on: bool) -> Result<u8, Failure> {
    let params = json!({"id": args.word(0), "patch": {"enabled": on}});
    show(ctx, args, "cron.update", &params)
}

fn run(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    let mode = if args.flag("due") { "due" } else { "force" };
    show(
        ctx,
        args,
        "cron.run",
        &json!({"id": args.word(0), "mode": mode}),
    )
}

fn runs(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    let limit = args.positive("limit")?;
    let params = match args.given("id") {
        Some(id) => json!({"id": id, "limit": limit}),
        None => json!({"scope": "all", "limit": limit}),
    };
    show(ctx, args, "cron.runs", &params)
}

fn list(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    let params = json!({"includeDisabled": args.flag("all")});
    let all = rpc::ask(ctx, args, "cron.list", &params)?;
    if args.flag("json") {
        term::json(&all);
        return Ok(EXIT_OK);
    }
    let jobs = all["jobs"].as_array().map_or(&[][..], Vec::as_slice);
    match jobs.is_empty() {
        true => term::say("No cron jobs."),
        false => term::say(&table(jobs, clock::now_ms())),
    }
    if let Some(total) = all["total"].as_u64().filter(|t| *t > jobs.len() as u64) {
        term::warn(&format!(
            "{} of {total} jobs are shown; --json has the rest by page.",
            jobs.len()
        ));
    }
    Ok(EXIT_OK)
}

/// Longest name and schedule in a line, in characters.
const NAME: usize = 24;
const WHEN: usize = 32;

fn table(jobs: &[Value], now: u64) -> String {
    let row = |c: [&str; 8]| {
        let [id, name, when, next, last, status, target, agent] = c;
        let line = format!(
            "{id:<36} {name:<NAME$} {when:<WHEN$} {next:<10} {last:<10} {status:<9} {target:<9} {agent}"
        );
        line.trim_end().to_string()
    };
    let heads = [
        "ID", "Name", "Schedule", "Next", "Last", "Status", "Target", "Agent",
    ];
    let mut lines = vec![row(heads)];
    for job in jobs {
        let state = &job["state"];
        let on = job["enabled"] != false;
        let next = match state["nextRunAtMs"].as_u64() {
            Some(at) if on => ahead(at, now),
            _ => "-".to_string(),
        };
        let last = state["lastRunAtMs"].as_u64();
        let last = last.map_or_else(|| "-".to_string(), |at| human::ago(now.saturating_sub(at)));
        let status = match state["lastStatus"].as_str() {
            _ if !on => "disabled",
            _ if state["runningAtMs"].is_u64() => "running",
            Some(status) => status,
            None => "idle",
        };
        lines.push(row([
            job["id"].as_str().unwrap_or("?"),
            &cut(job["name"].as_str().unwrap_or("?"), NAME),
            &cut(&schedule(&job["schedule"]), WHEN),
            &next,
            &last,
            status,
            job["sessionTarget"].as_str().unwrap_or("?"),
            job["agentId"].as_str().unwrap_or("default"),
        ]));
    }
    clean(&lines.join("\n")).into_owned()
}

/// `in 7m`, `now`.
fn ahead(at: u64, now: u64) -> String {
    match at.saturating_sub(now) {
        0 => "now".to_string(),
        ms => format!("in {}", human::span(ms)),
    }
}

/// A schedule in a few words.
fn schedule(s: &Value) -> String {
    match s["kind"].as_str() {
        Some("at") => {
            let at = s["at"].as_str().unwrap_or("?");
            // To the minute; the seconds of a single run are rarely meant.
            match (at.get(..10), at.get(11..16)) {
                (Some(day), Some(time)) => format!("at {day} {time}Z"),
                _ => format!("at {at}"),
            }
        }
        Some("every") => format!("every {}", human::span(s["everyMs"].as_u64().unwrap_or(0))),
        Some("cron") => {
            let expr = s["expr"].as_str().unwrap_or("?");
            match s["tz"].as_str() {
                Some(tz) => format!("cron {expr} @ {tz}"),
                None => format!("cron {expr}"),
            }
        }
        _ => "?".to_string(),
    }
}

fn cut(text: &str, max: usize) -> String {
    match text.chars().count() > max {
        true => text.chars().take(max - 3).chain("...".chars()).collect(),
        false => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_in_lines() {
        let jobs = [
            json!({"id": "1", "name": "beat", "schedule": {"kind": "every", "everyMs": 600_000},
                "sessionTarget": "main", "state": {"nextRunAtMs": 8 * 60_000}}),
            json!({"id": "2", "name": "a name that is far too long for a line", "enabled": false,
                "schedule": {"kind": "cron", "expr": "0 7 * * *", "tz": "Europe/Berlin"},
                "sessionTarget": "isolated", "agentId": "ops",
                "state": {"lastRunAtMs": 0, "lastStatus": "error", "nextRunAtMs": 1}}),
            json!({"id": "3", "name": "once", "schedule": {"kind": "at", "at": "2026-11-22T16:21:42.146Z"},
                "sessionTarget": "isolated", "state": {"lastRunAtMs": 0, "lastStatus": "ok"}}),
        ];
        let text = table(&jobs, 60_000);
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|l| l.split_whitespace().collect())
            .collect();
        assert_eq!(
            lines[1],
            [
                "1", "beat", "every", "10m", "in", "7m", "-", "idle", "main", "default"
            ]
        );
        assert!(
            text.lines()
                .nth(2)
                .unwrap()
                .contains("a name that is far to...")
        );
        assert!(
            text.lines()
                .nth(2)
                .unwrap()
                .contains("cron 0 7 * * * @ Europe/Berlin")
        );
        assert!(lines[2].ends_with(&["-", "1m", "ago", "disabled", "isolated", "ops"]));
        assert!(
            text.lines()
                .nth(3)
                .unwrap()
                .contains("at 2026-11-22 16:21Z")
        );
    }
}
