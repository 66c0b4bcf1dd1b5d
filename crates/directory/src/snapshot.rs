//! All services of one moment, and the names they are found by.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use discovery::{Instance, ServiceKind};

use crate::Service;

/// All services of the mesh, as of one moment.
#[derive(Debug, Default)]
pub struct DirectorySnapshot {
    services: BTreeMap<Arc<str>, Arc<Service>>,
    by_id: HashMap<String, Arc<Service>>,
    by_grpc_service: BTreeMap<String, Vec<Arc<Service>>>,
    by_instance: HashMap<Arc<str>, (Arc<Service>, Arc<Instance>)>,
    ready: bool,
}

impl DirectorySnapshot {
    /// The snapshot of these services; `ready` as [`DirectorySnapshot::ready`].
    #[must_use]
    pub fn new(services: impl IntoIterator<Item = Arc<Service>>, ready: bool) -> Self {
        let mut snapshot = Self {
            ready,
            ..Self::default()
        };
        for service in services {
            // Tags hide a router from the catalog; one that says so in its Meta only is caught here,
            // and so are names under which there are proxies alone.
            if service.kind != ServiceKind::Router && service.is_service() {
                snapshot.services.insert(Arc::clone(&service.name), service);
            }
        }
        snapshot.index_ids();
        for service in snapshot.services.values() {
            for grpc_service in &service.grpc_services {
                let candidates = snapshot
                    .by_grpc_service
                    .entry(grpc_service.clone())
                    .or_default();
                candidates.push(Arc::clone(service));
            }
            for instance in service.instances() {
                let found = (Arc::clone(service), Arc::clone(instance));
                let known = snapshot.by_instance.entry(Arc::clone(&instance.key.id));
                known
                    .and_modify(|known| {
                        // IDs are unique per node only: a healthy one is meant before another.
                        if !known.1.is_serving() && instance.is_serving() {
                            *known = found.clone();
                        }
                    })
                    .or_insert(found);
            }
        }
        for candidates in snapshot.by_grpc_service.values_mut() {
            // When nobody is healthy all stay: that is UNAVAILABLE, and not UNIMPLEMENTED.
            if candidates.iter().any(|service| service.is_serving()) {
                candidates.retain(|service| service.is_serving());
            }
        }
        snapshot
    }

    /// Every id that names a service, by the precedence of [`discovery::resolve`].
    fn index_ids(&mut self) {
        let services = || self.services.values();
        let claims: HashMap<&str, &Arc<Service>> =
            services().rev().map(|it| (&*it.public_id, it)).collect();
        let ids = services().flat_map(|it| {
            let forms = ServiceKind::ALL.map(|(kind, _)| kind.public_id(&it.name));
            let own = [it.name.to_string(), it.public_id.clone()];
            own.into_iter().chain(forms.into_iter().flatten())
        });
        let found = ids.filter_map(|id| {
            let named = |name: &str| self.services.get(name);
            let service = discovery::resolve(&id, named, |id| claims.get(id).copied())?;
            let service = Arc::clone(service);
            Some((id, service))
        });
        self.by_id = found.collect();
    }

    /// The service that a request's id names: `X-agent`, `X-tool` or `X-worker` for `agent-X`,
    /// `tool-X` and `worker-X`, another public id, or a Consul name. Found as soon as the catalog
    /// knows the name; never a router.
    #[must_use]
    pub fn by_id(&self, id: &str) -> Option<&Arc<Service>> {
        self.by_id.get(id)
    }

    /// The services that announce a gRPC service, ordered by name: those with a healthy instance,
    /// or all when none has one.
    #[must_use]
    pub fn by_grpc_service(&self, grpc_service: &str) -> &[Arc<Service>] {
        self.by_grpc_service
            .get(grpc_service)
            .map_or(&[], Vec::as_slice)
    }

    /// The instance with this Consul service ID, and its service.
    #[must_use]
    pub fn by_instance(&self, id: &str) -> Option<(&Arc<Service>, &Arc<Instance>)> {
        self.by_instance
            .get(id)
            .map(|(service, instance)| (service, instance))
    }

    /// The service of this Consul name.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<&Arc<Service>> {
        self.services.get(name)
    }

    /// Every service, ordered by Consul name.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.values()
    }

    /// Full names of the gRPC services that are announced, sorted.
    pub fn grpc_services(&self) -> impl Iterator<Item = &str> {
        self.by_grpc_service.keys().map(String::as_str)
    }

    /// Whether there is any instance, healthy or not.
    #[must_use]
    pub fn has_instances(&self) -> bool {
        !self.by_instance.is_empty()
    }

    /// Whether the registry has answered once, for every service it knew then.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.ready
    }
}
