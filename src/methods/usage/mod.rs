//! What model calls used and cost, from the token counts in the transcripts.

mod aggregate;
mod range;
mod session;
mod sum;

use std::fs;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use serde_json::{Value, json};

use super::{Access, Call, Method, Reply};
use crate::gateway::Gateway;
use crate::protocol::shape::{Kind, Shape, at_least, opt};
use crate::protocol::{RpcError, Scope};
use crate::state::usage::Usage;
use crate::sys::clock;

use range::Range;
use sum::{Prices, Totals};

const READ: Access = Access::Operator(Scope::Read);

/// Transcripts that one answer is made from; the most recently used ones.
const MAX_FILES: usize = 5000;

/// The family.
pub const METHODS: &[Method] = &[
    Method::new(
        "usage.status",
        READ,
        Shape::lenient(&[]),
        status,
        "quotas of providers; none is asked for",
    ),
    Method::new(
        "usage.cost",
        READ,
        Shape::lenient(&[]),
        cost,
        "tokens and cost by day, all agents together",
    )
    .waits(),
    Method::new(
        "sessions.usage",
        READ,
        Shape::strict(&[
            opt("key", Kind::NonEmpty),
            opt("startDate", Kind::Text),
            opt("endDate", Kind::Text),
            opt("mode", Kind::OneOf(&["utc", "gateway", "specific"])),
            opt("utcOffset", Kind::Text),
            opt("limit", at_least(1)),
            opt("includeContextWeight", Kind::Bool),
        ]),
        session::usage,
        "tokens, cost, messages and reply times by session",
    )
    .waits()
    .unlisted(),
    Method::new(
        "sessions.usage.timeseries",
        READ,
        Shape::lenient(&[]),
        session::timeseries,
        "the calls of one session in time",
    )
    .waits()
    .unlisted(),
    Method::new(
        "sessions.usage.logs",
        READ,
        Shape::lenient(&[]),
        session::logs,
        "the messages of one session with their tokens",
    )
    .waits()
    .unlisted(),
];

/// No provider is asked for its quota: that would be a network call that nobody asked for.
fn status(_: &Call<'_>) -> Result<Reply, RpcError> {
    Ok(Reply::Value(
        json!({"updatedAt": clock::now_ms(), "providers": []}),
    ))
}

fn cost(call: &Call<'_>) -> Result<Reply, RpcError> {
    let range = Range::lenient(call);
    let prices = Prices::of(call.gateway);
    let mut days = std::collections::BTreeMap::<String, Totals>::new();
    let mut totals = Totals::default();
    for path in transcripts(call.gateway, &range) {
        let Ok(usage) = call.gateway.usage.get(&path, &range.zone) else {
            continue;
        };
        for (date, day) in in_range(&usage, &range) {
            let sum = prices.day(day);
            totals.add(&sum);
            days.entry(date.clone()).or_default().add(&sum);
        }
    }
    let daily: Vec<Value> = days
        .iter()
        .filter(|(_, t)| !t.is_empty())
        .map(|(date, t)| {
            let mut v = t.to_value();
            v["date"] = json!(date);
            v
        })
        .collect();
    Ok(Reply::Value(json!({
        "updatedAt": clock::now_ms(),
        "days": range.days(),
        "daily": daily,
        "totals": totals.to_value(),
    })))
}

/// The days of a transcript that are asked about.
fn in_range<'u>(
    usage: &'u Usage,
    range: &Range,
) -> impl Iterator<Item = (&'u String, &'u crate::state::usage::Day)> {
    usage.days.range(range.start.clone()..=range.end.clone())
}

/// The transcripts of all agents that may say something about the range, those of ended sessions
/// included: what they used was used.
fn transcripts(gateway: &Gateway, range: &Range) -> Vec<PathBuf> {
    let mut found: Vec<(u64, PathBuf)> = Vec::new();
    for agent in gateway.sessions.agents_on_disk() {
        let Ok(folder) = fs::read_dir(gateway.paths.sessions(&agent)) else {
            continue;
        };
        for entry in folder.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let ended = name.contains(".jsonl.reset.") || name.contains(".jsonl.deleted.");
            let changed = entry.metadata().and_then(|m| m.modified()).ok();
            let changed = changed.and_then(|t| t.duration_since(UNIX_EPOCH).ok());
            let changed_ms = changed.map_or(0, |d| d.as_millis() as u64);
            if (ended || name.ends_with(".jsonl")) && range.zone.date(changed_ms) >= range.start {
                found.push((changed_ms, entry.path()));
            }
        }
    }
    found.sort_by(|a, b| b.cmp(a));
    found.truncate(MAX_FILES);
    found.into_iter().map(|(_, path)| path).collect()
}
