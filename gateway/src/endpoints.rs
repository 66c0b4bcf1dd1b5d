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

use axum::{Router, extract::DefaultBodyLimit, middleware::from_fn_with_state};

use crate::{
    endpoint::{Endpoint, Port},
    middleware::{method_not_allowed, not_found, on_request},
    rules::Rules,
    state::App,
};

/// The endpoint of a handler with `#[utoipa::path]`, which says its path and its method.
macro_rules! described {
    ($module:ident::$handler:ident) => {{
        #[derive(utoipa::OpenApi)]
        #[openapi(paths($module::$handler))]
        struct Description;
        Endpoint::described(
            <Description as utoipa::OpenApi>::openapi(),
            $module::$handler,
        )
    }};
}

/// Every endpoint, in the order of the description.
pub(crate) fn all() -> Vec<Endpoint> {
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
            .on_both_ports()
            .not_rate_limited(),
        Endpoint::get("/metrics", metrics::metrics)
            .on_both_ports()
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
        .layer(from_fn_with_state(app.clone(), on_request))
        .with_state(app.clone())
}
