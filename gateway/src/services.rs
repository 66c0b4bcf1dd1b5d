//! The services of the mesh, as the registry has them.

use std::{sync::Arc, time::Duration};

use discovery::{Discovery, ServiceWatches, Snapshot};
use proto::error_info::{self, Reason};
use serde::Serialize;
use tonic::{Code, Status};
use utoipa::ToSchema;

/// How long the registry may take to answer about a service for the first time.
const REGISTRY_TIMEOUT: Duration = Duration::from_secs(1);

/// Watches every service from the first question on, so that the next is answered at once.
#[derive(Debug)]
pub(crate) struct ServiceCatalog {
    discovery: Arc<dyn Discovery>,
    watches: ServiceWatches,
}

/// A service of the mesh.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"service": "agent-echo", "public_id": "echo-agent", "kind": "agent",
    "tags": ["agent", "echo"], "healthy": 1, "grpc_services": ["agentplatform.AgentService"], "instances": [
        {"id": "echo-agent-1a2b3c4d", "address": "10.0.0.7:50052", "health": "passing", "version": "0.1.0"}]}))]
pub(crate) struct ServiceView {
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
pub(crate) struct InstanceView {
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
pub(crate) enum HealthWord {
    Passing,
    Warning,
    Critical,
}

/// The kind of a service.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "for the description only")]
pub(crate) enum ServiceWord {
    Agent,
    Tool,
    Worker,
    Router,
    Service,
}

impl ServiceCatalog {
    pub(crate) fn new(discovery: Arc<dyn Discovery>) -> Self {
        Self {
            discovery,
            watches: ServiceWatches::default(),
        }
    }

    /// Those of these names that no service has, as far as the registry tells in time.
    pub(crate) async fn unknown(&self, names: Vec<String>) -> Vec<String> {
        let asked = dynamic::catalog(&*self.discovery);
        let Ok(Ok(catalog)) = tokio::time::timeout(REGISTRY_TIMEOUT, asked).await else {
            return Vec::new();
        };
        let services = &catalog.services;
        let is_known =
            |name: &str| discovery::resolve(name, |name| services.get(name), |_| None).is_some();
        names.into_iter().filter(|name| !is_known(name)).collect()
    }

    /// Every service, by name.
    ///
    /// # Errors
    /// `UNAVAILABLE` when the registry has not answered yet.
    pub(crate) async fn list(&self) -> Result<Vec<ServiceView>, Status> {
        let catalog = dynamic::catalog(&*self.discovery).await?;
        let known = self
            .watches
            .snapshots(&*self.discovery, &catalog, REGISTRY_TIMEOUT);
        let mut views = Vec::new();
        for (name, snapshot) in known.await {
            if snapshot.is_none()
                && let Some(error) = self.discovery.last_error()
            {
                // An empty list would say that nobody serves it.
                let text = format!("the instances of {name} are not known: {error}");
                return Err(unavailable(text));
            }
            // A name with only proxies is no service.
            if snapshot.as_deref().is_none_or(Snapshot::is_service) {
                let tags = catalog.services.get(&name).cloned().unwrap_or_default();
                views.push(view(&name, tags, snapshot.as_deref()));
            }
        }
        Ok(views)
    }
}

fn unavailable(text: String) -> Status {
    error_info::status(Code::Unavailable, Reason::RegistryUnreachable, text, [])
}

fn view(name: &str, tags: Vec<String>, snapshot: Option<&Snapshot>) -> ServiceView {
    let instances = snapshot
        .map(|known| known.instances.as_slice())
        .unwrap_or_default();
    let representative = snapshot.and_then(Snapshot::representative);
    let (kind, public_id) = discovery::identity(name, &tags, representative.map(Arc::as_ref));
    let announced = instances
        .iter()
        .filter_map(|it| it.grpc_services())
        .flatten();
    let mut grpc_services: Vec<String> = announced.collect();
    grpc_services.sort_unstable();
    grpc_services.dedup();
    ServiceView {
        service: name.to_owned(),
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
