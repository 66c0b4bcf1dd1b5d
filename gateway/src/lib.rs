//! The gateway: jobs, their events, and calls of the mesh as JSON over HTTP.
//!
//! A request passes the `middleware` (request ID, span, rate limit, query check) and reaches the one
//! of the `endpoints` that its path names. That calls [`jobs::Jobs`] or [`dynamic::DynamicClient`].
//! A failure becomes problem details (`problem`, `errors`).

#![expect(
    clippy::result_large_err,
    reason = "a problem is the answer itself, made once by a request that failed"
)]

mod accepted;
mod body;
mod cors;
mod endpoint;
mod endpoints;
mod errors;
mod event_streams;
mod events;
mod job_view;
mod json_response;
mod keys;
mod mcp;
mod metrics;
mod middleware;
mod number;
mod openapi;
mod problem;
mod query;
mod rate_limit;
mod request_context;
mod rules;
mod schedule_view;
mod state;
mod submit;
mod task_view;
mod workflows;

use std::sync::Arc;

use service::{Context, HttpListener, ServiceKind, Services, Spec};
use work::QueueMetrics;

use endpoint::Port;
use mcp::Front;

pub use openapi::document;
pub use problem::{FieldProblem, Problem};

/// What the gateway says of itself.
pub const SPEC: Spec = Spec {
    program: "mesh-gateway",
    service: "mesh-gateway",
    kind: ServiceKind::Service,
    tags: &["gateway", "http"],
    port_env: "GATEWAY_PORT",
    default_port: 8080,
    version: env!("CARGO_PKG_VERSION"),
    about: "The HTTP gateway: jobs, events and calls of the mesh as JSON",
    idempotent: &[],
    keys: &[
        &[
            keys::GatewayKeys::GROUP,
            keys::WorkflowKeys::GROUP,
            ::mcp::CatalogKeys::GROUP,
            dynamic::RouterKeys::GROUP,
            work::QueueMetricsKeys::GROUP,
            work::RunKeys::GROUP,
            mcp::keys::McpKeys::GROUP,
            ::mcp::ToolKeys::GROUP,
            work::ApprovalLinkKeys::GROUP,
        ],
        service::WEB,
        work::KEYS,
        service::CALLS,
        service::TOOLS,
        service::MESSAGES,
    ],
};

/// Builds the gateway.
///
/// # Errors
/// When an address is invalid, or another process uses the queue's folder.
pub fn build(context: &Context) -> anyhow::Result<Services> {
    let document = openapi::document().to_pretty_json()?;
    let gateway = state::Gateway::new(context, endpoints::rules(), document)?;
    let gateway = Arc::new(gateway);
    let mcp = mcp::McpServer::new(context, gateway.mcp_parts())?;
    let all = Front::new(Arc::clone(&mcp), endpoints::router(Port::Main, &gateway));
    let context = context.clone();
    let queue_metrics = QueueMetrics::new(&context.registry, &context.config);
    let served = Services::new().listener(move |backend, listener| {
        let ports = HttpListener::new(&backend);
        ports.serve(listener, all)?;
        let keys = &gateway.workflows.keys;
        for (port, name, number) in [
            (Port::Tasks, "TASKS_PORT", gateway.keys.tasks_port),
            (Port::Workflows, "WORKFLOWS_PORT", keys.workflows_port),
            (Port::Fanout, "FANOUT_PORT", keys.fanout_port),
            (Port::Mcp, "MCP_PORT", mcp.keys.mcp_port),
        ] {
            let Some(number) = number else { continue };
            let address = &context.keys.listen.listen_address;
            let listener = service::bind("listen_address", address, name, number)?;
            let address = listener.local_addr()?;
            match port {
                Port::Workflows => tracing::info!(workflows = %address, "serving"),
                Port::Fanout => tracing::info!(fanout = %address, "serving"),
                Port::Mcp => tracing::info!(mcp = %address, "serving"),
                Port::Main | Port::Tasks => tracing::info!(tasks = %address, "serving"),
            }
            let listener = listener.into_std()?;
            let router = endpoints::router(port, &gateway);
            match port {
                Port::Mcp => ports.serve(listener, Front::new(Arc::clone(&mcp), router))?,
                _ => ports.serve(listener, router)?,
            }
        }
        context.tracker.spawn(async move {
            let counting = queue_metrics.run(&gateway.jobs);
            context.shutdown.run_until_cancelled(counting).await;
        });
        Ok(Arc::new(ports))
    });
    Ok(served.checked_by_http())
}
