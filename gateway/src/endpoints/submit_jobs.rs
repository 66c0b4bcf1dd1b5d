//! `POST /api/v1/jobs/batch`

use jobs::{MAX_SUBMIT, NewJob};

use super::prelude::*;
use crate::{
    accepted::Accepted,
    body::{Array, from_object},
    submit::Submission,
};

/// What became of one job of a batch.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = Outcome)]
pub(super) enum BatchOutcome {
    /// It was accepted.
    Accepted(Accepted),
    /// It was not.
    Refused {
        /// Why.
        problem: Box<Problem>,
    },
}

impl From<Problem> for BatchOutcome {
    fn from(problem: Problem) -> Self {
        let problem = Box::new(problem);
        Self::Refused { problem }
    }
}

/// Submit many jobs.
///
/// At most 1,000. The answer has their order: each is accepted, or has its own problem. Each job has
/// its own idempotency key.
#[utoipa::path(post, path = "/api/v1/jobs/batch", tag = "jobs", operation_id = "submitJobs",
    request_body(content = Vec<Submission>, description = "At most 1,000", example = json!([
        {"kind": "http", "payload": {"url": "https://example.org/a"}},
        {"kind": "http", "payload": {"url": "https://example.org/b"}, "priority": 5}])),
    responses((status = 202, description = "What became of each", body = Vec<BatchOutcome>, example = json!([
        {"job_id": "default.0.0193a7c0f2b1f00d5e1f8a3c2d4", "status": "queued"},
        {"problem": {"type": "urn:mesh:problem:invalid", "title": "A field is invalid", "status": 422,
            "detail": "payload.url: \"/a\" is no URL: relative URL without a base",
            "errors": [{"field": "payload.url", "reason": "\"/a\" is no URL: relative URL without a base"}]}}]))))]
pub(super) async fn submit(
    State(app): State<App>,
    caller: RequestContext,
    Array(body): Array,
) -> JsonResult<Vec<BatchOutcome>> {
    if caller.key.is_some() {
        let reason = "is one key for many jobs: give each job its own idempotency_key";
        return Err(Problem::field("Idempotency-Key", reason));
    }
    if body.len() > MAX_SUBMIT {
        let reason = format!(
            "{} jobs are more than the {MAX_SUBMIT} that one request may have",
            body.len()
        );
        return Err(Problem::field("body", reason));
    }
    let mut outcomes: Vec<Option<BatchOutcome>> = Vec::with_capacity(body.len());
    let (mut good, mut places): (Vec<NewJob>, Vec<usize>) = (Vec::new(), Vec::new());
    for (place, value) in body.into_iter().enumerate() {
        let submission = from_object::<Submission>(value);
        match submission.and_then(|submission| submission.job(&app, &caller)) {
            Ok(job) => {
                good.push(job);
                places.push(place);
                outcomes.push(None);
            }
            Err(problem) => outcomes.push(Some(problem.into())),
        }
    }
    let mut away = None;
    let kinds: Vec<String> = good.iter().map(|job| job.kind.clone()).collect();
    let submitted = app.with_timeout(app.jobs.submit_all(good)).await?;
    for ((place, kind), submitted) in places.into_iter().zip(kinds).zip(submitted) {
        app.metrics.submitted(&kind, &submitted);
        outcomes[place] = Some(match submitted {
            Ok(submitted) => BatchOutcome::Accepted((&submitted).into()),
            Err(error) => {
                if error.is_unavailable() {
                    away = Some(error.clone());
                }
                Problem::from(error).into()
            }
        });
    }
    let outcomes: Vec<BatchOutcome> = outcomes.into_iter().flatten().collect();
    let none = !outcomes
        .iter()
        .any(|outcome| matches!(outcome, BatchOutcome::Accepted(_)));
    if let (Some(error), true) = (away, none) {
        return Err(error.into());
    }
    Ok(JsonResponse::accepted(outcomes))
}
