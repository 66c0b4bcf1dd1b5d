//! The calls of the demo, as any client would make them.

use std::collections::HashMap;

use anyhow::{Context as _, ensure};
use dynamic::ReflectionClient;
use proto::agentplatform::{
    ListAgentsRequest, ListToolsRequest, ListWorkersRequest, StatusRequest, TaskRequest,
    TaskStatusRequest, ToolRequest, agent_service_client::AgentServiceClient,
    task_worker_client::TaskWorkerClient, tool_service_client::ToolServiceClient,
};
use serde_json::{Value, json};
use tonic::{Response, transport::Channel};

use crate::router;

/// How many tasks the echo agents share: a multiple of their number.
pub(super) const TASKS: usize = 9;
/// A task that is asked after later.
const PLAN: &str = "demo-plan";

/// One call, and what came of it.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) call: &'static str,
    /// The instance, or the router for what it puts together itself.
    pub(super) answered_by: String,
    pub(super) what: String,
}

impl Step {
    pub(super) fn value(&self) -> Value {
        json!({ "call": self.call, "answered_by": self.answered_by, "what": self.what })
    }

    fn new<T>(call: &'static str, response: &Response<T>, what: impl Into<String>) -> Self {
        let who = router::instance(response.metadata()).unwrap_or("(router)");
        Self {
            call,
            answered_by: who.to_owned(),
            what: what.into(),
        }
    }
}

pub(super) async fn execute_task(channel: &Channel, number: usize) -> anyhow::Result<Step> {
    let request = TaskRequest {
        task_id: format!("demo-{number}"),
        agent_id: "echo-agent".to_owned(),
        input: format!("hello {number}"),
        ..TaskRequest::default()
    };
    let mut client = AgentServiceClient::new(channel.clone());
    let response = client.execute_task(request).await.context("ExecuteTask")?;
    let answer = response.get_ref();
    ensure!(
        answer.success,
        "ExecuteTask: the echo agent failed: {}",
        answer.error
    );
    Ok(Step::new("ExecuteTask", &response, answer.output.clone()))
}

/// Every other kind of call, in the order in which they are made and told.
pub(super) async fn others(channel: &Channel) -> Vec<anyhow::Result<Step>> {
    vec![
        stream_task(channel).await.context("StreamTask"),
        get_status(channel).await.context("GetStatus"),
        list_agents(channel).await.context("ListAgents"),
        list_tools(channel).await.context("ListTools"),
        list_workers(channel).await.context("ListWorkers"),
        execute_tool(channel).await.context("ExecuteTool"),
        process_task(channel).await.context("ProcessTask"),
        task_status(channel).await.context("GetTaskStatus"),
        reflection(channel).await.context("reflection"),
    ]
}

async fn stream_task(channel: &Channel) -> anyhow::Result<Step> {
    let request = TaskRequest {
        agent_id: "echo-agent".to_owned(),
        input: "one word at a time".to_owned(),
        ..TaskRequest::default()
    };
    let mut response = AgentServiceClient::new(channel.clone())
        .stream_task(request)
        .await?;
    let mut words = Vec::new();
    let mut complete = false;
    while let Some(chunk) = response.get_mut().message().await? {
        complete = chunk.is_final;
        words.push(chunk.content);
    }
    ensure!(complete, "the stream ended before its last chunk");
    Ok(Step::new("StreamTask", &response, words.join(" | ")))
}

async fn get_status(channel: &Channel) -> anyhow::Result<Step> {
    let request = StatusRequest {
        agent_id: "echo-agent".to_owned(),
    };
    let response = AgentServiceClient::new(channel.clone())
        .get_status(request)
        .await?;
    let status = response.get_ref();
    let what = format!("{}, {} active tasks", status.status, status.active_tasks);
    Ok(Step::new("GetStatus", &response, what))
}

async fn list_agents(channel: &Channel) -> anyhow::Result<Step> {
    let request = ListAgentsRequest::default();
    let response = AgentServiceClient::new(channel.clone())
        .list_agents(request)
        .await?;
    let what = listed(
        response
            .get_ref()
            .agents
            .iter()
            .map(|agent| agent.agent_id.as_str()),
    )?;
    Ok(Step::new("ListAgents", &response, what))
}

async fn list_tools(channel: &Channel) -> anyhow::Result<Step> {
    let request = ListToolsRequest::default();
    let response = ToolServiceClient::new(channel.clone())
        .list_tools(request)
        .await?;
    let what = listed(
        response
            .get_ref()
            .tools
            .iter()
            .map(|tool| tool.tool_id.as_str()),
    )?;
    Ok(Step::new("ListTools", &response, what))
}

async fn list_workers(channel: &Channel) -> anyhow::Result<Step> {
    let request = ListWorkersRequest::default();
    let response = TaskWorkerClient::new(channel.clone())
        .list_workers(request)
        .await?;
    let what = listed(
        response
            .get_ref()
            .workers
            .iter()
            .map(|worker| worker.worker_id.as_str()),
    )?;
    Ok(Step::new("ListWorkers", &response, what))
}

fn listed<'a>(ids: impl Iterator<Item = &'a str>) -> anyhow::Result<String> {
    let ids: Vec<&str> = ids.collect();
    ensure!(!ids.is_empty(), "the list is empty");
    Ok(ids.join(", "))
}

async fn execute_tool(channel: &Channel) -> anyhow::Result<Step> {
    let request = ToolRequest {
        tool_id: "weather-tool".to_owned(),
        operation: "get_weather".to_owned(),
        parameters: parameters(&[("location", "Paris")]),
        ..ToolRequest::default()
    };
    let response = ToolServiceClient::new(channel.clone())
        .execute_tool(request)
        .await?;
    let answer = response.get_ref();
    ensure!(answer.success, "the weather tool failed: {}", answer.error);
    let weather: Value = serde_json::from_str(&answer.result).context("read the weather")?;
    let text = |key: &str| weather[key].as_str().unwrap_or_default().to_owned();
    let temperature = weather["temperature"].as_f64().context("no temperature")?;
    let what = format!(
        "{}: {temperature} °C, {}",
        text("location"),
        text("condition")
    );
    Ok(Step::new("ExecuteTool", &response, what))
}

async fn process_task(channel: &Channel) -> anyhow::Result<Step> {
    let request = TaskRequest {
        task_id: PLAN.to_owned(),
        agent_id: "itinerary-worker".to_owned(),
        parameters: parameters(&[("destination", "Paris"), ("days", "2")]),
        ..TaskRequest::default()
    };
    let response = TaskWorkerClient::new(channel.clone())
        .process_task(request)
        .await?;
    let answer = response.get_ref();
    ensure!(
        answer.success,
        "the itinerary worker failed: {}",
        answer.error
    );
    let plan: Value = serde_json::from_str(&answer.output).context("read the plan")?;
    let first = plan["daily_schedule"][0]["morning"]["activity"]
        .as_str()
        .unwrap_or_default();
    let what = format!(
        "{} days in {}: {first}, …",
        plan["total_days"], plan["destination"]
    );
    Ok(Step::new("ProcessTask", &response, what))
}

async fn task_status(channel: &Channel) -> anyhow::Result<Step> {
    let request = TaskStatusRequest {
        task_id: PLAN.to_owned(),
    };
    let response = TaskWorkerClient::new(channel.clone())
        .get_task_status(request)
        .await?;
    let status = response.get_ref();
    ensure!(
        status.status == "completed",
        "the task is {}, not completed",
        status.status
    );
    let what = format!("{} is {}", status.task_id, status.status);
    Ok(Step::new("GetTaskStatus", &response, what))
}

async fn reflection(channel: &Channel) -> anyhow::Result<Step> {
    let services = ReflectionClient::new(channel.clone()).services().await?;
    let ours: Vec<&str> = services
        .iter()
        .filter_map(|name| name.strip_prefix("agentplatform."))
        .collect();
    ensure!(ours.len() == 3, "reflection lists {services:?}");
    let what = format!(
        "{} and {} more",
        ours.join(", "),
        services.len() - ours.len()
    );
    Ok(Step {
        call: "reflection",
        answered_by: "(router)".to_owned(),
        what,
    })
}

fn parameters(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}
