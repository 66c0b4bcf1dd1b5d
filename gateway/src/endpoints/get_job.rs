//! `GET /api/v1/jobs/{id}`

use super::prelude::*;
use crate::job_view::JobView;

/// Get a job.
///
/// Its status, and its result or error.
#[utoipa::path(get, path = "/api/v1/jobs/{id}", tag = "jobs", operation_id = "getJob",
    params(("id" = String, Path, description = "A job's id")),
    responses((status = 200, description = "The job", body = JobView)))]
pub(super) async fn get(State(app): State<App>, Id(id): Id) -> JsonResult<JobView> {
    let record = app.with_timeout(app.jobs.get(&id)).await?;
    let warning = app.warning(id.queue(), Some(record.status)).await;
    let view = JobView::of(&record);
    Ok(JsonResponse::ok(JobView { warning, ..view }))
}
