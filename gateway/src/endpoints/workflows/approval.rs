//! `POST /api/approval`: a decision, as the predecessor's web client and command line send it.

use super::prelude::{run_id as checked_run_id, *};
use crate::workflows::approvals::{Said, status};

/// A decision.
#[derive(Debug, Deserialize, ToSchema)]
pub(in crate::endpoints) struct Answer {
    /// The run.
    #[serde(default)]
    #[schema(example = "0193a7c0-f2b1-700d-8e1f-8a3c2d4e5f61")]
    run_id: String,
    /// The node that asks.
    #[serde(default)]
    #[schema(example = "ask")]
    node_id: String,
    /// Yes or no.
    #[serde(default)]
    #[schema(example = true)]
    approved: bool,
    /// Why.
    #[serde(default)]
    #[schema(nullable = false)]
    comment: Option<String>,
    /// What the form asks for.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    data: Value,
}

/// Decide for a node.
#[utoipa::path(post, path = "/api/approval", tag = "approvals", operation_id = "approve",
    request_body = Answer,
    responses((status = 200, description = "Recorded", body = Object, example = json!({"success": true,
        "message": "Approval recorded and queued for processing",
        "run_id": "0193a7c0-f2b1-700d-8e1f-8a3c2d4e5f61", "node_id": "ask", "status": "approved"}))))]
pub(in crate::endpoints) async fn approve(
    State(app): State<App>,
    MaybeOwner(person): MaybeOwner,
    Body(body): Body<Answer>,
) -> JsonResult<Value> {
    let person = person.ok_or_else(|| bad_request("X-User-ID header required"))?;
    if body.run_id.is_empty() || body.node_id.is_empty() {
        return Err(bad_request("run_id and node_id are required"));
    }
    let unknown = || not_found("Approval request not found");
    // What is no id names no run.
    let RunId(run_id) = checked_run_id(&body.run_id).map_err(|_| unknown())?;
    let approval = app.workflows.approval_of(&run_id, &body.node_id).await?;
    let said = Said {
        approved: body.approved,
        comment: body.comment,
        data: body.data,
    };
    let decided = app.workflows.decide(&approval, &person, said).await?;
    Ok(JsonResponse::ok(json!({
        "success": true,
        "message": "Approval recorded and queued for processing",
        "run_id": run_id,
        "node_id": body.node_id,
        "status": status(decided.state),
    })))
}
