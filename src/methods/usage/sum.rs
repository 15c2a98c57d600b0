//! Sums of tokens and money, and how the wire shows them.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::config::{self, Config};
use crate::gateway::Gateway;
use crate::state::usage::{Calls, Cost, Day, Latency, Tokens};

/// Tokens per price of a price list.
const PRICED_TOKENS: f64 = 1_000_000.0;

/// Tokens, money, and how many calls had no price.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    tokens: Tokens,
    cost: Cost,
    missing: u64,
}

impl Totals {
    pub fn add(&mut self, other: &Totals) {
        self.tokens.add(&other.tokens);
        self.cost.add(&other.cost);
        self.missing = self.missing.saturating_add(other.missing);
    }

    pub fn is_empty(&self) -> bool {
        self.tokens == Tokens::default() && self.cost == Cost::default() && self.missing == 0
    }

    /// All tokens.
    pub fn total_tokens(&self) -> u64 {
        self.tokens.total
    }

    /// All money.
    pub fn total_cost(&self) -> f64 {
        self.cost.total
    }

    pub fn to_value(self) -> Value {
        let (t, c) = (self.tokens, self.cost);
        json!({
            "input": t.input,
            "output": t.output,
            "cacheRead": t.cache_read,
            "cacheWrite": t.cache_write,
            "totalTokens": t.total,
            "totalCost": c.total,
            "inputCost": c.input,
            "outputCost": c.output,
            "cacheReadCost": c.cache_read,
            "cacheWriteCost": c.cache_write,
            "missingCostEntries": self.missing,
        })
    }
}

/// The price lists of the config.
pub struct Prices(Arc<Config>);

impl Prices {
    pub fn of(gateway: &Gateway) -> Prices {
        Prices(gateway.config.current())
    }

    /// The calls of one model, with what the transcript does not price priced by the config.
    pub fn calls(&self, provider: &str, model: &str, calls: &Calls) -> Totals {
        let mut totals = Totals {
            tokens: calls.tokens,
            cost: calls.cost,
            missing: 0,
        };
        match self.price(provider, model, &calls.unpriced) {
            Some(cost) => totals.cost.add(&cost),
            None => totals.missing = calls.unpriced_calls,
        }
        totals
    }

    /// All calls of one day.
    pub fn day(&self, day: &Day) -> Totals {
        let mut sum = Totals::default();
        for ((provider, model), calls) in &day.models {
            sum.add(&self.calls(provider, model, calls));
        }
        sum
    }

    /// What `tokens` cost; `None` when the config has no price for the model.
    pub fn price(&self, provider: &str, model: &str, tokens: &Tokens) -> Option<Cost> {
        let model = config::agents::ModelRef {
            provider: provider.to_string(),
            model: model.to_string(),
        };
        let list = config::agents::model_entry(&self.0, &model)?.get("cost")?;
        let part = |key: &str, tokens: u64| {
            list[key].as_f64().unwrap_or(0.0) * tokens as f64 / PRICED_TOKENS
        };
        let mut cost = Cost {
            input: part("input", tokens.input),
            output: part("output", tokens.output),
            cache_read: part("cacheRead", tokens.cache_read),
            cache_write: part("cacheWrite", tokens.cache_write),
            total: 0.0,
        };
        cost.total = cost.input + cost.output + cost.cache_read + cost.cache_write;
        Some(cost)
    }
}

/// `{count, avgMs, minMs, maxMs, p95Ms}`; `None` when nothing was timed.
pub fn latency(l: &Latency) -> Option<Value> {
    let average = l.sum as f64 / l.count.max(1) as f64;
    (l.count > 0).then(|| {
        json!({
            "count": l.count, "avgMs": average, "minMs": l.min, "maxMs": l.max, "p95Ms": l.p95(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpriced_calls_are_priced_by_the_config_or_counted() {
        let config = "{models: {providers: {p: {baseUrl: 'http://127.0.0.1:1/v1', models: [
            {id: 'm', name: 'M', cost: {input: 1, output: 2, cacheRead: 0, cacheWrite: 0}}]}}}}";
        let prices = Prices(Arc::new(Config::from_text(config)));
        let tokens = Tokens {
            input: 11,
            output: 10,
            total: 21,
            ..Tokens::default()
        };
        let calls = Calls {
            count: 1,
            tokens,
            unpriced: tokens,
            unpriced_calls: 1,
            ..Calls::default()
        };
        let known = prices.calls("p", "m", &calls);
        assert!((known.total_cost() - 3.1e-5).abs() < 1e-12);
        assert_eq!(known.to_value()["missingCostEntries"], 0);
        let unknown = prices.calls("p", "x", &calls);
        assert_eq!((unknown.total_cost(), unknown.total_tokens()), (0.0, 21));
        assert_eq!(unknown.to_value()["missingCostEntries"], 1);
    }
}
