//! Ids that are UUIDs, and the time.

use chrono::Utc;
use sha2::{Digest as _, Sha256};

/// Unix milliseconds.
pub(crate) fn now() -> u64 {
    u64::try_from(Utc::now().timestamp_millis()).unwrap_or(0)
}

/// A new one, version 7: those of later times come later.
pub(crate) fn new() -> String {
    let time = u128::from(now()) << 80;
    let random = rand::random::<u128>() & ((1 << 80) - 1);
    text(time | random, 7)
}

/// The same one for the same parts, version 8.
pub(crate) fn of(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    let hash = hash.finalize();
    let first = hash.iter().take(16);
    let number = first.fold(0_u128, |number, byte| (number << 8) | u128::from(*byte));
    text(number, 8)
}

/// `sha256:…` of content.
pub(crate) fn cas_id(content: &[u8]) -> String {
    let hex = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("sha256:{hex}")
}

/// Whether a text is a UUID, as they are usually written.
pub(crate) fn is_uuid(text: &str) -> bool {
    let dashes = [8, 13, 18, 23];
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match dashes.contains(&at) {
            true => byte == b'-',
            false => byte.is_ascii_hexdigit(),
        })
}

fn text(number: u128, version: u128) -> String {
    let number = number & !(0xf << 76) | version << 76;
    let number = number & !(0b11 << 62) | 0b10 << 62;
    let hex = format!("{number:032x}");
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32];
    parts.map(|part| hex.get(part).unwrap_or_default()).join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_the_form_of_uuids_and_name_their_version() {
        let (one, other) = (new(), new());
        assert_ne!(one, other);
        for id in [&one, &other, &of(&["a", "b"])] {
            assert!(is_uuid(id), "{id}");
            assert!(matches!(id.as_bytes()[19], b'8' | b'9' | b'a' | b'b'), "{id}");
        }
        assert_eq!(one.as_bytes()[14], b'7');
        assert_eq!(of(&["ab"]).as_bytes()[14], b'8');
        assert_eq!(of(&["a", "b"]), of(&["a", "b"]));
        assert_ne!(of(&["a", "b"]), of(&["ab", ""]), "parts stay apart");
        for text in ["", "x", "0193a7c0-f2b1-700d-8e1f-8a3c2d4e5f6", "0193a7c0xf2b1-700d-8e1f-8a3c2d4e5f60"] {
            assert!(!is_uuid(text), "{text}");
        }
    }

    #[test]
    fn content_is_named_by_its_hash() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(cas_id(b""), empty);
    }
}
