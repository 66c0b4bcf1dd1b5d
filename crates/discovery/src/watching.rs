//! What readers of a registry need: its first answer, and watches of every service.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::watch, time::timeout};

use crate::{Catalog, Discovery, Snapshot};

/// Waits for the registry's first answer; `None` when it does not come within `limit`.
pub async fn first_answer<T: Clone>(
    receiver: &mut watch::Receiver<Option<T>>,
    limit: Duration,
) -> Option<T> {
    let known = timeout(limit, receiver.wait_for(Option::is_some)).await;
    known.ok()?.ok()?.clone()
}

type Receivers = BTreeMap<Arc<str>, watch::Receiver<Option<Arc<Snapshot>>>>;

/// Watches of every service, kept from one question about all of them to the next.
#[derive(Debug, Default)]
pub struct ServiceWatches(Mutex<Receivers>);

impl ServiceWatches {
    /// A receiver for each service of the catalog. Services that have left are watched no more.
    pub fn of(&self, discovery: &dyn Discovery, catalog: &Catalog) -> Receivers {
        let mut watched = self.0.lock();
        watched.retain(|service, _| catalog.services.contains_key(service));
        for service in catalog.services.keys() {
            let watch = || discovery.watch(service);
            watched.entry(service.clone()).or_insert_with(watch);
        }
        watched.clone()
    }
}
