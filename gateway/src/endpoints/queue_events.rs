//! `GET /api/v1/events`

use super::prelude::*;
use crate::events::{self, EventSource};

/// Which queue, and where to begin.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct QueueEventsParams {
    /// The queue; that of `queue_name` when absent.
    #[param(pattern = "^[a-z0-9_-]{1,64}$")]
    queue: Option<String>,
    /// Only events after the one with this id; all that are kept when absent.
    cursor: Option<String>,
}

/// Follow a queue.
///
/// Its events, as server-sent events or over a WebSocket, without end. Where events are no longer kept
/// (`jobs_events`), an event `missed` says so.
#[utoipa::path(get, path = "/api/v1/events", tag = "events", operation_id = "queueEvents",
    params(QueueEventsParams,
        ("Last-Event-ID" = Option<String>, Header, description = "As the query's cursor")),
    responses((status = 200, description = "Events", content_type = "text/event-stream", body = String,
        example = "id: default:0=1735689600000-0.0\nevent: missed\ndata: {\"job_id\":null,\"queue\":\"default\",\"event\":\"missed\",\"detail\":\"…\",\"at\":\"2026-01-01T00:00:00.000Z\",\"cursor\":\"default:0=1735689600000-0.0\"}\n\n")))]
pub(super) async fn queue_events(
    State(app): State<App>,
    QueryParams(from): QueryParams<QueueEventsParams>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let queue = app.queue(from.queue.as_deref());
    events::follow(app, EventSource::Queue(queue), from.cursor, parts).await
}
