//! The queue: the rules, on whatever store.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::{join_all, select_all};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    Accepted, Backoff, Claimed, Claimer, Counts, Entry, Error, JobId, Lane, Lease, MAX_BATCH, Move,
    Moved, NewJob, Outcome, Record, Renewal, State, Status, Store, codec, outcome,
};

/// The most jobs that one submission takes.
pub const MAX_SUBMIT: usize = 1_000;
/// Every so many claims, the lowest priority comes first, so that none starves.
const REVERSED: usize = 16;
/// How often a change is tried again when the job moved meanwhile.
const TRIES: usize = 16;

/// What a queue is made with.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long a worker may be silent about a job before others get it; 30 s.
    pub lease: Duration,
    /// How long results are kept; a day.
    pub result_ttl: Duration,
    /// How long dead letters are kept; a week.
    pub dead_ttl: Duration,
    /// Partitions of queues that are to have more than one.
    pub partitions: BTreeMap<String, u16>,
    /// The largest payload, in bytes; 4 MiB.
    pub max_payload: usize,
    /// How long failed jobs wait.
    pub backoff: Backoff,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            result_ttl: Duration::from_secs(86_400),
            dead_ttl: Duration::from_secs(7 * 86_400),
            partitions: BTreeMap::new(),
            max_payload: 4 << 20,
            backoff: Backoff::default(),
        }
    }
}

/// A job that was taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted {
    /// Its id.
    pub id: JobId,
    /// Where it stands.
    pub status: Status,
    /// It was there already, under its idempotency key.
    pub existing: bool,
}

/// A queue, counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueStats {
    /// Its name.
    pub queue: String,
    /// Its counts, over all partitions.
    pub counts: Counts,
}

impl QueueStats {
    /// How long the next in line has waited.
    #[must_use]
    pub fn oldest_queued(&self) -> Option<Duration> {
        let since = self.counts.oldest_queued_at?;
        Some(Duration::from_millis(self.counts.now.saturating_sub(since)))
    }
}

/// The queue. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Jobs {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) options: Arc<Options>,
    claims: Arc<AtomicUsize>,
}

impl Jobs {
    /// A queue in a store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, options: Options) -> Self {
        Self { store, options: Arc::new(options), claims: Arc::default() }
    }

    /// What it was made with.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    pub(crate) fn lanes_of(&self, queue: &str) -> Result<Vec<Lane>, Error> {
        let count = self.options.partitions.get(queue).copied().unwrap_or(1).max(1);
        (0..count).map(|partition| Lane::new(queue, partition)).collect()
    }

    /// Takes one job in.
    ///
    /// # Errors
    /// As one of [`Jobs::submit_all`].
    pub async fn submit(&self, job: NewJob) -> Result<Submitted, Error> {
        let mut answers = self.submit_all(vec![job]).await?;
        answers.pop().unwrap_or_else(|| Err(Error::invalid("jobs", "the batch is empty")))
    }

    /// Takes jobs in, at most [`MAX_SUBMIT`], and answers in their order.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a batch that is too large. Of each job: [`Error::Invalid`] for a bad
    /// field, [`Error::Conflict`] for a key that stands for another job, [`Error::Unavailable`].
    pub async fn submit_all(
        &self,
        jobs: Vec<NewJob>,
    ) -> Result<Vec<Result<Submitted, Error>>, Error> {
        if jobs.len() > MAX_SUBMIT {
            let reason = format!("{} are more than the {MAX_SUBMIT} allowed at once", jobs.len());
            return Err(Error::invalid("jobs", reason));
        }
        let mut answers: Vec<Option<Result<Submitted, Error>>> = vec![None; jobs.len()];
        let mut lanes: BTreeMap<Lane, (Vec<usize>, Vec<Entry>)> = BTreeMap::new();
        for (index, job) in jobs.into_iter().enumerate() {
            match self.admit(job) {
                Ok((lane, entry)) => {
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
                (indexes, entries, self.store.submit(lane, entries).await)
            })
        });
        for (indexes, entries, accepted) in join_all(calls).await {
            for (at, (index, entry)) in indexes.iter().zip(entries).enumerate() {
                answers[*index] = Some(match &accepted {
                    Ok(accepted) => self.submitted(entry, &accepted[at]).await,
                    Err(error) => Err(error.clone()),
                });
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }

    fn admit(&self, job: NewJob) -> Result<(Lane, Entry), Error> {
        job.check(self.options.max_payload)?;
        let lanes = self.lanes_of(&job.queue)?;
        // Jobs with one key meet in one partition; the others spread.
        let number = match &job.idempotency_key {
            Some(key) => xxhash_rust::xxh3::xxh3_64(key.as_bytes()),
            None => rand::random::<u64>(),
        };
        let chosen = usize::try_from(number % lanes.len() as u64).unwrap_or(0);
        let lane = lanes[chosen].clone();
        let key = job.idempotency_key.clone().map(|key| (key, job.fingerprint()));
        let (delay, id) = (job.delay, JobId::new(&lane));
        let job = job.into_job(id);
        let (packed, priority) = (codec::pack_job(&job), job.header.priority);
        Ok((lane, Entry { id: job.id, priority, packed, delay, key }))
    }

    async fn submitted(&self, entry: &Entry, accepted: &Accepted) -> Result<Submitted, Error> {
        match accepted {
            Accepted::New => {
                let waits = !entry.delay.is_zero();
                let status = if waits { Status::Scheduled } else { Status::Queued };
                Ok(Submitted { id: entry.id.clone(), status, existing: false })
            }
            Accepted::Same(id) => {
                let record = self.find(id).await?;
                // Its result may be past its time, while its key is not.
                let status = record.map_or(Status::Succeeded, |record| record.status);
                Ok(Submitted { id: id.clone(), status, existing: true })
            }
            Accepted::Conflict(id) => {
                let key = entry.key.as_ref().map(|(key, _)| key.clone()).unwrap_or_default();
                Err(Error::Conflict { key, id: id.clone() })
            }
        }
    }

    /// Leases up to `max` jobs of a queue to a worker; waits for the first one for up to `wait`.
    /// An empty answer means that none came.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn claim(
        &self,
        queue: &str,
        worker: &str,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Claimed>, Error> {
        self.claim_until(queue, worker, max, wait, &CancellationToken::new()).await
    }

    /// The same; once `stop` is cancelled it waits no more. (Dropping the future of a claim may
    /// leave jobs leased to nobody.)
    pub(crate) async fn claim_until(
        &self,
        queue: &str,
        worker: &str,
        max: usize,
        wait: Duration,
        stop: &CancellationToken,
    ) -> Result<Vec<Claimed>, Error> {
        let until = Instant::now() + wait;
        let lanes = self.lanes_of(queue)?;
        let max = max.clamp(1, MAX_BATCH);
        loop {
            let turn = self.claims.fetch_add(1, Ordering::Relaxed);
            let reverse = turn % REVERSED == REVERSED - 1;
            let claimer = Claimer { worker: worker.to_owned(), max, reverse };
            let mut marks = Vec::with_capacity(lanes.len());
            for offset in 0..lanes.len() {
                let lane = &lanes[(turn + offset) % lanes.len()];
                let claim = self.store.claim(lane, &claimer).await?;
                if !claim.jobs.is_empty() {
                    return Ok(self.claimed(claim.jobs, claim.now));
                }
                marks.push((lane, claim.mark));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || stop.is_cancelled() {
                return Ok(Vec::new());
            }
            let waits = marks.iter().map(|(lane, mark)| self.store.ready(lane, mark, left));
            tokio::select! {
                () = stop.cancelled() => {}
                ready = select_all(waits) => ready.0?,
            }
        }
    }

    fn claimed(&self, jobs: Vec<(Lease, bytes::Bytes)>, now: u64) -> Vec<Claimed> {
        let unpacked = jobs.into_iter().filter_map(|(lease, packed)| {
            match codec::unpack_job(&packed) {
                Ok(mut job) => {
                    job.header.attempt += 1;
                    job.header.started_at = Some(now);
                    Some(Claimed { job, lease })
                }
                Err(error) => {
                    tracing::error!(job = %lease.id, %error, "job in the store is not ours");
                    None
                }
            }
        });
        unpacked.collect()
    }

    /// Ends attempts: each job goes where its outcome leads. Answers in their order.
    ///
    /// # Errors
    /// Of each: [`Error::Stale`] when the lease has ended, and [`Error::Unavailable`], after which
    /// it is unknown whether the job was settled: settle it again.
    pub async fn settle(&self, ends: &[(Claimed, Outcome)]) -> Vec<Result<(), Error>> {
        let moves = ends.iter().map(|(claimed, outcome)| Move {
            id: claimed.lease.id.clone(),
            from: claimed.lease.token.clone(),
            to: outcome::settle(&claimed.job, outcome, &self.options.backoff),
        });
        let mut answers = self.shift_all(moves.collect()).await;
        // What was called off while it ran may only end: it does so as cancelled.
        let called_off: Vec<usize> = (0..answers.len())
            .filter(|index| matches!(answers[*index], Ok(Moved::Cancelling)))
            .collect();
        let moves = called_off.iter().map(|index| {
            let (claimed, _) = &ends[*index];
            let (id, from) = (claimed.lease.id.clone(), claimed.lease.token.clone());
            Move { id, from, to: outcome::cancel(&claimed.job) }
        });
        for (index, answer) in called_off.iter().zip(self.shift_all(moves.collect()).await) {
            answers[*index] = answer;
        }
        let settled = answers.into_iter().zip(ends).map(|(answer, (claimed, _))| match answer? {
            Moved::Done => Ok(()),
            Moved::Stale | Moved::Cancelling => Err(Error::Stale { id: claimed.lease.id.clone() }),
        });
        settled.collect()
    }

    async fn shift_all(&self, moves: Vec<Move>) -> Vec<Result<Moved, Error>> {
        let mut lanes: BTreeMap<Lane, (Vec<usize>, Vec<Move>)> = BTreeMap::new();
        let mut answers = vec![Ok(Moved::Stale); moves.len()];
        for (index, step) in moves.into_iter().enumerate() {
            let (indexes, moves) = lanes.entry(step.id.lane()).or_default();
            indexes.push(index);
            moves.push(step);
        }
        for (lane, (indexes, moves)) in lanes {
            for (indexes, moves) in indexes.chunks(MAX_BATCH).zip(moves.chunks(MAX_BATCH)) {
                let moved = self.store.shift(&lane, moves).await;
                for (at, index) in indexes.iter().enumerate() {
                    answers[*index] = moved.as_ref().map(|moved| moved[at]).map_err(Clone::clone);
                }
            }
        }
        answers
    }

    /// Renews leases, and learns which jobs were called off. Answers in their order.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn renew(&self, leases: &[Lease]) -> Result<Vec<Renewal>, Error> {
        let mut answers = vec![Renewal::Stale; leases.len()];
        let mut lanes: BTreeMap<Lane, Vec<usize>> = BTreeMap::new();
        for (index, lease) in leases.iter().enumerate() {
            lanes.entry(lease.id.lane()).or_default().push(index);
        }
        for (lane, indexes) in lanes {
            for indexes in indexes.chunks(MAX_BATCH) {
                let batch: Vec<Lease> = indexes.iter().map(|index| leases[*index].clone()).collect();
                let renewed = self.store.renew(&lane, &batch).await?;
                for (index, renewal) in indexes.iter().zip(renewed) {
                    answers[*index] = renewal;
                }
            }
        }
        Ok(answers)
    }

    /// Notes how far a job is, such as `50%`.
    ///
    /// # Errors
    /// [`Error::Stale`] when the lease has ended; [`Error::Unavailable`].
    pub async fn progress(&self, lease: &Lease, progress: &str) -> Result<(), Error> {
        if self.store.progress(lease, progress).await? {
            return Ok(());
        }
        Err(Error::Stale { id: lease.id.clone() })
    }

    async fn find(&self, id: &JobId) -> Result<Option<Record>, Error> {
        let found = self.store.find(id).await?;
        found.map(|found| Record::of(&found, &self.store.name())).transpose()
    }

    /// A job.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Unavailable`].
    pub async fn get(&self, id: &JobId) -> Result<Record, Error> {
        self.find(id).await?.ok_or_else(|| Error::NotFound { id: id.to_string() })
    }

    /// Calls a job off: a waiting one at once, a running one when its worker next renews its
    /// lease; one that has ended stays as it is.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Unavailable`].
    pub async fn cancel(&self, id: &JobId) -> Result<Record, Error> {
        for _ in 0..TRIES {
            let found = self.store.find(id).await?;
            let found = found.ok_or_else(|| Error::NotFound { id: id.to_string() })?;
            let done = match &found.state {
                State::Ended(_) => true,
                State::Running { .. } => self.store.call_off(id, &found.token).await?,
                State::Queued | State::Waiting { .. } => {
                    let to = outcome::cancel(&outcome::unpack(&found)?);
                    let step = Move { id: id.clone(), from: found.token, to };
                    self.store.shift(&id.lane(), &[step]).await? == [Moved::Done]
                }
            };
            if done {
                return self.get(id).await;
            }
        }
        Err(self.restless(id))
    }

    /// Tries a dead letter again, from the start.
    ///
    /// # Errors
    /// [`Error::WrongStatus`] for a job that is not dead; [`Error::NotFound`];
    /// [`Error::Unavailable`].
    pub async fn retry(&self, id: &JobId) -> Result<Record, Error> {
        for _ in 0..TRIES {
            let found = self.store.find(id).await?;
            let found = found.ok_or_else(|| Error::NotFound { id: id.to_string() })?;
            if found.state != State::Ended(Status::Dead) {
                let status = Record::of(&found, &self.store.name())?.status;
                let (id, wanted, action) = (id.clone(), Status::Dead, "retried");
                return Err(Error::WrongStatus { id, status, wanted, action });
            }
            let to = outcome::revive(&found)?;
            let step = Move { id: id.clone(), from: found.token, to };
            if self.store.shift(&id.lane(), &[step]).await? == [Moved::Done] {
                return self.get(id).await;
            }
        }
        Err(self.restless(id))
    }

    fn restless(&self, id: &JobId) -> Error {
        let (store, reason) = (self.store.name(), format!("the job {id} moves all the time"));
        Error::Unavailable { store, reason }
    }

    /// Gives jobs whose lease has ended to others, and forgets results past their time. Every
    /// worker does this now and then. Returns how many jobs it took from vanished workers.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn recover(&self, queue: &str) -> Result<usize, Error> {
        let mut taken = 0;
        for lane in self.lanes_of(queue)? {
            loop {
                let expired = self.store.expired(&lane, self.options.lease).await?;
                let moves = expired.iter().map(|found| {
                    let id = codec::unpack(&found.packed).map(|(id, ..)| id);
                    let id = id.map_err(|_| Error::NotFound { id: String::new() })?;
                    let to = outcome::reclaim(found)?;
                    Ok(Move { id, from: found.token.clone(), to })
                });
                let moves: Vec<Move> = moves.filter_map(|step: Result<_, Error>| step.ok()).collect();
                if moves.is_empty() {
                    break;
                }
                let moved = self.store.shift(&lane, &moves).await?;
                let done = moved.iter().filter(|moved| **moved == Moved::Done).count();
                taken += done;
                if done == 0 || expired.len() < MAX_BATCH {
                    break;
                }
            }
            let (ended, dead) = (self.options.result_ttl, self.options.dead_ttl);
            while self.store.sweep(&lane, ended, dead).await? >= MAX_BATCH {}
        }
        Ok(taken)
    }

    /// Counts every queue that ever had a job.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn queues(&self) -> Result<Vec<QueueStats>, Error> {
        let lanes = self.store.lanes().await?;
        let counted = join_all(lanes.iter().map(|lane| self.store.counts(lane))).await;
        let mut queues: BTreeMap<String, Counts> = BTreeMap::new();
        for (lane, counts) in lanes.into_iter().zip(counted) {
            let (sum, more) = (queues.entry(lane.queue).or_default(), counts?);
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
        Ok(queues.into_iter().map(|(queue, counts)| QueueStats { queue, counts }).collect())
    }
}
