//! Schedules: what is submitted by the clock, when next, and what came of the latest.

use ::jobs::{Error, JobId, Schedule, Timer, is_live};
use axum::{
    extract::{Path, State, rejection::PathRejection},
    response::{IntoResponse, Response},
};
use futures_util::future::join_all;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    api::jobs::Accepted,
    json_response::JsonResponse,
    problem::{Problem, ProblemKind},
    state::{App, Gateway},
    submit::KindWord,
    view::{self, StatusWord},
};

/// Entries of a schedule's file may be named without this.
const FILE_PREFIX: &str = "file/";

/// An entry of a schedule.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "name": "file/nightly", "state": "active", "cron": "0 3 * * *", "timezone": "Europe/Berlin",
    "every_ms": null, "missed": "once", "kind": "pipeline", "queue": "default", "priority": 3,
    "max_attempts": 5, "timeout_ms": 60000, "next_at": "2026-01-02T02:00:00.000Z", "fired": 41,
    "last": {"at": "2026-01-01T02:00:00.000Z", "job_id": "default.0.0193a7c0f2b1f00d5e1f8a3c2d4",
        "status": "succeeded", "error": null},
}))]
pub(crate) struct ScheduleView {
    /// Its name: `file/<name>` of an entry of a file, `interval` of `SCHEDULE_INTERVAL_SECONDS`.
    #[schema(example = "file/nightly")]
    name: String,
    /// What becomes of it.
    state: ScheduleState,
    /// Its pattern, where it has one.
    #[schema(example = "0 3 * * *")]
    cron: Option<String>,
    /// The pattern's time zone.
    #[schema(example = "Europe/Berlin")]
    timezone: Option<String>,
    /// How often it fires, where it has no pattern.
    every_ms: Option<u64>,
    /// What is done about times that went by while no scheduler ran: `once`, `all` or `skip`.
    missed: &'static str,
    /// The kind of its jobs.
    #[schema(value_type = KindWord)]
    kind: String,
    /// Their queue.
    queue: String,
    /// Their priority, 1 to 5.
    priority: u8,
    /// How often each is tried at most.
    max_attempts: u32,
    /// How long one attempt may take.
    timeout_ms: u64,
    /// When it fires next, RFC 3339; null when it does not.
    next_at: Option<String>,
    /// For how many times it has fired.
    fired: u64,
    /// The latest job; null before the first.
    last: Option<LastView>,
}

/// What becomes of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ScheduleState {
    /// It fires.
    Active,
    /// Its pattern has no further time.
    Spent,
    /// Somebody removed it: it fires no more until its entry changes.
    Removed,
    /// No scheduler that runs has it: it does not fire.
    Unclaimed,
}

/// The latest job of an entry.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LastView {
    /// The time that it was for, RFC 3339.
    at: Option<String>,
    /// The job.
    job_id: Option<String>,
    /// Where the job stands; null when its result is past its time.
    status: Option<StatusWord>,
    /// Why there is no job, or what its latest failed attempt said.
    error: Option<String>,
}

/// List schedules.
///
/// What is submitted by the clock: every entry that the schedulers have, when it fires next, and
/// what came of the latest.
#[utoipa::path(get, path = "/api/v1/schedules", tag = "schedules", operation_id = "listSchedules",
    responses((status = 200, description = "The entries, by name", body = Vec<ScheduleView>)))]
pub(crate) async fn list(
    State(app): State<App>,
) -> Result<JsonResponse<Vec<ScheduleView>>, Problem> {
    let read = async {
        let now = app.jobs.timer_clock().await?;
        let mut timers = app.jobs.timers().await?;
        timers.sort_by(|one, other| one.name.cmp(&other.name));
        let views = timers.iter().map(|timer| view(&app, timer, now));
        join_all(views).await.into_iter().collect()
    };
    Ok(JsonResponse(app.with_timeout(read).await?))
}

/// Remove a schedule.
///
/// One that schedulers have in their configuration stays listed as removed, and fires no more until
/// its entry changes.
#[utoipa::path(delete, path = "/api/v1/schedules/{name}", tag = "schedules",
    operation_id = "removeSchedule",
    params(("name" = String, Path, description = "Its name, a slash in it as %2F; `file/` may be left out")),
    responses((status = 200, description = "The entry, removed", body = ScheduleView)))]
pub(crate) async fn remove(
    State(app): State<App>,
    name: Result<Path<String>, PathRejection>,
) -> Result<JsonResponse<ScheduleView>, Problem> {
    let name = resolve(&app, name).await?;
    let ended = app.with_timeout(app.jobs.end_timer(&name)).await?;
    let ended = ended.ok_or_else(|| unknown(&name))?;
    let read = async {
        let now = app.jobs.timer_clock().await?;
        view(&app, &ended, now).await
    };
    Ok(JsonResponse(app.with_timeout(read).await?))
}

/// Run a schedule now.
///
/// Its job is made now; its next time stays as it is.
#[utoipa::path(post, path = "/api/v1/schedules/{name}/run", tag = "schedules",
    operation_id = "runSchedule",
    params(("name" = String, Path, description = "Its name, a slash in it as %2F; `file/` may be left out")),
    responses((status = 202, description = "Its job, taken in", body = Accepted)))]
pub(crate) async fn run(
    State(app): State<App>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let name = resolve(&app, name).await?;
    let make = |timer: &Timer, key: &str| {
        let job = work::timer_job(timer, key);
        job.map_err(|error| Error::Invalid {
            field: "payload",
            reason: error.to_string(),
        })
    };
    let submitted = app.with_timeout(app.jobs.run_timer(&name, &make)).await;
    let submitted = submitted.map_err(|error| match error {
        Error::NotFound { .. } => unknown(&name),
        other => other.into(),
    })?;
    let accepted = Accepted {
        job_id: submitted.id.to_string(),
        warning: app.warning(submitted.id.queue(), submitted.status).await,
        status: submitted.status.map(Into::into),
    };
    Ok((StatusCode::ACCEPTED, JsonResponse(accepted)).into_response())
}

/// The whole name of the entry that somebody means.
async fn resolve(
    app: &Gateway,
    name: Result<Path<String>, PathRejection>,
) -> Result<String, Problem> {
    let Path(name) = name.map_err(|_| unknown(""))?;
    let timers = app.with_timeout(app.jobs.timers()).await?;
    let known = |name: &str| timers.iter().any(|timer| timer.name == name);
    let whole = [name.clone(), format!("{FILE_PREFIX}{name}")];
    let found = whole.into_iter().find(|name| known(name));
    found.ok_or_else(|| unknown(&name))
}

fn unknown(name: &str) -> Problem {
    let text = format!("no schedule has an entry {name:?}; GET /api/v1/schedules lists them");
    Problem::new(ProblemKind::NotFound, text)
}

async fn view(app: &Gateway, timer: &Timer, now: u64) -> Result<ScheduleView, Error> {
    let (cron, every_ms) = match &timer.when {
        Schedule::Cron(pattern) => (Some(pattern.clone()), None),
        Schedule::Every(period) => (None, Some(*period)),
    };
    let state = match timer.ownership {
        _ if timer.removed => ScheduleState::Removed,
        Some(kept) if !is_live(kept, now) => ScheduleState::Unclaimed,
        _ if timer.next_at.is_none() => ScheduleState::Spent,
        _ => ScheduleState::Active,
    };
    let next_at = timer.next_at.filter(|_| state == ScheduleState::Active);
    let last = match &timer.last {
        None => None,
        Some(fired) => {
            let (status, said) = match &fired.job {
                Some(job) => job_outcome(app, job).await?,
                None => (None, None),
            };
            Some(LastView {
                at: view::time(fired.at),
                job_id: fired.job.as_ref().map(ToString::to_string),
                status,
                error: fired.error.clone().or(said),
            })
        }
    };
    Ok(ScheduleView {
        name: timer.name.clone(),
        state,
        timezone: cron.is_some().then(|| timer.timezone.clone()),
        cron,
        every_ms,
        missed: timer.missed.as_str(),
        kind: timer.kind.clone(),
        queue: timer.queue.clone(),
        priority: timer.priority,
        max_attempts: timer.max_attempts,
        timeout_ms: timer.timeout_ms,
        next_at: next_at.and_then(view::time),
        fired: timer.fired,
        last,
    })
}

/// Where a job stands, and what it last said.
async fn job_outcome(
    app: &Gateway,
    job: &JobId,
) -> Result<(Option<StatusWord>, Option<String>), Error> {
    match app.jobs.get(job).await {
        Ok(record) => Ok((Some(record.status.into()), record.header.error)),
        Err(Error::NotFound { .. }) => Ok((None, None)),
        Err(error) => Err(error),
    }
}
