//! Finds which registrations changed during a bulk watch.
//!
//! Checks do not show everything. They lack the port, weights, `Meta` and tags of an instance, and
//! an instance without a check. The catalog's index moves whenever any registration changes. A
//! resync then reads, from every node, the index at which each instance last changed.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::Semaphore, task::JoinSet, time::sleep};
use tracing::warn;

use super::{
    api_types::{NodeRow, NodeServices, differing},
    client::{Answer, ConsulApi, QueryMode},
    watch_state::{Receiver, WatchState},
};
use crate::{Catalog, Error, backends::percent::percent_encoded};

/// How many nodes are read at the same time.
const CONCURRENT_NODES: usize = 8;
/// The pause after a resync, as a multiple of the time that reading its answers took, and its
/// bounds. Resyncs must not keep Consul and us busy.
const PAUSE_FACTOR: u32 = 4;
const MIN_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// How often the resync checks whether the bulk watch has ended.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// Wakes the services whose registrations changed, until the bulk watch ends. The catalog is
/// watched for its index, which says when to read.
pub(super) async fn run(state: Arc<WatchState>, catalog: Receiver<Catalog>) {
    let mut index = state.catalog_index.subscribe();
    let mut known: Option<RegistrationIndexes> = None;
    let mut failing = false;
    let mut due = true;
    while !state.end_resync() {
        let mut pause = Duration::ZERO;
        if due {
            index.borrow_and_update();
            let read = tokio::select! {
                () = state.stop.cancelled() => return,
                read = read_indexes(&state.client) => read,
            };
            match read {
                Ok((now, cost)) => {
                    (due, failing) = (false, false);
                    pause = (cost * PAUSE_FACTOR).clamp(MIN_PAUSE, MAX_PAUSE);
                    // Before the first read there may have been a change that nothing else shows.
                    let all = known.is_none();
                    let names = differing(&known.unwrap_or_default(), &now);
                    state.wake(|name| all || names.contains(name));
                    known = Some(now);
                }
                Err(error) => {
                    pause = MAX_PAUSE;
                    let first = !std::mem::replace(&mut failing, true);
                    if first && matches!(error, Error::Refused { .. }) {
                        warn!(%error, "cannot see which registrations change: each is asked again from time to time");
                    }
                }
            }
        }
        tokio::select! {
            () = state.stop.cancelled() => return,
            () = sleep(pause) => {}
        }
        if !due {
            tokio::select! {
                () = state.stop.cancelled() => return,
                // The sender lives as long as `state`.
                _ = index.changed() => due = true,
                () = sleep(CHECK_INTERVAL) => {}
            }
        }
    }
    drop(catalog);
}

/// Service → node, instance ID and modify index of each of its registrations.
type RegistrationIndexes = HashMap<String, BTreeSet<(Arc<str>, String, u64)>>;

/// Reads every node; returns the indexes and how long reading the answers took.
async fn read_indexes(client: &Arc<ConsulApi>) -> Result<(RegistrationIndexes, Duration), Error> {
    let nodes: Answer<Vec<NodeRow>> = client
        .get("catalog/nodes", Some(QueryMode::Immediate))
        .await?;
    let permits = Arc::new(Semaphore::new(CONCURRENT_NODES));
    let mut asked = JoinSet::new();
    for NodeRow { node } in nodes.value {
        let (client, permits) = (Arc::clone(client), Arc::clone(&permits));
        asked.spawn(async move {
            let _permit = permits.acquire().await;
            let path = format!("catalog/node/{}", percent_encoded(&node));
            let answer: Answer<Option<NodeServices>> =
                client.get(&path, Some(QueryMode::Immediate)).await?;
            Ok::<_, Error>((Arc::<str>::from(node), answer))
        });
    }
    let (mut indexes, mut cost) = (RegistrationIndexes::new(), Duration::ZERO);
    while let Some(answered) = asked.join_next().await {
        // A task that was not answered ended with the runtime.
        let Ok(answered) = answered else { continue };
        let (node, answer) = answered?;
        cost += answer.cost;
        // A node that has just left has none.
        for (service, states) in answer.value.into_iter().flat_map(NodeServices::states) {
            let of_node = states
                .into_iter()
                .map(|(id, index)| (Arc::clone(&node), id, index));
            indexes.entry(service).or_default().extend(of_node);
        }
    }
    Ok((indexes, cost))
}
