//! A run in memory, and what its owner has in flight.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use tokio::time::Instant;
use workflow::{JobRequest, Run};

use super::Core;
use crate::loaded::RunMeta;

/// A run in memory.
pub(super) struct ActiveRun {
    pub(super) run: Run,
    pub(super) meta: RunMeta,
    /// Its nodes that are jobs, by key.
    pub(super) jobs: HashMap<String, NodeJob>,
    /// Whether something of it waits to be stored, and is being stored.
    pub(super) unstored: bool,
    pub(super) storing: bool,
    pub(super) touched: Instant,
    /// When it ended, once that is stored or about to be.
    pub(super) ended_at: Option<u64>,
}

/// A node that is a job.
pub(super) struct NodeJob {
    pub(super) request: Arc<JobRequest>,
    pub(super) state: JobState,
}

/// Where the job of a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JobState {
    /// What asks for it is not stored yet.
    Unstored,
    /// Its owner has as many in flight as allowed.
    Held,
    /// It is being submitted.
    Sending,
    /// It is in the queue since then.
    Queued(Instant),
}

impl JobState {
    /// Whether it counts for its owner.
    fn is_in_flight(self) -> bool {
        matches!(self, Self::Sending | Self::Queued(_))
    }
}

/// What an owner has in flight.
#[derive(Debug, Default)]
pub(super) struct Owner {
    pub(super) in_flight: usize,
    /// The runs and keys of the nodes that wait for others of the same owner.
    pub(super) held: VecDeque<(String, String)>,
}

impl ActiveRun {
    pub(super) fn new(run: Run, meta: RunMeta) -> Self {
        Self {
            run,
            jobs: HashMap::new(),
            unstored: false,
            storing: false,
            touched: Instant::now(),
            ended_at: meta.ended_at,
            meta,
        }
    }

    /// Whether nothing of it is needed in memory.
    pub(super) fn is_idle(&self) -> bool {
        self.jobs.is_empty() && !self.unstored && !self.storing
    }
}

impl Core {
    /// How many nodes of one owner may be in flight here: this runner's part of them.
    fn owner_share(&self) -> usize {
        match self.env.keys.max_nodes_in_flight {
            0 => usize::MAX,
            all => (all * self.shards.len().max(1)).div_ceil(usize::from(runs::SHARDS)),
        }
    }

    /// What asks for jobs is stored: they are submitted now, or held.
    pub(super) fn admit(&mut self, run_id: &str, keys: Vec<String>) {
        let share = self.owner_share();
        let Some(active) = self.runs.get_mut(run_id) else {
            return;
        };
        let owner = self.owners.entry(active.meta.owner.clone()).or_default();
        for key in keys {
            let Some(job) = active.jobs.get_mut(&key) else {
                continue;
            };
            if owner.in_flight < share {
                owner.in_flight += 1;
                job.state = JobState::Sending;
                self.env.metrics.in_flight(1);
                self.effects.submit(run_id, key);
            } else {
                job.state = JobState::Held;
                self.env.metrics.held(1);
                owner.held.push_back((run_id.to_owned(), key));
            }
        }
    }

    /// A node is a job no longer.
    pub(super) fn job_over(&mut self, run_id: &str, key: &str) {
        let Some(active) = self.runs.get_mut(run_id) else {
            return;
        };
        let Some(job) = active.jobs.remove(key) else {
            return;
        };
        let owner = active.meta.owner.clone();
        self.left(&owner, job.state);
    }

    /// A job of an owner is over: others may follow.
    fn left(&mut self, name: &str, state: JobState) {
        let metrics = &self.env.metrics;
        if state == JobState::Held {
            metrics.held(-1);
        }
        if !state.is_in_flight() {
            return;
        }
        metrics.in_flight(-1);
        let share = self.owner_share();
        let Some(owner) = self.owners.get_mut(name) else {
            return;
        };
        owner.in_flight -= 1;
        while owner.in_flight < share
            && let Some((run_id, key)) = owner.held.pop_front()
        {
            let job = self.runs.get_mut(&run_id);
            let job = job.and_then(|active| active.jobs.get_mut(&key));
            // It was called off otherwise.
            if let Some(job) = job.filter(|job| job.state == JobState::Held) {
                job.state = JobState::Sending;
                owner.in_flight += 1;
                self.env.metrics.held(-1);
                self.env.metrics.in_flight(1);
                self.effects.submit(&run_id, key);
            }
        }
        if owner.in_flight == 0 && owner.held.is_empty() {
            self.owners.remove(name);
        }
    }

    /// Lets a run go from memory.
    pub(super) fn forget(&mut self, run_id: &str) {
        let Some(active) = self.runs.remove(run_id) else {
            return;
        };
        for job in active.jobs.into_values() {
            self.left(&active.meta.owner, job.state);
        }
    }
}
