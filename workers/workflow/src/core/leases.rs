//! Which shards this runner owns.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use runs::{Error, OutboxEntry, RunStore, ShardLease};
use tokio::time::Instant;

use super::{Core, Done, Env, change::Outgoing};
use crate::loaded::{BrokenRun, LoadedRun};

/// The shortest lease.
const MIN_LEASE: Duration = Duration::from_secs(1);

/// A shard that this runner owns.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) epoch: u64,
    /// Whether its runs have been read.
    pub(super) ready: bool,
    last_event: u64,
    last_effect: u64,
    /// Numbers of effects that were carried out.
    pub(super) done: Vec<u64>,
}

/// What a shard had when it was taken over.
#[derive(Debug)]
pub(super) struct ShardContent {
    runs: Vec<LoadedRun>,
    broken: Vec<BrokenRun>,
    outbox: Vec<OutboxEntry>,
}

impl Shard {
    pub(super) fn next_event(&mut self) -> u64 {
        self.last_event += 1;
        self.last_event
    }

    pub(super) fn next_effect(&mut self) -> u64 {
        self.last_effect += 1;
        self.last_effect
    }
}

impl Core {
    /// Renews the leases when it is time.
    pub(super) fn look_at_leases(&mut self, now: Instant) {
        if !self.leases.begin(now) {
            return;
        }
        let env = Arc::clone(&self.env);
        let release = std::mem::take(&mut self.release_first);
        self.tasks.spawn(async move {
            let (store, runner) = (&env.store, &env.context.instance_id);
            if release && let Err(error) = store.release_shards(runner).await {
                return Done::Leased(Err(error), true);
            }
            let leased = store.lease_shards(runner, env.lease()).await;
            Done::Leased(leased, false)
        });
    }

    pub(super) fn leased(&mut self, leased: Result<Vec<ShardLease>, Error>, release: bool) {
        self.release_first |= release;
        let now = Instant::now();
        let leased = match leased {
            Ok(leased) => leased,
            Err(error) => {
                tracing::warn!(%error, "the leases of shards are not renewed");
                self.note_store(Some(&error));
                let at = self.pause();
                return self.leases.again(at);
            }
        };
        self.note_store(None);
        self.leases.again(now + self.env.lease() / 3);
        let mut current: BTreeMap<u16, ShardLease> = leased
            .into_iter()
            .map(|lease| (lease.shard, lease))
            .collect();
        let owned: Vec<(u16, u64)> = self
            .shards
            .iter()
            .map(|(number, shard)| (*number, shard.epoch))
            .collect();
        for (number, epoch) in owned {
            match current.get(&number) {
                Some(lease) if lease.epoch == epoch => drop(current.remove(&number)),
                _ => self.lose(number, "expired"),
            }
        }
        for lease in current.into_values() {
            let shard = Shard {
                epoch: lease.epoch,
                ready: false,
                last_event: lease.last_seq,
                last_effect: 0,
                done: Vec::new(),
            };
            self.shards.insert(lease.shard, shard);
            let env = Arc::clone(&self.env);
            self.tasks.spawn(async move {
                let content = read(&env, &lease).await;
                Done::Shard(lease.shard, lease.epoch, content)
            });
        }
    }

    /// The runs of a shard were read: it goes on.
    pub(super) fn shard_read(
        &mut self,
        number: u16,
        epoch: u64,
        content: Result<ShardContent, Error>,
    ) {
        let Some(shard) = self.shards.get_mut(&number) else {
            return;
        };
        if shard.epoch != epoch || shard.ready {
            return;
        }
        let content = match content {
            Ok(content) => content,
            Err(error) => {
                tracing::warn!(%error, shard = number, "the runs of a shard are not read");
                // The next lease reads it again.
                self.shards.remove(&number);
                self.note_store(Some(&error));
                let at = self.pause();
                return self.leases.by(at);
            }
        };
        shard.ready = true;
        let numbers = content.outbox.iter().map(|entry| entry.number);
        shard.last_effect = numbers.max().unwrap_or(0);
        for run in content.runs {
            self.take_in(run);
        }
        for broken in content.broken {
            self.fail_broken(broken);
        }
        for entry in content.outbox {
            match serde_json::from_slice::<Outgoing>(&entry.effect) {
                Ok(outgoing) => self.carry_out(&entry.run_id, number, entry.number, outgoing),
                Err(error) => {
                    tracing::warn!(%error, run = entry.run_id, "an effect cannot be read");
                    self.carried(number, epoch, entry.number, Ok(()));
                }
            }
        }
        self.publish_owned();
        let now = Instant::now();
        for look in [
            &mut self.queued,
            &mut self.inbox,
            &mut self.timers,
            &mut self.approvals,
        ] {
            look.by(now);
        }
    }

    /// A shard is another's now: nothing of it is kept.
    pub(super) fn lose(&mut self, number: u16, why: &str) {
        if self.shards.remove(&number).is_none() {
            return;
        }
        self.env.metrics.lost(why);
        self.changes.drop_shard(number);
        self.effects.drop_shard(number);
        let of_shard = |run_id: &String| runs::shard_of(run_id) == number;
        self.waiting.retain(|run_id, _| !of_shard(run_id));
        self.to_load.retain(|run_id| !of_shard(run_id));
        self.handled.retain(|(shard, _), _| *shard != number);
        self.called_off.retain(|run_id, _| !of_shard(run_id));
        self.fired.retain(|(run_id, _), _| !of_shard(run_id));
        let runs: Vec<String> = self
            .runs
            .keys()
            .filter(|id| of_shard(id))
            .cloned()
            .collect();
        for run_id in runs {
            self.forget(&run_id);
        }
        self.publish_owned();
    }

    /// What the store did is not known: all shards are given up and read again, with new epochs.
    pub(super) fn lose_all(&mut self, why: &str) {
        let shards: Vec<u16> = self.shards.keys().copied().collect();
        for shard in shards {
            self.lose(shard, why);
        }
        self.release_first = true;
        let at = self.pause();
        self.leases.by(at);
    }

    /// Tells those who read for the core which shards are its own.
    fn publish_owned(&self) {
        let ready = self.shards.iter().filter(|(_, shard)| shard.ready);
        let owned = ready.map(|(number, shard)| (*number, shard.epoch));
        self.owned.send_replace(Arc::new(owned.collect()));
    }

    pub(super) fn has_ready_shards(&self) -> bool {
        self.shards.values().any(|shard| shard.ready)
    }

    /// The leases of the shards whose runs have been read.
    pub(super) fn ready_leases(&self) -> Vec<ShardLease> {
        let ready = self.shards.iter().filter(|(_, shard)| shard.ready);
        ready
            .map(|(number, shard)| ShardLease {
                shard: *number,
                epoch: shard.epoch,
                last_seq: shard.last_event,
            })
            .collect()
    }
}

impl Env {
    fn lease(&self) -> Duration {
        self.keys.workflow_lease.max(MIN_LEASE)
    }
}

async fn read(env: &Env, lease: &ShardLease) -> Result<ShardContent, Error> {
    let store: &dyn RunStore = &*env.store;
    let (records, outbox) = tokio::try_join!(store.running(lease), store.outbox(lease))?;
    let (runs, broken) = env.loader.read(records).await?;
    Ok(ShardContent {
        runs,
        broken,
        outbox,
    })
}
