//! Tools that may become tasks.

use std::time::Duration;

use rmcp::{
    ErrorData, RoleServer,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities,
        CreateTaskResult,
    },
    service::RequestContext,
    task_manager::{TaskExit, TaskOptions},
};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    asks,
    fixture::{Fixture, complete, input_required, read},
};

/// Tools that may become tasks, and whether they need to.
const LONG: [(&str, bool); 6] = [
    ("slow_compute", false),
    ("protocol_error_job", false),
    ("failing_job", true),
    ("confirm_delete", true),
    ("multi_input", true),
    ("test_tool_with_task", true),
];

/// Whether a tool may become a task.
pub(crate) fn is_long(tool: &str) -> bool {
    LONG.iter().any(|(name, _)| *name == tool)
}

fn said(text: &str, is_error: bool) -> Result<CallToolResult, ErrorData> {
    complete(json!({"content": [{"type": "text", "text": text}], "isError": is_error}))
}

async fn compute(seconds: f64, label: String) -> Result<CallToolResult, ErrorData> {
    sleep(Duration::from_secs_f64(seconds.clamp(0.0, 60.0))).await;
    said(&format!("{label} took {seconds} s"), false)
}

async fn broken() -> Result<CallToolResult, ErrorData> {
    sleep(Duration::from_millis(200)).await;
    Err(ErrorData::internal_error(
        "protocol_error_job ends with an error",
        None,
    ))
}

/// Calls a tool that may become a task.
pub(crate) async fn call(
    fixture: &Fixture,
    request: CallToolRequestParams,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResponse, ErrorData> {
    let knows_tasks = context
        .client_capabilities()
        .is_some_and(|it| it.supports_tasks());
    let name = request.name.to_string();
    let needs = LONG.iter().any(|(tool, needs)| *tool == name && *needs);
    if needs && !knows_tasks {
        let needed: ClientCapabilities =
            read(json!({"extensions": {"io.modelcontextprotocol/tasks": {}}}))?;
        return Err(ErrorData::missing_required_client_capability(needed));
    }
    let arguments = request.arguments.clone().unwrap_or_default();
    let seconds = arguments
        .get("seconds")
        .and_then(Value::as_f64)
        .unwrap_or(1.0);
    let argument = |name: &str| {
        arguments
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or("it")
            .to_owned()
    };
    let (label, file) = (argument("label"), argument("filename"));
    if !knows_tasks {
        let result = match name.as_str() {
            "slow_compute" => compute(seconds, label).await?,
            _ => broken().await?,
        };
        return Ok(result.into());
    }
    let user = match name.as_str() {
        "test_tool_with_task" => {
            match asks::answer(request.input_responses.as_ref(), "user_name") {
                None => {
                    let asked = json!({"user_name": asks::form("What is your name?", "name")});
                    return Ok(input_required(asked, None)?.into());
                }
                Some(answer) => answer["content"]["name"]
                    .as_str()
                    .unwrap_or("friend")
                    .to_owned(),
            }
        }
        _ => String::new(),
    };
    let task = fixture.tasks().spawn(TaskOptions::default(), move |task| {
        Box::pin(async move {
            let ended = match name.as_str() {
                "slow_compute" => tokio::select! {
                    () = task.cancelled() => return Err(TaskExit::Cancelled),
                    result = compute(seconds, label) => result,
                },
                "protocol_error_job" => broken().await,
                "failing_job" => {
                    sleep(Duration::from_secs(1)).await;
                    said("failing_job fails", true)
                }
                "confirm_delete" => {
                    let schema =
                        json!({"type": "object", "properties": {"confirm": {"type": "boolean"}}});
                    let params =
                        json!({"message": format!("Delete {file}?"), "requestedSchema": schema});
                    let asked = read(json!({"method": "elicitation/create", "params": params}));
                    let answer = task
                        .request_input("confirm", asked.map_err(TaskExit::Error)?)
                        .await?;
                    said(&format!("{file}: {}", answer["content"]["confirm"]), false)
                }
                "multi_input" => {
                    let asked =
                        |what: &str| read(asks::form(what, "value")).map_err(TaskExit::Error);
                    let (one, two) = (asked("The first value")?, asked("The second value")?);
                    let (one, two) = tokio::join!(
                        task.request_input("input-a", one),
                        task.request_input("input-b", two)
                    );
                    said(
                        &format!("{} {}", one?["content"]["value"], two?["content"]["value"]),
                        false,
                    )
                }
                _ => {
                    sleep(Duration::from_millis(200)).await;
                    said(&format!("Hello, {user}!"), false)
                }
            };
            ended.map_err(TaskExit::Error)
        })
    });
    Ok(CreateTaskResult::new(task).into())
}
