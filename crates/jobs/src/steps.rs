//! The steps of a job: those that its header carries, and those that its times and its state imply.
//!
//! Most jobs are queued, run once and end. Their times tell all of that, so their headers carry no
//! steps. What is not packed costs neither the store's time nor its memory.

use crate::{History, JobStatus, job::Header, store::JobState};

/// The steps of a job as a store has it.
pub(crate) fn of(header: &Header, state: &JobState) -> History {
    let mut history = known(header);
    if header.history.is_empty() {
        let last = header.ended_at.or(header.started_at);
        let last = last.unwrap_or(header.enqueued_at);
        match state {
            JobState::Waiting { status, .. } | JobState::Ended(status) => {
                history.push(*status, last)
            }
            JobState::Queued { .. } | JobState::Running { .. } => {}
        }
    }
    // A store queues a job that waited, and leases it, without packing it anew.
    match state {
        JobState::Queued { since } if history.last() != Some(JobStatus::Queued) => {
            history.push(JobStatus::Queued, *since);
        }
        JobState::Running { started_at, .. } => push_claim(&mut history, *started_at),
        JobState::Queued { .. } | JobState::Waiting { .. } | JobState::Ended(_) => {}
    }
    history
}

/// Notes a claim in the header: its attempt, its time and its steps.
pub(crate) fn claim(header: &mut Header, at: u64) {
    // The first claim of a job that was queued at once is told by its time.
    if !header.history.is_empty() || header.started_at.is_some() {
        if header.history.is_empty() {
            header.history = known(header);
        }
        push_claim(&mut header.history, at);
    }
    header.attempt += 1;
    header.started_at = Some(at);
}

/// The steps of a running job with one more.
pub(crate) fn with(header: &Header, status: JobStatus, at: u64) -> History {
    let mut history = known(header);
    history.push(status, at);
    history
}

/// The steps to pack when a running job ends: none if its times tell them all.
pub(crate) fn at_end(header: &Header, status: JobStatus, at: u64) -> History {
    match header.history.is_empty() {
        true => History::default(),
        false => with(header, status, at),
    }
}

/// The steps that a header carries, or those that the times of a header without steps imply.
fn known(header: &Header) -> History {
    let mut history = header.history.clone();
    if history.is_empty() {
        history.push(JobStatus::Queued, header.enqueued_at);
        if let Some(at) = header.started_at {
            history.push(JobStatus::Running, at);
        }
    }
    history
}

fn push_claim(history: &mut History, at: u64) {
    if history.last() != Some(JobStatus::Queued) {
        history.push(JobStatus::Queued, at);
    }
    history.push(JobStatus::Running, at);
}
