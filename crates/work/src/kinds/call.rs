//! The kind `call`: a method of a service of the mesh.

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use dynamic::{DynamicCall, DynamicClient};
use http::{HeaderName, HeaderValue};
use jobs::Failure;
use prost_reflect::DynamicMessage;
use proto::error_info::{self, Reason};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use telemetry::{TraceContext, rpc::code_name};
use tonic::{Code, Status};

use crate::{Attempt, Description, FieldError, JobKind};

/// Metadata that the transport sets.
const TRANSPORT_METADATA: [&str; 7] = [
    "content-type",
    "te",
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "user-agent",
];

/// Metadata that the runner sets: for whom the call is made, and for which job.
const RUNNER_METADATA: [&str; 2] = ["x-mesh-caller", "x-mesh-job"];

/// Facts about models in the metadata of agents' answers.
const MODEL_FACTS: [&str; 9] = [
    "tokens_used",
    "prompt_tokens",
    "completion_tokens",
    "cache_hit",
    "cache_hits",
    "llm_model",
    "llm_calls",
    "tool_calls",
    "mode",
];

/// A call to be made. Its message is JSON, which the service's reflection translates, or encoded
/// bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// Consul name or public id of the service, such as `agent-echo`.
    pub service: String,
    /// `pkg.Service/Method`.
    pub method: String,
    /// The message as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Map<String, Value>>,
    /// The encoded message, in base64; instead of `payload`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_base64: Option<String>,
    /// Metadata that goes along, as text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

impl Call {
    /// A call with a JSON message.
    #[must_use]
    pub fn json(service: &str, method: &str, payload: Map<String, Value>) -> Self {
        Self {
            service: service.to_owned(),
            method: method.to_owned(),
            payload: Some(payload),
            bytes_base64: None,
            metadata: BTreeMap::new(),
        }
    }

    /// The encoded message, where it was given as one.
    #[must_use]
    pub fn bytes(&self) -> Option<Vec<u8>> {
        BASE64_STANDARD.decode(self.bytes_base64.as_ref()?).ok()
    }

    /// An answer in bytes as JSON; null if the service does not describe itself.
    async fn decode(&self, client: &DynamicClient, message: &[u8]) -> Value {
        let Ok(method) = client.method(&self.service, &self.method).await else {
            return Value::Null;
        };
        let message = DynamicMessage::decode(method.output(), message).ok();
        message
            .map(|message| dynamic::to_json(&message))
            .unwrap_or_default()
    }
}

impl JobKind for Call {
    const NAME: &'static str = "call";
    const DESCRIPTION: Description = Description {
        does: "calls a method of a service of the mesh",
        payload: "the message as JSON; encoded bytes go into `bytes_base64` instead",
        result: "the answer",
        retried: "`UNAVAILABLE`, `DEADLINE_EXCEEDED`, `RESOURCE_EXHAUSTED`, `ABORTED`, `CANCELLED`, \
                  `UNKNOWN`, `INTERNAL`; `NOT_FOUND` of a service that the mesh does not know; \
                  `success: false`",
        dead: "every other status",
        example: r#"{"kind": "call", "service": "agent-echo", "method": "agentplatform.AgentService/ExecuteTask", "payload": {"input": "hello"}, "idempotency_key": "order-17"}"#,
    };

    fn check(&self) -> Result<(), FieldError> {
        let name = |part: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
            !part.is_empty() && part.chars().all(plain)
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if self.service.is_empty() || self.service.len() > 128 || !self.service.chars().all(plain) {
            let reason = format!("{:?} names no service, as agent-echo does", self.service);
            return Err(FieldError::new("service", reason));
        }
        let parts = self.method.split_once('/');
        if !parts.is_some_and(|(service, method)| name(service) && name(method)) {
            let reason = format!("{:?} is not pkg.Service/Method", self.method);
            return Err(FieldError::new("method", reason));
        }
        match (&self.payload, &self.bytes_base64) {
            (None, None) => {
                let reason = "missing: give the message as JSON, or in bytes_base64";
                return Err(FieldError::new("payload", reason));
            }
            (Some(_), Some(_)) => {
                return Err(FieldError::new(
                    "bytes_base64",
                    "give it or payload, not both",
                ));
            }
            (None, Some(_)) if self.bytes().is_none() => {
                return Err(FieldError::new("bytes_base64", "is no base64"));
            }
            (Some(_), None) | (None, Some(_)) => {}
        }
        for (name, value) in &self.metadata {
            check_metadata(name, value)
                .map_err(|reason| FieldError::new(format!("metadata.{name}"), reason))?;
        }
        Ok(())
    }

    async fn run(&self, attempt: &Attempt<'_>) -> Result<Value, Failure> {
        let client = &attempt.runtime.calls;
        let to = DynamicCall {
            service: self.service.clone(),
            method: self.method.clone(),
            timeout: Some(attempt.time_left()),
            metadata: metadata(self, attempt),
        };
        let failed = |status: Status| failure(&status);
        // The result is in the form that the message had. `message` is JSON in either case.
        let (result, message, instance) = match self.bytes() {
            Some(bytes) => {
                let answer = client.call_bytes(&to, bytes.into()).await.map_err(failed)?;
                let message = self.decode(client, &answer.message).await;
                let result = json!({ "bytes_base64": BASE64_STANDARD.encode(&answer.message) });
                (result, message, answer.instance)
            }
            None => {
                let message = Value::Object(self.payload.clone().unwrap_or_default());
                let answer = client.call(&to, message).await.map_err(failed)?;
                (answer.message.clone(), answer.message, answer.instance)
            }
        };
        attempt.facts.set("instance", instance);
        for name in MODEL_FACTS {
            if let Some(value) = message["metadata"].get(name) {
                attempt.facts.set(name, typed(value));
            }
        }
        // What the service itself says of the task.
        if message["success"] == false {
            let error = message["error"].as_str().filter(|error| !error.is_empty());
            let error = error.unwrap_or("the service reports a failure and does not say why");
            return Err(Failure::retryable(error));
        }
        Ok(result)
    }
}

fn check_metadata(name: &str, value: &str) -> Result<(), &'static str> {
    let parsed = HeaderName::try_from(name).map_err(|_| "is no name of metadata")?;
    if parsed.as_str() != name || name.ends_with("-bin") {
        return Err("metadata is lower case and text here");
    }
    if name.starts_with("grpc-") || TRANSPORT_METADATA.contains(&name) {
        return Err("the call sets this itself");
    }
    match HeaderValue::try_from(value) {
        Ok(value) if value.to_str().is_ok() => Ok(()),
        _ => Err("give printable ASCII"),
    }
}

/// The submitter's metadata without what the runner sets.
fn without_reserved(metadata: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut metadata = metadata.clone();
    metadata.retain(|name, _| {
        let reserved = |reserved: &&str| name.eq_ignore_ascii_case(reserved);
        !RUNNER_METADATA.iter().any(reserved)
    });
    metadata
}

fn metadata(call: &Call, attempt: &Attempt<'_>) -> BTreeMap<String, String> {
    let (job, mut metadata) = (attempt.job, without_reserved(&call.metadata));
    metadata.extend(job.header.trace.clone());
    TraceContext::carry_current(&mut metadata);
    metadata.insert(RUNNER_METADATA[1].to_owned(), job.id.to_string());
    metadata.insert("idempotency-key".to_owned(), attempt.idempotency_key());
    if let Some(caller) = &job.header.caller
        && caller
            .bytes()
            .all(|byte| byte.is_ascii_graphic() || byte == b' ')
    {
        metadata.insert(RUNNER_METADATA[0].to_owned(), caller.clone());
    }
    metadata
}

/// A value of metadata, which is text, as the number or boolean that it is.
fn typed(value: &Value) -> Value {
    let text = value.as_str().unwrap_or_default();
    match serde_json::from_str(text) {
        Ok(value @ (Value::Number(_) | Value::Bool(_))) => value,
        _ => value.clone(),
    }
}

/// Whether the mesh does not know the service. A service that is deployed anew may be missing for a
/// moment, and a job can wait. What a service itself does not find, it would not find later.
fn is_missing(status: &Status) -> bool {
    error_info::reason(status) == Some(Reason::NoSuchService)
}

/// Whether a message or a head is larger than a hop takes.
fn is_too_large(status: &Status) -> bool {
    let info = error_info::read(status).filter(|info| info.domain == error_info::DOMAIN);
    info.is_some_and(|info| {
        let key = info.metadata.get("key").map(String::as_str);
        info.reason == Reason::MessageTooLarge.as_str() || key == Some("max_header_bytes")
    })
}

/// The failure of a status: retryable if the next attempt may end otherwise.
fn failure(status: &Status) -> Failure {
    let code = status.code();
    let error = format!("{}: {}", code_name(code.into()), status.message());
    // The service may name the time, such as an agent whose model is rate limited.
    if let (Code::Aborted, Some(after)) = (code, error_info::retry_after(status)) {
        return Failure::retry_after(error, after);
    }
    match code {
        Code::NotFound if is_missing(status) => Failure::retryable(error),
        // It would be as large the next time, and the method may have run.
        Code::ResourceExhausted if is_too_large(status) => Failure::permanent(error),
        Code::Unavailable
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Cancelled
        | Code::Unknown
        | Code::Internal => Failure::retryable(error),
        Code::Ok
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::DataLoss
        | Code::Unauthenticated => Failure::permanent(error),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_may_pass_is_tried_again_and_what_stays_is_not() {
        let passing = failure(&Status::unavailable("gone"));
        assert_eq!(passing, Failure::retryable("UNAVAILABLE: gone"));
        let passing = failure(&Status::deadline_exceeded("late"));
        assert_eq!(passing, Failure::retryable("DEADLINE_EXCEEDED: late"));
        let missing = error_info::status(Code::NotFound, Reason::NoSuchService, "no service a", []);
        assert_eq!(
            failure(&missing),
            Failure::retryable("NOT_FOUND: no service a")
        );
        let fact = [(error_info::RETRY_AFTER, "7000".to_owned())];
        let quiet = error_info::status(Code::Aborted, Reason::ModelAway, "quiet", fact);
        let after = Duration::from_secs(7);
        assert_eq!(
            failure(&quiet),
            Failure::retry_after("ABORTED: quiet", after)
        );
        let large = |code| error_info::status(code, Reason::MessageTooLarge, "x", []);
        for status in [
            large(Code::ResourceExhausted),
            error_info::status(
                Code::ResourceExhausted,
                Reason::Limit,
                "x",
                [("key", "max_header_bytes".to_owned())],
            ),
            // What tonic says of an answer over max_message_bytes.
            Status::out_of_range("x"),
            Status::invalid_argument("x"),
            Status::not_found("x"),
            Status::unimplemented("x"),
        ] {
            assert!(
                matches!(failure(&status), Failure::Permanent(_)),
                "{status}"
            );
        }
    }

    #[test]
    fn who_calls_for_which_job_is_not_for_the_submitter_to_say() {
        let pairs = [
            ("X-Mesh-Caller", "root"),
            ("x-mesh-job", "1"),
            ("x-mesh-session", "a"),
        ];
        let given = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let carried = without_reserved(&BTreeMap::from(given));
        assert_eq!(carried.keys().collect::<Vec<_>>(), ["x-mesh-session"]);
    }

    #[test]
    fn numbers_in_metadata_become_numbers() {
        assert_eq!(typed(&json!("17")), json!(17));
        assert_eq!(typed(&json!("true")), json!(true));
        assert_eq!(typed(&json!("gpt-x")), json!("gpt-x"));
        assert_eq!(typed(&json!("[1]")), json!("[1]"));
    }
}
