//! `GET /api/v1/schedules`

use futures_util::future::join_all;

use super::prelude::*;
use crate::schedule_view::{ScheduleView, view};

/// List schedules.
///
/// Every entry that the schedulers have, with its next time and its latest job.
#[utoipa::path(get, path = "/api/v1/schedules", tag = "schedules", operation_id = "listSchedules",
    responses((status = 200, description = "The entries, by name", body = Vec<ScheduleView>)))]
pub(super) async fn list(State(app): State<App>) -> JsonResult<Vec<ScheduleView>> {
    let read = async {
        let now = app.jobs.timer_clock().await?;
        let mut timers = app.jobs.timers().await?;
        timers.sort_by(|one, other| one.name.cmp(&other.name));
        let views = timers.iter().map(|timer| view(&app, timer, now));
        join_all(views).await.into_iter().collect()
    };
    Ok(JsonResponse::ok(app.with_timeout(read).await?))
}
