//! What a Service and its EndpointSlices mean: the instances of a service.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use super::api_types::{Endpoint, EndpointConditions, EndpointSlice, Port, Service};
use crate::{
    Health, Instance, InstanceKey, LeftOut, ServiceKind, backends::stale_grace::Item, validate,
};

/// The label that makes a Service one of the mesh. Its value is the kind.
pub(super) const KIND_LABEL: &str = "mesh/kind";
/// What the names of annotations that become `Meta` begin with.
const META_PREFIX: &str = "mesh/";
/// The label that every EndpointSlice of a Service has.
pub(super) const SERVICE_LABEL: &str = "kubernetes.io/service-name";
/// The label that says a version where no annotation does.
const VERSION_LABEL: &str = "app.kubernetes.io/version";
/// The port that calls go to, where there are several.
const GRPC_PORT: &str = "grpc";
/// The value of the label for gateways. They serve no gRPC: no call is routed to them, and they find one
/// another.
const GATEWAY: &str = "gateway";
/// The port by which gateways reach one another.
const HTTP_PORT: &str = "http";
/// The port of the admin listener, which becomes `Meta.admin_port`.
const ADMIN_PORT: &str = "admin";
/// The weight of an instance, as of one that Consul knows. Endpoints of a Service have no other.
const WEIGHT: u32 = 10;

/// An instance, and whether its pod is terminating.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EndpointState {
    pub(super) instance: Arc<Instance>,
    terminating: bool,
}

impl Item for EndpointState {
    /// A pod that terminates does so whatever an outage has lost: that is believed at once.
    fn is_serving(&self) -> bool {
        self.terminating || self.instance.is_serving()
    }
}

/// The instances of one service.
#[derive(Debug, Default)]
pub(super) struct ParsedEndpoints {
    pub(super) instances: BTreeMap<InstanceKey, EndpointState>,
    pub(super) left_out: Vec<LeftOut>,
}

/// A Service of the mesh, read once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MeshService {
    pub(super) name: Arc<str>,
    pub(super) tags: Vec<String>,
    meta: BTreeMap<String, String>,
    /// `IPv4` or `IPv6`: of a pod with both, this one is called.
    family: Option<String>,
    /// The name of the port that is called, where there are several.
    port: &'static str,
}

impl MeshService {
    /// Reads a Service with the label `mesh/kind`.
    ///
    /// # Errors
    /// When it cannot be called, with the reason.
    pub(super) fn read(service: Service) -> Result<Self, LeftOut> {
        let Service { metadata, spec } = service;
        let refuse = |reason: String| Err(LeftOut::new(&metadata.name, "", reason));
        if let Err(reason) = validate::name(&metadata.name) {
            return refuse(reason);
        }
        let word = metadata.label(KIND_LABEL).unwrap_or_default();
        let (kind, tag, port) = match ServiceKind::from_name(word) {
            Some(ServiceKind::Service) => (ServiceKind::Service, "grpc", GRPC_PORT),
            Some(kind) => (kind, kind.name(), GRPC_PORT),
            None if word == GATEWAY => (ServiceKind::Service, GATEWAY, HTTP_PORT),
            None => {
                return refuse(format!(
                    "its label {KIND_LABEL} is {}: write agent, tool, worker, service, router or {GATEWAY}",
                    validate::quoted(word)
                ));
            }
        };
        let mut meta: BTreeMap<String, String> = BTreeMap::new();
        if let Some(version) = metadata.label(VERSION_LABEL) {
            meta.insert("version".to_owned(), version.to_owned());
        }
        for (name, value) in metadata.annotations.iter().flatten() {
            if let Some(key) = name.strip_prefix(META_PREFIX).filter(|key| !key.is_empty()) {
                meta.insert(key.to_owned(), value.clone());
            }
        }
        meta.insert("kind".to_owned(), kind.name().to_owned());
        Ok(Self {
            name: metadata.name.as_str().into(),
            tags: vec![tag.to_owned()],
            meta,
            family: spec.ip_families.into_iter().flatten().next(),
            port,
        })
    }

    /// The instances that all slices of the service list together.
    ///
    /// A pod can be in several: while slices are rebalanced, and once for each family of addresses.
    pub(super) fn instances<'a>(
        &self,
        slices: impl Iterator<Item = &'a EndpointSlice>,
    ) -> ParsedEndpoints {
        let mut found = ParsedEndpoints::default();
        let mut copies: HashMap<String, Vec<ListedEndpoint<'_>>> = HashMap::new();
        let mut slices: Vec<_> = slices.collect();
        slices.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        for slice in slices {
            let ports = slice.ports.as_deref().unwrap_or_default();
            let ports = match CalledPorts::of(ports, self.port) {
                Ok(ports) => ports,
                Err(reason) => {
                    let id = &slice.metadata.name;
                    found.left_out.push(LeftOut::new(&self.name, id, reason));
                    continue;
                }
            };
            for endpoint in slice.endpoints.iter().flatten() {
                let copy = ListedEndpoint::read(endpoint, slice, &ports);
                copies.entry(copy.name()).or_default().push(copy);
            }
        }
        for (name, copies) in copies {
            for copy in self.distinct(copies) {
                let id = copy.id.clone().unwrap_or_else(|| name.clone());
                match self.instance(&id, &copy) {
                    Ok(instance) => {
                        let state = EndpointState {
                            terminating: copy.is_terminating(),
                            instance: Arc::new(instance),
                        };
                        let key = state.instance.key.clone();
                        found.instances.insert(key, state);
                    }
                    Err(reason) => found.left_out.push(LeftOut::new(&self.name, &id, reason)),
                }
            }
        }
        found
    }

    /// One of the copies of each endpoint that has this name. Endpoints with different addresses of
    /// one family are different, though they have one name: their IDs have the address too.
    fn distinct<'a>(&self, mut copies: Vec<ListedEndpoint<'a>>) -> Vec<ListedEndpoint<'a>> {
        let family = |copy: &ListedEndpoint<'_>| self.family.as_deref() == Some(copy.family);
        if copies.iter().any(family) {
            copies.retain(family);
        } else if let Some(first) = copies.iter().map(|copy| copy.family).min() {
            copies.retain(|copy| copy.family == first);
        }
        // A pod that terminates does not return; else the better news is the newer.
        copies.sort_by_key(|copy| (!copy.is_terminating(), !copy.is_ready()));
        let mut seen = HashSet::new();
        copies.retain(|copy| seen.insert((copy.host, copy.ports)));
        if copies.len() > 1 {
            for copy in &mut copies {
                copy.id = Some(format!("{}@{}", copy.name(), copy.authority()));
            }
        }
        copies
    }

    fn instance(&self, id: &str, copy: &ListedEndpoint<'_>) -> Result<Instance, String> {
        validate::id(id)?;
        validate::host(copy.host)?;
        let port = validate::port(copy.ports.called)?;
        let mut meta = self.meta.clone();
        if let Some(port) = copy.ports.admin {
            let known = meta.entry("admin_port".to_owned());
            known.or_insert_with(|| port.to_string());
        }
        Ok(Instance {
            key: InstanceKey {
                node: copy.node.into(),
                id: id.into(),
            },
            service: Arc::clone(&self.name),
            host: copy.host.to_owned(),
            port,
            tags: self.tags.clone(),
            meta,
            weight: WEIGHT,
            // No new calls for one that terminates, also where it says that it is ready, as with
            // publishNotReadyAddresses. The calls that it has go on.
            health: if copy.is_ready() && !copy.is_terminating() {
                Health::Passing
            } else {
                Health::Critical
            },
        })
    }
}

/// The ports of a slice that the mesh uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct CalledPorts {
    called: i64,
    admin: Option<i64>,
}

impl CalledPorts {
    /// The port of this name, else the only one beside that of the admin listener.
    fn of(ports: &[Port], name: &str) -> Result<Self, String> {
        let tcp = || ports.iter().filter(|port| port.is_tcp());
        let admin = tcp().find(|port| port.is_named(ADMIN_PORT));
        let named = tcp().find(|port| port.is_named(name));
        let mut others = tcp().filter(|port| !port.is_named(ADMIN_PORT));
        let called = match (named, others.next(), others.next()) {
            (Some(named), ..) => named,
            (None, Some(only), None) => only,
            (None, None, _) => return Err("it has no TCP port to call".to_owned()),
            (None, Some(_), Some(_)) => {
                return Err(format!("name the port to call {name}: it has several"));
            }
        };
        let number = called.port.ok_or("its port has no number")?;
        Ok(Self {
            called: number,
            admin: admin.and_then(|port| port.port),
        })
    }
}

/// An endpoint as one slice lists it.
struct ListedEndpoint<'a> {
    pod: Option<&'a str>,
    host: &'a str,
    ports: CalledPorts,
    node: &'a str,
    family: &'a str,
    conditions: EndpointConditions,
    /// Its ID, where its name is not unique.
    id: Option<String>,
}

impl<'a> ListedEndpoint<'a> {
    fn read(endpoint: &'a Endpoint, slice: &'a EndpointSlice, ports: &CalledPorts) -> Self {
        let target = endpoint.target_ref.as_ref();
        let pod = target.filter(|target| target.kind == "Pod" && !target.name.is_empty());
        // Further addresses are of the same pod: Kubernetes says to take the first.
        let addresses = endpoint.addresses.as_deref().unwrap_or_default();
        Self {
            pod: pod.map(|target| target.name.as_str()),
            host: addresses.first().map_or("", String::as_str),
            ports: *ports,
            node: endpoint.node_name.as_deref().unwrap_or_default(),
            family: &slice.address_type,
            conditions: endpoint.conditions.unwrap_or_default(),
            id: None,
        }
    }

    fn is_ready(&self) -> bool {
        self.conditions.ready.unwrap_or(true)
    }

    fn is_terminating(&self) -> bool {
        self.conditions.terminating.unwrap_or(false)
    }

    fn authority(&self) -> String {
        match u16::try_from(self.ports.called) {
            Ok(port) => crate::authority(self.host, port),
            Err(_) => self.host.to_owned(),
        }
    }

    /// The pod's name, which is its ID; else the address.
    fn name(&self) -> String {
        self.pod.map_or_else(|| self.authority(), str::to_owned)
    }
}

#[cfg(test)]
mod tests;
