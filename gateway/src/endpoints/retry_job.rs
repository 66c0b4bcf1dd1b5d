//! `POST /api/v1/jobs/{id}/retry`

use super::prelude::*;
use crate::job_view::JobView;

/// Retry a dead job.
///
/// It is tried again from the start.
#[utoipa::path(post, path = "/api/v1/jobs/{id}/retry", tag = "jobs", operation_id = "retryJob",
    params(("id" = String, Path, description = "A dead job's id")),
    responses((status = 200, description = "The job", body = JobView)))]
pub(super) async fn retry(State(app): State<App>, Id(id): Id) -> JsonResult<JobView> {
    let record = app.with_timeout(app.jobs.retry(&id)).await?;
    Ok(JsonResponse::ok(JobView::of(&record)))
}
