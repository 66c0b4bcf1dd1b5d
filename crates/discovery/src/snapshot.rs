//! What a registry publishes: whole values, so that membership and health always agree.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{Instance, ServiceKind};

/// The services that belong to the mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// Consul name → the tags of all its instances together. Routers are not in it.
    pub services: BTreeMap<Arc<str>, Vec<String>>,
    /// Consul names of the mesh's programs that no call is routed to: routers, gateways, runners. By
    /// their tags, so others' may be among them.
    pub programs: BTreeSet<Arc<str>>,
}

/// The instances of one service, as of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Consul name.
    pub service: Arc<str>,
    /// Every instance, also critical ones, ordered by key. An unchanged one should be the same
    /// `Arc` as in the last snapshot: then readers need to compare only its pointer.
    pub instances: Vec<Arc<Instance>>,
    /// How many entries of this name are no instances: proxies and gateways of a service mesh, and
    /// entries that cannot be called.
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

    /// The services that belong to the mesh, by their tags. Tags are sorted and unique.
    #[must_use]
    pub fn from_tags(mut services: BTreeMap<Arc<str>, Vec<String>>) -> Self {
        let programs = services.iter().filter(|(_, tags)| Self::is_program(tags));
        let programs = programs.map(|(name, _)| Arc::clone(name)).collect();
        services.retain(|_, tags| Self::belongs(tags));
        for tags in services.values_mut() {
            tags.sort_unstable();
            tags.dedup();
        }
        Self { services, programs }
    }

    /// Consul name of the service that an id names, as far as names tell: not by what instances claim
    /// in `Meta.public_id`.
    #[must_use]
    pub fn named(&self, id: &str) -> Option<Arc<str>> {
        let named = |name: &str| self.services.get_key_value(name);
        crate::resolve(id, named, |_| None).map(|(service, _)| Arc::clone(service))
    }

    /// Whether a service with these tags is not called through the mesh, and may be a program of it:
    /// a router, a gateway, or one that works with jobs.
    #[must_use]
    pub fn is_program<S: AsRef<str>>(tags: &[S]) -> bool {
        let mut tags_of_programs =
            [ServiceKind::Router.name(), "gateway", "http", "jobs"].into_iter();
        !Self::belongs(tags)
            && tags_of_programs.any(|name| tags.iter().any(|tag| tag.as_ref() == name))
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
    /// A service with these instances, which are put in order.
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

    /// A service without instances.
    #[must_use]
    pub fn empty(service: &str) -> Self {
        Self {
            service: service.into(),
            instances: Vec::new(),
            excluded: 0,
        }
    }

    /// Whether this is a service. A name with only proxies or gateways is none.
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

    /// The instance that speaks for the service: the first of the version that most healthy
    /// instances have, of all instances when none is healthy. Of two versions that are as frequent
    /// the one that sorts last is taken.
    #[must_use]
    pub fn representative(&self) -> Option<&Arc<Instance>> {
        let mut known: Vec<_> = self.serving().collect();
        if known.is_empty() {
            known = self.instances.iter().collect();
        }
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for instance in &known {
            *counts.entry(instance.version()).or_default() += 1;
        }
        let (version, _) = counts.into_iter().max_by_key(|(_, count)| *count)?;
        known.into_iter().find(|it| it.version() == version)
    }

    /// Whether the service may be called by this id because its instances claim it in
    /// `Meta.public_id`. A router is never called.
    #[must_use]
    pub fn claims(&self, id: &str) -> bool {
        self.is_service()
            && self
                .representative()
                .is_some_and(|it| it.kind() != ServiceKind::Router && it.public_id() == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Health, InstanceKey};

    fn instance(id: &str, health: Health, meta: &[(&str, &str)]) -> Instance {
        Instance {
            key: InstanceKey {
                node: "".into(),
                id: id.into(),
            },
            service: "agent-echo".into(),
            host: "127.0.0.1".to_owned(),
            port: 9,
            tags: vec!["agent".to_owned()],
            meta: meta
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            weight: 1,
            health,
        }
    }

    #[test]
    fn a_healthy_instance_of_the_common_version_speaks_for_the_service() {
        let of = |instances| Snapshot::of("agent-echo", instances);
        let id = |snapshot: &Snapshot| snapshot.representative().map(|it| it.key.id.to_string());
        assert_eq!(id(&Snapshot::empty("agent-echo")), None);
        let (old, new) = ([("version", "1")], [("version", "2")]);
        let mixed = of(vec![
            instance("a", Health::Critical, &new),
            instance("b", Health::Passing, &old),
            instance("c", Health::Passing, &new),
            instance("d", Health::Warning, &new),
        ]);
        assert_eq!(id(&mixed).as_deref(), Some("c"));
        let dead = of(vec![
            instance("a", Health::Critical, &old),
            instance("b", Health::Critical, &new),
        ]);
        assert_eq!(id(&dead).as_deref(), Some("b"));
    }

    #[test]
    fn what_most_instances_claim_counts_and_a_router_claims_nothing() {
        let claim = [("public_id", "parrot"), ("version", "2")];
        let rest = instance("b", Health::Passing, &[("version", "1")]);
        let claiming = instance("c", Health::Passing, &claim);
        let of = |instances| Snapshot::of("agent-echo", instances);
        assert!(of(vec![claiming.clone(), rest.clone()]).claims("parrot"));
        assert!(!of(vec![rest.clone(), rest]).claims("parrot"));
        let router = instance(
            "d",
            Health::Passing,
            &[("public_id", "parrot"), ("kind", "router")],
        );
        assert!(!of(vec![router]).claims("parrot"));
    }

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
        assert_eq!(catalog.programs, BTreeSet::from(["mcp-router".into()]));
    }
}
