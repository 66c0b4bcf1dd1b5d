//! `POST /api/v1/jobs/{id}/cancel`

use super::prelude::*;
use crate::job_view::JobView;

/// Cancel a job.
///
/// A waiting job ends at once. A running one ends within a second, when its worker learns of it. A job
/// that has ended stays as it is.
#[utoipa::path(post, path = "/api/v1/jobs/{id}/cancel", tag = "jobs", operation_id = "cancelJob",
    params(("id" = String, Path, description = "A job's id")),
    responses((status = 200, description = "The job", body = JobView)))]
pub(super) async fn cancel(State(app): State<App>, Id(id): Id) -> JsonResult<JobView> {
    let record = app.with_timeout(app.jobs.cancel(&id)).await?;
    Ok(JsonResponse::ok(JobView::of(&record)))
}
