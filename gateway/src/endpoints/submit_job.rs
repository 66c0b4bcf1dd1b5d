//! `POST /api/v1/jobs`

use super::prelude::*;
use crate::{accepted::Accepted, submit::Submission};

/// Submit a job.
#[utoipa::path(post, path = "/api/v1/jobs", tag = "jobs", operation_id = "submitJob",
    request_body(content = Submission, examples(
        ("call" = (summary = "Call a method of a service", value = json!({
            "kind": "call", "service": "agent-echo", "method": "agentplatform.AgentService/ExecuteTask",
            "payload": {"input": "hello"}, "idempotency_key": "order-17"}))),
        ("http" = (summary = "Send a request out of the mesh", value = json!({
            "kind": "http", "payload": {"url": "https://example.org/get", "method": "GET", "timeout": 10},
            "max_attempts": 3}))),
        ("pipeline" = (summary = "Research, draft and review", value = json!({
            "kind": "pipeline", "payload": {"goal": "How does a router drain?"}, "timeout_ms": 600000}))),
        ("task" = (summary = "Give parts of a description to agents", value = json!({
            "kind": "task", "payload": {"description": "Collect the facts; then write them down"},
            "priority": 5, "delay_ms": 60000}))))),
    params(("Idempotency-Key" = Option<String>, Header, description = "As the field idempotency_key",
        min_length = 1, max_length = 256, pattern = "^[!-~]+$")),
    responses((status = 202, description = "Accepted", body = Accepted)))]
pub(super) async fn submit(
    State(app): State<App>,
    caller: RequestContext,
    Json(body): Json<Submission>,
) -> JsonResult<Accepted> {
    let job = body.job(&app, &caller)?;
    let submitted = app.submit(job).await?;
    let accepted = Accepted::with_warning(&app, &submitted).await;
    Ok(JsonResponse::accepted(accepted))
}
