//! How many queues there may be. Anybody makes a queue by naming one, and each costs its store and
//! its metrics for good.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::Jobs;
use crate::Error;

/// How long what the store said of its queues is believed when there is no room for another.
const LIMIT_CACHE_TTL: Duration = Duration::from_secs(1);
/// How long a submission that makes a queue may take to reach the store.
const PENDING_TTL: Duration = Duration::from_secs(60);

/// The queues that are known to be.
#[derive(Debug, Default)]
pub(super) struct QueueNames(Mutex<KnownQueues>);

#[derive(Debug, Default)]
struct KnownQueues {
    /// Those in the store.
    names: BTreeSet<String>,
    /// When it was asked.
    asked: Option<Instant>,
    /// Those that were let in, and may not be in the store yet.
    pending: HashMap<String, Instant>,
}

impl KnownQueues {
    fn has(&self, name: &str) -> bool {
        self.names.contains(name) || self.pending.contains_key(name)
    }

    fn count(&self) -> usize {
        let more = self.pending.keys();
        self.names.len() + more.filter(|name| !self.names.contains(*name)).count()
    }
}

impl Jobs {
    /// Those of some queues that may not be made. Processes that make queues at the same moment
    /// may together make a few too many.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub(super) async fn refused(&self, wanted: BTreeSet<&str>) -> Result<BTreeSet<String>, Error> {
        let most = self.options.max_queues;
        let new = |known: &KnownQueues| -> Vec<&str> {
            let new = wanted.iter().filter(|name| !known.has(name));
            let new = new.filter(|name| !self.options.own_queues.contains(**name));
            new.copied().collect()
        };
        {
            let known = self.queue_names.0.lock();
            let fresh = known
                .asked
                .is_some_and(|asked| asked.elapsed() < LIMIT_CACHE_TTL);
            let new = new(&known);
            if most == 0 || new.is_empty() {
                return Ok(BTreeSet::new());
            }
            if fresh && known.count() >= most {
                return Ok(new.into_iter().map(str::to_owned).collect());
            }
        }
        let lanes = match self.store.lanes().await {
            // A connection that broke is made anew, as for a submission.
            Err(Error::Unavailable { .. }) => self.store.lanes().await?,
            lanes => lanes?,
        };
        let now = Instant::now();
        let mut known = self.queue_names.0.lock();
        known.names = lanes.into_iter().map(|lane| lane.queue).collect();
        known.asked = Some(now);
        known.pending.retain(|_, since| now - *since < PENDING_TTL);
        let mut refused = BTreeSet::new();
        for name in new(&known) {
            if known.count() < most {
                known.pending.insert(name.to_owned(), now);
            } else {
                refused.insert(name.to_owned());
            }
        }
        Ok(refused)
    }
}
