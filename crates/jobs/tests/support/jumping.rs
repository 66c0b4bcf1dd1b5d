//! A store whose clock jumps.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use mesh_jobs::{
    Accepted, Claim, Claimer, Counts, Entry, Error, EventRead, Found, JobId, Lane, Lease, Mark,
    Move, Moved, Note, Page, Renewal, Status, Store, Vitals,
};

/// Another store, with its clock set so much ahead, in ms.
#[derive(Debug)]
pub(crate) struct Jumping {
    store: Arc<dyn Store>,
    pub(crate) by: AtomicI64,
}

impl Jumping {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        let by = AtomicI64::new(0);
        Self { store, by }
    }

    fn jumped(&self, now: u64) -> u64 {
        now.saturating_add_signed(self.by.load(Ordering::SeqCst))
    }
}

#[async_trait::async_trait]
impl Store for Jumping {
    fn name(&self) -> String {
        self.store.name()
    }

    async fn now(&self, lane: &Lane) -> Result<u64, Error> {
        Ok(self.jumped(self.store.now(lane).await?))
    }

    async fn check(&self) -> Result<Vitals, Error> {
        self.store.check().await
    }

    async fn submit(&self, lane: &Lane, entries: &[Entry]) -> Result<Vec<Accepted>, Error> {
        self.store.submit(lane, entries).await
    }

    async fn claim(&self, lane: &Lane, claimer: &Claimer) -> Result<Claim, Error> {
        let claim = self.store.claim(lane, claimer).await?;
        let now = self.jumped(claim.now);
        Ok(Claim { now, ..claim })
    }

    async fn ready(&self, lane: &Lane, mark: &Mark, wait: Duration) -> Result<(), Error> {
        self.store.ready(lane, mark, wait).await
    }

    async fn shift(&self, lane: &Lane, moves: &[Move]) -> Result<Vec<Moved>, Error> {
        self.store.shift(lane, moves).await
    }

    async fn renew(&self, lane: &Lane, leases: &[Lease]) -> Result<Vec<Renewal>, Error> {
        self.store.renew(lane, leases).await
    }

    async fn progress(&self, lease: &Lease, progress: &str) -> Result<bool, Error> {
        self.store.progress(lease, progress).await
    }

    async fn call_off(&self, id: &JobId, token: &Bytes) -> Result<bool, Error> {
        self.store.call_off(id, token).await
    }

    async fn called_off(&self, lane: &Lane) -> Result<Vec<JobId>, Error> {
        self.store.called_off(lane).await
    }

    async fn find(&self, id: &JobId) -> Result<Option<Found>, Error> {
        self.store.find(id).await
    }

    async fn trail(&self, id: &JobId) -> Result<Option<(Found, Vec<Note>)>, Error> {
        self.store.trail(id).await
    }

    async fn latest(&self, lane: &Lane) -> Result<String, Error> {
        self.store.latest(lane).await
    }

    async fn expired(&self, lane: &Lane, lease: Duration) -> Result<Vec<Found>, Error> {
        self.store.expired(lane, lease).await
    }

    async fn sweep(&self, lane: &Lane, ended: Duration, dead: Duration) -> Result<usize, Error> {
        self.store.sweep(lane, ended, dead).await
    }

    async fn list(
        &self,
        lane: &Lane,
        of: Option<Status>,
        after: &str,
        max: usize,
    ) -> Result<Page, Error> {
        self.store.list(lane, of, after, max).await
    }

    async fn counts(&self, lane: &Lane) -> Result<Counts, Error> {
        self.store.counts(lane).await
    }

    async fn events(&self, lane: &Lane, after: &str, max: usize) -> Result<EventRead, Error> {
        self.store.events(lane, after, max).await
    }

    async fn eventful(&self, lane: &Lane, after: &str, wait: Duration) -> Result<(), Error> {
        self.store.eventful(lane, after, wait).await
    }

    async fn lanes(&self) -> Result<Vec<Lane>, Error> {
        self.store.lanes().await
    }

    async fn serve(&self, queue: &str) -> Result<(), Error> {
        self.store.serve(queue).await
    }

    async fn served(&self) -> Result<Vec<(String, Duration)>, Error> {
        self.store.served().await
    }

    async fn timers(&self) -> Result<Vec<(String, Bytes)>, Error> {
        self.store.timers().await
    }

    async fn swap_timer(
        &self,
        name: &str,
        old: Option<&Bytes>,
        new: Option<&Bytes>,
    ) -> Result<bool, Error> {
        self.store.swap_timer(name, old, new).await
    }
}
