//! A tool, and its gRPC face.

use std::{collections::HashMap, fmt, ops::RangeInclusive, str::FromStr, sync::Arc};

use proto::agentplatform::{
    ListToolsRequest, ListToolsResponse, RegistrationResponse, ToolInfo, ToolRequest, ToolResponse,
    tool_service_server::{ToolService, ToolServiceServer},
};
use service::{Context, Services};
use tonic::{Request, Response, Status};

use crate::About;

/// What a caller asks of a tool.
#[derive(Clone, Debug, Default)]
pub struct Invocation {
    /// One of the names in [`About::operations`], if the caller is right.
    pub operation: String,
    /// The parameters as they came.
    pub parameters: HashMap<String, String>,
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
pub trait Tool: fmt::Debug + Send + Sync + 'static {
    /// Carries out one call; the answer is the text of `result`.
    ///
    /// # Errors
    /// When the operation or a parameter is not one that is taken, or there is no answer.
    async fn run(&self, call: Invocation) -> Result<String, InvocationError>;
}

impl Invocation {
    /// The value of a parameter, not trimmed.
    ///
    /// # Errors
    /// When it is not there; `expected` says what would be.
    pub fn required(&self, name: &str, expected: &str) -> Result<&str, InvocationError> {
        let value = self.parameters.get(name).map(String::as_str);
        value.ok_or_else(|| {
            InvocationError::Rejected(format!("parameter `{name}` is missing: give {expected}"))
        })
    }

    /// The value of a parameter, trimmed; `None` for one that is absent or empty.
    #[must_use]
    pub fn optional(&self, name: &str) -> Option<&str> {
        let value = self.parameters.get(name)?.trim();
        Some(value).filter(|value| !value.is_empty())
    }

    /// A whole number within `bounds`, `default` when it is not given.
    ///
    /// # Errors
    /// When it is no number or out of bounds.
    pub fn integer<N: FromStr + PartialOrd + fmt::Display>(
        &self,
        name: &str,
        bounds: RangeInclusive<N>,
        default: N,
    ) -> Result<N, InvocationError> {
        let Some(text) = self.optional(name) else {
            return Ok(default);
        };
        let number = text.parse().ok().filter(|number| bounds.contains(number));
        number.ok_or_else(|| {
            let (least, most) = bounds.into_inner();
            InvocationError::Rejected(format!(
                "parameter `{name}` is {:?}: give a whole number from {least} to {most}",
                crate::text::shorten(text)
            ))
        })
    }

    /// The refusal of an operation that is none of `about`'s.
    #[must_use]
    pub fn unknown_operation(&self, about: &About) -> InvocationError {
        let names: Vec<_> = about.operations.iter().map(|row| row.name).collect();
        InvocationError::Rejected(format!(
            "unknown operation {:?}: give one of {}",
            crate::text::shorten(&self.operation),
            names.join(", ")
        ))
    }
}

impl From<Status> for InvocationError {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

struct ToolServer {
    context: Context,
    about: &'static About,
    tool: Arc<dyn Tool>,
}

/// Serves `tool` as an `agentplatform.ToolService` that lists itself as `about` says.
#[must_use]
pub fn serve(context: &Context, about: &'static About, tool: impl Tool) -> Services {
    let face = ToolServer {
        context: context.clone(),
        about,
        tool: Arc::new(tool),
    };
    let server = ToolServiceServer::new(face);
    Services::new()
        .service(server.max_decoding_message_size(context.max_message_bytes()))
        .descriptors(proto::DESCRIPTORS)
}

#[async_trait::async_trait]
impl ToolService for ToolServer {
    async fn execute_tool(
        &self,
        request: Request<ToolRequest>,
    ) -> Result<Response<ToolResponse>, Status> {
        let request = request.into_inner();
        let session_id = request.session_id.clone();
        let call = Invocation {
            operation: request.operation.trim().to_owned(),
            parameters: request.parameters,
            session: request.session_id,
        };
        let (success, result, error) = match self.tool.run(call).await {
            Ok(result) => (true, result, String::new()),
            Err(InvocationError::Rejected(error)) => (false, String::new(), error),
            Err(InvocationError::Status(status)) => return Err(*status),
        };
        Ok(Response::new(ToolResponse {
            success,
            result,
            error,
            session_id,
        }))
    }

    async fn list_tools(
        &self,
        request: Request<ListToolsRequest>,
    ) -> Result<Response<ListToolsResponse>, Status> {
        let listed = self.context.matches(&request.get_ref().filter);
        let tool = listed.then(|| self.about.tool(&self.context));
        Ok(Response::new(ListToolsResponse {
            tools: tool.into_iter().collect(),
        }))
    }

    async fn register_tool(
        &self,
        _request: Request<ToolInfo>,
    ) -> Result<Response<RegistrationResponse>, Status> {
        Err(self.context.no_registrar())
    }
}
