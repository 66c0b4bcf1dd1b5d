//! Metrics of requests and their jobs, with OpenTelemetry's names.

use std::time::Duration;

use telemetry::{Counter, Histogram, TraceContext};

/// Upper bounds in seconds, as OpenTelemetry recommends them, with four for answers of agents.
const BUCKETS: [f64; 18] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0,
    300.0, 900.0,
];

telemetry::metrics! {
    /// The requests that were answered, and the jobs that came with them.
    pub(crate) struct Metrics {
        duration: Histogram ["http_request_method", "http_route", "http_response_status_code"] =
            "http_server_request_duration_seconds": "Duration of HTTP requests, until the head of their answer",
            || Histogram::new(BUCKETS);
        submitted: Counter ["kind", "outcome"] = "mesh_jobs_submitted":
            "Jobs handed in: new, known by their key, refused, or not taken since the queue is away";
        runs: Counter ["outcome"] = "mesh_workflow_starts":
            "Runs of workflows that were asked for: taken in or refused";
    }
}

impl Metrics {
    /// Counts a submitted job; `kind` is a known one.
    pub(crate) fn submitted(&self, kind: &str, answer: &Result<jobs::Submitted, jobs::Error>) {
        let outcome = match answer {
            Ok(submitted) if submitted.existing => "existing",
            Ok(_) => "new",
            Err(error) if error.is_unavailable() => "unavailable",
            Err(_) => "refused",
        };
        self.submitted.of([kind, outcome]).inc();
    }

    /// Counts a run that was handed in.
    pub(crate) fn run_submitted(&self, is_taken: bool) {
        let outcome = if is_taken { "taken_in" } else { "refused" };
        self.runs.of([outcome]).inc();
    }

    /// Counts one; `route` is a row of the table of routes, so that callers cannot make up labels.
    /// The trace becomes an exemplar if it is recorded.
    pub(crate) fn observe(
        &self,
        method: &http::Method,
        route: &str,
        status: u16,
        took: Duration,
        trace: Option<TraceContext>,
    ) {
        let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
        let known = known.into_iter().find(|known| *known == method.as_str());
        let status = http::StatusCode::from_u16(status).unwrap_or_default();
        let labels = [known.unwrap_or("_OTHER"), route, status.as_str()];
        let duration = self.duration.of(labels);
        duration.observe_of(took.as_secs_f64(), trace);
    }
}
