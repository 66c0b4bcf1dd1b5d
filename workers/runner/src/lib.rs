//! The job runner: runs jobs from the queue.
//!
//! A job is read here in this order: `runner` (claims, leases and the drain are [`jobs::Worker`]'s)
//! → `handler` (span, measuring, metrics) → one of the kinds of `crates/work`. `http_api` says how
//! the runner is.

mod handler;
mod host;
mod http_api;
mod job_span;
mod keys;
mod meter;
mod metrics;
mod process;
mod runner;

use service::{Context, ServiceKind, Services, Spec};

/// The job runner's description.
pub const SPEC: Spec = Spec {
    program: "job-runner",
    service: "job-runner",
    kind: ServiceKind::Service,
    tags: &["jobs", "http"],
    port_env: "RUNNER_PORT",
    default_port: 8086,
    version: env!("CARGO_PKG_VERSION"),
    about: "The job runner: does the work of jobs from the queue",
    idempotent: &[],
    keys: &[
        &[
            keys::RunnerKeys::GROUP,
            dynamic::RouterKeys::GROUP,
            work::QueueMetricsKeys::GROUP,
        ],
        service::WEB,
        work::KEYS,
        fetch::KEYS,
        service::CALLS,
        service::MESSAGES,
    ],
};

/// Builds a runner.
///
/// # Errors
/// When the queue's address is invalid, another process has its folder open, or TLS cannot be set
/// up.
pub fn build(context: &Context) -> anyhow::Result<Services> {
    let runner = runner::Runner::new(context)?;
    let served =
        Services::new().listener(move |backend, listener| runner.start(&backend, listener));
    Ok(served.checked_by_http())
}
