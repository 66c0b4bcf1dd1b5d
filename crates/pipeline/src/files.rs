//! The run's files, through the fs tool.

use std::time::Duration;

use agentkit::{ToolError, Toolbox};
use channel::Mesh;
use serde_json::Value;

use crate::Error;

const TOOL: &str = "fs-tool";
/// Longest wait for one file.
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
        // Listed first, since a refusal to read does not say in a word that there is nothing.
        let listed = self
            .0
            .call(TOOL, "file_list", [])
            .await
            .map_err(|e| refused(&e))?;
        let listed: Value = serde_json::from_str(&listed).map_err(|e| unreadable(&e))?;
        let files = listed["files"].as_array().into_iter().flatten();
        if !files.into_iter().any(|file| file["path"] == path) {
            return Ok(None);
        }
        let parameters = [("path", path.to_owned())];
        let read = self.0.call(TOOL, "file_read_safe", parameters).await;
        let read: Value =
            serde_json::from_str(&read.map_err(|e| refused(&e))?).map_err(|e| unreadable(&e))?;
        let content = read["content"].as_str();
        Ok(Some(content.unwrap_or_default().to_owned()))
    }

    /// Writes a file whole.
    pub(crate) async fn write(&self, path: &str, content: &str) -> Result<(), Error> {
        self.put("file_write_safe", path, content).await.map(drop)
    }

    /// Appends an object as a line, and gives the number that it got: whoever else writes gets
    /// another one.
    pub(crate) async fn append(&self, path: &str, object: &str) -> Result<u64, Error> {
        let done = self.put("file_append_numbered", path, object).await?;
        let done: Value = serde_json::from_str(&done).map_err(|e| unreadable(&e))?;
        done["seq"].as_u64().ok_or_else(|| Error::Unavailable {
            step: "blackboard",
            message: format!("{TOOL} does not say which number a line got"),
            retry_after: None,
        })
    }

    async fn put(&self, operation: &str, path: &str, content: &str) -> Result<String, Error> {
        let parameters = [("path", path.to_owned()), ("content", content.to_owned())];
        let done = self.0.call(TOOL, operation, parameters).await;
        done.map_err(|e| refused(&e))
    }
}

fn refused(error: &ToolError) -> Error {
    match error {
        ToolError::Rejected { .. } | ToolError::NotAllowed(_) => Error::Invalid(error.to_string()),
        ToolError::Unavailable { .. } | ToolError::Disabled { .. } => Error::Unavailable {
            step: "blackboard",
            message: error.to_string(),
            retry_after: None,
        },
    }
}

fn unreadable(error: &serde_json::Error) -> Error {
    Error::Unavailable {
        step: "blackboard",
        message: format!("{TOOL} answers what is not JSON: {error}"),
        retry_after: None,
    }
}
