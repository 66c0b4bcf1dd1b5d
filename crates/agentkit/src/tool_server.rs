//! A tool as an `agentplatform.ToolService`.

use std::sync::Arc;

use proto::agentplatform::{
    ListToolsRequest, ListToolsResponse, RegistrationResponse, ToolInfo, ToolRequest, ToolResponse,
    tool_service_server::{ToolService, ToolServiceServer},
};
use service::{Context, Services};
use tonic::{Request, Response, Status};

use crate::{About, Invocation, InvocationError, Tool, genai_span};

struct ToolServer {
    context: Context,
    about: About,
    tool: Arc<dyn Tool>,
}

/// Serves `tool` as an `agentplatform.ToolService` that lists itself as `about` says.
#[must_use]
pub fn serve(context: &Context, about: About, tool: impl Tool) -> Services {
    let server = ToolServiceServer::new(ToolServer {
        context: context.clone(),
        about,
        tool: Arc::new(tool),
    });
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
            parameters: request.parameters.into(),
            session: request.session_id,
        };
        let mut span = genai_span::tool(&self.context, &call);
        let outcome = span.run(self.tool.run(call)).await;
        genai_span::tool_ended(&mut span, &outcome);
        let (success, result, error) = match outcome {
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
