//! The kind `task`: a description in parts, each for the agent that suits it best.

use std::{collections::BTreeSet, time::Duration};

use jobs::{Error, Failure, Job, JobId, JobRecord, JobStatus, NewJob};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use telemetry::TraceContext;

use super::Call;
use crate::{
    Attempt, Description, FieldError, JobKind, MAX_SUBTASKS,
    attempt::part_key,
    check::{check_id, check_text},
    ids::IdSeed,
    split,
};

/// The method that runs a part.
const METHOD: &str = "agentplatform.AgentService/ExecuteTask";
/// The shortest time between two checks of a task.
const MIN_POLL: Duration = Duration::from_millis(200);

/// A task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// The whole, in the user's words.
    pub description: String,
    /// Its parts, known from the start so that the answer to the submission can list them.
    pub subtasks: Vec<Subtask>,
}

/// A part of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subtask {
    /// Its id within the task.
    pub subtask_id: String,
    /// What is to be done.
    pub description: String,
}

impl Task {
    /// Splits a description. Under an idempotency key its parts have the same ids each time.
    #[must_use]
    pub fn new(description: &str, idempotency_key: Option<&str>) -> Self {
        let seed = IdSeed::new(idempotency_key, description);
        let subtasks = (1..).zip(split(description)).map(|(number, part)| Subtask {
            subtask_id: seed.id("sub", number),
            description: part,
        });
        Self {
            description: description.to_owned(),
            subtasks: subtasks.collect(),
        }
    }

    /// The jobs of the parts; the first call makes them.
    async fn submit(&self, attempt: &Attempt<'_>) -> Result<Vec<JobId>, Failure> {
        let parts = self.subtasks.iter();
        let texts = parts.clone().map(|part| part.description.as_str());
        let agents = attempt.runtime.agents.best(texts).await;
        let new = parts
            .zip(&agents)
            .map(|(subtask, agent)| part_job(subtask, agent, attempt.job))
            .collect();
        let submitted = attempt.runtime.jobs.submit_all(new).await;
        let submitted = submitted.map_err(|error| failure(attempt, &error))?;
        let ids = submitted.into_iter().map(|one| match one {
            Ok(submitted) => Ok(submitted.id),
            // Another agent suits it by now. The one chosen first runs it.
            Err(Error::Conflict { id, .. }) => Ok(id),
            Err(error) => Err(failure(attempt, &error)),
        });
        ids.collect()
    }
}

impl JobKind for Task {
    const NAME: &'static str = "task";
    const DESCRIPTION: Description = Description {
        does: "gives the parts of a description to agents",
        payload: "`description`",
        result: "the status and the output of each part; a part goes to the agent whose capabilities \
                 match it best, else to `task_agent`",
        retried: "",
        dead: "parts have failed for good",
        example: r#"{"kind": "task", "payload": {"description": "Collect the facts; then write them down"}, "priority": 5, "delay_ms": 60000}"#,
    };

    fn check(&self) -> Result<(), FieldError> {
        check_text("description", &self.description)?;
        let count = self.subtasks.len();
        if count == 0 || count > MAX_SUBTASKS {
            let reason = format!("{count} are not 1 to {MAX_SUBTASKS}");
            return Err(FieldError::new("subtasks", reason));
        }
        let mut known = BTreeSet::new();
        for (index, subtask) in self.subtasks.iter().enumerate() {
            let field = |name: &str| format!("subtasks[{index}].{name}");
            check_id(field("subtask_id"), &subtask.subtask_id)?;
            check_text(&field("description"), &subtask.description)?;
            if !known.insert(&subtask.subtask_id) {
                return Err(FieldError::new(field("subtask_id"), "is there twice"));
            }
        }
        Ok(())
    }

    fn complete(payload: &mut Map<String, Value>, key: Option<&str>) {
        let text = payload.get("description").and_then(Value::as_str);
        if let (None, Some(text)) = (payload.get("subtasks"), text) {
            let subtasks = Self::new(text, key).subtasks;
            payload.insert("subtasks".to_owned(), json!(subtasks));
        }
    }

    /// The parts are `call` jobs, and the task holds no place while they run. Each check submits
    /// them all again under the same keys, which makes each of them once. The task is postponed
    /// until all have ended.
    async fn run(&self, attempt: &Attempt<'_>) -> Result<Value, Failure> {
        let jobs = &attempt.runtime.jobs;
        let parts = self.submit(attempt).await?;
        let mut records = Vec::with_capacity(parts.len());
        for (subtask, id) in self.subtasks.iter().zip(&parts) {
            match jobs.get(id).await {
                Ok(record) => records.push(record),
                // It expired, or was evicted or deleted, while its key is still known. Whether it
                // succeeded is unknown, and it must not run again under its key.
                Err(Error::NotFound { .. }) => {
                    let part = &subtask.subtask_id;
                    let text = format!(
                        "{part}: its job {id} is kept no more, so what came of it is unknown: \
                         jobs_result_ttl has to be longer than a task takes"
                    );
                    return Err(Failure::permanent(text));
                }
                Err(error) => return Err(failure(attempt, &error)),
            }
        }
        let done = records.iter().filter(|record| record.status.is_terminal());
        let done = done.count();
        report_progress(attempt, done, parts.len()).await;
        if done < parts.len() {
            return Err(Failure::postponed(pause(attempt)));
        }
        let ended = self.subtasks.iter().zip(&records);
        let failed = ended
            .clone()
            .filter(|(_, record)| record.status != JobStatus::Succeeded)
            .map(|(subtask, record)| {
                let status = record.status.as_str();
                let why = record.header.error.as_deref().unwrap_or(status);
                format!("{}: {why}", subtask.subtask_id)
            });
        let failed: Vec<String> = failed.collect();
        if !failed.is_empty() {
            let (count, all) = (failed.len(), parts.len());
            let text = format!("{count} of {all} parts failed: {}", failed.join("; "));
            return Err(Failure::permanent(text));
        }
        let results = ended.map(|(subtask, record)| part(subtask, record));
        let results: Vec<Value> = results.collect();
        Ok(json!({ "description": self.description, "subtasks": results }))
    }
}

/// A failure of the store is no fault of the task, and uses up none of its attempts.
fn failure(attempt: &Attempt<'_>, error: &Error) -> Failure {
    if error.is_of_the_store() {
        tracing::debug!(%error, "a task waits for the queue");
        return Failure::postponed(attempt.runtime.task_look.max(MIN_POLL));
    }
    Failure::permanent(error.to_string())
}

fn part_job(subtask: &Subtask, agent: &str, job: &Job) -> NewJob {
    let mut message = Map::new();
    let mut set = |name: &str, value: &str| message.insert(name.to_owned(), value.into());
    set("task_id", &subtask.subtask_id);
    set("agent_id", agent);
    set("input", &subtask.description);
    set("session_id", job.id.as_str());
    let header = &job.header;
    let mut trace = header.trace.clone();
    TraceContext::carry_current(&mut trace);
    NewJob {
        queue: job.id.queue().to_owned(),
        priority: header.priority,
        timeout: Duration::from_millis(header.timeout_ms),
        max_attempts: header.max_attempts,
        deadline: header.deadline,
        caller: header.caller.clone(),
        trace,
        internal_key: Some(part_key(&job.id, &subtask.subtask_id)),
        ..Call::json(agent, METHOD, message).new_job()
    }
}

/// Reports the progress of the task, once for each step.
async fn report_progress(attempt: &Attempt<'_>, done: usize, all: usize) {
    let progress = format!("{}%", done * 100 / all.max(1));
    let record = attempt.runtime.jobs.get(&attempt.job.id).await;
    let known = record.ok().and_then(|record| record.progress);
    if known.as_deref() != Some(&progress) {
        attempt.report_progress(&progress).await;
    }
}

/// The time to the next check: an eighth of the task's age, so that short tasks end soon and long
/// ones cost little.
fn pause(attempt: &Attempt<'_>) -> Duration {
    let (header, longest) = (&attempt.job.header, attempt.runtime.task_look);
    let age = header
        .started_at
        .unwrap_or(0)
        .saturating_sub(header.enqueued_at);
    Duration::from_millis(age / 8).clamp(MIN_POLL.min(longest), longest)
}

fn part(subtask: &Subtask, record: &JobRecord) -> Value {
    let result = record.result.as_ref();
    let result: Value = result
        .and_then(|result| serde_json::from_slice(result.bytes()).ok())
        .unwrap_or_default();
    json!({
        "subtask_id": subtask.subtask_id,
        "description": subtask.description,
        "job_id": record.id.as_str(),
        "status": record.status.as_str(),
        "agent": result["metadata"]["agent_id"],
        "output": result["output"],
    })
}
