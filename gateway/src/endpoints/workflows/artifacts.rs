//! What was stored, by its id.

use super::prelude::*;

/// Get an artifact.
///
/// A whole workflow, or the operations of a patch.
#[utoipa::path(get, path = "/api/v1/artifacts/{id}", tag = "workflows", operation_id = "getArtifact",
    params(("id" = String, Path, description = "An artifact's id")),
    responses((status = 200, description = "The artifact", body = Object, example = json!({
        "artifact_id": "0193a7c0-f2b1-700d-8e1f-8a3c2d4e5f60", "kind": "dag_version",
        "cas_id": "sha256:e3b0c442…", "created_by": "test-user",
        "created_at": "2026-01-02T03:04:05.678Z", "content": {"nodes": [], "edges": []}}))))]
pub(in crate::endpoints) async fn get(State(app): State<App>, path: Segments) -> JsonResult<Value> {
    let id = path.get("id");
    if !ids::is_uuid(id) {
        return Err(bad_request("invalid artifact_id format"));
    }
    let unknown = |problem: Problem| match problem.status {
        404 => not_found("artifact not found"),
        _ => problem,
    };
    let store = app.workflows.store();
    let found = app
        .workflows
        .ask(store.artifact(&id.to_ascii_lowercase()))
        .await;
    let artifact = found.map_err(unknown)?;
    let blobs = store.blobs(std::slice::from_ref(&artifact.cas_id));
    let content = app.workflows.ask(blobs).await.map_err(unknown)?;
    let content = content
        .first()
        .and_then(|text| serde_json::from_slice::<Value>(text).ok());
    Ok(JsonResponse::ok(json!({
        "artifact_id": artifact.artifact_id,
        "kind": artifact.kind,
        "cas_id": artifact.cas_id,
        "created_by": artifact.created_by,
        "created_at": time(artifact.created_at),
        "content": content,
    })))
}
