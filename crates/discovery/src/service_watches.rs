//! Watching every service of the mesh.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::{sync::watch, time::timeout};

use crate::{Catalog, Discovery, Snapshot};

type Watch = watch::Receiver<Option<Arc<Snapshot>>>;

/// Watches every service from the first question on, so that the next is answered at once.
#[derive(Debug, Default)]
pub struct ServiceWatches(Mutex<BTreeMap<Arc<str>, Watch>>);

impl ServiceWatches {
    /// Every service of a catalog, by name. A service that the registry does not answer about within `limit` has no
    /// snapshot.
    pub async fn snapshots(
        &self,
        discovery: &dyn Discovery,
        catalog: &Catalog,
        limit: Duration,
    ) -> Vec<(Arc<str>, Option<Arc<Snapshot>>)> {
        let watched = {
            let mut watched = self.0.lock();
            watched.retain(|name, _| catalog.services.contains_key(name));
            for name in catalog.services.keys() {
                let watch = || discovery.watch(name);
                watched.entry(name.clone()).or_insert_with(watch);
            }
            watched.clone()
        };
        let until = Instant::now() + limit;
        let mut snapshots = Vec::with_capacity(watched.len());
        for (name, mut receiver) in watched {
            // All queries are under way: waiting for one does not delay the others.
            let left = until.saturating_duration_since(Instant::now());
            snapshots.push((name, first_answer(&mut receiver, left).await));
        }
        snapshots
    }
}

/// The registry's first answer; `None` when it does not come within `limit`. While the receiver lives,
/// [`Discovery::last_error`] says why.
pub async fn first_answer<T: Clone>(
    receiver: &mut watch::Receiver<Option<T>>,
    limit: Duration,
) -> Option<T> {
    let known = timeout(limit, receiver.wait_for(Option::is_some)).await;
    known.ok()?.ok()?.clone()
}
