//! `POST /enqueue`: a run of the pipeline towards a goal.

use work::{JobKind as _, Pipeline};

use super::prelude::*;

/// The goal of a run.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct Goal {
    /// In the user's words.
    #[schema(
        min_length = 1,
        max_length = 65536,
        example = "Research -> code -> review"
    )]
    goal: String,
}

/// A run that was accepted.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"ok": true, "job_id": "default.0.0193a7c0f2b1f00d5e1f8a3c2d4",
    "run_id": "run-k3n8x2qa"}))]
pub(super) struct Enqueued {
    /// Always true; failures are problem details.
    ok: bool,
    /// Its job.
    job_id: String,
    /// Names the run, and the folder with its files.
    #[schema(example = "run-k3n8x2qa")]
    run_id: String,
    /// Why it may wait for long, where that is known: no runner serves its queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    warning: Option<String>,
}

/// Start a run of the pipeline.
#[utoipa::path(post, path = "/enqueue", tag = "short forms", operation_id = "enqueue",
    request_body = Goal,
    responses((status = 202, description = "Accepted", body = Enqueued)))]
pub(super) async fn enqueue(
    State(app): State<App>,
    caller: RequestContext,
    Json(body): Json<Goal>,
) -> JsonResult<Enqueued> {
    let pipeline = Pipeline::new(&body.goal, caller.key.as_deref());
    let run_id = pipeline.run_id.clone();
    let mut job = pipeline.checked_job()?;
    job.queue = app.queue(Some("runs"));
    caller.apply_to(&mut job)?;
    let submitted = app.submit(job).await?;
    let enqueued = Enqueued {
        ok: true,
        job_id: submitted.id.to_string(),
        run_id,
        warning: app.warning(submitted.id.queue(), submitted.status).await,
    };
    Ok(JsonResponse::accepted(enqueued))
}
