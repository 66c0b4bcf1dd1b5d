//! Runs are patched while they run.

use super::prelude::*;
use crate::workflows::{
    details::PatchSummary,
    ir,
    versions::{described, operations},
};

/// A change of a run's graph.
#[derive(Debug, Deserialize, ToSchema)]
pub(in crate::endpoints) struct RunPatch {
    /// RFC 6902; `/nodes/@id` names a node by its id.
    #[serde(default)]
    #[schema(value_type = Vec<Object>, example = json!([
        {"op": "add", "path": "/nodes/-", "value": {"id": "notify", "type": "noop"}},
        {"op": "add", "path": "/edges/-", "value": {"from": "score", "to": "notify"}}]))]
    operations: Option<Value>,
    /// What is said of it.
    #[serde(default)]
    #[schema(nullable = false, example = "tell sales")]
    description: Option<String>,
    /// The node that asks: the patch counts once that node has succeeded.
    #[serde(default)]
    node_id: Option<String>,
    /// The version that the graph must have; another is 409.
    #[serde(default)]
    #[schema(nullable = false)]
    if_version: Option<u64>,
}

/// Patches a run and answers with the patch, if the runner names it.
async fn apply(
    app: &App,
    by: &str,
    run_id: &str,
    body: RunPatch,
    caller: &RequestContext,
) -> Result<PatchSummary, Problem> {
    let operations = operations(body.operations)?;
    let description = described(body.description)?;
    let request = json!({
        "operations": operations,
        "description": description,
        "author": by,
        "node_id": body.node_id.filter(|node| !node.is_empty()),
        "if_version": body.if_version,
    });
    let answer = app
        .workflows
        .command(run_id, "patch", request, caller.key.as_deref())
        .await?;
    let loaded = app.workflows.load(run_id).await?;
    let patches = loaded.patches();
    let seq = answer["seq"].as_u64();
    let patch = match seq {
        Some(seq) => patches.iter().find(|patch| patch.seq == seq),
        None => patches.last(),
    };
    let unseen = || {
        Problem::from(runs::Error::Damaged(
            "a run does not show its patch".to_owned(),
        ))
    };
    patch
        .map(|patch| PatchSummary::of(run_id, patch))
        .ok_or_else(unseen)
}

/// Patch a run.
///
/// All operations, or none. Nothing that has started may change; 409 names it.
#[utoipa::path(post, path = "/api/v1/runs/{id}/patches", tag = "runs", operation_id = "createRunPatch",
    request_body = RunPatch,
    params(("id" = String, Path, description = "A run's id")),
    responses((status = 201, description = "The patch", body = PatchSummary)))]
pub(in crate::endpoints) async fn create(
    State(app): State<App>,
    Owner(by): Owner,
    RunId(id): RunId,
    caller: RequestContext,
    Body(body): Body<RunPatch>,
) -> JsonResult<PatchSummary> {
    apply(&app, &by, &id, body, &caller)
        .await
        .map(JsonResponse::created)
}

/// The patches of a run.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"run_id": "0193a7c0-f2b1-700d-8e1f-8a3c2d4e5f61", "count": 0, "patches": []}))]
pub(in crate::endpoints) struct RunPatches {
    /// The run.
    run_id: String,
    /// How many there are.
    count: usize,
    /// In order.
    patches: Vec<PatchSummary>,
}

/// List the patches of a run.
#[utoipa::path(get, path = "/api/v1/runs/{id}/patches", tag = "runs", operation_id = "listRunPatches",
    params(("id" = String, Path, description = "A run's id")),
    responses((status = 200, description = "All of them", body = RunPatches)))]
pub(in crate::endpoints) async fn list(
    State(app): State<App>,
    Owner(_): Owner,
    RunId(id): RunId,
) -> JsonResult<RunPatches> {
    let loaded = app.workflows.load(&id).await?;
    let patches = loaded.patches();
    let patches: Vec<_> = patches
        .iter()
        .map(|patch| PatchSummary::of(&id, patch))
        .collect();
    Ok(JsonResponse::ok(RunPatches {
        run_id: id,
        count: patches.len(),
        patches,
    }))
}

/// Get the operations of a patch.
#[utoipa::path(get, path = "/api/v1/runs/{id}/patches/{cas_id}/operations", tag = "runs",
    operation_id = "getPatchOperations",
    params(("id" = String, Path, description = "A run's id"),
        ("cas_id" = String, Path, description = "`cas_id` of the patch")),
    responses((status = 200, description = "RFC 6902", body = Object, example = json!({
        "run_id": "0193a7c0-f2b1-700d-8e1f-8a3c2d4e5f61", "cas_id": "sha256:e3b0c442…", "operations": []}))))]
pub(in crate::endpoints) async fn operations_of(
    State(app): State<App>,
    Owner(_): Owner,
    RunId(id): RunId,
    path: Segments,
) -> JsonResult<Value> {
    let cas_id = path.get("cas_id");
    let loaded = app.workflows.load(&id).await?;
    let patches = loaded.patches();
    let found = patches
        .iter()
        .find(|patch| PatchSummary::of(&id, patch).cas_id == cas_id);
    let patch = found.ok_or_else(|| not_found("patch not found"))?;
    Ok(JsonResponse::ok(json!({
        "run_id": id, "cas_id": cas_id, "operations": patch.operations,
    })))
}

/// Patch a run, short.
#[utoipa::path(post, path = "/api/v1/runs/{id}/patch", tag = "runs", operation_id = "patchRun",
    request_body = RunPatch,
    params(("id" = String, Path, description = "A run's id")),
    responses((status = 200, description = "How many nodes there were, and are", body = Object,
        example = json!({"run_id": "0193a7c0-f2b1-700d-8e1f-8a3c2d4e5f61", "patched": true, "old_nodes": 3,
            "new_nodes": 4, "description": "tell sales"}))))]
pub(in crate::endpoints) async fn patch(
    State(app): State<App>,
    MaybeOwner(by): MaybeOwner,
    RunId(id): RunId,
    caller: RequestContext,
    Body(body): Body<RunPatch>,
) -> JsonResult<Value> {
    let description = body.description.clone().unwrap_or_default();
    let before = ir::nodes(app.workflows.load(&id).await?.document());
    let by = by.unwrap_or_else(|| "system".to_owned());
    let patch = apply(&app, &by, &id, body, &caller).await?;
    let after = ir::nodes(app.workflows.load(&id).await?.document());
    Ok(JsonResponse::ok(json!({
        "run_id": id,
        "patched": patch.state == "applied",
        "old_nodes": before,
        "new_nodes": after,
        "description": description,
        "state": patch.state,
        "id": patch.id,
    })))
}
