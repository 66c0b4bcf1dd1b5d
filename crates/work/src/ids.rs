//! Ids of runs and of parts of tasks, known before their job runs.

/// Letters and digits that are not easily confused: 32 of them, 5 bits each.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// The seed of the ids of one submission. Under an idempotency key they are the same each time, so
/// that the same submission is the same job. Otherwise they are random.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IdSeed(u64);

impl IdSeed {
    pub(crate) fn new(key: Option<&str>, about: &str) -> Self {
        Self(key.map_or_else(rand::random, |key| {
            xxhash_rust::xxh3::xxh3_64(format!("{key}\0{about}").as_bytes())
        }))
    }

    /// `<prefix>-xxxxxxxx`, with 40 bits; another one for every number.
    pub(crate) fn id(self, prefix: &str, number: u64) -> String {
        let mut rest = xxhash_rust::xxh3::xxh3_64_with_seed(&number.to_le_bytes(), self.0);
        let mut id = format!("{prefix}-");
        for _ in 0..8 {
            id.push(char::from(LETTERS[usize::from(rest as u8 % 32)]));
            rest >>= 5;
        }
        id
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_differ_by_chance_and_number_but_not_under_one_key() {
        let chance: BTreeSet<String> = (0..1_000)
            .map(|_| IdSeed::new(None, "goal").id("run", 0))
            .collect();
        assert_eq!(chance.len(), 1_000);
        assert!(chance.iter().all(|id| id.len() == "run-xxxxxxxx".len()));
        let keyed = IdSeed::new(Some("k"), "goal");
        assert_eq!(
            keyed.id("run", 0),
            IdSeed::new(Some("k"), "goal").id("run", 0)
        );
        assert_ne!(keyed.id("run", 0), keyed.id("run", 1));
        assert_ne!(
            keyed.id("run", 0),
            IdSeed::new(Some("k"), "other").id("run", 0)
        );
    }
}
