//! What a worker calls to do the work.

use parking_lot::Mutex;
use serde_json::Value;

use crate::{Error, Job, Jobs, Lease, Payload};

/// Does the work of jobs.
#[async_trait::async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Does one attempt of a job. The future is dropped when its time is up, when the job is
    /// called off and when its lease is lost; what must not be torn goes into a task.
    ///
    /// # Errors
    /// A [`Failure`], which says whether to try again.
    async fn run(&self, job: &Job, context: &Context) -> Result<Option<Payload>, Failure>;
}

/// Why an attempt failed.
#[derive(Debug, Clone)]
pub struct Failure {
    /// What to tell people.
    pub error: String,
    /// Whether trying again may help.
    pub retry: bool,
}

impl Failure {
    /// A failure that may pass.
    #[must_use]
    pub fn passing(error: impl Into<String>) -> Self {
        Self {
            error: error.into(),
            retry: true,
        }
    }

    /// A failure that stays: the job is dead at once.
    #[must_use]
    pub fn lasting(error: impl Into<String>) -> Self {
        Self {
            error: error.into(),
            retry: false,
        }
    }
}

/// What a handler can do besides its work.
#[derive(Debug)]
pub struct Context {
    jobs: Jobs,
    lease: Lease,
    metrics: Mutex<Option<Value>>,
}

impl Context {
    pub(crate) fn new(jobs: Jobs, lease: Lease) -> Self {
        Self {
            jobs,
            lease,
            metrics: Mutex::default(),
        }
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
