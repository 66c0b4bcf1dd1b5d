//! `/api/runs`: the requests of the predecessor's command line.

use runs::RunFilter;

use super::{
    prelude::*,
    run_control::reason,
    runs::{NewRunBody, limit, start_any, status},
};
use crate::workflows::{commands::unknown_run, views::ShortRun};

/// Run a workflow of the request, short.
#[utoipa::path(post, path = "/api/runs", tag = "short forms", operation_id = "startShortRun",
    request_body = NewRunBody,
    responses((status = 201, description = "Taken in", body = Object,
        example = json!({"run_id": "0193a7c0-f2b1-700d-8e1f-8a3c2d4e5f61", "status": "queued"}))))]
pub(in crate::endpoints) async fn start(
    State(app): State<App>,
    Owner(owner): Owner,
    caller: RequestContext,
    Body(body): Body<NewRunBody>,
) -> JsonResult<Value> {
    let started = start_any(&app, &owner, &caller, body).await?;
    let status = started.status.to_ascii_lowercase();
    Ok(JsonResponse::created(
        json!({"run_id": started.run_id, "status": status}),
    ))
}

/// Which runs.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::endpoints) struct ListParams {
    /// With this status.
    #[param(example = "running")]
    status: Option<String>,
    /// How many at most.
    #[param(minimum = 1, maximum = 1000, default = 10)]
    limit: Option<usize>,
}

/// Runs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"runs": [], "total": 0}))]
pub(in crate::endpoints) struct ShortList {
    /// The latest first.
    runs: Vec<ShortRun>,
    /// How many there are, up to 10,000.
    total: u64,
}

/// List runs, short.
#[utoipa::path(get, path = "/api/runs", tag = "short forms", operation_id = "listShortRuns",
    params(ListParams), responses((status = 200, description = "Runs", body = ShortList)))]
pub(in crate::endpoints) async fn list(
    State(app): State<App>,
    Owner(owner): Owner,
    QueryParams(wanted): QueryParams<ListParams>,
) -> JsonResult<ShortList> {
    let filter = RunFilter {
        status: status(wanted.status.as_deref())?,
        owner: Some(owner),
        limit: limit(wanted.limit, 10)?,
        ..RunFilter::default()
    };
    let store = app.workflows.store();
    let listed = async { tokio::try_join!(store.runs(&filter), store.count(&filter)) };
    let (page, total) = app.workflows.ask(listed).await?;
    Ok(JsonResponse::ok(ShortList {
        total,
        runs: page.runs.iter().map(ShortRun::of).collect(),
    }))
}

/// Get a run, short.
#[utoipa::path(get, path = "/api/runs/{id}", tag = "short forms", operation_id = "getShortRun",
    params(("id" = String, Path, description = "A run's id")),
    responses((status = 200, description = "The run", body = ShortRun)))]
pub(in crate::endpoints) async fn get(
    State(app): State<App>,
    RunId(id): RunId,
) -> JsonResult<ShortRun> {
    let run = app.workflows.ask(app.workflows.store().summary(&id)).await;
    Ok(JsonResponse::ok(ShortRun::of(&run.map_err(unknown_run)?)))
}

/// Cancel a run, short.
#[utoipa::path(post, path = "/api/runs/{id}/cancel", tag = "short forms",
    operation_id = "cancelShortRun",
    params(("id" = String, Path, description = "A run's id")),
    responses((status = 200, description = "`null`, as that command line expects it", body = Object,
        example = json!("null"))))]
pub(in crate::endpoints) async fn cancel(
    State(app): State<App>,
    Owner(by): Owner,
    RunId(id): RunId,
    AnyBody(body): AnyBody,
) -> JsonResult<()> {
    let body = json!({"by": by, "reason": reason(&body)?});
    app.workflows.command(&id, "cancel", body, None).await?;
    Ok(JsonResponse::ok(()))
}
