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

/// A client of a service, by its generated type.
pub trait Client {
    /// One that calls over this channel.
    fn new(channel: Channel) -> Self;
}

/// A service that runs, alone in its mesh.
#[derive(Debug)]
pub struct Running<C> {
    /// Its process within this one.
    pub running: ServerHandle,
    /// A client of it.
    pub client: C,
}

/// An agent that runs.
pub type Agent = Running<AgentServiceClient<Channel>>;
/// A tool that runs.
pub type Tool = Running<ToolServiceClient<Channel>>;
/// A worker that runs.
pub type Worker = Running<TaskWorkerClient<Channel>>;

impl<C: Client> Running<C> {
    /// Starts it, with these keys.
    pub async fn start(
        spec: &Spec,
        build: impl FnOnce(&Context) -> anyhow::Result<Services>,
        set: &[(&str, &str)],
    ) -> Self {
        let (running, channel) = local::start_alone(spec, build, set).await;
        let client = C::new(channel);
        Self { running, client }
    }
}

impl Client for AgentServiceClient<Channel> {
    fn new(channel: Channel) -> Self {
        Self::new(channel)
    }
}

impl Agent {
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

impl Client for ToolServiceClient<Channel> {
    fn new(channel: Channel) -> Self {
        Self::new(channel)
    }
}

impl Tool {
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

    /// Checks that a result is what the tool declares of its operation.
    pub async fn assert_declared(&self, operation: &str, result: &str) {
        let operations = self.info().await.operations;
        let declared = operations.iter().find(|row| row.name == operation);
        let schema = &declared.expect("an operation").output_schema;
        let schema = serde_json::from_str(schema).expect("a schema is JSON");
        let result = serde_json::from_str(result).expect("a result is JSON");
        let checked = jsonschema::validate(&schema, &result);
        checked.unwrap_or_else(|error| panic!("{operation}: {error} in {result}"));
    }

    /// What it says of itself.
    pub async fn info(&self) -> ToolInfo {
        let mut client = self.client.clone();
        let list = client.list_tools(ListToolsRequest::default()).await;
        let mut tools = list.expect("a list").into_inner().tools;
        tools.pop().expect("a tool that lists itself")
    }
}

impl Client for TaskWorkerClient<Channel> {
    fn new(channel: Channel) -> Self {
        Self::new(channel)
    }
}

impl Worker {
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
