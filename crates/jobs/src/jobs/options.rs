//! What a queue is made with.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use backoff::Backoff;

/// What a queue is made with.
#[derive(Debug, Clone)]
pub struct QueueOptions {
    /// How long a worker may be silent about a job before others get it; 30 s. The same for all
    /// workers of a queue.
    pub lease: Duration,
    /// How long results are kept; a day.
    pub result_ttl: Duration,
    /// How long dead letters are kept; a week.
    pub dead_ttl: Duration,
    /// Partitions of queues that are to have more than one.
    pub partitions: BTreeMap<String, u16>,
    /// The largest payload, in bytes; 4 MiB.
    pub max_payload: usize,
    /// The largest result, in bytes; 64 MiB. A job with a larger one is dead.
    pub max_result: usize,
    /// How long failed jobs wait; 1 s, doubling to 5 min, ± 20 %.
    pub backoff: Backoff,
    /// How many queues there may be; 1,000, and 0 is no limit.
    pub max_queues: usize,
    /// Queues that there may be in any case: the operator's own.
    pub own_queues: BTreeSet<String>,
}

impl Default for QueueOptions {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            result_ttl: Duration::from_secs(86_400),
            dead_ttl: Duration::from_secs(7 * 86_400),
            partitions: BTreeMap::new(),
            max_payload: 4 << 20,
            max_result: 64 << 20,
            backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(300), 0.2),
            max_queues: 1_000,
            own_queues: BTreeSet::new(),
        }
    }
}
