//! The channel's metrics. Calls count in their cluster and endpoint only; a scrape collects that, so
//! that what has left the mesh leaves the metrics with it.

use std::{
    fmt::Debug,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use cluster::{EndpointHealth, EndpointMetrics};
use telemetry::{Counter, FloatGauge, Gauge, MetricsRegistry, rpc::ClientCalls, rpc::OTHER};

use crate::cluster_client::ClusterClient;

telemetry::metrics! {
    /// Labels are Consul names, instances that are there, and closed sets of words.
    struct Rows {
        picks: Counter ["service"] = "mesh_balance_picks": "Attempts sent to an instance";
        retries: Counter ["service", "reason"] = "mesh_balance_retries": "Attempts after the first";
        hedges: Counter ["service"] = "mesh_balance_hedges": "Attempts sent beside one that had not answered yet";
        ejections: Counter ["service", "reason"] = "mesh_balance_ejections":
            "Instances taken out of use, by reason: connect, failures or silent";
        endpoints: Gauge ["service", "state"] = "mesh_balance_endpoints":
            "Instances by state: registered, of them serving by their health checks, usable of those, and drained by hand";
        budget: Gauge ["service"] = "mesh_balance_retry_budget": "Retries that the budget allows now";
        waiting: Gauge ["service"] = "mesh_balance_queue_waiting": "Calls that wait for an instance";
        refused: Counter ["service"] = "mesh_balance_queue_refused":
            "Calls that no instance took, at once or within queue_timeout";
        slo: FloatGauge ["service"] = "mesh_slo_latency_seconds": "The live setting slo_latency";
        calls: Gauge ["service", "instance"] = "mesh_instance_calls": "Calls in flight on an instance";
        instance_picks: Counter ["service", "instance"] = "mesh_instance_picks": "Attempts sent to an instance";
        latency: FloatGauge ["service", "instance"] = "mesh_instance_latency_seconds":
            "Latency that the balancer expects of an instance; the largest of many";
        weight: Gauge ["service", "instance"] = "mesh_instance_weight": "Weight that an instance is registered with";
        ejected: Gauge ["service", "instance"] = "mesh_instance_ejected":
            "Whether an instance is ejected, silent or cannot be reached: 1 or 0; of many how many";
    }
}

/// What the calls of one program add to beside their clusters.
#[derive(Clone, Debug)]
pub(crate) struct ChannelMetrics {
    rows: Arc<Rows>,
    pub(crate) calls: ClientCalls,
    /// Calls to services that never had an instance.
    refused_elsewhere: Counter,
    /// How many instances have series of their own.
    most_instances: usize,
}

/// What the calls to one service count.
#[derive(Debug, Default)]
pub(crate) struct ServiceCounts {
    pub(crate) picks: AtomicU64,
    /// By [`REASONS`].
    retries: [AtomicU64; REASONS.len()],
    hedges: AtomicU64,
    refused: AtomicU64,
    /// Of instances that share a series: what they had sent at the last scrape.
    others: AtomicU64,
}

/// Why there is another attempt.
const REASONS: [&str; 3] = ["unsent", "idempotent", "hedge"];

impl ServiceCounts {
    pub(crate) fn picked(&self) {
        self.picks.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn hedged(&self) {
        self.hedges.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn retried(&self, service: &str, reason: &'static str, why: &dyn Debug) {
        tracing::debug!(service, reason, ?why, "trying another attempt");
        if let Some(place) = REASONS.iter().position(|known| *known == reason) {
            self.retries[place].fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl ChannelMetrics {
    pub(crate) fn new(registry: &MetricsRegistry, most_instances: usize) -> Self {
        Self {
            rows: Arc::new(Rows::new(registry)),
            calls: ClientCalls::new(registry),
            refused_elsewhere: Counter::default(),
            most_instances,
        }
    }

    /// No instance took a call.
    pub(crate) fn refused(&self, client: &ClusterClient) {
        if client.cluster.had_instances() {
            client.counts.refused.fetch_add(1, Ordering::Relaxed);
        } else {
            self.refused_elsewhere.inc();
        }
    }

    /// Brings the rows up to date. Names that never had an instance have no rows: anybody can make
    /// them up.
    pub(crate) fn collect(&self, clients: &[Arc<ClusterClient>]) {
        let clients = clients.iter().filter(|it| it.cluster.had_instances());
        let mut clients: Vec<_> = clients.collect();
        clients.sort_by(|a, b| a.cluster.service().cmp(b.cluster.service()));
        let named = |client: &'_ Arc<ClusterClient>| Arc::clone(client.cluster.service());
        let names: Vec<Arc<str>> = clients.iter().map(|client| named(client)).collect();
        let each = || names.iter().zip(&clients);
        let count = |number: &AtomicU64| Counter::at(number.load(Ordering::Relaxed));
        let rows = &self.rows;
        rows.picks
            .replace(each().map(|(name, it)| ([&**name], count(&it.counts.picks))));
        rows.hedges
            .replace(each().map(|(name, it)| ([&**name], count(&it.counts.hedges))));
        let refused = each().map(|(name, it)| ([&**name], count(&it.counts.refused)));
        let elsewhere =
            (self.refused_elsewhere.get() > 0).then(|| ([OTHER], self.refused_elsewhere.clone()));
        rows.refused.replace(refused.chain(elsewhere));
        rows.retries.replace(each().flat_map(|(name, it)| {
            let by_reason = REASONS.iter().zip(&it.counts.retries);
            by_reason
                .filter(|(_, number)| number.load(Ordering::Relaxed) > 0)
                .map(move |(reason, number)| ([&**name, *reason], count(number)))
        }));
        rows.ejections.replace(each().flat_map(|(name, it)| {
            let ejections = it.cluster.ejections().into_iter();
            ejections
                .filter(|(_, number)| *number > 0)
                .map(move |(reason, number)| ([&**name, reason], Counter::at(number)))
        }));
        rows.endpoints.replace(each().flat_map(|(name, it)| {
            let snapshot = it.cluster.snapshot();
            let states = [
                ("registered", snapshot.registered),
                ("serving", snapshot.serving),
                ("usable", snapshot.usable),
                ("drained", snapshot.drained),
            ];
            states.map(|(state, number)| ([&**name, state], gauge(number)))
        }));
        rows.waiting
            .replace(each().map(|(name, it)| ([&**name], gauge(it.cluster.waiters().count()))));
        rows.budget
            .replace(each().map(|(name, it)| ([&**name], Gauge::at(it.retries_left()))));
        rows.slo.replace(each().map(|(name, it)| {
            let limit = it.options().slo_latency.as_secs_f64();
            ([&**name], FloatGauge::at(limit))
        }));
        self.collect_instances(&clients, &names);
    }

    fn collect_instances(&self, clients: &[&Arc<ClusterClient>], names: &[Arc<str>]) {
        let seen: Vec<Vec<EndpointMetrics>> = clients
            .iter()
            .map(|client| client.cluster.endpoint_metrics())
            .collect();
        // An instance that has series of its own keeps them while it is there.
        let named = |it: &&EndpointMetrics| it.series.is_named();
        let taken = seen.iter().flatten().filter(named).count();
        let mut free = self.most_instances.saturating_sub(taken);
        let mut all = Vec::new();
        for ((client, name), instances) in clients.iter().zip(names).zip(&seen) {
            let mut others: Option<InstanceRow> = None;
            for instance in instances {
                let series = &instance.series;
                if !series.is_named() && free > 0 {
                    free -= 1;
                    series.set_named();
                }
                let row = InstanceRow::of(instance);
                if series.is_named() {
                    all.push((name, Some(Arc::clone(&instance.id)), row));
                } else {
                    let more = series.take_unnamed(row.picks);
                    client.counts.others.fetch_add(more, Ordering::Relaxed);
                    others = Some(others.map_or(row, |sum| sum.and(row)));
                }
            }
            if let Some(mut sum) = others {
                sum.picks = client.counts.others.load(Ordering::Relaxed);
                all.push((name, None, sum));
            }
        }
        let each = || {
            all.iter().map(|(service, instance, row)| {
                let labels: [&str; 2] = [service, instance.as_deref().unwrap_or(OTHER)];
                (labels, row)
            })
        };
        let rows = &self.rows;
        rows.calls
            .replace(each().map(|(labels, row)| (labels, Gauge::at(row.calls))));
        rows.instance_picks
            .replace(each().map(|(labels, row)| (labels, Counter::at(row.picks))));
        rows.latency
            .replace(each().map(|(labels, row)| (labels, FloatGauge::at(row.latency))));
        rows.weight
            .replace(each().map(|(labels, row)| (labels, Gauge::at(row.weight))));
        rows.ejected
            .replace(each().map(|(labels, row)| (labels, Gauge::at(row.ejected))));
    }
}

/// One instance, or several together.
#[derive(Clone, Copy)]
struct InstanceRow {
    calls: i64,
    picks: u64,
    latency: f64,
    weight: i64,
    ejected: i64,
}

impl InstanceRow {
    fn of(instance: &EndpointMetrics) -> Self {
        Self {
            calls: instance.in_flight.into(),
            picks: instance.sent - instance.series.unnamed(),
            latency: instance.latency,
            weight: instance.weight.into(),
            ejected: i64::from(instance.health != EndpointHealth::Usable),
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            calls: self.calls + other.calls,
            picks: self.picks + other.picks,
            latency: self.latency.max(other.latency),
            weight: self.weight + other.weight,
            ejected: self.ejected + other.ejected,
        }
    }
}

fn gauge(number: usize) -> Gauge {
    Gauge::at(i64::try_from(number).unwrap_or(i64::MAX))
}
