//! The tools.

use std::{sync::OnceLock, time::Duration};

use rmcp::{
    ErrorData, RoleServer,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, LoggingLevel,
        LoggingMessageNotificationParam, ProgressNotificationParam, Tool,
    },
    service::RequestContext,
};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    Fixture,
    asking::{answer, ask, form, lacks, sampling},
    content::{PNG, WAV},
    of, tasks,
};

/// Between two things that a tool tells.
const STEP: Duration = Duration::from_millis(50);

pub(crate) fn text(text: &str) -> CallToolResponse {
    complete(&json!([{"type": "text", "text": text}]))
}

pub(crate) fn failure(text: &str) -> CallToolResult {
    of(
        json!({"content": [{"type": "text", "text": text}], "isError": true, "resultType": "complete"}),
    )
}

fn complete(content: &Value) -> CallToolResponse {
    let result: CallToolResult = of(json!({ "content": content, "resultType": "complete" }));
    result.into()
}

static TOOLS: OnceLock<Vec<Tool>> = OnceLock::new();

/// All tools.
pub(crate) fn list() -> Vec<Tool> {
    TOOLS.get_or_init(all).clone()
}

/// Lists others, written as JSON, in their place.
pub(crate) fn instead(tools: &str) -> anyhow::Result<()> {
    // Nobody has asked yet.
    TOOLS.set(serde_json::from_str(tools)?).ok();
    Ok(())
}

/// Those of the suite; most have no parameters, and are made by their names alone.
fn all() -> Vec<Tool> {
    const PLAIN: [&str; 18] = [
        "test_simple_text",
        "test_image_content",
        "test_audio_content",
        "test_embedded_resource",
        "test_multiple_content_types",
        "test_tool_with_logging",
        "test_error_handling",
        "test_tool_with_progress",
        "test_elicitation_sep1034_defaults",
        "test_elicitation_sep1330_enums",
        "test_reconnection",
        "test_trigger_tool_change",
        "test_trigger_prompt_change",
        "test_missing_capability",
        "test_streaming_elicitation",
        "test_logging_tool",
        "protocol_error_job",
        "failing_job",
    ];
    const ASKING: [&str; 8] = [
        "elicitation",
        "sampling",
        "list_roots",
        "request_state",
        "tampered_state",
        "multiple_inputs",
        "multi_round",
        "capabilities",
    ];
    let property =
        |name: &str, kind: &str| json!({"type": "object", "properties": { name: {"type": kind} }});
    let required = |name: &str| {
        let mut schema = property(name, "string");
        schema["required"] = json!([name]);
        schema
    };
    let asking = ASKING.map(|name| format!("test_input_required_result_{name}"));
    let plain = PLAIN.iter().map(ToString::to_string).chain(asking);
    let plain = plain.chain(["multi_input", "test_tool_with_task"].map(str::to_owned));
    let none = || json!({"type": "object", "properties": {}});
    let header = json!({"type": "object", "required": ["value"],
        "properties": {"value": {"type": "string", "x-mcp-header": "Value"}}});
    let seconds = json!({"type": "object",
        "properties": {"seconds": {"type": "number"}, "label": {"type": "string"}}});
    let others = [
        ("test_sampling", required("prompt")),
        ("test_elicitation", required("message")),
        ("test_custom_header", header),
        ("json_schema_2020_12_tool", rich_schema()),
        ("greet", required("name")),
        ("slow_compute", seconds),
        ("confirm_delete", property("filename", "string")),
    ];
    let others = others.map(|(name, schema)| (name.to_owned(), schema));
    let tool = |(name, schema): (String, Value)| {
        let about = format!("The suite's {name}");
        of(json!({"name": name, "description": about, "inputSchema": schema}))
    };
    plain
        .map(|name| (name, none()))
        .chain(others)
        .map(tool)
        .collect()
}

/// Every keyword that a server or a client may lose on the way.
fn rich_schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {"address": {"$anchor": "addressDef", "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}}}},
        "properties": {
            "name": {"type": "string"},
            "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
            "phone": {"type": "string"},
            "email": {"type": "string"},
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": false,
    })
}

impl Fixture {
    pub(crate) async fn call(
        &self,
        request: &CallToolRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let name = request.name.as_ref();
        if name.starts_with("test_input_required_result_") {
            return self.ask_or_answer(request, context);
        }
        if tasks::NAMES.contains(&name) {
            return self.call_task(request, context).await;
        }
        let arguments = Value::Object(request.arguments.clone().unwrap_or_default());
        let argument = |name: &str| arguments[name].as_str().unwrap_or_default().to_owned();
        let image = json!({"type": "image", "data": PNG, "mimeType": "image/png"});
        match name {
            "test_simple_text" => Ok(text("This is a simple text response for testing.")),
            "test_image_content" => Ok(complete(&json!([image]))),
            "test_audio_content" => Ok(complete(
                &json!([{"type": "audio", "data": WAV, "mimeType": "audio/wav"}]),
            )),
            "test_embedded_resource" => {
                let resource = json!({"uri": "test://embedded-resource", "mimeType": "text/plain",
                    "text": "This is an embedded resource content."});
                Ok(complete(
                    &json!([{"type": "resource", "resource": resource}]),
                ))
            }
            "test_multiple_content_types" => {
                let resource = json!({"uri": "test://mixed-content-resource",
                    "mimeType": "application/json", "text": r#"{"test":"data","value":123}"#});
                let first = json!({"type": "text", "text": "Multiple content types test:"});
                Ok(complete(
                    &json!([first, image, {"type": "resource", "resource": resource}]),
                ))
            }
            "test_error_handling" => {
                Ok(failure("This tool intentionally returns an error for testing").into())
            }
            "test_tool_with_logging" => {
                for told in [
                    "Tool execution started",
                    "Tool processing data",
                    "Tool execution completed",
                ] {
                    log(context, LoggingLevel::Info, told).await;
                    sleep(STEP).await;
                }
                Ok(text("All is told"))
            }
            "test_logging_tool" => {
                if let Some(level) = context.meta.log_level() {
                    log(context, level, "a level was asked for").await;
                }
                Ok(text("All is told"))
            }
            "test_tool_with_progress" => {
                for done in [0.0, 50.0, 100.0] {
                    if let Some(token) = context.meta.get_progress_token() {
                        let progress =
                            ProgressNotificationParam::new(token, done).with_total(100.0);
                        // A client that has gone hears nothing.
                        context.peer.notify_progress(progress).await.ok();
                    }
                    sleep(STEP).await;
                }
                Ok(text("All is done"))
            }
            "test_reconnection" => {
                sleep(STEP * 2).await;
                Ok(text("Reconnection test completed successfully"))
            }
            "test_custom_header" => Ok(text(&argument("value"))),
            "test_sampling" => Ok(sample(request, &argument("prompt"))),
            "test_elicitation" => {
                let field = |about: &str| json!({"type": "string", "description": about});
                let schema = json!({"type": "object", "required": ["username", "email"], "properties":
                    {"username": field("User's response"), "email": field("User's email address")}});
                Ok(elicit(
                    request,
                    &argument("message"),
                    &schema,
                    "User response",
                ))
            }
            "test_elicitation_sep1034_defaults" => {
                let told = "Elicitation completed";
                Ok(elicit(
                    request,
                    "Check what is filled in",
                    &defaults(),
                    told,
                ))
            }
            "test_elicitation_sep1330_enums" => {
                let told = "Elicitation completed";
                Ok(elicit(request, "Choose", &choices(), told))
            }
            "test_missing_capability" => {
                let can = context.meta.client_capabilities().unwrap_or_default();
                match can.sampling {
                    Some(_) => Ok(text("the client can sample")),
                    None => Err(lacks(json!({ "sampling": {} }))),
                }
            }
            "test_streaming_elicitation" => {
                let value = form("Give a value", "value", "string");
                Ok(ask(json!({ "value": value }), None).into())
            }
            "test_trigger_tool_change" | "test_trigger_prompt_change" => {
                let listeners: Vec<_> = self.listeners.lock().values().cloned().collect();
                for listener in listeners {
                    // Who has not asked for it, or is gone, is not told.
                    if name == "test_trigger_tool_change" {
                        listener.notify_tool_list_changed().await.ok();
                    } else {
                        listener.notify_prompt_list_changed().await.ok();
                    }
                }
                Ok(text("it is told"))
            }
            other => Err(ErrorData::invalid_params(
                format!("no tool is called {other}"),
                None,
            )),
        }
    }
}

async fn log(context: &RequestContext<RoleServer>, level: LoggingLevel, told: &str) {
    let message = LoggingMessageNotificationParam::new(level, json!(told));
    let sent = context.peer.notify_logging_message(message).await;
    // A client that has gone hears nothing.
    sent.ok();
}

fn sample(request: &CallToolRequestParams, prompt: &str) -> CallToolResponse {
    match answer(request.input_responses.as_ref(), "answer") {
        Some(answer) => {
            let said = answer["content"]["text"].as_str().unwrap_or_default();
            text(&format!("LLM response: {said}"))
        }
        None => ask(json!({ "answer": sampling(prompt, 100) }), None).into(),
    }
}

fn elicit(
    request: &CallToolRequestParams,
    message: &str,
    schema: &Value,
    told: &str,
) -> CallToolResponse {
    let params = json!({"mode": "form", "message": message, "requestedSchema": schema});
    let form = json!({"method": "elicitation/create", "params": params});
    match answer(request.input_responses.as_ref(), "answer") {
        Some(answer) => {
            let action = answer["action"].as_str().unwrap_or_default();
            let content = &answer["content"];
            text(&format!("{told}: action={action}, content={content}"))
        }
        None => ask(json!({ "answer": form }), None).into(),
    }
}

fn defaults() -> Value {
    json!({"type": "object", "required": [], "properties": {
        "name": {"type": "string", "description": "User name", "default": "John Doe"},
        "age": {"type": "integer", "description": "User age", "default": 30},
        "score": {"type": "number", "description": "User score", "default": 95.5},
        "status": {"type": "string", "description": "User status",
            "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "description": "Verification status", "default": true},
    }})
}

fn choices() -> Value {
    let titled = |titles: [&str; 3]| {
        let named = ["value1", "value2", "value3"].iter().zip(titles);
        let named = named.map(|(value, title)| json!({"const": value, "title": title}));
        Value::Array(named.collect())
    };
    let options = json!(["option1", "option2", "option3"]);
    json!({"type": "object", "required": [], "properties": {
        "untitledSingle": {"type": "string", "enum": options},
        "titledSingle": {"type": "string", "oneOf": titled(["First Option", "Second Option", "Third Option"])},
        "legacyEnum": {"type": "string", "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"]},
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
        "titledMulti": {"type": "array",
            "items": {"anyOf": titled(["First Choice", "Second Choice", "Third Choice"])}},
    }})
}
