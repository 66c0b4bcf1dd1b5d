//! `GET /api/logs/stream`: what happens in a run, as lines of a log.

use super::prelude::{run_id as checked_run_id, *};
use crate::workflows::follow::{self, From, Telling};

/// Which lines.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::endpoints) struct LogParams {
    /// The run.
    #[param(required = true)]
    run_id: Option<String>,
    /// Only of this node.
    node_id: Option<String>,
    /// `all` or `errors`.
    #[param(default = "all")]
    filter: Option<String>,
    /// Only lines after the one with this cursor.
    cursor: Option<String>,
}

/// Follow the log of a run.
///
/// Server-sent events `log`, and `done` when the run has ended.
#[utoipa::path(get, path = "/api/logs/stream", tag = "runs", operation_id = "streamLogs",
    params(LogParams,
        ("Last-Event-ID" = Option<String>, Header, description = "As the query's cursor")),
    responses((status = 200, description = "Lines", content_type = "text/event-stream", body = String,
        example = "id: 2a-1f\nevent: log\ndata: {\"timestamp\":\"2026-01-02T03:04:05.678Z\",\"level\":\"info\",\"node_id\":\"score\",\"message\":\"node completed\",\"run_id\":\"0193a7c0-f2b1-700d-8e1f-8a3c2d4e5f61\",\"cursor\":\"2a-1f\"}\n\n")))]
pub(in crate::endpoints) async fn stream(
    State(app): State<App>,
    QueryParams(wanted): QueryParams<LogParams>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let given = wanted
        .run_id
        .ok_or_else(|| bad_request("run_id is required"))?;
    let RunId(run_id) = checked_run_id(&given)?;
    let only_errors = match wanted.filter.as_deref() {
        None | Some("all") => false,
        Some("errors" | "error") => true,
        Some(other) => {
            return Err(bad_request(format!(
                "filter: {other:?} is not all or errors"
            )));
        }
    };
    let absent = From::Cursor(runs::EventCursor::default());
    let from = From::read(&parts.headers, wanted.cursor.as_deref(), absent)?;
    let telling = Telling::Log {
        node: wanted.node_id,
        only_errors,
    };
    follow::of_run(app, &run_id, from, telling, parts).await
}
