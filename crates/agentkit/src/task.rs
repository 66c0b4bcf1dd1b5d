//! A task and its outcome, and both on the wire.

use std::{collections::BTreeMap, time::Duration};

use proto::{
    agentplatform::{TaskRequest, TaskResponse},
    error_info::{self, Reason},
};
use tonic::{Code, Response, Status, metadata::MetadataValue};

use crate::{InvalidParameter, Parameters};

/// A task for an agent or a worker.
#[derive(Clone, Debug, Default)]
pub struct Task {
    /// The caller's name for the task.
    pub id: String,
    /// What is wanted, in the caller's words.
    pub goal: String,
    /// Further values by name.
    pub parameters: Parameters,
    /// Public ids of the tools it may use.
    pub tools: Vec<String>,
    /// The session; the run id for tasks of the pipeline. Empty when not given.
    pub session: String,
}

/// The outcome of a task.
#[derive(Clone, Debug, Default)]
pub struct TaskOutcome {
    /// The text.
    pub output: String,
    /// Facts about how it was made: `mode`, `llm_model`, `tool_calls` and so on.
    pub metadata: BTreeMap<&'static str, String>,
}

/// Why a task has no outcome.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// The task itself is wrong; the same task fails again.
    #[error("{0}")]
    Invalid(String),
    /// Something that the agent needs does not answer; a retry may succeed.
    #[error("{0}")]
    Unavailable(String),
    /// The model gave no answer within `model_attempts`. A retry may succeed, but only the caller decides
    /// on it, and no hop before it.
    #[error("{message}")]
    ModelUnavailable {
        /// What happened.
        message: String,
        /// How long the endpoint wants no requests.
        retry_after: Option<Duration>,
    },
}

impl Task {
    /// What is wanted, trimmed.
    ///
    /// # Errors
    /// When it is empty; `expected` completes "say …".
    pub fn require_goal(&self, expected: &str) -> Result<&str, TaskError> {
        match self.goal.trim() {
            "" => Err(TaskError::Invalid(format!(
                "input is empty: say {expected}"
            ))),
            goal => Ok(goal),
        }
    }
}

impl TaskOutcome {
    /// An outcome that is a text and no facts.
    #[must_use]
    pub fn text(output: impl Into<String>) -> Self {
        Self {
            output: output.into(),
            ..Self::default()
        }
    }
}

impl From<TaskRequest> for Task {
    fn from(request: TaskRequest) -> Self {
        Self {
            id: request.task_id,
            goal: request.input,
            parameters: request.parameters.into(),
            tools: request.tool_ids,
            session: request.session_id,
        }
    }
}

impl From<InvalidParameter> for TaskError {
    fn from(error: InvalidParameter) -> Self {
        Self::Invalid(error.to_string())
    }
}

impl From<TaskError> for Status {
    fn from(error: TaskError) -> Self {
        let (code, reason, retry_after) = match &error {
            TaskError::Invalid(_) => (Code::InvalidArgument, Reason::TaskRefused, None),
            TaskError::Unavailable(_) => (Code::Unavailable, Reason::DependencyAway, None),
            // gRPC: a retry is for a higher level. The instance itself works.
            TaskError::ModelUnavailable { retry_after, .. } => {
                (Code::Aborted, Reason::ModelAway, *retry_after)
            }
        };
        let facts = retry_after.map(|wait| (error_info::RETRY_AFTER, wait.as_millis().to_string()));
        let mut status = error_info::status(code, reason, error.to_string(), facts);
        // Another instance has the same tools and the same model: no hop retries.
        let stop = MetadataValue::from_static("-1");
        status
            .metadata_mut()
            .insert(channel::Pushback::HEADER, stop);
        status
    }
}

/// The response to a task: an answer for a wrong task, a status for a missing dependency. `facts` are
/// about the instance, and come before those of the outcome.
pub(crate) fn respond<const N: usize>(
    task: Task,
    facts: [(&'static str, String); N],
    result: Result<TaskOutcome, TaskError>,
) -> Result<Response<TaskResponse>, Status> {
    let (outcome, error) = match result {
        Ok(outcome) => (outcome, None),
        Err(TaskError::Invalid(error)) => (TaskOutcome::default(), Some(error)),
        Err(error) => return Err(error.into()),
    };
    let facts = facts.into_iter().chain(outcome.metadata);
    let metadata = facts.filter(|(_, value)| !value.is_empty());
    Ok(Response::new(TaskResponse {
        task_id: task.id,
        session_id: task.session,
        success: error.is_none(),
        output: outcome.output,
        error: error.unwrap_or_default(),
        metadata: metadata.map(|(k, v)| (k.to_owned(), v)).collect(),
    }))
}
