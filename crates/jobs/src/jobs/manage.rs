//! What people do: look at jobs, cancel them, retry them, count them.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::{join_all, try_join_all};

use crate::{
    Destination, Error, JobCounts, JobId, JobRecord, JobState, JobStatus, Jobs, Lane, Lease,
    MAX_BATCH, Move, MoveOutcome, StoredJob, jobs::run::by_lane, outcome,
};

/// It moved between two calls of the store.
struct Moved;

/// How often a change is retried when the job moved meanwhile.
const TRIES: usize = 16;

/// A queue, counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueStats {
    /// Its name.
    pub queue: String,
    /// Its counts, over all partitions.
    pub counts: JobCounts,
    /// Whether a worker serves it; `None` when that is not known.
    pub served: Option<bool>,
}

impl QueueStats {
    /// How long the next in line has waited.
    #[must_use]
    pub fn oldest_queued(&self) -> Option<Duration> {
        let since = self.counts.oldest_queued_at?;
        Some(Duration::from_millis(self.counts.now.saturating_sub(since)))
    }
}

impl Jobs {
    pub(super) async fn find(&self, id: &JobId) -> Result<Option<JobRecord>, Error> {
        let found = self.store.find(id).await?;
        found
            .map(|found| JobRecord::of(&found, &self.store.name()))
            .transpose()
    }

    /// A job.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Unavailable`].
    pub async fn get(&self, id: &JobId) -> Result<JobRecord, Error> {
        self.find(id)
            .await?
            .ok_or_else(|| Error::NotFound { id: id.to_string() })
    }

    /// Cancels a job: a waiting one at once, a running one within a second, when its worker learns
    /// of it. A job that has ended stays as it is.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Unavailable`].
    pub async fn cancel(&self, id: &JobId) -> Result<JobRecord, Error> {
        for _ in 0..TRIES {
            let found = self.stored(id).await?;
            let done = match &found.state {
                JobState::Ended(_) => true,
                JobState::Running { .. } => {
                    let (id, token) = (found.id.clone(), found.token.clone());
                    let lease = [Lease { id, token }];
                    let lane = lease[0].id.lane();
                    self.store.request_cancels(&lane, &lease).await? == [true]
                }
                JobState::Queued { .. } | JobState::Waiting { .. } => {
                    let now = self.now(&id.lane()).await?;
                    let to = outcome::cancel_waiting(&found, now);
                    self.step(found, to).await?
                }
            };
            if done {
                return self.get(id).await;
            }
        }
        Err(self.contended(id))
    }

    /// Jobs, in the order of their ids; `None` for those that are unknown.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn find_many(&self, ids: &[JobId]) -> Result<Vec<Option<JobRecord>>, Error> {
        let name = self.store.name();
        let stored = self.stored_many(ids).await?;
        let records = stored.into_iter();
        let records = records.map(|found| found.map(|found| JobRecord::of(&found, &name)));
        records.map(Option::transpose).collect()
    }

    /// Cancels jobs, as [`Jobs::cancel`] does one. Answers what has become of each, in their order:
    /// a running one is told to stop. `None` for those that are unknown.
    ///
    /// # Errors
    /// [`Error::Unavailable`], after which some may be cancelled: do it again.
    pub async fn cancel_many(&self, ids: &[JobId]) -> Result<Vec<Option<JobStatus>>, Error> {
        let mut answers = vec![None; ids.len()];
        // Those that moved meanwhile are tried again.
        let mut left: Vec<usize> = (0..ids.len()).collect();
        for _ in 0..TRIES {
            let tried: Vec<JobId> = left.iter().map(|index| ids[*index].clone()).collect();
            let mut moved = Vec::new();
            for (lane, places) in by_lane(tried.iter()) {
                for places in places.chunks(MAX_BATCH) {
                    let batch: Vec<JobId> = places.iter().map(|at| tried[*at].clone()).collect();
                    let statuses = self.cancel_batch(&lane, &batch).await?;
                    for (at, status) in places.iter().zip(statuses) {
                        match status {
                            Ok(status) => answers[left[*at]] = status,
                            Err(Moved) => moved.push(left[*at]),
                        }
                    }
                }
            }
            left = moved;
            if left.is_empty() {
                return Ok(answers);
            }
        }
        Err(self.contended(&ids[left[0]]))
    }

    /// Cancels jobs of a lane; those that moved meanwhile are as they were.
    async fn cancel_batch(
        &self,
        lane: &Lane,
        ids: &[JobId],
    ) -> Result<Vec<Result<Option<JobStatus>, Moved>>, Error> {
        let stored = self.store.find_many(lane, ids).await?;
        let mut answers = Vec::with_capacity(ids.len());
        let (mut moves, mut moving) = (Vec::new(), Vec::new());
        let (mut leases, mut running) = (Vec::new(), Vec::new());
        for (index, found) in stored.into_iter().enumerate() {
            answers.push(Ok(None));
            let Some(found) = found else { continue };
            match &found.state {
                JobState::Ended(status) => answers[index] = Ok(Some(*status)),
                JobState::Running { .. } => {
                    let (id, token) = (found.id, found.token);
                    leases.push(Lease { id, token });
                    running.push(index);
                }
                JobState::Queued { .. } | JobState::Waiting { .. } => {
                    let to = outcome::cancel_waiting(&found, self.now(lane).await?);
                    let (id, from) = (found.id, found.token);
                    moves.push(Move { id, from, to });
                    moving.push(index);
                }
            }
        }
        if !moves.is_empty() {
            let moved = self.store.transition(lane, &moves).await?;
            for (index, moved) in moving.into_iter().zip(moved) {
                answers[index] = match moved {
                    MoveOutcome::Done => Ok(Some(JobStatus::Cancelled)),
                    MoveOutcome::Stale | MoveOutcome::Cancelling => Err(Moved),
                };
            }
        }
        if !leases.is_empty() {
            let told = self.store.request_cancels(lane, &leases).await?;
            for (index, told) in running.into_iter().zip(told) {
                answers[index] = told.then_some(Some(JobStatus::Running)).ok_or(Moved);
            }
        }
        Ok(answers)
    }

    async fn stored_many(&self, ids: &[JobId]) -> Result<Vec<Option<StoredJob>>, Error> {
        let lanes = by_lane(ids.iter());
        let calls = lanes.iter().flat_map(|(lane, indexes)| {
            indexes.chunks(MAX_BATCH).map(move |indexes| async move {
                let batch: Vec<JobId> = indexes.iter().map(|index| ids[*index].clone()).collect();
                let stored = self.store.find_many(lane, &batch).await?;
                Ok::<_, Error>(indexes.iter().zip(stored))
            })
        });
        let mut answers = vec![None; ids.len()];
        for found in try_join_all(calls).await? {
            for (index, found) in found {
                answers[*index] = found;
            }
        }
        Ok(answers)
    }

    /// Retries a dead letter, from the start.
    ///
    /// # Errors
    /// [`Error::WrongStatus`] for a job that is not dead; [`Error::NotFound`];
    /// [`Error::Unavailable`].
    pub async fn retry(&self, id: &JobId) -> Result<JobRecord, Error> {
        for _ in 0..TRIES {
            let found = self.stored(id).await?;
            if found.state != JobState::Ended(JobStatus::Dead) {
                let status = JobRecord::of(&found, &self.store.name())?.status;
                let (id, wanted, action) = (id.clone(), JobStatus::Dead, "retried");
                return Err(Error::WrongStatus {
                    id,
                    status,
                    wanted,
                    action,
                });
            }
            let now = self.now(&id.lane()).await?;
            let to = outcome::requeue_dead(&found, now)?;
            if self.step(found, to).await? {
                return self.get(id).await;
            }
        }
        Err(self.contended(id))
    }

    /// Whether a worker serves a queue; `None` when that is not known: the store does not answer,
    /// or this process has just begun and has seen no worker yet.
    pub async fn is_served(&self, queue: &str) -> Option<bool> {
        let served = self.cached_served(queue);
        if served == Some(true) {
            return served;
        }
        self.heartbeats.recheck(&*self.store).await;
        self.cached_served(queue)
    }

    /// What is known without a query.
    fn cached_served(&self, queue: &str) -> Option<bool> {
        let served = self.heartbeats.known(queue);
        // A store that refuses writes refuses the heartbeats, too.
        served.filter(|served| *served || !self.log_throttle.has_errors())
    }

    async fn stored(&self, id: &JobId) -> Result<StoredJob, Error> {
        let found = self.store.find(id).await?;
        found.ok_or_else(|| Error::NotFound { id: id.to_string() })
    }

    /// Moves a job, if it is still as it was found.
    async fn step(&self, found: StoredJob, to: Destination) -> Result<bool, Error> {
        let (lane, id, from) = (found.id.lane(), found.id, found.token);
        let moved = self
            .store
            .transition(&lane, &[Move { id, from, to }])
            .await?;
        Ok(moved == [MoveOutcome::Done])
    }

    fn contended(&self, id: &JobId) -> Error {
        let (store, reason) = (
            self.store.name(),
            format!("job {id} kept changing state during the request: try again"),
        );
        Error::Unavailable { store, reason }
    }

    /// Counts every queue that has ever had a job.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn queues(&self) -> Result<Vec<QueueStats>, Error> {
        let lanes = self.store.lanes().await?;
        let counted = join_all(lanes.iter().map(|lane| self.store.counts(lane))).await;
        let mut queues: BTreeMap<String, JobCounts> = BTreeMap::new();
        for (lane, counts) in lanes.into_iter().zip(counted) {
            let more = match counts {
                Ok(more) => more,
                // One lane that is damaged hides no other.
                Err(error @ Error::Broken { .. }) => {
                    self.log_throttle.store_error(&error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let sum = queues.entry(lane.queue).or_default();
            sum.queued += more.queued;
            sum.scheduled += more.scheduled;
            sum.running += more.running;
            sum.failed += more.failed;
            sum.dead += more.dead;
            sum.succeeded += more.succeeded;
            sum.cancelled += more.cancelled;
            sum.now = more.now;
            sum.oldest_queued_at = match (sum.oldest_queued_at, more.oldest_queued_at) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
        self.heartbeats.refresh(&*self.store).await;
        let stats = queues.into_iter().map(|(queue, counts)| QueueStats {
            served: self.cached_served(&queue),
            queue,
            counts,
        });
        Ok(stats.collect())
    }
}
