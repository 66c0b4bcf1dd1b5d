//! The kinds of jobs.

use std::fmt;

use jobs::{NewJob, Payload};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Call, FieldError, Http, Pipeline, Task};

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum JobKind {
    /// Calls a method of a service of the mesh.
    Call,
    /// Sends an HTTP request out of the mesh.
    Http,
    /// Researches, drafts and reviews what a goal asks for.
    Pipeline,
    /// Gives the parts of a description to agents.
    Task,
}

impl JobKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Call, Self::Http, Self::Pipeline, Self::Task];

    /// Its word, as jobs have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Http => "http",
            Self::Pipeline => "pipeline",
            Self::Task => "task",
        }
    }

    /// The kind of a word.
    ///
    /// # Errors
    /// Of the field `kind`, naming those there are.
    pub fn parse(word: &str) -> Result<Self, FieldError> {
        let kind = Self::ALL.into_iter().find(|kind| kind.as_str() == word);
        kind.ok_or_else(|| {
            let known = Self::ALL.map(Self::as_str).join(", ");
            FieldError::new("kind", format!("{word:?} is none, use one of {known}"))
        })
    }
}

impl fmt::Display for JobKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A payload of a kind, checked.
#[derive(Debug, Clone, PartialEq)]
pub enum JobPayload {
    /// See [`JobKind::Call`].
    Call(Call),
    /// See [`JobKind::Http`].
    Http(Http),
    /// See [`JobKind::Pipeline`].
    Pipeline(Pipeline),
    /// See [`JobKind::Task`].
    Task(Task),
}

impl JobPayload {
    /// Reads a payload.
    ///
    /// # Errors
    /// With the first field that will not do.
    pub fn read(kind: JobKind, payload: &Value) -> Result<Self, FieldError> {
        Ok(match kind {
            JobKind::Call => Self::Call(read(payload, Call::check)?),
            JobKind::Http => Self::Http(read(payload, Http::check)?),
            JobKind::Pipeline => Self::Pipeline(read(payload, Pipeline::check)?),
            JobKind::Task => Self::Task(read(payload, Task::check)?),
        })
    }

    /// Reads the payload of a job from the queue.
    ///
    /// # Errors
    /// The same, and for bytes that are no JSON.
    pub fn of(kind: JobKind, payload: &Payload) -> Result<Self, FieldError> {
        let value: Value = serde_json::from_slice(payload.bytes()).map_err(|error| {
            FieldError::new(
                "payload",
                format!("is no JSON: {}", telemetry::humanize(&error.to_string())),
            )
        })?;
        Self::read(kind, &value)
    }

    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> JobKind {
        match self {
            Self::Call(_) => JobKind::Call,
            Self::Http(_) => JobKind::Http,
            Self::Pipeline(_) => JobKind::Pipeline,
            Self::Task(_) => JobKind::Task,
        }
    }

    /// The job of it, with the defaults of every other field.
    ///
    /// # Panics
    /// Never: payloads have only string keys.
    #[must_use]
    pub fn job(&self) -> NewJob {
        let value = match self {
            Self::Call(call) => serde_json::to_value(call),
            Self::Http(http) => serde_json::to_value(http),
            Self::Pipeline(pipeline) => serde_json::to_value(pipeline),
            Self::Task(task) => serde_json::to_value(task),
        };
        let value = value.expect("payloads have only string keys");
        NewJob::new(self.kind().as_str(), Payload::json(&value))
    }
}

/// Whether a payload will do for a kind: for front ends that need no more than to know.
///
/// # Errors
/// With the first field that will not do; `kind` for an unknown kind.
pub fn validate(kind: &str, payload: &Value) -> Result<(), FieldError> {
    JobPayload::read(JobKind::parse(kind)?, payload).map(drop)
}

fn read<T: DeserializeOwned>(
    payload: &Value,
    check: impl FnOnce(&T) -> Result<(), FieldError>,
) -> Result<T, FieldError> {
    if !payload.is_object() {
        return Err(FieldError::new("payload", "has to be an object"));
    }
    let read: T =
        serde_path_to_error::deserialize(payload).map_err(|error| FieldError::of(&error))?;
    check(&read)?;
    Ok(read)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_payload_that_will_not_do_is_refused_at_the_field_at_fault() {
        let table = [
            ("fly", json!({}), "kind"),
            ("call", json!([]), "payload"),
            ("call", json!({"method": "a.B/C", "payload": {}}), "service"),
            (
                "call",
                json!({"service": "", "method": "a.B/C", "payload": {}}),
                "service",
            ),
            (
                "call",
                json!({"service": "agent-echo", "method": "C", "payload": {}}),
                "method",
            ),
            (
                "call",
                json!({"service": "agent-echo", "method": "/a.B/C", "payload": {}}),
                "method",
            ),
            (
                "call",
                json!({"service": "agent-echo", "method": "a.B/C"}),
                "payload",
            ),
            (
                "call",
                json!({"service": "agent-echo", "method": "a.B/C", "payload": 7}),
                "payload",
            ),
            (
                "call",
                json!({"service": "s", "method": "a.B/C", "bytes_base64": "%"}),
                "bytes_base64",
            ),
            (
                "call",
                json!({"service": "s", "method": "a.B/C", "payload": {}, "bytes_base64": ""}),
                "bytes_base64",
            ),
            (
                "call",
                json!({"service": "s", "method": "a.B/C", "payload": {}, "metadata": {"Bad Key": "x"}}),
                "metadata.Bad Key",
            ),
            (
                "call",
                json!({"service": "s", "method": "a.B/C", "payload": {}, "metadata": {"grpc-timeout": "1S"}}),
                "metadata.grpc-timeout",
            ),
            (
                "call",
                json!({"service": "s", "method": "a.B/C", "payload": {}, "x": 1}),
                "x",
            ),
            ("http", json!({}), "url"),
            ("http", json!({"url": "ftp://host/"}), "url"),
            ("http", json!({"url": "http://user:pass@host/"}), "url"),
            ("http", json!({"url": "/relative"}), "url"),
            (
                "http",
                json!({"url": "http://h/", "method": "GE T"}),
                "method",
            ),
            (
                "http",
                json!({"url": "http://h/", "method": "CONNECT"}),
                "method",
            ),
            (
                "http",
                json!({"url": "http://h/", "headers": {"a b": "c"}}),
                "headers.a b",
            ),
            (
                "http",
                json!({"url": "http://h/", "headers": {"a": "c\n"}}),
                "headers.a",
            ),
            (
                "http",
                json!({"url": "http://h/", "headers": {"Host": "c"}}),
                "headers.Host",
            ),
            ("http", json!({"url": "http://h/", "timeout": 0}), "timeout"),
            (
                "http",
                json!({"url": "http://h/", "timeout": 31}),
                "timeout",
            ),
            (
                "pipeline",
                json!({"goal": " ", "run_id": "run-abcdefgh"}),
                "goal",
            ),
            (
                "pipeline",
                json!({"goal": "g", "run_id": "../../etc"}),
                "run_id",
            ),
            (
                "task",
                json!({"description": "", "subtasks": []}),
                "description",
            ),
            (
                "task",
                json!({"description": "d", "subtasks": []}),
                "subtasks",
            ),
            (
                "task",
                json!({"description": "d", "subtasks": [{"subtask_id": "s"}]}),
                "subtasks[0].description",
            ),
            (
                "task",
                json!({"description": "d", "subtasks": [
                    {"subtask_id": "s", "description": "a"},
                    {"subtask_id": "s", "description": "b"},
                ]}),
                "subtasks[1].subtask_id",
            ),
        ];
        for (kind, payload, field) in table {
            let error = validate(kind, &payload).expect_err(&payload.to_string());
            assert_eq!(error.field, field, "{payload}: {error}");
        }
    }

    #[test]
    fn a_payload_reads_back_from_its_job_as_it_was() {
        let payloads = [
            (
                JobKind::Call,
                json!({"service": "agent-echo", "method": "a.B/C", "payload": {"input": "x"}}),
            ),
            (
                JobKind::Call,
                json!({"service": "s", "method": "a.B/C", "bytes_base64": "AAE="}),
            ),
            (JobKind::Http, json!({"url": "https://example.org/"})),
            (
                JobKind::Pipeline,
                json!({"goal": "g", "run_id": "run-abcdefgh"}),
            ),
            (
                JobKind::Task,
                json!({"description": "d", "subtasks": [{"subtask_id": "s", "description": "a"}]}),
            ),
        ];
        for (kind, payload) in payloads {
            let work = JobPayload::read(kind, &payload).unwrap();
            let job = work.job();
            assert_eq!(job.kind, kind.as_str());
            assert_eq!(JobPayload::of(kind, &job.payload).unwrap(), work);
        }
    }
}
