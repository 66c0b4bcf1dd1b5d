//! The HTTP endpoints: a file and a row each. Routes, OpenAPI, the check of query strings, the rate
//! limit and the labels of metrics derive from the rows.

mod call;
mod cancel_job;
mod docs;
mod enqueue;
mod get_job;
mod get_rq_job;
mod get_task;
mod health;
mod job_events;
mod list_jobs;
mod list_mcp_services;
mod list_queues;
mod list_schedules;
mod list_services;
mod metrics;
mod openapi_json;
mod prelude;
mod queue_events;
mod readyz;
mod remove_schedule;
mod retry_job;
mod run_schedule;
mod submit_http_job;
mod submit_job;
mod submit_jobs;
mod submit_task;
mod workflows;

use axum::{Router, extract::DefaultBodyLimit, middleware::from_fn_with_state};

use crate::{
    endpoint::{Endpoint, Port},
    middleware::{method_not_allowed, not_found, on_request},
    rules::Rules,
    state::App,
};

/// The endpoint of a handler with `#[utoipa::path]`, which says its path and its method.
macro_rules! described {
    ($($path:ident)::+) => {{
        #[derive(utoipa::OpenApi)]
        #[openapi(paths($($path)::+))]
        struct Description;
        Endpoint::described(
            <Description as utoipa::OpenApi>::openapi(),
            $($path)::+,
        )
    }};
}

/// Every endpoint, in the order of the description.
pub(crate) fn all() -> Vec<Endpoint> {
    let mut all = of_jobs();
    all.extend(of_workflows());
    all
}

/// Workflows, their runs and approvals.
fn of_workflows() -> Vec<Endpoint> {
    use workflows::{
        approval, approvals, artifacts, catalog, health, logs, page, run_control, run_events,
        run_patches, runs, short_runs, tags, versions,
    };
    let described = [
        described!(catalog::create),
        described!(catalog::list),
        described!(catalog::validate),
        described!(versions::get),
        described!(versions::at),
        described!(versions::patch),
        described!(catalog::delete),
        described!(tags::list),
        described!(tags::get),
        described!(tags::move_to),
        described!(tags::undo),
        described!(tags::redo),
        described!(tags::history),
        described!(artifacts::get),
        described!(runs::execute),
        described!(runs::of_workflow),
        described!(runs::start),
        described!(runs::list),
        described!(runs::get),
        described!(runs::details),
        described!(run_events::of_run).streams_events(),
        described!(run_patches::create),
        described!(run_patches::list),
        described!(run_patches::operations_of),
        described!(run_patches::patch),
        described!(run_control::cancel),
        described!(run_control::terminate),
        described!(run_control::pause),
        described!(run_control::resume),
        described!(run_control::retry),
        described!(run_control::fork),
        described!(run_control::signal),
        described!(approvals::list),
        described!(approvals::get),
        described!(approvals::decide),
        described!(approvals::link),
        described!(short_runs::start),
        described!(short_runs::list),
        described!(short_runs::get),
        described!(short_runs::cancel),
        described!(logs::stream).streams_events(),
    ];
    let mut all: Vec<Endpoint> = described.into_iter().map(Endpoint::of_workflows).collect();
    all.extend([
        described!(approval::approve).on_fanout_port(),
        described!(run_events::of_user)
            .streams_events()
            .on_fanout_port(),
        Endpoint::get("/approvals/{id}", page::show).of_workflows(),
        Endpoint::get("/approvals/page.js", page::script).of_workflows(),
        Endpoint::get("/health", health::workflows)
            .on_port_alone(Port::Workflows)
            .not_rate_limited(),
        Endpoint::get("/health", health::fanout)
            .on_port_alone(Port::Fanout)
            .not_rate_limited(),
    ]);
    all
}

fn of_jobs() -> Vec<Endpoint> {
    vec![
        described!(submit_job::submit),
        described!(list_jobs::list),
        described!(submit_jobs::submit),
        described!(get_job::get),
        described!(cancel_job::cancel),
        described!(retry_job::retry),
        described!(job_events::job_events).streams_events(),
        described!(queue_events::queue_events).streams_events(),
        described!(list_queues::list),
        described!(list_services::list),
        described!(list_mcp_services::list),
        described!(list_schedules::list),
        described!(remove_schedule::remove),
        described!(run_schedule::run),
        described!(call::call),
        described!(enqueue::enqueue),
        described!(submit_http_job::submit),
        described!(get_rq_job::get),
        described!(submit_task::submit).on_both_ports(),
        described!(get_task::get).on_both_ports(),
        described!(health::health)
            .on_both_ports()
            .not_rate_limited(),
        Endpoint::get("/readyz", readyz::ready)
            .on_every_port()
            .not_rate_limited(),
        Endpoint::get("/metrics", metrics::metrics)
            .on_every_port()
            .not_rate_limited(),
        // Where Prometheus was told to look.
        Endpoint::get("/", metrics::metrics).on_tasks_port(),
        Endpoint::get("/api/v1/openapi.json", openapi_json::openapi),
        Endpoint::get("/", docs::root),
        Endpoint::get("/docs", docs::index),
        Endpoint::get("/docs/start.js", docs::start),
        Endpoint::get("/docs/scalar.js", docs::scalar),
    ]
}

/// What is checked before a request reaches its endpoint, by route.
pub(crate) fn rules() -> Rules {
    let mut rules = Rules::new();
    for endpoint in all() {
        endpoint.add_to(&mut rules);
    }
    rules
}

/// What a port serves.
pub(crate) fn router(port: Port, app: &App) -> Router {
    let of_port = all().into_iter().filter(|endpoint| endpoint.is_on(port));
    of_port
        .fold(Router::new(), |routes, it| routes.route(&it.path, it.route))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(app.keys.max_body_bytes))
        .layer(from_fn_with_state((app.clone(), port), on_request))
        .with_state(app.clone())
}
