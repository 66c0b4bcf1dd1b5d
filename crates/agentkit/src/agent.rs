//! An agent: a task in, a text and what it cost out.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use crate::OutputStream;

/// What an agent is asked to do.
#[derive(Clone, Debug, Default)]
pub struct Task {
    /// The caller's name for the task.
    pub id: String,
    /// What is wanted, in the caller's words.
    pub goal: String,
    /// Further values by name.
    pub parameters: HashMap<String, String>,
    /// Public ids of the tools it may use.
    pub tools: Vec<String>,
    /// The session; the run id for tasks of the pipeline. Empty when not given.
    pub session: String,
}

impl Task {
    /// What is wanted, trimmed.
    ///
    /// # Errors
    /// When nothing is; `expected` says what to say.
    pub fn require_goal(&self, expected: &str) -> Result<&str, TaskError> {
        match self.goal.trim() {
            "" => Err(TaskError::Invalid(format!(
                "input is empty: say {expected}"
            ))),
            goal => Ok(goal),
        }
    }
}

/// What came of a task.
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
    /// The task itself will not do; the same task fails again.
    #[error("{0}")]
    Invalid(String),
    /// Something that the agent needs is away for now; trying again may help.
    #[error("{0}")]
    Unavailable(String),
    /// The model gave no answer in all the attempts that `model_attempts` allows; trying again may
    /// help, but is for those to decide who know how often that may be, not for every hop.
    #[error("{message}")]
    ModelUnavailable {
        /// What happened.
        message: String,
        /// How long the endpoint wants no requests.
        retry_after: Option<Duration>,
    },
}

/// Something that carries out tasks.
#[async_trait::async_trait]
pub trait Agent: std::fmt::Debug + Send + Sync + 'static {
    /// Carries out one task. Text that is told to `say` on the way has to be the beginning of the
    /// output, for callers who stream it.
    ///
    /// # Errors
    /// When the task will not do, or what it needs is away.
    async fn run(&self, task: &Task, stream: &OutputStream) -> Result<TaskOutcome, TaskError>;
}
