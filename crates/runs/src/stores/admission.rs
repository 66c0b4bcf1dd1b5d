//! Why a run is not taken in, or not found.

use crate::Error;

/// What an unknown run is answered with.
pub(crate) fn unknown_run(run_id: &str) -> Error {
    Error::NotFound(format!("there is no run {run_id}"))
}

/// What the same key with another request is answered with.
pub(crate) fn other_request(key: &str) -> Error {
    Error::Conflict(format!(
        "the idempotency key {key:?} stands for another request: send the same one, or use another key"
    ))
}

/// What one run too many is answered with.
pub(crate) fn full(max_queued: u64) -> Error {
    Error::Full {
        message: format!("{max_queued} runs wait already, as many as max_queued_runs allows"),
    }
}
