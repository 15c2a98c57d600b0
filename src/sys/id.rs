//! Random bytes, identifiers, digests and their text forms.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;

use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD};
use sha2::{Digest, Sha256};

/// `N` bytes from the system's generator.
///
/// Panics when `/dev/urandom` cannot be read: there is no safe way to go on without it.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0u8; N];
    File::open("/dev/urandom")
        .and_then(|mut f| f.read_exact(&mut bytes))
        .expect("/dev/urandom is readable");
    bytes
}

/// A random UUID, version 4, in lower case.
pub fn uuid() -> String {
    let mut b = random::<16>();
    b[6] = (b[6] & 0x0f) | 0x40;
    b[8] = (b[8] & 0x3f) | 0x80;
    let h = hex(&b);
    format!(
        "{}-{}-{}-{}-{}",
        &h[..8],
        &h[8..12],
        &h[12..16],
        &h[16..20],
        &h[20..]
    )
}

/// Eight random hex digits, the id of a transcript line.
pub fn hex8() -> String {
    hex(&random::<4>())
}

/// Lower-case hex of `bytes`.
pub fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut s, b| {
            let _ = write!(s, "{b:02x}");
            s
        })
}

/// SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// SHA-256 of `bytes` as lower-case hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&sha256(bytes))
}

/// base64url without padding.
pub fn b64url(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}

/// Decodes base64 or base64url, padded or not; `None` for anything else.
pub fn from_b64(text: &str) -> Option<Vec<u8>> {
    let t = text.as_bytes();
    let padded = text.ends_with('=');
    let url = text.contains(['-', '_']);
    match (url, padded) {
        (true, true) => BASE64URL.decode(t),
        (true, false) => BASE64URL_NOPAD.decode(t),
        (false, true) => BASE64.decode(t),
        (false, false) => BASE64_NOPAD.decode(t),
    }
    .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuid_is_version_4() {
        let u = uuid();
        assert_eq!(u.len(), 36);
        assert_eq!(u.as_bytes()[14], b'4');
        assert!(matches!(u.as_bytes()[19], b'8' | b'9' | b'a' | b'b'));
        assert_ne!(u, uuid());
    }

    #[test]
    fn base64_is_read_in_all_four_forms() {
        let bytes = [0xfb, 0xff, 0x01, 0x02];
        for text in ["+/8BAg==", "+/8BAg", "-_8BAg==", "-_8BAg"] {
            assert_eq!(from_b64(text).as_deref(), Some(&bytes[..]), "{text}");
        }
        assert_eq!(from_b64("no spaces"), None);
        assert_eq!(b64url(&bytes), "-_8BAg");
    }
}
