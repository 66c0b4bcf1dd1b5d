//! `GET /api/v1/jobs/{id}/events`

use super::prelude::*;
use crate::events::{self, EventSource};

/// Where to begin.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct JobEventsParams {
    /// Only events after the one with this id; all that are kept when absent.
    cursor: Option<String>,
}

/// Follow a job.
///
/// Its events until it ends, as server-sent events or over a WebSocket. Where events are no longer
/// kept, an event `missed` says so. It is the last one when the job itself is no longer kept.
#[utoipa::path(get, path = "/api/v1/jobs/{id}/events", tag = "events", operation_id = "jobEvents",
    params(("id" = String, Path, description = "A job's id"), JobEventsParams,
        ("Last-Event-ID" = Option<String>, Header, description = "As the query's cursor")),
    responses((status = 200, description = "Events", content_type = "text/event-stream", body = String,
        example = "id: 1.0-5f3a9c21\nevent: queued\ndata: {\"job_id\":\"default.0.0193a7c0f2b1f00d5e1f8a3c2d4\",\"queue\":\"default\",\"event\":\"queued\",\"progress\":null,\"at\":\"2026-01-02T03:04:05.678Z\",\"cursor\":\"1.0-5f3a9c21\"}\n\n"),
        (status = 204, description = "It has ended, and there are no more events")))]
pub(super) async fn job_events(
    State(app): State<App>,
    Id(id): Id,
    QueryParams(from): QueryParams<JobEventsParams>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    events::follow(app, EventSource::Job(id), from.cursor, parts).await
}
