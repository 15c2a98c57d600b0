//! `gateway usage-cost`: tokens and cost of the last days.

use serde_json::{Value, json};

use super::context::Context;
use super::failure::Failure;
use super::options::{CONNECT, Command, EXIT_OK, Group, JSON, TIMEOUT, val};
use super::parse::Args;
use super::{rpc, term};

pub static USAGE_COST: Command = Command {
    options: &[
        &[val("days", "n", "how many days").default("30")],
        JSON,
        CONNECT,
        TIMEOUT,
    ],
    run: Some(run),
    ..Command::new(
        "gateway usage-cost",
        Group::Gateway,
        "show tokens and cost of the last days",
    )
};

fn run(ctx: &Context, args: &Args) -> Result<u8, Failure> {
    let days = args.positive("days")?.unwrap_or(30);
    let usage = rpc::ask(ctx, args, "usage.cost", &json!({"days": days}))?;
    match args.flag("json") {
        true => term::json(&usage),
        false => term::say(&lines(&usage, days).join("\n")),
    }
    Ok(EXIT_OK)
}

fn lines(usage: &Value, days: u64) -> Vec<String> {
    let sum = |of: &Value| {
        let cost = of["totalCost"].as_f64().unwrap_or(0.0);
        let tokens = of["totalTokens"].as_u64().unwrap_or(0);
        format!("${cost:.4} · {tokens} tokens")
    };
    let mut lines = vec![
        format!("Usage cost ({days} days)"),
        format!("Total: {}", sum(&usage["totals"])),
    ];
    if let Some(day) = usage["daily"].as_array().and_then(|d| d.last()) {
        let date = term::clean(day["date"].as_str().unwrap_or("?")).into_owned();
        lines.push(format!("Latest day: {date} · {}", sum(day)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_and_the_latest_day() {
        let none = json!({"daily": [], "totals": {"totalCost": 0, "totalTokens": 0}});
        assert_eq!(
            lines(&none, 30),
            ["Usage cost (30 days)", "Total: $0.0000 · 0 tokens"]
        );
        let some = json!({
            "daily": [{"date": "2026-11-21"}, {"date": "2026-11-22", "totalCost": 0.5, "totalTokens": 7}],
            "totals": {"totalCost": 1.25, "totalTokens": 9},
        });
        assert_eq!(
            lines(&some, 2)[1..],
            [
                "Total: $1.2500 · 9 tokens",
                "Latest day: 2026-11-22 · $0.5000 · 7 tokens",
            ]
        );
    }
}
