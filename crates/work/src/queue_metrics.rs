//! The lengths of queues, as metrics.

use std::time::Duration;

use jobs::{Jobs, QueueStats};
use telemetry::{FloatGauge, Gauge};
use tokio::time::sleep;

config::keys! {
    /// How queues are counted.
    #[derive(Clone, Debug)]
    pub struct QueueMetricsKeys: "Metrics of queues" {
        /// Time between two counts of the queues for the metrics, 100 ms at least.
        queue_sample: Duration = config::duration("5s").bounded_by(3600).zero("100 ms"),
    }
}
/// Counting asks every partition of every queue: not more often than this.
const MIN_INTERVAL: Duration = Duration::from_millis(100);

telemetry::metrics! {
    /// Gauges of the queues: of the store, so the same at every program that counts them.
    pub struct QueueMetrics {
        jobs: Gauge ["queue", "status"] = "mesh_jobs_queue_length":
            "Jobs in the store by status; succeeded and cancelled ones since ever";
        oldest: FloatGauge ["queue"] = "mesh_jobs_oldest_queued_seconds":
            "How long the next in line has waited";
    }
}

impl QueueMetrics {
    /// Counts the queues at once and then every so often, for ever. While the store is away the
    /// gauges stay as they were.
    pub async fn run(&self, jobs: &Jobs, every: Duration) {
        loop {
            match jobs.queues().await {
                Ok(queues) => queues.iter().for_each(|stats| self.update(stats)),
                Err(error) => tracing::debug!(%error, "queues not counted"),
            }
            sleep(every.max(MIN_INTERVAL)).await;
        }
    }

    fn update(&self, stats: &QueueStats) {
        let (queue, counts) = (&stats.queue, &stats.counts);
        let rows = [
            ("queued", counts.queued),
            ("scheduled", counts.scheduled),
            ("running", counts.running),
            ("failed", counts.failed),
            ("dead", counts.dead),
            ("succeeded", counts.succeeded),
            ("cancelled", counts.cancelled),
        ];
        for (status, count) in rows {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.jobs.of([queue, status]).set(count);
        }
        let oldest = stats.oldest_queued().unwrap_or_default().as_secs_f64();
        self.oldest.of([queue]).set(oldest);
    }
}
