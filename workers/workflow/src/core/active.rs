//! A run in memory, and what its owner has in flight.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;
use workflow::{JobRequest, Run};

use super::{Core, Done};
use crate::loaded::RunMeta;

/// How soon a runner that had no room looks for queued runs once it has some.
const ROOM: Duration = Duration::from_millis(2);
/// How often it is looked how many jobs wait in the queue, while nodes are held.
const PROBE: Duration = Duration::from_millis(50);
/// How long a job should wait in the queue, in seconds: with less before it workers may soon be idle, with more
/// those of other owners wait.
const WAIT: std::ops::RangeInclusive<f64> = 0.001..=0.005;
/// So many may wait however long that takes: whoever scales workers sees that there are more than these can do.
const SHORT: f64 = 2.0;
/// The bounds of a [`Window`] that the keys do not bound.
const WINDOW: (usize, usize) = (2, 100_000);
/// While transactions are shorter there is room for more; while they are longer, everybody waits for them.
const COMMIT: std::ops::RangeInclusive<f64> = 0.006..=0.012;
/// Long transactions alone do not make a window smaller than this: with fewer nodes each would do less.
const ENOUGH: usize = 64;

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

/// How many nodes of one owner are in flight at most, so that the queue is short: others do not wait behind
/// them. It follows what the workers take.
#[derive(Debug)]
pub(super) struct Window {
    size: usize,
    /// How long transactions take of late, in seconds.
    commit: f64,
    /// When the queue was looked at, and how many jobs have ended since.
    looked: Instant,
    ended: u32,
    /// How many end in a second, of late.
    rate: f64,
    /// How many nodes are held because of it.
    pub(super) held: usize,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            size: ENOUGH,
            commit: 0.0,
            looked: Instant::now(),
            ended: 0,
            rate: 0.0,
            held: 0,
        }
    }
}

impl Window {
    /// A transaction took so many seconds.
    pub(super) fn committed(&mut self, seconds: f64) {
        self.commit += (seconds - self.commit) / 8.0;
    }

    /// A job ended.
    fn ended(&mut self) {
        self.ended = self.ended.saturating_add(1);
    }

    /// So many jobs wait in the queue now.
    fn observe(&mut self, depth: u64, now: Instant) {
        let since = now.saturating_duration_since(self.looked).max(PROBE / 2);
        let rate = f64::from(self.ended) / since.as_secs_f64();
        (self.looked, self.ended) = (now, 0);
        self.rate += (rate - self.rate) / 4.0;
        let (fewest, most) = (
            self.rate * WAIT.start(),
            (self.rate * WAIT.end()).max(SHORT),
        );
        let (size, depth) = (self.size, depth as f64);
        self.size = if depth > most {
            // The queue is as much shorter as fewer are in flight.
            size - ((depth - most).ceil() as usize).min(size / 4)
        } else if self.commit > *COMMIT.end() {
            (size * 3 / 4).max(ENOUGH.min(size))
        } else if depth <= fewest && self.commit < *COMMIT.start() {
            size + (size / 8).max(1)
        } else {
            size
        }
        .clamp(WINDOW.0, WINDOW.1);
    }

    /// Whether so many nodes are held that more runs of the same owners would only wait, too.
    pub(super) fn is_full(&self) -> bool {
        self.held > self.size
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
        let share = match self.env.keys.max_nodes_in_flight {
            0 => usize::MAX,
            all => (all * self.shards.len().max(1)).div_ceil(usize::from(runs::SHARDS)),
        };
        share.min(self.window.size)
    }

    /// Looks how many jobs wait in the queue, while nodes are held.
    pub(super) fn probe(&mut self, now: Instant) {
        if self.window.held == 0 || !self.probing.begin(now) {
            return;
        }
        let (jobs, queues) = (self.env.jobs.clone(), self.readers.clone());
        self.tasks.spawn(async move {
            let counted = jobs.queues().await;
            let depth = counted.map(|all| {
                let ours = all.iter().filter(|stats| queues.contains(&stats.queue));
                ours.map(|stats| stats.counts.queued).sum()
            });
            Done::Depth(depth)
        });
    }

    pub(super) fn probed(&mut self, depth: &Result<u64, jobs::Error>) {
        let now = Instant::now();
        self.probing.again(now + PROBE);
        let Ok(depth) = depth else { return };
        self.window.observe(*depth, now);
        let owners: Vec<String> = self.owners.keys().cloned().collect();
        for owner in owners {
            self.release(&owner);
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
                self.window.held += 1;
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
            self.window.held -= 1;
            metrics.held(-1);
        }
        if !state.is_in_flight() {
            return;
        }
        self.window.ended();
        metrics.in_flight(-1);
        if let Some(owner) = self.owners.get_mut(name) {
            owner.in_flight -= 1;
        }
        self.release(name);
    }

    /// Submits what an owner may have in flight now.
    fn release(&mut self, name: &str) {
        let share = self.owner_share();
        let Some(owner) = self.owners.get_mut(name) else {
            return;
        };
        while owner.in_flight < share
            && let Some((run_id, key)) = owner.held.pop_front()
        {
            let job = self.runs.get_mut(&run_id);
            let job = job.and_then(|active| active.jobs.get_mut(&key));
            // It was called off otherwise.
            if let Some(job) = job.filter(|job| job.state == JobState::Held) {
                job.state = JobState::Sending;
                owner.in_flight += 1;
                self.window.held -= 1;
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
        if self.no_room {
            self.queued.by(Instant::now() + ROOM);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What workers of so many places do, each node of which takes 20 ms.
    fn observe(window: &mut Window, places: usize) {
        window.ended += u32::try_from(window.size.min(places) * 5 / 2).unwrap();
        let depth = window.size.saturating_sub(places);
        window.observe(depth as u64, window.looked + PROBE);
    }

    #[test]
    fn the_window_is_what_the_workers_take_and_the_queue_is_short() {
        let mut window = Window::default();
        for places in [1_000, 16, 1, 64] {
            for _ in 0..60 {
                observe(&mut window, places);
            }
            let wait = (places as f64 / 0.02 * WAIT.end()).max(SHORT) as usize;
            let sizes = places..=places + wait;
            assert!(sizes.contains(&window.size), "{places}: {}", window.size);
        }
    }

    #[test]
    fn long_transactions_make_a_window_smaller_though_not_small() {
        let mut window = Window {
            size: 4 * ENOUGH,
            ..Window::default()
        };
        for _ in 0..40 {
            window.committed(0.03);
            observe(&mut window, 10 * ENOUGH);
        }
        assert_eq!(window.size, ENOUGH);
        for _ in 0..40 {
            window.committed(0.002);
        }
        observe(&mut window, 10 * ENOUGH);
        assert_eq!(window.size, ENOUGH + ENOUGH / 8);
    }
}
