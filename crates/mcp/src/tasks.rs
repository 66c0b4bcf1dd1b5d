//! Calls that take long, as durable jobs.

use serde_json::{Map, Value, json};

use crate::{CallError, ToolResult};

/// Runs calls as jobs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tasks {}

/// A task, as clients see it.
#[derive(Clone, Debug)]
pub struct TaskView {
    /// Its id.
    pub task_id: String,
}

impl TaskView {
    /// Its JSON, as `result` of a response: of `tools/call` (`is_new`), else of `tasks/get`.
    #[must_use]
    pub fn to_json(&self, is_new: bool) -> String {
        let kind = if is_new { "task" } else { "complete" };
        json!({"taskId": self.task_id, "resultType": kind}).to_string()
    }
}

impl Tasks {
    /// How a task is.
    ///
    /// # Errors
    /// For an id that names no task of the caller.
    pub async fn get(&self, id: &str, _: Option<&str>) -> Result<TaskView, CallError> {
        Err(unknown(id))
    }

    /// Asks a task to end.
    ///
    /// # Errors
    /// For an id that names no task of the caller.
    pub async fn cancel(&self, id: &str, _: Option<&str>) -> Result<(), CallError> {
        Err(unknown(id))
    }

    /// Takes what a task has asked for. Tasks of the mesh ask for nothing.
    ///
    /// # Errors
    /// For an id that names no task of the caller.
    pub async fn update(&self, id: &str, _: Option<&str>) -> Result<(), CallError> {
        Err(unknown(id))
    }

    /// `get_result`.
    pub async fn get_result(&self, _: &Map<String, Value>, _: Option<&str>) -> ToolResult {
        ToolResult::error("NOT_FOUND: there is no such job")
    }

    /// `cancel_result`.
    pub async fn cancel_result(&self, _: &Map<String, Value>, _: Option<&str>) -> ToolResult {
        ToolResult::error("NOT_FOUND: there is no such job")
    }
}

fn unknown(id: &str) -> CallError {
    CallError::invalid_params(format!("there is no task {id:?}"))
}
