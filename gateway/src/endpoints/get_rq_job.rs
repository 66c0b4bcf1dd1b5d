//! `GET /jobs/{id}`: a job with RQ's words for its status.

use jobs::{JobRecord, JobStatus};
use serde_json::Value;

use super::prelude::*;
use crate::job_view::{self, failure};

/// A job in RQ's words.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"id": "default.0.0193a7c0f2b1f00d5e1f8a3c2d4", "status": "finished",
    "result": {"status_code": 200, "body": "hello"}, "enqueued_at": "2026-01-02T03:04:05.678Z",
    "started_at": "2026-01-02T03:04:05.681Z", "ended_at": "2026-01-02T03:04:05.902Z", "error": null}))]
pub(super) struct RqJob {
    /// Its id.
    id: String,
    /// `queued` (scheduled and to be retried, too), `started`, `finished`, or `failed` (dead and
    /// cancelled, too).
    #[schema(value_type = RqWord)]
    status: &'static str,
    /// Its result.
    result: Option<Value>,
    /// When it was submitted.
    enqueued_at: Option<String>,
    /// When its latest attempt started.
    started_at: Option<String>,
    /// When it ended.
    ended_at: Option<String>,
    /// The error of its latest failed attempt.
    error: Option<String>,
}

/// The status of a job, in RQ's words.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "for the description only")]
enum RqWord {
    Queued,
    Started,
    Finished,
    Failed,
}

/// Get a job in RQ's words.
#[utoipa::path(get, path = "/jobs/{id}", tag = "short forms", operation_id = "getRqJob",
    params(("id" = String, Path, description = "A job's id")),
    responses((status = 200, description = "The job", body = RqJob)))]
pub(super) async fn get(State(app): State<App>, Id(id): Id) -> JsonResult<RqJob> {
    let record = app.with_timeout(app.jobs.get(&id)).await?;
    Ok(JsonResponse::ok(rq(&record)))
}

fn rq(record: &JobRecord) -> RqJob {
    let header = &record.header;
    RqJob {
        id: record.id.to_string(),
        status: word(record.status),
        result: record.result.as_ref().map(job_view::value),
        enqueued_at: job_view::time(header.enqueued_at),
        started_at: header.started_at.and_then(job_view::time),
        ended_at: header.ended_at.and_then(job_view::time),
        error: failure(record),
    }
}

const fn word(status: JobStatus) -> &'static str {
    match status {
        JobStatus::Queued | JobStatus::Scheduled | JobStatus::Failed => "queued",
        JobStatus::Running => "started",
        JobStatus::Succeeded => "finished",
        JobStatus::Dead | JobStatus::Cancelled => "failed",
    }
}
