//! Finds the registrations that changed among those of many services.
//!
//! Checks do not show everything: not the port, weights, `Meta` or tags of an instance, and no
//! instance without a check. Whenever any registration changes, the index of the catalog moves. A
//! sweep over the nodes then tells whose did: it reads of each instance the index of its last change.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::Semaphore, task::JoinSet, time::sleep};
use tracing::warn;

use super::{
    answers::{NodeRow, NodeServices},
    client::{Answer, Ask, Client, encoded},
    overseer::changed,
    watching::Watching,
};
use crate::Error;

/// How many nodes are asked at the same time.
const AT_A_TIME: usize = 8;
/// How many times longer than the answers of a sweep take to read the pause after it is, and the
/// least and the longest: neither Consul nor we are to be busy with sweeps alone.
const REST: u32 = 4;
const LEAST_REST: Duration = Duration::from_millis(50);
const LONGEST_REST: Duration = Duration::from_secs(1);
/// How often it is looked at whether the oversight is over.
const LOOK: Duration = Duration::from_secs(10);

/// Tells the services whose registrations change, until the oversight ends.
pub(super) async fn sweep(watching: Arc<Watching>) {
    // Keeps the catalog watched, whose index says when to look.
    let _catalog = watching.catalog();
    let mut moved = watching.moved.subscribe();
    let mut known: Option<Sweep> = None;
    let mut failing = false;
    let mut due = true;
    while !watching.end_sweeps() {
        let mut rest = Duration::ZERO;
        if due {
            moved.borrow_and_update();
            let swept = tokio::select! {
                () = watching.stop.cancelled() => return,
                swept = look(&watching.client) => swept,
            };
            match swept {
                Ok((now, cost)) => {
                    (due, failing) = (false, false);
                    rest = (cost * REST).clamp(LEAST_REST, LONGEST_REST);
                    // The first look may come after a change that nobody else has seen.
                    let all = known.is_none();
                    let names = changed(&known.unwrap_or_default(), &now);
                    watching.tell(|name| all || names.contains(name));
                    known = Some(now);
                }
                Err(error) => {
                    rest = LONGEST_REST;
                    let first = !std::mem::replace(&mut failing, true);
                    if first && matches!(error, Error::Refused { .. }) {
                        warn!(%error, "cannot see which registrations change: each is asked again from time to time");
                    }
                }
            }
        }
        tokio::select! {
            () = watching.stop.cancelled() => return,
            () = sleep(rest) => {}
        }
        if !due {
            tokio::select! {
                () = watching.stop.cancelled() => return,
                // The sender is the watching's own.
                _ = moved.changed() => due = true,
                () = sleep(LOOK) => {}
            }
        }
    }
}

/// Service → what tells one state of its registrations from another, by node.
type Sweep = HashMap<String, BTreeSet<(Arc<str>, String, u64)>>;

/// One sweep, and how long its answers took to read.
async fn look(client: &Arc<Client>) -> Result<(Sweep, Duration), Error> {
    let nodes: Answer<Vec<NodeRow>> = client.get("catalog/nodes", Some(Ask::Now)).await?;
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    let mut asked = JoinSet::new();
    for NodeRow { node } in nodes.value {
        let (client, places) = (Arc::clone(client), Arc::clone(&places));
        asked.spawn(async move {
            let _place = places.acquire().await;
            let path = format!("catalog/node/{}", encoded(&node));
            let answer: Answer<Option<NodeServices>> = client.get(&path, Some(Ask::Now)).await?;
            Ok::<_, Error>((Arc::<str>::from(node), answer))
        });
    }
    let (mut sweep, mut cost) = (Sweep::new(), Duration::ZERO);
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
            sweep.entry(service).or_default().extend(of_node);
        }
    }
    Ok((sweep, cost))
}
