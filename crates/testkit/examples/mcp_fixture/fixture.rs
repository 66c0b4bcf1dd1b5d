//! The server: its lists, and what answers at once.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, CancelTaskParams,
        CompleteRequestParams, CompleteResult, GetPromptRequestParams, GetPromptResponse,
        GetPromptResult, GetTaskParams, GetTaskResult, InputRequiredResult, ListPromptsResult,
        ListResourceTemplatesResult, ListResourcesResult, ListToolsResult,
        LoggingMessageNotificationParam, PaginatedRequestParams, ProgressNotificationParam,
        ProtocolVersion, ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult,
        RequestStateCodec, ServerConfig, SetLevelRequestParams, SubscribeRequestParams,
        SubscriptionFilter, Tool, UnsubscribeRequestParams, UpdateTaskParams,
    },
    service::{RequestContext, SubscriptionContext, SubscriptionSink},
    task_manager::TaskManager,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tokio::time::sleep;

use crate::{asks, long};

/// The smallest image and sound, in base64.
const IMAGE: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC";
const SOUND: &str = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA=";
const STEP: Duration = Duration::from_millis(50);

/// The server. Clones share everything.
#[derive(Clone)]
pub(crate) struct Fixture(Arc<State>);

struct State {
    versions: Cow<'static, [ProtocolVersion]>,
    lists: Value,
    listeners: Mutex<BTreeMap<u64, SubscriptionSink>>,
    next: AtomicU64,
    codec: RequestStateCodec,
    tasks: TaskManager,
}

/// A value as a type of the SDK.
pub(crate) fn read<T: DeserializeOwned>(value: Value) -> Result<T, ErrorData> {
    serde_json::from_value(value)
        .map_err(|error| ErrorData::internal_error(error.to_string(), None))
}

/// A result that is complete. The SDK takes the mark out for clients of earlier revisions.
pub(crate) fn complete<T: DeserializeOwned>(mut value: Value) -> Result<T, ErrorData> {
    value["resultType"] = "complete".into();
    read(value)
}

/// The result of a tool with this content.
pub(crate) fn content(content: Value) -> Result<CallToolResponse, ErrorData> {
    let result: CallToolResult = complete(json!({"content": content, "isError": false}))?;
    Ok(result.into())
}

/// The result of a tool that is a text.
pub(crate) fn text(text: impl Into<String>) -> Result<CallToolResponse, ErrorData> {
    content(json!([{"type": "text", "text": text.into()}]))
}

/// A result that asks for this, and a state that comes back with the answers.
pub(crate) fn input_required(
    requests: Value,
    state: Option<String>,
) -> Result<InputRequiredResult, ErrorData> {
    let mut result = json!({"resultType": "input_required", "inputRequests": requests});
    if let Some(state) = state {
        result["requestState"] = state.into();
    }
    read(result)
}

impl Fixture {
    pub(crate) fn new(versions: Cow<'static, [ProtocolVersion]>) -> Self {
        // Not secret: every instance of the fixture knows the others' states.
        let key = b"the conformance fixture of the mesh has no secrets";
        let mut lists: Value =
            serde_json::from_str(include_str!("lists.json")).expect("lists.json is JSON");
        for tool in lists["tools"].as_array_mut().into_iter().flatten() {
            if tool.get("inputSchema").is_none() {
                tool["inputSchema"] = json!({"type": "object", "properties": {}});
            }
        }
        Self(Arc::new(State {
            versions,
            lists,
            listeners: Mutex::default(),
            next: AtomicU64::new(0),
            codec: RequestStateCodec::new_unchecked(key.as_slice()),
            tasks: TaskManager::new(),
        }))
    }

    pub(crate) fn codec(&self) -> &RequestStateCodec {
        &self.0.codec
    }

    pub(crate) fn tasks(&self) -> &TaskManager {
        &self.0.tasks
    }

    fn list(&self, name: &str) -> Value {
        json!({name: self.0.lists[name], "ttlMs": 60_000, "cacheScope": "public"})
    }

    async fn tell(&self, tools: bool) {
        let listeners: Vec<_> = self.0.listeners.lock().values().cloned().collect();
        for listener in listeners {
            // A listener that has left is no error.
            match tools {
                true => listener.notify_tool_list_changed().await.ok(),
                false => listener.notify_prompt_list_changed().await.ok(),
            };
        }
    }
}

async fn log(context: &RequestContext<RoleServer>, text: &str) -> Result<(), ErrorData> {
    let line: LoggingMessageNotificationParam =
        read(json!({"level": "info", "data": text, "logger": "fixture"}))?;
    // A client that does not listen is no error.
    context.peer.notify_logging_message(line).await.ok();
    Ok(())
}

impl ServerHandler for Fixture {
    fn get_info(&self) -> ServerConfig {
        let info = json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {
                "tools": {"listChanged": true},
                "prompts": {"listChanged": true},
                "resources": {"subscribe": true, "listChanged": true},
                "completions": {},
                "logging": {},
                "extensions": {"io.modelcontextprotocol/tasks": {}},
            },
            "serverInfo": {"name": "mesh-conformance-fixture", "version": "1.0.0"},
            "instructions": "Everything that the conformance suite asks for.",
        });
        serde_json::from_value(info).expect("an InitializeResult")
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        self.0.versions.clone()
    }

    async fn ping(&self, _: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn set_level(
        &self,
        _: SetLevelRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn subscribe(
        &self,
        _: SubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn unsubscribe(
        &self,
        _: UnsubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        Some(requested.supported_by(&self.get_info().capabilities))
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let key = self.0.next.fetch_add(1, Ordering::Relaxed);
        self.0.listeners.lock().insert(key, context.sink().clone());
        context.cancelled().await;
        self.0.listeners.lock().remove(&key);
        Ok(())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        complete(self.list("tools"))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        let tools = self.0.lists["tools"].as_array()?;
        let tool = tools.iter().find(|tool| tool["name"] == name)?;
        serde_json::from_value(tool.clone()).ok()
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        complete(self.list("resources"))
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        complete(self.list("resourceTemplates"))
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        complete(self.list("prompts"))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let uri = request.uri.clone();
        let id = uri
            .strip_prefix("test://template/")
            .and_then(|rest| rest.strip_suffix("/data"));
        let found = match (uri.as_str(), id) {
            (_, Some(id)) => {
                let data =
                    json!({"id": id, "templateTest": true, "data": format!("Data for ID: {id}")});
                json!({"uri": uri, "mimeType": "application/json", "text": data.to_string()})
            }
            ("test://static-text", _) => {
                json!({"uri": uri, "mimeType": "text/plain", "text": "This is the content of the static text resource."})
            }
            ("test://watched-resource", _) => {
                json!({"uri": uri, "mimeType": "text/plain", "text": "watched"})
            }
            ("test://static-binary", _) => {
                json!({"uri": uri, "mimeType": "image/png", "blob": IMAGE})
            }
            _ => {
                let data = json!({"uri": uri});
                return Err(ErrorData::resource_not_found(
                    "Resource not found",
                    Some(data),
                ));
            }
        };
        let result: ReadResourceResult =
            complete(json!({"contents": [found], "ttlMs": 60_000, "cacheScope": "public"}))?;
        Ok(result.into())
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        let given = request.arguments.clone().unwrap_or_default();
        let argument = |name: &str| given.get(name).and_then(Value::as_str).unwrap_or_default();
        let said =
            |text: String| json!({"role": "user", "content": {"type": "text", "text": text}});
        let messages = match request.name.as_str() {
            "test_simple_prompt" => {
                json!([said("This is a simple prompt for testing.".to_owned())])
            }
            "test_prompt_with_arguments" => json!([said(format!(
                "Prompt with arguments: arg1='{}', arg2='{}'",
                argument("arg1"),
                argument("arg2")
            ))]),
            "test_prompt_with_embedded_resource" => json!([
                {"role": "user", "content": {"type": "resource", "resource": {
                    "uri": argument("resourceUri"), "mimeType": "text/plain",
                    "text": "Embedded resource content for testing."}}},
                said("Please process the embedded resource above.".to_owned()),
            ]),
            "test_prompt_with_image" => json!([
                {"role": "user", "content": {"type": "image", "data": IMAGE, "mimeType": "image/png"}},
                said("Please analyze the image above.".to_owned()),
            ]),
            "test_input_required_result_prompt" => {
                match asks::answer(request.input_responses.as_ref(), "user_context") {
                    None => {
                        let asked = asks::form("What context should the prompt use?", "context");
                        return Ok(input_required(json!({"user_context": asked}), None)?.into());
                    }
                    Some(answer) => {
                        let context = answer["content"]["context"].as_str().unwrap_or_default();
                        json!([said(format!("Prompt with context: {context}"))])
                    }
                }
            }
            other => {
                return Err(ErrorData::invalid_params(
                    format!("Unknown prompt: {other}"),
                    None,
                ));
            }
        };
        let result: GetPromptResult = complete(json!({"messages": messages}))?;
        Ok(result.into())
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        let words = ["paris", "park", "party"];
        let begun = request.argument.value.as_str();
        let values: Vec<_> = words
            .into_iter()
            .filter(|word| word.starts_with(begun))
            .collect();
        complete(json!({"completion": {"values": values, "total": values.len(), "hasMore": false}}))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let name = request.name.to_string();
        let arguments: Map<String, Value> = request.arguments.clone().unwrap_or_default();
        let argument = |name: &str| {
            arguments
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        match name.as_str() {
            "test_simple_text" => text("This is a simple text response for testing."),
            "test_image_content" => {
                content(json!([{"type": "image", "data": IMAGE, "mimeType": "image/png"}]))
            }
            "test_audio_content" => {
                content(json!([{"type": "audio", "data": SOUND, "mimeType": "audio/wav"}]))
            }
            "test_embedded_resource" => content(json!([{"type": "resource", "resource": {
                "uri": "test://embedded-resource", "mimeType": "text/plain",
                "text": "This is an embedded resource content."}}])),
            "test_multiple_content_types" => content(json!([
                {"type": "text", "text": "Multiple content types test:"},
                {"type": "image", "data": IMAGE, "mimeType": "image/png"},
                {"type": "resource", "resource": {"uri": "test://mixed-content-resource",
                    "mimeType": "application/json", "text": r#"{"test":"data","value":123}"#}},
            ])),
            "test_error_handling" => {
                let said = json!([{"type": "text", "text": "This tool intentionally returns an error for testing"}]);
                let result: CallToolResult = complete(json!({"content": said, "isError": true}))?;
                Ok(result.into())
            }
            "test_tool_with_logging" => {
                for line in [
                    "Tool execution started",
                    "Tool processing data",
                    "Tool execution completed",
                ] {
                    log(&context, line).await?;
                    sleep(STEP).await;
                }
                text("Tool with logging executed")
            }
            "test_logging_tool" => {
                if context.meta.log_level().is_some() {
                    log(&context, "somebody wants this line").await?;
                }
                text("Logging tool executed")
            }
            "test_tool_with_progress" => {
                let token = context.meta.get_progress_token();
                for progress in [0, 50, 100] {
                    if let Some(token) = &token {
                        let told: ProgressNotificationParam = read(
                            json!({"progressToken": token, "progress": progress, "total": 100}),
                        )?;
                        context.peer.notify_progress(told).await.ok();
                    }
                    sleep(STEP).await;
                }
                text("Tool with progress executed")
            }
            "json_schema_2020_12_tool" => text(format!("Called with {}", Value::Object(arguments))),
            "test_custom_header" => text(format!("The value is {}", argument("value"))),
            "test_reconnection" => {
                sleep(STEP * 2).await;
                text("Reconnection test completed")
            }
            "test_trigger_tool_change" => {
                self.tell(true).await;
                text("The tools changed")
            }
            "test_trigger_prompt_change" => {
                self.tell(false).await;
                text("The prompts changed")
            }
            "greet" => text(format!("Hello, {}!", argument("name"))),
            _ if long::is_long(&name) => long::call(self, request, &context).await,
            _ => asks::call(self, request, &context).await,
        }
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetTaskResult, ErrorData> {
        Ok(GetTaskResult::new(self.0.tasks.get_task(&request.task_id)?))
    }

    async fn update_task(
        &self,
        request: UpdateTaskParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.0
            .tasks
            .update_task(&request.task_id, request.input_responses)
    }

    async fn cancel_task(
        &self,
        request: CancelTaskParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.0.tasks.cancel_task(&request.task_id)
    }
}
