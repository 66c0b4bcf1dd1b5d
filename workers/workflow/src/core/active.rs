//! A run in memory, and what its owner has in flight.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use jobs::QueueStats;
use tokio::time::Instant;
use workflow::{JobRequest, Run};

use super::{
    Core, Done,
    window::{Load, PROBE},
};
use crate::loaded::RunMeta;

/// How soon a runner that had no room looks for queued runs once it has some.
const ROOM: Duration = Duration::from_millis(2);
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

/// What an owner has in flight.
#[derive(Debug, Default)]
pub(super) struct Owner {
    pub(super) in_flight: usize,
    /// How many nodes wait for others of the same owner, and the runs and keys of these and of some that are
    /// called off.
    waiting: usize,
    held: VecDeque<(String, String)>,
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
    /// How many nodes of one owner may be in flight here by the keys: this runner's part of them.
    fn owner_limit(&self) -> usize {
        match self.env.keys.max_nodes_in_flight {
            0 => usize::MAX,
            all => (all * self.shards.len().max(1)).div_ceil(usize::from(runs::SHARDS)),
        }
    }

    /// The same, and by what the workers take.
    fn owner_share(&self) -> usize {
        self.owner_limit().min(self.window.size())
    }

    /// Looks how many jobs wait in the queues, while nodes are held.
    pub(super) fn probe(&mut self, now: Instant) {
        if self.window.held == 0 || !self.probing.begin(now) {
            return;
        }
        let (jobs, queues) = (self.env.jobs.clone(), self.readers.clone());
        self.tasks.spawn(async move {
            let mut counted = jobs.queues().await;
            if let Ok(all) = &mut counted {
                all.retain(|stats| queues.contains(&stats.queue));
            }
            Done::Queues(counted)
        });
    }

    pub(super) fn probed(&mut self, queues: &Result<Vec<QueueStats>, jobs::Error>) {
        let now = Instant::now();
        self.probing.again(now + PROBE);
        let Ok(queues) = queues else { return };
        let load = Load {
            queues,
            several: self.commits.serves_several(now),
            part: self.shards.len().max(1) as f64 / f64::from(runs::SHARDS),
            in_flight: self.owners.values().map(|owner| owner.in_flight).sum(),
            limit: self.owner_limit(),
        };
        self.window.observe(&load, now);
        let owners: Vec<String> = self.owners.keys().cloned().collect();
        for owner in owners {
            self.release(&owner);
        }
    }

    /// What asks for jobs is stored: they are submitted now, or held.
    pub(super) fn admit(&mut self, run_id: &str, keys: Vec<String>) {
        if keys.is_empty() {
            return;
        }
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
                self.window.held += 1;
                self.env.metrics.held(1);
                owner.waiting += 1;
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
        let Some(owner) = self.owners.get_mut(name) else {
            return;
        };
        match state {
            JobState::Unstored => return,
            JobState::Held => {
                owner.waiting -= 1;
                self.window.held -= 1;
                self.env.metrics.held(-1);
            }
            JobState::Sending | JobState::Queued(_) => {
                owner.in_flight -= 1;
                self.env.metrics.in_flight(-1);
            }
        }
        self.release(name);
    }

    /// Submits what an owner may have in flight now.
    fn release(&mut self, name: &str) {
        let share = self.owner_share();
        let Some(owner) = self.owners.get_mut(name) else {
            return;
        };
        while owner.waiting > 0
            && owner.in_flight < share
            && let Some((run_id, key)) = owner.held.pop_front()
        {
            let job = self.runs.get_mut(&run_id);
            let job = job.and_then(|active| active.jobs.get_mut(&key));
            // It was called off otherwise.
            if let Some(job) = job.filter(|job| job.state == JobState::Held) {
                job.state = JobState::Sending;
                owner.in_flight += 1;
                owner.waiting -= 1;
                self.window.held -= 1;
                self.env.metrics.held(-1);
                self.env.metrics.in_flight(1);
                self.effects.submit(&run_id, key);
            }
        }
        if owner.waiting == 0 {
            owner.held.clear();
        }
        if owner.waiting <= share
            && let Some(place) = self.left_out.iter().position(|it| it == name)
        {
            self.left_out.swap_remove(place);
            self.queued.by(Instant::now());
        }
        if owner.in_flight == 0 && owner.waiting == 0 {
            self.owners.remove(name);
        }
    }

    /// Owners of whom no more runs are taken, because their nodes would only wait, and there is not much room.
    pub(super) fn full_owners(&self) -> Vec<String> {
        if self.has_much_room() {
            return Vec::new();
        }
        let share = self.owner_share();
        let full = self.owners.iter().filter(|(_, it)| it.waiting > share);
        full.map(|(name, _)| name.clone()).collect()
    }

    fn has_much_room(&self) -> bool {
        self.runs.len() <= self.env.keys.workflow_runs / 2
    }

    /// Lets a run go from memory.
    pub(super) fn forget(&mut self, run_id: &str) {
        let Some(active) = self.runs.remove(run_id) else {
            return;
        };
        for job in active.jobs.into_values() {
            self.left(&active.meta.owner, job.state);
        }
        if self.no_room || (!self.left_out.is_empty() && self.has_much_room()) {
            self.left_out.clear();
            self.queued.by(Instant::now() + ROOM);
        }
    }
}
