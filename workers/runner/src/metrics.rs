//! What the runner counts.

use std::time::Duration;

use jobs::QueueStats;
use telemetry::{
    Registry,
    prometheus_client::{
        encoding::EncodeLabelSet,
        metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    },
};

/// Upper bounds in seconds: jobs take from a millisecond to an hour.
const BUCKETS: [f64; 14] = [
    0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0,
];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Ended {
    queue: String,
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Started {
    queue: String,
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Standing {
    queue: String,
    status: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Queue {
    queue: String,
}

/// The runner's metrics; labels are names of queues and closed sets of words.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    attempts: Family<Ended, Counter>,
    run: Family<Ended, Histogram, fn() -> Histogram>,
    wait: Family<Started, Histogram, fn() -> Histogram>,
    running: Family<Started, Gauge>,
    standing: Family<Standing, Gauge>,
    oldest: Family<Queue, Gauge<f64, std::sync::atomic::AtomicU64>>,
}

impl Metrics {
    /// Metrics registered with `registry`.
    pub(crate) fn new(registry: &Registry) -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(BUCKETS);
        let metrics = Self {
            attempts: Family::default(),
            run: Family::new_with_constructor(histogram),
            wait: Family::new_with_constructor(histogram),
            running: Family::default(),
            standing: Family::default(),
            oldest: Family::default(),
        };
        let Self {
            attempts,
            run,
            wait,
            running,
            standing,
            oldest,
        } = metrics.clone();
        registry.register(
            "mesh_jobs_attempts",
            "Attempts of jobs that ended here",
            attempts,
        );
        registry.register(
            "mesh_jobs_run_duration_seconds",
            "Duration of attempts",
            run,
        );
        let about = "Time from submission to the start of an attempt";
        registry.register("mesh_jobs_wait_duration_seconds", about, wait);
        registry.register("mesh_jobs_running", "Attempts that run here now", running);
        let about = "Jobs in the store by status; succeeded and cancelled ones since ever";
        registry.register("mesh_jobs_queue_length", about, standing);
        let about = "How long the next in line has waited";
        registry.register("mesh_jobs_oldest_queued_seconds", about, oldest);
        metrics
    }

    /// An attempt begins; it is over when what is given is told or dropped.
    pub(crate) fn begin(&self, queue: &str, kind: &'static str, waited: Duration) -> Attempt<'_> {
        let labels = Started {
            queue: queue.to_owned(),
            kind,
        };
        self.wait
            .get_or_create(&labels)
            .observe(waited.as_secs_f64());
        self.running.get_or_create(&labels).inc();
        Attempt {
            metrics: self,
            labels,
            began: std::time::Instant::now(),
            outcome: "cut",
        }
    }

    /// A queue was counted.
    pub(crate) fn counted(&self, stats: &QueueStats) {
        let counts = &stats.counts;
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
            let labels = Standing {
                queue: stats.queue.clone(),
                status,
            };
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.standing.get_or_create(&labels).set(count);
        }
        let oldest = stats.oldest_queued().unwrap_or_default().as_secs_f64();
        self.oldest
            .get_or_create(&Queue {
                queue: stats.queue.clone(),
            })
            .set(oldest);
    }
}

/// An attempt under way. One that is dropped before its outcome is known was cut: it took too
/// long, was called off, or lost its lease.
pub(crate) struct Attempt<'a> {
    metrics: &'a Metrics,
    labels: Started,
    began: std::time::Instant,
    outcome: &'static str,
}

impl Attempt<'_> {
    /// How it ended.
    pub(crate) fn end(mut self, outcome: &'static str) {
        self.outcome = outcome;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let Started { queue, kind } = self.labels.clone();
        let ended = Ended {
            queue,
            kind,
            outcome: self.outcome,
        };
        self.metrics.running.get_or_create(&self.labels).dec();
        self.metrics.attempts.get_or_create(&ended).inc();
        let took = self.began.elapsed().as_secs_f64();
        self.metrics.run.get_or_create(&ended).observe(took);
    }
}
