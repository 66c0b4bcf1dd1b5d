//! The gRPC service of the weather tool.

use std::{fmt, sync::Arc};

use chrono::Utc;
use proto::{
    agentplatform::{
        ListToolsRequest, ListToolsResponse, RegistrationResponse, ToolInfo, ToolRequest,
        ToolResponse, tool_service_server::ToolService,
    },
    error_info,
};
use service::Context;
use tonic::{Code, Request, Response, Status};

use crate::{info, operation, provider::Provider};

/// One instance of the tool.
pub(crate) struct Tool {
    context: Context,
    provider: Arc<dyn Provider>,
}

impl Tool {
    pub(crate) fn new(context: Context, provider: Arc<dyn Provider>) -> Self {
        Self { context, provider }
    }
}

impl fmt::Debug for Tool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Tool")
            .field("provider", &self.provider)
            .finish_non_exhaustive()
    }
}

#[async_trait::async_trait]
impl ToolService for Tool {
    async fn execute_tool(
        &self,
        request: Request<ToolRequest>,
    ) -> Result<Response<ToolResponse>, Status> {
        let ToolRequest {
            operation,
            parameters,
            session_id,
            ..
        } = request.into_inner();
        let answer = operation::run(&*self.provider, &operation, &parameters, Utc::now()).await;
        let (success, result, error) = match answer {
            Ok(result) => (true, result, String::new()),
            Err(error) => (false, String::new(), error.to_string()),
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
        let tools = listed
            .then(|| info::info(&self.context))
            .into_iter()
            .collect();
        Ok(Response::new(ListToolsResponse { tools }))
    }

    async fn register_tool(
        &self,
        _request: Request<ToolInfo>,
    ) -> Result<Response<RegistrationResponse>, Status> {
        Err(error_info::status(
            Code::Unimplemented,
            "REGISTER_WITH_CONSUL",
            "a tool registers itself with Consul, not with another tool",
            [],
        ))
    }
}
