//! The engines' calls, connections and memory as metrics. What remains when there are no calls is a leak.

use mesh_relay::driver::EngineStats;
use telemetry::Gauge;

telemetry::metrics! {
    /// The sums over all engines.
    pub(crate) struct Gauges {
        calls: Gauge = "mesh_relay_calls": "Calls in the relay";
        connections: Gauge ["side"] = "mesh_relay_connections":
            "Connections of the relay, with clients and with instances, itself being one";
        memory: Gauge = "mesh_relay_memory_bytes": "Bytes the relay keeps for calls and has to write";
    }
}

/// One engine's part in the sums.
#[derive(Debug)]
pub(crate) struct EngineGauges {
    gauges: Gauges,
    reported: EngineStats,
}

impl EngineGauges {
    pub(crate) fn new(gauges: Gauges) -> Self {
        Self {
            gauges,
            reported: EngineStats::default(),
        }
    }

    /// The engine now has this.
    pub(crate) fn report(&mut self, load: EngineStats) {
        let before = std::mem::replace(&mut self.reported, load);
        let Gauges {
            calls,
            connections,
            memory,
        } = &self.gauges;
        let [clients, instances] = ["client", "instance"].map(|side| connections.of([side]));
        for (gauge, before, now) in [
            (calls, before.calls, load.calls),
            (&clients, before.clients, load.clients),
            (&instances, before.instances, load.instances),
            (memory, before.memory, load.memory),
        ] {
            if now != before {
                gauge.inc_by(now as i64 - before as i64);
            }
        }
    }
}

impl Drop for EngineGauges {
    fn drop(&mut self) {
        self.report(EngineStats::default());
    }
}

#[cfg(test)]
mod tests {
    use telemetry::MetricsRegistry;

    use super::*;

    #[test]
    fn the_gauges_are_the_sums_of_the_engines_that_are_there() {
        let registry = MetricsRegistry::new();
        let gauges = Gauges::new(&registry);
        let load = |calls, clients, instances, memory| EngineStats {
            calls,
            clients,
            instances,
            memory,
        };
        let mut one = EngineGauges::new(gauges.clone());
        let mut two = EngineGauges::new(gauges);
        one.report(load(3, 2, 1, 100));
        two.report(load(4, 1, 1, 50));
        one.report(load(1, 2, 1, 0));
        let sums = || {
            [
                "mesh_relay_calls",
                "mesh_relay_connections{side=\"client\"}",
                "mesh_relay_connections{side=\"instance\"}",
                "mesh_relay_memory_bytes",
            ]
            .map(|series| registry.sample(series))
        };
        assert_eq!(sums(), [5.0, 3.0, 2.0, 50.0].map(Some));
        drop(two);
        assert_eq!(sums(), [1.0, 2.0, 1.0, 0.0].map(Some));
    }
}
