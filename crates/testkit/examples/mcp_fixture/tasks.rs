//! Tools whose calls become tasks.

use std::time::Duration;

use rmcp::{
    ErrorData, RoleServer,
    model::{CallToolRequestParams, CallToolResponse, CallToolResult, CreateTaskResult},
    service::RequestContext,
    task_manager::{TaskContext, TaskExit, TaskOptions},
};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    Fixture,
    asking::{answer, ask, form, lacks},
    of,
    tools::{failure, text},
};

pub(crate) const NAMES: [&str; 7] = [
    "greet",
    "slow_compute",
    "failing_job",
    "protocol_error_job",
    "confirm_delete",
    "multi_input",
    "test_tool_with_task",
];
/// Those that cannot do without a task.
const REQUIRED: [&str; 4] = [
    "failing_job",
    "confirm_delete",
    "multi_input",
    "test_tool_with_task",
];

fn done(text: &str) -> CallToolResult {
    of(json!({"content": [{"type": "text", "text": text}], "resultType": "complete"}))
}

impl Fixture {
    pub(crate) async fn call_task(
        &self,
        request: &CallToolRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let takes_tasks = context
            .client_capabilities()
            .is_some_and(|can| can.supports_tasks());
        let name = request.name.as_ref();
        if REQUIRED.contains(&name) && !takes_tasks {
            let extensions = json!({ "io.modelcontextprotocol/tasks": {} });
            return Err(lacks(json!({ "extensions": extensions })));
        }
        let arguments = Value::Object(request.arguments.clone().unwrap_or_default());
        match name {
            "greet" => {
                let name = arguments["name"].as_str().unwrap_or("friend");
                Ok(text(&format!("Hello, {name}!")))
            }
            "slow_compute" => {
                let seconds = arguments["seconds"].as_f64().unwrap_or(1.0);
                let pause = Duration::from_secs_f64(seconds.clamp(0.0, 600.0));
                let told = format!("computed for {seconds} s");
                if !takes_tasks {
                    sleep(pause).await;
                    return Ok(text(&told));
                }
                Ok(self.spawn(async move |context: TaskContext| {
                    tokio::select! {
                        () = context.cancelled() => Err(TaskExit::Cancelled),
                        () = sleep(pause) => Ok(done(&told)),
                    }
                }))
            }
            "failing_job" => Ok(self.spawn(async |_: TaskContext| {
                sleep(Duration::from_secs(1)).await;
                Ok(failure("this job fails on purpose"))
            })),
            "protocol_error_job" if takes_tasks => Ok(self.spawn(async |_: TaskContext| {
                sleep(Duration::from_millis(200)).await;
                Err(TaskExit::Error(broken()))
            })),
            "protocol_error_job" => Err(broken()),
            "confirm_delete" => {
                let file = arguments["filename"]
                    .as_str()
                    .unwrap_or("a file")
                    .to_owned();
                Ok(self.spawn(async move |context: TaskContext| {
                    let question = form(&format!("Delete {file}?"), "confirm", "boolean");
                    let answer = context.request_input("confirm", of(question)).await?;
                    let is_agreed = answer["content"]["confirm"] == true;
                    Ok(done(&format!("{file} deleted: {is_agreed}")))
                }))
            }
            "multi_input" => Ok(self.spawn(async |context: TaskContext| {
                let one = context.request_input("first", of(form("First?", "value", "string")));
                let two = context.request_input("second", of(form("Second?", "value", "string")));
                let (one, two) = tokio::try_join!(one, two)?;
                Ok(done(&format!("{} and {}", one["content"], two["content"])))
            })),
            "test_tool_with_task" => {
                let Some(answer) = answer(request.input_responses.as_ref(), "user_name") else {
                    let name = form("What is your name?", "name", "string");
                    return Ok(ask(json!({ "user_name": name }), None).into());
                };
                let name = answer["content"]["name"].as_str().unwrap_or_default();
                let told = format!("Hello, {name}!");
                Ok(self.spawn(async move |_: TaskContext| {
                    sleep(Duration::from_millis(200)).await;
                    Ok(done(&told))
                }))
            }
            other => Err(ErrorData::invalid_params(
                format!("no tool is called {other}"),
                None,
            )),
        }
    }

    fn spawn<F>(&self, work: impl FnOnce(TaskContext) -> F + Send + 'static) -> CallToolResponse
    where
        F: Future<Output = Result<CallToolResult, TaskExit>> + Send + 'static,
    {
        let task = self
            .tasks
            .spawn(TaskOptions::default(), |context| Box::pin(work(context)));
        CreateTaskResult::new(task).into()
    }
}

fn broken() -> ErrorData {
    ErrorData::internal_error("this job breaks on purpose", None)
}
