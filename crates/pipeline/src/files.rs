//! The run's files, through the fs tool.

use std::time::Duration;

use agentkit::{ToolError, Toolbox};
use channel::Mesh;
use serde_json::Value;

use crate::Error;

const TOOL: &str = "fs-tool";
/// Longest wait for one call of the tool.
const FILE_TIMEOUT: Duration = Duration::from_secs(10);

/// The files of one run.
#[derive(Debug)]
pub(crate) struct RunFiles(Toolbox);

impl RunFiles {
    pub(crate) fn new(mesh: &Mesh, run_id: &str) -> Self {
        let tools = vec![TOOL.to_owned()];
        Self(Toolbox::new(mesh.clone(), tools, run_id, FILE_TIMEOUT))
    }

    /// The content of a file; `None` when there is none.
    pub(crate) async fn read(&self, path: &str) -> Result<Option<String>, Error> {
        // Listed first: an error of reading does not say whether the file exists.
        let listed = self.call("file_list", []).await?;
        let files = listed["files"].as_array().into_iter().flatten();
        if !files.into_iter().any(|file| file["path"] == path) {
            return Ok(None);
        }
        let read = self.call("file_read_safe", [("path", path.to_owned())]);
        let content = &read.await?["content"];
        Ok(Some(content.as_str().unwrap_or_default().to_owned()))
    }

    /// Writes a file whole.
    pub(crate) async fn write(&self, path: &str, content: &str) -> Result<(), Error> {
        self.put("file_write_safe", path, content).await.map(drop)
    }

    /// Appends an object as a line, and returns its number, which is unique.
    pub(crate) async fn append(&self, path: &str, object: &str) -> Result<u64, Error> {
        let done = self.put("file_append_numbered", path, object).await?;
        let problem = || format!("{TOOL} does not say which number a line got");
        done["seq"].as_u64().ok_or_else(|| unavailable(problem()))
    }

    async fn put(&self, operation: &str, path: &str, content: &str) -> Result<Value, Error> {
        let parameters = [("path", path.to_owned()), ("content", content.to_owned())];
        self.call(operation, parameters).await
    }

    async fn call<const N: usize>(
        &self,
        operation: &str,
        parameters: [(&str, String); N],
    ) -> Result<Value, Error> {
        let done = self.0.call_json(TOOL, operation, parameters).await;
        done.map_err(|error| match error {
            ToolError::Rejected { .. } | ToolError::NotAllowed(_) => {
                Error::Invalid(error.to_string())
            }
            ToolError::Unavailable { .. }
            | ToolError::Disabled { .. }
            | ToolError::Malformed { .. } => unavailable(error.to_string()),
        })
    }
}

fn unavailable(message: String) -> Error {
    Error::Unavailable {
        step: "blackboard",
        message,
        retry_after: None,
    }
}
