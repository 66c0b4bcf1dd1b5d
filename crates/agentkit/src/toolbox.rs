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

/// Why a tool gave no result.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ToolError {
    /// The task does not name this tool.
    #[error("{0} is not among the task's tools: add it to tool_ids")]
    NotAllowed(String),
    /// The tool's own answer about the request.
    #[error("{tool}: {message}")]
    Rejected {
        /// Public id of the tool.
        tool: String,
        /// What it says.
        message: String,
    },
    /// The tool is switched off; the text names the key that turns it on.
    #[error("{tool}: {message}")]
    Disabled {
        /// Public id of the tool.
        tool: String,
        /// What it says.
        message: String,
    },
    /// The tool answers in a form that its callers do not know.
    #[error("{tool}: its result is not of the expected form: {message}")]
    Malformed {
        /// Public id of the tool.
        tool: String,
        /// What the parser says.
        message: String,
    },
    /// No instance answers.
    #[error("{tool}: {message}")]
    Unavailable {
        /// Public id of the tool.
        tool: String,
        /// What the mesh says.
        message: String,
    },
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
        Err(ToolError::Rejected {
            tool: tool.to_owned(),
            message: answer.error,
        })
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
        serde_json::from_str(&result).map_err(|error| ToolError::Malformed {
            tool: tool.to_owned(),
            message: error.to_string(),
        })
    }

    /// What a tool says of itself.
    ///
    /// # Errors
    /// When no instance answers, or the tool does not list itself.
    pub async fn describe(&self, tool: &str) -> Result<ToolInfo, ToolError> {
        let mut client = self.client(tool);
        let call = Box::pin(client.list_tools(self.request(ListToolsRequest::default())));
        let answer = self.answer(tool, call).await?;
        let mut listed = answer.tools.into_iter();
        listed
            .find(|info| info.tool_id == tool)
            .ok_or_else(|| ToolError::Unavailable {
                tool: tool.to_owned(),
                message: "does not list itself".to_owned(),
            })
    }

    fn client(&self, tool: &str) -> ToolServiceClient<channel::Channel> {
        let channel = self.mesh.channel(&discovery::consul_name(tool));
        ToolServiceClient::new(channel.session(&self.session))
    }

    /// A request with its deadline, which the tool and the services behind it learn.
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
        match timeout(self.timeout, call).await {
            Ok(answer) => answer
                .map(Response::into_inner)
                .map_err(|status| failed(tool, &status)),
            Err(_) => Err(ToolError::Unavailable {
                tool: tool.to_owned(),
                message: format!("did not answer within {:?}", self.timeout),
            }),
        }
    }
}

fn failed(tool: &str, status: &Status) -> ToolError {
    let (tool, message) = (tool.to_owned(), status.message().to_owned());
    match status.code() {
        Code::PermissionDenied => ToolError::Disabled { tool, message },
        Code::InvalidArgument | Code::Unimplemented => ToolError::Rejected { tool, message },
        _ => ToolError::Unavailable { tool, message },
    }
}
