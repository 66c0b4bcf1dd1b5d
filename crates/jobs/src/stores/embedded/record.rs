//! What the log is made of: each record says what is so from now on, so that reading the log
//! from its beginning, or from a snapshot, leads to the same state.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes};
use serde::{Deserialize, Serialize};

use crate::{JobId, JobStatus, store::JobEvent};

/// Where a job is. Times are Unix milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Place {
    Queued {
        priority: u8,
        since: u64,
    },
    Running {
        priority: u8,
        nonce: u128,
        since: u64,
        worker: String,
    },
    Waiting {
        status: JobStatus,
        priority: u8,
        due: u64,
    },
    Ended {
        status: JobStatus,
        at: u64,
    },
}

impl Place {
    pub(super) const fn queued(priority: u8, since: u64) -> Self {
        Self::Queued { priority, since }
    }

    pub(super) const fn waiting(status: JobStatus, priority: u8, due: u64) -> Self {
        Self::Waiting {
            status,
            priority,
            due,
        }
    }

    pub(super) const fn status(&self) -> JobStatus {
        match self {
            Self::Queued { .. } => JobStatus::Queued,
            Self::Running { .. } => JobStatus::Running,
            Self::Waiting { status, .. } | Self::Ended { status, .. } => *status,
        }
    }
}

/// One record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum LogRecord {
    /// A job is here. `seq` numbers all moves of the store. `at` is when it moved; without it, as
    /// in a snapshot, the record is no event.
    /// `made` is when it was submitted, in a snapshot, for an id that does not tell.
    Put {
        id: JobId,
        place: Place,
        seq: u64,
        at: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        made: Option<u64>,
    },
    /// A job that has ended left a completion; without data of its own it is the job's record.
    Completed {
        id: JobId,
        tag: String,
        number: u64,
        status: JobStatus,
    },
    /// Completions are acknowledged.
    Acknowledged {
        lane: String,
        tag: String,
        numbers: Vec<u64>,
    },
    /// Jobs are forgotten.
    Forget { ids: Vec<JobId> },
    /// An idempotency key is taken until then.
    Key {
        queue: String,
        key: String,
        print: String,
        id: JobId,
        until: u64,
    },
    /// A timer has this text, or is removed if it has none.
    Timer { name: String },
    /// Numbers of events up to this one may have been given.
    Reserve { until: u64 },
    /// Totals of a lane that a snapshot carries on.
    Sums {
        lane: String,
        sums: BTreeMap<JobStatus, u64>,
        /// The latest event that was dropped.
        #[serde(default)]
        dropped: u64,
    },
    /// An event that a snapshot carries on.
    Event {
        lane: String,
        number: u64,
        at: u64,
        id: JobId,
        name: String,
        data: Option<String>,
    },
}

impl LogRecord {
    pub(super) fn event(lane: String, number: u64, event: &JobEvent) -> Self {
        let JobEvent {
            at, id, name, data, ..
        } = event.clone();
        Self::Event {
            lane,
            number,
            at,
            id,
            name,
            data,
        }
    }
}

/// Appends a record with the bytes that belong to it: a packed job or the text of a timer.
pub(super) fn write(into: &mut Vec<u8>, record: &LogRecord, data: Option<&Bytes>) {
    let head = serde_json::to_vec(record).expect("a record has only string keys");
    for part in [Some(head.as_slice()), data.map(AsRef::as_ref)] {
        // No data and empty data are two things: a job may have an empty payload.
        let length = part.map_or(u32::MAX, |part| {
            u32::try_from(part.len()).unwrap_or(u32::MAX)
        });
        into.put_u32_le(length);
        into.put_slice(part.unwrap_or_default());
    }
}

/// The next record of a frame, or `None` when the bytes are no record.
pub(super) fn read(from: &mut Bytes) -> Option<(LogRecord, Option<Bytes>)> {
    let mut part = || {
        let length = from.try_get_u32_le().ok()?;
        if length == u32::MAX {
            return Some(None);
        }
        let length = usize::try_from(length).ok()?;
        (length <= from.len()).then(|| Some(from.split_to(length)))
    };
    let (head, data) = (part()??, part()?);
    Some((serde_json::from_slice(&head).ok()?, data))
}
