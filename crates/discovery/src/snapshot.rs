//! What a registry publishes: whole values, so that membership and health are never seen apart.

use std::{collections::BTreeMap, sync::Arc};

use crate::{Instance, ServiceKind};

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
    /// Every instance, critical ones too, ordered by key. One that did not change is best the very
    /// same as in the snapshot before: then nobody has to compare more than its address.
    pub instances: Vec<Arc<Instance>>,
    /// How many entries of this name are no instances: proxies and gateways of a service mesh, and
    /// what nobody can call.
    pub excluded: usize,
}

impl Catalog {
    /// The services of these instances that belong to the mesh.
    #[must_use]
    pub fn of<'a>(instances: impl IntoIterator<Item = &'a Instance>) -> Self {
        let mut services: BTreeMap<Arc<str>, Vec<String>> = BTreeMap::new();
        for instance in instances {
            services
                .entry(instance.service.clone())
                .or_default()
                .extend(instance.tags.clone());
        }
        Self::from_tags(services)
    }

    /// The services that belong to the mesh, by their tags; tags come out sorted, each once.
    #[must_use]
    pub fn from_tags(mut services: BTreeMap<Arc<str>, Vec<String>>) -> Self {
        services.retain(|_, tags| Self::belongs(tags));
        for tags in services.values_mut() {
            tags.sort_unstable();
            tags.dedup();
        }
        Self { services }
    }

    /// Whether a service with these tags belongs to the mesh: it is tagged `grpc`, `agent`, `tool`
    /// or `worker`, and is no router.
    #[must_use]
    pub fn belongs<S: AsRef<str>>(tags: &[S]) -> bool {
        let has = |name: &str| tags.iter().any(|tag| tag.as_ref() == name);
        !has(ServiceKind::Router.name()) && ["grpc", "agent", "tool", "worker"].into_iter().any(has)
    }
}

impl Snapshot {
    /// A service with these instances, put in order.
    #[must_use]
    pub fn of(service: &str, instances: impl IntoIterator<Item = Instance>) -> Self {
        let mut instances: Vec<_> = instances.into_iter().map(Arc::new).collect();
        instances.sort_by(|a, b| a.key.cmp(&b.key));
        Self {
            service: service.into(),
            instances,
            excluded: 0,
        }
    }

    /// A service that nobody serves.
    #[must_use]
    pub fn empty(service: &str) -> Self {
        Self {
            service: service.into(),
            instances: Vec::new(),
            excluded: 0,
        }
    }

    /// Whether this is a service: a name under which there are proxies or gateways alone is none.
    #[must_use]
    pub fn is_service(&self) -> bool {
        !self.instances.is_empty() || self.excluded == 0
    }

    /// The instances that may be given calls.
    pub fn serving(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.instances
            .iter()
            .filter(|instance| instance.is_serving())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mesh_tag_makes_a_service_belong_and_router_excludes_it() {
        for tag in ["grpc", "agent", "tool", "worker"] {
            assert!(Catalog::belongs(&[tag, "other"]), "{tag}");
            assert!(!Catalog::belongs(&[tag, "router"]), "{tag}");
        }
        assert!(!Catalog::belongs(&["mcp", "agents"]));
        assert!(!Catalog::belongs::<&str>(&[]));
    }

    #[test]
    fn a_catalog_keeps_members_with_their_tags_in_order() {
        let tags = |list: &[&str]| list.iter().map(|tag| (*tag).to_owned()).collect::<Vec<_>>();
        let catalog = Catalog::from_tags(BTreeMap::from([
            ("agent-echo".into(), tags(&["echo", "agent", "echo"])),
            ("consul".into(), tags(&[])),
            ("mcp-router".into(), tags(&["router", "grpc"])),
        ]));
        assert_eq!(catalog.services.len(), 1);
        assert_eq!(catalog.services["agent-echo"], ["agent", "echo"]);
    }
}
