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
    /// Every service of a catalog, by name. Those without a snapshot are not told within `patience`.
    pub async fn snapshots(
        &self,
        discovery: &dyn Discovery,
        catalog: &Catalog,
        patience: Duration,
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
        let until = Instant::now() + patience;
        let mut snapshots = Vec::with_capacity(watched.len());
        for (name, mut told) in watched {
            // All are asked already: one that is waited for holds up no other.
            let left = until.saturating_duration_since(Instant::now());
            snapshots.push((name, first_answer(&mut told, left).await));
        }
        snapshots
    }
}

/// What a registry told, once it has; `None` when it does not within `patience`. While the receiver
/// lives, [`Discovery::last_error`] knows why.
pub async fn first_answer<T: Clone>(
    told: &mut watch::Receiver<Option<T>>,
    patience: Duration,
) -> Option<T> {
    let known = timeout(patience, told.wait_for(Option::is_some)).await;
    known.ok()?.ok()?.clone()
}
