//! Times and amounts as people read them.

/// How long ago `ms` is: `just now`, `7m ago`, `3h ago`, `5d ago`.
pub fn ago(ms: u64) -> String {
    match ms / 60_000 {
        0 => "just now".to_string(),
        minutes => format!("{} ago", span_of_minutes(minutes)),
    }
}

/// A span in its largest unit: `12s`, `7m`, `3h`, `5d`.
pub fn span(ms: u64) -> String {
    match ms / 1000 {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds => span_of_minutes(seconds / 60),
    }
}

fn span_of_minutes(minutes: u64) -> String {
    match minutes {
        0..60 => format!("{minutes}m"),
        60..2880 => format!("{}h", minutes / 60),
        _ => format!("{}d", minutes / 1440),
    }
}

/// A number of tokens: `0.0k`, `12.5k`, `128k`.
pub fn kilo(n: u64) -> String {
    match n {
        0..100_000 if !n.is_multiple_of(1000) || n < 1000 => format!("{:.1}k", n as f64 / 1000.0),
        _ => format!("{}k", n / 1000),
    }
}

/// Tokens of a context: `11/128k (0%)`, `unknown/128k (?%)`.
pub fn context(used: Option<u64>, of: Option<u64>) -> String {
    match (used, of) {
        (None, None) => "-".to_string(),
        (Some(used), None) => kilo(used),
        (None, Some(of)) => format!("unknown/{} (?%)", kilo(of)),
        (Some(used), Some(of)) => {
            let percent = used.saturating_mul(100).checked_div(of).unwrap_or(0);
            format!("{}/{} ({percent}%)", kilo(used), kilo(of))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_change_where_people_change_them() {
        assert_eq!(ago(59_999), "just now");
        assert_eq!(ago(7 * 60_000), "7m ago");
        assert_eq!(ago(3_600_000), "1h ago");
        assert_eq!(ago(48 * 3_600_000), "2d ago");
        assert_eq!((span(0).as_str(), span(61_000).as_str()), ("0s", "1m"));
    }

    #[test]
    fn tokens() {
        assert_eq!(context(Some(11), Some(128_000)), "0.0k/128k (0%)");
        assert_eq!(context(Some(64_500), Some(128_000)), "64.5k/128k (50%)");
        assert_eq!(context(None, Some(200_000)), "unknown/200k (?%)");
        assert_eq!(context(Some(1), Some(0)), "0.0k/0.0k (0%)");
    }
}
