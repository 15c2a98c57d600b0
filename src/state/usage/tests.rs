use super::*;
use crate::state::testing::Folder;
use serde_json::json;

const NOON: u64 = 1_795_348_800_000; // 2026-11-22T12:00:00Z

fn line(message: Value) -> String {
    json!({"type": "message", "id": "00000000", "message": message}).to_string() + "\n"
}

fn user(at: u64) -> String {
    line(json!({"role": "user", "content": [{"type": "text", "text": "hi"}], "timestamp": at}))
}

fn assistant(at: u64, usage: Value) -> String {
    line(json!({
        "role": "assistant", "provider": "stub", "model": "m", "timestamp": at, "usage": usage,
        "stopReason": "stop",
        "content": [{"type": "toolCall", "id": "1", "name": "read", "arguments": {}}],
    }))
}

#[test]
fn a_transcript_is_summed_up_by_day() {
    let folder = Folder::new();
    let path = folder.path().join("t.jsonl");
    let day = 24 * 3600 * 1000;
    let text = [
        "{\"type\":\"session\",\"version\":3,\"id\":\"x\"}\n".to_string(),
        user(NOON),
        assistant(
            NOON + 1500,
            json!({"input": 11, "output": 10, "cost": {"input": 1.0, "output": 2.0, "total": 3.0}}),
        ),
        "not json\n".to_string(),
        user(NOON + day),
        assistant(
            NOON + day + 500,
            json!({"input": 1, "output": 2, "totalTokens": 9}),
        ),
        line(json!({"role": "toolResult", "isError": true, "timestamp": NOON + day})),
        "{\"type\":\"message\",\"mess".to_string(),
    ]
    .concat();
    fs::write(&path, text).unwrap();
    let u = read(&path, &Zone::utc()).unwrap();
    let dates: Vec<&String> = u.days.keys().collect();
    assert_eq!(dates, ["2026-11-22", "2026-11-23"]);
    let first = &u.days["2026-11-22"];
    assert_eq!((first.messages.user, first.messages.assistant), (1, 1));
    assert_eq!(first.latency.p95(), 1500);
    let calls = first.models[&("stub".to_string(), "m".to_string())];
    assert_eq!((calls.tokens.total, calls.unpriced_calls), (21, 0));
    assert_eq!(calls.cost.total, 3.0);
    let second = &u.days["2026-11-23"];
    let calls = second.models[&("stub".to_string(), "m".to_string())];
    assert_eq!((calls.tokens.total, calls.unpriced_calls), (9, 1));
    assert_eq!(calls.unpriced, calls.tokens);
    assert_eq!((second.messages.errors, second.tools["read"]), (1, 1));
    assert_eq!(u.first_ms, Some(NOON));
    assert_eq!(u.last_ms, Some(NOON + day + 500));
}

#[test]
fn a_summary_is_read_again_when_the_file_changes() {
    let folder = Folder::new();
    let path = folder.path().join("t.jsonl");
    let cache = Cache::default();
    assert_eq!(cache.get(&path, &Zone::utc()).unwrap().days.len(), 0);
    fs::write(&path, user(NOON)).unwrap();
    let first = cache.get(&path, &Zone::utc()).unwrap();
    assert!(Arc::ptr_eq(
        &first,
        &cache.get(&path, &Zone::utc()).unwrap()
    ));
    fs::write(&path, user(NOON) + &user(NOON + 1)).unwrap();
    let again = cache.get(&path, &Zone::utc()).unwrap();
    assert_eq!(again.days["2026-11-22"].messages.user, 2);
}

#[test]
fn overlong_lines_are_passed_over_without_being_held() {
    let folder = Folder::new();
    let path = folder.path().join("t.jsonl");
    let long = format!("{{\"x\":\"{}\"}}\n", "a".repeat(MAX_LINE));
    fs::write(&path, long + &user(NOON)).unwrap();
    let u = read(&path, &Zone::utc()).unwrap();
    assert_eq!(u.days["2026-11-22"].messages.user, 1);
}

#[test]
fn names_from_a_transcript_are_bounded() {
    let folder = Folder::new();
    let path = folder.path().join("t.jsonl");
    let text: String = (0..200)
        .map(|i| {
            line(json!({
                "role": "assistant", "provider": "p", "model": format!("m{i}"),
                "timestamp": NOON, "usage": {"input": 1},
            }))
        })
        .collect();
    fs::write(&path, text).unwrap();
    let u = read(&path, &Zone::utc()).unwrap();
    let day = &u.days["2026-11-22"];
    assert_eq!(day.models.len(), MAX_NAMES + 1);
    assert_eq!(day.models.values().map(|c| c.count).sum::<u64>(), 200);
}

#[test]
fn zones_are_read_as_clients_write_them() {
    assert_eq!(
        Zone::parse("UTC+2").unwrap().date(NOON + 10 * 3600 * 1000),
        "2026-11-23"
    );
    assert_eq!(
        Zone::parse("UTC-5:30")
            .unwrap()
            .date(NOON - 7 * 3600 * 1000),
        "2026-11-21"
    );
    for bad in [
        "", "CET", "UTC+", "UTC+x", "UTC+15", "UTC+1:60", "UTC+1:", "UTC*2",
    ] {
        assert_eq!(Zone::parse(bad), None, "{bad}");
    }
    assert_eq!(Zone::utc().date(u64::MAX), "9999-12-30");
}
