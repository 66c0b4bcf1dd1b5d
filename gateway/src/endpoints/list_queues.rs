//! `GET /api/v1/queues`

use jobs::QueueStats;

use super::prelude::*;

/// A queue and its counts.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"queue": "default", "queued": 2, "scheduled": 0, "running": 4, "succeeded": 1200,
    "failed": 1, "dead": 0, "cancelled": 3, "oldest_queued_seconds": 0.8, "served": true}))]
pub(super) struct QueueView {
    /// Its name.
    #[schema(example = "default")]
    queue: String,
    /// Jobs that wait for a worker.
    queued: u64,
    /// Jobs that wait until their time comes.
    scheduled: u64,
    /// Jobs that a worker runs.
    running: u64,
    /// Jobs that succeeded, ever.
    succeeded: u64,
    /// Jobs that wait for another attempt.
    failed: u64,
    /// Dead letters.
    dead: u64,
    /// Jobs that were cancelled, ever.
    cancelled: u64,
    /// How long the next in line has waited; null when none waits.
    oldest_queued_seconds: Option<f64>,
    /// Whether a runner serves it; null when that is not known yet.
    served: Option<bool>,
}

/// List queues.
///
/// Every queue that ever had a job, with its counts.
#[utoipa::path(get, path = "/api/v1/queues", tag = "queues", operation_id = "listQueues",
    responses((status = 200, description = "The queues", body = Vec<QueueView>)))]
pub(super) async fn list(State(app): State<App>) -> JsonResult<Vec<QueueView>> {
    let queues = app.with_timeout(app.jobs.queues()).await?;
    Ok(JsonResponse::ok(queues.iter().map(queue).collect()))
}

fn queue(stats: &QueueStats) -> QueueView {
    let counts = &stats.counts;
    QueueView {
        queue: stats.queue.clone(),
        queued: counts.queued,
        scheduled: counts.scheduled,
        running: counts.running,
        succeeded: counts.succeeded,
        failed: counts.failed,
        dead: counts.dead,
        cancelled: counts.cancelled,
        oldest_queued_seconds: stats.oldest_queued().map(|age| age.as_secs_f64()),
        served: stats.served,
    }
}
