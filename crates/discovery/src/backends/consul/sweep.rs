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

use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep},
};
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
/// How many times longer than a sweep takes the pause after it is, and the least and longest.
const REST: u32 = 4;
const LEAST_REST: Duration = Duration::from_millis(100);
const LONGEST_REST: Duration = Duration::from_secs(10);

/// Tells the services whose registrations change, until the oversight ends.
pub(super) async fn sweep(watching: Arc<Watching>) {
    // Keeps the catalog watched, whose index says when to look.
    let _catalog = watching.catalog();
    let mut moved = watching.moved.subscribe();
    let mut known: Option<Sweep> = None;
    let mut failing = false;
    while !watching.end_sweeps() {
        moved.borrow_and_update();
        let begun = Instant::now();
        let swept = tokio::select! {
            () = watching.stop.cancelled() => return,
            swept = look(&watching.client) => swept,
        };
        match swept {
            Ok(now) => {
                failing = false;
                // The first look may come after a change that nobody else has seen.
                let all = known.is_none();
                let names = changed(&known.unwrap_or_default(), &now);
                watching.tell(|name| all || names.contains(name));
                known = Some(now);
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) && matches!(error, Error::Refused { .. })
                {
                    warn!(%error, "cannot see which registrations change: each is asked again from time to time");
                }
                known = None;
            }
        }
        let rest = (begun.elapsed() * REST).clamp(LEAST_REST, LONGEST_REST);
        tokio::select! {
            () = watching.stop.cancelled() => return,
            () = sleep(rest) => {}
        }
        if known.is_some() {
            tokio::select! {
                () = watching.stop.cancelled() => return,
                // The sender is the watching's own.
                _ = moved.changed() => {}
                // Whether the oversight is over is looked at from time to time.
                () = sleep(LONGEST_REST) => {}
            }
        }
    }
}

/// Service → what tells one state of its registrations from another, by node.
type Sweep = HashMap<String, BTreeSet<(Arc<str>, String, u64)>>;

async fn look(client: &Arc<Client>) -> Result<Sweep, Error> {
    let nodes: Answer<Vec<NodeRow>> = client.get("catalog/nodes", Some(Ask::Now)).await?;
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    let mut asked = JoinSet::new();
    for NodeRow { node } in nodes.value {
        let (client, places) = (Arc::clone(client), Arc::clone(&places));
        asked.spawn(async move {
            let _place = places.acquire().await;
            let path = format!("catalog/node/{}", encoded(&node));
            let answer: Answer<Option<NodeServices>> = client.get(&path, Some(Ask::Now)).await?;
            Ok::<_, Error>((Arc::<str>::from(node), answer.value))
        });
    }
    let mut sweep = Sweep::new();
    while let Some(answered) = asked.join_next().await {
        // A task that was not answered ended with the runtime.
        let Ok(answered) = answered else { continue };
        let (node, services) = answered?;
        // A node that has just left has none.
        for (service, states) in services.into_iter().flat_map(NodeServices::states) {
            let of_node = states
                .into_iter()
                .map(|(id, index)| (Arc::clone(&node), id, index));
            sweep.entry(service).or_default().extend(of_node);
        }
    }
    Ok(sweep)
}
