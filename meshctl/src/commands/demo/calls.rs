//! The calls of the demo: a row each, with a description of the answer.

use anyhow::{Context as _, ensure};
use dynamic::ReflectionClient;
use serde_json::{Value, json};

use crate::{contract, router::Channel};

/// How many tasks the echo agents share: a multiple of their number.
pub(super) const TASKS: usize = 9;

/// One call and its outcome.
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
}

/// A call: its gRPC service, its method, its message, and how its answer is described.
type Call = (
    &'static str,
    &'static str,
    Value,
    fn(&[Value]) -> anyhow::Result<String>,
);

const AGENT: &str = "agentplatform.AgentService";
const TOOL: &str = "agentplatform.ToolService";
const WORKER: &str = "agentplatform.TaskWorker";

pub(super) async fn execute_task(channel: &Channel, number: usize) -> anyhow::Result<Step> {
    let (id, input) = (format!("demo-{number}"), format!("hello {number}"));
    let message = json!({ "task_id": id, "agent_id": "echo-agent", "input": input });
    make(
        channel,
        (AGENT, "ExecuteTask", message, |answers| output(&answers[0])),
    )
    .await
}

/// Every other kind of call, in the order in which they are made and shown.
pub(super) async fn others(channel: &Channel) -> Vec<anyhow::Result<Step>> {
    let echo = json!({ "agent_id": "echo-agent" });
    let stream = json!({ "agent_id": "echo-agent", "input": "one word at a time" });
    let place = json!({ "location": "Paris" });
    let weather =
        json!({ "tool_id": "weather-tool", "operation": "get_weather", "parameters": place });
    let trip = json!({ "destination": "Paris", "days": "2" });
    let plan =
        json!({ "task_id": "demo-plan", "agent_id": "itinerary-worker", "parameters": trip });
    let calls: [Call; 8] = [
        (AGENT, "StreamTask", stream, |answers| {
            let complete = answers.last().is_some_and(|last| last["is_final"] == true);
            ensure!(complete, "the stream ended before its last chunk");
            let words: Vec<&str> = answers.iter().map(|it| text(it, "content")).collect();
            Ok(words.join(" | "))
        }),
        (AGENT, "GetStatus", echo, |answers| {
            let (status, tasks) = (text(&answers[0], "status"), &answers[0]["active_tasks"]);
            Ok(format!("{status}, {tasks} active tasks"))
        }),
        (AGENT, "ListAgents", json!({}), |answers| {
            ids(&answers[0]["agents"], "agent_id")
        }),
        (TOOL, "ListTools", json!({}), |answers| {
            ids(&answers[0]["tools"], "tool_id")
        }),
        (WORKER, "ListWorkers", json!({}), |answers| {
            ids(&answers[0]["workers"], "worker_id")
        }),
        (TOOL, "ExecuteTool", weather, |answers| {
            ensure_success(&answers[0])?;
            let weather: Value = serde_json::from_str(text(&answers[0], "result"))?;
            let (location, condition) = (text(&weather, "location"), text(&weather, "condition"));
            let temperature = weather["temperature"].as_f64().context("no temperature")?;
            Ok(format!("{location}: {temperature} °C, {condition}"))
        }),
        (WORKER, "ProcessTask", plan, |answers| {
            let plan: Value = serde_json::from_str(&output(&answers[0])?)?;
            let (days, destination) = (&plan["total_days"], &plan["destination"]);
            let first = text(&plan["daily_schedule"][0]["morning"], "activity");
            Ok(format!("{days} days in {destination}: {first}, …"))
        }),
        (
            WORKER,
            "GetTaskStatus",
            json!({ "task_id": "demo-plan" }),
            |answers| {
                let (id, status) = (text(&answers[0], "task_id"), text(&answers[0], "status"));
                ensure!(status == "completed", "the task is {status}, not completed");
                Ok(format!("{id} is {status}"))
            },
        ),
    ];
    let mut steps = Vec::new();
    for call in calls {
        steps.push(make(channel, call).await);
    }
    steps.push(reflection(channel).await.context("reflection"));
    steps
}

async fn make(channel: &Channel, call: Call) -> anyhow::Result<Step> {
    let (service, call, message, describe) = call;
    let answered = contract::call(channel, service, call, message).await;
    let (instance, answers) = answered.context(call)?;
    ensure!(!answers.is_empty(), "{call}: no answer");
    Ok(Step {
        call,
        answered_by: instance.unwrap_or_else(|| "(router)".to_owned()),
        what: describe(&answers).context(call)?,
    })
}

async fn reflection(channel: &Channel) -> anyhow::Result<Step> {
    let services = ReflectionClient::new(channel.clone()).services().await?;
    let ours: Vec<&str> = services
        .iter()
        .filter_map(|name| name.strip_prefix("agentplatform."))
        .collect();
    ensure!(ours.len() == 3, "reflection lists {services:?}");
    let more = services.len() - ours.len();
    Ok(Step {
        call: "reflection",
        answered_by: "(router)".to_owned(),
        what: format!("{} and {more} more", ours.join(", ")),
    })
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// What a task came to.
fn output(answer: &Value) -> anyhow::Result<String> {
    ensure_success(answer)?;
    Ok(text(answer, "output").to_owned())
}

fn ensure_success(answer: &Value) -> anyhow::Result<()> {
    ensure!(
        answer["success"] == true,
        "it failed: {}",
        text(answer, "error")
    );
    Ok(())
}

fn ids(list: &Value, field: &str) -> anyhow::Result<String> {
    let ids = list.as_array().into_iter().flatten();
    let ids: Vec<&str> = ids.map(|it| text(it, field)).collect();
    ensure!(!ids.is_empty(), "the list is empty");
    Ok(ids.join(", "))
}
