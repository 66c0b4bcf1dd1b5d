//! How many queues there may be. A submission makes a queue by naming it, and each queue costs the
//! store and the metrics for good.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{Error, Store};

/// How long the store's list of queues counts when there is no room for another.
const LIMIT_CACHE_TTL: Duration = Duration::from_secs(1);
/// How long a submission that makes a queue may take to reach the store.
const PENDING_TTL: Duration = Duration::from_secs(60);

/// The queues that are known to exist.
#[derive(Debug, Default)]
pub(super) struct QueueNames(Mutex<KnownQueues>);

#[derive(Debug, Default)]
struct KnownQueues {
    /// Those in the store.
    names: BTreeSet<String>,
    /// When the store was queried.
    asked: Option<Instant>,
    /// Those that were allowed, and may not be in the store yet.
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

impl QueueNames {
    /// The queues of `wanted` that would be more than `most`; those of `own` are always allowed.
    /// Processes that make queues at the same moment may together make a few too many.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub(super) async fn refused(
        &self,
        store: &dyn Store,
        most: usize,
        own: &BTreeSet<String>,
        wanted: BTreeSet<&str>,
    ) -> Result<BTreeSet<String>, Error> {
        let new = |known: &KnownQueues| -> Vec<&str> {
            let new = wanted.iter().filter(|name| !known.has(name));
            let new = new.filter(|name| !own.contains(**name));
            new.copied().collect()
        };
        {
            let known = self.0.lock();
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
        let lanes = match store.lanes().await {
            // A broken connection is made anew, as for a submission.
            Err(Error::Unavailable { .. }) => store.lanes().await?,
            lanes => lanes?,
        };
        let now = Instant::now();
        let mut known = self.0.lock();
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
