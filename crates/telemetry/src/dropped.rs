//! What this process would have told and could not: spans, log lines, lines of the access log.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::{Counter, MetricsRegistry};

/// By signal and reason. Of the process, because logs and traces are.
static DROPPED: Mutex<BTreeMap<(&'static str, &'static str), Counter>> =
    Mutex::new(BTreeMap::new());

crate::metrics! {
    struct DroppedMetrics {
        dropped: Counter ["signal", "reason"] = "mesh_telemetry_dropped":
            "Spans, log lines and lines of the access log that this process could not deliver";
    }
}

/// Counts what is dropped of a signal (`spans`, `logs`, `access_log`) for a reason, both of a
/// closed set of words. Keep it where much is dropped.
#[must_use]
pub fn dropped(signal: &'static str, reason: &'static str) -> Counter {
    DROPPED.lock().entry((signal, reason)).or_default().clone()
}

/// Registers `mesh_telemetry_dropped_total`.
pub fn register_dropped(registry: &MetricsRegistry) {
    let metrics = DroppedMetrics::new(registry);
    registry.before_scrape(move || {
        let all = DROPPED.lock();
        let rows = all.iter();
        let rows = rows.map(|((signal, reason), count)| ([*signal, *reason], count.clone()));
        metrics.dropped.replace(rows);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_registry_of_the_process_says_what_was_dropped() {
        dropped("test", "full").inc_by(2);
        let registry = MetricsRegistry::new();
        register_dropped(&registry);
        dropped("test", "full").inc();
        let series = "mesh_telemetry_dropped_total{signal=\"test\",reason=\"full\"}";
        assert_eq!(registry.sample(series), Some(3.0));
    }
}
