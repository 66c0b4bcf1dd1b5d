//! The channel's metrics. Each method records an event's log and its metric together.

use std::fmt::Debug;

use telemetry::Counter;

telemetry::metrics! {
    /// Labels are Consul service names and closed sets of words.
    pub(crate) struct ChannelMetrics {
        picks: Counter ["service"] = "mesh_balance_picks": "Attempts sent to an instance";
        retries: Counter ["service", "reason"] = "mesh_balance_retries": "Attempts after the first";
    }
}

impl ChannelMetrics {
    /// The counter of one service, to be kept: a look-up costs more than the count.
    pub(crate) fn picks(&self, service: &str) -> Counter {
        self.picks.of([service])
    }

    pub(crate) fn retried(&self, service: &str, reason: &'static str, why: &dyn Debug) {
        tracing::debug!(service, reason, ?why, "trying another attempt");
        self.retries.of([service, reason]).inc();
    }
}
