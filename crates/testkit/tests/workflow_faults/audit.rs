//! Whether every run ended once, and every end of a node was taken once.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use runs::{EventCursor, EventFilter, RunFilter, RunStore};
use tokio::time::{Instant, sleep};
use workflow::{Event, EventKind};

use crate::{fleet::PATIENCE, load::Created};

/// Waits until no run is under way, and checks what happened to each.
pub(crate) async fn audit(store: &dyn RunStore, created: &Created, what: &str) {
    let began = Instant::now();
    let times = loop {
        match ended(store).await {
            Ok(times) if times.len() >= created.len() => break times,
            Ok(times) => assert!(
                began.elapsed() < PATIENCE,
                "{what}: {} of {} runs ended",
                times.len(),
                created.len()
            ),
            Err(error) => assert!(began.elapsed() < PATIENCE, "{what}: {error}"),
        }
        sleep(Duration::from_millis(500)).await;
    };
    let counts = counts(store).await;
    for (run_id, nodes) in created {
        let of = |kind, node: &str| {
            let key = (run_id.clone(), kind, node.to_owned());
            counts.get(&key).copied().unwrap_or(0)
        };
        let status = &times[run_id].0;
        assert_eq!(status, "COMPLETED", "{what}: {run_id}");
        assert_eq!(
            of(EventKind::WorkflowStarted, ""),
            1,
            "{what}: {run_id} begins"
        );
        assert_eq!(
            of(EventKind::WorkflowCompleted, ""),
            1,
            "{what}: {run_id} ends"
        );
        for node in nodes {
            assert_eq!(
                of(EventKind::NodeCompleted, node),
                1,
                "{what}: {run_id} {node}"
            );
        }
    }
    let mut took: Vec<u64> = times.values().map(|(_, took)| *took).collect();
    took.sort_unstable();
    let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize];
    eprintln!(
        "{what}: {} runs, p50 {} ms, p99 {} ms, longest {} ms",
        took.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

/// The status of each run that has ended, and how long it took.
async fn ended(store: &dyn RunStore) -> Result<BTreeMap<String, (String, u64)>, runs::Error> {
    let mut times = BTreeMap::new();
    let mut filter = RunFilter {
        limit: 1_000,
        ..RunFilter::default()
    };
    loop {
        let page = store.runs(&filter).await?;
        for run in page.runs {
            if let Some(ended) = run.ended_at {
                let took = ended.saturating_sub(run.submitted_at);
                times.insert(run.run_id, (run.status, took));
            }
        }
        match page.next {
            Some(next) => filter.cursor = Some(next),
            None => return Ok(times),
        }
    }
}

/// How often what happened, by run, kind and node.
pub(crate) async fn counts(store: &dyn RunStore) -> HashMap<(String, EventKind, String), usize> {
    let mut counts = HashMap::new();
    let mut after = EventCursor::default();
    loop {
        let page = store
            .events(&EventFilter::default(), &after, 5_000)
            .await
            .unwrap();
        assert!(!page.missed);
        if page.events.is_empty() {
            return counts;
        }
        for stored in page.events {
            let event: Event = serde_json::from_value(stored.event).unwrap();
            let node = event.node_id.unwrap_or_default();
            *counts.entry((stored.run_id, event.kind, node)).or_default() += 1;
        }
        after = page.next;
    }
}
