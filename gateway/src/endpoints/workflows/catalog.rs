//! Workflows are stored, listed, checked and deleted.

use runs::Scope;

use super::prelude::*;
use crate::workflows::{
    tags,
    versions::{self, checked, described},
    views::MistakeView,
};

/// The most workflows that are listed.
const MAX_LISTED: usize = 10_000;

/// A workflow to keep.
#[derive(Debug, Deserialize, ToSchema)]
pub(in crate::endpoints) struct NewWorkflow {
    /// Its name; a stored one gets another version.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 200, example = "release/v1.0")]
    tag_name: String,
    /// The workflow: `nodes`, `edges`, `metadata`.
    #[serde(default)]
    #[schema(value_type = Object, example = json!({"nodes": [{"id": "fetch", "type": "http",
        "config": {"url": "https://example.com/"}}], "edges": [], "metadata": {}}))]
    workflow: Value,
    /// What is said of this version.
    #[serde(default)]
    #[schema(nullable = false)]
    description: Option<String>,
}

/// Store a workflow.
#[utoipa::path(post, path = "/api/v1/workflows", tag = "workflows", operation_id = "createWorkflow",
    request_body = NewWorkflow,
    responses((status = 201, description = "Stored", body = Object, example = json!({
        "artifact_id": "0193a7c0-f2b1-700d-8e1f-8a3c2d4e5f60", "cas_id": "sha256:e3b0c442…",
        "version_hash": "sha256:e3b0c442…", "tag": "release/v1.0", "owner": "test-user", "nodes_count": 1,
        "edges_count": 0, "created_at": "2026-01-02T03:04:05.678Z", "version": 1, "warnings": []}))))]
pub(in crate::endpoints) async fn create(
    State(app): State<App>,
    Owner(owner): Owner,
    Body(body): Body<NewWorkflow>,
) -> JsonResult<Value> {
    if body.tag_name.is_empty() {
        return Err(bad_request("tag_name is required"));
    }
    if body.workflow.is_null() || body.workflow == json!({}) {
        return Err(bad_request("workflow is required"));
    }
    tags::check(&body.tag_name)
        .map_err(|reason| bad_request(format!("invalid tag_name: {reason}")))?;
    let description = described(body.description)?;
    let workflow = checked(&body.workflow)?;
    let tag = &body.tag_name;
    let version = app
        .workflows
        .put(&owner, tag, &workflow, description)
        .await?;
    let mut created = versions::created(&version, tag, &owner, &workflow);
    created["warnings"] = json!(app.unserved(workflow.document()).await);
    Ok(JsonResponse::created(created))
}

/// Whose workflows.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::endpoints) struct ListParams {
    /// `user`: one's own; `global`: those that all may use; `all`: both.
    #[param(example = "user", default = "user")]
    scope: Option<String>,
}

/// Workflows by name.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"workflows": [TagView::example()], "count": 1, "scope": "user"}))]
pub(in crate::endpoints) struct Listed {
    /// The workflows.
    workflows: Vec<TagView>,
    /// How many there are.
    count: usize,
    /// As it was asked.
    scope: &'static str,
}

/// List workflows.
#[utoipa::path(get, path = "/api/v1/workflows", tag = "workflows", operation_id = "listWorkflows",
    params(ListParams), responses((status = 200, description = "All of them", body = Listed)))]
pub(in crate::endpoints) async fn list(
    State(app): State<App>,
    Owner(owner): Owner,
    QueryParams(wanted): QueryParams<ListParams>,
) -> JsonResult<Listed> {
    let (scope, word) = match wanted.scope.as_deref() {
        None | Some("user") => (Scope::User(owner), "user"),
        Some("global") => (Scope::Global, "global"),
        Some("all") => (Scope::All(owner), "all"),
        Some(_) => {
            let text = "invalid scope parameter (must be 'user', 'global', or 'all')";
            return Err(bad_request(text));
        }
    };
    let store = app.workflows.store();
    let tags = app
        .workflows
        .ask(store.tags(&scope, None, MAX_LISTED))
        .await?;
    Ok(JsonResponse::ok(Listed {
        count: tags.len(),
        workflows: tags.iter().map(TagView::of).collect(),
        scope: word,
    }))
}

/// Delete a workflow.
///
/// Its name goes; its versions stay for the runs that used them.
#[utoipa::path(delete, path = "/api/v1/workflows/{tag}", tag = "workflows",
    operation_id = "deleteWorkflow",
    params(("tag" = String, Path, description = "Its name, with each slash as %2F")),
    responses((status = 200, description = "Deleted", body = Object, example = json!({
        "message": "workflow tag deleted successfully", "tag": "main", "owner": "test-user"}))))]
pub(in crate::endpoints) async fn delete(
    State(app): State<App>,
    Owner(owner): Owner,
    TagName(tag): TagName,
) -> JsonResult<Value> {
    let store = app.workflows.store();
    let deleted = app.workflows.ask(store.delete_tag(&owner, &tag)).await;
    deleted.map_err(|problem| match problem.status {
        404 => tags::unknown(),
        _ => problem,
    })?;
    let message = "workflow tag deleted successfully";
    Ok(JsonResponse::ok(
        json!({"message": message, "tag": tag, "owner": owner}),
    ))
}

/// What is wrong with a workflow.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"valid": false, "errors": [{"path": "/nodes/0/config/url", "message": "is missing"}],
    "nodes_count": 0, "edges_count": 0, "entry_nodes": [], "warnings": []}))]
pub(in crate::endpoints) struct Validity {
    /// Whether it can be stored and run.
    valid: bool,
    /// Every mistake with its place.
    errors: Vec<MistakeView>,
    /// How many nodes it has.
    nodes_count: usize,
    /// How many edges it has.
    edges_count: usize,
    /// With which nodes a run begins.
    entry_nodes: Vec<String>,
    /// What may not be as it was meant.
    warnings: Vec<String>,
}

/// Check a workflow.
///
/// Nothing is stored. The body is a workflow, or has one as `workflow`.
#[utoipa::path(post, path = "/api/v1/workflows/validate", tag = "workflows",
    operation_id = "validateWorkflow",
    request_body(content = Object, description = "A workflow", example = json!({"nodes":
        [{"id": "fetch", "type": "http", "config": {"url": "https://example.com/"}}], "edges": []})),
    responses((status = 200, description = "What is wrong with it, if anything", body = Validity)))]
pub(in crate::endpoints) async fn validate(
    State(app): State<App>,
    Body(body): Body<Value>,
) -> JsonResult<Validity> {
    let document = body.get("workflow").unwrap_or(&body);
    let parsed = workflow::Workflow::parse(document, &workflow::Limits::default());
    Ok(JsonResponse::ok(match parsed {
        Ok(workflow) => Validity {
            valid: true,
            errors: Vec::new(),
            nodes_count: workflow.nodes_count(),
            edges_count: workflow.edges_count(),
            entry_nodes: workflow
                .entry_nodes()
                .iter()
                .map(ToString::to_string)
                .collect(),
            warnings: app.unserved(workflow.document()).await,
        },
        Err(invalid) => Validity {
            valid: false,
            errors: invalid.mistakes.iter().map(MistakeView::of).collect(),
            nodes_count: 0,
            edges_count: 0,
            entry_nodes: Vec::new(),
            warnings: Vec::new(),
        },
    }))
}
