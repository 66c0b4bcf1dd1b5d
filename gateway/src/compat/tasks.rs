//! `POST /tasks` and `GET /tasks/<id>`: a description, whose parts agents do.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use jobs::{JobRecord, JobStatus};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use work::{JobKind as _, Task};

use crate::{
    body::{Id, Json},
    json_response::JsonResponse,
    number::within,
    problem::{Problem, ProblemKind},
    request_context::RequestContext,
    state::App,
    view,
};

/// What to do.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct NewTask {
    /// In the user's words; parts at sentence ends, `;`, `then` and `and`.
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

/// A task.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"task_id": "default.0.0193a7c0f2b1f00d5e1f8a3c2d4",
    "description": "Build a user authentication system", "status": "queued",
    "created_at": "2026-01-02T03:04:05.678Z",
    "subtasks": [{"subtask_id": "sub-1", "description": "Build a user authentication system"}]}))]
pub(crate) struct TaskView {
    /// Its id, which is its job's.
    task_id: String,
    /// In the user's words.
    description: String,
    /// `queued`, `running`, `completed` or `failed`.
    #[schema(value_type = TaskWord)]
    status: &'static str,
    /// When it was submitted, RFC 3339.
    created_at: Option<String>,
    /// Its parts; more about each once they are done.
    subtasks: Vec<SubtaskView>,
    /// What came of it, once it is completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Value>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// How far it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<String>,
}

/// Where a task stands.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "for the description only")]
pub(crate) enum TaskWord {
    Queued,
    Running,
    Completed,
    Failed,
}

/// A part of a task.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct SubtaskView {
    /// Its id within the task.
    subtask_id: String,
    /// What is to be done.
    description: String,
}

/// Submit a task.
#[utoipa::path(post, path = "/tasks", tag = "short forms", operation_id = "submitTask",
    request_body = NewTask,
    responses((status = 202, description = "Taken in", body = TaskView),
        (status = 404, description = "The Idempotency-Key's task is kept no more", body = Problem,
            content_type = "application/problem+json")))]
pub(crate) async fn submit(
    State(app): State<App>,
    caller: RequestContext,
    Json(body): Json<NewTask>,
) -> Result<Response, Problem> {
    let task = Task::new(&body.description, caller.key.as_deref());
    let mut job = task.checked_job()?;
    job.queue = app.queue(Some("work_queue"));
    job.priority = body.priority.unwrap_or(1);
    caller.apply_to(&mut job)?;
    let submitted = app.submit(job).await?;
    let Some(status) = submitted.status else {
        let id = &submitted.id;
        let text = format!("the task {id} of this Idempotency-Key is kept no more");
        return Err(Problem::new(ProblemKind::NotFound, text));
    };
    let subtasks = task.subtasks.into_iter().map(|part| SubtaskView {
        subtask_id: part.subtask_id,
        description: part.description,
    });
    let view = TaskView {
        task_id: submitted.id.to_string(),
        description: task.description,
        status: word(status, false),
        created_at: view::time(submitted.id.made_at()),
        subtasks: subtasks.collect(),
        result: None,
        error: None,
        progress: None,
    };
    Ok((StatusCode::ACCEPTED, JsonResponse(view)).into_response())
}

/// Get a task.
///
/// Where it stands, and what came of it.
#[utoipa::path(get, path = "/tasks/{id}", tag = "short forms", operation_id = "getTask",
    params(("id" = String, Path, description = "A task's id")),
    responses((status = 200, description = "The task", body = TaskView)))]
pub(crate) async fn get(
    State(app): State<App>,
    Id(id): Id,
) -> Result<JsonResponse<TaskView>, Problem> {
    let record = app.with_timeout(app.jobs.get(&id)).await?;
    if record.header.kind != Task::NAME {
        let text = format!(
            "{id} is a job of the kind {}, and no task",
            record.header.kind
        );
        return Err(Problem::new(ProblemKind::NotFound, text));
    }
    Ok(JsonResponse(shown(&record)))
}

/// What a task is about is in its payload until it is done, then in its result.
#[derive(Debug, Default, Deserialize)]
struct About {
    #[serde(default)]
    description: String,
    #[serde(default)]
    subtasks: Vec<SubtaskView>,
}

fn shown(record: &JobRecord) -> TaskView {
    let kept = record.payload.as_ref().or(record.result.as_ref());
    let about = kept.and_then(|kept| serde_json::from_slice(kept.bytes()).ok());
    let About {
        description,
        subtasks,
    } = about.unwrap_or_default();
    TaskView {
        task_id: record.id.to_string(),
        description,
        status: word(record.status, record.header.started_at.is_some()),
        created_at: view::time(record.header.enqueued_at),
        subtasks,
        result: record.result.as_ref().map(view::value),
        error: super::jobs::why(record),
        progress: record.progress.clone(),
    }
}

/// A task that has begun holds no worker while its parts are done: its job waits to be looked at
/// again, and the task is under way.
const fn word(status: JobStatus, begun: bool) -> &'static str {
    match status {
        JobStatus::Queued | JobStatus::Scheduled | JobStatus::Failed if !begun => "queued",
        JobStatus::Queued | JobStatus::Scheduled | JobStatus::Failed => "running",
        JobStatus::Running => "running",
        JobStatus::Succeeded => "completed",
        JobStatus::Dead | JobStatus::Cancelled => "failed",
    }
}
