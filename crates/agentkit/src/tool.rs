//! A tool: an operation and its parameters in, a text out.

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

/// One call of a tool.
#[derive(Clone, Debug, Default)]
pub struct Invocation {
    /// What the caller names; it may be none of [`About::operations`].
    pub operation: String,
    /// The parameters as they came.
    pub parameters: Parameters,
    /// The session; the run id for calls of the pipeline. Empty when not given.
    pub session: String,
}

/// Why a call of a tool has no result.
#[derive(Debug)]
pub enum InvocationError {
    /// The tool's own answer about the request: `success=false` with this text.
    Rejected(String),
    /// A gRPC status, such as that the tool is switched off.
    Status(Box<Status>),
}

/// A program with operations that agents and models call.
///
/// ```
/// use mesh_agentkit::{About, Invocation, InvocationError, Operation, Parameter, Tool};
///
/// const ABOUT: About = About {
///     operations: &[Operation::new("reverse", "`text` from its end to its beginning")
///         .taking(&[Parameter::required("text", "string", "what to reverse")])
///         .read_only()],
///     ..About::EMPTY
/// };
///
/// #[derive(Debug)]
/// struct Reverse;
///
/// #[async_trait::async_trait]
/// impl Tool for Reverse {
///     async fn run(&self, call: Invocation) -> Result<String, InvocationError> {
///         match call.operation.as_str() {
///             "reverse" => {
///                 let text = call.parameters.required("text", "what to reverse")?;
///                 Ok(text.chars().rev().collect())
///             }
///             _ => Err(call.unknown_operation(&ABOUT)),
///         }
///     }
/// }
/// ```
#[async_trait::async_trait]
pub trait Tool: std::fmt::Debug + Send + Sync + 'static {
    /// Carries out one call, and returns the text of `result`.
    ///
    /// # Errors
    /// When the operation is unknown, a parameter is not valid, or there is no result.
    async fn run(&self, call: Invocation) -> Result<String, InvocationError>;
}

impl Invocation {
    /// The error about an operation that `about` does not have.
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

/// A result has no form in JSON: a map whose keys are no texts.
impl From<serde_json::Error> for InvocationError {
    fn from(error: serde_json::Error) -> Self {
        Self::Rejected(format!("the answer cannot be written as JSON: {error}"))
    }
}
