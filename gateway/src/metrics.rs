//! Metrics of requests and their jobs, with OpenTelemetry's names.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
};
use telemetry::MetricsRegistry;

/// Upper bounds in seconds, as OpenTelemetry recommends them.
const BUCKETS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    http_request_method: &'static str,
    http_route: String,
    http_response_status_code: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Submitted {
    kind: String,
    outcome: &'static str,
}

/// The requests that were answered, and the jobs that came with them.
#[derive(Debug)]
pub(crate) struct Metrics {
    duration: Family<Labels, Histogram>,
    submitted: Family<Submitted, Counter>,
}

impl Metrics {
    pub(crate) fn new(registry: &MetricsRegistry) -> Self {
        let duration =
            Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        let about = "Duration of HTTP requests, until the head of their answer";
        registry.register(
            "http_server_request_duration_seconds",
            about,
            duration.clone(),
        );
        let submitted = Family::default();
        let about = "Jobs submitted: new, known by their key, refused, or failed because the queue is unavailable";
        registry.register("mesh_jobs_submitted", about, submitted.clone());
        Self {
            duration,
            submitted,
        }
    }

    /// Counts a job that was handed in; `kind` is a checked one.
    pub(crate) fn submitted(&self, kind: &str, answer: &Result<jobs::Submitted, jobs::Error>) {
        let outcome = match answer {
            Ok(submitted) if submitted.existing => "existing",
            Ok(_) => "new",
            Err(error) if error.is_unavailable() => "unavailable",
            Err(_) => "refused",
        };
        let kind = kind.to_owned();
        self.submitted
            .get_or_create(&Submitted { kind, outcome })
            .inc();
    }

    /// Counts one; `route` is a row of the table of routes, so that callers cannot make up labels.
    pub(crate) fn observe(&self, method: &http::Method, route: &str, status: u16, took: Duration) {
        let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
        let known = known.into_iter().find(|known| *known == method.as_str());
        let labels = Labels {
            http_request_method: known.unwrap_or("_OTHER"),
            http_route: route.to_owned(),
            http_response_status_code: status,
        };
        self.duration
            .get_or_create(&labels)
            .observe(took.as_secs_f64());
    }
}
