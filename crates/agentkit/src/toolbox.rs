//! The tools that a task may use, called through the mesh.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use channel::Mesh;
use proto::agentplatform::{
    ListToolsRequest, ToolInfo, ToolRequest, tool_service_client::ToolServiceClient,
};
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use tonic::{Code, Request, Response, Status};

/// Calls the tools of one task, for one session, and counts the calls.
#[derive(Debug)]
pub struct Toolbox {
    mesh: Mesh,
    tools: Vec<String>,
    session: String,
    timeout: Duration,
    calls: AtomicU64,
}

/// Why a tool gave no result: the tool's public id, and what happened.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ToolError {
    /// The task does not name this tool.
    #[error("{0} is not among the task's tools: add it to tool_ids")]
    NotAllowed(String),
    /// The tool's own answer about the request.
    #[error("{0}: {1}")]
    Rejected(String, String),
    /// The tool is switched off; the text names the key that turns it on.
    #[error("{0}: {1}")]
    Disabled(String, String),
    /// The tool's result is not of the expected form.
    #[error("{0}: its result is not of the expected form: {1}")]
    Malformed(String, String),
    /// No instance answers.
    #[error("{0}: {1}")]
    Unavailable(String, String),
}

impl Toolbox {
    /// The tools with these public ids, each call given at most `timeout`.
    #[must_use]
    pub fn new(mesh: Mesh, tools: Vec<String>, session: &str, timeout: Duration) -> Self {
        Self {
            mesh,
            tools,
            session: session.to_owned(),
            timeout,
            calls: AtomicU64::new(0),
        }
    }

    /// Whether the task names this tool.
    #[must_use]
    pub fn contains(&self, tool: &str) -> bool {
        self.tools.iter().any(|id| id == tool)
    }

    /// The tools that the task names.
    #[must_use]
    pub fn tools(&self) -> &[String] {
        &self.tools
    }

    /// How many calls were made.
    #[must_use]
    pub fn call_count(&self) -> u64 {
        self.calls.load(Relaxed)
    }

    /// Calls an operation of a tool, and returns its result.
    ///
    /// # Errors
    /// When the task does not name the tool, the tool rejects the call, or no instance answers.
    pub async fn call<'a>(
        &self,
        tool: &str,
        operation: &str,
        parameters: impl IntoIterator<Item = (&'a str, String)>,
    ) -> Result<String, ToolError> {
        if !self.contains(tool) {
            return Err(ToolError::NotAllowed(tool.to_owned()));
        }
        self.calls.fetch_add(1, Relaxed);
        let parameters = parameters.into_iter();
        let request = ToolRequest {
            tool_id: tool.to_owned(),
            operation: operation.to_owned(),
            parameters: parameters.map(|(k, v)| (k.to_owned(), v)).collect(),
            session_id: self.session.clone(),
        };
        let mut client = self.client(tool);
        // Boxed: it is most of the size of every future that calls a tool.
        let call = Box::pin(client.execute_tool(self.request(request)));
        let answer = self.answer(tool, call).await?;
        if answer.success {
            return Ok(answer.result);
        }
        Err(ToolError::Rejected(tool.to_owned(), answer.error))
    }

    /// [`Toolbox::call`], for a tool whose result is JSON.
    ///
    /// # Errors
    /// As [`Toolbox::call`], and when the result is not a `T`.
    pub async fn call_json<'a, T: DeserializeOwned>(
        &self,
        tool: &str,
        operation: &str,
        parameters: impl IntoIterator<Item = (&'a str, String)>,
    ) -> Result<T, ToolError> {
        let result = self.call(tool, operation, parameters).await?;
        serde_json::from_str(&result)
            .map_err(|error| ToolError::Malformed(tool.to_owned(), error.to_string()))
    }

    /// The description of a tool.
    ///
    /// # Errors
    /// When no instance answers, or the tool does not list itself.
    pub async fn describe(&self, tool: &str) -> Result<ToolInfo, ToolError> {
        let mut client = self.client(tool);
        let call = Box::pin(client.list_tools(self.request(ListToolsRequest::default())));
        let answer = self.answer(tool, call).await?;
        let mut listed = answer.tools.into_iter();
        let info = listed.find(|info| info.tool_id == tool);
        info.ok_or_else(|| ToolError::Unavailable(tool.to_owned(), "does not list itself".into()))
    }

    fn client(&self, tool: &str) -> ToolServiceClient<channel::Channel> {
        let channel = self.mesh.channel(&discovery::consul_name(tool));
        ToolServiceClient::new(channel.session(&self.session))
    }

    /// A request with its deadline, which the tool and the services behind it get too.
    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        request
    }

    async fn answer<T>(
        &self,
        tool: &str,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, ToolError> {
        let tool = tool.to_owned();
        let Ok(answer) = timeout(self.timeout, call).await else {
            let message = format!("did not answer within {:?}", self.timeout);
            return Err(ToolError::Unavailable(tool, message));
        };
        answer.map(Response::into_inner).map_err(|status| {
            let message = status.message().to_owned();
            match status.code() {
                Code::PermissionDenied => ToolError::Disabled(tool, message),
                Code::InvalidArgument | Code::Unimplemented => ToolError::Rejected(tool, message),
                _ => ToolError::Unavailable(tool, message),
            }
        })
    }
}
