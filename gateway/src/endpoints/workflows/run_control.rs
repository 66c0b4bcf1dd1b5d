//! Runs are cancelled, held, gone on with and forked.

use runs::{CreateOutcome, NewRun};
use workflow::{Limits, Refusal, Start};

use super::prelude::*;
use crate::{
    problem::FieldProblem,
    workflows::{
        create::{StartedRun, inputs},
        versions,
    },
};

/// Why.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(in crate::endpoints) struct Reason {
    /// For people.
    #[serde(default)]
    #[schema(max_length = 1024, nullable = false, example = "not needed any more")]
    #[expect(
        dead_code,
        reason = "any JSON is taken, this describes what is read of it"
    )]
    reason: Option<String>,
}

/// What became of a wish.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"run_id": "0193a7c0-f2b1-700d-8e1f-8a3c2d4e5f61", "status": "CANCELLED",
    "message": "run cancelled"}))]
pub(in crate::endpoints) struct Controlled {
    /// The run.
    run_id: String,
    /// What it is now.
    status: String,
    /// What was done.
    message: &'static str,
}

async fn control(
    app: &App,
    run_id: &str,
    kind: &str,
    body: Value,
    caller: &RequestContext,
    message: &'static str,
) -> JsonResult<Controlled> {
    app.workflows
        .command(run_id, kind, body, caller.key.as_deref())
        .await?;
    let run = app.workflows.ask(app.workflows.store().run(run_id)).await?;
    Ok(JsonResponse::ok(Controlled {
        run_id: run_id.to_owned(),
        status: run.summary.status,
        message,
    }))
}

/// What a body says of the reason; a body of `null` or nothing says nothing.
pub(super) fn reason(body: &Value) -> Result<String, Problem> {
    let reason = match body {
        Value::Null => String::new(),
        body => body["reason"].as_str().unwrap_or_default().to_owned(),
    };
    match reason.chars().count() > 1_024 {
        true => Err(bad_request("reason: has to be at most 1024 characters")),
        false => Ok(reason),
    }
}

/// Cancel a run.
///
/// Its running jobs are called off, and what completed is compensated, the latest first.
#[utoipa::path(post, path = "/api/v1/runs/{id}/cancel", tag = "runs", operation_id = "cancelRun",
    request_body = Reason,
    params(("id" = String, Path, description = "A run's id")),
    responses((status = 200, description = "Cancelled", body = Controlled)))]
pub(in crate::endpoints) async fn cancel(
    State(app): State<App>,
    Owner(by): Owner,
    RunId(id): RunId,
    caller: RequestContext,
    AnyBody(body): AnyBody,
) -> JsonResult<Controlled> {
    let body = json!({"by": by, "reason": reason(&body)?});
    control(&app, &id, "cancel", body, &caller, "run cancelled").await
}

/// Cancel a run at once.
///
/// Nothing is compensated.
#[utoipa::path(post, path = "/api/v1/runs/{id}/terminate", tag = "runs", operation_id = "terminateRun",
    request_body = Reason,
    params(("id" = String, Path, description = "A run's id")),
    responses((status = 200, description = "Cancelled", body = Controlled)))]
pub(in crate::endpoints) async fn terminate(
    State(app): State<App>,
    Owner(by): Owner,
    RunId(id): RunId,
    caller: RequestContext,
    AnyBody(body): AnyBody,
) -> JsonResult<Controlled> {
    let body = json!({"by": by, "reason": reason(&body)?});
    control(&app, &id, "terminate", body, &caller, "run terminated").await
}

/// Pause a run.
///
/// What runs goes on; nothing more is started.
#[utoipa::path(post, path = "/api/v1/runs/{id}/pause", tag = "runs", operation_id = "pauseRun",
    params(("id" = String, Path, description = "A run's id")),
    responses((status = 200, description = "Paused", body = Controlled)))]
pub(in crate::endpoints) async fn pause(
    State(app): State<App>,
    Owner(by): Owner,
    RunId(id): RunId,
    caller: RequestContext,
) -> JsonResult<Controlled> {
    control(&app, &id, "pause", json!({"by": by}), &caller, "run paused").await
}

/// Resume a run.
///
/// What was held back by a pause is started.
#[utoipa::path(post, path = "/api/v1/runs/{id}/resume", tag = "runs", operation_id = "resumeRun",
    params(("id" = String, Path, description = "A run's id")),
    responses((status = 200, description = "It goes on", body = Controlled)))]
pub(in crate::endpoints) async fn resume(
    State(app): State<App>,
    Owner(by): Owner,
    RunId(id): RunId,
    caller: RequestContext,
) -> JsonResult<Controlled> {
    control(
        &app,
        &id,
        "resume",
        json!({"by": by}),
        &caller,
        "run resumed",
    )
    .await
}

/// Retry a run.
///
/// The same run goes on from what failed.
#[utoipa::path(post, path = "/api/v1/runs/{id}/retry", tag = "runs", operation_id = "retryRun",
    params(("id" = String, Path, description = "A run's id")),
    responses((status = 200, description = "It goes on", body = Controlled)))]
pub(in crate::endpoints) async fn retry(
    State(app): State<App>,
    Owner(by): Owner,
    RunId(id): RunId,
    caller: RequestContext,
) -> JsonResult<Controlled> {
    control(
        &app,
        &id,
        "retry",
        json!({"by": by}),
        &caller,
        "run retried",
    )
    .await
}

/// Send a signal to a run.
///
/// The body is what comes with it: any JSON. It waits where no node waits for it yet.
#[utoipa::path(post, path = "/api/v1/runs/{id}/signals/{name}", tag = "runs",
    operation_id = "signalRun",
    request_body(content = Object, description = "What comes with it", example = json!({"paid": true})),
    params(("id" = String, Path, description = "A run's id"),
        ("name" = String, Path, description = "The signal's name")),
    responses((status = 200, description = "Received", body = Controlled)))]
pub(in crate::endpoints) async fn signal(
    State(app): State<App>,
    Owner(_by): Owner,
    RunId(id): RunId,
    path: Segments,
    caller: RequestContext,
    AnyBody(payload): AnyBody,
) -> JsonResult<Controlled> {
    let name = path.get("name");
    let length = name.chars().count();
    if !(1..=128).contains(&length) || name.chars().any(char::is_control) {
        return Err(bad_request(
            "the signal's name has to be 1 to 128 characters",
        ));
    }
    let body = json!({"name": name, "payload": payload});
    control(&app, &id, "signal", body, &caller, "signal received").await
}

/// Where a fork goes on.
#[derive(Debug, Deserialize, ToSchema)]
pub(in crate::endpoints) struct Fork {
    /// The node that the new run begins with. The outputs of all that is not after it are taken over.
    #[serde(default)]
    #[schema(example = "enrich")]
    from: String,
    /// Other inputs.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    inputs: Option<Value>,
    /// A change of the graph, RFC 6902.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Object>>)]
    operations: Option<Value>,
}

/// Fork a run.
///
/// A new run takes over the outputs of every node that is not after `from`, and goes on from there.
#[utoipa::path(post, path = "/api/v1/runs/{id}/fork", tag = "runs", operation_id = "forkRun",
    request_body = Fork,
    params(("id" = String, Path, description = "A run's id")),
    responses((status = 201, description = "The new run", body = StartedRun)))]
pub(in crate::endpoints) async fn fork(
    State(app): State<App>,
    Owner(owner): Owner,
    RunId(id): RunId,
    caller: RequestContext,
    Body(body): Body<Fork>,
) -> JsonResult<StartedRun> {
    if body.from.is_empty() {
        return Err(bad_request(
            "from is required: the node that the new run begins with",
        ));
    }
    let operations = body.operations.filter(|operations| !operations.is_null());
    let operations = operations
        .map(|given| versions::operations(Some(given)))
        .transpose()?;
    let loaded = app.workflows.load(&id).await?;
    let Some(run) = &loaded.run else {
        let text = "the run has not started yet, so there is nothing to take over";
        return Err(Problem::new(ProblemKind::Conflict, text));
    };
    let record = &loaded.record;
    let first: Start = serde_json::from_slice(&record.start)
        .map_err(|error| Problem::from(runs::Error::Damaged(error.to_string())))?;
    let start = Start {
        run_id: runs::new_id(),
        owner: owner.clone(),
        tag: first.tag.clone(),
        inputs: match body.inputs {
            None | Some(Value::Null) => first.inputs,
            given => inputs(given)?,
        },
        priority: first.priority,
        trace: caller.trace.clone(),
        parent: None,
    };
    let forked = run.fork(
        &start,
        &body.from,
        operations.as_ref(),
        &Limits::default(),
        ids::now(),
    );
    let (forked, step) = forked.map_err(refused)?;
    let nodes = step.changed.into_iter().filter_map(|key| {
        let record = forked.node_record(&key)?;
        Some((key, record))
    });
    // Its graph has the patches of the source, and the operations.
    let graph = versions::text(forked.workflow().document())?;
    let store = app.workflows.store();
    let workflow = app.workflows.ask(store.put_blob(&graph)).await?;
    let new = NewRun {
        run_id: start.run_id.clone(),
        submitted_by: owner.clone(),
        owner,
        tag: start.tag.clone(),
        base: ("dag_version".to_owned(), start.run_id.clone()),
        tags_snapshot: record.summary.tags_snapshot.clone(),
        workflow,
        start: serde_json::to_vec(&start).map_err(|error| bad_request(error.to_string()))?,
        forked: Some((forked.header(), nodes.collect())),
        priority: start.priority,
        labels: record.summary.labels.clone(),
        idempotency: None,
        parent: None,
        keep_last: 0,
        keep_ms: record.keep_ms,
    };
    let created = app
        .workflows
        .ask(store.create_run(&new, app.workflows.keys.max_queued_runs));
    let run_id = match created.await? {
        CreateOutcome::Created => start.run_id,
        CreateOutcome::Existing(run_id) => run_id,
    };
    app.metrics.run_submitted(true);
    Ok(JsonResponse::created(StartedRun {
        artifact_id: run_id.clone(),
        run_id,
        status: "QUEUED",
        tag: start.tag,
    }))
}

fn refused(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::Conflict(text) => Problem::new(ProblemKind::Conflict, text),
        Refusal::Invalid { path, message } => {
            let mut problem = bad_request(message.clone());
            problem.errors.push(FieldProblem {
                field: path,
                reason: message,
            });
            problem
        }
    }
}
