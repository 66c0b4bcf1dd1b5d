//! `mesh.v1.MeshService`: the instances of the mesh, as this router sees them.

use std::{collections::BTreeSet, sync::Arc};

use channel::{EndpointHealth, EndpointStatus, Mesh};
use directory::{DirectorySnapshot, QUERY_TIMEOUT, Service};
use discovery::{Instance, first_answer};
use proto::mesh::v1::{self, Health, State};
use service::Spec;

/// Every instance of the services, or of one service, ordered by service and ID.
pub(crate) fn list(
    mesh: &Mesh,
    snapshot: &DirectorySnapshot,
    only: Option<&str>,
) -> Vec<v1::Instance> {
    let drained = mesh.drained();
    let services = snapshot.services().map(AsRef::as_ref);
    services
        .filter(|service| only.is_none_or(|only| only == &*service.name))
        .flat_map(|service| of_service(mesh, service, &drained))
        .collect()
}

fn of_service(mesh: &Mesh, service: &Service, drained: &BTreeSet<String>) -> Vec<v1::Instance> {
    let known = mesh.endpoints(&service.name);
    let one = |instance: &Arc<Instance>| {
        let status = known.iter().find(|status| status.key == instance.key);
        of_instance(&service.name, &service.public_id, instance, status, drained)
    };
    service.instances().iter().map(one).collect()
}

/// The routers that the registry knows; none while it does not answer.
pub(crate) async fn routers(mesh: &Mesh, spec: &Spec) -> Vec<v1::Instance> {
    let mut watch = mesh.discovery().watch(spec.service);
    let known = first_answer(&mut watch, QUERY_TIMEOUT).await;
    let drained = mesh.drained();
    let instances = known.iter().flat_map(|snapshot| &snapshot.instances);
    instances
        .map(|router| of_instance(spec.service, &router.public_id(), router, None, &drained))
        .collect()
}

fn admin_port(instance: &Instance) -> u32 {
    let port = instance.meta.get("admin_port");
    let port: Option<u16> = port.and_then(|port| port.parse().ok());
    port.unwrap_or(0).into()
}

/// An instance that this router has never called has nothing held against it.
fn of_instance(
    service: &str,
    public_id: &str,
    instance: &Instance,
    status: Option<&EndpointStatus>,
    drained: &BTreeSet<String>,
) -> v1::Instance {
    let (state, words) = match status.map(|status| status.health) {
        None | Some(EndpointHealth::Usable) => (State::Ok, ""),
        Some(EndpointHealth::Ejected) => (State::Ejected, "too many failures in a row"),
        Some(EndpointHealth::Unreachable) => (
            State::Unreachable,
            "neither its calls nor its health check are answered",
        ),
    };
    let reason = status.and_then(|status| status.reason.clone());
    v1::Instance {
        id: instance.key.id.to_string(),
        service: service.to_owned(),
        public_id: public_id.to_owned(),
        kind: instance.kind().name().to_owned(),
        address: instance.authority(),
        version: instance.version().to_owned(),
        health: match instance.health {
            discovery::Health::Passing => Health::Passing,
            discovery::Health::Warning => Health::Warning,
            discovery::Health::Critical => Health::Critical,
        }
        .into(),
        drained: drained.contains(&*instance.key.id),
        state: state.into(),
        reason: reason.unwrap_or_else(|| words.to_owned()),
        calls_in_flight: status.map_or(0, |status| status.in_flight),
        weight: instance.weight,
        node: instance.key.node.to_string(),
        admin_port: admin_port(instance),
        grpc_services: instance.grpc_services().unwrap_or_default(),
    }
}
