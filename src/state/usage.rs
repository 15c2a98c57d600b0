//! What the model calls of a session used, summed up by day from its transcript.
//!
//! A transcript is read line by line and never held in memory. Summaries are kept by file and version,
//! so that asking again costs a look at the file's stamp.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::sys::file::{self, Stamp};

/// The longest line that is looked at, in bytes; longer ones are passed over.
const MAX_LINE: usize = 4 * 1024 * 1024;
/// Days that one summary tells apart; further ones are counted on the last.
const MAX_DAYS: usize = 3660;
/// Different models or tools that one day tells apart; further ones are counted as `other`.
const MAX_NAMES: usize = 64;
/// Reply times that one day keeps for its percentile.
const MAX_SAMPLES: usize = 512;
/// Summaries that are kept.
const MAX_CACHED: usize = 2048;

/// Tokens of one kind of call, and what the provider's prices made of them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tokens {
    pub input: u64,
    pub output: u64,
    pub cache_read: u64,
    pub cache_write: u64,
    /// As the provider counted; at least the sum of the others when it did not.
    pub total: u64,
}

impl Tokens {
    pub fn add(&mut self, other: &Tokens) {
        self.input = self.input.saturating_add(other.input);
        self.output = self.output.saturating_add(other.output);
        self.cache_read = self.cache_read.saturating_add(other.cache_read);
        self.cache_write = self.cache_write.saturating_add(other.cache_write);
        self.total = self.total.saturating_add(other.total);
    }
}

/// Money, in the currency of the price list, by kind of token.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    pub input: f64,
    pub output: f64,
    pub cache_read: f64,
    pub cache_write: f64,
    pub total: f64,
}

impl Cost {
    pub fn add(&mut self, other: &Cost) {
        self.input += other.input;
        self.output += other.output;
        self.cache_read += other.cache_read;
        self.cache_write += other.cache_write;
        self.total += other.total;
    }
}

/// The calls of one model on one day.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Calls {
    pub count: u64,
    pub tokens: Tokens,
    /// What the transcript itself says about money.
    pub cost: Cost,
    /// The part of `tokens` that came without a cost, and from how many calls.
    pub unpriced: Tokens,
    pub unpriced_calls: u64,
}

impl Calls {
    pub fn add(&mut self, other: &Calls) {
        self.count = self.count.saturating_add(other.count);
        self.tokens.add(&other.tokens);
        self.cost.add(&other.cost);
        self.unpriced.add(&other.unpriced);
        self.unpriced_calls = self.unpriced_calls.saturating_add(other.unpriced_calls);
    }
}

/// How many messages of which kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Messages {
    pub user: u64,
    pub assistant: u64,
    pub tool_calls: u64,
    pub tool_results: u64,
    pub errors: u64,
}

impl Messages {
    pub fn add(&mut self, other: &Messages) {
        self.user += other.user;
        self.assistant += other.assistant;
        self.tool_calls += other.tool_calls;
        self.tool_results += other.tool_results;
        self.errors += other.errors;
    }
}

/// Times from a user's message to the answer, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Latency {
    pub count: u64,
    pub sum: u64,
    pub min: u64,
    pub max: u64,
    samples: Vec<u32>,
}

impl Latency {
    fn note(&mut self, ms: u64) {
        self.min = if self.count == 0 {
            ms
        } else {
            self.min.min(ms)
        };
        self.max = self.max.max(ms);
        self.count += 1;
        self.sum = self.sum.saturating_add(ms);
        if self.samples.len() < MAX_SAMPLES {
            self.samples.push(u32::try_from(ms).unwrap_or(u32::MAX));
        }
    }

    pub fn add(&mut self, other: &Latency) {
        if other.count == 0 {
            return;
        }
        self.min = if self.count == 0 {
            other.min
        } else {
            self.min.min(other.min)
        };
        self.max = self.max.max(other.max);
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
        let room = MAX_SAMPLES.saturating_sub(self.samples.len());
        self.samples.extend(other.samples.iter().take(room));
    }

    /// The time that 95 of 100 answers stayed below.
    pub fn p95(&self) -> u64 {
        let mut sorted = self.samples.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * 95).div_ceil(100);
        sorted
            .get(rank.saturating_sub(1))
            .map_or(0, |ms| u64::from(*ms))
    }
}

/// One day.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Day {
    pub messages: Messages,
    /// Provider and model to calls.
    pub models: BTreeMap<(String, String), Calls>,
    /// Tool name to calls.
    pub tools: BTreeMap<String, u64>,
    pub latency: Latency,
}

/// A whole transcript, by date (`2026-11-22`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage {
    pub days: BTreeMap<String, Day>,
    /// Milliseconds since 1970 of the first and the last message.
    pub first_ms: Option<u64>,
    pub last_ms: Option<u64>,
}

/// In which zone a day begins and ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Zone {
    name: String,
    zone: TimeZone,
}

impl Zone {
    /// The zone of this host.
    pub fn local() -> Zone {
        Zone {
            name: "local".into(),
            zone: TimeZone::system(),
        }
    }

    pub fn utc() -> Zone {
        Zone {
            name: "UTC".into(),
            zone: TimeZone::UTC,
        }
    }

    /// `UTC`, `UTC+2`, `UTC-5:30`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Zone> {
        let rest = text.trim().strip_prefix("UTC")?;
        if rest.is_empty() {
            return Some(Zone::utc());
        }
        let (sign, rest) = match rest.split_at_checked(1)? {
            ("+", rest) => (1, rest),
            ("-", rest) => (-1, rest),
            _ => return None,
        };
        let (hours, minutes) = rest.split_once(':').unwrap_or((rest, "0"));
        let digits = |t: &str| (1..=2).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_digit());
        if !digits(hours) || !digits(minutes) {
            return None;
        }
        let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
        if hours > 14 || minutes > 59 {
            return None;
        }
        let offset = jiff::tz::Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok()?;
        Some(Zone {
            name: text.trim().to_string(),
            zone: TimeZone::fixed(offset),
        })
    }

    /// The date of a time (milliseconds since 1970) there: `2026-11-22`.
    pub fn date(&self, ms: u64) -> String {
        let at = i64::try_from(ms)
            .ok()
            .and_then(|ms| Timestamp::from_millisecond(ms).ok())
            .unwrap_or(Timestamp::MAX);
        at.to_zoned(self.zone.clone()).date().to_string()
    }
}

/// One message of a transcript, as far as this room looks at it.
pub struct Line<'a> {
    /// Milliseconds since 1970; 0 when the line does not say.
    pub at_ms: u64,
    pub role: &'a str,
    pub message: &'a Value,
}

/// Calls `each` for every message of the transcript at `path`; false from it ends the reading.
///
/// Lines that are torn, too long or not JSON are passed over.
pub fn each_message(path: &Path, mut each: impl FnMut(Line) -> bool) -> io::Result<()> {
    // A fifo would block in open() itself, so look before.
    if !fs::metadata(path)?.is_file() {
        let text = "not a regular file";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let mut reader = BufReader::new(File::open(path)?);
    let mut line = Vec::new();
    while next_line(&mut reader, &mut line)? {
        let Ok(value) = serde_json::from_slice::<Value>(&line) else {
            continue;
        };
        if value["type"] != "message" {
            continue;
        }
        let message = &value["message"];
        let at_ms = message["timestamp"]
            .as_u64()
            .or_else(|| {
                let at: Timestamp = value["timestamp"].as_str()?.parse().ok()?;
                u64::try_from(at.as_millisecond()).ok()
            })
            .unwrap_or(0);
        let role = message["role"].as_str().unwrap_or_default();
        if !each(Line {
            at_ms,
            role,
            message,
        }) {
            break;
        }
    }
    Ok(())
}

/// Reads the next line into `line`, without its end; an overlong one comes back empty.
fn next_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let mut overlong = false;
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            return Ok(overlong || !line.is_empty());
        }
        let end = bytes.iter().position(|b| *b == b'\n');
        let part = &bytes[..end.unwrap_or(bytes.len())];
        overlong |= line.len() + part.len() > MAX_LINE;
        if overlong {
            line.clear();
        } else {
            line.extend_from_slice(part);
        }
        let used = part.len() + usize::from(end.is_some());
        reader.consume(used);
        if end.is_some() {
            return Ok(true);
        }
    }
}

/// Sums up the transcript at `path`.
pub fn read(path: &Path, zone: &Zone) -> io::Result<Usage> {
    let mut usage = Usage::default();
    let mut asked_at: Option<u64> = None;
    each_message(path, |line| {
        usage.note(&line, zone, &mut asked_at);
        true
    })?;
    Ok(usage)
}

impl Usage {
    fn note(&mut self, line: &Line, zone: &Zone, asked_at: &mut Option<u64>) {
        let (at, m) = (line.at_ms, line.message);
        self.first_ms = Some(self.first_ms.map_or(at, |first| first.min(at)));
        self.last_ms = Some(self.last_ms.map_or(at, |last| last.max(at)));
        let day = self.day(zone.date(at));
        match line.role {
            "user" => {
                day.messages.user += 1;
                *asked_at = Some(at);
            }
            "assistant" => {
                day.messages.assistant += 1;
                day.messages.errors += u64::from(m["stopReason"] == "error");
                if let Some(asked) = asked_at.take() {
                    day.latency.note(at.saturating_sub(asked));
                }
                for call in tool_calls(m) {
                    day.messages.tool_calls += 1;
                    *slot(&mut day.tools, call.to_string(), "other".to_string()) += 1;
                }
                if let Some((tokens, cost)) = tokens_of(m) {
                    let text = |key: &str| m[key].as_str().unwrap_or("unknown").to_string();
                    let key = (text("provider"), text("model"));
                    let other = ("other".to_string(), "other".to_string());
                    let calls = slot(&mut day.models, key, other);
                    calls.count += 1;
                    calls.tokens.add(&tokens);
                    match cost {
                        Some(cost) => calls.cost.add(&cost),
                        None => {
                            calls.unpriced.add(&tokens);
                            calls.unpriced_calls += 1;
                        }
                    }
                }
            }
            "toolResult" => {
                day.messages.tool_results += 1;
                day.messages.errors += u64::from(m["isError"] == true);
            }
            _ => {}
        }
    }

    fn day(&mut self, date: String) -> &mut Day {
        let full = self.days.len() >= MAX_DAYS && !self.days.contains_key(&date);
        let last = self.days.keys().next_back().cloned();
        match last {
            Some(last) if full => self.days.entry(last).or_default(),
            _ => self.days.entry(date).or_default(),
        }
    }
}

/// The entry of `key`, or that of `other` once the map is full.
fn slot<K: Ord, V: Default>(map: &mut BTreeMap<K, V>, key: K, other: K) -> &mut V {
    let full = map.len() >= MAX_NAMES && !map.contains_key(&key);
    map.entry(if full { other } else { key }).or_default()
}

fn tool_calls(message: &Value) -> impl Iterator<Item = &str> {
    let parts = message["content"].as_array().map_or(&[][..], Vec::as_slice);
    parts
        .iter()
        .filter(|p| p["type"] == "toolCall")
        .map(|p| p["name"].as_str().unwrap_or("unknown"))
}

/// The tokens of an assistant's message, and their cost when it has one.
pub fn tokens_of(message: &Value) -> Option<(Tokens, Option<Cost>)> {
    let usage = message.get("usage")?.as_object()?;
    let count = |key: &str| usage.get(key).and_then(Value::as_u64).unwrap_or(0);
    let mut tokens = Tokens {
        input: count("input"),
        output: count("output"),
        cache_read: count("cacheRead"),
        cache_write: count("cacheWrite"),
        total: 0,
    };
    let parts = [
        tokens.input,
        tokens.output,
        tokens.cache_read,
        tokens.cache_write,
    ];
    let sum = parts.iter().fold(0u64, |a, b| a.saturating_add(*b));
    tokens.total = count("totalTokens").max(sum);
    let cost = usage.get("cost").and_then(Value::as_object).and_then(|c| {
        let money = |key: &str| c.get(key).and_then(Value::as_f64).unwrap_or(0.0);
        let total = c.get("total").and_then(Value::as_f64)?;
        Some(Cost {
            input: money("input"),
            output: money("output"),
            cache_read: money("cacheRead"),
            cache_write: money("cacheWrite"),
            total,
        })
    });
    Some((tokens, cost))
}

/// A transcript and the name of the zone.
type Key = (PathBuf, String);

/// Summaries of transcripts, each good for one version of its file. One lock, `entries`, not held
/// while a file is read.
#[derive(Default)]
pub struct Cache {
    entries: Mutex<BTreeMap<Key, (Stamp, Arc<Usage>)>>,
}

impl Cache {
    /// The summary of the transcript at `path`; an empty one when there is no such file.
    pub fn get(&self, path: &Path, zone: &Zone) -> io::Result<Arc<Usage>> {
        let Some(stamp) = file::stamp(path) else {
            return Ok(Arc::default());
        };
        let key = (path.to_path_buf(), zone.name.clone());
        let lock = || self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, usage)) = lock().get(&key)
            && *known == stamp
        {
            return Ok(usage.clone());
        }
        let usage = Arc::new(read(path, zone)?);
        let mut entries = lock();
        if entries.len() >= MAX_CACHED && !entries.contains_key(&key) {
            entries.pop_first();
        }
        entries.insert(key, (stamp, usage.clone()));
        Ok(usage)
    }
}

#[cfg(test)]
mod tests;
