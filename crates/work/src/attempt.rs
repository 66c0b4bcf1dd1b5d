//! What a kind of job works with during an attempt.

use std::{sync::Arc, time::Duration};

use channel::Mesh;
use dynamic::DynamicClient;
use fetch::HttpClient;
use jobs::{Failure, Job, JobContext, JobId, JobStatus, Jobs};
use parking_lot::Mutex;
use serde_json::{Map, Value};
use tokio::time::sleep;

use crate::AgentSelector;

/// What all attempts of a runner share.
#[derive(Debug)]
pub struct Runtime {
    /// Calls methods of services.
    pub calls: DynamicClient,
    /// Sends requests out of the mesh.
    pub http: HttpClient,
    /// The mesh.
    pub mesh: Mesh,
    /// The queue.
    pub jobs: Jobs,
    /// Chooses agents for the parts of tasks.
    pub agents: AgentSelector,
    /// The longest time between two checks of a task.
    pub task_look: Duration,
}

/// One attempt of a job.
#[derive(Debug)]
pub struct Attempt<'a> {
    /// The job.
    pub job: &'a Job,
    /// Its lease.
    pub context: &'a JobContext,
    /// What all attempts share.
    pub runtime: &'a Runtime,
    /// What the attempt reports beside its result.
    pub facts: &'a AttemptFacts,
}

impl Attempt<'_> {
    /// How long the attempt may still take.
    #[must_use]
    pub fn time_left(&self) -> Duration {
        self.context.time_left(self.job)
    }

    /// The key by which a server recognizes that a job is done again: the submitter's, else the
    /// job's id.
    #[must_use]
    pub fn idempotency_key(&self) -> String {
        let key = self.job.header.idempotency_key.as_ref();
        let key = key.filter(|key| key.bytes().all(|byte| byte.is_ascii_graphic()));
        key.map_or_else(|| self.job.id.to_string(), Clone::clone)
    }

    /// Reports the progress of the job, such as `50%`.
    pub async fn report_progress(&self, progress: &str) {
        if let Err(error) = self.context.progress(progress).await {
            tracing::debug!(%error, "progress not reported");
        }
    }

    /// Awaits `work`, until the task that the job is a part of is cancelled.
    pub(crate) async fn unless_task_cancelled<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let Some(task) = task_of(self.job) else {
            return work.await;
        };
        let is_cancelled = async || {
            let task = self.runtime.jobs.get(&task).await;
            task.is_ok_and(|task| task.cancelling || task.status == JobStatus::Cancelled)
        };
        if is_cancelled().await {
            return Err(Failure::Cancelled);
        }
        let cancelled = async {
            loop {
                sleep(self.runtime.task_look).await;
                if is_cancelled().await {
                    break;
                }
            }
        };
        tokio::select! {
            done = work => done,
            () = cancelled => Err(Failure::Cancelled),
        }
    }
}

/// The key of a part of a task. It makes each part once, and names its task.
pub(crate) fn part_key(task: &JobId, part: &str) -> String {
    format!("task/{task}/{part}")
}

fn task_of(job: &Job) -> Option<JobId> {
    let key = job.header.internal_key.as_deref()?;
    let (task, _) = key.strip_prefix("task/")?.split_once('/')?;
    task.parse().ok()
}

/// What an attempt reports beside its result, such as the tokens it used.
#[derive(Debug, Clone, Default)]
pub struct AttemptFacts(Arc<Mutex<Map<String, Value>>>);

impl AttemptFacts {
    /// Sets a fact.
    pub fn set(&self, name: &str, value: impl Into<Value>) {
        self.0.lock().insert(name.to_owned(), value.into());
    }

    /// All facts.
    #[must_use]
    pub fn all(&self) -> Map<String, Value> {
        self.0.lock().clone()
    }
}
