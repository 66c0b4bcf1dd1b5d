//! The metrics of clusters. Each method records an event's log and its metric together.

use std::time::Duration;

use telemetry::{Counter, Gauge};

telemetry::metrics! {
    /// Labels are Consul service names and closed sets of words.
    pub(crate) struct ClusterMetrics {
        ejections: Counter ["service", "reason"] = "mesh_balance_ejections":
            "Instances taken out of use, by reason: connect, failures or silent";
        endpoints: Gauge ["service", "state"] = "mesh_balance_endpoints":
            "Instances by state: registered and serving, usable, and drained by hand";
    }
}

impl ClusterMetrics {
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
        self.ejections.of([service, reason]).inc();
    }

    pub(crate) fn endpoints(&self, service: &str, serving: usize, usable: usize, drained: usize) {
        let states = [
            ("serving", serving),
            ("usable", usable),
            ("drained", drained),
        ];
        for (state, count) in states {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.endpoints.of([service, state]).set(count);
        }
    }
}
