//! An agent, a tool or a worker within the test's own process, and a client of it.

use std::collections::HashMap;

use proto::agentplatform::{
    AgentInfo, ListAgentsRequest, ListToolsRequest, ListWorkersRequest, TaskRequest, TaskResponse,
    ToolInfo, ToolRequest, ToolResponse, WorkerInfo, agent_service_client::AgentServiceClient,
    task_worker_client::TaskWorkerClient, tool_service_client::ToolServiceClient,
};
use service::{Context, ServerHandle, Services, Spec};
use tonic::{Response, Status, transport::Channel};

use crate::local;

/// Texts by name, as requests carry them.
#[must_use]
pub fn parameters(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// The task `t1` of session `s1`.
#[must_use]
pub fn task(input: &str, pairs: &[(&str, &str)]) -> TaskRequest {
    TaskRequest {
        task_id: "t1".to_owned(),
        session_id: "s1".to_owned(),
        input: input.to_owned(),
        parameters: parameters(pairs),
        ..TaskRequest::default()
    }
}

/// An agent that runs.
#[derive(Debug)]
pub struct Agent {
    /// Its process within this one.
    pub running: ServerHandle,
    /// A client of it.
    pub client: AgentServiceClient<Channel>,
}

/// A tool that runs.
#[derive(Debug)]
pub struct Tool {
    /// Its process within this one.
    pub running: ServerHandle,
    /// A client of it.
    pub client: ToolServiceClient<Channel>,
}

/// A worker that runs.
#[derive(Debug)]
pub struct Worker {
    /// Its process within this one.
    pub running: ServerHandle,
    /// A client of it.
    pub client: TaskWorkerClient<Channel>,
}

impl Agent {
    /// Starts an agent that is alone in its mesh.
    pub async fn start(
        spec: &Spec,
        build: impl FnOnce(&Context) -> anyhow::Result<Services>,
        set: &[(&str, &str)],
    ) -> Self {
        let (running, channel) = local::start_alone(spec, build, set).await;
        let client = AgentServiceClient::new(channel);
        Self { running, client }
    }

    /// Its answer to a task that is a text.
    pub async fn execute(&self, input: &str) -> TaskResponse {
        let answer = self.client.clone().execute_task(task(input, &[])).await;
        answer.expect("an answer").into_inner()
    }

    /// What it says of itself.
    pub async fn info(&self) -> AgentInfo {
        let mut client = self.client.clone();
        let list = client.list_agents(ListAgentsRequest::default()).await;
        let mut agents = list.expect("a list").into_inner().agents;
        agents.pop().expect("an agent that lists itself")
    }
}

impl Tool {
    /// Starts a tool that is alone in its mesh.
    pub async fn start(
        spec: &Spec,
        build: impl FnOnce(&Context) -> anyhow::Result<Services>,
        set: &[(&str, &str)],
    ) -> Self {
        let (running, channel) = local::start_alone(spec, build, set).await;
        let client = ToolServiceClient::new(channel);
        Self { running, client }
    }

    /// Its answer to one operation, for no session.
    pub async fn call(&self, operation: &str, pairs: &[(&str, &str)]) -> ToolResponse {
        let answer = self.try_call("", operation, pairs).await;
        answer.expect("an answer")
    }

    /// Its answer to one operation for a session, or the status in its place.
    ///
    /// # Errors
    /// When it is a status.
    pub async fn try_call(
        &self,
        session: &str,
        operation: &str,
        pairs: &[(&str, &str)],
    ) -> Result<ToolResponse, Status> {
        let request = ToolRequest {
            operation: operation.to_owned(),
            parameters: parameters(pairs),
            session_id: session.to_owned(),
            ..ToolRequest::default()
        };
        let answer = self.client.clone().execute_tool(request).await;
        answer.map(Response::into_inner)
    }

    /// What it says of itself.
    pub async fn info(&self) -> ToolInfo {
        let mut client = self.client.clone();
        let list = client.list_tools(ListToolsRequest::default()).await;
        let mut tools = list.expect("a list").into_inner().tools;
        tools.pop().expect("a tool that lists itself")
    }
}

impl Worker {
    /// Starts a worker that is alone in its mesh.
    pub async fn start(
        spec: &Spec,
        build: impl FnOnce(&Context) -> anyhow::Result<Services>,
        set: &[(&str, &str)],
    ) -> Self {
        let (running, channel) = local::start_alone(spec, build, set).await;
        let client = TaskWorkerClient::new(channel);
        Self { running, client }
    }

    /// Its answer to a task that is a text.
    pub async fn process(&self, input: &str) -> TaskResponse {
        let answer = self.client.clone().process_task(task(input, &[])).await;
        answer.expect("an answer").into_inner()
    }

    /// What it says of itself.
    pub async fn info(&self) -> WorkerInfo {
        let mut client = self.client.clone();
        let list = client.list_workers(ListWorkersRequest::default()).await;
        let mut workers = list.expect("a list").into_inner().workers;
        workers.pop().expect("a worker that lists itself")
    }
}
