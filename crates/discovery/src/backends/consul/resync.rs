//! Finds the registrations that changed among those of many services.
//!
//! Checks do not show everything: not the port, weights, `Meta` or tags of an instance, and no
//! instance without a check. Whenever any registration changes, the index of the catalog moves. A
//! resync over the nodes then tells whose did: it reads of each instance the index of its last change.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::Semaphore, task::JoinSet, time::sleep};
use tracing::warn;

use super::{
    api_types::{NodeRow, NodeServices},
    bulk_watcher::changed,
    client::{Answer, ConsulApi, QueryMode, percent_encoded},
    watches::Watches,
};
use crate::Error;

/// How many nodes are asked at the same time.
const AT_A_TIME: usize = 8;
/// How many times longer than the answers of a resync take to read the pause after it is, and the
/// least and the longest: neither Consul nor we are to be busy with resyncs alone.
const PAUSE_FACTOR: u32 = 4;
const MIN_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// How often it is looked at whether the bulk watch is over.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// Tells the services whose registrations change, until the bulk watch ends.
pub(super) async fn run(watches: Arc<Watches>) {
    // Keeps the catalog watched, whose index says when to look.
    let _catalog = watches.catalog();
    let mut moved = watches.moved.subscribe();
    let mut known: Option<RegistrationIndexes> = None;
    let mut failing = false;
    let mut due = true;
    while !watches.end_resync() {
        let mut pause = Duration::ZERO;
        if due {
            moved.borrow_and_update();
            let read = tokio::select! {
                () = watches.stop.cancelled() => return,
                read = read_indexes(&watches.client) => read,
            };
            match read {
                Ok((now, cost)) => {
                    (due, failing) = (false, false);
                    pause = (cost * PAUSE_FACTOR).clamp(MIN_PAUSE, MAX_PAUSE);
                    // The first look may come after a change that nobody else has seen.
                    let all = known.is_none();
                    let names = changed(&known.unwrap_or_default(), &now);
                    watches.tell(|name| all || names.contains(name));
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
            () = watches.stop.cancelled() => return,
            () = sleep(pause) => {}
        }
        if !due {
            tokio::select! {
                () = watches.stop.cancelled() => return,
                // The sender is the watches' own.
                _ = moved.changed() => due = true,
                () = sleep(CHECK_INTERVAL) => {}
            }
        }
    }
}

/// Service → what tells one state of its registrations from another, by node.
type RegistrationIndexes = HashMap<String, BTreeSet<(Arc<str>, String, u64)>>;

/// One resync, and how long its answers took to read.
async fn read_indexes(client: &Arc<ConsulApi>) -> Result<(RegistrationIndexes, Duration), Error> {
    let nodes: Answer<Vec<NodeRow>> = client
        .get("catalog/nodes", Some(QueryMode::Immediate))
        .await?;
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    let mut asked = JoinSet::new();
    for NodeRow { node } in nodes.value {
        let (client, places) = (Arc::clone(client), Arc::clone(&places));
        asked.spawn(async move {
            let _place = places.acquire().await;
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
