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
    Claim, ClaimRequest, CompletionSource, Error, EventBatch, JobCounts, JobId, JobPage, JobStatus,
    Lane, Lease, Move, MoveOutcome, ProgressNote, Renewal, Store, StoreHealth, StoredCompletion,
    StoredJob, Submission, SubmitOutcome, WaitPosition,
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

    async fn check(&self) -> Result<StoreHealth, Error> {
        self.store.check().await
    }

    async fn submit(
        &self,
        lane: &Lane,
        entries: &[Submission],
    ) -> Result<Vec<SubmitOutcome>, Error> {
        self.store.submit(lane, entries).await
    }

    async fn claim(&self, lane: &Lane, claim_request: &ClaimRequest) -> Result<Claim, Error> {
        let claim = self.store.claim(lane, claim_request).await?;
        let now = self.jumped(claim.now);
        Ok(Claim { now, ..claim })
    }

    async fn wait_for_job(
        &self,
        lane: &Lane,
        mark: &WaitPosition,
        wait: Duration,
    ) -> Result<(), Error> {
        self.store.wait_for_job(lane, mark, wait).await
    }

    async fn transition(&self, lane: &Lane, moves: &[Move]) -> Result<Vec<MoveOutcome>, Error> {
        self.store.transition(lane, moves).await
    }

    async fn renew(&self, lane: &Lane, leases: &[Lease]) -> Result<Vec<Renewal>, Error> {
        self.store.renew(lane, leases).await
    }

    async fn progress(&self, lease: &Lease, progress: &str) -> Result<bool, Error> {
        self.store.progress(lease, progress).await
    }

    async fn request_cancels(&self, lane: &Lane, leases: &[Lease]) -> Result<Vec<bool>, Error> {
        self.store.request_cancels(lane, leases).await
    }

    async fn cancel_requests(&self, lane: &Lane) -> Result<Vec<JobId>, Error> {
        self.store.cancel_requests(lane).await
    }

    async fn find(&self, id: &JobId) -> Result<Option<StoredJob>, Error> {
        self.store.find(id).await
    }

    async fn find_many(&self, lane: &Lane, ids: &[JobId]) -> Result<Vec<Option<StoredJob>>, Error> {
        self.store.find_many(lane, ids).await
    }

    async fn find_with_notes(
        &self,
        id: &JobId,
    ) -> Result<Option<(StoredJob, Vec<ProgressNote>)>, Error> {
        self.store.find_with_notes(id).await
    }

    async fn last_event(&self, lane: &Lane) -> Result<String, Error> {
        self.store.last_event(lane).await
    }

    async fn expired_leases(&self, lane: &Lane, lease: Duration) -> Result<Vec<StoredJob>, Error> {
        self.store.expired_leases(lane, lease).await
    }

    async fn sweep(&self, lane: &Lane, ended: Duration, dead: Duration) -> Result<usize, Error> {
        self.store.sweep(lane, ended, dead).await
    }

    async fn list(
        &self,
        lane: &Lane,
        of: Option<JobStatus>,
        after: &str,
        max: usize,
    ) -> Result<JobPage, Error> {
        self.store.list(lane, of, after, max).await
    }

    async fn counts(&self, lane: &Lane) -> Result<JobCounts, Error> {
        self.store.counts(lane).await
    }

    async fn events(&self, lane: &Lane, after: &str, max: usize) -> Result<EventBatch, Error> {
        self.store.events(lane, after, max).await
    }

    async fn wait_for_event(&self, lane: &Lane, after: &str, wait: Duration) -> Result<(), Error> {
        self.store.wait_for_event(lane, after, wait).await
    }

    async fn completions(
        &self,
        sources: &[CompletionSource],
        max: usize,
        wait: Duration,
    ) -> Result<Vec<StoredCompletion>, Error> {
        self.store.completions(sources, max, wait).await
    }

    async fn acknowledge(
        &self,
        lane: &Lane,
        entries: &[(String, Vec<String>)],
    ) -> Result<(), Error> {
        self.store.acknowledge(lane, entries).await
    }

    async fn lanes(&self) -> Result<Vec<Lane>, Error> {
        self.store.lanes().await
    }

    async fn heartbeat(&self, queue: &str) -> Result<(), Error> {
        self.store.heartbeat(queue).await
    }

    async fn heartbeats(&self) -> Result<Vec<(String, Duration)>, Error> {
        self.store.heartbeats().await
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
