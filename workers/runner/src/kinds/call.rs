//! The kind `call`.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use dynamic::{DynamicClient, UnaryResponse};
use jobs::{Failure, Job};
use prost_reflect::DynamicMessage;
use proto::error_info::{self, Reason};
use serde_json::{Value, json};
use tonic::{Code, Status};
use work::Call;

use crate::meter::AttemptFacts;

/// What the answers of agents tell of their models, in their metadata.
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

/// Makes calls.
#[derive(Debug)]
pub(crate) struct Calls {
    client: DynamicClient,
}

impl Calls {
    pub(crate) const fn new(client: DynamicClient) -> Self {
        Self { client }
    }

    /// Makes the call of a job: its result is the answer.
    pub(crate) async fn run(
        &self,
        call: &Call,
        job: &Job,
        left: Duration,
        facts: &AttemptFacts,
    ) -> Result<Value, Failure> {
        let to = dynamic::DynamicCall {
            service: call.service.clone(),
            method: call.method.clone(),
            timeout: Some(left),
            metadata: metadata(call, job),
        };
        let (result, message, instance) = match call.bytes() {
            Some(bytes) => {
                let answer = self.client.call_bytes(&to, bytes.into()).await;
                let UnaryResponse {
                    message, instance, ..
                } = answer.map_err(|status| failure(&status))?;
                let read = self.read(call, &message).await;
                (
                    json!({ "bytes_base64": BASE64_STANDARD.encode(&message) }),
                    read,
                    instance,
                )
            }
            None => {
                let message = Value::Object(call.payload.clone().unwrap_or_default());
                let answer = self.client.call(&to, message).await;
                let UnaryResponse {
                    message, instance, ..
                } = answer.map_err(|status| failure(&status))?;
                (message.clone(), message, instance)
            }
        };
        facts.set("instance", instance);
        for name in MODEL_FACTS {
            if let Some(value) = message
                .get("metadata")
                .and_then(|metadata| metadata.get(name))
            {
                facts.set(name, typed(value));
            }
        }
        // What the service itself says of the task.
        if message.get("success") == Some(&Value::Bool(false)) {
            let error = message
                .get("error")
                .and_then(Value::as_str)
                .filter(|error| !error.is_empty());
            let error = error.unwrap_or("the service reports a failure and does not say why");
            return Err(Failure::retryable(error));
        }
        Ok(result)
    }

    /// An answer in bytes as JSON, where the service describes itself; null where it does not.
    async fn read(&self, call: &Call, message: &[u8]) -> Value {
        let Ok(method) = self.client.method(&call.service, &call.method).await else {
            return Value::Null;
        };
        let message = DynamicMessage::decode(method.output(), message).ok();
        message
            .map(|message| dynamic::to_json(&message))
            .unwrap_or_default()
    }
}

/// The key that makes doing a job twice harmless to whoever heeds it: the submitter's, else the
/// job's own.
pub(crate) fn idempotency_key(job: &Job) -> String {
    let key = job
        .header
        .idempotency_key
        .as_ref()
        .filter(|key| key.bytes().all(|byte| byte.is_ascii_graphic()));
    key.map_or_else(|| job.id.to_string(), Clone::clone)
}

/// Fields that say for whom a call is made, and for which job.
const RESERVED: [&str; 2] = ["x-mesh-caller", "x-mesh-job"];

/// Metadata of a payload, which is its submitter's, without those: they are the runner's to say.
fn without_reserved(metadata: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let reserved = |name: &str| {
        RESERVED
            .iter()
            .any(|reserved| name.eq_ignore_ascii_case(reserved))
    };
    let fields = metadata.iter().filter(|(name, _)| !reserved(name));
    fields
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn metadata(call: &Call, job: &Job) -> BTreeMap<String, String> {
    let mut metadata = without_reserved(&call.metadata);
    metadata.extend(job.header.trace.clone());
    metadata.insert(RESERVED[1].to_owned(), job.id.to_string());
    metadata.insert("idempotency-key".to_owned(), idempotency_key(job));
    if let Some(caller) = &job.header.caller
        && caller
            .bytes()
            .all(|byte| byte.is_ascii_graphic() || byte == b' ')
    {
        metadata.insert(RESERVED[0].to_owned(), caller.clone());
    }
    metadata
}

/// Metadata are texts: numbers and switches among them become what they are.
fn typed(value: &Value) -> Value {
    let text = value.as_str().unwrap_or_default();
    match serde_json::from_str(text) {
        Ok(value @ (Value::Number(_) | Value::Bool(_))) => value,
        _ => value.clone(),
    }
}

/// What the mesh says of a name that nobody has: a service that is deployed anew may be missing
/// for a moment, and a job can wait. What a service itself does not find, it would not find later.
fn is_missing(status: &Status) -> bool {
    error_info::reason(status) == Some(Reason::NoSuchService)
}

/// What the mesh says of a message or a head that is larger than a hop takes.
fn is_too_large(status: &Status) -> bool {
    let info = error_info::read(status).filter(|info| info.domain == error_info::DOMAIN);
    info.is_some_and(|info| {
        let key = info.metadata.get("key").map(String::as_str);
        info.reason == Reason::MessageTooLarge.as_str() || key == Some("max_header_bytes")
    })
}

/// Whether a status may be another one the next time.
fn failure(status: &Status) -> Failure {
    let code = status.code();
    let error = format!("{}: {}", code_name(code), status.message());
    // Whoever was asked knows best when to ask again, such as an agent whose model wants quiet.
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

/// A code as gRPC writes it: `NOT_FOUND`.
fn code_name(code: Code) -> String {
    let mut word = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_ascii_uppercase() && !word.is_empty() {
            word.push('_');
        }
        word.push(letter.to_ascii_uppercase());
    }
    word
}

#[cfg(test)]
mod tests {
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
