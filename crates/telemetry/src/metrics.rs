//! The metrics of one service. Crates take a [`MetricsRegistry`], register the rows of their table
//! with it, and keep the metrics in a struct of their own, so that tests read them directly.

use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::{encoding::text, registry};

/// The content type of [`MetricsRegistry::encode`]; Prometheus asks for it by itself.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of one service. Clones are the same registry.
///
/// ```
/// use mesh_telemetry::{MetricsRegistry, prometheus_client::metrics::counter::Counter};
///
/// let (registry, calls) = (MetricsRegistry::new(), Counter::<u64>::default());
/// registry.register("mesh_example_calls", "Calls of an example", calls.clone());
/// calls.inc();
/// assert_eq!(registry.sample("mesh_example_calls_total"), Some(1.0));
/// ```
#[derive(Clone, Debug, Default)]
pub struct MetricsRegistry(Arc<Mutex<registry::Registry>>);

impl MetricsRegistry {
    /// An empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a metric. A counter's name is given without `_total`, which the text format appends;
    /// the help is a phrase without full stop.
    pub fn register(&self, name: &str, help: &str, metric: impl registry::Metric) {
        self.0.lock().register(name, help, metric);
    }

    /// Everything registered, in the OpenMetrics text format.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut out = String::new();
        if let Err(error) = text::encode(&mut out, &self.0.lock()) {
            // A string takes everything: only a metric's own encoding can have failed.
            tracing::warn!(%error, "a metric cannot be printed, nor those after it");
        }
        out
    }

    /// The value of one series, written as [`MetricsRegistry::encode`] prints it, such as
    /// `mesh_calls_total{service="a"}`; `None` when there is no such series. For tests.
    #[must_use]
    pub fn sample(&self, series: &str) -> Option<f64> {
        let text = self.encode();
        let rest = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        rest.split(' ').next()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn registered_metrics_are_printed() {
        let registry = MetricsRegistry::new();
        let counter: Counter = Counter::default();
        registry.register("mesh_test_events", "Events of a test", counter.clone());
        counter.inc();
        assert_eq!(registry.sample("mesh_test_events_total"), Some(1.0));
        assert_eq!(registry.sample("mesh_test_events"), None);
        let text = registry.encode();
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
