//! What this process knows of a service's instances, for people who look.

use std::sync::Arc;

use discovery::InstanceKey;

use crate::{Mesh, health::EndpointHealth};

/// What is held against an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointState {
    /// Nothing.
    Ok,
    /// It failed too often in a row, and gets no calls for some time.
    Ejected,
    /// It cannot be connected to, or neither its calls nor its health check answer.
    Unreachable,
}

/// One instance as the callers in this process see it.
#[derive(Clone, Debug)]
pub struct EndpointStatus {
    /// Which instance.
    pub key: InstanceKey,
    /// Calls of this process that it is working on now.
    pub in_flight: u32,
    /// What is held against it.
    pub state: EndpointState,
    /// Why it cannot be connected to, where that is so.
    pub reason: Option<String>,
}

impl Mesh {
    /// The instances of a service as this process sees them, ordered by their keys; none for a
    /// service that nobody here has called yet. Does not begin to watch it.
    #[must_use]
    pub fn endpoints(&self, service: &str) -> Vec<EndpointStatus> {
        let Some(cluster) = self.known_cluster(service) else {
            return Vec::new();
        };
        let endpoints = cluster.endpoints.lock();
        let status =
            |(instance, endpoint): (&Arc<discovery::Instance>, &Arc<crate::endpoint::Endpoint>)| {
                EndpointStatus {
                    key: instance.key.clone(),
                    in_flight: endpoint.load.in_flight(),
                    state: match endpoint.health() {
                        EndpointHealth::Usable => EndpointState::Ok,
                        EndpointHealth::Ejected => EndpointState::Ejected,
                        EndpointHealth::Unreachable => EndpointState::Unreachable,
                    },
                    reason: endpoint.connect_error(),
                }
            };
        endpoints.iter().map(status).collect()
    }
}
