//! The channel's metrics. Each method records an event's log and its metric together.

use std::fmt::Debug;

use telemetry::{
    MetricsRegistry,
    prometheus_client::{
        encoding::EncodeLabelSet,
        metrics::{counter::Counter, family::Family},
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

/// Labels are Consul service names and closed sets of words.
#[derive(Clone, Debug, Default)]
pub(crate) struct ChannelMetrics {
    picks: Family<Service, Counter>,
    retries: Family<Reason, Counter>,
}

impl ChannelMetrics {
    /// A set of metrics registered with `registry`.
    pub(crate) fn new(registry: &MetricsRegistry) -> Self {
        let metrics = Self::default();
        registry.register(
            "mesh_balance_picks",
            "Attempts sent to an instance",
            metrics.picks.clone(),
        );
        registry.register(
            "mesh_balance_retries",
            "Attempts after the first",
            metrics.retries.clone(),
        );
        metrics
    }

    /// The counter of one service, to be kept: a look-up costs more than the count.
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
}
