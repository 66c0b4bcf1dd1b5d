//! The metrics of one service. A crate defines its own as rows of [`metrics!`](crate::metrics), a
//! struct that is registered with a [`MetricsRegistry`].

use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::{
    encoding::text,
    metrics::{MetricType, TypedMetric, family::Family},
    registry,
};

/// Defines a struct whose fields are metrics. A row is a field, its type, its labels where it has any,
/// its name and its help: a phrase without full stop. A counter's name is given without `_total`,
/// which the text format appends. A type that has no default, such as a histogram, has a closure at
/// the end that makes one.
///
/// ```
/// use mesh_telemetry::{Counter, Histogram, MetricsRegistry};
///
/// mesh_telemetry::metrics! {
///     /// What a shop counts.
///     pub struct ShopMetrics {
///         visits: Counter = "shop_visits": "Visits";
///         sales: Counter ["item"] = "shop_sales": "Sales by item";
///         pay: Histogram = "shop_pay_seconds": "Time to pay", || Histogram::new([0.1, 1.0]);
///     }
/// }
///
/// let registry = MetricsRegistry::new();
/// let metrics = ShopMetrics::new(&registry);
/// metrics.sales.of(["tea"]).inc();
/// assert_eq!(registry.sample("shop_sales_total{item=\"tea\"}"), Some(1.0));
/// ```
#[macro_export]
macro_rules! metrics {
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $($field:ident: $kind:ty $([$($label:literal),+])? = $metric:literal: $help:literal $(, $new:expr)?;)+
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug)]
        $vis struct $name {
            $($field: $crate::metrics!(@type $kind $([$($label),+])?),)+
        }

        impl $name {
            /// Registers them.
            #[must_use]
            $vis fn new(registry: &$crate::MetricsRegistry) -> Self {
                $(let $field = $crate::metrics!(@new $kind $(, $new)?);)+
                Self { $($field: $crate::metrics!(@register registry, $metric, $help, $field $([$($label),+])?),)+ }
            }
        }
    };
    (@type $kind:ty) => { $kind };
    (@type $kind:ty [$($label:literal),+]) => { $crate::Labelled<$kind, { [$($label),+].len() }> };
    (@new $kind:ty) => { <$kind>::default as fn() -> $kind };
    (@new $kind:ty, $new:expr) => { $new as fn() -> $kind };
    (@register $registry:ident, $metric:literal, $help:literal, $new:ident) => {
        $registry.register($metric, $help, $new)
    };
    (@register $registry:ident, $metric:literal, $help:literal, $new:ident [$($label:literal),+]) => {
        $registry.register_labelled($metric, $help, [$($label),+], $new)
    };
}

/// Labels with their values.
type Values<const N: usize> = [(&'static str, String); N];

/// A metric for each combination of the values of its labels. Clones are the same.
#[derive(Clone, Debug)]
pub struct Labelled<M, const N: usize> {
    labels: [&'static str; N],
    family: Family<Values<N>, M, fn() -> M>,
}

impl<M: Clone, const N: usize> Labelled<M, N> {
    /// The metric of these values, which are in the order of the labels.
    #[must_use]
    pub fn of(&self, values: [&str; N]) -> M {
        let pairs = std::array::from_fn(|at| (self.labels[at], values[at].to_owned()));
        self.family.get_or_create_owned(&pairs)
    }
}

/// What is known of a metric that is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricRow {
    /// Its name, as it is printed.
    pub name: String,
    /// The names of its labels.
    pub labels: Vec<&'static str>,
    /// What it says.
    pub help: &'static str,
}

/// The content type of [`MetricsRegistry::encode`]; Prometheus asks for it by itself.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of one service. Clones are the same registry.
///
/// ```
/// use mesh_telemetry::{Counter, MetricsRegistry};
///
/// let registry = MetricsRegistry::new();
/// let calls: Counter = registry.register("mesh_example_calls", "Calls of an example", Counter::default);
/// calls.inc();
/// assert_eq!(registry.sample("mesh_example_calls_total"), Some(1.0));
/// ```
#[derive(Clone, Debug, Default)]
pub struct MetricsRegistry(Arc<Mutex<Registered>>);

#[derive(Debug, Default)]
struct Registered {
    registry: registry::Registry,
    rows: Vec<MetricRow>,
}

impl MetricsRegistry {
    /// An empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a metric without labels: what [`metrics!`](crate::metrics) does for a row.
    pub fn register<M>(&self, name: &str, help: &'static str, new: fn() -> M) -> M
    where
        M: registry::Metric + Clone + TypedMetric,
    {
        let metric = new();
        self.add::<M>(name, help, Vec::new(), metric.clone());
        metric
    }

    /// Adds a metric with labels: what [`metrics!`](crate::metrics) does for a row.
    pub fn register_labelled<M, const N: usize>(
        &self,
        name: &str,
        help: &'static str,
        labels: [&'static str; N],
        new: fn() -> M,
    ) -> Labelled<M, N>
    where
        M: registry::Metric + Clone + TypedMetric,
    {
        let family = Family::new_with_constructor(new);
        self.add::<M>(name, help, labels.to_vec(), family.clone());
        Labelled { labels, family }
    }

    fn add<M: TypedMetric>(
        &self,
        name: &str,
        help: &'static str,
        labels: Vec<&'static str>,
        metric: impl registry::Metric,
    ) {
        let mut registered = self.0.lock();
        registered.registry.register(name, help, metric);
        let total = matches!(M::TYPE, MetricType::Counter);
        let name = format!("{name}{}", if total { "_total" } else { "" });
        registered.rows.push(MetricRow { name, labels, help });
    }

    /// All that are registered, in the order of their registration.
    #[must_use]
    pub fn rows(&self) -> Vec<MetricRow> {
        self.0.lock().rows.clone()
    }

    /// Everything registered, in the OpenMetrics text format.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut out = String::new();
        if let Err(error) = text::encode(&mut out, &self.0.lock().registry) {
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
    use prometheus_client::metrics::{counter::Counter, histogram::Histogram};

    use super::*;

    crate::metrics! {
        /// Some of every kind.
        struct TestMetrics {
            events: Counter = "mesh_test_events": "Events of a test";
            kinds: Counter ["kind", "outcome"] = "mesh_test_kinds": "Events by kind and outcome";
            time: Histogram ["kind"] = "mesh_test_seconds": "Time of events", || Histogram::new([1.0]);
        }
    }

    #[test]
    fn registered_metrics_are_printed_and_listed() {
        let registry = MetricsRegistry::new();
        let metrics = TestMetrics::new(&registry);
        metrics.events.inc();
        metrics.clone().kinds.of(["a", "new"]).inc();
        metrics.kinds.of(["a", "new"]).inc();
        metrics.time.of(["a"]).observe(0.5);
        for (series, value) in [
            ("mesh_test_events_total", Some(1.0)),
            ("mesh_test_events", None),
            (
                "mesh_test_kinds_total{kind=\"a\",outcome=\"new\"}",
                Some(2.0),
            ),
            ("mesh_test_seconds_count{kind=\"a\"}", Some(1.0)),
        ] {
            assert_eq!(registry.sample(series), value, "{series}");
        }
        let text = registry.encode();
        assert!(text.ends_with("# EOF\n"), "{text}");
        let rows = registry.rows();
        let names: Vec<_> = rows.iter().map(|row| &*row.name).collect();
        assert_eq!(
            names,
            [
                "mesh_test_events_total",
                "mesh_test_kinds_total",
                "mesh_test_seconds"
            ]
        );
        assert_eq!(rows[1].labels, ["kind", "outcome"]);
    }
}
