//! The lengths of queues, as metrics.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use config::{Config, integer};
use jobs::{Jobs, QueueStats};
use parking_lot::Mutex;
use telemetry::{FloatGauge, Gauge, MetricsRegistry, rpc::OTHER};
use tokio::time::{Instant, sleep};

config::keys! {
    /// How queues are counted.
    #[derive(Clone, Debug)]
    pub struct QueueMetricsKeys: "Metrics of queues" {
        /// Time between two counts of the queues for the metrics, 100 ms at least.
        queue_sample: Duration = config::duration("5s").bounded_by(3600).zero("100 ms"),
        /// Queues that have metrics of their own. Those of further ones are added up as `_OTHER`.
        metrics_queues: usize = integer(100, 0..=100_000, "queues").zero("none"),
    }
}

/// Counting asks every partition of every queue: not more often than this.
const MIN_INTERVAL: Duration = Duration::from_millis(100);
/// Numbers that were not counted anew for so many intervals are not shown any longer.
const STALE: u32 = 3;

telemetry::metrics! {
    /// Gauges of the queues: of the store, so the same at every program that counts them.
    struct Rows {
        jobs: Gauge ["queue", "status"] = "mesh_jobs_queue_length":
            "Jobs in the store by status; succeeded and cancelled ones since ever";
        oldest: FloatGauge ["queue"] = "mesh_jobs_oldest_queued_seconds":
            "How long the next in line has waited; of many queues the longest";
    }
}

/// Counts the queues.
#[derive(Clone, Debug)]
pub struct QueueMetrics {
    rows: Rows,
    every: Duration,
    most: usize,
    /// When the queues were last counted.
    counted: Arc<Mutex<Option<Instant>>>,
}

/// The numbers of a queue, or of several.
#[derive(Clone, Copy, Default)]
struct QueueRow {
    by_status: [u64; STATUSES.len()],
    oldest: Duration,
}

const STATUSES: [&str; 7] = [
    "queued",
    "scheduled",
    "running",
    "failed",
    "dead",
    "succeeded",
    "cancelled",
];

impl QueueMetrics {
    /// Registers them. They have no series until [`Self::run`] has counted.
    #[must_use]
    pub fn new(registry: &MetricsRegistry, config: &Config) -> Self {
        let keys = QueueMetricsKeys::from_config(config);
        let metrics = Self {
            rows: Rows::new(registry),
            every: keys.queue_sample.max(MIN_INTERVAL),
            most: keys.metrics_queues,
            counted: Arc::default(),
        };
        let shown = metrics.clone();
        registry.before_scrape(move || shown.forget_stale());
        metrics
    }

    /// Counts the queues at once and then every so often, for ever. While the store is away nothing
    /// is known of them: after a while the gauges say so by their absence.
    pub async fn run(&self, jobs: &Jobs) {
        let mut named = BTreeSet::new();
        loop {
            match jobs.queues().await {
                Ok(queues) => {
                    self.show(&mut named, &queues);
                    *self.counted.lock() = Some(Instant::now());
                }
                Err(error) => tracing::debug!(%error, "queues not counted"),
            }
            sleep(self.every).await;
        }
    }

    fn forget_stale(&self) {
        let mut counted = self.counted.lock();
        if counted.is_some_and(|at| at.elapsed() > self.every * STALE) {
            *counted = None;
            self.rows.jobs.clear();
            self.rows.oldest.clear();
        }
    }

    /// `named` are the queues with series of their own: they keep them while they are there.
    fn show(&self, named: &mut BTreeSet<String>, queues: &[QueueStats]) {
        named.retain(|name| queues.iter().any(|stats| stats.queue == *name));
        let mut shown: BTreeMap<&str, QueueRow> = BTreeMap::new();
        for stats in queues {
            if !named.contains(&stats.queue) && named.len() < self.most {
                named.insert(stats.queue.clone());
            }
            let name = match named.contains(&stats.queue) {
                true => stats.queue.as_str(),
                false => OTHER,
            };
            shown.entry(name).or_default().add(stats);
        }
        self.rows.jobs.replace(shown.iter().flat_map(|(name, row)| {
            let counts = STATUSES.iter().zip(row.by_status);
            counts.map(|(status, count)| {
                let count = i64::try_from(count).unwrap_or(i64::MAX);
                ([*name, *status], Gauge::at(count))
            })
        }));
        let oldest = shown.iter();
        let oldest = oldest.map(|(name, row)| ([*name], FloatGauge::at(row.oldest.as_secs_f64())));
        self.rows.oldest.replace(oldest);
    }
}

impl QueueRow {
    fn add(&mut self, stats: &QueueStats) {
        let counts = &stats.counts;
        let more = [
            counts.queued,
            counts.scheduled,
            counts.running,
            counts.failed,
            counts.dead,
            counts.succeeded,
            counts.cancelled,
        ];
        for (sum, more) in self.by_status.iter_mut().zip(more) {
            *sum += more;
        }
        self.oldest = self.oldest.max(stats.oldest_queued().unwrap_or_default());
    }
}
