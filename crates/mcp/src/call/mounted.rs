//! Calls of mounted servers, as a client of 2026-07-28 without capabilities: the mount crosses eras. What
//! the server answers is passed on as it is.

use bytes::Bytes;
use dynamic::ByteStream;
use prost::Message as _;
use proto::mesh::v1::McpMessage;
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};
use tonic::Status;

use super::Ticker;
use crate::{
    CallContext, CallError, Content, JsonText, Progress, ProgressSink, ToolResult,
    rpc::{self, Message, code},
    status::failure,
};

/// The method that takes one request of a modern client.
pub(crate) const METHOD: &str = "mesh.v1.McpService/Call";
/// The revision that the mount is asked in.
const REVISION: &str = "2026-07-28";
/// The only request on its stream.
const ID: u8 = 1;

/// `tools/call` of the tool that its server calls `name`.
pub(super) fn message(
    name: &str,
    arguments: &Map<String, Value>,
    context: &CallContext,
    wants_progress: bool,
) -> Bytes {
    let mut meta = json!({
        "io.modelcontextprotocol/protocolVersion": REVISION,
        "io.modelcontextprotocol/clientInfo":
            {"name": "mesh-gateway", "version": env!("CARGO_PKG_VERSION")},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    if wants_progress {
        meta["progressToken"] = json!(ID);
    }
    for name in ["traceparent", "tracestate"] {
        let value = context
            .metadata
            .get(name)
            .and_then(|value| value.to_str().ok());
        if let Some(value) = value {
            meta[name] = json!(value);
        }
    }
    let request = json!({"jsonrpc": "2.0", "id": ID, "method": "tools/call",
        "params": {"name": name, "arguments": arguments, "_meta": meta}});
    let message = McpMessage {
        message: request.to_string().into(),
        related_request: Vec::new(),
    };
    message.encode_to_vec().into()
}

/// Reads the messages of a call until its answer.
///
/// # Errors
/// The status that the call ended with, or the error that the server answered with.
pub(super) async fn answer(
    stream: &mut ByteStream,
    ticker: &mut Ticker,
    progress: &mut impl ProgressSink,
) -> Result<Result<ToolResult, CallError>, Status> {
    loop {
        let Some(bytes) = ticker.during(stream.next(), progress).await? else {
            return Err(Status::unavailable(
                "the mounted server has gone without an answer",
            ));
        };
        let Ok(message) = McpMessage::decode(bytes) else {
            return Err(Status::internal("the mount's message cannot be read"));
        };
        match rpc::parse_one(&message.message) {
            Ok(Message::Response(response)) => {
                return Ok(match response.outcome {
                    Ok(result) => Ok(read(result)),
                    Err(error) => Err(refused(error)),
                });
            }
            Ok(Message::Notification(note)) if note.method == "notifications/progress" => {
                if let Some(told) = note.params.and_then(told).filter(|_| progress.is_wanted()) {
                    ticker.pass(progress, told).await;
                }
            }
            // Of logs and the like this caller has not asked for any.
            Ok(Message::Notification(_) | Message::Request(_)) | Err(_) => {}
        }
    }
}

/// The parameters of `notifications/progress`.
#[derive(Deserialize)]
struct Told {
    progress: f64,
    #[serde(default)]
    total: Option<f64>,
    #[serde(default)]
    message: Option<String>,
}

fn told(params: &RawValue) -> Option<Progress> {
    let told: Told = serde_json::from_str(params.get()).ok()?;
    Some(Progress {
        progress: told.progress,
        total: told.total,
        message: told.message,
    })
}

/// The result of `tools/call`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    structured_content: Option<&'a RawValue>,
    #[serde(default)]
    is_error: bool,
    #[serde(default)]
    result_type: Option<String>,
    #[serde(default, rename = "_meta")]
    meta: Map<String, Value>,
}

fn read(result: &RawValue) -> ToolResult {
    let read = serde_json::from_str::<Answer<'_>>(result.get());
    // A list would be taken for the members in their order.
    let Some(answer) = read.ok().filter(|_| result.get().starts_with('{')) else {
        let text = "the mounted server's result is none of a tool";
        return failure("INTERNAL", text, "Tell whoever runs it.");
    };
    match answer.result_type.as_deref() {
        None | Some("complete") => {}
        Some("input_required") => {
            let text = "the tool asks its user for something, and this way of calling it cannot";
            let advice = "Call it by its own name, with a client that answers such questions.";
            return failure("FAILED_PRECONDITION", text, advice);
        }
        Some(other) => {
            let text =
                format!("the mounted server answers with {other:?}, which was not asked for");
            return failure("INTERNAL", &text, "Tell whoever runs it.");
        }
    }
    let text = |raw: &RawValue| JsonText::parse(raw.get());
    let none = || JsonText::written("[]".to_owned());
    ToolResult {
        content: Content::Blocks(answer.content.and_then(text).unwrap_or_else(none)),
        structured: answer.structured_content.and_then(text),
        is_error: answer.is_error,
        meta: answer.meta,
        ..ToolResult::text("")
    }
}

/// An error as the server gave it.
#[derive(Deserialize)]
struct Refusal {
    code: i32,
    #[serde(default)]
    message: String,
    #[serde(default)]
    data: Option<Value>,
}

fn refused(error: &RawValue) -> CallError {
    let refusal: Refusal = serde_json::from_str(error.get()).unwrap_or(Refusal {
        code: code::INTERNAL_ERROR,
        message: "the mounted server's error cannot be read".to_owned(),
        data: None,
    });
    CallError {
        code: refusal.code,
        message: refusal.message,
        data: refusal.data,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(value: &Value) -> Box<RawValue> {
        RawValue::from_string(value.to_string()).unwrap()
    }

    #[test]
    fn what_a_server_answers_is_passed_on_as_it_is() {
        let content = json!([{"type": "image", "data": "AA==", "mimeType": "image/png"}]);
        let given = json!({"content": content, "structuredContent": {"a": [1]}, "resultType": "complete",
            "_meta": {"x/y": 1}});
        let result: Value = serde_json::from_str(&read(&raw(&given)).to_json(true)).unwrap();
        for name in ["content", "structuredContent", "resultType", "_meta"] {
            assert_eq!(result[name], given[name], "{name}");
        }
        assert_eq!(result["isError"], false);
        let empty: Value = serde_json::from_str(&read(&raw(&json!({}))).to_json(false)).unwrap();
        assert_eq!(empty["content"], json!([]));
        for other in [
            json!({"resultType": "input_required"}),
            json!({"resultType": "task"}),
            json!([]),
        ] {
            assert!(read(&raw(&other)).is_error);
        }
        let error = refused(&raw(
            &json!({"code": -32602, "message": "no tool", "data": 1}),
        ));
        assert_eq!((error.code, error.data), (-32602, Some(json!(1))));
        assert_eq!(refused(&raw(&json!("x"))).code, code::INTERNAL_ERROR);
    }
}
