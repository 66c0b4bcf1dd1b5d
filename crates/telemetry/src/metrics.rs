//! The metrics of one service. A crate defines its own as rows of [`metrics!`](crate::metrics), a
//! struct that is registered with a [`MetricsRegistry`].

mod histogram;
mod labelled;
mod text;
mod values;

use std::{fmt, sync::Arc};

use parking_lot::Mutex;

pub use histogram::Histogram;
pub use labelled::Labelled;
pub use text::{Kind, Series, TextFormat};
pub use values::{Counter, FloatCounter, FloatGauge, Gauge, Metric};

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
#[derive(Clone, Default)]
pub struct MetricsRegistry(Arc<Inner>);

#[derive(Default)]
struct Inner {
    registered: Mutex<Registered>,
    /// Held for a scrape: two at once would collect the same twice. Calls never take it.
    scraping: Mutex<()>,
}

#[derive(Default)]
struct Registered {
    rows: Vec<MetricRow>,
    writers: Vec<Arc<Writer>>,
    collectors: Vec<Arc<dyn Fn() + Send + Sync>>,
}

/// Writes the series of one metric.
type Writer = dyn Fn(&mut String, TextFormat) + Send + Sync;

impl MetricsRegistry {
    /// An empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a metric without labels: what [`metrics!`](crate::metrics) does for a row.
    pub fn register<M: Metric>(&self, name: &'static str, help: &'static str, new: fn() -> M) -> M {
        let metric = new();
        let ours = metric.clone();
        self.add::<M>(name, help, Vec::new(), move |out, format| {
            ours.write(&mut Series::new(out, format, name, help, M::KIND));
        });
        metric
    }

    /// Adds a metric with labels: what [`metrics!`](crate::metrics) does for a row.
    pub fn register_labelled<M: Metric, const N: usize>(
        &self,
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
        new: fn() -> M,
    ) -> Labelled<M, N> {
        let metric = Labelled::new(labels, new);
        let ours = metric.clone();
        self.add::<M>(name, help, labels.to_vec(), move |out, format| {
            let mut all = Series::new(out, format, name, help, M::KIND);
            for (labels, metric) in ours.now() {
                metric.write(&mut all.labelled(&labels));
            }
        });
        metric
    }

    /// Adds what brings metrics up to date before each scrape: for what is known elsewhere and would
    /// cost calls something to count twice. It must not wait for calls.
    pub fn before_scrape(&self, collect: impl Fn() + Send + Sync + 'static) {
        self.0.registered.lock().collectors.push(Arc::new(collect));
    }

    fn add<M: Metric>(
        &self,
        name: &str,
        help: &'static str,
        labels: Vec<&'static str>,
        write: impl Fn(&mut String, TextFormat) + Send + Sync + 'static,
    ) {
        let mut registered = self.0.registered.lock();
        let total = if M::KIND == Kind::Counter {
            "_total"
        } else {
            ""
        };
        let name = format!("{name}{total}");
        registered.rows.push(MetricRow { name, labels, help });
        registered.writers.push(Arc::new(write));
    }

    /// All that are registered, in the order of their registration.
    #[must_use]
    pub fn rows(&self) -> Vec<MetricRow> {
        self.0.registered.lock().rows.clone()
    }

    /// Everything registered, as OpenMetrics text.
    #[must_use]
    pub fn encode(&self) -> String {
        self.encode_as(TextFormat::OpenMetrics)
    }

    /// Everything registered, as text. It takes some milliseconds of a processor in a large mesh:
    /// no place for it is a thread that carries calls. It holds no lock that a call waits for.
    #[must_use]
    pub fn encode_as(&self, format: TextFormat) -> String {
        let _scraping = self.0.scraping.lock();
        let (collectors, writers) = {
            let registered = self.0.registered.lock();
            (registered.collectors.clone(), registered.writers.clone())
        };
        collectors.iter().for_each(|collect| collect());
        let mut out = String::new();
        for write in writers {
            write(&mut out, format);
            // Whoever carries calls goes first where processors are scarce.
            std::thread::yield_now();
        }
        if format == TextFormat::OpenMetrics {
            out.push_str("# EOF\n");
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

impl fmt::Debug for MetricsRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = &self.0.registered.lock().rows;
        f.debug_struct("MetricsRegistry")
            .field("rows", rows)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
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

    /// As the specification of OpenMetrics and that of the text format have it.
    #[test]
    fn both_formats_are_written_to_the_letter() {
        let registry = MetricsRegistry::new();
        let metrics = TestMetrics::new(&registry);
        metrics.events.inc_by(3);
        metrics.kinds.of(["a\"b\\c\n", ""]).inc();
        let time = metrics.time.of(["a"]);
        time.observe(1.0);
        let trace = crate::TraceContext {
            trace_id: crate::TraceId(0xab),
            span_id: crate::SpanId(0xcd),
            sampled: true,
        };
        time.observe_of(2.5, Some(trace));
        let text = registry.encode_as(TextFormat::Prometheus);
        let expected = r#"# HELP mesh_test_events_total Events of a test.
# TYPE mesh_test_events_total counter
mesh_test_events_total 3
# HELP mesh_test_kinds_total Events by kind and outcome.
# TYPE mesh_test_kinds_total counter
mesh_test_kinds_total{kind="a\"b\\c\n"} 1
# HELP mesh_test_seconds Time of events.
# TYPE mesh_test_seconds histogram
mesh_test_seconds_bucket{kind="a",le="1.0"} 1
mesh_test_seconds_bucket{kind="a",le="+Inf"} 2
mesh_test_seconds_sum{kind="a"} 3.5
mesh_test_seconds_count{kind="a"} 2
"#;
        assert_eq!(text, expected);
        let text = registry.encode();
        assert!(text.contains("# TYPE mesh_test_events counter\nmesh_test_events_total 3\n"));
        let exemplar =
            " # {trace_id=\"000000000000000000000000000000ab\",span_id=\"00000000000000cd\"} 2.5 ";
        let line = text.lines().find(|line| line.contains("+Inf")).unwrap();
        let (before, time) = line.split_once(exemplar).unwrap();
        assert_eq!(before, "mesh_test_seconds_bucket{kind=\"a\",le=\"+Inf\"} 2");
        assert!(time.parse::<f64>().unwrap() > 1.6e9, "{time}");
    }

    #[test]
    fn what_is_collected_is_as_it_is_at_the_scrape() {
        let registry = MetricsRegistry::new();
        let metrics = TestMetrics::new(&registry);
        let there = Arc::new(Mutex::new(vec!["a", "b"]));
        let (ours, kinds) = (Arc::clone(&there), metrics.kinds);
        registry.before_scrape(move || {
            let there = ours.lock();
            kinds.replace(there.iter().map(|kind| ([*kind, "new"], Counter::at(7))));
        });
        let seen = |kind| {
            registry.sample(&format!(
                "mesh_test_kinds_total{{kind=\"{kind}\",outcome=\"new\"}}"
            ))
        };
        assert_eq!((seen("a"), seen("b")), (Some(7.0), Some(7.0)));
        there.lock().remove(0);
        assert_eq!((seen("a"), seen("b")), (None, Some(7.0)));
    }
}
