//! Durations and sizes as people write them in the configuration: `30m`, `1h30m`, `10mb`.

/// Milliseconds of `text`: `ms`, `s`, `m`, `h` or `d`, also several after each other. A bare number is in
/// units of `bare` milliseconds.
pub fn duration_ms(text: &str, bare: u64) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    if let Some(number) = decimal(&text) {
        return whole(number * bare as f64);
    }
    let mut total = 0.0;
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| c.is_ascii_alphabetic())?;
        let number = decimal(&rest[..digits])?;
        let after = &rest[digits..];
        let end = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        total += number
            * match &after[..end] {
                "ms" => 1.0,
                "s" => 1e3,
                "m" => 60e3,
                "h" => 3600e3,
                "d" => 86_400e3,
                _ => return None,
            };
        rest = &after[end..];
    }
    (!text.is_empty()).then(|| whole(total))?
}

/// Bytes of `text`: `b`, `kb`, `mb`, `gb` or `tb` (powers of 1024), or a bare number.
pub fn bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text
        .find(|c: char| c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let factor: u64 = match &text[digits..] {
        "" | "b" => 1,
        "k" | "kb" => 1 << 10,
        "m" | "mb" => 1 << 20,
        "g" | "gb" => 1 << 30,
        "t" | "tb" => 1 << 40,
        _ => return None,
    };
    whole(decimal(&text[..digits])? * factor as f64)
}

/// Digits, with more after a point or not.
fn decimal(text: &str) -> Option<f64> {
    let (before, after) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    (digits(before) && digits(after)).then(|| text.parse().ok())?
}

fn whole(number: f64) -> Option<u64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    (number <= EXACT).then(|| number.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let minutes = |t: &str| duration_ms(t, 60_000);
        assert_eq!(minutes("5"), Some(300_000));
        assert_eq!(minutes("0.5"), Some(30_000));
        assert_eq!(minutes("30m"), Some(1_800_000));
        assert_eq!(minutes("1.5h"), Some(5_400_000));
        assert_eq!(minutes("1h30m"), Some(5_400_000));
        assert_eq!(minutes(" 250MS "), Some(250));
        assert_eq!(minutes("2d"), Some(172_800_000));
        assert_eq!(minutes("0m"), Some(0));
        for bad in [
            "",
            "x",
            "5x",
            "-1",
            "1h 30m",
            "m",
            "1.",
            ".5",
            "1e3",
            "1h30",
            "99999999999999999d",
        ] {
            assert_eq!(minutes(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(bytes("10mb"), Some(10 << 20));
        assert_eq!(bytes("1.5KB"), Some(1536));
        assert_eq!(bytes("2000000"), Some(2_000_000));
        assert_eq!(bytes("7b"), Some(7));
        for bad in ["", "mb", "5x", "-1", "1 mb", "99999999tb"] {
            assert_eq!(bytes(bad), None, "{bad:?}");
        }
    }
}
