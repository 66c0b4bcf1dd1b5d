//! What comes for runs from their store: queued runs, commands, timers; and completions of jobs.

use std::{collections::HashSet, sync::Arc, time::Duration};

use jobs::Completion;
use runs::{Error, InboxItem, TimerRow};
use tokio::time::{Instant, sleep};
use workflow::{Event, EventKind, RunStatus};

use super::{
    Core, Done, Env, LOAD,
    change::{Ack, Ending, Incoming},
};
use crate::{
    clock, ids,
    loaded::{BrokenRun, LoadedRun},
    outcome::Ended,
};

/// The most of each that are taken at once. Runs begin together and are stored together, and whoever comes
/// meanwhile waits for that.
const QUEUED: usize = 64;
/// The same of queued runs while others wait to be stored or sent: owners are served in turn, so that these are
/// of all of them.
const QUEUED_BESIDE: usize = 8;
/// Runs that wait to be stored while that is so.
const CROWDED: usize = 96;
const COMMANDS: usize = 1_000;
const TIMERS: usize = 1_000;
/// A run that was queued for longer may have been called off meanwhile.
const WAITED_MS: u64 = 200;
/// Queued runs that were taken, those that cannot be read, and the commands that wait.
pub(super) type Taken = (Vec<LoadedRun>, Vec<BrokenRun>, Vec<InboxItem>);
/// How often the store is looked at without a sign that there is something.
const FALLBACK: Duration = Duration::from_secs(5);
/// How soon a runner without room looks whether it has some.
const NO_ROOM: Duration = Duration::from_millis(20);

impl Core {
    pub(super) fn look_at_queued(&mut self, now: Instant) {
        if !self.has_ready_shards() || !self.queued.begin(now) {
            return;
        }
        let leases = self.ready_leases();
        let room = self.env.keys.workflow_runs.saturating_sub(self.runs.len());
        self.no_room = room == 0;
        if room == 0 {
            return self.queued.again(now + FALLBACK);
        }
        // Those that were called off before this look are not in it.
        self.called_off.retain(|_, stored| !*stored);
        let (env, limits) = (Arc::clone(&self.env), self.owner_limits());
        self.left_out.clone_from(&limits.left_out);
        let max = room.min(match self.is_crowded() {
            true => QUEUED_BESIDE,
            false => QUEUED,
        });
        self.tasks.spawn(async move {
            let records = match env.store.take_queued(&leases, &limits, max).await {
                Ok(records) => records,
                Err(error) => return Done::Queued(max, Err(error)),
            };
            // Those that waited may have been called off meanwhile, which comes before their first step.
            let now = clock::now();
            let waited = |record: &runs::StoredRun| {
                now.saturating_sub(record.summary.submitted_at) > WAITED_MS
            };
            let items = match records.iter().any(waited) {
                true => env.store.inbox(&leases, COMMANDS).await.unwrap_or_default(),
                false => Vec::new(),
            };
            let (runs, broken) = read_surely(&env, records).await;
            Done::Queued(max, Ok((runs, broken, items)))
        });
    }

    /// More runs are taken as soon as there is nothing that they would wait for.
    pub(super) fn take_more(&mut self) {
        if self.more_queued && !self.is_crowded() {
            self.queued.by(Instant::now());
        }
    }

    /// Whether more runs would only wait in memory, and make those of others wait.
    fn is_crowded(&self) -> bool {
        self.changes.len() + self.commits.under_way() > CROWDED
    }

    pub(super) fn queued_taken(&mut self, max: usize, taken: Result<Taken, Error>) {
        let now = Instant::now();
        let (runs, broken, items) = match taken {
            Ok(taken) => taken,
            Err(error) => {
                // Whether runs were marked as taken is not known.
                tracing::warn!(%error, "queued runs are not taken");
                self.note_store(Some(&error));
                self.queued.again(now + NO_ROOM);
                return self.lose_all("store");
            }
        };
        let full = runs.len() + broken.len() >= max;
        self.more_queued = full;
        self.queued.again(match full {
            true if self.is_crowded() => now + NO_ROOM,
            true => now,
            false => now + FALLBACK,
        });
        for InboxItem { number, command } in items {
            let run_id = command.run_id.clone();
            let shard = runs::shard_of(&run_id);
            let taken = runs.iter().any(|run| run.meta.run_id == run_id);
            if taken && !self.handled.contains_key(&(shard, number)) {
                self.handled.insert((shard, number), false);
                let waiting = self.waiting.entry(run_id).or_default();
                waiting.push(Incoming::Command { number, command });
            }
        }
        for run in runs {
            let run_id = &run.meta.run_id;
            let owned = self.shards.contains_key(&run.meta.shard);
            match owned && !self.called_off.contains_key(run_id) {
                true => self.take_in(run),
                false => drop(self.waiting.remove(run_id)),
            }
        }
        for broken in broken {
            self.fail_broken(broken);
        }
    }

    pub(super) fn look_at_inbox(&mut self, now: Instant) {
        if !self.has_ready_shards() || !self.inbox.begin(now) {
            return;
        }
        let leases = self.ready_leases();
        // Those that were answered before this look are not in it.
        self.handled.retain(|_, answered| !*answered);
        let env = Arc::clone(&self.env);
        self.tasks
            .spawn(async move { Done::Inbox(env.store.inbox(&leases, COMMANDS).await) });
    }

    pub(super) fn inbox_read(&mut self, items: Result<Vec<InboxItem>, Error>) {
        let now = Instant::now();
        let items = match items {
            Ok(items) => items,
            Err(error) => {
                self.note_store(Some(&error));
                let at = self.pause();
                return self.inbox.again(at);
            }
        };
        let full = items.len() >= COMMANDS;
        let mut new = 0;
        for InboxItem { number, command } in items {
            let shard = runs::shard_of(&command.run_id);
            if self.shards.get(&shard).is_none_or(|shard| !shard.ready) {
                continue;
            }
            if self.handled.contains_key(&(shard, number)) {
                continue;
            }
            new += 1;
            self.handled.insert((shard, number), false);
            let run_id = command.run_id.clone();
            self.deliver(&run_id, Incoming::Command { number, command });
        }
        self.inbox.again(match full {
            true if new > 0 => now,
            true => now + NO_ROOM,
            false => now + FALLBACK,
        });
    }

    pub(super) fn look_at_timers(&mut self, now: Instant) {
        if !self.has_ready_shards() || !self.timers.begin(now) {
            return;
        }
        let leases = self.ready_leases();
        self.fired.retain(|_, stored| !*stored);
        let env = Arc::clone(&self.env);
        self.tasks.spawn(async move {
            let due = env.store.due_timers(&leases, clock::now(), TIMERS).await;
            Done::Timers(due)
        });
    }

    pub(super) fn timers_read(&mut self, due: Result<(Vec<TimerRow>, Option<u64>), Error>) {
        let now = Instant::now();
        let (rows, next) = match due {
            Ok(due) => due,
            Err(error) => {
                self.note_store(Some(&error));
                let at = self.pause();
                return self.timers.again(at);
            }
        };
        let full = rows.len() >= TIMERS;
        for TimerRow { run_id, key, .. } in rows {
            let shard = runs::shard_of(&run_id);
            let fired = (run_id, key);
            if self.shards.contains_key(&shard) && !self.fired.contains_key(&fired) {
                let (run_id, key) = fired.clone();
                self.fired.insert(fired, false);
                self.deliver(&run_id, Incoming::Timer { key });
            }
        }
        let next = next.map(|due| due.saturating_sub(clock::now()));
        let next = next.map(|ms| Duration::from_millis(ms.max(1)));
        self.timers.again(match full {
            true => now + NO_ROOM,
            false => now + next.unwrap_or(FALLBACK * 6).min(FALLBACK * 6),
        });
    }

    /// Loads runs for which something came.
    pub(super) fn load_runs(&mut self) {
        if self.loading || self.to_load.is_empty() {
            return;
        }
        self.loading = true;
        let count = self.to_load.len().min(LOAD);
        let ids: Vec<String> = self.to_load.drain(..count).collect();
        let env = Arc::clone(&self.env);
        self.tasks.spawn(async move {
            let loaded = match env.store.load(&ids).await {
                Ok(records) => env.loader.read(records).await,
                Err(error) => Err(error),
            };
            if loaded.is_err() {
                sleep(NO_ROOM * 10).await;
            }
            Done::Loaded(ids, loaded)
        });
    }

    pub(super) fn runs_loaded(
        &mut self,
        ids: Vec<String>,
        loaded: Result<(Vec<LoadedRun>, Vec<BrokenRun>), Error>,
    ) {
        self.loading = false;
        let (runs, broken) = match loaded {
            Ok(loaded) => loaded,
            Err(error) => {
                self.note_store(Some(&error));
                let wanted = ids.into_iter().filter(|id| self.waiting.contains_key(id));
                let wanted: Vec<String> = wanted.collect();
                return self.to_load.extend(wanted);
            }
        };
        let mut queued = HashSet::new();
        for run in runs {
            let (run_id, meta) = (run.meta.run_id.clone(), &run.meta);
            // Its shard may be lost, and then nothing waits for it.
            if !self.waiting.contains_key(&run_id) {
                continue;
            }
            match (&run.run, meta.ended) {
                (None, Some(status)) => self.refuse_ended(meta, status),
                // It begins when it is taken from the queue, and never twice.
                (None, None) if !self.called_off(meta) => drop(queued.insert(run_id)),
                (None, None) => {}
                (Some(_), _) => self.take_in(run),
            }
        }
        for broken in broken {
            self.waiting.remove(&broken.run_id);
            self.fail_broken(broken);
        }
        for id in ids.into_iter().filter(|id| !queued.contains(id)) {
            // It is kept no longer.
            for incoming in self.waiting.remove(&id).unwrap_or_default() {
                if let Incoming::Job { ack: Some(ack), .. } = incoming {
                    self.effects.acknowledge(ack);
                }
            }
        }
    }

    /// A run that cannot be read fails, so that people see it.
    pub(super) fn fail_broken(&mut self, broken: BrokenRun) {
        let BrokenRun {
            run_id,
            header,
            reason,
            parent,
            ended,
        } = broken;
        tracing::error!(run = run_id, reason, "a run cannot be read");
        if ended || !self.shards.contains_key(&runs::shard_of(&run_id)) {
            return;
        }
        let event = Event {
            at: clock::now(),
            kind: EventKind::WorkflowFailed,
            node_id: None,
            data: serde_json::json!({ "error": reason }),
        };
        let told = parent.map(|parent| {
            let result = Err(reason.clone());
            super::children::ended_command(&run_id, parent, clock::now(), result)
        });
        let change = self.changes.of(&run_id);
        change
            .events
            .push(serde_json::to_vec(&event).unwrap_or_default());
        change.commands.extend(told);
        change.ending = Some(Ending {
            status: RunStatus::Failed,
            at: clock::now(),
            header,
            error: Some(reason),
        });
    }

    /// A job ended, as its completion says.
    pub(super) fn completed(&mut self, queue: &str, completion: Completion) {
        let Completion {
            tag,
            cursor,
            id,
            key,
            status,
            result,
            left_out,
            error,
            retryable,
            metrics,
            ..
        } = completion;
        let ack = Ack {
            queue: queue.to_owned(),
            tag,
            cursor,
        };
        let Some(key) = key else {
            return self.effects.acknowledge(ack);
        };
        let run_id = ids::run_of(&key).to_owned();
        let shard = self.shards.get(&runs::shard_of(&run_id));
        if shard.is_none_or(|shard| !shard.ready) {
            return;
        }
        if left_out {
            // Its result is longer than a completion takes.
            return self.fetch(run_id, key, id, ack);
        }
        let ended = Ended {
            status,
            result: result.map(|payload| payload.bytes().to_vec()),
            error,
            retryable,
            metrics,
        };
        let ack = Some(ack);
        self.deliver(&run_id, Incoming::Job { key, ended, ack });
    }
}

/// Runs that were marked as taken are read, however long it takes.
async fn read_surely(env: &Env, records: Vec<runs::StoredRun>) -> (Vec<LoadedRun>, Vec<BrokenRun>) {
    loop {
        match env.loader.read(records.clone()).await {
            Ok(read) => return read,
            Err(error) => {
                tracing::warn!(%error, "queued runs are not read yet");
                sleep(NO_ROOM * 10).await;
            }
        }
    }
}
