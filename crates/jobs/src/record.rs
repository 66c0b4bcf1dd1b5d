//! A job as its readers see it.

use crate::{
    Error, JobId, JobStatus, codec,
    job::{Header, Payload},
    steps,
    store::{JobState, StoredJob},
};

/// What is known about a job. Times in the header are Unix milliseconds.
#[derive(Debug, Clone)]
pub struct JobRecord {
    /// The job.
    pub id: JobId,
    /// Its status.
    pub status: JobStatus,
    /// Everything it was submitted with, and what its attempts left.
    pub header: Header,
    /// The latest progress that its worker reported.
    pub progress: Option<String>,
    /// What it is about, until it succeeds: then its result is kept in place of it.
    pub payload: Option<Payload>,
    /// What came of it, once it succeeded, if its handler returned anything.
    pub result: Option<Payload>,
    /// When it will run at the earliest, while it waits for that.
    pub due_at: Option<u64>,
    /// Who works on it, while it runs.
    pub worker: Option<String>,
    /// It was cancelled, and its worker has not stopped yet.
    pub cancelling: bool,
}

impl JobRecord {
    pub(crate) fn of(found: &StoredJob, store: &str) -> Result<Self, Error> {
        // One that cannot be decoded is listed like the others, so that it hides none of them.
        let (mut header, mut payload) = match codec::unpack(&found.packed) {
            Ok((_, header, payload)) => (header, payload),
            Err(undecodable) => {
                tracing::debug!(store, job = %found.id, %undecodable, "a job cannot be decoded");
                let (header, payload) = codec::salvage(&found.id, &found.packed, &undecodable);
                (header, Some(payload))
            }
        };
        let id = found.id.clone();
        header.history = steps::of(&header, &found.state);
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
                // The others keep their payload: for a retry, or for people.
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
