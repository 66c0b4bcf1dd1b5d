//! gRPC statuses as results that a model understands: the code, what the service says, and what to do.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use dynamic::INSTANCE;
use prost::Message as _;
use proto::error_info::{self, ErrorInfo, Reason};
use serde_json::{Map, Value, json};
use telemetry::rpc::code_name;
use tonic::{Code, Status};

use crate::{CallError, ToolResult};

/// Bytes of a message that are told.
const MAX_MESSAGE: usize = 8 << 10;
/// Bytes of one detail of an unknown type that are told.
const MAX_DETAIL: usize = 4 << 10;
/// Details that are told.
const MAX_DETAILS: usize = 20;

/// `google.rpc.Status`: what `grpc-status-details-bin` carries.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(message, repeated, tag = "3")]
    details: Vec<Detail>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, prost::Message)]
struct Detail {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.BadRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct BadRequest {
    #[prost(message, repeated, tag = "1")]
    violations: Vec<Violation>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Violation {
    #[prost(string, tag = "1")]
    field: String,
    #[prost(string, tag = "2")]
    description: String,
}

/// What a failed call means: a result, or an error of the protocol where the tool is gone.
pub(crate) fn failed(status: &Status, tool: &str) -> Result<ToolResult, CallError> {
    let reason = error_info::reason(status);
    let is_gone = match status.code() {
        Code::Unimplemented => true,
        Code::NotFound => reason == Some(Reason::NoSuchService),
        _ => false,
    };
    if is_gone {
        let text = format!("there is no tool {tool:?} any more: list the tools again");
        return Err(CallError {
            data: Some(json!({"mesh.v1/status": view(status)})),
            ..CallError::invalid_params(text)
        });
    }
    let code = code_name(status.code().into());
    let message = cut(status.message().trim(), MAX_MESSAGE);
    let mut result = failure(code, message, advice(status.code()));
    result.status = Some(view(status));
    let instance = status.metadata().get(INSTANCE);
    result.instance = instance.and_then(|id| id.to_str().ok()).map(Into::into);
    Ok(result)
}

/// A failure in words.
pub(crate) fn failure(code: &str, message: &str, advice: &str) -> ToolResult {
    let message = message.trim_end_matches('.');
    let text = match message.is_empty() {
        true => format!("{code}: {advice}"),
        false => format!("{code}: {message}. {advice}"),
    };
    let mut result = ToolResult::error(text);
    result.status = Some(json!({"code": code}));
    result
}

/// What is said in place of a result that has more bytes than it may have.
pub(crate) fn too_large(result: &ToolResult, max_bytes: usize) -> Option<ToolResult> {
    let size = result.size();
    (size > max_bytes).then(|| {
        let text = format!("the result has {size} bytes, more than mcp_max_result = {max_bytes}");
        failure("RESOURCE_EXHAUSTED", &text, "Ask for less.")
    })
}

/// Arguments that do not fit.
pub(crate) fn invalid_arguments(error: &crate::validate::ArgumentError) -> ToolResult {
    let advice = "Change the arguments as the tool's schema says, and call it again.";
    let mut result = failure("INVALID_ARGUMENT", &error.to_string(), advice);
    result.status = Some(
        json!({"code": "INVALID_ARGUMENT", "reason": "INVALID_ARGUMENTS",
        "details": {"problems": error.problems()}}),
    );
    result
}

/// What to do about a failure.
pub(crate) const fn advice(code: Code) -> &'static str {
    match code {
        Code::InvalidArgument | Code::OutOfRange => {
            "Change the arguments as the tool's description says, and call it again."
        }
        Code::NotFound => "Check the names and ids in the arguments.",
        Code::AlreadyExists => "It is there already: use it, or choose another name.",
        Code::PermissionDenied => "This is not allowed: ask whoever runs the service.",
        Code::Unauthenticated => "The service wants credentials: ask whoever runs it.",
        Code::ResourceExhausted => "A limit is reached: ask for less, or try again later.",
        Code::FailedPrecondition => "Something has to be done first: see the message.",
        Code::Aborted => "It came into conflict with something else: try again.",
        Code::Unavailable => "The service does not answer now: try again in a moment.",
        Code::DeadlineExceeded => {
            "It takes longer than it may: ask for less, or give more time with mesh.v1/timeoutMs."
        }
        Code::Cancelled => "It was cancelled: call it again if it is still wanted.",
        Code::Unimplemented => "The service has no such method: list the tools again.",
        Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => {
            "The service has failed: try again, and tell whoever runs it if that does not help."
        }
    }
}

/// `mesh.v1/status`: the code, the reason where one is given, and the details.
pub(crate) fn view(status: &Status) -> Value {
    let mut view = json!({"code": code_name(status.code().into())});
    let details = RpcStatus::decode(status.details())
        .unwrap_or_default()
        .details;
    let mut shown = Vec::new();
    for detail in details.iter().take(MAX_DETAILS) {
        let name = detail.type_url.rsplit('/').next().unwrap_or_default();
        let known = match name {
            "google.rpc.ErrorInfo" => ErrorInfo::decode(detail.value.as_slice()).ok().map(|info| {
                if view.get("reason").is_none() {
                    view["reason"] = json!(info.reason);
                }
                let facts: Map<String, Value> = info
                    .metadata
                    .into_iter()
                    .map(|(name, value)| (name, value.into()))
                    .collect();
                json!({"@type": detail.type_url, "reason": info.reason, "domain": info.domain,
                    "metadata": facts})
            }),
            "google.rpc.BadRequest" => {
                BadRequest::decode(detail.value.as_slice()).ok().map(|bad| {
                    let violations = bad.violations.iter().take(MAX_DETAILS);
                    let violations: Vec<Value> = violations
                        .map(|it| json!({"field": it.field, "description": it.description}))
                        .collect();
                    json!({"@type": detail.type_url, "field_violations": violations})
                })
            }
            _ => None,
        };
        let fits = detail.value.len() <= MAX_DETAIL;
        let bytes = || fits.then(|| json!(BASE64_STANDARD.encode(&detail.value)));
        shown.push(known.unwrap_or_else(|| json!({"@type": detail.type_url, "value": bytes()})));
    }
    if !shown.is_empty() {
        view["details"] = Value::Array(shown);
    }
    view
}

/// At most so many bytes of a text.
pub(crate) fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_what_happened_and_what_to_do() {
        let facts = [("service", "agent-echo".to_owned())];
        let status = error_info::status(
            Code::Unavailable,
            Reason::NoHealthyInstance,
            "no instance of agent-echo is healthy",
            facts,
        );
        let result = failed(&status, "echo-agent").unwrap();
        assert!(result.is_error);
        let json: Value = serde_json::from_str(&result.to_json(false)).unwrap();
        let text = json["content"][0]["text"].as_str().unwrap();
        assert!(
            text.starts_with("UNAVAILABLE: no instance of agent-echo is healthy. "),
            "{text}"
        );
        let status = &json["_meta"]["mesh.v1/status"];
        assert_eq!(
            (&status["code"], &status["reason"]),
            (&json!("UNAVAILABLE"), &json!("NO_HEALTHY_INSTANCE"))
        );
        assert_eq!(status["details"][0]["metadata"]["service"], "agent-echo");
    }

    #[test]
    fn a_tool_that_is_gone_is_an_error_of_the_protocol() {
        let gone = error_info::status(Code::NotFound, Reason::NoSuchService, "no service", []);
        for status in [Status::unimplemented("x"), gone] {
            assert_eq!(failed(&status, "a").unwrap_err().code, -32602);
        }
        assert!(failed(&Status::not_found("no city"), "a").is_ok());
    }
}
