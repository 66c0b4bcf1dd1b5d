//! `DELETE /api/v1/schedules/{name}`

use super::prelude::*;
use crate::schedule_view::{ScheduleView, resolve, unknown, view};

/// Remove a schedule.
///
/// An entry that schedulers have in their configuration stays listed as removed. It does not fire
/// until that entry changes.
#[utoipa::path(delete, path = "/api/v1/schedules/{name}", tag = "schedules",
    operation_id = "removeSchedule",
    params(("name" = String, Path, description = "Its name, with each slash as %2F; `file/` may be left out")),
    responses((status = 200, description = "The entry, removed", body = ScheduleView)))]
pub(super) async fn remove(
    State(app): State<App>,
    name: Result<Path<String>, PathRejection>,
) -> JsonResult<ScheduleView> {
    let name = resolve(&app, name).await?;
    let ended = app.with_timeout(app.jobs.end_timer(&name)).await?;
    let ended = ended.ok_or_else(|| unknown(&name))?;
    let read = async {
        let now = app.jobs.timer_clock().await?;
        view(&app, &ended, now).await
    };
    Ok(JsonResponse::ok(app.with_timeout(read).await?))
}
