//! Follows what changes in the store for the shards of this runner.

use std::{sync::Arc, time::Duration};

use backoff::{Backoff, Pauses};
use runs::{Changes, Interest, RunStore};
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};

use crate::core::Message;

/// How long one look at the store may wait for a change.
const WAIT: Duration = Duration::from_secs(20);

/// Which shards are owned and read, each with its epoch.
pub(crate) type Owned = Arc<std::collections::BTreeMap<u16, u64>>;

/// Tells the core of new runs and commands, for ever. While the store is away it says now and then that
/// there may be some.
pub(crate) async fn follow(
    store: Arc<dyn RunStore>,
    subscriber: String,
    mut owned: watch::Receiver<Owned>,
    out: mpsc::Sender<Message>,
) {
    let mut pauses = Pauses::new(Backoff::equal_jitter(
        Duration::from_millis(100),
        Duration::from_secs(2),
    ));
    loop {
        let now = Owned::clone(&owned.borrow_and_update());
        let bits = now.keys().fold(0_u64, |bits, shard| bits | 1 << shard);
        let interests = [Interest::Inbox(bits)];
        let waited = store.changes(&subscriber, &interests, WAIT);
        let told = tokio::select! {
            told = waited => told,
            changed = owned.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        };
        let changes = match told {
            Ok(changes) => {
                pauses.reset();
                changes
            }
            Err(error) => {
                tracing::debug!(%error, "changes of runs are not followed");
                let pause = pauses.after_failure(&mut rand::rng());
                sleep(pause).await;
                Changes {
                    queued: bits,
                    commands: bits,
                    ..Changes::default()
                }
            }
        };
        let (queued, commands) = (changes.queued & bits != 0, changes.commands & bits != 0);
        let message = Message::Changes { queued, commands };
        if (queued || commands) && out.send(message).await.is_err() {
            return;
        }
    }
}
