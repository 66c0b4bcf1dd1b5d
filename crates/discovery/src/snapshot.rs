//! What a registry publishes: whole values, so that membership and health are never seen apart.

use std::{collections::BTreeMap, sync::Arc};

use crate::{Instance, Kind};

/// The services that belong to the mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// Consul name → the tags of all its instances together. Routers are not in it.
    pub services: BTreeMap<Arc<str>, Vec<String>>,
}

/// The instances of one service, as of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Consul name.
    pub service: Arc<str>,
    /// Every instance, critical ones too, ordered by key.
    pub instances: Vec<Arc<Instance>>,
}

impl Catalog {
    /// Whether a service with these tags belongs to the mesh: it is tagged `grpc`, `agent`, `tool`
    /// or `worker`, and is no router.
    #[must_use]
    pub fn belongs<S: AsRef<str>>(tags: &[S]) -> bool {
        let has = |name: &str| tags.iter().any(|tag| tag.as_ref() == name);
        !has(Kind::Router.name()) && ["grpc", "agent", "tool", "worker"].into_iter().any(has)
    }
}

impl Snapshot {
    /// A service that nobody serves.
    #[must_use]
    pub fn empty(service: &str) -> Self {
        Self { service: service.into(), instances: Vec::new() }
    }

    /// The instances that may be given calls.
    pub fn serving(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.instances.iter().filter(|instance| instance.is_serving())
    }
}
