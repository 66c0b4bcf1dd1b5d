//! Ids that are UUIDs, and the time.

use chrono::Utc;

/// Unix milliseconds.
pub(crate) fn now() -> u64 {
    u64::try_from(Utc::now().timestamp_millis()).unwrap_or(0)
}

/// The same id for the same parts.
pub(crate) fn of(parts: &[&str]) -> String {
    runs::id_of(&serde_json::json!(parts).to_string())
}

/// Whether a text is a UUID, as they are usually written.
pub(crate) fn is_uuid(text: &str) -> bool {
    const DASHES: [usize; 4] = [8, 13, 18, 23];
    let fits = |(at, byte): (usize, u8)| match DASHES.contains(&at) {
        true => byte == b'-',
        false => byte.is_ascii_hexdigit(),
    };
    text.len() == 36 && text.bytes().enumerate().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_the_form_of_uuids_and_parts_stay_apart() {
        assert!(is_uuid(&runs::new_id()) && is_uuid(&of(&["a", "b"])));
        assert_eq!(of(&["a", "b"]), of(&["a", "b"]));
        assert_ne!(of(&["a", "b"]), of(&["ab", ""]));
        for text in [
            "",
            "x",
            "0193a7c0-f2b1-700d-8e1f-8a3c2d4e5f6",
            "0193a7c0xf2b1-700d-8e1f-8a3c2d4e5f60",
        ] {
            assert!(!is_uuid(text), "{text}");
        }
    }
}
