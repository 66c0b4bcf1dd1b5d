//! `GET /api/v1/mcp/services`

use ::mcp::{CatalogService, LeftOut};

use super::{list_services::ServiceWord, prelude::*};

/// What the catalog has of the mesh.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"ready": true, "services": [{"service": "orders", "public_id": "orders", "kind": "service",
    "mode": "shop.Orders/*", "tools": 1, "names": ["orders__Orders_Get"], "problem": null,
    "left_out": [{"method": "shop.Orders/ListOrders",
        "reason": "no pattern takes Register… and List…: name it in `mcp`"}]}]}))]
pub(super) struct McpServices {
    /// Whether every service that the registry knew at first has been asked.
    ready: bool,
    /// The services, by name.
    services: Vec<McpServiceView>,
}

/// Which tools of a service clients of MCP see.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct McpServiceView {
    /// Its Consul name.
    #[schema(example = "agent-echo")]
    service: String,
    /// The id that clients use for it.
    #[schema(example = "echo-agent")]
    public_id: String,
    /// `agent`, `tool`, `worker` or `service`.
    #[schema(value_type = ServiceWord)]
    kind: &'static str,
    /// Its setting `mcp`: `off`, `*`, or methods.
    #[schema(example = "*")]
    mode: String,
    /// How many tools it has.
    tools: usize,
    /// Their names.
    names: Vec<String>,
    /// Why tools of it are missing.
    problem: Option<String>,
    /// Methods that the setting names and that are no tools all the same.
    left_out: Vec<LeftOutView>,
}

/// A method that is no tool.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LeftOutView {
    /// `pkg.Service/Method`.
    method: String,
    /// Why.
    reason: String,
}

/// List services as tools.
///
/// Which tools of each service clients of the Model Context Protocol see, and why others are missing.
#[utoipa::path(get, path = "/api/v1/mcp/services", tag = "mesh", operation_id = "listMcpServices",
    responses((status = 200, description = "The services", body = McpServices)))]
pub(super) async fn list(State(app): State<App>) -> JsonResult<McpServices> {
    let snapshot = app.catalog.snapshot();
    Ok(JsonResponse::ok(McpServices {
        ready: snapshot.ready,
        services: snapshot.services().map(|it| view(it)).collect(),
    }))
}

fn view(service: &CatalogService) -> McpServiceView {
    let left_out = |LeftOut { method, reason }: &LeftOut| LeftOutView {
        method: method.clone(),
        reason: reason.clone(),
    };
    McpServiceView {
        service: service.name.to_string(),
        public_id: service.public_id.clone(),
        kind: service.kind.name(),
        mode: service.mode.clone(),
        tools: service.tools.len(),
        names: service.tools.clone(),
        problem: service.problem.clone(),
        left_out: service.left_out.iter().map(left_out).collect(),
    }
}
