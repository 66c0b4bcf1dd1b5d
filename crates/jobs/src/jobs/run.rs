//! What workers do: claim, renew, settle, and take over from those that vanished.

use std::{collections::BTreeMap, sync::atomic::Ordering, time::Duration};

use futures_util::future::{join_all, select_all};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Times;
use crate::{
    Claimed, Claimer, Error, History, JobId, Jobs, Lane, Lease, MAX_BATCH, Move, Moved, Outcome,
    Renewal, codec, outcome,
};

/// How soon a partition that cannot be claimed from is asked again while others can.
const AGAIN: Duration = Duration::from_secs(1);
/// Every so many claims, the lowest priority comes first, so that none starves.
const REVERSED: usize = 16;

impl Jobs {
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
        self.claim_until(queue, worker, max, wait, &CancellationToken::new())
            .await
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
            let claimer = Claimer {
                worker: worker.to_owned(),
                max,
                reverse,
            };
            let mut marks = Vec::with_capacity(lanes.len());
            let (mut failed, mut again) = (None, false);
            for offset in 0..lanes.len() {
                let lane = &lanes[(turn + offset) % lanes.len()];
                // A partition that is away keeps nobody from the others.
                let claim = match self.store.claim(lane, &claimer).await {
                    Ok(claim) => claim,
                    Err(error) => {
                        failed = Some(error);
                        continue;
                    }
                };
                self.clock.tell(lane, claim.now);
                if !claim.jobs.is_empty() {
                    let claimed = self.claimed(lane, claim.jobs, claim.now).await;
                    if !claimed.is_empty() {
                        return Ok(claimed);
                    }
                    again = true;
                }
                marks.push((lane, claim.mark));
            }
            let mut left = until.saturating_duration_since(Instant::now());
            if let Some(error) = failed {
                if marks.is_empty() {
                    return Err(error);
                }
                self.quiet.trouble(&error);
                left = left.min(AGAIN);
            }
            if again && !stop.is_cancelled() {
                continue;
            }
            if left.is_zero() || stop.is_cancelled() {
                return Ok(Vec::new());
            }
            let waits = marks
                .iter()
                .map(|(lane, mark)| self.store.ready(lane, mark, left));
            tokio::select! {
                () = stop.cancelled() => {}
                ready = select_all(waits) => if let Err(error) = ready.0 {
                    if lanes.len() == 1 {
                        return Err(error);
                    }
                    // The next claim says what is the matter, of this partition only.
                    tokio::time::sleep(AGAIN / 10).await;
                },
            }
        }
    }

    /// Those that can be decoded. The others are moved to the dead letters, with their bytes: left
    /// alone they would come back with each lease that ends.
    async fn claimed(
        &self,
        lane: &Lane,
        jobs: Vec<(Lease, bytes::Bytes)>,
        now: u64,
    ) -> Vec<Claimed> {
        let (mut claimed, mut buried) = (Vec::with_capacity(jobs.len()), Vec::new());
        for (lease, packed) in jobs {
            match codec::unpack_job(&packed) {
                Ok(mut job) => {
                    job.header.history = History::claimed(&job.header, now);
                    job.header.attempt += 1;
                    job.header.started_at = Some(now);
                    claimed.push(Claimed { job, lease });
                }
                Err(error) => {
                    tracing::error!(job = %lease.id, %error, "a job cannot be decoded: it is dead");
                    let to = outcome::bury(&lease.id, &packed, &error, false, now);
                    let (id, from) = (lease.id, lease.token);
                    buried.push(Move { id, from, to });
                }
            }
        }
        if !buried.is_empty()
            && let Err(error) = self.store.shift(lane, &buried).await
        {
            // Their leases end, and whoever takes them over moves them.
            self.quiet.trouble(&error);
        }
        claimed
    }

    /// Ends attempts: each job goes where its outcome leads. Answers in their order.
    ///
    /// # Errors
    /// Of each: [`Error::Stale`] when the lease has ended, and [`Error::Unavailable`], after which
    /// it is unknown whether the job was settled: settle it again.
    pub async fn settle(&self, ends: &[(Claimed, Outcome)]) -> Vec<Result<(), Error>> {
        let (mut times, mut moves) = (Times::default(), Vec::with_capacity(ends.len()));
        for (claimed, outcome) in ends {
            let large = outcome::too_large(outcome, self.options.max_result);
            let outcome = large.as_ref().unwrap_or(outcome);
            let now = times.about(self, &claimed.lease.id.lane()).await;
            moves.push(Move {
                id: claimed.lease.id.clone(),
                from: claimed.lease.token.clone(),
                to: outcome::settle(&claimed.job, outcome, &self.options.backoff, now),
            });
        }
        let mut answers = self.shift_all(moves).await;
        // What was called off while it ran may only end: it does so as cancelled.
        let called_off: Vec<usize> = (0..answers.len())
            .filter(|index| matches!(answers[*index], Ok(Moved::Cancelling)))
            .collect();
        let mut moves = Vec::with_capacity(called_off.len());
        for index in &called_off {
            let (claimed, _) = &ends[*index];
            let (id, from) = (claimed.lease.id.clone(), claimed.lease.token.clone());
            let now = times.about(self, &id.lane()).await;
            let to = outcome::cancel(&claimed.job, now);
            moves.push(Move { id, from, to });
        }
        for (index, answer) in called_off.iter().zip(self.shift_all(moves).await) {
            answers[*index] = answer;
        }
        let settled = answers
            .into_iter()
            .zip(ends)
            .map(|(answer, (claimed, _))| match answer? {
                Moved::Done => Ok(()),
                Moved::Stale | Moved::Cancelling => Err(Error::Stale {
                    id: claimed.lease.id.clone(),
                }),
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
        let mut failed = None;
        for (lane, indexes) in lanes {
            for indexes in indexes.chunks(MAX_BATCH) {
                let batch: Vec<Lease> =
                    indexes.iter().map(|index| leases[*index].clone()).collect();
                match self.store.renew(&lane, &batch).await {
                    Ok(renewed) => {
                        for (index, renewal) in indexes.iter().zip(renewed) {
                            answers[*index] = renewal;
                        }
                    }
                    // The leases of other partitions run on.
                    Err(error) => failed = Some(error),
                }
            }
        }
        failed.map_or(Ok(answers), Err)
    }

    /// The running jobs of a queue that are called off, and have not ended yet: whoever has one
    /// stops it and settles it as cancelled. [`Jobs::renew`] tells the same, later.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn called_off(&self, queue: &str) -> Result<Vec<JobId>, Error> {
        let lanes = self.lanes_of(queue)?;
        let asked = lanes.iter().map(|lane| self.store.called_off(lane));
        let (mut off, mut failed) = (Vec::new(), None);
        for answer in join_all(asked).await {
            match answer {
                Ok(ids) => off.extend(ids),
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) if off.is_empty() => Err(error),
            _ => Ok(off),
        }
    }

    /// Notes how far a job is, such as `50%`.
    ///
    /// # Errors
    /// [`Error::Stale`] when the lease has ended; [`Error::Unavailable`].
    pub async fn progress(&self, lease: &Lease, progress: &str) -> Result<(), Error> {
        if self.store.progress(lease, progress).await? {
            return Ok(());
        }
        Err(Error::Stale {
            id: lease.id.clone(),
        })
    }

    /// Gives jobs whose lease has ended to others, and forgets results past their time. Every
    /// worker does this now and then. Returns how many jobs it took from vanished workers.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn recover(&self, queue: &str) -> Result<usize, Error> {
        let (mut taken, mut failed) = (0, None);
        for lane in self.lanes_of(queue)? {
            match self.recover_lane(&lane).await {
                Ok(count) => taken += count,
                // One partition that is damaged or away keeps nobody from the others.
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(taken), Err)
    }

    async fn recover_lane(&self, lane: &Lane) -> Result<usize, Error> {
        self.heed_jump(lane).await?;
        let mut taken = 0;
        loop {
            let now = self.now(lane).await?;
            let expired = self.store.expired(lane, self.options.lease).await?;
            let moves = expired.iter().map(|found| Move {
                id: found.id.clone(),
                from: found.token.clone(),
                to: outcome::reclaim(found, now),
            });
            let moves: Vec<Move> = moves.collect();
            if moves.is_empty() {
                break;
            }
            let moved = self.store.shift(lane, &moves).await?;
            let done = moved.iter().filter(|moved| **moved == Moved::Done).count();
            taken += done;
            if done == 0 || expired.len() < MAX_BATCH {
                break;
            }
        }
        let (ended, dead) = (self.options.result_ttl, self.options.dead_ttl);
        // By a clock that has just leapt everything would be past its time.
        while self.clock.is_calm(lane) && self.store.sweep(lane, ended, dead).await? >= MAX_BATCH {}
        Ok(taken)
    }
}
