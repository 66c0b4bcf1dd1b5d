//! Runs are started, found and read.

use std::collections::BTreeMap;

use chrono::DateTime;
use runs::RunFilter;

use super::prelude::*;
use crate::workflows::{
    commands::unknown_run,
    create::{StartedRun, Wanted},
    details::RunDetails,
    tags,
};

/// The most runs on a page.
const MAX_PAGE: usize = 1_000;

/// How a run is started.
#[derive(Debug, Deserialize, ToSchema)]
pub(in crate::endpoints) struct Execution {
    /// What the workflow gets.
    #[serde(default)]
    #[schema(value_type = Object, example = json!({"task": "hello"}))]
    inputs: Option<Value>,
    /// 1 to 5; 5 is the highest. 3 when absent, or what the workflow says.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 5, nullable = false, example = 3)]
    priority: Option<u8>,
    /// To find the run by.
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// Run a workflow.
#[utoipa::path(post, path = "/api/v1/workflows/{tag}/execute", tag = "runs",
    operation_id = "executeWorkflow", request_body = Execution,
    params(("tag" = String, Path, description = "Its name, with each slash as %2F"),
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 256, pattern = "^[!-~]+$",
            description = "The same key again is the same run as long as it is kept; with another body 409")),
    responses((status = 201, description = "Taken in", body = StartedRun)))]
pub(in crate::endpoints) async fn execute(
    State(app): State<App>,
    Owner(owner): Owner,
    TagName(tag): TagName,
    caller: RequestContext,
    Body(body): Body<Execution>,
) -> JsonResult<StartedRun> {
    let wanted = Wanted {
        inputs: body.inputs,
        priority: body.priority,
        labels: body.labels,
    };
    let started = app.workflows.execute(&owner, &tag, wanted, &caller).await;
    app.metrics.run_submitted(started.is_ok());
    Ok(JsonResponse::created(started?))
}

/// A run to start.
#[derive(Debug, Deserialize, ToSchema)]
pub(in crate::endpoints) struct NewRunBody {
    /// The workflow, or the name of a stored one.
    #[serde(default)]
    #[schema(value_type = Object, example = json!({"nodes": [{"id": "a", "type": "noop"}], "edges": []}))]
    workflow: Value,
    /// What the workflow gets.
    #[serde(default)]
    #[schema(value_type = Object, example = json!({"task": "hello"}))]
    inputs: Option<Value>,
    /// A name to find its runs by, of a workflow that comes with the request.
    #[serde(default, alias = "workflow_tag")]
    #[schema(nullable = false)]
    tag: Option<String>,
    /// 1 to 5; 5 is the highest.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 5, nullable = false, example = 3)]
    priority: Option<u8>,
    /// To find the run by.
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// Starts what a body says.
pub(super) async fn start_any(
    app: &App,
    owner: &str,
    caller: &RequestContext,
    body: NewRunBody,
) -> Result<StartedRun, Problem> {
    let wanted = Wanted {
        inputs: body.inputs,
        priority: body.priority,
        labels: body.labels,
    };
    let named = match &body.workflow {
        Value::String(tag) => Some(tag.clone()),
        Value::Null => body.tag.clone(),
        _ => None,
    };
    for tag in body.tag.iter().chain(&named) {
        tags::of_path(tag)?;
    }
    let started = match (named, &body.workflow) {
        (Some(tag), _) => app.workflows.execute(owner, &tag, wanted, caller).await,
        (None, Value::Null) => Err(bad_request("workflow is required")),
        (None, document) => {
            app.workflows
                .run_inline(owner, body.tag, document, wanted, caller)
                .await
        }
    };
    app.metrics.run_submitted(started.is_ok());
    started
}

/// Run a workflow of the request.
#[utoipa::path(post, path = "/api/v1/runs", tag = "runs", operation_id = "startRun",
    request_body = NewRunBody,
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 256, pattern = "^[!-~]+$",
            description = "The same key again is the same run as long as it is kept; with another body 409")),
    responses((status = 201, description = "Taken in", body = StartedRun)))]
pub(in crate::endpoints) async fn start(
    State(app): State<App>,
    Owner(owner): Owner,
    caller: RequestContext,
    Body(body): Body<NewRunBody>,
) -> JsonResult<StartedRun> {
    start_any(&app, &owner, &caller, body)
        .await
        .map(JsonResponse::created)
}

/// How many runs.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::endpoints) struct OfWorkflowParams {
    /// How many at most.
    #[param(minimum = 1, maximum = 1000, default = 20)]
    limit: Option<String>,
    /// Where the page begins: `next_cursor` of the one before.
    cursor: Option<String>,
}

/// A page of runs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"runs": [RunView::example()], "next_cursor": null}))]
pub(in crate::endpoints) struct RunsPage {
    /// The latest first.
    runs: Vec<RunView>,
    /// Where the next page begins; null after the last.
    next_cursor: Option<String>,
}

/// List the runs of a workflow.
#[utoipa::path(get, path = "/api/v1/workflows/{tag}/runs", tag = "runs",
    operation_id = "listWorkflowRuns",
    params(("tag" = String, Path, description = "Its name, with each slash as %2F"), OfWorkflowParams),
    responses((status = 200, description = "A page", body = RunsPage)))]
pub(in crate::endpoints) async fn of_workflow(
    State(app): State<App>,
    Owner(owner): Owner,
    TagName(tag): TagName,
    QueryParams(wanted): QueryParams<OfWorkflowParams>,
) -> JsonResult<RunsPage> {
    // What is no number counts as absent, as it always did.
    let limit = wanted.limit.and_then(|limit| limit.parse().ok());
    let filter = RunFilter {
        owner: Some(owner),
        tag: Some(tag),
        cursor: wanted.cursor,
        limit: limit.filter(|limit| *limit > 0).unwrap_or(20).min(MAX_PAGE),
        ..RunFilter::default()
    };
    page(&app, &filter).await
}

async fn page(app: &App, filter: &RunFilter) -> JsonResult<RunsPage> {
    let page = app
        .workflows
        .ask(app.workflows.store().runs(filter))
        .await?;
    Ok(JsonResponse::ok(RunsPage {
        runs: page.runs.iter().map(RunView::of).collect(),
        next_cursor: page.next,
    }))
}

/// Which runs.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::endpoints) struct ListParams {
    /// With this status, in any case.
    #[param(example = "COMPLETED")]
    status: Option<String>,
    /// Of this workflow.
    tag: Option<String>,
    /// Whose; one's own when absent, `*` for those of everybody.
    owner: Option<String>,
    /// Submitted at or after: RFC 3339, or Unix milliseconds.
    since: Option<String>,
    /// Submitted before.
    until: Option<String>,
    /// With this label, such as `label.team=sales`; as many as you like.
    #[param(rename = "label.{key}")]
    #[expect(
        dead_code,
        reason = "labels are read by their names, this describes them"
    )]
    label: Option<String>,
    /// A part of the id, the name or the error.
    q: Option<String>,
    /// How many at most.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    /// Where the page begins: `next_cursor` of the one before.
    cursor: Option<String>,
}

/// List runs.
#[utoipa::path(get, path = "/api/v1/runs", tag = "runs", operation_id = "listRuns",
    params(ListParams), responses((status = 200, description = "A page", body = RunsPage)))]
pub(in crate::endpoints) async fn list(
    State(app): State<App>,
    Owner(owner): Owner,
    QueryParams(labels): QueryParams<Vec<(String, String)>>,
    QueryParams(wanted): QueryParams<ListParams>,
) -> JsonResult<RunsPage> {
    let labels = labels.into_iter().filter_map(|(name, value)| {
        let name = name.strip_prefix("label.")?;
        Some((name.to_owned(), value))
    });
    let filter = RunFilter {
        status: status(wanted.status.as_deref())?,
        tag: wanted.tag,
        owner: match wanted.owner.as_deref() {
            Some("*") => None,
            Some(_) => wanted.owner,
            None => Some(owner),
        },
        since: moment("since", wanted.since.as_deref())?,
        until: moment("until", wanted.until.as_deref())?,
        labels: labels.collect(),
        q: wanted.q,
        cursor: wanted.cursor,
        limit: limit(wanted.limit, 100)?,
    };
    page(&app, &filter).await
}

/// A status as the store has it.
pub(super) fn status(word: Option<&str>) -> Result<Option<String>, Problem> {
    let known = |word| {
        let known = workflow::RunStatus::of(word).map(|status| status.as_str().to_owned());
        known.ok_or_else(|| {
            bad_request(format!(
                "status: {word:?} is no status: use QUEUED, RUNNING, WAITING_FOR_APPROVAL, COMPLETED, \
                 FAILED or CANCELLED"
            ))
        })
    };
    word.map(known).transpose()
}

/// How many are on a page.
pub(super) fn limit(given: Option<usize>, absent: usize) -> Result<usize, Problem> {
    let limit = given.unwrap_or(absent);
    match (1..=MAX_PAGE).contains(&limit) {
        true => Ok(limit),
        false => Err(bad_request(format!(
            "limit: {limit} is not 1 to {MAX_PAGE}"
        ))),
    }
}

fn moment(name: &str, text: Option<&str>) -> Result<Option<u64>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let millis = text.parse::<u64>().ok().or_else(|| {
        let time = DateTime::parse_from_rfc3339(text).ok()?;
        u64::try_from(time.timestamp_millis()).ok()
    });
    let wrong = || {
        bad_request(format!(
            "{name}: {text:?} is neither RFC 3339 nor Unix milliseconds"
        ))
    };
    millis.ok_or_else(wrong).map(Some)
}

/// Get a run.
#[utoipa::path(get, path = "/api/v1/runs/{id}", tag = "runs", operation_id = "getRun",
    params(("id" = String, Path, description = "A run's id")),
    responses((status = 200, description = "The run", body = RunView)))]
pub(in crate::endpoints) async fn get(
    State(app): State<App>,
    RunId(id): RunId,
) -> JsonResult<RunView> {
    let record = app.workflows.ask(app.workflows.store().run(&id)).await;
    let record = record.map_err(unknown_run)?;
    Ok(JsonResponse::ok(RunView::of(&record.summary)))
}

/// Get all that happened in a run.
#[utoipa::path(get, path = "/api/v1/runs/{id}/details", tag = "runs", operation_id = "getRunDetails",
    params(("id" = String, Path, description = "A run's id")),
    responses((status = 200, description = "The run with its nodes", body = RunDetails)))]
pub(in crate::endpoints) async fn details(
    State(app): State<App>,
    RunId(id): RunId,
) -> JsonResult<RunDetails> {
    let loaded = app.workflows.load(&id).await?;
    Ok(JsonResponse::ok(loaded.details()))
}
