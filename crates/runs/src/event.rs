//! The history of runs, to be followed.

use std::collections::BTreeMap;

use serde_json::Value;

/// An event as it was stored. The owner of the shard numbers its events, so that a reader misses none.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredEvent {
    /// The shard.
    pub shard: u16,
    /// Its number in the shard, from 1, without gaps.
    pub seq: u64,
    /// The run.
    pub run_id: String,
    /// Whose.
    pub owner: String,
    /// The tag of the run.
    pub tag: Option<String>,
    /// The `workflow::Event`, JSON.
    pub event: Value,
}

/// Which events are read.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Those of one run.
    pub run_id: Option<String>,
    /// Those of one owner's runs.
    pub owner: Option<String>,
}

/// A position in all shards: the number of the last event seen of each; none of those that are not named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventCursor(pub BTreeMap<u16, u64>);

impl EventCursor {
    /// Its text: `shard-seq` joined by `_`, empty for the beginning.
    #[must_use]
    pub fn to_text(&self) -> String {
        let parts = self
            .0
            .iter()
            .map(|(shard, seq)| format!("{shard:x}-{seq:x}"));
        parts.collect::<Vec<_>>().join("_")
    }

    /// The cursor of a text; `None` if it is none.
    #[must_use]
    pub fn of_text(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::default());
        }
        let parts = text.split('_').map(|part| {
            let (shard, seq) = part.split_once('-')?;
            let shard = u16::from_str_radix(shard, 16).ok()?;
            (shard < crate::SHARDS).then_some(())?;
            Some((shard, u64::from_str_radix(seq, 16).ok()?))
        });
        parts.collect::<Option<BTreeMap<_, _>>>().map(Self)
    }
}

/// Events that were read, each shard's in order.
#[derive(Debug, Clone, Default)]
pub struct EventPage {
    /// The events.
    pub events: Vec<StoredEvent>,
    /// Where the next page begins.
    pub next: EventCursor,
    /// Some events after the given cursor are kept no more.
    pub missed: bool,
}
