//! What an earlier agent wrote: handed over with the task, or read from the run's files.

use serde_json::Value;

use crate::{Task, TaskError, ToolError, Toolbox};

const TOOL: &str = "fs-tool";

/// The text of an artifact: the task's parameter of that name if there is one, else the file `path`
/// of the task's session.
///
/// # Errors
/// When it is in neither place, or the files are away.
pub async fn artifact(
    task: &Task,
    toolbox: &Toolbox,
    parameter: &str,
    path: &str,
) -> Result<String, TaskError> {
    if let Some(text) = task.parameters.get(parameter) {
        return Ok(text.clone());
    }
    let read = toolbox
        .call(TOOL, "file_read_safe", [("path", path.to_owned())])
        .await;
    let read = read.map_err(|error| match error {
        ToolError::Unavailable { .. } => TaskError::Unavailable(error.to_string()),
        other => TaskError::Invalid(format!(
            "there is no {parameter}: give it as a parameter, or the session_id of a run that has \
             {path} ({other})"
        )),
    })?;
    let read: Value = serde_json::from_str(&read).map_err(|error| {
        TaskError::Unavailable(format!("{TOOL} answers what is not JSON: {error}"))
    })?;
    Ok(read["content"].as_str().unwrap_or_default().to_owned())
}
