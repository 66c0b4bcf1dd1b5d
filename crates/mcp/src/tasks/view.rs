//! Tasks as clients see them, by the extension `io.modelcontextprotocol/tasks`.

use std::time::Duration;

use jobs::{JobRecord, JobStatus};
use serde_json::{Map, Value, json};
use telemetry::rpc::code_name;
use tonic::Code;

use super::id::TaskId;
use crate::{
    CallError, JsonText, ToolResult,
    json::milliseconds,
    status::{advice, failure},
};

/// How often a client is asked to look, in milliseconds.
const POLL_INTERVAL: u64 = 1_000;

/// A task, as clients see it.
#[derive(Clone, Debug)]
pub struct TaskView {
    /// Its id.
    pub task_id: String,
    /// `working`, `completed`, `failed` or `cancelled`.
    pub status: &'static str,
    /// How far it is, in words.
    pub status_message: Option<String>,
    /// When it was created, RFC 3339.
    pub created_at: String,
    /// When it changed last.
    pub last_updated_at: String,
    /// How long it is kept.
    pub ttl: Duration,
    /// The result of the call, once it is completed; or the error of the protocol that it ended with.
    pub result: Option<Result<ToolResult, CallError>>,
}

impl TaskView {
    pub(super) fn new(
        id: &TaskId,
        record: &JobRecord,
        ttl: Duration,
        ended: impl Fn(&JobRecord) -> Result<ToolResult, CallError>,
    ) -> Self {
        let header = &record.header;
        let (status, words) = match record.status {
            JobStatus::Queued | JobStatus::Scheduled => ("working", "waits for a runner"),
            JobStatus::Running => ("working", "running"),
            JobStatus::Failed => ("working", "has failed, and is tried again"),
            // A call that failed has a result, which says so.
            JobStatus::Succeeded | JobStatus::Dead => ("completed", ""),
            JobStatus::Cancelled => ("cancelled", "cancelled"),
        };
        let result = (status == "completed").then(|| ended(record));
        let status = match &result {
            Some(Err(_)) => "failed",
            _ => status,
        };
        let is_live = !record.status.is_terminal();
        let progress = record.progress.clone().filter(|_| is_live);
        let words = Some(words.to_owned()).filter(|words| !words.is_empty());
        let latest = header
            .ended_at
            .or(header.started_at)
            .unwrap_or(header.enqueued_at);
        Self {
            task_id: id.to_string(),
            status,
            status_message: progress.or(words),
            created_at: milliseconds(header.enqueued_at),
            last_updated_at: milliseconds(latest),
            ttl,
            result,
        }
    }

    /// Its members, as `notifications/tasks` has them.
    #[must_use]
    pub fn to_members(&self) -> Map<String, Value> {
        let mut members: Map<String, Value> =
            serde_json::from_str(&self.to_json(false)).unwrap_or_default();
        members.remove("resultType");
        members
    }

    /// Its JSON, as `result` of a response: of `tools/call` (`is_new`), else of `tasks/get`.
    #[must_use]
    pub fn to_json(&self, is_new: bool) -> String {
        let ttl = u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX);
        let mut view = json!({
            "resultType": if is_new { "task" } else { "complete" },
            "taskId": self.task_id,
            "status": self.status,
            "createdAt": self.created_at,
            "lastUpdatedAt": self.last_updated_at,
            "ttlMs": ttl,
            "pollIntervalMs": POLL_INTERVAL,
        });
        if let Some(message) = &self.status_message {
            view["statusMessage"] = json!(message);
        }
        let mut text = view.to_string();
        if let Some(result) = self.result.as_ref().filter(|_| !is_new) {
            text.pop();
            match result {
                Ok(result) => {
                    text.push_str(",\"result\":");
                    text.push_str(&result.to_json(true));
                }
                Err(error) => {
                    text.push_str(",\"error\":");
                    text.push_str(&error.to_json().to_string());
                }
            }
            text.push('}');
        }
        text
    }
}

/// The failure that a job's error tells. That of a call begins with its code.
///
/// # Errors
/// Where the method is gone.
pub(super) fn failed(error: &str) -> Result<ToolResult, CallError> {
    let told = error.split_once(": ");
    let codes = (1..=16).map(|code| (Code::from_i32(code), code_name(code)));
    let known = told.and_then(|(word, rest)| {
        let mut codes = codes.clone();
        codes
            .find(|(_, name)| *name == word)
            .map(|(code, name)| (code, name, rest))
    });
    match known {
        Some((Code::Unimplemented, _, rest)) => {
            let text = format!("the tool is gone, list the tools again: {rest}");
            Err(CallError::invalid_params(text))
        }
        Some((code, name, rest)) => Ok(failure(name, rest, advice(code))),
        None => {
            let advice = "Change the arguments if they are the cause, or try again later.";
            let mut result = failure("FAILED", error, advice);
            result.status = Some(json!({"code": "FAILED", "reason": "SUCCESS_FALSE"}));
            Ok(result)
        }
    }
}

/// A result that says that the job goes on. That of an agent or worker fits its schema all the same.
pub(super) fn running(text: &str, job: &str, is_task: bool) -> ToolResult {
    let facts = json!({"job_id": job, "status": "running"});
    let structured: Value = match is_task {
        true => json!({"output": text, "metadata": facts}),
        false => facts,
    };
    let mut result = ToolResult {
        structured: Some(JsonText::from(&structured)),
        ..ToolResult::text(text)
    };
    result.meta.insert("mesh.v1/job".to_owned(), json!(job));
    result
}
