//! `GET /tasks/{id}`

use work::{JobKind as _, Task};

use super::prelude::*;
use crate::task_view::TaskView;

/// Get a task.
///
/// Its status, and its result or error.
#[utoipa::path(get, path = "/tasks/{id}", tag = "short forms", operation_id = "getTask",
    params(("id" = String, Path, description = "A task's id")),
    responses((status = 200, description = "The task", body = TaskView)))]
pub(super) async fn get(State(app): State<App>, Id(id): Id) -> JsonResult<TaskView> {
    let record = app.with_timeout(app.jobs.get(&id)).await?;
    if record.header.kind != Task::NAME {
        let text = format!(
            "{id} is a job of the kind {}, not a task",
            record.header.kind
        );
        return Err(Problem::new(ProblemKind::NotFound, text));
    }
    Ok(JsonResponse::ok(TaskView::of(&record)))
}
