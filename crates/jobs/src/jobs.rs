//! The queue: its rules, on any store. This file has what producers do.

mod clock_jump;
pub(crate) mod drained;
pub(crate) mod heartbeats;
pub(crate) mod manage;
mod options;
mod queue_limit;
mod run;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, atomic::AtomicUsize},
};

use futures_util::future::join_all;

use crate::{
    Error, JobId, JobStatus, Lane, MAX_BATCH, NewJob, Store, StoreHealth, Submission,
    SubmitOutcome, clock, codec, enqueue_span::EnqueueSpan, log_throttle::LogThrottle,
    store_clock::StoreClock,
};
use heartbeats::Heartbeats;
pub use options::QueueOptions;
use queue_limit::QueueNames;

/// The most jobs that one submission takes.
pub const MAX_SUBMIT: usize = 1_000;

/// A job that was taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted {
    /// Its id.
    pub id: JobId,
    /// Its status; `None` when its record has expired and its key has not.
    pub status: Option<JobStatus>,
    /// It existed already, under its idempotency key or its seed.
    pub existing: bool,
}

/// The queue. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Jobs {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) options: Arc<QueueOptions>,
    claims: Arc<AtomicUsize>,
    queue_names: Arc<QueueNames>,
    heartbeats: Arc<Heartbeats>,
    pub(crate) clock: Arc<StoreClock>,
    pub(crate) log_throttle: Arc<LogThrottle>,
}

/// The times of lanes for the length of one call: each store is queried once, so that one that does
/// not answer is waited for once.
type Times = BTreeMap<Lane, Result<u64, Error>>;

impl Jobs {
    /// A queue in a store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, options: QueueOptions) -> Self {
        Self {
            store,
            options: Arc::new(options),
            claims: Arc::default(),
            queue_names: Arc::default(),
            heartbeats: Arc::default(),
            clock: Arc::default(),
            log_throttle: Arc::default(),
        }
    }

    /// What it was made with.
    #[must_use]
    pub fn options(&self) -> &QueueOptions {
        &self.options
    }

    /// The time by the clock that a lane is kept by, Unix milliseconds.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when no recent time is known and the store does not answer.
    pub(crate) async fn now(&self, lane: &Lane) -> Result<u64, Error> {
        if let Some(now) = self.clock.fresh(lane).filter(|_| !self.store.is_local()) {
            return Ok(now);
        }
        let now = self.store.now(lane).await?;
        self.clock.observe(lane, now);
        Ok(now)
    }

    /// The same without a query: counted on from the store's latest time. Callers have just claimed
    /// a job of the lane.
    pub(crate) fn estimated_now(&self, lane: &Lane) -> u64 {
        self.clock.estimated(lane).unwrap_or_else(clock::now)
    }

    /// Checks that the store can be read and written, and logs what is wrong with it.
    ///
    /// # Errors
    /// [`Error::Unavailable`] and [`Error::Broken`], which say what does not work and what to do.
    pub async fn check(&self) -> Result<StoreHealth, Error> {
        let checked = self.store.check().await;
        match &checked {
            Ok(vitals) => {
                let store = self.store.name();
                for warning in &vitals.warnings {
                    self.log_throttle.store_warning(&store, warning);
                }
                if self.log_throttle.recovered() {
                    tracing::info!(store, "the job store works again");
                }
            }
            Err(error) => self.log_throttle.store_error(error),
        }
        checked
    }

    pub(crate) fn lanes_of(&self, queue: &str) -> Result<Vec<Lane>, Error> {
        let count = self
            .options
            .partitions
            .get(queue)
            .copied()
            .unwrap_or(1)
            .max(1);
        (0..count)
            .map(|partition| Lane::new(queue, partition))
            .collect()
    }

    /// The lane of a queue that jobs with this key or seed meet in.
    pub(crate) fn lane_for(&self, queue: &str, key: &[u8]) -> Result<Lane, Error> {
        let lanes = self.lanes_of(queue)?;
        Ok(nth_lane(&lanes, xxhash_rust::xxh3::xxh3_64(key)))
    }

    /// Takes one job in.
    ///
    /// # Errors
    /// As one of [`Jobs::submit_all`].
    pub async fn submit(&self, job: NewJob) -> Result<Submitted, Error> {
        let mut answers = self.submit_all(vec![job]).await?;
        answers
            .pop()
            .unwrap_or_else(|| Err(Error::invalid("jobs", "the batch is empty")))
    }

    /// Takes jobs in, at most [`MAX_SUBMIT`], and answers in their order.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a batch that is too large. Of each job: [`Error::Invalid`] for a bad
    /// field, [`Error::Conflict`] for a key that stands for another job, [`Error::Queues`] for one
    /// queue too many, [`Error::Unavailable`].
    pub async fn submit_all(
        &self,
        jobs: Vec<NewJob>,
    ) -> Result<Vec<Result<Submitted, Error>>, Error> {
        if jobs.len() > MAX_SUBMIT {
            let reason = format!(
                "{} are more than the {MAX_SUBMIT} allowed at once",
                jobs.len()
            );
            return Err(Error::invalid("jobs", reason));
        }
        let wanted = jobs.iter().map(|job| job.queue.as_str()).collect();
        let (max, own) = (self.options.max_queues, &self.options.own_queues);
        let refused = self.queue_names.refused(&*self.store, max, own, wanted);
        let refused = refused.await?;
        let mut answers: Vec<Option<Result<Submitted, Error>>> = vec![None; jobs.len()];
        let mut lanes: BTreeMap<Lane, (Vec<usize>, Vec<Submission>)> = BTreeMap::new();
        // The first of those with one seed is taken in for all.
        let (mut chosen, mut repeated) = (HashMap::new(), Vec::new());
        let mut times = Times::default();
        let mut spans = Vec::with_capacity(jobs.len());
        for (index, mut job) in jobs.into_iter().enumerate() {
            spans.push(EnqueueSpan::begin(&mut job));
            if refused.contains(&job.queue) {
                let queue = job.queue;
                answers[index] = Some(Err(Error::Queues { queue, max }));
                continue;
            }
            match self.admit(job, &mut times).await {
                Ok((_, entry)) if chosen.contains_key(&entry.id) => {
                    repeated.push((index, chosen[&entry.id]));
                }
                Ok((lane, entry)) => {
                    if entry.id.is_chosen() {
                        chosen.insert(entry.id.clone(), index);
                    }
                    let (indexes, entries) = lanes.entry(lane).or_default();
                    indexes.push(index);
                    entries.push(entry);
                }
                Err(error) => answers[index] = Some(Err(error)),
            }
        }
        let calls = lanes.iter().flat_map(|(lane, (indexes, entries))| {
            let chunks = indexes.chunks(MAX_BATCH).zip(entries.chunks(MAX_BATCH));
            chunks.map(move |(indexes, entries)| async move {
                (indexes, entries, self.take_in(lane, entries).await)
            })
        });
        let mut known = Vec::new();
        for (indexes, entries, accepted) in join_all(calls).await {
            for (at, (index, entry)) in indexes.iter().zip(entries).enumerate() {
                let answer = match &accepted {
                    Ok(accepted) => submitted(entry, &accepted[at]),
                    Err(error) => Err(error.clone()),
                };
                if let Ok(Submitted {
                    id, existing: true, ..
                }) = &answer
                {
                    known.push((*index, id.clone()));
                }
                answers[*index] = Some(answer);
            }
        }
        self.add_statuses(&known, &mut answers).await;
        for (index, first) in repeated {
            let mut answer = answers[first].clone();
            if let Some(Ok(submitted)) = &mut answer {
                submitted.existing = true;
            }
            answers[index] = answer;
        }
        let answers: Vec<_> = answers.into_iter().flatten().collect();
        for (span, answer) in spans.into_iter().zip(&answers) {
            if let Some(span) = span {
                span.end(answer);
            }
        }
        Ok(answers)
    }

    /// Submits once more when the answer was lost: the jobs have their ids, and a store takes each
    /// id in once. A store that is unavailable refuses at once the second time too.
    async fn take_in(
        &self,
        lane: &Lane,
        entries: &[Submission],
    ) -> Result<Vec<SubmitOutcome>, Error> {
        match self.store.submit(lane, entries).await {
            Err(Error::Unavailable { .. }) => self.store.submit(lane, entries).await,
            answer => answer,
        }
    }

    async fn admit(&self, job: NewJob, times: &mut Times) -> Result<(Lane, Submission), Error> {
        job.check(self.options.max_payload)?;
        // Jobs with one key or seed meet in one partition; the others spread.
        let key = job.key();
        let lane = match key.as_ref().or(job.seed.as_ref()) {
            Some(key) => self.lane_for(&job.queue, key.as_bytes())?,
            None => nth_lane(&self.lanes_of(&job.queue)?, rand::random()),
        };
        let key = key.map(|key| (key, job.fingerprint()));
        let now = match times.get(&lane) {
            Some(known) => known.clone(),
            None => times
                .entry(lane.clone())
                .or_insert(self.now(&lane).await)
                .clone(),
        };
        let (delay, now) = (job.delay, now?);
        let id = match &job.seed {
            Some(seed) => JobId::chosen(&lane, seed),
            None => JobId::at(&lane, now),
        };
        let job = job.into_job(id, now);
        let (packed, priority) = (codec::pack_job(&job), job.header.priority);
        Ok((
            lane,
            Submission {
                id: job.id,
                priority,
                packed,
                delay,
                key,
            },
        ))
    }

    /// Says of jobs that existed already what has become of them.
    async fn add_statuses(
        &self,
        known: &[(usize, JobId)],
        answers: &mut [Option<Result<Submitted, Error>>],
    ) {
        let ids: Vec<JobId> = known.iter().map(|(_, id)| id.clone()).collect();
        let found = self.find_many(&ids).await;
        for (at, (index, _)) in known.iter().enumerate() {
            let answer = answers[*index].as_mut();
            let Some(answer) = answer else { continue };
            match (&found, answer) {
                (Ok(found), Ok(submitted)) => {
                    submitted.status = found[at].as_ref().map(|record| record.status);
                }
                (Err(error), answer) => *answer = Err(error.clone()),
                (Ok(_), Err(_)) => {}
            }
        }
    }
}

/// The lane that a number leads to, evenly.
fn nth_lane(lanes: &[Lane], number: u64) -> Lane {
    let chosen = usize::try_from(number % lanes.len() as u64).unwrap_or(0);
    lanes[chosen].clone()
}

fn submitted(entry: &Submission, accepted: &SubmitOutcome) -> Result<Submitted, Error> {
    match accepted {
        SubmitOutcome::New => {
            let waits = !entry.delay.is_zero();
            let status = if waits {
                JobStatus::Scheduled
            } else {
                JobStatus::Queued
            };
            Ok(Submitted {
                id: entry.id.clone(),
                status: Some(status),
                existing: false,
            })
        }
        SubmitOutcome::Duplicate(id) => Ok(Submitted {
            id: id.clone(),
            status: None,
            existing: true,
        }),
        SubmitOutcome::Conflict(id) => {
            let key = entry
                .key
                .as_ref()
                .map(|(key, _)| key.trim_start_matches('\u{1}').to_owned())
                .unwrap_or_default();
            Err(Error::Conflict {
                key,
                id: id.clone(),
            })
        }
    }
}
