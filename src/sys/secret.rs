//! The one place where secrets are compared.

use super::id;

/// Whether `a` and `b` are equal, in a time that depends on neither content nor common prefix.
///
/// Both sides are hashed first, so that lengths do not show either.
pub fn same(a: &str, b: &str) -> bool {
    let (a, b) = (id::sha256(a.as_bytes()), id::sha256(b.as_bytes()));
    let diff = a.iter().zip(&b).fold(0u8, |acc, (x, y)| acc | (x ^ y));
    std::hint::black_box(diff) == 0
}

#[cfg(test)]
mod tests {
    use super::same;

    #[test]
    fn sl_05_secrets_are_equal_only_when_equal_whatever_their_length() {
        for length in 0..=64 {
            let secret = "s".repeat(length);
            assert!(same(&secret, &secret));
            for other in 0..=64 {
                let prefix = "s".repeat(other);
                assert_eq!(
                    same(&secret, &prefix),
                    length == other,
                    "{length} and {other}"
                );
            }
            assert!(!same(
                &secret,
                &format!("{}t", &secret[..length.saturating_sub(1)])
            ));
        }
    }
}
