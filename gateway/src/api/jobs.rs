//! Single jobs: submit, get, list, cancel, retry, follow.

use ::jobs::{JobFilter, JobRecord, JobStatus};
use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    body::{Id, Json},
    events::{self, EventSource},
    json_response::JsonResponse,
    problem::Problem,
    query::QueryParams,
    request_context::RequestContext,
    state::{App, Gateway},
    submit::Submission,
    view::{JobView, StatusWord},
};

/// The most jobs on a page, and how many are on one unless the query says.
const PAGE: (usize, usize) = (1_000, 100);

/// A job that was taken in.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"job_id": "default.0.0193a7c0f2b1f00d5e1f8a3c2d4", "status": "queued"}))]
pub(crate) struct Accepted {
    /// Its id.
    pub(crate) job_id: String,
    /// Where it stands; null for a job that was submitted before under the same key and is kept no
    /// more.
    pub(crate) status: Option<StatusWord>,
    /// Why it may wait for long, where that is known: no runner takes the jobs of its queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) warning: Option<String>,
}

/// Submit a job.
#[utoipa::path(post, path = "/api/v1/jobs", tag = "jobs", operation_id = "submitJob",
    request_body = Submission,
    params(("Idempotency-Key" = Option<String>, Header, description = "As the field idempotency_key",
        min_length = 1, max_length = 256, pattern = "^[!-~]+$")),
    responses((status = 202, description = "Taken in", body = Accepted)))]
pub(crate) async fn submit(
    State(app): State<App>,
    caller: RequestContext,
    Json(body): Json<Submission>,
) -> Result<Response, Problem> {
    let job = body.job(&app, &caller)?;
    let submitted = app.submit(job).await?;
    let accepted = Accepted {
        job_id: submitted.id.to_string(),
        warning: app.warning(submitted.id.queue(), submitted.status).await,
        status: submitted.status.map(Into::into),
    };
    Ok((StatusCode::ACCEPTED, JsonResponse(accepted)).into_response())
}

/// Get a job.
///
/// Where it stands, and what came of it.
#[utoipa::path(get, path = "/api/v1/jobs/{id}", tag = "jobs", operation_id = "getJob",
    params(("id" = String, Path, description = "A job's id")),
    responses((status = 200, description = "The job", body = JobView)))]
pub(crate) async fn get(
    State(app): State<App>,
    Id(id): Id,
) -> Result<JsonResponse<JobView>, Problem> {
    let record = app.with_timeout(app.jobs.get(&id)).await?;
    let warning = app.warning(id.queue(), Some(record.status)).await;
    let view = JobView::of(&record);
    Ok(JsonResponse(JobView { warning, ..view }))
}

/// Cancel a job.
///
/// A waiting one at once, a running one within a second, when its worker hears of it; one that has
/// ended stays as it is.
#[utoipa::path(post, path = "/api/v1/jobs/{id}/cancel", tag = "jobs", operation_id = "cancelJob",
    params(("id" = String, Path, description = "A job's id")),
    responses((status = 200, description = "The job", body = JobView)))]
pub(crate) async fn cancel(
    State(app): State<App>,
    Id(id): Id,
) -> Result<JsonResponse<JobView>, Problem> {
    Ok(view(&app.with_timeout(app.jobs.cancel(&id)).await?))
}

/// Retry a dead job.
///
/// It is tried again from the start.
#[utoipa::path(post, path = "/api/v1/jobs/{id}/retry", tag = "jobs", operation_id = "retryJob",
    params(("id" = String, Path, description = "A dead job's id")),
    responses((status = 200, description = "The job", body = JobView)))]
pub(crate) async fn retry(
    State(app): State<App>,
    Id(id): Id,
) -> Result<JsonResponse<JobView>, Problem> {
    Ok(view(&app.with_timeout(app.jobs.retry(&id)).await?))
}

fn view(record: &JobRecord) -> JsonResponse<JobView> {
    JsonResponse(JobView::of(record))
}

/// Which jobs.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListParams {
    /// With this status.
    #[param(value_type = Option<StatusWord>)]
    status: Option<String>,
    /// Of this queue.
    #[param(pattern = "^[a-z0-9_-]{1,64}$")]
    queue: Option<String>,
    /// Of this kind.
    #[param(value_type = Option<crate::submit::KindWord>)]
    kind: Option<String>,
    /// At most so many.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    /// Where the page begins: `next_cursor` of the one before.
    cursor: Option<String>,
}

/// A page of jobs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"jobs": [JobView::example()], "next_cursor": null}))]
pub(crate) struct PageView {
    /// By queue, latest submitted first; with a status in the order of that: next in line first,
    /// ended ones latest first. A page may hold fewer than asked for, or none, while there are more.
    /// A job that is there throughout is on one of the pages, whatever moves meanwhile.
    jobs: Vec<JobView>,
    /// Where the next page begins; null after the last.
    next_cursor: Option<String>,
}

/// List jobs.
///
/// Page by page; an empty parameter counts as absent.
#[utoipa::path(get, path = "/api/v1/jobs", tag = "jobs", operation_id = "listJobs",
    params(ListParams),
    responses((status = 200, description = "A page", body = PageView)))]
pub(crate) async fn list(
    State(app): State<App>,
    QueryParams(wanted): QueryParams<ListParams>,
) -> Result<JsonResponse<PageView>, Problem> {
    let limit = wanted.limit.unwrap_or(PAGE.1);
    if limit == 0 || limit > PAGE.0 {
        return Err(Problem::field(
            "limit",
            format!("{limit} is not 1 to {}", PAGE.0),
        ));
    }
    let status = wanted.status.as_deref().map(|word| {
        let known = JobStatus::parse(word);
        known.ok_or_else(|| {
            let words = JobStatus::ALL.map(JobStatus::as_str).join(", ");
            Problem::field("status", format!("{word:?} is none, use one of {words}"))
        })
    });
    let kind = wanted.kind.as_deref().map(work::kind).transpose()?;
    let filter = JobFilter {
        queue: wanted.queue.as_deref().map(|queue| app.queue(Some(queue))),
        status: status.transpose()?,
        kind: kind.map(|kind| kind.name.to_owned()),
    };
    let cursor = wanted.cursor.as_deref().filter(|cursor| !cursor.is_empty());
    let listed = app
        .with_timeout(app.jobs.list(&filter, limit, cursor))
        .await?;
    Ok(JsonResponse(PageView {
        jobs: listed.jobs.iter().map(JobView::of).collect(),
        next_cursor: listed.next,
    }))
}

/// From where on.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct JobEventsParams {
    /// Only what came after the event with this id; all that is known when absent.
    cursor: Option<String>,
}

/// Which queue, and from where on.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct QueueEventsParams {
    /// The queue; that of `queue_name` when absent.
    #[param(pattern = "^[a-z0-9_-]{1,64}$")]
    queue: Option<String>,
    /// Only what came after the event with this id; all that is known when absent.
    cursor: Option<String>,
}

/// Follow a job.
///
/// What happens to it, as server-sent events or over a WebSocket, until it ends. Where some of it is
/// kept no more, an event `missed` says so in its place; it is the last one when the job is gone.
#[utoipa::path(get, path = "/api/v1/jobs/{id}/events", tag = "events", operation_id = "jobEvents",
    params(("id" = String, Path, description = "A job's id"), JobEventsParams,
        ("Last-Event-ID" = Option<String>, Header, description = "As the query's cursor")),
    responses((status = 200, description = "Events", content_type = "text/event-stream", body = String,
        example = "id: 1.0-5f3a9c21\nevent: queued\ndata: {\"job_id\":\"default.0.0193a7c0f2b1f00d5e1f8a3c2d4\",\"queue\":\"default\",\"event\":\"queued\",\"progress\":null,\"at\":\"2026-01-02T03:04:05.678Z\",\"cursor\":\"1.0-5f3a9c21\"}\n\n"),
        (status = 204, description = "It has ended, and all was told")))]
pub(crate) async fn job_events(
    State(app): State<App>,
    Id(id): Id,
    QueryParams(from): QueryParams<JobEventsParams>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    events::follow(app, EventSource::Job(id), from.cursor, parts).await
}

/// Follow a queue.
///
/// What happens in it, as server-sent events or over a WebSocket, for as long as you like. Where some
/// of it is kept no more (`jobs_events`), an event `missed` says so in its place.
#[utoipa::path(get, path = "/api/v1/events", tag = "events", operation_id = "queueEvents",
    params(QueueEventsParams,
        ("Last-Event-ID" = Option<String>, Header, description = "As the query's cursor")),
    responses((status = 200, description = "Events", content_type = "text/event-stream", body = String,
        example = "id: default:0=1735689600000-0.0\nevent: missed\ndata: {\"job_id\":null,\"queue\":\"default\",\"event\":\"missed\",\"detail\":\"…\",\"at\":\"2026-01-01T00:00:00.000Z\",\"cursor\":\"default:0=1735689600000-0.0\"}\n\n")))]
pub(crate) async fn queue_events(
    State(app): State<App>,
    QueryParams(from): QueryParams<QueueEventsParams>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let queue = queue_of(&app, from.queue.as_deref());
    events::follow(app, EventSource::Queue(queue), from.cursor, parts).await
}

fn queue_of(app: &Gateway, name: Option<&str>) -> String {
    app.queue(name)
}
