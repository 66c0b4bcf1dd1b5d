//! Versions of a workflow are read, and made by patches.

use super::prelude::*;
use crate::workflows::versions::{WorkflowView, described, operations};

/// How a workflow is shown.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::endpoints) struct GetParams {
    /// `true` for the whole workflow with all patches.
    #[param(default = "false")]
    materialize: Option<String>,
}

impl GetParams {
    fn materializes(&self) -> bool {
        self.materialize.as_deref() == Some("true")
    }
}

/// Get a workflow.
///
/// One's own of this name, else the one that all may use.
#[utoipa::path(get, path = "/api/v1/workflows/{tag}", tag = "workflows", operation_id = "getWorkflow",
    params(("tag" = String, Path, description = "Its name, with each slash as %2F"), GetParams),
    responses((status = 200, description = "The workflow", body = WorkflowView)))]
pub(in crate::endpoints) async fn get(
    State(app): State<App>,
    Owner(owner): Owner,
    TagName(tag): TagName,
    QueryParams(wanted): QueryParams<GetParams>,
) -> JsonResult<WorkflowView> {
    let (tag, chain) = app.workflows.versions(&owner, &tag).await?;
    let view = WorkflowView::of(&tag, &chain, wanted.materializes());
    Ok(JsonResponse::ok(
        view.ok_or_else(|| not_found("workflow not found"))?,
    ))
}

/// Get a version of a workflow.
///
/// `seq` counts the patches on its base: 0 is the base, 1 has the first patch.
#[utoipa::path(get, path = "/api/v1/workflows/{tag}/versions/{seq}", tag = "workflows",
    operation_id = "getWorkflowVersion",
    params(("tag" = String, Path, description = "Its name, with each slash as %2F"),
        ("seq" = u64, Path, description = "How many patches count"), GetParams),
    responses((status = 200, description = "The workflow", body = WorkflowView)))]
pub(in crate::endpoints) async fn at(
    State(app): State<App>,
    Owner(owner): Owner,
    TagName(tag): TagName,
    path: Segments,
    QueryParams(wanted): QueryParams<GetParams>,
) -> JsonResult<WorkflowView> {
    let seq: usize = path
        .get("seq")
        .parse()
        .map_err(|_| bad_request("seq must be a valid integer"))?;
    let (tag, chain) = app.workflows.versions(&owner, &tag).await?;
    let patches = chain.len().saturating_sub(1);
    // A workflow without patches is its own first version, as it always was.
    let counted = if patches == 0 && seq == 1 { 0 } else { seq };
    let view = chain.get(..=counted);
    let view = view.and_then(|chain| WorkflowView::of(&tag, chain, wanted.materializes()));
    Ok(JsonResponse::ok(view.ok_or_else(|| {
        not_found(format!(
            "workflow version not found: requested seq {seq} exceeds patch chain length {patches}"
        ))
    })?))
}

/// A change of a workflow.
#[derive(Debug, Deserialize, ToSchema)]
pub(in crate::endpoints) struct WorkflowPatch {
    /// RFC 6902; `/nodes/@id` names a node by its id.
    #[serde(default)]
    #[schema(value_type = Vec<Object>, example = json!([{"op": "add", "path": "/nodes/-",
        "value": {"id": "notify", "type": "noop"}}]))]
    operations: Option<Value>,
    /// What is said of it.
    #[serde(default)]
    #[schema(nullable = false, example = "tell sales")]
    description: Option<String>,
    /// The version that the workflow must have; another is 409.
    #[serde(default)]
    #[schema(nullable = false)]
    if_version: Option<u64>,
}

/// Patch a workflow.
///
/// All operations, or none. Runs that have started keep their graph.
#[utoipa::path(patch, path = "/api/v1/workflows/{tag}/patch", tag = "workflows",
    operation_id = "patchWorkflow", request_body = WorkflowPatch,
    params(("tag" = String, Path, description = "Its name, with each slash as %2F")),
    responses((status = 200, description = "The new version", body = Object, example = json!({
        "artifact_id": "0193a7c0-f2b1-700d-8e1f-8a3c2d4e5f60", "cas_id": "sha256:e3b0c442…", "depth": 1,
        "op_count": 1, "tag": "main", "owner": "test-user", "description": "",
        "created_at": "2026-01-02T03:04:05.678Z", "version": 2}))))]
pub(in crate::endpoints) async fn patch(
    State(app): State<App>,
    Owner(owner): Owner,
    TagName(tag): TagName,
    Body(body): Body<WorkflowPatch>,
) -> JsonResult<Value> {
    let operations = operations(body.operations)?;
    let description = described(body.description)?;
    let patched = app
        .workflows
        .patch(&owner, &tag, &operations, description, body.if_version);
    let version = patched.await?;
    Ok(JsonResponse::ok(json!({
        "artifact_id": version.artifact.artifact_id,
        "cas_id": version.artifact.cas_id,
        "depth": version.depth,
        "op_count": version.op_count,
        "tag": tag,
        "owner": owner,
        "description": version.description,
        "created_at": time(version.artifact.created_at),
        "version": version.seq,
    })))
}
