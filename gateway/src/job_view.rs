//! A job as the canonical API shows it.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use chrono::{DateTime, SecondsFormat, Utc};
use jobs::{JobRecord, JobStatus, Payload};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

/// A job.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!(JobView::example()))]
pub(crate) struct JobView {
    /// Its id.
    #[schema(example = "default.0.0193a7c0f2b1f00d5e1f8a3c2d4")]
    pub(crate) job_id: String,
    /// Its kind.
    pub(crate) kind: String,
    /// Its queue.
    pub(crate) queue: String,
    /// Its status.
    pub(crate) status: StatusWord,
    /// 1 to 5; 5 is the highest.
    pub(crate) priority: u8,
    /// How many attempts were started.
    pub(crate) attempt: u32,
    /// How many there may be.
    pub(crate) max_attempts: u32,
    /// Its progress, as its worker last reported it.
    pub(crate) progress: Option<String>,
    /// Its result, once it succeeded.
    pub(crate) result: Option<Value>,
    /// The error of its latest failed attempt.
    pub(crate) error: Option<String>,
    /// When it was submitted, RFC 3339.
    pub(crate) enqueued_at: Option<String>,
    /// When its latest attempt started.
    pub(crate) started_at: Option<String>,
    /// When it ended for good.
    pub(crate) ended_at: Option<String>,
    /// When it will run at the earliest, while it waits for that.
    pub(crate) run_at: Option<String>,
    /// It was cancelled, and its worker has not stopped yet.
    pub(crate) cancelling: bool,
    /// Measurements of its latest attempt.
    pub(crate) metrics: Option<Value>,
    /// Why it may wait for long, where that is known: no runner serves its queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) warning: Option<String>,
}

/// The status of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StatusWord {
    /// Waits for a worker.
    Queued,
    /// Waits until its time comes.
    Scheduled,
    /// A worker runs it.
    Running,
    /// Succeeded.
    Succeeded,
    /// An attempt failed, and there will be another.
    Failed,
    /// Given up: it is kept as a dead letter.
    Dead,
    /// Cancelled.
    Cancelled,
}

impl From<JobStatus> for StatusWord {
    fn from(status: JobStatus) -> Self {
        match status {
            JobStatus::Queued => Self::Queued,
            JobStatus::Scheduled => Self::Scheduled,
            JobStatus::Running => Self::Running,
            JobStatus::Succeeded => Self::Succeeded,
            JobStatus::Failed => Self::Failed,
            JobStatus::Dead => Self::Dead,
            JobStatus::Cancelled => Self::Cancelled,
        }
    }
}

impl JobView {
    /// A job as the description of the API shows it.
    pub(crate) fn example() -> Value {
        json!({
            "job_id": "default.0.0193a7c0f2b1f00d5e1f8a3c2d4", "kind": "call", "queue": "default",
            "status": "succeeded", "priority": 3, "attempt": 1, "max_attempts": 5, "progress": null,
            "result": {"output": "Echo Agent Response: hello", "success": true}, "error": null,
            "enqueued_at": "2026-01-02T03:04:05.678Z", "started_at": "2026-01-02T03:04:05.681Z",
            "ended_at": "2026-01-02T03:04:05.702Z", "run_at": null, "cancelling": false,
            "metrics": {"queue_time_ms": 3.1, "execution_time_ms": 20.6},
        })
    }

    pub(crate) fn of(record: &JobRecord) -> Self {
        let header = &record.header;
        Self {
            job_id: record.id.to_string(),
            kind: header.kind.clone(),
            queue: record.id.queue().to_owned(),
            status: record.status.into(),
            priority: header.priority,
            attempt: header.attempt,
            max_attempts: header.max_attempts,
            progress: record.progress.clone(),
            result: record.result.as_ref().map(value),
            error: header.error.as_deref().map(error),
            enqueued_at: time(header.enqueued_at),
            started_at: header.started_at.and_then(time),
            ended_at: header.ended_at.and_then(time),
            run_at: record.due_at.and_then(time),
            cancelling: record.cancelling,
            metrics: header.metrics.clone(),
            warning: None,
        }
    }
}

/// The error of an attempt, without the passwords of URLs.
pub(crate) fn error(said: &str) -> String {
    telemetry::redact(said).into_owned()
}

/// Why a job failed, as the short forms show it: they count a cancelled job as failed.
pub(crate) fn failure(record: &JobRecord) -> Option<String> {
    let was_cancelled = || "it was cancelled".to_owned();
    let cancelled = record.status == JobStatus::Cancelled;
    let error = record.header.error.as_deref().map(error);
    error.or_else(|| cancelled.then(was_cancelled))
}

/// RFC 3339 in UTC with milliseconds; `None` for a time that no calendar has.
pub(crate) fn time(unix_ms: u64) -> Option<String> {
    let time = DateTime::<Utc>::from_timestamp_millis(i64::try_from(unix_ms).ok()?)?;
    Some(time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// A payload as JSON; bytes that are none as `{"bytes_base64": …}`.
pub(crate) fn value(payload: &Payload) -> Value {
    let json = match payload {
        Payload::Json(text) => serde_json::from_slice(text).ok(),
        Payload::Binary(_) => None,
    };
    json.unwrap_or_else(|| json!({ "bytes_base64": BASE64_STANDARD.encode(payload.bytes()) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_and_bytes_base64() {
        assert_eq!(time(1_700_000_000_123).unwrap(), "2023-11-14T22:13:20.123Z");
        assert_eq!(time(u64::MAX), None);
        let bytes = Payload::Binary(bytes::Bytes::from_static(&[255]));
        assert_eq!(value(&bytes), json!({ "bytes_base64": "/w==" }));
    }

    #[test]
    fn every_status_keeps_its_word() {
        for status in JobStatus::ALL {
            assert_eq!(json!(StatusWord::from(status)), json!(status.as_str()));
        }
    }
}
