//! `POST /jobs` and `GET /jobs/<id>`: a request out of the mesh, with RQ's words for its status.

use ::jobs::{JobRecord, JobStatus};
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use work::{Http, JobKind as _};

use crate::{
    body::{Id, Json},
    json_response::JsonResponse,
    problem::Problem,
    request_context::RequestContext,
    state::App,
    view,
};

/// A request to send.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "for the description only; what is read is work::Http"
)]
pub(crate) struct HttpJob {
    /// An `http` or `https` URL.
    #[schema(format = "uri", example = "https://example.org/get")]
    url: String,
    /// Its method; `GET`.
    #[schema(nullable = false)]
    method: Option<String>,
    /// Its headers.
    #[schema(nullable = false)]
    headers: Option<std::collections::BTreeMap<String, String>>,
    /// Its body, as text.
    body: Option<String>,
    /// How many seconds it may take; 10.
    #[schema(exclusive_minimum = 0, maximum = 30, nullable = false)]
    timeout: Option<f64>,
}

/// A request that was taken in.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"job_id": "default.0.0193a7c0f2b1f00d5e1f8a3c2d4",
    "enqueued_at": "2026-01-02T03:04:05.678Z"}))]
pub(crate) struct HttpAccepted {
    /// Its job.
    job_id: String,
    /// When, RFC 3339.
    enqueued_at: Option<String>,
    /// Why it may wait for long, where that is known: no runner takes the jobs of its queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    warning: Option<String>,
}

/// A job in RQ's words.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"id": "default.0.0193a7c0f2b1f00d5e1f8a3c2d4", "status": "finished",
    "result": {"status_code": 200, "body": "hello"}, "enqueued_at": "2026-01-02T03:04:05.678Z",
    "started_at": "2026-01-02T03:04:05.681Z", "ended_at": "2026-01-02T03:04:05.902Z", "error": null}))]
pub(crate) struct RqJob {
    /// Its id.
    id: String,
    /// `queued` (scheduled and to be retried, too), `started`, `finished`, or `failed` (dead and
    /// cancelled, too).
    #[schema(value_type = RqWord)]
    status: &'static str,
    /// What came of it.
    result: Option<Value>,
    /// When it was submitted.
    enqueued_at: Option<String>,
    /// When its latest attempt started.
    started_at: Option<String>,
    /// When it ended.
    ended_at: Option<String>,
    /// What its latest failed attempt said.
    error: Option<String>,
}

/// Where a job stands, in RQ's words.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "for the description only")]
pub(crate) enum RqWord {
    Queued,
    Started,
    Finished,
    Failed,
}

/// Send a request out.
///
/// To a server outside the mesh.
#[utoipa::path(post, path = "/jobs", tag = "short forms", operation_id = "submitHttpJob",
    request_body = HttpJob,
    responses((status = 202, description = "Taken in", body = HttpAccepted)))]
pub(crate) async fn submit(
    State(app): State<App>,
    caller: RequestContext,
    Json(body): Json<Value>,
) -> Result<Response, Problem> {
    let mut job = Http::read(&body)?.new_job();
    job.queue = app.queue(None);
    caller.apply_to(&mut job)?;
    let submitted = app.submit(job).await?;
    let accepted = HttpAccepted {
        // The time in the id is the one of the submission that came first.
        enqueued_at: view::time(submitted.id.made_at()),
        warning: app.warning(submitted.id.queue(), submitted.status).await,
        job_id: submitted.id.to_string(),
    };
    Ok((StatusCode::ACCEPTED, JsonResponse(accepted)).into_response())
}

/// Get a job in RQ's words.
#[utoipa::path(get, path = "/jobs/{id}", tag = "short forms", operation_id = "getRqJob",
    params(("id" = String, Path, description = "A job's id")),
    responses((status = 200, description = "The job", body = RqJob)))]
pub(crate) async fn get(
    State(app): State<App>,
    Id(id): Id,
) -> Result<JsonResponse<RqJob>, Problem> {
    let record = app.with_timeout(app.jobs.get(&id)).await?;
    Ok(JsonResponse(rq(&record)))
}

fn rq(record: &JobRecord) -> RqJob {
    let header = &record.header;
    RqJob {
        id: record.id.to_string(),
        status: word(record.status),
        result: record.result.as_ref().map(view::value),
        enqueued_at: view::time(header.enqueued_at),
        started_at: header.started_at.and_then(view::time),
        ended_at: header.ended_at.and_then(view::time),
        error: why(record),
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

/// Why it failed. One that was called off did not, but for this API it has.
pub(super) fn why(record: &JobRecord) -> Option<String> {
    let called_off = || "it was called off".to_owned();
    let cancelled = record.status == JobStatus::Cancelled;
    let error = record.header.error.as_deref().map(view::error);
    error.or_else(|| cancelled.then(called_off))
}
