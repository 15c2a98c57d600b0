//! Usage by session: sums, one session in time, one session's messages.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::aggregate::Sum;
use super::range::Range;
use super::sum::{Prices, Totals};
use crate::config;
use crate::methods::sessions::canonical;
use crate::methods::{Call, Reply};
use crate::protocol::RpcError;
use crate::protocol::frame::clip;
use crate::state::session_key;
use crate::state::sessions::{Filter, Row};
use crate::state::usage::{self, Calls};
use crate::sys::clock;

/// Sessions in an answer when the caller says nothing, and at most.
const DEFAULT_SESSIONS: u64 = 50;
const MAX_SESSIONS: u64 = 1000;
/// Points of a time series; later ones are joined.
const MAX_POINTS: usize = 200;
/// Messages in a log when the caller says nothing, and at most.
const DEFAULT_LOGS: u64 = 200;
const MAX_LOGS: u64 = 1000;
/// Bytes of a message's text in a log.
const MAX_CONTENT: usize = 2000;
/// Fields of a session that its row repeats.
const COPIED: &[&str] = &[
    "label",
    "channel",
    "chatType",
    "origin",
    "modelOverride",
    "providerOverride",
    "modelProvider",
    "model",
];

pub fn usage(call: &Call<'_>) -> Result<Reply, RpcError> {
    let range = Range::strict(call, "sessions.usage")?;
    let prices = Prices::of(call.gateway);
    let mut all = Sum::default();
    let (mut agents, mut channels) = (BTreeMap::new(), BTreeMap::new());
    let mut sessions = Vec::new();
    for row in rows(call)? {
        let agent = agent_of(call, &row.key);
        let mut v = Map::new();
        v.insert("key".into(), json!(row.key));
        v.insert("agentId".into(), json!(agent));
        v.insert("sessionId".into(), json!(row.entry.session_id()));
        v.insert("updatedAt".into(), json!(row.entry.updated_at()));
        for key in COPIED {
            if let Some(field) = row.entry.field(key) {
                v.insert((*key).into(), field.clone());
            }
        }
        let path = call.gateway.sessions.transcript(&row.key, &row.entry);
        let usage = path
            .as_ref()
            .filter(|p| p.is_file())
            .and_then(|p| call.gateway.usage.get(p, &range.zone).ok());
        let mut shown = Value::Null;
        if let Some(usage) = usage {
            let sum = Sum::of(&usage, &range, &prices);
            shown = sum.of_session(row.entry.session_id().unwrap_or_default(), &usage);
            shown["sessionFile"] = path.map_or(Value::Null, |p| call.path(&p));
            all.add(&sum);
            agents
                .entry(agent)
                .or_insert_with(Totals::default)
                .add(&sum.totals);
            if let Some(channel) = row.entry.text("channel").or(row.entry.text("lastChannel")) {
                let by = channels
                    .entry(channel.to_string())
                    .or_insert_with(Totals::default);
                by.add(&sum.totals);
            }
        }
        v.insert("usage".into(), shown);
        sessions.push(Value::Object(v));
    }
    Ok(Reply::Value(json!({
        "updatedAt": clock::now_ms(),
        "startDate": range.start,
        "endDate": range.end,
        "sessions": sessions,
        "totals": all.totals.to_value(),
        "aggregates": all.aggregates(&agents, &channels),
    })))
}

/// The sessions asked about, the last used first.
fn rows(call: &Call<'_>) -> Result<Vec<Row>, RpcError> {
    let gateway = call.gateway;
    let config = gateway.config.current();
    if let Some(key) = call.text("key") {
        let key = canonical(&config, key);
        let entry = gateway.sessions.get(&key)?;
        return Ok(entry.map(|entry| Row { key, entry }).into_iter().collect());
    }
    let limit = call
        .u64("limit")
        .unwrap_or(DEFAULT_SESSIONS)
        .min(MAX_SESSIONS);
    let filter = Filter {
        limit: usize::try_from(limit).ok(),
        include_global: true,
        ..Filter::default()
    };
    Ok(gateway
        .sessions
        .list(&gateway.sessions.agents_on_disk(), &filter)?)
}

fn agent_of(call: &Call<'_>, key: &str) -> String {
    let config = call.gateway.config.current();
    session_key::agent_of(key, &config::agents::default_id(&config))
}

/// The transcript of the session `key` as it was sent, with the session's id.
fn transcript(call: &Call<'_>, key: &str) -> Result<Option<(String, PathBuf)>, RpcError> {
    let key = canonical(&call.gateway.config.current(), key);
    let Some(entry) = call.gateway.sessions.get(&key)? else {
        return Ok(None);
    };
    let path = call.gateway.sessions.transcript(&key, &entry);
    let path = path.filter(|p| p.is_file());
    Ok(path.map(|p| (entry.session_id().unwrap_or_default().to_string(), p)))
}

pub fn timeseries(call: &Call<'_>) -> Result<Reply, RpcError> {
    let key = call.text("key");
    let key = key.ok_or_else(|| RpcError::invalid("key is required for timeseries"))?;
    let Some((session_id, path)) = transcript(call, key)? else {
        let text = format!("No transcript found for session: {}", clip(key, 256));
        return Err(RpcError::invalid(text));
    };
    let prices = Prices::of(call.gateway);
    let mut points: Vec<(u64, Totals)> = Vec::new();
    let mut joined = 1;
    let mut in_last = 0;
    let read = usage::each_message(&path, |line| {
        if let Some(totals) = priced(line.role, line.message, &prices) {
            match points.last_mut() {
                Some(last) if in_last < joined => {
                    last.0 = line.at_ms;
                    last.1.add(&totals);
                    in_last += 1;
                }
                _ => {
                    points.push((line.at_ms, totals));
                    in_last = 1;
                }
            }
            if points.len() > MAX_POINTS {
                points = halved(&points);
                joined *= 2;
                in_last = joined;
            }
        }
        true
    });
    read.map_err(|e| RpcError::unavailable(format!("transcript: {e}")))?;
    let mut so_far = Totals::default();
    let points: Vec<Value> = points
        .iter()
        .map(|(at, totals)| {
            so_far.add(totals);
            let t = totals.to_value();
            json!({
                "timestamp": at, "input": t["input"], "output": t["output"],
                "cacheRead": t["cacheRead"], "cacheWrite": t["cacheWrite"],
                "totalTokens": t["totalTokens"], "cost": t["totalCost"],
                "cumulativeTokens": so_far.total_tokens(), "cumulativeCost": so_far.total_cost(),
            })
        })
        .collect();
    Ok(Reply::Value(
        json!({"sessionId": session_id, "points": points}),
    ))
}

/// Each two points joined to one.
fn halved(points: &[(u64, Totals)]) -> Vec<(u64, Totals)> {
    points
        .chunks(2)
        .map(|pair| {
            let mut sum = Totals::default();
            pair.iter().for_each(|(_, t)| sum.add(t));
            (pair.last().map_or(0, |(at, _)| *at), sum)
        })
        .collect()
}

/// What one message used.
fn priced(role: &str, message: &Value, prices: &Prices) -> Option<Totals> {
    if role != "assistant" {
        return None;
    }
    let (tokens, cost) = usage::tokens_of(message)?;
    let mut calls = Calls {
        count: 1,
        tokens,
        ..Calls::default()
    };
    match cost {
        Some(cost) => calls.cost = cost,
        None => (calls.unpriced, calls.unpriced_calls) = (tokens, 1),
    }
    let text = |key: &str| message[key].as_str().unwrap_or("unknown");
    Some(prices.calls(text("provider"), text("model"), &calls))
}

pub fn logs(call: &Call<'_>) -> Result<Reply, RpcError> {
    let key = call.text("key");
    let key = key.ok_or_else(|| RpcError::invalid("key is required for logs"))?;
    let limit = call.u64("limit").unwrap_or(DEFAULT_LOGS).clamp(1, MAX_LOGS) as usize;
    let Some((_, path)) = transcript(call, key)? else {
        return Ok(Reply::Value(json!({"logs": []})));
    };
    let prices = Prices::of(call.gateway);
    let mut logs = std::collections::VecDeque::new();
    let read = usage::each_message(&path, |line| {
        let content = text_of(line.message);
        if content.trim().is_empty() {
            return true;
        }
        let mut v = json!({
            "timestamp": line.at_ms, "role": line.role, "content": clip(&content, MAX_CONTENT),
        });
        if let Some(totals) = priced(line.role, line.message, &prices) {
            v["tokens"] = json!(totals.total_tokens());
            v["cost"] = json!(totals.total_cost());
        }
        if logs.len() == limit {
            logs.pop_front();
        }
        logs.push_back(v);
        true
    });
    read.map_err(|e| RpcError::unavailable(format!("transcript: {e}")))?;
    Ok(Reply::Value(json!({"logs": logs})))
}

/// The text parts of a message; images and calls are left out.
fn text_of(message: &Value) -> String {
    match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts: Vec<&str> = parts.iter().filter_map(|p| p["text"].as_str()).collect();
            texts.join("\n")
        }
        _ => String::new(),
    }
}
