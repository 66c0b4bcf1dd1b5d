//! What can go wrong with a queue, by what the caller can do about it.

use crate::{JobId, JobStatus};

/// An error of the queue.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The store does not answer, or refuses: nothing is known to have happened, try again later.
    #[error("the job store {store} is unavailable, try again later: {reason}")]
    Unavailable {
        /// Which store, without credentials.
        store: String,
        /// What the attempt said, and what to do about it.
        reason: String,
    },
    /// A value that the queue cannot take.
    #[error("{field}: {reason}")]
    Invalid {
        /// The field at fault.
        field: &'static str,
        /// What is wrong with its value, and what would be valid.
        reason: String,
    },
    /// The idempotency key was used in this queue for a job with another body.
    #[error("the idempotency key {key:?} stands for another job, {id}: choose a new key")]
    Conflict {
        /// The key.
        key: String,
        /// The job that has it.
        id: JobId,
    },
    /// There are as many queues as there may be.
    #[error(
        "there is no queue {queue:?}, and no room for another: max_queues = {max} are there, use \
         one of them or raise max_queues"
    )]
    Queues {
        /// The queue that would be one too many.
        queue: String,
        /// The limit.
        max: usize,
    },
    /// No such job, or its result is past its time.
    #[error("no job has the id {id}")]
    NotFound {
        /// The id asked for.
        id: String,
    },
    /// The job's status does not allow the action.
    #[error("the job {id} is {status}, and only a {wanted} one can be {action}")]
    WrongStatus {
        /// The job.
        id: JobId,
        /// What it is.
        status: JobStatus,
        /// What it would have to be.
        wanted: JobStatus,
        /// What was to be done with it.
        action: &'static str,
    },
    /// The lease has ended, and the job has another worker or is done: drop the work.
    #[error("the lease of job {id} has ended, drop its work")]
    Stale {
        /// The job.
        id: JobId,
    },
    /// The store holds something that we did not write, or refuses what should work.
    #[error("the job store {store} is unusable: {reason}")]
    Broken {
        /// Which store.
        store: String,
        /// What was found.
        reason: String,
    },
}

impl Error {
    /// Whether waiting and asking again may help.
    #[must_use]
    pub const fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// Whether the store is at fault, and not the request.
    #[must_use]
    pub const fn is_of_the_store(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Broken { .. })
    }

    pub(crate) fn invalid(field: &'static str, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self::Invalid { field, reason }
    }
}
