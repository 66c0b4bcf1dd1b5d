//! What keys and tags lead to.

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
    fn keys_and_tags_lead_to_their_run_and_shard() {
        assert_eq!(run_of("r-1.node.0.1"), "r-1");
        assert_eq!(shard_of_tag(&tag_of(17)), Some(17));
        assert_eq!(shard_of_tag("other"), None);
    }
}
