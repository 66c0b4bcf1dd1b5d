//! A store whose operations are timed.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use jobs::{
    Claim, ClaimRequest, CompletionSource, Error, EventBatch, JobCounts, JobId, JobPage, JobStatus,
    Lane, Lease, Move, MoveOutcome, ProgressNote, Renewal, Store, StoreHealth, StoredCompletion,
    StoredJob, Submission, SubmitOutcome, WaitPosition,
};
use telemetry::{Histogram, Labelled, MetricsRegistry};

/// Upper bounds in seconds: an embedded store answers in microseconds, a Redis that is away takes
/// seconds to say so.
const BUCKETS: [f64; 14] = [
    0.000_1, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];

telemetry::metrics! {
    struct CommandMetrics {
        duration: Histogram ["command"] = "mesh_store_command_duration_seconds":
            "Duration of operations of the job store, those that wait for something left out", || Histogram::new(BUCKETS);
    }
}

/// A store and the time that its operations take. Those that wait for something are not timed.
#[derive(Debug)]
pub(crate) struct MeasuredStore {
    store: Arc<dyn Store>,
    duration: Labelled<Histogram, 1>,
}

impl MeasuredStore {
    pub(crate) fn new(store: Arc<dyn Store>, registry: &MetricsRegistry) -> Self {
        let duration = CommandMetrics::new(registry).duration;
        Self { store, duration }
    }

    async fn time<T>(&self, command: &str, work: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let outcome = work.await;
        let took = began.elapsed().as_secs_f64();
        self.duration.of([command]).observe(took);
        outcome
    }
}

#[async_trait::async_trait]
impl Store for MeasuredStore {
    fn name(&self) -> String {
        self.store.name()
    }

    fn is_local(&self) -> bool {
        self.store.is_local()
    }

    async fn now(&self, lane: &Lane) -> Result<u64, Error> {
        self.time("now", self.store.now(lane)).await
    }

    async fn check(&self) -> Result<StoreHealth, Error> {
        self.time("check", self.store.check()).await
    }

    async fn submit(
        &self,
        lane: &Lane,
        entries: &[Submission],
    ) -> Result<Vec<SubmitOutcome>, Error> {
        self.time("submit", self.store.submit(lane, entries)).await
    }

    async fn claim(&self, lane: &Lane, claim_request: &ClaimRequest) -> Result<Claim, Error> {
        self.time("claim", self.store.claim(lane, claim_request))
            .await
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
        self.time("transition", self.store.transition(lane, moves))
            .await
    }

    async fn renew(&self, lane: &Lane, leases: &[Lease]) -> Result<Vec<Renewal>, Error> {
        self.time("renew", self.store.renew(lane, leases)).await
    }

    async fn progress(&self, lease: &Lease, progress: &str) -> Result<bool, Error> {
        self.time("progress", self.store.progress(lease, progress))
            .await
    }

    async fn request_cancels(&self, lane: &Lane, leases: &[Lease]) -> Result<Vec<bool>, Error> {
        self.time("request_cancel", self.store.request_cancels(lane, leases))
            .await
    }

    async fn cancel_requests(&self, lane: &Lane) -> Result<Vec<JobId>, Error> {
        self.time("cancel_requests", self.store.cancel_requests(lane))
            .await
    }

    async fn find(&self, id: &JobId) -> Result<Option<StoredJob>, Error> {
        self.time("find", self.store.find(id)).await
    }

    async fn find_many(&self, lane: &Lane, ids: &[JobId]) -> Result<Vec<Option<StoredJob>>, Error> {
        self.time("find_many", self.store.find_many(lane, ids))
            .await
    }

    async fn find_with_notes(
        &self,
        id: &JobId,
    ) -> Result<Option<(StoredJob, Vec<ProgressNote>)>, Error> {
        self.time("find_with_notes", self.store.find_with_notes(id))
            .await
    }

    async fn expired_leases(&self, lane: &Lane, lease: Duration) -> Result<Vec<StoredJob>, Error> {
        self.time("expired_leases", self.store.expired_leases(lane, lease))
            .await
    }

    async fn sweep(&self, lane: &Lane, ended: Duration, dead: Duration) -> Result<usize, Error> {
        self.time("sweep", self.store.sweep(lane, ended, dead))
            .await
    }

    async fn list(
        &self,
        lane: &Lane,
        of: Option<JobStatus>,
        after: &str,
        max: usize,
    ) -> Result<JobPage, Error> {
        self.time("list", self.store.list(lane, of, after, max))
            .await
    }

    async fn counts(&self, lane: &Lane) -> Result<JobCounts, Error> {
        self.time("counts", self.store.counts(lane)).await
    }

    async fn events(&self, lane: &Lane, after: &str, max: usize) -> Result<EventBatch, Error> {
        self.time("events", self.store.events(lane, after, max))
            .await
    }

    async fn last_event(&self, lane: &Lane) -> Result<String, Error> {
        self.time("last_event", self.store.last_event(lane)).await
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
        self.time("acknowledge", self.store.acknowledge(lane, entries))
            .await
    }

    async fn lanes(&self) -> Result<Vec<Lane>, Error> {
        self.time("lanes", self.store.lanes()).await
    }

    async fn heartbeat(&self, queue: &str) -> Result<(), Error> {
        self.time("heartbeat", self.store.heartbeat(queue)).await
    }

    async fn heartbeats(&self) -> Result<Vec<(String, Duration)>, Error> {
        self.time("heartbeats", self.store.heartbeats()).await
    }

    async fn timers(&self) -> Result<Vec<(String, Bytes)>, Error> {
        self.time("timers", self.store.timers()).await
    }

    async fn swap_timer(
        &self,
        name: &str,
        old: Option<&Bytes>,
        new: Option<&Bytes>,
    ) -> Result<bool, Error> {
        self.time("swap_timer", self.store.swap_timer(name, old, new))
            .await
    }
}
