//! The kind `task`: its parts are `call` jobs, and it holds no place while they are done. Each
//! time it is looked at it submits them all again under the same keys, which makes each of them
//! once, and tells where it stands; while any is under way the task is postponed.

use std::time::Duration;

use jobs::{Error, Failure, Job, JobContext, JobId, JobRecord, JobStatus, Jobs, NewJob};
use serde_json::{Map, Value, json};
use tokio::time::sleep;
use work::{Call, JobPayload, Subtask, Task};

use super::agents::AgentSelector;

/// What agents are asked.
const METHOD: &str = "agentplatform.AgentService/ExecuteTask";
/// The shortest time between two looks.
const MIN_POLL: Duration = Duration::from_millis(200);

/// Does tasks.
#[derive(Debug)]
pub(crate) struct Tasks {
    pub(crate) jobs: Jobs,
    pub(crate) agents: AgentSelector,
    /// The longest time between two looks.
    pub(crate) look: Duration,
}

impl Tasks {
    /// Looks at a task once: its result when all parts are done, else it waits.
    pub(crate) async fn run(
        &self,
        task: &Task,
        job: &Job,
        context: &JobContext,
    ) -> Result<Value, Failure> {
        let parts = self.submit(task, job).await?;
        let mut records = Vec::with_capacity(parts.len());
        for (subtask, id) in task.subtasks.iter().zip(&parts) {
            match self.jobs.get(id).await {
                Ok(record) => records.push(record),
                // Past its time, evicted or deleted, while its key is known. Nobody can tell whether
                // it succeeded, and it must not be done again under its key.
                Err(Error::NotFound { .. }) => {
                    let part = &subtask.subtask_id;
                    let text = format!(
                        "{part}: its job {id} is kept no more, so what came of it is unknown: \
                         jobs_result_ttl has to be longer than a task takes"
                    );
                    return Err(Failure::permanent(text));
                }
                Err(error) => return Err(self.failure(&error)),
            }
        }
        let ended = records.iter().filter(|record| record.status.is_terminal());
        let done = ended.count();
        self.report_progress(job, context, done, parts.len()).await;
        if done < parts.len() {
            return Err(Failure::postponed(self.pause(job)));
        }
        let told: Vec<Value> = task
            .subtasks
            .iter()
            .zip(parts.iter().zip(&records))
            .map(|(subtask, (id, record))| part(subtask, id, record))
            .collect();
        let failed = task
            .subtasks
            .iter()
            .zip(&records)
            .filter_map(|(subtask, record)| {
                let record = Some(record).filter(|it| it.status != JobStatus::Succeeded)?;
                let why = record
                    .header
                    .error
                    .clone()
                    .unwrap_or_else(|| record.status.to_string());
                Some(format!("{}: {why}", subtask.subtask_id))
            });
        let failed: Vec<String> = failed.collect();
        if !failed.is_empty() {
            let (count, all) = (failed.len(), parts.len());
            let text = format!("{count} of {all} parts failed: {}", failed.join("; "));
            return Err(Failure::permanent(text));
        }
        Ok(json!({ "description": task.description, "subtasks": told }))
    }

    /// Does what may be a part of a task, until that task is called off: a part is nobody's but
    /// its task's.
    pub(crate) async fn unless_cancelled<T>(
        &self,
        job: &Job,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let Some(task) = task_of(job) else {
            return work.await;
        };
        let task_cancelled = async || {
            let task = self.jobs.get(&task).await;
            task.is_ok_and(|task| task.cancelling || task.status == JobStatus::Cancelled)
        };
        if task_cancelled().await {
            return Err(Failure::Cancelled);
        }
        let look = async {
            loop {
                sleep(self.look).await;
                if task_cancelled().await {
                    break;
                }
            }
        };
        tokio::select! {
            done = work => done,
            () = look => Err(Failure::Cancelled),
        }
    }

    /// The jobs of the parts; they are made the first time.
    async fn submit(&self, task: &Task, job: &Job) -> Result<Vec<JobId>, Failure> {
        let texts = task
            .subtasks
            .iter()
            .map(|subtask| subtask.description.as_str());
        let agents = self.agents.best(texts).await;
        let new = task.subtasks.iter().zip(&agents);
        let new = new
            .map(|(subtask, agent)| self.part(subtask, agent, job))
            .collect();
        let submitted = self.jobs.submit_all(new).await;
        let submitted = submitted.map_err(|error| self.failure(&error))?;
        let ids = submitted.into_iter().map(|one| match one {
            Ok(submitted) => Ok(submitted.id),
            // Another agent suits it by now; it is done by the one chosen first.
            Err(Error::Conflict { id, .. }) => Ok(id),
            Err(error) => Err(self.failure(&error)),
        });
        ids.collect()
    }

    /// What the queue refuses is no fault of the task: its attempts are not used up by that.
    fn failure(&self, error: &Error) -> Failure {
        if error.is_of_the_store() {
            tracing::debug!(%error, "a task waits for the queue");
            return Failure::postponed(self.look.max(MIN_POLL));
        }
        Failure::permanent(error.to_string())
    }

    fn part(&self, subtask: &Subtask, agent: &str, job: &Job) -> NewJob {
        let mut message = Map::new();
        let mut set = |name: &str, value: &str| message.insert(name.to_owned(), value.into());
        set("task_id", &subtask.subtask_id);
        set("agent_id", agent);
        set("input", &subtask.description);
        set("session_id", job.id.as_str());
        let header = &job.header;
        NewJob {
            queue: job.id.queue().to_owned(),
            priority: header.priority,
            timeout: Duration::from_millis(header.timeout_ms),
            max_attempts: header.max_attempts,
            deadline: header.deadline,
            caller: header.caller.clone(),
            trace: header.trace.clone(),
            internal_key: Some(key(&job.id, subtask)),
            ..JobPayload::Call(Call::json(agent, METHOD, message)).job()
        }
    }

    /// Says how far the task is, once for each step.
    async fn report_progress(&self, job: &Job, context: &JobContext, done: usize, all: usize) {
        let progress = format!("{}%", done * 100 / all.max(1));
        let known = self
            .jobs
            .get(&job.id)
            .await
            .ok()
            .and_then(|record| record.progress);
        if known.as_deref() != Some(&progress)
            && let Err(error) = context.progress(&progress).await
        {
            tracing::debug!(%error, "progress not told");
        }
    }

    /// An eighth of how long the task is under way, so that short ones end soon and long ones cost
    /// little.
    fn pause(&self, job: &Job) -> Duration {
        let header = &job.header;
        let age = header
            .started_at
            .unwrap_or(0)
            .saturating_sub(header.enqueued_at);
        Duration::from_millis(age / 8).clamp(MIN_POLL.min(self.look), self.look)
    }
}

/// Makes each part once, and says whose it is.
fn key(task: &JobId, subtask: &Subtask) -> String {
    format!("task/{task}/{}", subtask.subtask_id)
}

/// The task that a job is a part of.
fn task_of(job: &Job) -> Option<JobId> {
    let key = job.header.internal_key.as_deref()?;
    let (task, _) = key.strip_prefix("task/")?.split_once('/')?;
    task.parse().ok()
}

fn part(subtask: &Subtask, id: &JobId, record: &JobRecord) -> Value {
    let result = record.result.as_ref();
    let result: Value = result
        .and_then(|result| serde_json::from_slice(result.bytes()).ok())
        .unwrap_or_default();
    json!({
        "subtask_id": subtask.subtask_id,
        "description": subtask.description,
        "job_id": id.as_str(),
        "status": record.status.as_str(),
        "agent": result["metadata"]["agent_id"],
        "output": result["output"],
    })
}
