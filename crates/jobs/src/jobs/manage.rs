//! What people do: look at jobs, cancel them, retry them, count them.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;

use crate::{
    Destination, Error, JobCounts, JobId, JobRecord, JobState, JobStatus, Jobs, Move, MoveOutcome,
    StoredJob, outcome,
};

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
                JobState::Running { .. } => self.store.request_cancel(id, &found.token).await?,
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
