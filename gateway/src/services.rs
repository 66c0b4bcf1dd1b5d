//! Who is in the mesh, as the registry says.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use discovery::{Discovery, Snapshot};
use futures_util::future::try_join_all;
use parking_lot::Mutex;
use proto::error_info::{self, Reason};
use serde::Serialize;
use tokio::{sync::watch, time::timeout};
use tonic::{Code, Status};
use utoipa::ToSchema;

/// How long the registry may take to answer for the first time.
const REGISTRY_TIMEOUT: Duration = Duration::from_secs(1);

type Watched = watch::Receiver<Option<Arc<Snapshot>>>;

/// Watches every service from the first question on, so that the next is answered at once.
#[derive(Debug)]
pub(crate) struct ServiceCatalog {
    discovery: Arc<dyn Discovery>,
    watched: Mutex<BTreeMap<Arc<str>, Watched>>,
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
    /// What clients may call it.
    #[schema(example = "echo-agent")]
    public_id: String,
    /// `agent`, `tool`, `worker` or `service`.
    #[schema(value_type = ServiceWord)]
    kind: String,
    /// The tags of all its instances together.
    tags: Vec<String>,
    /// How many instances may be given calls.
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
    /// Its version; empty when it does not say.
    version: String,
}

/// How an instance is.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "for the description only")]
pub(crate) enum HealthWord {
    Passing,
    Warning,
    Critical,
}

/// What a service is.
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
            watched: Mutex::default(),
        }
    }

    /// Every service, by name.
    ///
    /// # Errors
    /// `UNAVAILABLE` when the registry has not answered yet.
    pub(crate) async fn list(&self) -> Result<Vec<ServiceView>, Status> {
        let mut catalog = self.discovery.catalog();
        let known = timeout(REGISTRY_TIMEOUT, catalog.wait_for(Option::is_some)).await;
        let catalog = known
            .ok()
            .and_then(Result::ok)
            .and_then(|known| known.clone());
        let Some(catalog) = catalog else {
            let text = match self.discovery.last_error() {
                Some(trouble) => format!("who is in the mesh is not known: {trouble}"),
                None => format!("the registry has not answered within {REGISTRY_TIMEOUT:?}"),
            };
            return Err(error_info::status(
                Code::Unavailable,
                Reason::RegistryUnreachable,
                text,
                [],
            ));
        };
        let watched: Vec<(Arc<str>, Watched)> = {
            let mut watched = self.watched.lock();
            watched.retain(|name, _| catalog.services.contains_key(name));
            for name in catalog.services.keys() {
                let watch = || self.discovery.watch(name);
                watched.entry(name.clone()).or_insert_with(watch);
            }
            watched
                .iter()
                .map(|(name, it)| (name.clone(), it.clone()))
                .collect()
        };
        let trouble = || self.discovery.last_error();
        let views = watched.into_iter().map(|(name, mut watched)| {
            let tags = catalog.services.get(&name).cloned().unwrap_or_default();
            async move {
                let known = timeout(REGISTRY_TIMEOUT, watched.wait_for(Option::is_some)).await;
                let known = known
                    .ok()
                    .and_then(Result::ok)
                    .and_then(|known| known.clone());
                if let Some(trouble) = known.is_none().then(trouble).flatten() {
                    // Not that nobody serves it: the registry does not say.
                    let text = format!("who serves {name} is not known: {trouble}");
                    let reason = Reason::RegistryUnreachable;
                    return Err(error_info::status(Code::Unavailable, reason, text, []));
                }
                // A name under which there are proxies alone is none of a service.
                let is_service = known.as_deref().is_none_or(Snapshot::is_service);
                Ok(is_service.then(|| view(&name, tags, known.as_deref())))
            }
        });
        let views: Vec<_> = try_join_all(views).await?;
        Ok(views.into_iter().flatten().collect())
    }
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
