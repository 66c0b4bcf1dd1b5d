//! A task as the short forms show it.

use jobs::{JobId, JobRecord, JobStatus};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use work::Task;

use crate::job_view;

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
    /// Its parts. The result has more about each.
    subtasks: Vec<SubtaskView>,
    /// Its result, once it is completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Value>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Its progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<String>,
}

/// The status of a task.
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

/// What a task is about is in its payload until it is done, then in its result.
#[derive(Debug, Default, Deserialize)]
struct About {
    #[serde(default)]
    description: String,
    #[serde(default)]
    subtasks: Vec<SubtaskView>,
}

impl TaskView {
    /// A task that was submitted now, or before under the same key.
    pub(crate) fn submitted(task: Task, id: &JobId, status: JobStatus) -> Self {
        let subtasks = task.subtasks.into_iter().map(|part| SubtaskView {
            subtask_id: part.subtask_id,
            description: part.description,
        });
        Self {
            task_id: id.to_string(),
            description: task.description,
            status: word(status, false),
            created_at: job_view::time(id.made_at()),
            subtasks: subtasks.collect(),
            result: None,
            error: None,
            progress: None,
        }
    }

    pub(crate) fn of(record: &JobRecord) -> Self {
        let kept = record.payload.as_ref().or(record.result.as_ref());
        let about = kept.and_then(|kept| serde_json::from_slice(kept.bytes()).ok());
        let About {
            description,
            subtasks,
        } = about.unwrap_or_default();
        Self {
            task_id: record.id.to_string(),
            description,
            status: word(record.status, record.header.started_at.is_some()),
            created_at: job_view::time(record.header.enqueued_at),
            subtasks,
            result: record.result.as_ref().map(job_view::value),
            error: job_view::failure(record),
            progress: record.progress.clone(),
        }
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
