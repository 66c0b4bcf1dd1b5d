//! The workflow runner: carries out runs of workflows. Any number may run beside each other.
//!
//! Runs belong to shards, and a shard belongs to one runner by a lease. Read it in this order:
//! `core` (one task that owns everything: shards, runs, and what waits to be stored) → `core/intake`
//! (what comes for runs) → `core/step` (an input is given to its run, and what follows is gathered)
//! → `core/commit` (many runs in one transaction) → `core/effects` (jobs are submitted and called off)
//! → `dispatch` (which job a node is, and what becomes of its result).

mod changes;
mod clock;
mod completions;
mod core;
mod dispatch;
mod http_api;
mod ids;
mod keys;
mod loaded;
mod metrics;
mod outcome;
mod runner;
mod spans;

use service::{Context, ServiceKind, Services, Spec};

/// The workflow runner's description.
pub const SPEC: Spec = Spec {
    program: "workflow-runner",
    service: "workflow-runner",
    kind: ServiceKind::Service,
    tags: &["workflows", "http"],
    port_env: "WORKFLOW_RUNNER_PORT",
    default_port: 8088,
    version: env!("CARGO_PKG_VERSION"),
    about: "The workflow runner: carries out runs of workflows",
    idempotent: &[],
    keys: &[
        &[
            keys::WorkflowKeys::GROUP,
            work::RunKeys::GROUP,
            work::ApprovalLinkKeys::GROUP,
        ],
        service::WEB,
        work::KEYS,
        service::CALLS,
        service::MESSAGES,
    ],
};

/// Builds a runner.
///
/// # Errors
/// When the address of a store is invalid, or another process has its folder open.
pub fn build(context: &Context) -> anyhow::Result<Services> {
    let runner = runner::Runner::new(context)?;
    let served =
        Services::new().listener(move |backend, listener| runner.start(&backend, listener));
    Ok(served.checked_by_http())
}
