//! `POST /tasks`: a description, whose parts agents do.

use work::{JobKind as _, Task};

use super::prelude::*;
use crate::{number::within, task_view::TaskView};

/// A task to do.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct NewTask {
    /// In the user's words. It is split at sentence ends, `;`, `then` and `and`.
    #[schema(
        min_length = 1,
        max_length = 65536,
        example = "Build a user authentication system"
    )]
    description: String,
    /// 5 is the highest.
    #[serde(default, deserialize_with = "within::<1, 5, _, _>")]
    #[schema(minimum = 1, maximum = 5, default = 1, nullable = false)]
    priority: Option<u8>,
}

/// Submit a task.
#[utoipa::path(post, path = "/tasks", tag = "short forms", operation_id = "submitTask",
    request_body = NewTask,
    responses((status = 202, description = "Accepted", body = TaskView),
        (status = 404, description = "The Idempotency-Key's task is no longer kept", body = Problem,
            content_type = "application/problem+json")))]
pub(super) async fn submit(
    State(app): State<App>,
    caller: RequestContext,
    Json(body): Json<NewTask>,
) -> JsonResult<TaskView> {
    let task = Task::new(&body.description, caller.key.as_deref());
    let mut job = task.checked_job()?;
    job.queue = app.queue(Some("work_queue"));
    job.priority = body.priority.unwrap_or(1);
    caller.apply_to(&mut job)?;
    let submitted = app.submit(job).await?;
    let Some(status) = submitted.status else {
        let id = &submitted.id;
        let text = format!("the task {id} of this Idempotency-Key is no longer kept");
        return Err(Problem::new(ProblemKind::NotFound, text));
    };
    let view = TaskView::submitted(task, &submitted.id, status);
    Ok(JsonResponse::accepted(view))
}
