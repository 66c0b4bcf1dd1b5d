//! What a service answers, as a result.

use std::{collections::HashMap, fmt::Display};

use bytes::Bytes;
use prost::Message as _;
use prost_reflect::{DynamicMessage, MessageDescriptor};
use proto::agentplatform::{TaskResponse, ToolResponse};
use serde_json::{Value, json};
use tonic::Status;

use crate::{
    Content, JsonText, MeshTool, ToolResult, ToolTarget,
    json::{Numbers, write},
    result::push_string,
    schema::{MAX_MESSAGES, is_object},
    status::{advice, failure, view},
};

/// What kind of answer a call has.
#[derive(Clone, Debug)]
pub(crate) enum Form {
    /// `TaskResponse`.
    Task,
    /// `ToolResponse`.
    Tool {
        /// Its result has to be an object, by the tool's output schema.
        has_schema: bool,
    },
    /// One message.
    Message(MessageDescriptor),
    /// A stream of messages.
    Stream(MessageDescriptor),
    /// One message that is JSON already.
    Json,
    /// Messages of MCP.
    Mounted,
}

impl Form {
    pub(crate) fn of(tool: &MeshTool) -> Self {
        match &tool.target {
            ToolTarget::Agent | ToolTarget::Worker { .. } => Self::Task,
            ToolTarget::Method(call) => match call.method().is_server_streaming() {
                true => Self::Stream(call.method().output()),
                false => Self::Message(call.method().output()),
            },
            ToolTarget::Mounted { .. } => Self::Mounted,
            ToolTarget::ToolOperation { .. } | ToolTarget::Builtin(_) => Self::Tool {
                has_schema: tool.has_output_schema,
            },
        }
    }

    pub(crate) const fn is_stream(&self) -> bool {
        matches!(self, Self::Stream(_))
    }

    /// The result that a message is.
    pub(crate) fn result(&self, message: Bytes, max_bytes: usize) -> ToolResult {
        match self {
            Self::Task => match TaskResponse::decode(message) {
                Ok(answer) => task_result(answer),
                Err(error) => unreadable("TaskResponse", &error),
            },
            Self::Tool { has_schema } => match ToolResponse::decode(message) {
                Ok(answer) => tool_result(answer, *has_schema),
                Err(error) => unreadable("ToolResponse", &error),
            },
            Self::Json | Self::Mounted => match JsonText::parse(&String::from_utf8_lossy(&message))
            {
                Some(json) => ToolResult::structured(json),
                None => unreadable("JSON", &"it cannot be read"),
            },
            Self::Message(descriptor) | Self::Stream(descriptor) => {
                match DynamicMessage::decode(descriptor.clone(), message) {
                    Ok(message) => message_result(&message, max_bytes),
                    Err(error) => unreadable(descriptor.full_name(), &error),
                }
            }
        }
    }

    /// The result that a message is, which is JSON: the result of a job.
    pub(crate) fn json_result(&self, message: Value) -> ToolResult {
        let text = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
        let success = message["success"].as_bool().unwrap_or(false);
        match self {
            Self::Task => {
                let pairs = message["metadata"].as_object().into_iter().flatten();
                let pairs = pairs
                    .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
                task_result(TaskResponse {
                    task_id: text("task_id"),
                    output: text("output"),
                    success,
                    error: text("error"),
                    metadata: pairs.collect(),
                    session_id: text("session_id"),
                })
            }
            Self::Tool { has_schema } => {
                let answer = ToolResponse {
                    success,
                    result: text("result"),
                    error: text("error"),
                    session_id: text("session_id"),
                };
                tool_result(answer, *has_schema)
            }
            Self::Message(_) | Self::Stream(_) | Self::Json | Self::Mounted => {
                let message = match message.is_object() {
                    true => message,
                    false => json!({ "value": message }),
                };
                ToolResult::structured((&message).into())
            }
        }
    }
}

/// The service itself says that it has failed.
fn refused(error: &str) -> ToolResult {
    let error = match error.trim() {
        "" => "the service reports a failure and does not say why",
        error => error,
    };
    let advice = "Change the arguments if they are the cause, or try again later.";
    let mut result = failure("FAILED", error, advice);
    result.status = Some(json!({"code": "FAILED", "reason": "SUCCESS_FALSE"}));
    result
}

fn task_result(answer: TaskResponse) -> ToolResult {
    if !answer.success {
        return refused(&answer.error);
    }
    let mut json = String::with_capacity(answer.output.len() + 256);
    json.push_str("{\"output\":");
    push_string(&mut json, &answer.output);
    push_metadata(&mut json, &answer.metadata);
    for (name, value) in [
        ("task_id", &answer.task_id),
        ("session_id", &answer.session_id),
    ] {
        if !value.is_empty() {
            json.push_str(",\"");
            json.push_str(name);
            json.push_str("\":");
            push_string(&mut json, value);
        }
    }
    json.push('}');
    ToolResult {
        structured: Some(JsonText::written(json)),
        ..ToolResult::text(answer.output)
    }
}

fn push_metadata(json: &mut String, metadata: &HashMap<String, String>) {
    let mut sorted: Vec<_> = metadata.iter().collect();
    sorted.sort_unstable();
    json.push_str(",\"metadata\":{");
    for (index, (name, value)) in sorted.into_iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        push_string(json, name);
        json.push(':');
        push_string(json, value);
    }
    json.push('}');
}

fn tool_result(answer: ToolResponse, has_schema: bool) -> ToolResult {
    if !answer.success {
        return refused(&answer.error);
    }
    let structured = match answer.result.trim_start().as_bytes().first() {
        Some(b'{') => JsonText::parse(&answer.result),
        // What is structured is an object.
        Some(b'[') => JsonText::parse(&answer.result)
            .map(|list| JsonText::written(format!("{{\"result\":{}}}", list.get()))),
        _ => None,
    };
    if has_schema && structured.is_none() {
        let text = "the tool's result is not the JSON that its output schema says";
        let mut result = failure("INTERNAL", text, "Tell whoever runs it. The result was:");
        if let Content::Text(text) = &mut result.content {
            text.push(' ');
            text.push_str(&answer.result);
        }
        return result;
    }
    ToolResult {
        structured,
        ..ToolResult::text(answer.result)
    }
}

fn message_result(message: &DynamicMessage, max_bytes: usize) -> ToolResult {
    let is_object = is_object(&prost_reflect::ReflectMessage::descriptor(message));
    let mut json = String::with_capacity(256);
    if !is_object {
        json.push_str("{\"value\":");
    }
    let is_whole = write(message, &mut json, max_bytes, Numbers::AsText);
    if !is_object {
        json.push('}');
    }
    match is_whole {
        true => ToolResult::structured(JsonText::written(json)),
        false => {
            let text = format!("the result has more than mcp_max_result = {max_bytes} bytes");
            failure("RESOURCE_EXHAUSTED", &text, "Ask for less.")
        }
    }
}

fn unreadable(name: &str, error: &impl Display) -> ToolResult {
    let text = format!("the answer is no {name}: {error}");
    failure(
        "INTERNAL",
        &text,
        "The service does not keep its own contract: tell whoever runs it.",
    )
}

/// The messages of a stream, until the limits.
#[derive(Debug)]
pub(crate) struct StreamedAnswer<'a> {
    form: &'a Form,
    json: String,
    count: usize,
    max_bytes: usize,
    truncated: bool,
}

impl<'a> StreamedAnswer<'a> {
    pub(crate) fn new(form: &'a Form, max_bytes: usize) -> Self {
        Self {
            form,
            json: "{\"messages\":[".to_owned(),
            count: 0,
            // The end of the object.
            max_bytes: max_bytes.saturating_sub(64),
            truncated: false,
        }
    }

    /// Takes a message, and returns its text.
    pub(crate) fn push(&mut self, message: Bytes) -> Option<String> {
        let (Form::Stream(descriptor) | Form::Message(descriptor)) = self.form else {
            return None;
        };
        let mut text = String::new();
        match DynamicMessage::decode(descriptor.clone(), message) {
            Ok(message) => {
                if !write(&message, &mut text, self.max_bytes, Numbers::AsText) {
                    self.truncated = true;
                    return None;
                }
            }
            Err(_) => {
                // Whoever reads the others still gets them.
                self.truncated = true;
                return None;
            }
        }
        let fits = self.json.len() + text.len() < self.max_bytes && self.count < MAX_MESSAGES;
        if !fits || self.truncated {
            self.truncated = true;
            return Some(text);
        }
        if self.count > 0 {
            self.json.push(',');
        }
        self.json.push_str(&text);
        self.count += 1;
        Some(text)
    }

    /// Whether there is more than it holds.
    pub(crate) const fn is_full(&self) -> bool {
        self.truncated
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn finish(mut self) -> ToolResult {
        let end = match self.truncated {
            true => "],\"truncated\":true}",
            false => "],\"truncated\":false}",
        };
        self.json.push_str(end);
        ToolResult::structured(JsonText::written(self.json))
    }

    /// The messages before a failure, and the failure.
    pub(crate) fn broken(mut self, status: &Status) -> ToolResult {
        let count = self.count;
        self.truncated = true;
        let told = telemetry::rpc::code_name(status.code().into());
        let text = format!("{} (after {count} messages)", status.message());
        let mut result = failure(told, &text, advice(status.code()));
        result.status = Some(view(status));
        result.structured = self.finish().structured;
        result
    }
}
