//! An entry of a schedule as the API shows it.

use axum::extract::{Path, rejection::PathRejection};
use jobs::{Error, JobId, Schedule, Timer, is_live};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    job_view::{self, StatusWord},
    problem::{Problem, ProblemKind},
    state::Gateway,
    submit::KindWord,
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
    /// Its state.
    state: ScheduleState,
    /// Its cron pattern, where it has one.
    #[schema(example = "0 3 * * *")]
    cron: Option<String>,
    /// The pattern's time zone.
    #[schema(example = "Europe/Berlin")]
    timezone: Option<String>,
    /// How often it fires, where it has no pattern.
    every_ms: Option<u64>,
    /// What is done about times that were missed while no scheduler ran: `once`, `all` or `skip`.
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
    /// How many times it has fired.
    fired: u64,
    /// The latest job; null before the first.
    last: Option<LastView>,
}

/// The state of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ScheduleState {
    /// It fires.
    Active,
    /// Its pattern matches no later time.
    Spent,
    /// It was removed: it does not fire until its entry changes.
    Removed,
    /// No running scheduler has it: it does not fire.
    Unclaimed,
}

/// The latest job of an entry.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LastView {
    /// The time that it fired for, RFC 3339.
    at: Option<String>,
    /// The job.
    job_id: Option<String>,
    /// The job's status; null when it is no longer kept.
    status: Option<StatusWord>,
    /// Why there is no job, or the error of its latest failed attempt.
    error: Option<String>,
}

/// The whole name of the entry that somebody means.
pub(crate) async fn resolve(
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

pub(crate) fn unknown(name: &str) -> Problem {
    let text = format!("no schedule has an entry {name:?}; GET /api/v1/schedules lists them");
    Problem::new(ProblemKind::NotFound, text)
}

pub(crate) async fn view(app: &Gateway, timer: &Timer, now: u64) -> Result<ScheduleView, Error> {
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
                at: job_view::time(fired.at),
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
        next_at: next_at.and_then(job_view::time),
        fired: timer.fired,
        last,
    })
}

/// A job's status, and the error of its latest failed attempt.
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
