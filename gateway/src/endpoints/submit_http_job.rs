//! `POST /jobs`: a request to a server outside the mesh.

use serde_json::Value;
use work::{Http, JobKind as _};

use super::prelude::*;
use crate::job_view;

/// A request to send.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "for the description only; what is read is work::Http"
)]
struct HttpJob {
    /// An `http` or `https` URL.
    #[schema(format = "uri", example = "https://example.org/get")]
    url: String,
    /// Its method; `GET` by default.
    #[schema(nullable = false)]
    method: Option<String>,
    /// Its headers.
    #[schema(nullable = false)]
    headers: Option<std::collections::BTreeMap<String, String>>,
    /// Its body, as text.
    body: Option<String>,
    /// How many seconds it may take; 10 by default.
    #[schema(exclusive_minimum = 0, maximum = 30, nullable = false)]
    timeout: Option<f64>,
}

/// A request that was accepted.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"job_id": "default.0.0193a7c0f2b1f00d5e1f8a3c2d4",
    "enqueued_at": "2026-01-02T03:04:05.678Z"}))]
pub(super) struct HttpAccepted {
    /// Its job.
    job_id: String,
    /// When it was submitted, RFC 3339.
    enqueued_at: Option<String>,
    /// Why it may wait for long, where that is known: no runner serves its queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    warning: Option<String>,
}

/// Send an HTTP request.
///
/// To a server outside the mesh.
#[utoipa::path(post, path = "/jobs", tag = "short forms", operation_id = "submitHttpJob",
    request_body = HttpJob,
    responses((status = 202, description = "Accepted", body = HttpAccepted)))]
pub(super) async fn submit(
    State(app): State<App>,
    caller: RequestContext,
    Json(body): Json<Value>,
) -> JsonResult<HttpAccepted> {
    let mut job = Http::read(&body)?.new_job();
    job.queue = app.queue(None);
    caller.apply_to(&mut job)?;
    let submitted = app.submit(job).await?;
    let accepted = HttpAccepted {
        // The time in the id is the one of the submission that came first.
        enqueued_at: job_view::time(submitted.id.made_at()),
        warning: app.warning(submitted.id.queue(), submitted.status).await,
        job_id: submitted.id.to_string(),
    };
    Ok(JsonResponse::accepted(accepted))
}
