//! `POST /api/v1/schedules/{name}/run`

use jobs::{Error, Timer};

use super::prelude::*;
use crate::{
    accepted::Accepted,
    schedule_view::{resolve, unknown},
};

/// Run a schedule now.
///
/// Its job is submitted now; its next time stays as it is.
#[utoipa::path(post, path = "/api/v1/schedules/{name}/run", tag = "schedules",
    operation_id = "runSchedule",
    params(("name" = String, Path, description = "Its name, with each slash as %2F; `file/` may be left out")),
    responses((status = 202, description = "Its job, accepted", body = Accepted)))]
pub(super) async fn run(
    State(app): State<App>,
    name: Result<Path<String>, PathRejection>,
) -> JsonResult<Accepted> {
    let name = resolve(&app, name).await?;
    let make = |timer: &Timer, key: &str| {
        let job = work::timer_job(timer, key);
        job.map_err(|error| Error::Invalid {
            field: "payload",
            reason: error.to_string(),
        })
    };
    let submitted = app.with_timeout(app.jobs.run_timer(&name, &make)).await;
    let submitted = submitted.map_err(|error| match error {
        Error::NotFound { .. } => unknown(&name),
        other => other.into(),
    })?;
    let accepted = Accepted::with_warning(&app, &submitted).await;
    Ok(JsonResponse::accepted(accepted))
}
