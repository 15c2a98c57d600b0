//! What a device signs, and the forms in which its key is written. Both sides of the wire use this.

use crate::sys::id;

/// What comes before the 32 bytes of an Ed25519 key in a SubjectPublicKeyInfo.
pub const SPKI: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// The fields that a device signs when it connects.
pub struct Signed<'a> {
    pub device_id: &'a str,
    pub client_id: &'a str,
    pub client_mode: &'a str,
    pub role: &'a str,
    /// In the order in which they are asked for.
    pub scopes: &'a [String],
    /// Milliseconds since 1970.
    pub signed_at: u64,
    /// `auth.token`, else `auth.deviceToken`, else empty. A password is never signed.
    pub token: &'a str,
    /// Of this connection's challenge.
    pub nonce: &'a str,
}

impl Signed<'_> {
    /// The text that the signature covers.
    pub fn text(&self) -> String {
        format!(
            "v2|{}|{}|{}|{}|{}|{}|{}|{}",
            self.device_id,
            self.client_id,
            self.client_mode,
            self.role,
            self.scopes.join(","),
            self.signed_at,
            self.token,
            self.nonce,
        )
    }
}

/// The raw key in base64url, base64 or a PEM block (SubjectPublicKeyInfo).
pub fn public_key(text: &str) -> Option<[u8; 32]> {
    let text = text.trim();
    let Some(rest) = text.strip_prefix("-----BEGIN PUBLIC KEY-----") else {
        return id::from_b64(text)?.try_into().ok();
    };
    let body: String = rest
        .strip_suffix("-----END PUBLIC KEY-----")?
        .split_whitespace()
        .collect();
    id::from_b64(&body)?.strip_prefix(&SPKI)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_in_every_form() {
        let key = [7u8; 32];
        let pem = data_encoding::BASE64.encode(&[&SPKI[..], &key[..]].concat());
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{pem}\n-----END PUBLIC KEY-----\n");
        assert_eq!(public_key(&pem), Some(key));
        assert_eq!(public_key(&id::b64url(&key)), Some(key));
        assert_eq!(public_key(&data_encoding::BASE64.encode(&key)), Some(key));
        assert_eq!(public_key("short"), None);
        assert_eq!(public_key("-----BEGIN PUBLIC KEY-----"), None);
    }
}
