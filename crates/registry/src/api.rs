//! The paths of Consul's HTTP API, version 1.

mod agent;
mod answer;
mod catalog;
mod error;
mod kv;
mod query;
mod render;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Request},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{get, put},
};
use http::{StatusCode, header};
use tokio_util::sync::CancellationToken;

use crate::shared::Shared;
use answer::App;

/// Largest body: that of Consul's key-value store.
const MAX_BODY: usize = 512 * 1024;

/// The address for Consul's servers among each other; nothing listens there.
const SERVER: &str = "127.0.0.1:8300";

/// Every path.
pub(crate) fn router(shared: Arc<Shared>, stop: CancellationToken) -> Router {
    let paths = Router::new()
        .route("/agent/self", get(agent::own))
        .route("/agent/services", get(agent::services))
        .route("/agent/service/{id}", get(agent::service))
        .route("/agent/checks", get(agent::checks))
        .route("/agent/service/register", put(agent::register))
        .route("/agent/service/deregister/{id}", put(agent::deregister))
        .route("/agent/service/maintenance/{id}", put(agent::maintenance))
        .route("/agent/check/register", put(agent::register_check))
        .route("/agent/check/deregister/{id}", put(agent::deregister_check))
        .route("/agent/check/{pass}/{id}", put(agent::report))
        .route("/catalog/datacenters", get(catalog::datacenters))
        .route("/catalog/nodes", get(catalog::nodes))
        .route("/catalog/node/{node}", get(catalog::node))
        .route("/catalog/services", get(catalog::services))
        .route("/catalog/service/{name}", get(catalog::service))
        .route("/catalog/deregister", put(catalog::deregister))
        .route("/health/service/{name}", get(catalog::health))
        .route("/health/checks/{name}", get(catalog::checks))
        .route("/health/node/{node}", get(catalog::node_checks))
        .route("/health/state/{state}", get(catalog::state))
        .route("/kv/{*key}", get(kv::get).put(kv::put).delete(kv::delete))
        .route(
            "/kv/",
            get(kv::get_all).put(kv::put_nowhere).delete(kv::delete_all),
        )
        .route("/status/leader", get(|| async { Json(SERVER) }))
        .route("/status/peers", get(|| async { Json([SERVER]) }))
        .method_not_allowed_fallback(not_allowed);
    Router::new()
        .nest("/v1", paths)
        .fallback(unknown)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(no_web_pages))
        .with_state(App { shared, stop })
}

async fn unknown(request: Request) -> Response {
    let path = request.uri().path();
    let text = format!(
        "{path} is not part of the registry of `meshctl up`, which answers what the mesh needs of \
         Consul's API. Start a Consul for more: consul agent -dev\n"
    );
    (StatusCode::NOT_FOUND, text).into_response()
}

async fn not_allowed(request: Request) -> Response {
    let text = format!("method {} not allowed\n", request.method());
    (StatusCode::METHOD_NOT_ALLOWED, text).into_response()
}

/// Refuses requests of web pages, which a browser on this machine can send here; it says so in `Origin`.
async fn no_web_pages(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let host = headers.get(header::HOST).and_then(|it| it.to_str().ok());
    if headers.contains_key(header::ORIGIN) || !host.is_none_or(is_here) {
        let text = "this registry answers programs on this machine, and no web pages\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    next.run(request).await
}

/// Whether a host is an address or `localhost`. Any other name may be somebody else's.
fn is_here(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok()
}
