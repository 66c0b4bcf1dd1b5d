//! `GET /api/v1/services`

use std::{sync::Arc, time::Duration};

use directory::RegisteredService;
use discovery::Snapshot;

use super::prelude::*;

/// How long the registry may take to answer about a service for the first time.
const REGISTRY_TIMEOUT: Duration = Duration::from_secs(1);

/// A service of the mesh.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"service": "agent-echo", "public_id": "echo-agent", "kind": "agent",
    "tags": ["agent", "echo"], "healthy": 1, "grpc_services": ["agentplatform.AgentService"], "instances": [
        {"id": "echo-agent-1a2b3c4d", "address": "10.0.0.7:50052", "health": "passing", "version": "0.1.0"}]}))]
pub(super) struct ServiceView {
    /// Its Consul name.
    #[schema(example = "agent-echo")]
    service: String,
    /// The id that clients use for it.
    #[schema(example = "echo-agent")]
    public_id: String,
    /// `agent`, `tool`, `worker` or `service`.
    #[schema(value_type = ServiceWord)]
    kind: String,
    /// The tags of all its instances together.
    tags: Vec<String>,
    /// How many instances get calls.
    healthy: usize,
    /// The gRPC services that its instances announce.
    grpc_services: Vec<String>,
    /// Its instances.
    instances: Vec<InstanceView>,
}

/// One instance.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct InstanceView {
    /// Its Consul service ID.
    id: String,
    /// `host:port`.
    address: String,
    /// `passing`, `warning` or `critical`.
    #[schema(value_type = HealthWord)]
    health: &'static str,
    /// Its version; empty when it is not known.
    version: String,
}

/// The health of an instance.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "for the description only")]
pub(super) enum HealthWord {
    Passing,
    Warning,
    Critical,
}

/// The kind of a service.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "for the description only")]
pub(super) enum ServiceWord {
    Agent,
    Tool,
    Worker,
    Router,
    Service,
}

/// List services.
///
/// Every service of the mesh, with its instances and their health.
#[utoipa::path(get, path = "/api/v1/services", tag = "mesh", operation_id = "listServices",
    responses((status = 200, description = "The services", body = Vec<ServiceView>)))]
pub(super) async fn list(State(app): State<App>) -> JsonResult<Vec<ServiceView>> {
    let services = app.directory.registered(REGISTRY_TIMEOUT).await?;
    Ok(JsonResponse::ok(services.into_iter().map(view).collect()))
}

fn view(registered: RegisteredService) -> ServiceView {
    let RegisteredService {
        name,
        tags,
        snapshot,
    } = registered;
    let snapshot = snapshot.as_deref();
    let instances = snapshot
        .map(|known| known.instances.as_slice())
        .unwrap_or_default();
    let representative = snapshot.and_then(Snapshot::representative);
    let (kind, public_id) = discovery::identity(&name, &tags, representative.map(Arc::as_ref));
    let announced = instances
        .iter()
        .filter_map(|it| it.grpc_services())
        .flatten();
    let mut grpc_services: Vec<String> = announced.collect();
    grpc_services.sort_unstable();
    grpc_services.dedup();
    ServiceView {
        service: name.to_string(),
        public_id,
        kind: kind.name().to_owned(),
        tags,
        healthy: snapshot.map_or(0, |known| known.serving().count()),
        grpc_services,
        instances: instances.iter().map(|it| instance(it)).collect(),
    }
}

fn instance(it: &discovery::Instance) -> InstanceView {
    InstanceView {
        id: it.key.id.to_string(),
        address: it.authority(),
        health: it.health.name(),
        version: it.version().to_owned(),
    }
}
