//! Attachments of a message: what a client sent with it, checked before anything is decoded or kept.

use serde_json::Value;

use super::image;
use super::provider::Part;
use crate::protocol::RpcError;
use crate::protocol::frame::clip;
use crate::sys::id;

/// Attachments of one message.
const MAX_ATTACHMENTS: usize = 16;
/// Largest attachment after decoding, in bytes.
const MAX_BYTES: usize = 5 * 1024 * 1024;
/// Characters that are looked at to tell what an image is: enough for any header.
const HEADER_CHARS: usize = 64 * 1024;

/// The images among `attachments` (`[{type?, mimeType?, fileName?, content}]`, content in base64 or as a data URL).
///
/// Entries without content are ignored, as are those that are no images. The error names the attachment.
pub fn images(attachments: Option<&Value>) -> Result<Vec<Part>, RpcError> {
    let list = attachments
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    if list.len() > MAX_ATTACHMENTS {
        return Err(RpcError::invalid(format!(
            "too many attachments: at most {MAX_ATTACHMENTS}"
        )));
    }
    let mut images = Vec::new();
    for (i, a) in list.iter().enumerate() {
        let Some(content) = a["content"]
            .as_str()
            .map(str::trim)
            .filter(|c| !c.is_empty())
        else {
            continue;
        };
        let named = a["fileName"]
            .as_str()
            .or_else(|| a["name"].as_str())
            .map(|n| clip(n, 128).to_string());
        let name = named.unwrap_or_else(|| format!("attachment-{}", i + 1));
        let refuse = |why: &str| RpcError::invalid(format!("Error: attachment {name}: {why}"));
        if let Some(part) =
            image_part(content, a["mimeType"].as_str()).map_err(|why| refuse(&why))?
        {
            images.push(part);
        } else {
            log::info!(target: "agent", "attachment ignored: it is no image");
        }
    }
    Ok(images)
}

fn image_part(content: &str, mime: Option<&str>) -> Result<Option<Part>, String> {
    let data = match content.strip_prefix("data:") {
        Some(url) => url
            .split_once("base64,")
            .map(|(_, d)| d)
            .ok_or("invalid base64 content")?,
        None => content,
    };
    // Refused by the length of the text: four characters are at most three bytes (RL-03).
    let most = data.len() / 4 * 3;
    if most > MAX_BYTES + 3 {
        return Err(format!("exceeds size limit ({most} > {MAX_BYTES} bytes)"));
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'-' | b'_' | b'=');
    let clean: String = match data.bytes().all(plain) {
        true => data.to_string(),
        false => data.split_ascii_whitespace().collect(),
    };
    let bytes = id::from_b64(&clean).ok_or("invalid base64 content")?;
    let header = &bytes[..bytes.len().min(HEADER_CHARS)];
    let found = match image::probe(header) {
        Ok(found) => found,
        Err(e) if mime.is_some_and(|m| m.starts_with("image/")) => return Err(e.to_string()),
        Err(_) => return Ok(None),
    };
    found.check_size().map_err(|e| e.to_string())?;
    Ok(Some(Part::Image {
        mime: found.mime.to_string(),
        data: clean,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::BASE64;
    use serde_json::json;

    fn png(width: u32, height: u32) -> String {
        let mut b = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        b.extend(width.to_be_bytes());
        b.extend(height.to_be_bytes());
        b.extend([8, 6, 0, 0, 0]);
        BASE64.encode(&b)
    }

    fn one(content: &str, mime: &str) -> Result<Vec<Part>, RpcError> {
        images(Some(
            &json!([{"fileName": "x", "mimeType": mime, "content": content}]),
        ))
    }

    #[test]
    fn images_pass_and_what_is_none_is_ignored_or_refused() {
        assert_eq!(one(&png(2, 2), "image/png").unwrap().len(), 1);
        assert_eq!(
            one(&format!("data:image/png;base64,{}", png(2, 2)), "image/png")
                .unwrap()
                .len(),
            1
        );
        assert_eq!(
            one(&BASE64.encode(b"hello"), "text/plain").unwrap().len(),
            0
        );
        assert_eq!(images(Some(&json!([{"fileName": "x"}]))).unwrap().len(), 0);
        let e = one("%%%", "image/png").unwrap_err();
        assert_eq!(e.message, "Error: attachment x: invalid base64 content");
    }

    #[test]
    fn rl_03_size_is_judged_by_the_encoded_length() {
        let big = "A".repeat((MAX_BYTES + 1024) / 3 * 4);
        let e = one(&big, "image/png").unwrap_err();
        assert!(e.message.contains("exceeds size limit"), "{e}");
    }

    #[test]
    fn rl_06_pixels_are_judged_by_the_header() {
        let e = one(&png(60_000, 60_000), "image/png").unwrap_err();
        assert!(e.message.contains("pixels"), "{e}");
    }
}
