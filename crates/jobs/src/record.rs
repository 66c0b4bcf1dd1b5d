//! A job as it is told to whoever asks about it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    Error, History, JobId, codec,
    job::{Header, Payload},
    store::{JobState, StoredJob},
};

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobStatus {
    /// Waits for a worker.
    Queued,
    /// Waits for its time.
    Scheduled,
    /// A worker holds its lease.
    Running,
    /// Done, with a result. Terminal.
    Succeeded,
    /// The latest attempt failed; it waits for the next one.
    Failed,
    /// Given up; can be tried again by hand. Terminal.
    Dead,
    /// Called off. Terminal.
    Cancelled,
}

impl JobStatus {
    /// Every status.
    pub const ALL: [Self; 7] = [
        Self::Running,
        Self::Queued,
        Self::Failed,
        Self::Scheduled,
        Self::Dead,
        Self::Succeeded,
        Self::Cancelled,
    ];

    /// The word for it in every answer.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Scheduled => "scheduled",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }

    /// The status of that word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }

    /// Whether nothing more happens to the job by itself.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Dead | Self::Cancelled)
    }
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is known about a job. Times in the header are Unix milliseconds.
#[derive(Debug, Clone)]
pub struct JobRecord {
    /// The job.
    pub id: JobId,
    /// Where it stands.
    pub status: JobStatus,
    /// Everything it was submitted with, and what its attempts left.
    pub header: Header,
    /// What its worker last said about how far it is.
    pub progress: Option<String>,
    /// What it is about, until it succeeds: then its result is kept in place of it.
    pub payload: Option<Payload>,
    /// What came of it, once it succeeded, if its handler returned anything.
    pub result: Option<Payload>,
    /// When it will run at the earliest, while it waits for that.
    pub due_at: Option<u64>,
    /// Who works on it, while it runs.
    pub worker: Option<String>,
    /// It was called off, and its worker has not yet stopped.
    pub cancelling: bool,
}

impl JobRecord {
    pub(crate) fn of(found: &StoredJob, store: &str) -> Result<Self, Error> {
        // One that cannot be decoded is told like the others, so that it hides none of them.
        let (mut header, mut payload) = match codec::unpack(&found.packed) {
            Ok((_, header, payload)) => (header, payload),
            Err(undecodable) => {
                tracing::debug!(store, job = %found.id, %undecodable, "a job cannot be decoded");
                let (header, payload) = codec::salvage(&found.id, &found.packed, &undecodable);
                (header, Some(payload))
            }
        };
        let id = found.id.clone();
        header.history = History::of(&header, &found.state);
        let (mut due_at, mut worker, mut result) = (None, None, None);
        let status = match &found.state {
            JobState::Queued { .. } => JobStatus::Queued,
            JobState::Running {
                started_at,
                worker: name,
            } => {
                header.started_at = Some(*started_at);
                // What is kept counts the attempts before this one.
                header.attempt += 1;
                worker = Some(name.clone());
                JobStatus::Running
            }
            JobState::Waiting { status, due } => {
                due_at = Some(*due);
                *status
            }
            JobState::Ended(status) => {
                // The others keep what they were about: to be tried again, or to be told.
                if *status == JobStatus::Succeeded {
                    result = payload.take();
                }
                *status
            }
        };
        let (progress, cancelling) = (found.progress.clone(), found.cancelling);
        Ok(Self {
            id,
            status,
            header,
            progress,
            payload,
            result,
            due_at,
            worker,
            cancelling,
        })
    }
}
