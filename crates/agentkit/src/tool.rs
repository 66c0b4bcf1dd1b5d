//! A tool: an operation and its parameters in, a text out.

use serde::Serialize;
use service::{ServiceKind, Spec};
use tonic::Status;

use crate::{About, InvalidParameter, Parameters, text::shorten};

/// What the specs of tools have in common, for `..agentkit::TOOL`.
pub const TOOL: Spec = Spec {
    kind: ServiceKind::Tool,
    tags: &["tool"],
    port_env: "TOOL_PORT",
    ..crate::AGENT
};

/// What a caller asks of a tool.
#[derive(Clone, Debug, Default)]
pub struct Invocation {
    /// One of the names in [`About::operations`], if the caller is right.
    pub operation: String,
    /// The parameters as they came.
    pub parameters: Parameters,
    /// The session; the run id for calls of the pipeline. Empty when not given.
    pub session: String,
}

/// Why a tool does not do what it was asked.
#[derive(Debug)]
pub enum InvocationError {
    /// The tool's own answer about the request: `success=false` with this text.
    Rejected(String),
    /// What the mesh has to say, such as that the tool is switched off.
    Status(Box<Status>),
}

/// Something that can be asked for operations.
#[async_trait::async_trait]
pub trait Tool: std::fmt::Debug + Send + Sync + 'static {
    /// Carries out one call; the answer is the text of `result`.
    ///
    /// # Errors
    /// When the operation or a parameter is not one that is taken, or there is no answer.
    async fn run(&self, call: Invocation) -> Result<String, InvocationError>;
}

impl Invocation {
    /// The error about an operation that is none of `about`'s.
    #[must_use]
    pub fn unknown_operation(&self, about: &About) -> InvocationError {
        let names: Vec<_> = about.operations.iter().map(|row| row.name).collect();
        InvocationError::Rejected(format!(
            "unknown operation {:?}: give one of {}",
            shorten(&self.operation),
            names.join(", ")
        ))
    }
}

/// A result as JSON.
///
/// # Errors
/// When it cannot be written as JSON: a map whose keys are no texts.
pub fn json_result(result: &impl Serialize) -> Result<String, InvocationError> {
    serde_json::to_string(result).map_err(|error| {
        InvocationError::Rejected(format!("the answer cannot be written as JSON: {error}"))
    })
}

impl From<Status> for InvocationError {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

impl From<InvalidParameter> for InvocationError {
    fn from(error: InvalidParameter) -> Self {
        Self::Rejected(error.to_string())
    }
}
