//! What several days or sessions add up to, and how the wire shows it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::in_range;
use super::range::Range;
use super::sum::{Prices, Totals, latency};
use crate::state::usage::{Day, Latency, Messages, Usage};

/// What several days or sessions add up to.
#[derive(Default)]
pub struct Sum {
    pub totals: Totals,
    messages: Messages,
    latency: Latency,
    tools: BTreeMap<String, u64>,
    models: ByModel,
    /// By date.
    days: BTreeMap<String, SumOfDay>,
}

#[derive(Default)]
struct SumOfDay {
    totals: Totals,
    messages: Messages,
    latency: Latency,
    models: ByModel,
}

/// Calls and totals by provider and model.
type ByModel = BTreeMap<(String, String), (u64, Totals)>;

impl Sum {
    pub fn of(usage: &Usage, range: &Range, prices: &Prices) -> Sum {
        let mut sum = Sum::default();
        for (date, day) in in_range(usage, range) {
            sum.add_day(date, day, prices);
        }
        sum
    }

    fn add_day(&mut self, date: &str, day: &Day, prices: &Prices) {
        let totals = prices.day(day);
        self.totals.add(&totals);
        self.messages.add(&day.messages);
        self.latency.add(&day.latency);
        for (tool, count) in &day.tools {
            *self.tools.entry(tool.clone()).or_default() += count;
        }
        let sum = self.days.entry(date.to_string()).or_default();
        sum.totals.add(&totals);
        sum.messages.add(&day.messages);
        sum.latency.add(&day.latency);
        for (model, calls) in &day.models {
            let priced = prices.calls(&model.0, &model.1, calls);
            add_model(&mut self.models, model, calls.count, &priced);
            add_model(&mut sum.models, model, calls.count, &priced);
        }
    }

    pub fn add(&mut self, other: &Sum) {
        self.totals.add(&other.totals);
        self.messages.add(&other.messages);
        self.latency.add(&other.latency);
        for (tool, count) in &other.tools {
            *self.tools.entry(tool.clone()).or_default() += count;
        }
        for (model, (count, totals)) in &other.models {
            add_model(&mut self.models, model, *count, totals);
        }
        for (date, day) in &other.days {
            let sum = self.days.entry(date.clone()).or_default();
            sum.totals.add(&day.totals);
            sum.messages.add(&day.messages);
            sum.latency.add(&day.latency);
            for (model, (count, totals)) in &day.models {
                add_model(&mut sum.models, model, *count, totals);
            }
        }
    }

    fn tools(&self) -> Value {
        let mut tools: Vec<(&String, &u64)> = self.tools.iter().collect();
        tools.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        json!({
            "totalCalls": tools.iter().map(|(_, n)| *n).sum::<u64>(),
            "uniqueTools": tools.len(),
            "tools": tools.iter().map(|(name, n)| json!({"name": name, "count": n})).collect::<Vec<_>>(),
        })
    }

    fn daily_latency(&self) -> Vec<Value> {
        self.days
            .iter()
            .filter_map(|(date, d)| {
                let mut v = latency(&d.latency)?;
                v["date"] = json!(date);
                Some(v)
            })
            .collect()
    }

    fn daily_models(&self) -> Vec<Value> {
        let mut out = Vec::new();
        for (date, day) in &self.days {
            for ((provider, model), (count, totals)) in &day.models {
                out.push(json!({
                    "date": date, "provider": provider, "model": model, "count": count,
                    "tokens": totals.total_tokens(), "cost": totals.total_cost(),
                }));
            }
        }
        out
    }

    /// The `usage` of one session.
    pub fn of_session(&self, session_id: &str, usage: &Usage) -> Value {
        let mut v = self.totals.to_value();
        let span = usage
            .last_ms
            .zip(usage.first_ms)
            .map(|(l, f)| l.saturating_sub(f));
        let mut put = |key: &str, value: Value| v[key] = value;
        put("sessionId", json!(session_id));
        put("firstActivity", json!(usage.first_ms));
        put("lastActivity", json!(usage.last_ms));
        put("durationMs", json!(span));
        put("activityDates", json!(self.days.keys().collect::<Vec<_>>()));
        let days = |f: &dyn Fn(&String, &SumOfDay) -> Value| -> Value {
            self.days.iter().map(|(date, d)| f(date, d)).collect()
        };
        put(
            "dailyBreakdown",
            days(
                &|date, d| json!({"date": date, "tokens": d.totals.total_tokens(), "cost": d.totals.total_cost()}),
            ),
        );
        put(
            "dailyMessageCounts",
            days(&|date, d| {
                let mut v = messages(&d.messages);
                v["date"] = json!(date);
                v
            }),
        );
        put("dailyLatency", json!(self.daily_latency()));
        put("dailyModelUsage", json!(self.daily_models()));
        put("messageCounts", messages(&self.messages));
        put("modelUsage", json!(by_model(&self.models)));
        if !self.tools.is_empty() {
            put("toolUsage", self.tools());
        }
        if let Some(l) = latency(&self.latency) {
            put("latency", l);
        }
        v
    }

    /// The `aggregates` of many sessions.
    pub fn aggregates(
        &self,
        agents: &BTreeMap<String, Totals>,
        channels: &BTreeMap<String, Totals>,
    ) -> Value {
        let named = |key: &str, all: &BTreeMap<String, Totals>| -> Vec<Value> {
            all.iter()
                .map(|(name, t)| json!({key: name, "totals": t.to_value()}))
                .collect()
        };
        let mut providers = ByModel::new();
        for ((provider, _), (count, totals)) in &self.models {
            add_model(
                &mut providers,
                &(provider.clone(), String::new()),
                *count,
                totals,
            );
        }
        let providers: Vec<Value> = by_model(&providers)
            .into_iter()
            .map(|mut v| {
                v.as_object_mut().map(|m| m.remove("model"));
                v
            })
            .collect();
        let daily: Vec<Value> = self
            .days
            .iter()
            .map(|(date, d)| {
                json!({
                    "date": date, "tokens": d.totals.total_tokens(), "cost": d.totals.total_cost(),
                    "messages": d.messages.user + d.messages.assistant,
                    "toolCalls": d.messages.tool_calls, "errors": d.messages.errors,
                })
            })
            .collect();
        let mut v = json!({
            "messages": messages(&self.messages),
            "tools": self.tools(),
            "byModel": by_model(&self.models),
            "byProvider": providers,
            "byAgent": named("agentId", agents),
            "byChannel": named("channel", channels),
            "dailyLatency": self.daily_latency(),
            "modelDaily": self.daily_models(),
            "daily": daily,
        });
        if let Some(l) = latency(&self.latency) {
            v["latency"] = l;
        }
        v
    }
}

fn add_model(map: &mut ByModel, model: &(String, String), count: u64, totals: &Totals) {
    let slot = map.entry(model.clone()).or_default();
    slot.0 += count;
    slot.1.add(totals);
}

/// The models, the most expensive first.
fn by_model(models: &ByModel) -> Vec<Value> {
    let mut all: Vec<_> = models.iter().collect();
    let cost = |m: &(u64, Totals)| (m.1.total_cost(), m.1.total_tokens());
    all.sort_by(|a, b| {
        let (a, b) = (cost(a.1), cost(b.1));
        b.0.total_cmp(&a.0).then(b.1.cmp(&a.1))
    });
    all.into_iter()
        .map(|((provider, model), (count, totals))| {
            json!({
                "provider": provider, "model": model, "count": count, "totals": totals.to_value(),
            })
        })
        .collect()
}

fn messages(m: &Messages) -> Value {
    json!({
        "total": m.user + m.assistant, "user": m.user, "assistant": m.assistant,
        "toolCalls": m.tool_calls, "toolResults": m.tool_results, "errors": m.errors,
    })
}
