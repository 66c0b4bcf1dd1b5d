//! Which path leads where, on which port.

use axum::{
    Router,
    extract::{DefaultBodyLimit, State},
    http::{HeaderValue, header},
    middleware::from_fn_with_state,
    response::{IntoResponse as _, Redirect, Response},
    routing::{delete, get, post},
};

use crate::{
    api::{batch, call, jobs, queues, schedules},
    compat::{self, enqueue, health, tasks},
    middleware::{method_not_allowed, not_found, on_request},
    page,
    state::App,
};

/// The main port: every path.
pub(crate) fn all(app: &App) -> Router {
    let api = Router::new()
        .route("/jobs", post(jobs::submit).get(jobs::list))
        .route("/jobs/batch", post(batch::submit))
        .route("/jobs/{id}", get(jobs::get))
        .route("/jobs/{id}/cancel", post(jobs::cancel))
        .route("/jobs/{id}/retry", post(jobs::retry))
        .route("/jobs/{id}/events", get(jobs::job_events))
        .route("/events", get(jobs::queue_events))
        .route("/queues", get(queues::queues))
        .route("/schedules", get(schedules::list))
        .route("/schedules/{name}", delete(schedules::remove))
        .route("/schedules/{name}/run", post(schedules::run))
        .route("/services", get(queues::services))
        .route("/call/{service}/{grpc}/{method}", post(call::call))
        .route("/openapi.json", get(openapi));
    let routes = Router::new()
        .nest("/api/v1", api)
        .route("/", get(async || Redirect::temporary("/docs")))
        .route("/enqueue", post(enqueue::enqueue))
        .route("/jobs", post(compat::jobs::submit))
        .route("/jobs/{id}", get(compat::jobs::get))
        .merge(page::routes())
        .merge(task_routes());
    finish(routes, app)
}

/// The tasks port, whose `/` is where Prometheus was told to look.
pub(crate) fn tasks(app: &App) -> Router {
    finish(task_routes().route("/", get(health::metrics)), app)
}

fn task_routes() -> Router<App> {
    Router::new()
        .route("/tasks", post(tasks::submit))
        .route("/tasks/{id}", get(tasks::get))
        .route("/health", get(health::health))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
}

fn finish(routes: Router<App>, app: &App) -> Router {
    routes
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(app.keys.max_body_bytes))
        .layer(from_fn_with_state(app.clone(), on_request))
        .with_state(app.clone())
}

async fn openapi(State(app): State<App>) -> Response {
    let form = HeaderValue::from_static("application/json");
    (
        [(header::CONTENT_TYPE, form)],
        format!("{}\n", app.document),
    )
        .into_response()
}
