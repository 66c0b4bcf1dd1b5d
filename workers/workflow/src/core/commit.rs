//! Many runs in one transaction. One is under way at a time; what comes meanwhile is the next.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use runs::{Commit, CommitOutcome, Error, OutboxEntry, RunChange};
use tokio::time::Instant;
use workflow::RunStatus;

use super::{
    Core, Done,
    change::{Ack, Change, Changes, Outgoing},
    short::Short,
};
use crate::{clock, spans};

/// The most runs of one transaction.
pub(super) const MAX_RUNS: usize = 256;
/// So many runs in the latest transaction make the next one wait for more.
pub(super) const BUSY: usize = 4;
/// How long numbers of effects that were carried out may wait for a transaction.
const DONE_WAIT: Duration = Duration::from_secs(1);

/// A transaction.
#[derive(Debug)]
pub(super) struct Batch {
    commits: Vec<Commit>,
    after: Vec<After>,
    runs: usize,
}

/// What follows once a run is stored.
#[derive(Debug)]
struct After {
    run_id: String,
    shard: u16,
    submit: Vec<String>,
    outgoing: Vec<(u64, Outgoing)>,
    acks: Vec<Ack>,
    answered: Vec<u64>,
    timers: Vec<String>,
    /// Whether it has ended with this.
    ended: bool,
}

/// A transaction that ended.
#[derive(Debug)]
pub(super) struct Stored {
    batch: Batch,
    outcome: Result<Vec<CommitOutcome>, Error>,
    took: Duration,
}

/// The transactions of a runner.
#[derive(Debug, Default)]
pub(super) struct Commits {
    /// How many runs the one under way has.
    under_way: Option<usize>,
    /// One whose outcome is unknown, and when it is tried again.
    again: Option<(Batch, Instant)>,
    latest: usize,
    /// How many runs are still stored one by one, to find the one that the store refuses.
    alone: usize,
    /// Runs that the store refuses, and why.
    pub(super) refused: HashMap<String, String>,
    /// Since when numbers of effects wait.
    done_since: Option<Instant>,
    wait: Duration,
    short: Short,
}

impl Commits {
    pub(super) fn under_way(&self) -> usize {
        let again = self.again.as_ref().map(|(batch, _)| batch.runs.max(1));
        self.under_way.map_or(0, |runs| runs.max(1)) + again.unwrap_or(0)
    }

    /// Whether runs of several owners were stored of late.
    pub(super) fn serves_several(&self, now: Instant) -> bool {
        self.short.serves_several(now)
    }

    /// When the next one begins, if there is anything to store.
    pub(super) fn wake(&self, changes: &Changes) -> Option<Instant> {
        if self.under_way.is_some() {
            return None;
        }
        if let Some((_, at)) = &self.again {
            return Some(*at);
        }
        let done = self.done_since.map(|since| since + DONE_WAIT);
        let begin = changes.since.map(|since| self.begin(changes, since));
        begin.into_iter().chain(done).min()
    }

    fn begin(&self, changes: &Changes, since: Instant) -> Instant {
        match changes.len() >= MAX_RUNS || self.latest < BUSY {
            true => since,
            false => since + self.wait,
        }
    }
}

impl Core {
    /// Begins a transaction, if there is something to store and none is under way.
    pub(super) fn store_changes(&mut self, now: Instant) {
        self.commits.wait = self.env.keys.workflow_commit_wait;
        if self.commits.wake(&self.changes).is_none_or(|at| at > now) {
            return;
        }
        if let Some((batch, _)) = self.commits.again.take() {
            return self.begin_commit(batch);
        }
        let max = match self.commits.alone {
            0 => self.commits.short.most(now),
            _ => 1,
        };
        self.commits.alone = self.commits.alone.saturating_sub(1);
        let runs = &self.runs;
        let (taken, several) = self.changes.take_fairly(max, |run_id| {
            let run = runs.get(run_id);
            run.map_or("", |run| run.meta.owner.as_str())
        });
        if several {
            self.commits.short.several(now);
        }
        let batch = self.batch(taken);
        self.commits.done_since = None;
        if !batch.commits.is_empty() {
            self.begin_commit(batch);
        }
    }

    fn begin_commit(&mut self, batch: Batch) {
        self.commits.under_way = Some(batch.runs);
        let store = Arc::clone(&self.env.store);
        self.tasks.spawn(async move {
            let began = Instant::now();
            let outcome = store.commit(&batch.commits).await;
            Done::Committed(Stored {
                batch,
                outcome,
                took: began.elapsed(),
            })
        });
    }

    /// Makes a transaction of changes: states are written, events and effects are numbered.
    fn batch(&mut self, taken: Vec<(String, Change)>) -> Batch {
        let mut commits: BTreeMap<u16, Commit> = BTreeMap::new();
        let mut after = Vec::with_capacity(taken.len());
        let runs = taken.len();
        for (run_id, change) in taken {
            let number = runs::shard_of(&run_id);
            let Some(shard) = self.shards.get_mut(&number) else {
                continue;
            };
            if change.ending.is_none() && !self.runs.contains_key(&run_id) {
                continue;
            }
            let commit = commits.entry(number).or_insert_with(|| Commit {
                shard: number,
                epoch: shard.epoch,
                ..Commit::default()
            });
            commit
                .outbox_done
                .extend(change.outbox_done.iter().copied());
            let outgoing: Vec<(u64, Outgoing)> = change
                .outgoing
                .iter()
                .cloned()
                .map(|outgoing| (shard.next_effect(), outgoing))
                .collect();
            let events: Vec<(u64, Vec<u8>)> = change
                .events
                .iter()
                .cloned()
                .map(|event| (shard.next_event(), event))
                .collect();
            let Some(stored) = self.run_change(&run_id, &change, events, &outgoing) else {
                continue;
            };
            let (stored, ended) = stored;
            commit.runs.push(stored);
            after.push(After {
                run_id,
                shard: number,
                submit: change.submit,
                outgoing,
                acks: change.acks,
                answered: change.answered.iter().map(|answer| answer.0).collect(),
                timers: change.fired,
                ended,
            });
        }
        for (number, shard) in &mut self.shards {
            if shard.ready && !shard.done.is_empty() {
                let commit = commits.entry(*number).or_insert_with(|| Commit {
                    shard: *number,
                    epoch: shard.epoch,
                    ..Commit::default()
                });
                commit.outbox_done.append(&mut shard.done);
            }
        }
        Batch {
            commits: commits.into_values().collect(),
            after,
            runs,
        }
    }

    fn run_change(
        &mut self,
        run_id: &str,
        change: &Change,
        events: Vec<(u64, Vec<u8>)>,
        outgoing: &[(u64, Outgoing)],
    ) -> Option<(RunChange, bool)> {
        let outbox = outgoing.iter().map(|(number, outgoing)| OutboxEntry {
            run_id: run_id.to_owned(),
            number: *number,
            // It is made of texts and numbers.
            effect: serde_json::to_vec(outgoing).unwrap_or_default(),
        });
        let mut stored = RunChange {
            run_id: run_id.to_owned(),
            events,
            blobs: change.blobs.clone(),
            timers_set: change.timers_set.clone().into_iter().collect(),
            timers_cleared: change.timers_cleared.iter().cloned().collect(),
            approvals_opened: change.approvals_opened.clone(),
            approvals_closed: change.approvals_closed.iter().cloned().collect(),
            children: change.children.clone(),
            commands: change.commands.clone(),
            answered: change.answered.clone(),
            outbox: outbox.collect(),
            ..RunChange::default()
        };
        if let Some(ending) = &change.ending {
            stored.status = ending.status.as_str().to_owned();
            stored.error.clone_from(&ending.error);
            stored.ended_at = Some(ending.at);
            stored.header.clone_from(&ending.header);
            return Some((stored, false));
        }
        let active = self.runs.get_mut(run_id)?;
        (active.unstored, active.storing) = (false, true);
        let (run, meta) = (&active.run, &active.meta);
        let status = run.status();
        stored.status = status.as_str().to_owned();
        stored.error = run.error().map(ToOwned::to_owned);
        stored.started_at = meta.started_at;
        stored.active_nodes = run
            .active_nodes()
            .into_iter()
            .map(ToOwned::to_owned)
            .collect();
        stored.header = run.header();
        stored.nodes = change
            .changed
            .iter()
            .filter_map(|key| Some((key.clone(), run.node_record(key)?)))
            .collect();
        stored.idle = active.jobs.is_empty();
        let before = active.ended_at.filter(|_| status.is_final());
        active.ended_at = status.is_final().then(|| before.unwrap_or_else(clock::now));
        stored.ended_at = active.ended_at;
        let ended = active.ended_at.filter(|_| before.is_none());
        if let Some(at) = ended {
            stored.commands.extend(super::children::ended(active, at));
        }
        Some((stored, ended.is_some()))
    }

    /// A transaction ended: what follows from it goes out.
    pub(super) fn committed(&mut self, stored: Stored) {
        let Stored {
            batch,
            outcome,
            took,
        } = stored;
        self.commits.under_way = None;
        let outcomes = match outcome {
            Ok(outcomes) => outcomes,
            Err(error @ Error::Unavailable(_)) => {
                self.note_store(Some(&error));
                tracing::warn!(%error, runs = batch.runs, "runs are not stored yet");
                let at = self.pause();
                self.commits.again = Some((batch, at));
                return;
            }
            Err(error) => {
                // What is in memory cannot be stored: it is read again as it was.
                self.note_store(Some(&error));
                self.find_refused(&batch, &error);
                return self.lose_all("error");
            }
        };
        self.note_store(None);
        self.commits.latest = batch.runs;
        if batch.runs > 0 {
            self.env.metrics.committed(batch.runs, took.as_secs_f64());
            self.window.committed(took.as_secs_f64());
            self.commits.short.committed(batch.runs, took.as_secs_f64());
        }
        let mut stored = HashSet::new();
        for (commit, outcome) in batch.commits.iter().zip(outcomes) {
            let current = self.shards.get(&commit.shard);
            let same = current.is_some_and(|shard| shard.epoch == commit.epoch);
            if outcome == CommitOutcome::Fenced {
                self.env.metrics.refused();
            }
            match outcome {
                CommitOutcome::Stored if same => drop(stored.insert(commit.shard)),
                CommitOutcome::Stored => {}
                CommitOutcome::Fenced if same => {
                    tracing::warn!(shard = commit.shard, "the shard has another owner");
                    self.lose(commit.shard, "fenced");
                    self.leases.by(Instant::now());
                }
                CommitOutcome::Fenced => {}
            }
        }
        for after in batch.after {
            if stored.contains(&after.shard) {
                self.follow_up(after);
            }
        }
        self.take_more();
    }

    /// A run that the store refuses fails, so that it does not hinder the others.
    fn find_refused(&mut self, batch: &Batch, error: &Error) {
        match &batch.after[..] {
            // What does not fit is this runner's view of a shard.
            _ if matches!(error, Error::Conflict(_)) => {}
            [after] => {
                let reason = format!("the store of runs refuses it: {error}");
                self.commits.refused.insert(after.run_id.clone(), reason);
            }
            _ => self.commits.alone = MAX_RUNS * 2,
        }
    }

    fn follow_up(&mut self, after: After) {
        let After {
            run_id,
            shard,
            submit,
            outgoing,
            acks,
            answered,
            timers,
            ended,
        } = after;
        for number in answered {
            self.handled.insert((shard, number), true);
        }
        if let Some(stored) = self.called_off.get_mut(&run_id) {
            *stored = true;
        }
        for key in timers {
            if let Some(done) = self.fired.get_mut(&(run_id.clone(), key)) {
                *done = true;
            }
        }
        for ack in acks {
            self.effects.acknowledge(ack);
        }
        self.admit(&run_id, submit);
        for (number, outgoing) in outgoing {
            self.carry_out(&run_id, shard, number, outgoing);
        }
        let Some(active) = self.runs.get_mut(&run_id) else {
            return;
        };
        active.storing = false;
        let status = active.run.status();
        if ended {
            spans::ended(&active.meta, status, active.run.error());
            let began = active.meta.started_at.unwrap_or_default();
            let took = clock::now().saturating_sub(began);
            self.env.metrics.ended(status, took as f64 / 1000.0);
            if self.env.keys.max_running_runs > 0 {
                // Another of the same owner may begin.
                self.queued.by(Instant::now());
            }
        }
        let waits = status.is_final() || status == RunStatus::WaitingForApproval;
        if waits && active.is_idle() {
            self.forget(&run_id);
        }
    }

    /// Notes that an effect was carried out, with the next transaction.
    pub(super) fn carried(
        &mut self,
        shard: u16,
        epoch: u64,
        number: u64,
        outcome: Result<(), String>,
    ) {
        if let Err(error) = outcome {
            tracing::warn!(
                error,
                "an effect of a run is not carried out, and is given up"
            );
        }
        let shard = self.shards.get_mut(&shard);
        if let Some(shard) = shard.filter(|shard| shard.epoch == epoch) {
            shard.done.push(number);
            self.commits.done_since.get_or_insert_with(Instant::now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_waits_for_more_only_while_much_happens() {
        let mut changes = Changes::default();
        let mut commits = Commits {
            wait: Duration::from_millis(50),
            ..Commits::default()
        };
        assert_eq!(commits.wake(&changes), None);
        changes.of("a").acks.clear();
        let since = changes.since.unwrap();
        assert_eq!(commits.wake(&changes), Some(since));
        commits.latest = BUSY;
        assert_eq!(commits.wake(&changes), Some(since + commits.wait));
        for number in 0..MAX_RUNS {
            changes.of(&number.to_string()).acks.clear();
        }
        assert_eq!(commits.wake(&changes), Some(since));
        commits.under_way = Some(1);
        assert_eq!(commits.wake(&changes), None);
    }
}
