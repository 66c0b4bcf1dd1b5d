//! Calls that take long, as durable jobs: they go on when the client, the gateway or the runner goes
//! away. A client that knows tasks gets one; another gets a result that names the job.

mod follow;
mod id;
mod runs;
mod view;

use std::{sync::Arc, time::Duration};

use jobs::{Error, JobId, JobRecord, JobStatus, Jobs, NewJob, Producer, QueueOptions};
use serde_json::{Map, Value};
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;
use work::{Call, JobKind as _};

use crate::{
    CallContext, CallError, CallOutcome, MeshTool, ProgressSink, ToolKeys, ToolResult,
    call::{Form, Request, Ticker},
    status::{failure, too_large},
};
pub use follow::TaskFollower;
use id::TaskId;
pub use view::TaskView;

/// Longest time for the queue to tell whether anybody serves it. Past it the call is made directly.
const SERVED: Duration = Duration::from_secs(1);
/// Longest time for the queue to take a job in.
const SUBMIT: Duration = Duration::from_secs(5);
/// Longest time for the queue to tell of a job.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long one look at a job's events waits for more.
const LOOK: Duration = Duration::from_secs(5);
/// How long a job is followed in vain before its caller is told that the queue is away.
const OUTAGE: Duration = Duration::from_secs(30);
/// What the internal keys of these jobs begin with: no other job is a task.
const KEY: &str = "mcp/";

/// Runs calls as jobs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tasks {
    jobs: Jobs,
    producer: Producer,
    queue: Arc<str>,
    task_after: Duration,
    wait: Duration,
    longest: Duration,
    max_result: usize,
    tracker: TaskTracker,
}

/// A job that was submitted, and how its answer is read.
#[derive(Debug)]
pub(crate) struct Submitted {
    id: JobId,
    form: Form,
    service: Arc<str>,
    /// It goes on when its caller goes away.
    is_kept: bool,
}

impl Tasks {
    /// Jobs in the queue of this name.
    #[must_use]
    pub fn new(jobs: Jobs, producer: Producer, queue: &str, keys: &ToolKeys) -> Self {
        Self {
            jobs,
            producer,
            queue: queue.into(),
            task_after: keys.mcp_task_after,
            wait: keys.mcp_wait,
            longest: keys.mcp_task_timeout,
            max_result: keys.mcp_max_result,
            tracker: TaskTracker::new(),
        }
    }

    /// Takes a call in as a job. `None` where the queue does not answer, or nobody would run it: such a
    /// call is made directly.
    ///
    /// # Errors
    /// For a key that stands for another call.
    pub(crate) async fn submit(
        &self,
        tool: &MeshTool,
        request: &Request,
        context: &CallContext,
    ) -> Result<Option<Submitted>, CallError> {
        let is_served = timeout(SERVED, self.jobs.is_served(&self.queue)).await;
        if is_served != Ok(Some(true)) {
            return Ok(None);
        }
        let Some(job) = self.job(tool, request, context) else {
            return Ok(None);
        };
        match timeout(SUBMIT, Box::pin(self.producer.submit(job))).await {
            Ok(Ok(submitted)) => Ok(Some(Submitted {
                id: submitted.id,
                form: request.form.clone(),
                service: Arc::clone(&tool.service),
                is_kept: context.idempotency_key.is_some(),
            })),
            Ok(Err(Error::Conflict { .. })) => {
                let text = "mesh.v1/idempotencyKey stands for another call: choose a new one";
                Err(CallError::invalid_params(text))
            }
            // It may have been taken in: to call the service too could do it twice.
            Err(_) => Err(CallError::internal(
                "the queue has not answered in time, and the call may run all the same",
            )),
            Ok(Err(error)) => {
                tracing::warn!(%error, tool = tool.name, "a long call is made directly");
                Ok(None)
            }
        }
    }

    fn job(&self, tool: &MeshTool, request: &Request, context: &CallContext) -> Option<NewJob> {
        let mut call = Call::json(
            request.route.service(),
            request.route.method(),
            request.payload()?,
        );
        let session = request.session(context);
        if !session.is_empty() {
            call.metadata.insert(dynamic::SESSION.to_owned(), session);
        }
        let mut job = call.checked_job().ok()?;
        self.queue.as_ref().clone_into(&mut job.queue);
        job.timeout = context.timeout.unwrap_or(self.longest);
        if job.timeout.is_zero() {
            return None;
        }
        // What was not declared to be idempotent may not be done twice.
        if tool.annotations.idempotent != Some(true) {
            job.max_attempts = 1;
        }
        let caller = context.caller.as_deref();
        job.internal_key = Some(match &context.idempotency_key {
            // With its length, so that no two callers share a key.
            Some(key) => {
                let caller = caller.unwrap_or_default();
                format!("{KEY}{}/{caller}/{key}", caller.len())
            }
            // So that it is taken in once, whatever becomes of the answer.
            None => format!("{KEY}/{:032x}", rand::random::<u128>()),
        });
        job.caller = caller.map(str::to_owned);
        for (name, value) in context.metadata.as_ref() {
            let is_trace = ["traceparent", "tracestate"].contains(&name.as_str());
            if let Ok(value) = value.to_str()
                && is_trace
            {
                job.trace.insert(name.as_str().to_owned(), value.to_owned());
            }
        }
        Some(job)
    }

    /// Waits for a job: its result, or a task, or a result that names the job.
    pub(crate) async fn follow(
        &self,
        job: Submitted,
        context: &CallContext,
        progress: &mut impl ProgressSink,
    ) -> Result<CallOutcome, CallError> {
        let limit = match context.takes_tasks {
            true => self.task_after,
            false => self.wait,
        };
        // A caller that goes away without having been told of the job wants no result.
        let guard = CancelOnDrop {
            tasks: self,
            id: Some(&job.id).filter(|_| !job.is_kept),
        };
        let mut ticker = Ticker::new(&job.service, progress.is_wanted());
        let seen = self.watch(&job.id, limit, &mut ticker, progress).await;
        guard.disarm();
        let id = TaskId::new(&job.id, &job.form);
        let record = match seen {
            Ok(record) => record,
            Err(error) => return Ok(CallOutcome::Result(unavailable(&error))),
        };
        if record.status.is_terminal() {
            return self.ended(&record, &job.form).map(CallOutcome::Result);
        }
        Ok(match context.takes_tasks {
            true => CallOutcome::Task(self.view(&id, &record)),
            false => CallOutcome::Result(still_running(&id, &job.form, self.wait)),
        })
    }

    /// The job once it has ended, or after `limit`.
    async fn watch(
        &self,
        id: &JobId,
        limit: Duration,
        ticker: &mut Ticker,
        progress: &mut impl ProgressSink,
    ) -> Result<JobRecord, Error> {
        let (until, mut cursor) = (Instant::now() + limit, String::new());
        let mut lost: Option<Instant> = None;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let page = self.jobs.job_events(id, &cursor, 64, left.min(LOOK));
            match ticker.during(page, progress).await {
                Ok(page) => {
                    lost = None;
                    cursor = page.cursor;
                    if progress.is_wanted() {
                        for event in page.events {
                            if let Some(text) = event.data {
                                ticker.report(progress, Some(text)).await;
                            }
                        }
                    }
                    if page.ended || left.is_zero() {
                        return self.jobs.get(id).await;
                    }
                }
                // The job stays, whatever becomes of the connection to the queue.
                Err(error @ Error::Unavailable { .. }) => {
                    let since = *lost.get_or_insert_with(Instant::now);
                    if since.elapsed() > OUTAGE || left.is_zero() {
                        return Err(error);
                    }
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// How a task is.
    ///
    /// # Errors
    /// For an id that names no task of the caller.
    pub async fn get(&self, id: &str, caller: Option<&str>) -> Result<TaskView, CallError> {
        let (id, record) = self.find(id, caller).await?;
        Ok(self.view(&id, &record))
    }

    /// Asks a task to end.
    ///
    /// # Errors
    /// For an id that names no task of the caller.
    pub async fn cancel(&self, id: &str, caller: Option<&str>) -> Result<(), CallError> {
        let (id, _) = self.find(id, caller).await?;
        let cancelled = timeout(PATIENCE, self.jobs.cancel(&id.job)).await;
        match cancelled {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(lost(&error)),
            Err(_) => Err(silent()),
        }
    }

    /// Takes what a task has asked for. Tasks of the mesh ask for nothing.
    ///
    /// # Errors
    /// For an id that names no task of the caller.
    pub async fn update(&self, id: &str, caller: Option<&str>) -> Result<(), CallError> {
        self.find(id, caller).await.map(|_| ())
    }

    /// `get_result`: waits for the job for as long as a call does.
    pub async fn get_result(
        &self,
        arguments: &Map<String, Value>,
        caller: Option<&str>,
        progress: &mut impl ProgressSink,
    ) -> ToolResult {
        let (id, record) = match self.named(arguments, caller).await {
            Ok(found) => found,
            Err(result) => return result,
        };
        let form = id.form();
        if record.status.is_terminal() {
            return self.told(&record, &form);
        }
        let service: Arc<str> = "the job".into();
        let mut ticker = Ticker::new(&service, progress.is_wanted());
        match self.watch(&id.job, self.wait, &mut ticker, progress).await {
            Ok(record) if record.status.is_terminal() => self.told(&record, &form),
            Ok(_) => still_running(&id, &form, self.wait),
            Err(error) => unavailable(&error),
        }
    }

    /// `cancel_result`.
    pub async fn cancel_result(
        &self,
        arguments: &Map<String, Value>,
        caller: Option<&str>,
    ) -> ToolResult {
        let (id, record) = match self.named(arguments, caller).await {
            Ok(found) => found,
            Err(result) => return result,
        };
        if record.status.is_terminal() {
            return ToolResult::text(format!(
                "The job {id} has ended before: it is {}.",
                record.status
            ));
        }
        match timeout(PATIENCE, self.jobs.cancel(&id.job)).await {
            Ok(Ok(_)) => ToolResult::text(format!("The job {id} is cancelled.")),
            Ok(Err(error)) => unavailable(&error),
            Err(_) => failure("UNAVAILABLE", SILENT, "Try again in a moment."),
        }
    }

    async fn named(
        &self,
        arguments: &Map<String, Value>,
        caller: Option<&str>,
    ) -> Result<(TaskId, JobRecord), ToolResult> {
        let id = arguments.get("job_id").and_then(Value::as_str);
        let id = id.ok_or_else(|| {
            let text = "job_id: give the id that the call answered with";
            failure("INVALID_ARGUMENT", text, "Call it again with that.")
        })?;
        let found = self.find(id, caller).await;
        found.map_err(|error| {
            let code = if error.code == crate::rpc::code::INVALID_PARAMS {
                "NOT_FOUND"
            } else {
                "UNAVAILABLE"
            };
            failure(
                code,
                &error.message,
                "Check the id: results are kept for a day.",
            )
        })
    }

    /// The job of a task, if it is one and the caller's own.
    async fn find(
        &self,
        text: &str,
        caller: Option<&str>,
    ) -> Result<(TaskId, JobRecord), CallError> {
        let unknown = || {
            CallError::invalid_params(format!(
                "there is no task {:?}",
                crate::status::cut(text, 200)
            ))
        };
        let id: TaskId = text.parse().map_err(|()| unknown())?;
        let record = match timeout(PATIENCE, self.jobs.get(&id.job)).await {
            Ok(Ok(record)) => record,
            Ok(Err(Error::NotFound { .. } | Error::Invalid { .. })) => return Err(unknown()),
            Ok(Err(error)) => return Err(lost(&error)),
            Err(_) => return Err(silent()),
        };
        let key = record.header.internal_key.as_deref().unwrap_or_default();
        let is_task = record.header.kind == Call::NAME && key.starts_with(KEY);
        // Somebody else's does not exist, as far as a caller can tell.
        match is_task && record.header.caller.as_deref() == caller {
            true => Ok((id, record)),
            false => Err(unknown()),
        }
    }

    fn view(&self, id: &TaskId, record: &JobRecord) -> TaskView {
        let options: &QueueOptions = self.jobs.options();
        TaskView::new(id, record, options.result_ttl, |record| {
            self.ended(record, &id.form())
        })
    }
}

impl Tasks {
    /// The result of a job that has ended.
    ///
    /// # Errors
    /// For a call that came to nothing by the protocol: its tool is gone.
    fn ended(&self, record: &JobRecord, form: &Form) -> Result<ToolResult, CallError> {
        let mut result = match record.status {
            JobStatus::Succeeded => self.succeeded(record, form),
            JobStatus::Cancelled => failure(
                "CANCELLED",
                "the job was cancelled",
                "Call the tool again if it is still wanted.",
            ),
            _ => {
                let error = record.header.error.as_deref();
                view::failed(error.unwrap_or("the job has failed"))?
            }
        };
        let facts = record.header.metrics.as_ref();
        let instance = facts.and_then(|facts| facts["instance"].as_str());
        result.instance = instance.map(Into::into);
        Ok(result)
    }

    fn succeeded(&self, record: &JobRecord, form: &Form) -> ToolResult {
        let result = record.result.as_ref().map(|result| result.bytes().clone());
        let result = match serde_json::from_slice(&result.unwrap_or_default()) {
            Ok(message) => form.json_result(message),
            Err(error) => {
                let text = format!("the job's result is no JSON: {error}");
                failure("INTERNAL", &text, "Call the tool again.")
            }
        };
        match too_large(&result, self.max_result) {
            Some(failure) => failure,
            None => result,
        }
    }

    /// The same for people and models.
    fn told(&self, record: &JobRecord, form: &Form) -> ToolResult {
        self.ended(record, form)
            .unwrap_or_else(|error| failure("NOT_FOUND", &error.message, "List the tools again."))
    }
}

const SILENT: &str = "the queue of jobs has not answered in time";

fn silent() -> CallError {
    CallError::internal(SILENT)
}

fn lost(error: &Error) -> CallError {
    CallError::internal(error.to_string())
}

fn unavailable(error: &Error) -> ToolResult {
    match error {
        Error::NotFound { .. } => failure(
            "NOT_FOUND",
            "the job is not kept any more",
            "Call the tool again if it is still wanted.",
        ),
        error => failure("UNAVAILABLE", &error.to_string(), "Try again in a moment."),
    }
}

/// A result that names the job, which goes on.
fn still_running(id: &TaskId, form: &Form, waited: Duration) -> ToolResult {
    let text = format!(
        "Still running after {} s. Call get_result with {{\"job_id\": \"{id}\"}} for the result, or \
         cancel_result to end it.",
        waited.as_secs()
    );
    view::running(&text, &id.to_string(), matches!(form, Form::Task))
}

/// Cancels a job when its caller goes away before it has an answer.
struct CancelOnDrop<'a> {
    tasks: &'a Tasks,
    id: Option<&'a JobId>,
}

impl CancelOnDrop<'_> {
    fn disarm(mut self) {
        self.id = None;
    }
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        let Some(id) = self.id.cloned() else { return };
        let jobs = self.tasks.jobs.clone();
        self.tasks.tracker.spawn(async move {
            match timeout(PATIENCE, jobs.cancel(&id)).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::debug!(%error, %id, "a job is not cancelled"),
                Err(_) => tracing::debug!(%id, "a job is not cancelled: the queue is silent"),
            }
        });
    }
}
