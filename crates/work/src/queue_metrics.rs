//! The lengths of queues, as metrics.

use std::{sync::atomic::AtomicU64, time::Duration};

use jobs::{Jobs, QueueStats};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
};
use telemetry::MetricsRegistry;
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

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StatusLabels {
    queue: String,
    status: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct QueueLabels {
    queue: String,
}

/// Gauges of the queues: of the store, so the same at every program that counts them.
#[derive(Clone, Debug, Default)]
pub struct QueueMetrics {
    jobs: Family<StatusLabels, Gauge>,
    oldest: Family<QueueLabels, Gauge<f64, AtomicU64>>,
}

impl QueueMetrics {
    /// Gauges registered with `registry`.
    #[must_use]
    pub fn new(registry: &MetricsRegistry) -> Self {
        let metrics = Self::default();
        let about = "Jobs in the store by status; succeeded and cancelled ones since ever";
        registry.register("mesh_jobs_queue_length", about, metrics.jobs.clone());
        let about = "How long the next in line has waited";
        let oldest = metrics.oldest.clone();
        registry.register("mesh_jobs_oldest_queued_seconds", about, oldest);
        metrics
    }

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
            let queue = queue.clone();
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            let gauge = self.jobs.get_or_create(&StatusLabels { queue, status });
            gauge.set(count);
        }
        let oldest = stats.oldest_queued().unwrap_or_default().as_secs_f64();
        let queue = queue.clone();
        self.oldest
            .get_or_create(&QueueLabels { queue })
            .set(oldest);
    }
}
