//! What an image is and how large, told by its header. Nothing is ever decoded here.

use std::fmt;

/// Longest side, in pixels.
const MAX_SIDE: u32 = 16_384;
/// Largest area, in pixels (RL-06).
const MAX_PIXELS: u64 = 50_000_000;

/// An image by its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    pub mime: &'static str,
    pub width: u32,
    pub height: u32,
}

/// Why a file is not taken as an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageError {
    /// No PNG, JPEG, GIF or WebP, or cut off before its size is told.
    NotAnImage,
    TooLarge(u32, u32),
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageError::NotAnImage => f.write_str("not a PNG, JPEG, GIF or WebP image"),
            ImageError::TooLarge(w, h) => {
                write!(
                    f,
                    "{w}x{h} pixels; at most {MAX_SIDE} a side and {MAX_PIXELS} in all"
                )
            }
        }
    }
}

impl std::error::Error for ImageError {}

impl Image {
    /// Refuses what would take too much memory to decode, wherever it is decoded.
    pub fn check_size(self) -> Result<(), ImageError> {
        let area = u64::from(self.width) * u64::from(self.height);
        match self.width.max(self.height) > MAX_SIDE || area > MAX_PIXELS {
            true => Err(ImageError::TooLarge(self.width, self.height)),
            false => Ok(()),
        }
    }
}

/// Reads the header of a PNG, GIF, WebP or JPEG.
pub fn probe(bytes: &[u8]) -> Result<Image, ImageError> {
    let found = match bytes {
        [0x89, b'P', b'N', b'G', ..] => png(bytes),
        [b'G', b'I', b'F', b'8', ..] => gif(bytes),
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'E',
            b'B',
            b'P',
            ..,
        ] => webp(bytes),
        [0xff, 0xd8, 0xff, ..] => jpeg(bytes),
        _ => None,
    };
    found
        .filter(|i| i.width > 0 && i.height > 0)
        .ok_or(ImageError::NotAnImage)
}

fn be32(b: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(b.get(at..at + 4)?.try_into().ok()?))
}

fn be16(b: &[u8], at: usize) -> Option<u32> {
    Some(u32::from(u16::from_be_bytes(
        b.get(at..at + 2)?.try_into().ok()?,
    )))
}

fn le16(b: &[u8], at: usize) -> Option<u32> {
    Some(u32::from(u16::from_le_bytes(
        b.get(at..at + 2)?.try_into().ok()?,
    )))
}

fn le24(b: &[u8], at: usize) -> Option<u32> {
    let b = b.get(at..at + 3)?;
    Some(u32::from(b[0]) | u32::from(b[1]) << 8 | u32::from(b[2]) << 16)
}

fn png(b: &[u8]) -> Option<Image> {
    (b.get(12..16)? == b"IHDR").then_some(())?;
    Some(Image {
        mime: "image/png",
        width: be32(b, 16)?,
        height: be32(b, 20)?,
    })
}

fn gif(b: &[u8]) -> Option<Image> {
    Some(Image {
        mime: "image/gif",
        width: le16(b, 6)?,
        height: le16(b, 8)?,
    })
}

fn webp(b: &[u8]) -> Option<Image> {
    let (width, height) = match b.get(12..16)? {
        b"VP8X" => (le24(b, 24)? + 1, le24(b, 27)? + 1),
        b"VP8L" => {
            let bits = u32::from_le_bytes(b.get(21..25)?.try_into().ok()?);
            ((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1)
        }
        b"VP8 " => (le16(b, 26)? & 0x3fff, le16(b, 28)? & 0x3fff),
        _ => return None,
    };
    Some(Image {
        mime: "image/webp",
        width,
        height,
    })
}

/// Walks the segments to the first start-of-frame.
fn jpeg(b: &[u8]) -> Option<Image> {
    let mut at = 2;
    loop {
        if *b.get(at)? != 0xff {
            return None;
        }
        let marker = *b.get(at + 1)?;
        match marker {
            0xff => at += 1,
            0x01 | 0xd0..=0xd7 => at += 2,
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                return Some(Image {
                    mime: "image/jpeg",
                    height: be16(b, at + 5)?,
                    width: be16(b, at + 7)?,
                });
            }
            0xd9 | 0xda => return None,
            _ => at += 2 + usize::try_from(be16(b, at + 2)?).ok()?.max(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_all_four_kinds() {
        let mut jpeg = vec![0xff, 0xd8, 0xff, 0xe0, 0, 4, 1, 2, 0xff, 0xc0, 0, 11, 8];
        jpeg.extend([0, 3, 0, 5, 1, 0, 0]);
        assert_eq!(
            probe(&jpeg),
            Ok(Image {
                mime: "image/jpeg",
                width: 5,
                height: 3
            })
        );
        let gif = b"GIF89a\x05\0\x03\0";
        assert_eq!(
            probe(gif),
            Ok(Image {
                mime: "image/gif",
                width: 5,
                height: 3
            })
        );
        let mut webp = b"RIFF\0\0\0\0WEBPVP8X\0\0\0\0\0\0\0\0".to_vec();
        webp.extend([4, 0, 0, 2, 0, 0]);
        assert_eq!(
            probe(&webp),
            Ok(Image {
                mime: "image/webp",
                width: 5,
                height: 3
            })
        );
        for cut in 0..jpeg.len() - 3 {
            assert_eq!(probe(&jpeg[..cut]), Err(ImageError::NotAnImage));
        }
    }
}
