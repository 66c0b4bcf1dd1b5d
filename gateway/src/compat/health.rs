//! What machines ask: `/health`, `/readyz`, `/metrics`.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, header};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    json_response::JsonResponse,
    problem::{Problem, ProblemKind},
    state::App,
};

/// A gateway that is well.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"ok": true, "status": "ok", "service": "mesh-gateway", "version": "0.1.0"}))]
pub(crate) struct Health {
    /// True.
    ok: bool,
    /// `ok`.
    status: &'static str,
    /// `mesh-gateway`.
    service: &'static str,
    /// Its version.
    version: &'static str,
    /// What works and may not for long, such as a Redis that may evict keys; absent without any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    warnings: Vec<String>,
}

/// Ask for health.
///
/// Whether the gateway and what it needs are there.
#[utoipa::path(get, path = "/health", tag = "short forms", operation_id = "health",
    responses((status = 200, description = "All is well", body = Health)))]
pub(crate) async fn health(State(app): State<App>) -> Result<JsonResponse<Health>, Problem> {
    // It reads and writes: a store that answers may still refuse every job.
    let vitals = app.with_timeout(app.store_monitor.check()).await?;
    Ok(JsonResponse(Health {
        ok: true,
        status: "ok",
        service: app.context.spec.service,
        version: app.context.spec.version,
        warnings: vitals.warnings,
    }))
}

/// Whether it wants requests: what Consul and proxies ask. A queue that is away is no reason to
/// send clients elsewhere, since every gateway has the same; the answer says so, though.
pub(crate) async fn ready(State(app): State<App>) -> Response {
    let (status, report) = app.context.readiness();
    (status, report + "\n").into_response()
}

/// The same metrics as on the admin listener.
pub(crate) async fn metrics(State(app): State<App>) -> Result<Response, Problem> {
    if !app.context.keys.admin.enable_metrics {
        let text = "metrics are switched off: enable_metrics = false";
        return Err(Problem::new(ProblemKind::NotFound, text));
    }
    let mut answer = app.context.registry.encode().into_response();
    let form = HeaderValue::from_static(telemetry::CONTENT_TYPE);
    answer.headers_mut().insert(header::CONTENT_TYPE, form);
    Ok(answer)
}
