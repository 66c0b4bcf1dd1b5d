//! What an earlier agent wrote: handed over with the task, or read from the run's files.

use serde_json::Value;

use crate::{Task, TaskError, ToolError, Toolbox};

const TOOL: &str = "fs-tool";

/// The text of an artifact: the task's parameter of that name if there is one, else the file `path`
/// of the task's session.
///
/// # Errors
/// When it is in neither place, or the tool for files does not answer.
pub async fn artifact(
    task: &Task,
    toolbox: &Toolbox,
    parameter: &str,
    path: &str,
) -> Result<String, TaskError> {
    if let Some(text) = task.parameters.get(parameter) {
        return Ok(text.to_owned());
    }
    let path_parameter = [("path", path.to_owned())];
    let read = toolbox.call_json(TOOL, "file_read_safe", path_parameter);
    let read: Value = read.await.map_err(|error| match error {
        ToolError::Unavailable { .. } | ToolError::Malformed { .. } => {
            TaskError::Unavailable(error.to_string())
        }
        other => TaskError::Invalid(format!(
            "there is no {parameter}: give it as a parameter, or the session_id of a run that has \
             {path} ({other})"
        )),
    })?;
    Ok(read["content"].as_str().unwrap_or_default().to_owned())
}
