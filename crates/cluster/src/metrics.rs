//! What a cluster counts, and what a scrape reads of its endpoints. Each method records an event's
//! log and its count together.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{Cluster, Connections, EndpointHealth};

/// Why an instance was taken out of use.
const REASONS: [&str; 3] = ["connect", "failures", "silent"];

/// The ejections of one cluster.
#[derive(Debug, Default)]
pub(crate) struct ClusterCounts {
    /// By [`REASONS`].
    ejections: [AtomicU64; REASONS.len()],
}

/// One endpoint at a scrape.
#[derive(Clone, Debug)]
pub struct EndpointMetrics {
    /// ID of the instance.
    pub id: Arc<str>,
    /// Calls in flight.
    pub in_flight: u32,
    /// Attempts that were sent to it.
    pub sent: u64,
    /// The latency in seconds that the balancer expects.
    pub latency: f64,
    /// Its weight in the registry.
    pub weight: u32,
    /// Whether it can be used.
    pub health: EndpointHealth,
    /// How it is named in metrics.
    pub series: Arc<EndpointSeries>,
}

/// Whether an endpoint has series of its own in metrics, or shares them with others.
#[derive(Debug, Default)]
pub struct EndpointSeries {
    named: AtomicBool,
    /// Attempts that were counted under the others' name.
    unnamed: AtomicU64,
}

impl EndpointSeries {
    /// Whether it has series of its own.
    #[must_use]
    pub fn is_named(&self) -> bool {
        self.named.load(Ordering::Relaxed)
    }

    /// Lets it have series of its own, from now on.
    pub fn set_named(&self) {
        self.named.store(true, Ordering::Relaxed);
    }

    /// Attempts that were counted under the others' name.
    #[must_use]
    pub fn unnamed(&self) -> u64 {
        self.unnamed.load(Ordering::Relaxed)
    }

    /// Counts more attempts under the others' name, and returns how many.
    pub fn take_unnamed(&self, more: u64) -> u64 {
        self.unnamed.fetch_add(more, Ordering::Relaxed);
        more
    }
}

impl ClusterCounts {
    pub(crate) fn ejected(&self, service: &str, instance: &str, time: Duration) {
        tracing::warn!(
            service,
            instance,
            ?time,
            "instance ejected: too many failures in a row"
        );
        self.eject("failures");
    }

    pub(crate) fn unreachable(&self, service: &str, instance: &str, reason: &str) {
        tracing::warn!(service, instance, reason, "instance cannot be connected to");
        self.eject("connect");
    }

    pub(crate) fn silent(&self, service: &str, instance: &str, silent: bool) {
        if silent {
            tracing::warn!(
                service,
                instance,
                "instance is silent, its health check too"
            );
            self.eject("silent");
        } else {
            tracing::info!(service, instance, "silent instance answers again");
        }
    }

    fn eject(&self, reason: &'static str) {
        if let Some(place) = REASONS.iter().position(|known| *known == reason) {
            self.ejections[place].fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<C: Connections> Cluster<C> {
    /// How often instances were taken out of use, by reason: connect, failures or silent.
    #[must_use]
    pub fn ejections(&self) -> [(&'static str, u64); 3] {
        let counts = &self.counts.ejections;
        std::array::from_fn(|at| (REASONS[at], counts[at].load(Ordering::Relaxed)))
    }

    /// Its endpoints as a scrape shows them, ordered by their keys. Also those that do not serve.
    #[must_use]
    pub fn endpoint_metrics(&self) -> Vec<EndpointMetrics> {
        let now = self.shared.clock.now();
        // Calls need the endpoints only to make a new snapshot, and this takes some microseconds.
        let endpoints = self.endpoints.lock();
        let all = endpoints.iter();
        all.map(|(instance, endpoint)| EndpointMetrics {
            id: Arc::clone(&instance.key.id),
            in_flight: endpoint.load().in_flight(),
            sent: endpoint.sent(),
            latency: endpoint.load().latency(now),
            weight: instance.weight,
            health: endpoint.health(),
            series: Arc::clone(endpoint.series()),
        })
        .collect()
    }
}
