//! The metrics of clusters. Each method records an event's log and its metric together.

use std::time::Duration;

use telemetry::{
    MetricsRegistry,
    prometheus_client::{
        encoding::EncodeLabelSet,
        metrics::{counter::Counter, family::Family, gauge::Gauge},
    },
};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Reason {
    service: String,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct State {
    service: String,
    state: &'static str,
}

/// Labels are Consul service names and closed sets of words.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClusterMetrics {
    ejections: Family<Reason, Counter>,
    endpoints: Family<State, Gauge>,
}

impl ClusterMetrics {
    /// A set of metrics registered with `registry`.
    pub(crate) fn new(registry: &MetricsRegistry) -> Self {
        let metrics = Self::default();
        registry.register(
            "mesh_balance_ejections",
            "Instances taken out of use",
            metrics.ejections.clone(),
        );
        registry.register(
            "mesh_balance_endpoints",
            "Instances by state",
            metrics.endpoints.clone(),
        );
        metrics
    }

    pub(crate) fn ejected(&self, service: &str, instance: &str, time: Duration) {
        tracing::warn!(
            service,
            instance,
            ?time,
            "instance ejected: too many failures in a row"
        );
        self.eject(service, "failures");
    }

    pub(crate) fn unreachable(&self, service: &str, instance: &str, reason: &str) {
        tracing::warn!(service, instance, reason, "instance cannot be connected to");
        self.eject(service, "connect");
    }

    pub(crate) fn silent(&self, service: &str, instance: &str, silent: bool) {
        if silent {
            tracing::warn!(
                service,
                instance,
                "instance is silent, its health check too"
            );
            self.eject(service, "silent");
        } else {
            tracing::info!(service, instance, "silent instance answers again");
        }
    }

    fn eject(&self, service: &str, reason: &'static str) {
        self.ejections
            .get_or_create(&Reason {
                service: service.to_owned(),
                reason,
            })
            .inc();
    }

    pub(crate) fn endpoints(&self, service: &str, serving: usize, usable: usize, drained: usize) {
        let states = [
            ("serving", serving),
            ("usable", usable),
            ("drained", drained),
        ];
        for (state, count) in states {
            let labels = State {
                service: service.to_owned(),
                state,
            };
            self.endpoints
                .get_or_create(&labels)
                .set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}
