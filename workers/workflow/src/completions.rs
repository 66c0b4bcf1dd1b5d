//! Reads the completions of one queue, for the shards of this runner.

use std::{collections::BTreeMap, time::Duration};

use backoff::{Backoff, Pauses};
use jobs::Jobs;
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};

use crate::{changes::Owned, core::Message, ids};

/// How many are read at once.
const BATCH: usize = 1_024;
/// How long one look at the queue may wait for one.
const WAIT: Duration = Duration::from_secs(20);

/// Hands completions to the core, each shard's from the oldest that is not acknowledged, for ever.
pub(crate) async fn read(
    jobs: Jobs,
    queue: String,
    mut owned: watch::Receiver<Owned>,
    out: mpsc::Sender<Message>,
) {
    // The epoch of each shard, and where to read on.
    let mut cursors: BTreeMap<u16, (u64, String)> = BTreeMap::new();
    let mut pauses = Pauses::new(Backoff::equal_jitter(
        Duration::from_millis(50),
        Duration::from_secs(2),
    ));
    loop {
        {
            let owned = owned.borrow_and_update();
            cursors.retain(|shard, (epoch, _)| owned.get(shard) == Some(epoch));
            for (shard, epoch) in owned.iter() {
                cursors
                    .entry(*shard)
                    .or_insert_with(|| (*epoch, String::new()));
            }
        }
        if cursors.is_empty() {
            match owned.changed().await {
                Ok(()) => continue,
                Err(_) => return,
            }
        }
        let after = cursors.iter();
        let after: Vec<(String, String)> = after
            .map(|(shard, (_, cursor))| (ids::tag_of(*shard), cursor.clone()))
            .collect();
        let read = tokio::select! {
            read = jobs.completions(&queue, &after, BATCH, WAIT) => read,
            changed = owned.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        };
        match read {
            Ok(completions) => {
                pauses.reset();
                for completion in &completions {
                    let shard = ids::shard_of_tag(&completion.tag);
                    if let Some((_, cursor)) = shard.and_then(|shard| cursors.get_mut(&shard)) {
                        cursor.clone_from(&completion.cursor);
                    }
                }
                if completions.is_empty() {
                    continue;
                }
                let message = Message::Completions {
                    queue: queue.clone(),
                    completions,
                };
                if out.send(message).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::debug!(%error, queue, "completions are not read");
                let pause = pauses.after_failure(&mut rand::rng());
                sleep(pause).await;
            }
        }
    }
}
