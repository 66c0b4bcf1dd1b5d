//! Events of runs: of one run, and of all runs of a user.

use super::prelude::*;
use crate::workflows::{
    follow::{self, From, Telling},
    owner::is_owner,
};

/// Where to begin.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::endpoints) struct RunEventsParams {
    /// Only events after the one with this cursor; all that are kept when absent. `latest`: from now on.
    cursor: Option<String>,
}

/// Follow a run.
///
/// Its events until it ends, as server-sent events or over a WebSocket. Each has its `cursor`. Where
/// events are no longer kept, a message `missed` says so.
#[utoipa::path(get, path = "/api/v1/runs/{id}/events", tag = "runs", operation_id = "runEvents",
    params(("id" = String, Path, description = "A run's id"), RunEventsParams,
        ("Last-Event-ID" = Option<String>, Header, description = "As the query's cursor")),
    responses((status = 200, description = "Events", content_type = "text/event-stream", body = String,
        example = "id: 2a-1f\nevent: node_completed\ndata: {\"type\":\"node_completed\",\"run_id\":\"0193a7c0-f2b1-700d-8e1f-8a3c2d4e5f61\",\"node_id\":\"score\",\"status\":\"completed\",\"counter\":0,\"result_ref\":null,\"timestamp\":1767323045,\"at\":\"2026-01-02T03:04:05.678Z\",\"cursor\":\"2a-1f\"}\n\n"),
        (status = 204, description = "It has ended, and there are no more events")))]
pub(in crate::endpoints) async fn of_run(
    State(app): State<App>,
    RunId(id): RunId,
    QueryParams(wanted): QueryParams<RunEventsParams>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let absent = From::Cursor(runs::EventCursor::default());
    let from = From::read(&parts.headers, wanted.cursor.as_deref(), absent)?;
    follow::of_run(app, &id, from, Telling::Messages, parts).await
}

/// Whose events, and where to begin.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::endpoints) struct UserEventsParams {
    /// The user.
    username: Option<String>,
    /// Only events after the one with this cursor. `first`: all that are kept; `latest`: from now on, and
    /// a first message `connected` says the cursor. From now on when absent.
    cursor: Option<String>,
}

/// Follow the runs of a user.
///
/// Over a WebSocket, or as server-sent events, without end. A client that comes back with the cursor
/// of its last message misses nothing, and hears nothing twice.
#[utoipa::path(get, path = "/ws", tag = "runs", operation_id = "userEvents",
    params(UserEventsParams,
        ("Last-Event-ID" = Option<String>, Header, description = "As the query's cursor")),
    responses((status = 101, description = "A WebSocket of text messages", body = String,
        content_type = "application/json",
        example = "{\"type\":\"workflow_started\",\"run_id\":\"0193a7c0-f2b1-700d-8e1f-8a3c2d4e5f61\",\"tag\":\"main\",\"nodes\":3,\"entry_nodes\":1,\"timestamp\":1767323045,\"at\":\"2026-01-02T03:04:05.678Z\",\"cursor\":\"2a-1f\"}")))]
pub(in crate::endpoints) async fn of_user(
    State(app): State<App>,
    QueryParams(wanted): QueryParams<UserEventsParams>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let username = wanted.username.unwrap_or_default();
    if username.is_empty() {
        return Err(bad_request("username query parameter required"));
    }
    if !is_owner(&username) {
        return Err(bad_request(
            "username: has to be 1 to 100 characters that can be printed",
        ));
    }
    let absent = From::Now { told: false };
    let from = From::read(&parts.headers, wanted.cursor.as_deref(), absent)?;
    follow::of_owner(app, username, from, parts).await
}
