//! `POST /api/v1/jobs`

use super::prelude::*;
use crate::{accepted::Accepted, submit::Submission};

/// Submit a job.
#[utoipa::path(post, path = "/api/v1/jobs", tag = "jobs", operation_id = "submitJob",
    request_body = Submission,
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
