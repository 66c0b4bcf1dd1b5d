//! Ids that are made from what they stand for, so that doing it again is the same thing.

use sha2::{Digest as _, Sha256};

/// An id in the form of a UUID, made from a text. RFC 9562 calls it version 8.
pub(crate) fn uuid_of(text: &str) -> String {
    let mut hash = xxhash_rust::xxh3::xxh3_128(text.as_bytes());
    hash = hash & !(0xf << 76) | 8 << 76;
    hash = hash & !(0x3 << 62) | 2 << 62;
    let hex = format!("{hash:032x}");
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    parts.join("-")
}

/// The name of a blob.
pub(crate) fn blob_id(content: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut name = String::from("sha256:");
    for byte in Sha256::digest(content) {
        // Writing to a text cannot fail.
        write!(name, "{byte:02x}").ok();
    }
    name
}

/// The run that the key of a job, timer, approval or child belongs to: `RUN.NODE.…`.
pub(crate) fn run_of(key: &str) -> &str {
    key.split_once('.').map_or(key, |(run, _)| run)
}

/// The tag of the completions of a shard's jobs.
pub(crate) fn tag_of(shard: u16) -> String {
    format!("wf{shard}")
}

/// The shard of such a tag.
pub(crate) fn shard_of_tag(tag: &str) -> Option<u16> {
    tag.strip_prefix("wf")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_same_for_the_same_text_and_has_the_form_of_a_uuid() {
        let id = uuid_of("run.node.0");
        assert_eq!(id, uuid_of("run.node.0"));
        assert_ne!(id, uuid_of("run.node.1"));
        let lengths: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert_eq!(&id[14..15], "8");
    }

    #[test]
    fn a_blob_is_named_by_its_content() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(blob_id(b""), empty);
    }

    #[test]
    fn keys_and_tags_lead_to_their_run_and_shard() {
        assert_eq!(run_of("r-1.node.0.1"), "r-1");
        assert_eq!(shard_of_tag(&tag_of(17)), Some(17));
        assert_eq!(shard_of_tag("other"), None);
    }
}
