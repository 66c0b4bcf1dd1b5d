//! A run: calls the agent of each step in turn.

use std::time::Duration;

use backoff::Backoff;
use channel::Mesh;
use proto::{
    agentplatform::{TaskRequest, TaskResponse, agent_service_client::AgentServiceClient},
    error_info,
};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Status};
use tracing::{info, warn};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    Error, Report, RunMetrics, STEPS, Step, StepReport,
    blackboard::{Blackboard, Event},
    files::RunFiles,
};

/// Longest goal, bytes.
const MAX_GOAL: usize = 64 * 1024;
/// Longest goal as JSON, bytes: each control character takes six.
const MAX_GOAL_JSON: usize = 2 * MAX_GOAL;
/// Longest error in the log, characters.
const MAX_ERROR: usize = 500;
/// How often an agent is called for one step.
const ATTEMPTS: u32 = 3;
/// The pauses between the calls.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(1), 0.2);

/// A run: a goal and its limits.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its id: 1 to 64 letters, digits, dashes, underscores or dots, the first no dot.
    pub run_id: String,
    /// What is wanted, in the caller's words; at most 64 KiB.
    pub goal: String,
    /// The deadline; `None` for none.
    pub deadline: Option<Instant>,
}

/// The progress of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// How much is done: 0, 33, 66 or 100 %.
    pub percent: u8,
    /// The step that begins now; the last one's name at 100 %.
    pub step: &'static str,
}

/// Executes a run, after the steps that earlier attempts finished. `progress` is called when a step
/// begins and when all are done.
///
/// # Errors
/// When the run is not valid, cancelled or past its deadline, or when an agent or the tool for files
/// does not answer. Finished steps are kept.
pub async fn run(
    mesh: &Mesh,
    run: &Run,
    progress: &mut (dyn FnMut(Progress) + Send),
    cancel: &CancellationToken,
) -> Result<Report, Error> {
    let goal = run.goal.trim();
    check_goal(goal).map_err(Error::Invalid)?;
    let files = RunFiles::new(mesh, &run.run_id);
    let first = STEPS.first().map_or("research", |step| step.name);
    let mut board =
        until_deadline(run, cancel, first, Blackboard::open(&files, &run.run_id)).await?;
    same_goal(&board, run, goal)?;
    if !board.is_finished() {
        // Only the first entry has the goal: the size of a log is limited.
        let run_id = run.run_id.clone();
        let event = match board.goal() {
            Some(_) => Event::RunResumed { run_id },
            None => Event::RunStarted {
                run_id,
                goal: goal.to_owned(),
            },
        };
        until_deadline(run, cancel, first, board.append(&files, event)).await?;
    }
    // Another run may have begun with this id at the same time. The first entry decides.
    same_goal(&board, run, goal)?;
    let mut tell = |percent, step| progress(Progress { percent, step });
    let mut reports = Vec::new();
    let mut percent = 0;
    for step in STEPS {
        tell(percent, step.name);
        let report = run_step(mesh, run, goal, step, &files, &mut board);
        reports.push(until_deadline(run, cancel, step.name, report).await?);
        percent = step.percent;
    }
    let report = board.report(reports);
    let last = STEPS.last().map_or("review", |step| step.name);
    if !board.is_finished() {
        let metrics = report.metrics.clone();
        let event = Event::RunFinished { metrics };
        until_deadline(run, cancel, last, board.append(&files, event)).await?;
    }
    tell(percent, last);
    info!(run = %run.run_id, tokens = report.metrics.tokens_used, "run finished");
    Ok(report)
}

fn check_goal(goal: &str) -> Result<(), String> {
    let written = serde_json::Value::from(goal).to_string().len();
    match goal.len() {
        0 => Err("goal is empty: say what is wanted".to_owned()),
        length if length > MAX_GOAL => {
            Err(format!("goal is longer than {MAX_GOAL} bytes: shorten it"))
        }
        _ if written > MAX_GOAL_JSON + 2 => Err(format!(
            "goal takes {written} bytes as JSON, over {MAX_GOAL_JSON}: remove its control characters"
        )),
        _ => Ok(()),
    }
}

/// Rejects a run whose id belongs to a run with another goal.
fn same_goal(board: &Blackboard, run: &Run, goal: &str) -> Result<(), Error> {
    match board.goal() {
        Some(known) if known != goal => Err(Error::Conflict {
            run_id: run.run_id.clone(),
            goal: agentkit::text::shorten(known),
        }),
        _ => Ok(()),
    }
}

/// Ends a future at the run's deadline, or when the run is cancelled.
async fn until_deadline<T>(
    run: &Run,
    cancel: &CancellationToken,
    step: &'static str,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let work = async {
        match run.deadline {
            None => work.await,
            Some(deadline) => timeout_at(deadline, work)
                .await
                .unwrap_or(Err(Error::Deadline { step })),
        }
    };
    // A dropped future leaves the same files as a killed process.
    let done = cancel.run_until_cancelled(work).await;
    done.unwrap_or(Err(Error::Cancelled { step }))
}

/// Executes one step, unless its artifact and its entry exist.
async fn run_step(
    mesh: &Mesh,
    run: &Run,
    goal: &str,
    step: &Step,
    files: &RunFiles,
    board: &mut Blackboard,
) -> Result<StepReport, Error> {
    if let Some(done) = board.finished_step(step.name) {
        let artifact = files.read(step.artifact).await?;
        if artifact.is_some_and(|text| fingerprint(&text) == done.fingerprint) {
            return Ok(StepReport {
                resumed: true,
                ..done.clone()
            });
        }
    }
    let event = Event::StepStarted {
        step: step.name.to_owned(),
        agent: step.agent.to_owned(),
    };
    board.append(files, event).await?;
    let began = Instant::now();
    let answer = match call_agent(mesh, run, goal, step).await {
        Ok(answer) => answer,
        Err(error) => {
            let event = Event::StepFailed {
                step: step.name.to_owned(),
                error: agentkit::text::truncate(&error.to_string(), MAX_ERROR),
            };
            if let Err(unwritten) = board.append(files, event).await {
                warn!(run = %run.run_id, error = %unwritten, "a failure is not on the blackboard");
            }
            return Err(error);
        }
    };
    files.write(step.artifact, &answer.output).await?;
    let agent = answer.metadata.get("agent_id");
    let report = StepReport {
        step: step.name.to_owned(),
        agent: agent.map_or(step.agent, String::as_str).to_owned(),
        artifact: step.artifact.to_owned(),
        bytes: answer.output.len(),
        fingerprint: fingerprint(&answer.output),
        duration_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        resumed: false,
        metrics: RunMetrics::from_metadata(&answer.metadata),
    };
    board
        .append(files, Event::StepFinished(report.clone()))
        .await?;
    Ok(report)
}

/// Calls the step's agent, and retries when its instance is lost. A retry is safe: a step has no effect
/// before its artifact is written.
async fn call_agent(
    mesh: &Mesh,
    run: &Run,
    goal: &str,
    step: &Step,
) -> Result<TaskResponse, Error> {
    let channel = mesh
        .channel(&discovery::consul_name(step.agent))
        .session(&run.run_id);
    let mut client = AgentServiceClient::new(channel);
    let mut attempt = 1;
    loop {
        let mut request = Request::new(TaskRequest {
            task_id: format!("{}-{}", run.run_id, step.name),
            agent_id: step.agent.to_owned(),
            input: goal.to_owned(),
            tool_ids: step.tools.iter().map(|tool| (*tool).to_owned()).collect(),
            session_id: run.run_id.clone(),
            ..TaskRequest::default()
        });
        if let Some(deadline) = run.deadline {
            request.set_timeout(deadline.saturating_duration_since(Instant::now()));
        }
        let answer = Box::pin(client.execute_task(request)).await;
        match answer.map(tonic::Response::into_inner) {
            Ok(answer) if answer.success => return Ok(answer),
            Ok(answer) => return Err(refused(step, answer.error)),
            Err(status) if is_retryable(&status) && attempt < ATTEMPTS => {
                warn!(run = %run.run_id, step = step.name, attempt, %status, "asked again");
                let pause = BACKOFF.after(attempt, &mut rand::rng());
                sleep(pause).await;
                attempt += 1;
            }
            Err(status) => return Err(failed(step, &status)),
        }
    }
}

/// Whether a retry at once may succeed. An agent whose model does not answer (`ABORTED`) has used its
/// attempts; further ones are the job's retries.
fn is_retryable(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Unknown)
}

fn refused(step: &Step, message: String) -> Error {
    Error::Rejected {
        step: step.name,
        agent: step.agent,
        message,
    }
}

fn failed(step: &Step, status: &Status) -> Error {
    match status.code() {
        Code::DeadlineExceeded => Error::Deadline { step: step.name },
        Code::InvalidArgument | Code::PermissionDenied | Code::Unauthenticated => {
            refused(step, status.message().to_owned())
        }
        code => Error::Unavailable {
            step: step.name,
            message: format!("{}: {code:?}: {}", step.agent, status.message()),
            retry_after: error_info::retry_after(status),
        },
    }
}

fn fingerprint(text: &str) -> String {
    format!("{:016x}", xxh3_64(text.as_bytes()))
}
