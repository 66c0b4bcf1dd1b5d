//! Those who wait for a lane's events. One of them waits for all, on one connection that may block.
//! When it is done or dropped, the next one takes its turn.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::Lane;

/// The place of an entry in a stream: its id, `<ms>-<number>`.
pub(super) type EntryId = (u64, u64);

/// The lanes with somebody who waits for their events.
#[derive(Debug, Default)]
pub(super) struct TailWatchers(Mutex<HashMap<Lane, Arc<TailWatcher>>>);

#[derive(Debug, Default)]
pub(super) struct TailWatcher {
    /// Held by the one that asks Redis.
    pub(super) turn: tokio::sync::Mutex<()>,
    /// The latest entry, as that one saw it. It is what Redis says, not the greatest ever seen: a
    /// Redis that came back older has an earlier one.
    pub(super) latest: watch::Sender<EntryId>,
}

/// A place among those that wait; the last one to leave takes the lane along.
pub(super) struct TailSubscription<'a> {
    watchers: &'a TailWatchers,
    lane: &'a Lane,
    pub(super) tail: Arc<TailWatcher>,
}

impl TailWatchers {
    pub(super) fn subscribe<'a>(&'a self, lane: &'a Lane) -> TailSubscription<'a> {
        let mut lanes = self.0.lock();
        let tail = lanes.entry(lane.clone()).or_default().clone();
        TailSubscription {
            watchers: self,
            lane,
            tail,
        }
    }
}

impl Drop for TailSubscription<'_> {
    fn drop(&mut self) {
        let mut lanes = self.watchers.0.lock();
        // The map's and this one: subscriptions are only taken under the lock.
        if Arc::strong_count(&self.tail) == 2 {
            lanes.remove(self.lane);
        }
    }
}

/// The place of an entry, by its id.
pub(super) fn place(id: &str) -> EntryId {
    let (ms, number) = id.split_once('-').unwrap_or((id, "0"));
    (ms.parse().unwrap_or(0), number.parse().unwrap_or(0))
}
