//! `GET /api/v1/services`

use super::prelude::*;
use crate::services::ServiceView;

/// List services.
///
/// Every service of the mesh, with its instances and their health.
#[utoipa::path(get, path = "/api/v1/services", tag = "mesh", operation_id = "listServices",
    responses((status = 200, description = "The services", body = Vec<ServiceView>)))]
pub(super) async fn list(State(app): State<App>) -> JsonResult<Vec<ServiceView>> {
    Ok(JsonResponse::ok(app.services.list().await?))
}
