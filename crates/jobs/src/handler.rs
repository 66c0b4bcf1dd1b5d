//! What a worker calls to do the work.

use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;

use crate::{Error, Job, Jobs, Lease, Payload};

/// Does the work of jobs.
#[async_trait::async_trait]
pub trait JobHandler: Send + Sync + 'static {
    /// Does one attempt of a job. The future is dropped when its time is up, when the job is
    /// called off and when its lease is lost; what must not be torn goes into a task.
    ///
    /// # Errors
    /// A [`Failure`], which says whether and when to try again.
    async fn run(&self, job: &Job, context: &JobContext) -> Result<Option<Payload>, Failure>;
}

/// Why an attempt did not finish its job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It may pass: the job is tried again after a growing delay, while it has attempts left.
    Retryable(String),
    /// It may pass, and not sooner than after this long, as whoever refused it said.
    RetryAfter(String, Duration),
    /// It stays: the job is dead at once.
    Permanent(String),
    /// Nothing went wrong, the job waits for something: it is run again after this long, and the
    /// attempt is not counted.
    Postponed(Duration),
    /// Nobody wants it any more: the job ends as one that was called off.
    Cancelled,
}

impl Failure {
    /// A failure that may pass, and what to tell people.
    #[must_use]
    pub fn retryable(error: impl Into<String>) -> Self {
        Self::Retryable(error.into())
    }

    /// A failure that stays, and what to tell people.
    #[must_use]
    pub fn permanent(error: impl Into<String>) -> Self {
        Self::Permanent(error.into())
    }

    /// A failure that may pass, but not sooner than after this long, and what to tell people.
    #[must_use]
    pub fn retry_after(error: impl Into<String>, after: Duration) -> Self {
        Self::RetryAfter(error.into(), after)
    }

    /// No failure: the job gives its place to others, and is looked at again after `delay`.
    #[must_use]
    pub const fn postponed(delay: Duration) -> Self {
        Self::Postponed(delay)
    }
}

/// What a handler can do besides its work.
#[derive(Debug)]
pub struct JobContext {
    jobs: Jobs,
    lease: Lease,
    metrics: Mutex<Option<Value>>,
}

impl JobContext {
    pub(crate) fn new(jobs: Jobs, lease: Lease) -> Self {
        Self {
            jobs,
            lease,
            metrics: Mutex::default(),
        }
    }

    /// How long this attempt may still take, when it begins: its own time, or what is left until
    /// the job's deadline by the store's clock.
    #[must_use]
    pub fn time_left(&self, job: &Job) -> Duration {
        let attempt = Duration::from_millis(job.header.timeout_ms);
        let Some(deadline) = job.header.deadline else {
            return attempt;
        };
        let now = self.jobs.estimated_now(&job.id.lane());
        attempt.min(Duration::from_millis(deadline.saturating_sub(now)))
    }

    /// Tells how far the job is, such as `50%`.
    ///
    /// # Errors
    /// [`Error::Stale`] when the job is not this worker's any more; [`Error::Unavailable`].
    pub async fn progress(&self, progress: &str) -> Result<(), Error> {
        self.jobs.progress(&self.lease, progress).await
    }

    /// Keeps what the attempt costs, with whatever becomes of it.
    pub fn metrics(&self, metrics: Value) {
        *self.metrics.lock() = Some(metrics);
    }

    pub(crate) fn take_metrics(&self) -> Option<Value> {
        self.metrics.lock().take()
    }
}
