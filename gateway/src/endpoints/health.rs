//! `GET /health`

use super::prelude::*;

/// A healthy gateway.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"ok": true, "status": "ok", "service": "mesh-gateway", "version": "0.1.0"}))]
pub(super) struct Health {
    /// True.
    ok: bool,
    /// `ok`.
    status: &'static str,
    /// `mesh-gateway`.
    service: &'static str,
    /// Its version.
    version: &'static str,
    /// What works now and may fail later, such as a Redis that may evict keys; absent without any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    warnings: Vec<String>,
}

/// Ask for health.
///
/// Whether the gateway works, and what it depends on.
#[utoipa::path(get, path = "/health", tag = "short forms", operation_id = "health",
    responses((status = 200, description = "Everything works", body = Health)))]
pub(super) async fn health(State(app): State<App>) -> JsonResult<Health> {
    // It reads and writes: a store that answers may still refuse every job.
    let vitals = app.with_timeout(app.store_monitor.check()).await?;
    Ok(JsonResponse::ok(Health {
        ok: true,
        status: "ok",
        service: app.context.spec.service,
        version: app.context.spec.version,
        warnings: vitals.warnings,
    }))
}
