//! What the channel counts. One method a row records an event's log and its metric together.

use std::{fmt::Debug, time::Duration};

use telemetry::{
    MetricsRegistry,
    prometheus_client::{
        encoding::EncodeLabelSet,
        metrics::{counter::Counter, family::Family, gauge::Gauge},
    },
};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Service {
    service: String,
}

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

/// The channel's metrics; labels are Consul service names and closed sets of words.
#[derive(Clone, Debug)]
pub struct ClusterMetrics {
    picks: Family<Service, Counter>,
    retries: Family<Reason, Counter>,
    ejections: Family<Reason, Counter>,
    endpoints: Family<State, Gauge>,
}

impl ClusterMetrics {
    /// A set of metrics registered with `registry`.
    #[must_use]
    pub fn new(registry: &MetricsRegistry) -> Self {
        let metrics = Self {
            picks: Family::default(),
            retries: Family::default(),
            ejections: Family::default(),
            endpoints: Family::default(),
        };
        let Self {
            picks,
            retries,
            ejections,
            endpoints,
        } = metrics.clone();
        registry.register("mesh_balance_picks", "Attempts sent to an instance", picks);
        registry.register("mesh_balance_retries", "Attempts after the first", retries);
        registry.register(
            "mesh_balance_ejections",
            "Instances taken out of use",
            ejections,
        );
        registry.register("mesh_balance_endpoints", "Instances by state", endpoints);
        metrics
    }

    /// The counter of one service, to be kept: a look-up for each call would cost more than it.
    pub(crate) fn picks(&self, service: &str) -> Counter {
        let labels = Service {
            service: service.to_owned(),
        };
        self.picks.get_or_create(&labels).clone()
    }

    pub(crate) fn retried(&self, service: &str, reason: &'static str, why: &dyn Debug) {
        tracing::debug!(service, reason, ?why, "trying another attempt");
        self.retries
            .get_or_create(&Reason {
                service: service.to_owned(),
                reason,
            })
            .inc();
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
