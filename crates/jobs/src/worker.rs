//! Runs jobs: claims as many as it has room for, renews their leases, and settles them in batches.

mod lease_renewal;
mod reaper;
mod settler;

use std::{
    collections::HashMap,
    fmt,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use parking_lot::Mutex;
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    ClaimedJob, Failure, Job, JobContext, JobHandler, JobOutcome, Jobs, Lease, MAX_BATCH,
    jobs::drained::DrainedLanes,
};

/// How long one claim waits for jobs.
const CLAIM_WAIT: Duration = Duration::from_secs(5);
/// How often a worker that runs jobs checks which of them were cancelled.
const CANCEL_POLL: Duration = Duration::from_millis(500);
/// How long a worker waits before it retries a store that is unavailable.
const STORE_RETRY: Duration = Duration::from_millis(200);

/// Why a running attempt is to stop.
#[derive(Debug, Clone, Copy)]
enum StopReason {
    Cancelled,
    Lost,
    Released,
}

#[derive(Debug)]
struct Active {
    lease: Lease,
    stop: CancellationToken,
    reason: Option<StopReason>,
}

impl Active {
    fn end(&mut self, reason: StopReason) {
        self.reason.get_or_insert(reason);
        self.stop.cancel();
    }
}

/// Runs the jobs of one queue.
#[derive(Clone)]
pub struct Worker {
    jobs: Jobs,
    queue: String,
    name: String,
    concurrency: usize,
    handler: Arc<dyn JobHandler>,
    active: Arc<Mutex<HashMap<Bytes, Active>>>,
    refused: Arc<AtomicU64>,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("queue", &self.queue)
            .field("name", &self.name)
            .finish()
    }
}

impl Worker {
    /// A worker that runs up to `concurrency` jobs of a queue at once. Its name is for people.
    #[must_use]
    pub fn new(
        jobs: Jobs,
        queue: &str,
        name: &str,
        concurrency: usize,
        handler: Arc<dyn JobHandler>,
    ) -> Self {
        let (queue, name) = (queue.to_owned(), name.to_owned());
        Self {
            jobs,
            queue,
            name,
            concurrency: concurrency.max(1),
            handler,
            active: Arc::default(),
            refused: Arc::default(),
        }
    }

    /// How many jobs it runs now.
    #[must_use]
    pub fn running(&self) -> usize {
        self.active.lock().len()
    }

    /// How many outcomes the store has refused, because the lease had ended meanwhile.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Runs until `stop`. Then it claims no more jobs, gives the running ones `drain` to finish,
    /// and releases the rest. While the store is unavailable it waits. When the future is dropped,
    /// its jobs run out of their leases.
    pub async fn run(&self, stop: CancellationToken, drain: Duration) {
        let permits = Arc::new(Semaphore::new(self.concurrency));
        let (settle, settled) = mpsc::channel(MAX_BATCH.max(self.concurrency));
        let ended = CancellationToken::new();
        let mut background = JoinSet::new();
        background.spawn(self.clone().renew(ended.clone()));
        background.spawn(self.clone().watch_cancellations(ended.clone()));
        background.spawn(self.clone().reap(ended.clone()));
        background.spawn(self.clone().send_heartbeats(stop.clone()));
        let mut settler = JoinSet::new();
        settler.spawn(self.clone().settle(settled, stop.clone(), drain));
        let (mut attempts, mut drained) = (JoinSet::new(), DrainedLanes::default());
        while !stop.is_cancelled() {
            while attempts.try_join_next().is_some() {}
            tokio::select! {
                () = stop.cancelled() => break,
                permit = permits.acquire() => drop(permit),
            }
            let free = permits.available_permits().clamp(1, MAX_BATCH);
            let (queue, name) = (&self.queue, &self.name);
            let claim = self
                .jobs
                .claim_until(queue, name, free, CLAIM_WAIT, &stop, &mut drained);
            match claim.await {
                Ok(claimed) => {
                    for claimed in claimed {
                        // Only this loop takes permits, so that there are as many as were free.
                        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
                            break;
                        };
                        let (worker, settle) = (self.clone(), settle.clone());
                        attempts.spawn(async move {
                            worker.attempt(claimed, settle).await;
                            drop(permit);
                        });
                    }
                }
                Err(error) => {
                    self.jobs.log_throttle.store_error(&error);
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = sleep(STORE_RETRY) => {}
                    }
                }
            }
        }
        let finish = async { while attempts.join_next().await.is_some() {} };
        if timeout(drain, finish).await.is_err() {
            self.stop_all();
            while attempts.join_next().await.is_some() {}
        }
        drop(settle);
        while settler.join_next().await.is_some() {}
        ended.cancel();
        while background.join_next().await.is_some() {}
    }

    fn stop_all(&self) {
        let mut active = self.active.lock();
        tracing::info!(
            worker = self.name,
            jobs = active.len(),
            "drain is over, handing back"
        );
        for job in active.values_mut() {
            job.end(StopReason::Released);
        }
    }

    async fn attempt(&self, claimed: ClaimedJob, settle: mpsc::Sender<(ClaimedJob, JobOutcome)>) {
        let (key, lease) = (claimed.lease.token.clone(), claimed.lease.clone());
        let stop = CancellationToken::new();
        let active = Active {
            lease: lease.clone(),
            stop: stop.clone(),
            reason: None,
        };
        self.active.lock().insert(key.clone(), active);
        let context = JobContext::new(self.jobs.clone(), lease);
        let outcome = tokio::select! {
            outcome = self.work(&claimed.job, &context) => Some(outcome),
            () = stop.cancelled() => None,
        };
        let outcome = outcome.or_else(|| {
            let reason = self
                .active
                .lock()
                .get(&key)
                .and_then(|active| active.reason);
            match reason.unwrap_or(StopReason::Lost) {
                StopReason::Cancelled => Some(JobOutcome::Cancelled),
                StopReason::Released => Some(JobOutcome::Released),
                StopReason::Lost => None,
            }
        });
        match outcome {
            // Its lease is kept until it is settled.
            Some(outcome) => drop(settle.send((claimed, outcome)).await),
            None => drop(self.active.lock().remove(&key)),
        }
    }

    async fn work(&self, job: &Job, context: &JobContext) -> JobOutcome {
        let time = context.time_left(job);
        if time.is_zero() && job.header.deadline.is_some() {
            return JobOutcome::Failed {
                error: "its deadline had passed before it started".to_owned(),
                retry: None,
                metrics: None,
            };
        }
        // A handler that panics fails its job and nothing else.
        let run = AssertUnwindSafe(self.handler.run(job, context)).catch_unwind();
        let ended = timeout(time, run).await;
        let metrics = context.take_metrics();
        let (error, retry) = match ended {
            Ok(Ok(Ok(result))) => return JobOutcome::Succeeded { result, metrics },
            Ok(Ok(Err(Failure::Retryable(error)))) => (error, Some(Duration::ZERO)),
            Ok(Ok(Err(Failure::RetryAfter(error, after)))) => (error, Some(after)),
            Ok(Ok(Err(Failure::Permanent(error)))) => (error, None),
            Ok(Ok(Err(Failure::Postponed(delay)))) => return JobOutcome::Postponed { delay },
            Ok(Ok(Err(Failure::Cancelled))) => return JobOutcome::Cancelled,
            Ok(Err(_)) => ("its handler panicked".to_owned(), Some(Duration::ZERO)),
            Err(_) => {
                let error = format!("took longer than {} ms", time.as_millis());
                (error, Some(Duration::ZERO))
            }
        };
        JobOutcome::Failed {
            error,
            retry,
            metrics,
        }
    }
}
