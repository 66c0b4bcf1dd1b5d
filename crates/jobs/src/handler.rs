//! What a worker calls to do the work.

use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;

use crate::{Error, Job, Jobs, Lease, Payload};

/// Runs jobs.
#[async_trait::async_trait]
pub trait JobHandler: Send + Sync + 'static {
    /// Runs one attempt of a job. The future is dropped when its time is up, when the job is
    /// cancelled and when its lease is lost. Work that must not be interrupted belongs in a task.
    ///
    /// # Errors
    /// A [`Failure`], which says whether and when to try again.
    async fn run(&self, job: &Job, context: &JobContext) -> Result<Option<Payload>, Failure>;
}

/// Why an attempt did not finish its job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It may pass: the job is retried after a growing delay, while it has attempts left.
    Retryable(String),
    /// It may pass, but not before this time is over, as the refusing side said.
    RetryAfter(String, Duration),
    /// It will not pass: the job is dead at once.
    Permanent(String),
    /// Nothing failed, the job waits for something. It runs again after this time, and the attempt
    /// is not counted.
    Postponed(Duration),
    /// The job is no longer wanted: it ends as cancelled.
    Cancelled,
}

impl Failure {
    /// A failure that may pass, with its text for people.
    #[must_use]
    pub fn retryable(error: impl Into<String>) -> Self {
        Self::Retryable(error.into())
    }

    /// A failure that will not pass, with its text for people.
    #[must_use]
    pub fn permanent(error: impl Into<String>) -> Self {
        Self::Permanent(error.into())
    }

    /// A failure that may pass after this time, with its text for people.
    #[must_use]
    pub fn retry_after(error: impl Into<String>, after: Duration) -> Self {
        Self::RetryAfter(error.into(), after)
    }

    /// No failure: the job frees its worker, and runs again after `delay`.
    #[must_use]
    pub const fn postponed(delay: Duration) -> Self {
        Self::Postponed(delay)
    }
}

/// What a handler can report besides its result.
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

    /// Reports the job's progress, such as `50%`.
    ///
    /// # Errors
    /// [`Error::Stale`] when the job is not this worker's any more; [`Error::Unavailable`].
    pub async fn progress(&self, progress: &str) -> Result<(), Error> {
        self.jobs.progress(&self.lease, progress).await
    }

    /// Keeps what the attempt costs, however it ends.
    pub fn metrics(&self, metrics: Value) {
        *self.metrics.lock() = Some(metrics);
    }

    pub(crate) fn take_metrics(&self) -> Option<Value> {
        self.metrics.lock().take()
    }
}
