//! The documents that the steps of a run hand on: with the task, or in the run's files.

use serde_json::Value;

use crate::{Parameter, Task, TaskError, ToolError, Toolbox};

/// A document that one agent writes and another reads.
#[derive(Clone, Copy, Debug)]
pub struct Artifact {
    /// The parameter of a task that holds it.
    pub parameter: &'static str,
    /// Its file in the run's directory.
    pub file: &'static str,
    about: &'static str,
}

/// The notes of the research agent.
pub const NOTES: Artifact = Artifact {
    parameter: "notes",
    file: "notes.md",
    about: "the notes; else notes.md of the run that session_id names",
};

/// The design of the code agent.
pub const DESIGN: Artifact = Artifact {
    parameter: "design",
    file: "mcp.md",
    about: "the design; else mcp.md of the run that session_id names",
};

impl Artifact {
    /// The row of a table of parameters.
    #[must_use]
    pub const fn row(self) -> Parameter {
        Parameter::optional(self.parameter, "string", self.about)
    }

    /// The text: of the task's parameter if there is one, else of the file in the task's session.
    ///
    /// # Errors
    /// When it is in neither place, or the tool for files does not answer.
    pub async fn read(self, task: &Task, toolbox: &Toolbox) -> Result<String, TaskError> {
        let Self {
            parameter, file, ..
        } = self;
        if let Some(text) = task.parameters.get(parameter) {
            return Ok(text.to_owned());
        }
        let path = [("path", file.to_owned())];
        let read = toolbox.call_json::<Value>("fs-tool", "file_read_safe", path);
        let read = read.await.map_err(|error| match error {
            ToolError::Unavailable { .. } | ToolError::Malformed { .. } => {
                TaskError::Unavailable(error.to_string())
            }
            other => TaskError::Invalid(format!(
                "there is no {parameter}: give it as a parameter, or the session_id of a run that \
                 has {file} ({other})"
            )),
        })?;
        Ok(read["content"].as_str().unwrap_or_default().to_owned())
    }
}
