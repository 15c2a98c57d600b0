//! Pages of jobs and of run logs, filtered and sorted as `cron.list` and `cron.runs` ask for.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::job::{Job, Object};

/// Entries of a page when the caller names no number, and at most.
const PAGE: usize = 50;
const MAX_PAGE: usize = 200;

fn text<'a>(params: &'a Value, key: &str) -> Option<&'a str> {
    params.get(key).and_then(Value::as_str)
}

fn number(params: &Value, key: &str) -> Option<usize> {
    let v = params.get(key)?;
    let n = v.as_u64().or_else(|| v.as_f64().map(|f| f as u64))?;
    usize::try_from(n).ok()
}

/// A page of `jobs` for the parameters of `cron.list`.
pub fn list(jobs: &[Job], params: &Value) -> Value {
    let all = params
        .get("includeDisabled")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    let which = text(params, "enabled").unwrap_or(if all { "all" } else { "enabled" });
    let query = text(params, "query")
        .unwrap_or_default()
        .trim()
        .to_lowercase();
    let mut found: Vec<&Job> = jobs
        .iter()
        .filter(|j| which == "all" || j.enabled() == (which == "enabled"))
        .filter(|j| {
            let parts = [
                j.name(),
                j.description().unwrap_or_default(),
                j.agent_id().unwrap_or_default(),
            ];
            query.is_empty() || parts.join(" ").to_lowercase().contains(&query)
        })
        .collect();
    let by = text(params, "sortBy").unwrap_or("nextRunAtMs");
    let down = text(params, "sortDir") == Some("desc");
    found.sort_by(|a, b| {
        let order = match by {
            "name" => a.name().to_lowercase().cmp(&b.name().to_lowercase()),
            "updatedAtMs" => a.updated_at().cmp(&b.updated_at()),
            _ => next_first(a.next_run(), b.next_run()),
        };
        let order = if down { order.reverse() } else { order };
        order.then_with(|| a.id().cmp(b.id()))
    });
    let default = if found.is_empty() { PAGE } else { found.len() };
    let items = found
        .iter()
        .map(|j| Value::Object(j.fields().clone()))
        .collect();
    page("jobs", items, default, params)
}

/// Jobs without a next run come last.
fn next_first(a: Option<u64>, b: Option<u64>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}

/// A page of run log `entries` for the parameters of `cron.runs`; `names` adds the jobs' names.
pub fn runs(
    mut entries: Vec<Object>,
    names: Option<&BTreeMap<String, String>>,
    params: &Value,
) -> Value {
    let statuses = wanted(params, "statuses", "status");
    let deliveries = wanted(params, "deliveryStatuses", "deliveryStatus");
    let query = text(params, "query")
        .unwrap_or_default()
        .trim()
        .to_lowercase();
    if let Some(names) = names {
        for e in &mut entries {
            let name = e
                .get("jobId")
                .and_then(Value::as_str)
                .and_then(|id| names.get(id));
            if let Some(name) = name {
                e.insert("jobName".into(), json!(name));
            }
        }
    }
    entries.retain(|e| {
        let field = |key: &str| e.get(key).and_then(Value::as_str);
        let status = statuses.is_empty() || field("status").is_some_and(|s| statuses.contains(&s));
        let delivery = deliveries.is_empty()
            || deliveries.contains(&field("deliveryStatus").unwrap_or("not-requested"));
        let said = ["summary", "error", "jobId", "jobName"]
            .map(|k| field(k).unwrap_or_default())
            .join(" ");
        status && delivery && (query.is_empty() || said.to_lowercase().contains(&query))
    });
    let ts = |e: &Object| e.get("ts").and_then(Value::as_f64).unwrap_or(0.0);
    entries.sort_by(|a, b| ts(b).total_cmp(&ts(a)));
    if text(params, "sortDir") == Some("asc") {
        entries.reverse();
    }
    page(
        "entries",
        entries.into_iter().map(Value::Object).collect(),
        PAGE,
        params,
    )
}

/// The words at `many`, else the one at `one` unless it is `all`.
fn wanted<'a>(params: &'a Value, many: &str, one: &str) -> Vec<&'a str> {
    let list: Vec<&str> = params
        .get(many)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if list.is_empty() {
        text(params, one)
            .filter(|s| *s != "all")
            .into_iter()
            .collect()
    } else {
        list
    }
}

fn page(name: &str, items: Vec<Value>, default: usize, params: &Value) -> Value {
    let total = items.len();
    let offset = number(params, "offset").unwrap_or(0).min(total);
    let limit = number(params, "limit")
        .unwrap_or(default)
        .clamp(1, MAX_PAGE);
    let shown: Vec<Value> = items.into_iter().skip(offset).take(limit).collect();
    let next = offset + shown.len();
    json!({
        name: shown,
        "total": total,
        "offset": offset,
        "limit": limit,
        "hasMore": next < total,
        "nextOffset": (next < total).then_some(next),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(id: &str, name: &str, enabled: bool, next: Option<u64>) -> Job {
        let mut state = json!({});
        if let Some(next) = next {
            state["nextRunAtMs"] = json!(next);
        }
        let fields = json!({"id": id, "name": name, "enabled": enabled, "description": "d-".to_string() + id,
            "schedule": {"kind": "every", "everyMs": 1000}, "payload": {"kind": "systemEvent", "text": "x"}, "state": state});
        Job::stored(fields.as_object().cloned().unwrap()).unwrap()
    }

    fn ids(page: &Value, list: &str) -> Vec<String> {
        page[list]
            .as_array()
            .unwrap()
            .iter()
            .map(|j| {
                j["id"]
                    .as_str()
                    .or(j["jobId"].as_str())
                    .unwrap()
                    .to_string()
            })
            .collect()
    }

    #[test]
    fn jobs_are_filtered_sorted_and_cut_into_pages() {
        let jobs = [
            job("a", "Zeta", true, Some(20)),
            job("b", "alpha", true, Some(10)),
            job("c", "beta", false, None),
        ];
        let found = |params: Value| ids(&list(&jobs, &params), "jobs");
        assert_eq!(found(json!({})), ["b", "a"]);
        assert_eq!(found(json!({"includeDisabled": true})), ["b", "a", "c"]);
        assert_eq!(found(json!({"enabled": "disabled"})), ["c"]);
        assert_eq!(
            found(json!({"enabled": "all", "sortBy": "name"})),
            ["b", "c", "a"]
        );
        assert_eq!(found(json!({"sortDir": "desc"})), ["a", "b"]);
        assert_eq!(found(json!({"query": " D-A "})), ["a"]);
        let page = list(&jobs, &json!({"enabled": "all", "limit": 1, "offset": 1}));
        assert_eq!(
            (
                ids(&page, "jobs"),
                &page["total"],
                &page["limit"],
                &page["hasMore"],
                &page["nextOffset"]
            ),
            (
                vec!["a".to_string()],
                &json!(3),
                &json!(1),
                &json!(true),
                &json!(2)
            )
        );
        let none = list(&[], &json!({"offset": 9}));
        assert_eq!(
            none,
            json!({"jobs": [], "total": 0, "offset": 0, "limit": 50, "hasMore": false, "nextOffset": null})
        );
    }

    #[test]
    fn runs_are_newest_first_and_named() {
        let entry = |job: &str, ts: u64, status: &str, extra: Value| {
            let mut e = json!({"ts": ts, "jobId": job, "action": "finished", "status": status});
            e.as_object_mut()
                .unwrap()
                .extend(extra.as_object().cloned().unwrap());
            e.as_object().cloned().unwrap()
        };
        let entries = vec![
            entry(
                "a",
                1,
                "ok",
                json!({"summary": "Hello", "deliveryStatus": "delivered"}),
            ),
            entry("b", 3, "error", json!({"error": "boom"})),
            entry("a", 2, "skipped", json!({})),
        ];
        let names = BTreeMap::from([("b".to_string(), "Backup".to_string())]);
        let found = |params: Value| {
            let page = runs(entries.clone(), Some(&names), &params);
            page["entries"]
                .as_array()
                .unwrap()
                .iter()
                .map(|e| e["ts"].as_u64().unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(found(json!({})), [3, 2, 1]);
        assert_eq!(found(json!({"sortDir": "asc"})), [1, 2, 3]);
        assert_eq!(found(json!({"status": "ok"})), [1]);
        assert_eq!(found(json!({"status": "all"})), [3, 2, 1]);
        assert_eq!(
            found(json!({"statuses": ["ok", "error"], "status": "skipped"})),
            [3, 1]
        );
        assert_eq!(found(json!({"deliveryStatus": "not-requested"})), [3, 2]);
        assert_eq!(found(json!({"query": "backup"})), [3]);
        assert_eq!(found(json!({"query": "hello"})), [1]);
        let page = runs(entries.clone(), Some(&names), &json!({"query": "boom"}));
        assert_eq!(page["entries"][0]["jobName"], "Backup");
        assert!(
            runs(entries.clone(), None, &json!({}))["entries"][0]
                .get("jobName")
                .is_none()
        );
    }
}
