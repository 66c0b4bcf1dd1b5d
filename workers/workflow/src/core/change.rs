//! What waits to be stored, run by run.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use runs::{Command, CommandAnswer, NewApproval, NewRun};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use workflow::{ChildRequest, RunStatus};

use crate::outcome::Ended;

/// How many runs of one owner at least are stored with those of others.
const BESIDE: usize = 16;

/// What came for a run.
#[derive(Debug)]
pub(super) enum Incoming {
    /// A job ended.
    Job {
        key: String,
        ended: Ended,
        ack: Option<Ack>,
    },
    /// A job is unknown to the queue.
    Lost { key: String },
    /// Nobody serves what a node asks for.
    Unserved { key: String, name: String },
    /// A command.
    Command { number: u64, command: Command },
    /// A timer is due.
    Timer { key: String },
    /// A child could not be started.
    NoChild { key: String, reason: String },
    /// A child can be started now.
    Child { child: Box<NewRun>, number: u64 },
}

/// A completion that is acknowledged once what it did is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ack {
    pub(super) queue: String,
    pub(super) tag: String,
    pub(super) cursor: String,
}

/// An effect that is kept until it is carried out.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outgoing {
    /// Jobs to be called off: key and queue.
    CancelJobs(Vec<(String, Option<String>)>),
    /// A server to be told of an approval.
    Notify {
        url: String,
        key: String,
        body: serde_json::Value,
    },
    /// A child whose workflow has to be found first.
    StartChild(ChildRequest),
}

/// What happened to one run and is not stored yet.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// Keys of records of the run.
    pub(super) changed: BTreeSet<String>,
    pub(super) events: Vec<Vec<u8>>,
    pub(super) blobs: Vec<(String, Vec<u8>)>,
    pub(super) timers_set: BTreeMap<String, u64>,
    pub(super) timers_cleared: BTreeSet<String>,
    /// Timers that were due.
    pub(super) fired: Vec<String>,
    pub(super) approvals_opened: Vec<NewApproval>,
    pub(super) approvals_closed: BTreeSet<String>,
    pub(super) children: Vec<NewRun>,
    pub(super) commands: Vec<Command>,
    pub(super) answered: Vec<(u64, String, CommandAnswer)>,
    pub(super) outgoing: Vec<Outgoing>,
    pub(super) outbox_done: Vec<u64>,
    /// Keys of jobs to submit.
    pub(super) submit: Vec<String>,
    pub(super) acks: Vec<Ack>,
    /// The run ends as it is, without a step.
    pub(super) ending: Option<Ending>,
}

/// What is stored of a run that ends without a step: it cannot be read, or was called off before it began.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) status: RunStatus,
    /// Unix milliseconds.
    pub(super) at: u64,
    pub(super) header: Vec<u8>,
    pub(super) error: Option<String>,
}

impl Change {
    pub(super) fn set_timer(&mut self, key: String, due_at: u64) {
        self.timers_cleared.remove(&key);
        self.timers_set.insert(key, due_at);
    }

    pub(super) fn clear_timer(&mut self, key: String) {
        self.timers_set.remove(&key);
        self.timers_cleared.insert(key);
    }

    pub(super) fn close_approval(&mut self, key: String) {
        self.approvals_opened.retain(|opened| opened.key != key);
        self.approvals_closed.insert(key);
    }

    pub(super) fn cancel_job(&mut self, key: String, queue: Option<String>) {
        match self.outgoing.last_mut() {
            Some(Outgoing::CancelJobs(keys)) => keys.push((key, queue)),
            _ => self.outgoing.push(Outgoing::CancelJobs(vec![(key, queue)])),
        }
    }
}

/// The changes of all runs, in the order in which the runs began to have some.
#[derive(Debug, Default)]
pub(super) struct Changes {
    order: VecDeque<String>,
    by_run: HashMap<String, Change>,
    /// Since when the first of them waits.
    pub(super) since: Option<Instant>,
}

impl Changes {
    pub(super) fn len(&self) -> usize {
        self.by_run.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_run.is_empty()
    }

    /// The change of a run.
    pub(super) fn of(&mut self, run_id: &str) -> &mut Change {
        if !self.by_run.contains_key(run_id) {
            self.order.push_back(run_id.to_owned());
            self.since.get_or_insert_with(Instant::now);
            self.by_run.insert(run_id.to_owned(), Change::default());
        }
        self.by_run.entry(run_id.to_owned()).or_default()
    }

    /// Takes the first ones out. Of an owner who has far more of them than all others a part stays behind, so
    /// that the others do not wait until all of these are stored. Says too whether there are several owners.
    pub(super) fn take_fairly<'o>(
        &mut self,
        max: usize,
        owner_of: impl Fn(&str) -> &'o str,
    ) -> (Vec<(String, Change)>, bool) {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for run_id in &self.order {
            *counts.entry(owner_of(run_id)).or_default() += 1;
        }
        let most = counts.iter().max_by_key(|(_, count)| **count);
        let (heavy, count) = most.map_or(("", 0), |(heavy, count)| (*heavy, *count));
        let others = self.order.len() - count;
        let share = others.max(BESIDE);
        if others == 0 || count <= share {
            return (self.take(max), others > 0);
        }
        let (mut first, mut later, mut taken) = (VecDeque::new(), VecDeque::new(), 0);
        for run_id in self.order.drain(..) {
            let is_heavy = owner_of(&run_id) == heavy;
            match is_heavy && taken == share {
                true => later.push_back(run_id),
                false => first.push_back(run_id),
            }
            taken += usize::from(is_heavy && taken < share);
        }
        let max = max.min(first.len());
        first.append(&mut later);
        self.order = first;
        (self.take(max), true)
    }

    /// Takes the first ones out.
    pub(super) fn take(&mut self, max: usize) -> Vec<(String, Change)> {
        let mut taken = Vec::with_capacity(max.min(self.len()));
        while taken.len() < max
            && let Some(run_id) = self.order.pop_front()
        {
            // It is gone if its shard was lost.
            if let Some(change) = self.by_run.remove(&run_id) {
                taken.push((run_id, change));
            }
        }
        self.since = (!self.is_empty()).then(Instant::now);
        taken
    }

    /// Forgets those of a shard.
    pub(super) fn drop_shard(&mut self, shard: u16) {
        self.by_run
            .retain(|run_id, _| runs::shard_of(run_id) != shard);
        let by_run = &self.by_run;
        self.order.retain(|run_id| by_run.contains_key(run_id));
        if self.is_empty() {
            self.since = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_taken_in_their_order_and_a_run_has_one() {
        let mut changes = Changes::default();
        for run in ["b", "a", "b", "c"] {
            changes.of(run).events.push(run.as_bytes().to_vec());
        }
        assert_eq!(changes.len(), 3);
        let taken = changes.take(2);
        let names: Vec<&str> = taken.iter().map(|(run, _)| run.as_str()).collect();
        assert_eq!(names, ["b", "a"]);
        assert_eq!(taken[0].1.events.len(), 2);
        assert!(changes.since.is_some());
        changes.drop_shard(runs::shard_of("c"));
        assert!(changes.is_empty() && changes.since.is_none());
        assert!(changes.take(5).is_empty());
    }

    #[test]
    fn an_owner_with_many_changes_leaves_some_behind_while_others_have_a_few() {
        let mut changes = Changes::default();
        let owner_of = |run: &str| match run.starts_with('h') {
            true => "heavy",
            false => "light",
        };
        for number in 0..100 {
            changes.of(&format!("h{number}")).acks.clear();
        }
        changes.of("l").acks.clear();
        let (taken, several) = changes.take_fairly(256, owner_of);
        assert_eq!((taken.len(), several), (BESIDE + 1, true));
        assert_eq!((&*taken[0].0, &*taken[BESIDE].0), ("h0", "l"));
        let (left, several) = changes.take_fairly(256, owner_of);
        assert_eq!((left.len(), &*left[0].0), (100 - BESIDE, "h16"));
        assert!(!several && changes.take_fairly(256, owner_of).0.is_empty());
        for run in ["h1", "h2", "l"] {
            changes.of(run).acks.clear();
        }
        let (taken, several) = changes.take_fairly(2, owner_of);
        assert_eq!((taken.len(), several), (2, true));
    }

    #[test]
    fn a_timer_is_set_or_cleared_and_never_both() {
        let mut change = Change::default();
        change.set_timer("t".to_owned(), 5);
        change.clear_timer("t".to_owned());
        assert!(change.timers_set.is_empty() && change.timers_cleared.contains("t"));
        change.set_timer("t".to_owned(), 7);
        assert!(change.timers_cleared.is_empty());
        assert_eq!(change.timers_set["t"], 7);
    }
}
