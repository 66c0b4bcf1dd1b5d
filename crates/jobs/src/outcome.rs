//! How attempts end, and where that leads their jobs: the rules of the queue.

use std::time::Duration;

use backoff::Backoff;
use bytes::Bytes;
use serde_json::Value;

use crate::{
    Error, Job, JobId, JobStatus, Lease, Payload, clock, codec, completion,
    job::Header,
    steps,
    store::{Destination, JobState, StoredJob},
};

/// How an attempt ended.
#[derive(Debug, Clone)]
pub enum JobOutcome {
    /// It is done.
    Succeeded {
        /// Its result.
        result: Option<Payload>,
        /// What it cost.
        metrics: Option<Value>,
    },
    /// It failed.
    Failed {
        /// Why.
        error: String,
        /// How long the next attempt waits at least; `None` if a retry does not help.
        retry: Option<Duration>,
        /// What it cost.
        metrics: Option<Value>,
    },
    /// It was cancelled, and has stopped.
    Cancelled,
    /// It did not finish, by no fault of its own: it is queued again, and the attempt is not
    /// counted.
    Released,
    /// It waits for something: it is scheduled again, and the attempt is not counted.
    Postponed {
        /// How long it waits at least.
        delay: Duration,
    },
}

/// A claimed job: what to do, and the right to finish it.
#[derive(Debug, Clone)]
pub struct ClaimedJob {
    /// The job, this attempt counted and started.
    pub job: Job,
    /// The right to renew it, to report its progress and to settle it.
    pub lease: Lease,
}

/// The longest text of an error that is kept, in bytes.
const MAX_ERROR: usize = 64 << 10;

/// The outcome in place of one that is too large: a result over `limit` is a failure, since a retry
/// would have it again, and a long error is cut. `None` if the outcome is small enough.
pub(crate) fn limit_size(outcome: &JobOutcome, limit: usize) -> Option<JobOutcome> {
    match outcome {
        JobOutcome::Succeeded {
            result: Some(result),
            metrics,
        } if result.bytes().len() > limit => Some(JobOutcome::Failed {
            error: format!(
                "its result of {} bytes is larger than jobs_max_result, {limit} bytes",
                result.bytes().len()
            ),
            retry: None,
            metrics: metrics.clone(),
        }),
        JobOutcome::Failed {
            error,
            retry,
            metrics,
        } if error.len() > MAX_ERROR => Some(JobOutcome::Failed {
            error: format!("{}…", &error[..error.floor_char_boundary(MAX_ERROR)]),
            retry: *retry,
            metrics: metrics.clone(),
        }),
        _ => None,
    }
}

/// Where a running job goes by an outcome. `job` counts the attempt that is over.
pub(crate) fn settle(job: &Job, outcome: &JobOutcome, backoff: &Backoff, now: u64) -> Destination {
    match outcome {
        JobOutcome::Succeeded { result, metrics } => {
            let status = JobStatus::Succeeded;
            let header = Header {
                error: None,
                ended_at: Some(now),
                metrics: metrics.clone(),
                history: steps::at_end(&job.header, status, now),
                ..job.header.clone()
            };
            let record = codec::pack(&job.id, &header, result.as_ref());
            let completion = completion::note_success(&job.id, &header, result.as_ref());
            Destination::End {
                status,
                record,
                completion,
            }
        }
        JobOutcome::Cancelled => cancel(job, now),
        JobOutcome::Released => queue(job, uncounted(job), now),
        JobOutcome::Postponed { delay } => {
            later(job, uncounted(job), JobStatus::Scheduled, *delay, now)
        }
        JobOutcome::Failed {
            error,
            retry,
            metrics,
        } => failed(job, error, metrics, *retry, backoff, now),
    }
}

/// Where a job goes whose attempt failed.
fn failed(
    job: &Job,
    error: &str,
    metrics: &Option<Value>,
    retry: Option<Duration>,
    backoff: &Backoff,
    now: u64,
) -> Destination {
    let header = &job.header;
    let failed = Header {
        error: Some(error.to_owned()),
        metrics: metrics.clone(),
        ..header.clone()
    };
    let in_time = header.deadline.is_none_or(|deadline| now < deadline);
    if let Some(least) = retry
        && in_time
        && header.attempt < header.max_attempts
    {
        let backoff = header.backoff_or(backoff);
        let delay = backoff.after_at_least(header.attempt, least, &mut rand::rng());
        return later(job, failed, JobStatus::Failed, delay, now);
    }
    let header = Header {
        ended_at: Some(now),
        retryable: retry.is_some() && in_time && header.completion.is_some(),
        history: steps::with(header, JobStatus::Dead, now),
        ..failed
    };
    Destination::DeadLetter {
        packed: codec::pack(&job.id, &header, Some(&job.payload)),
        completion: completion::note_failure(&job.id, &header),
    }
}

/// Where a cancelled job goes. It keeps its payload, so that people can see what it was.
pub(crate) fn cancel(job: &Job, now: u64) -> Destination {
    let header = Header {
        ended_at: Some(now),
        history: steps::with(&job.header, JobStatus::Cancelled, now),
        ..job.header.clone()
    };
    Destination::End {
        status: JobStatus::Cancelled,
        record: codec::pack(&job.id, &header, Some(&job.payload)),
        completion: completion::note_failure(&job.id, &header),
    }
}

/// Where a job goes that is cancelled while it waits.
pub(crate) fn cancel_waiting(found: &StoredJob, now: u64) -> Destination {
    match codec::unpack_job(&found.packed) {
        Ok(mut job) => {
            job.header.history = steps::of(&job.header, &found.state);
            cancel(&job, now)
        }
        Err(undecodable) => dead_letter(&found.id, &found.packed, &undecodable, true, now),
    }
}

/// Where a job goes whose lease has ended. The attempt counts, since it may have killed the worker.
/// The next one follows at once.
pub(crate) fn reclaim(found: &StoredJob, now: u64) -> Destination {
    let mut job = match codec::unpack_job(&found.packed) {
        Ok(job) => job,
        Err(undecodable) => {
            return dead_letter(
                &found.id,
                &found.packed,
                &undecodable,
                found.cancelling,
                now,
            );
        }
    };
    job.header.history = steps::of(&job.header, &found.state);
    let JobState::Running { started_at, worker } = &found.state else {
        return queue(&job, job.header.clone(), now);
    };
    job.header.started_at = Some(*started_at);
    job.header.attempt += 1;
    if found.cancelling {
        return cancel(&job, now);
    }
    let attempt = job.header.attempt;
    job.header.error = Some(format!(
        "the lease of worker {worker} ended in attempt {attempt}"
    ));
    if attempt < job.header.max_attempts {
        return queue(&job, job.header.clone(), now);
    }
    job.header.ended_at = Some(now);
    job.header.retryable = job.header.completion.is_some();
    job.header.history.push(JobStatus::Dead, now);
    Destination::DeadLetter {
        packed: codec::pack_job(&job),
        completion: completion::note_failure(&job.id, &job.header),
    }
}

/// Where a job goes that cannot be decoded: to the dead letters, with its bytes. One that was
/// cancelled may only end. Whether it asked for a completion cannot be told.
pub(crate) fn dead_letter(
    id: &JobId,
    packed: &Bytes,
    undecodable: &codec::Undecodable,
    cancelling: bool,
    now: u64,
) -> Destination {
    let (mut header, payload) = codec::salvage(id, packed, undecodable);
    let status = match cancelling {
        true => JobStatus::Cancelled,
        false => JobStatus::Dead,
    };
    header.ended_at = Some(now);
    header.history.push(status, now);
    let packed = codec::pack(id, &header, Some(&payload));
    if cancelling {
        return Destination::End {
            status,
            record: packed,
            completion: None,
        };
    }
    Destination::DeadLetter {
        packed,
        completion: None,
    }
}

/// Where a dead letter goes that is retried from the start.
pub(crate) fn requeue_dead(found: &StoredJob, now: u64) -> Result<Destination, Error> {
    let job = unpack(found)?;
    let fresh = Header {
        attempt: 0,
        started_at: None,
        ended_at: None,
        retryable: false,
        error: None,
        metrics: None,
        ..job.header.clone()
    };
    Ok(queue(&job, fresh, now))
}

pub(crate) fn unpack(found: &StoredJob) -> Result<Job, Error> {
    let mut job = codec::unpack_job(&found.packed).map_err(|undecodable| Error::Broken {
        store: "of this queue".to_owned(),
        reason: undecodable.to_string(),
    })?;
    job.header.history = steps::of(&job.header, &found.state);
    Ok(job)
}

/// A header whose latest attempt does not count.
fn uncounted(job: &Job) -> Header {
    Header {
        attempt: job.header.attempt.saturating_sub(1),
        ..job.header.clone()
    }
}

fn later(
    job: &Job,
    mut header: Header,
    status: JobStatus,
    delay: Duration,
    now: u64,
) -> Destination {
    header.history = steps::with(&header, status, now);
    header.due_at = Some(now.saturating_add(clock::millis(delay)));
    Destination::Later {
        status,
        priority: header.priority,
        packed: codec::pack(&job.id, &header, Some(&job.payload)),
        // A delay of nothing would still be a delay to a store: it takes a millisecond.
        delay: delay.max(Duration::from_millis(1)),
    }
}

fn queue(job: &Job, mut header: Header, now: u64) -> Destination {
    header.history = steps::with(&header, JobStatus::Queued, now);
    header.due_at = Some(now);
    let packed = codec::pack(&job.id, &header, Some(&job.payload));
    Destination::Queue {
        priority: header.priority,
        packed,
    }
}
