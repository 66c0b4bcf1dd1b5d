//! `mesh.v1.MeshService`: the instances of the mesh, as this router sees them.

use std::{collections::BTreeSet, sync::Arc};

use channel::{EndpointState, EndpointStatus, Mesh};
use discovery::Instance;
use proto::mesh::v1::{self, Health, State};

use crate::directory::{DirectorySnapshot, Service};

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
        of_instance(service, instance, status, drained)
    };
    service.instances().iter().map(one).collect()
}

/// An instance that this router has never called has nothing held against it.
fn of_instance(
    service: &Service,
    instance: &Instance,
    status: Option<&EndpointStatus>,
    drained: &BTreeSet<String>,
) -> v1::Instance {
    let (state, words) = match status.map(|status| status.state) {
        None | Some(EndpointState::Ok) => (State::Ok, ""),
        Some(EndpointState::Ejected) => (State::Ejected, "too many failures in a row"),
        Some(EndpointState::Unreachable) => (
            State::Unreachable,
            "neither its calls nor its health check are answered",
        ),
    };
    let reason = status.and_then(|status| status.reason.clone());
    v1::Instance {
        id: instance.key.id.to_string(),
        service: service.name.to_string(),
        public_id: service.public_id.clone(),
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
    }
}
