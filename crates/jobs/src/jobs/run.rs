//! What workers do: claim, renew, settle, and take over from those that vanished.

use std::{collections::BTreeMap, sync::atomic::Ordering, time::Duration};

use futures_util::future::{join_all, select_all};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Times;
use crate::{
    ClaimRequest, ClaimedJob, Error, History, JobId, JobOutcome, Jobs, Lane, Lease, MAX_BATCH,
    Move, MoveOutcome, Renewal, codec, outcome,
};

/// How soon a partition that cannot be claimed from is asked again while others can.
const LANE_RETRY: Duration = Duration::from_secs(1);
/// Every so many claims, the lowest priority comes first, so that none starves.
const REVERSE_EVERY: usize = 16;

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
    ) -> Result<Vec<ClaimedJob>, Error> {
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
    ) -> Result<Vec<ClaimedJob>, Error> {
        let until = Instant::now() + wait;
        let lanes = self.lanes_of(queue)?;
        let max = max.clamp(1, MAX_BATCH);
        loop {
            let turn = self.claims.fetch_add(1, Ordering::Relaxed);
            let reverse = turn % REVERSE_EVERY == REVERSE_EVERY - 1;
            let claim_request = ClaimRequest {
                worker: worker.to_owned(),
                max,
                reverse,
            };
            let mut marks = Vec::with_capacity(lanes.len());
            let (mut failed, mut again) = (None, false);
            for offset in 0..lanes.len() {
                let lane = &lanes[(turn + offset) % lanes.len()];
                // A partition that is away keeps nobody from the others.
                let claim = match self.store.claim(lane, &claim_request).await {
                    Ok(claim) => claim,
                    Err(error) => {
                        failed = Some(error);
                        continue;
                    }
                };
                self.clock.observe(lane, claim.now);
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
                self.log_throttle.store_error(&error);
                left = left.min(LANE_RETRY);
            }
            if again && !stop.is_cancelled() {
                continue;
            }
            if left.is_zero() || stop.is_cancelled() {
                return Ok(Vec::new());
            }
            let waits = marks
                .iter()
                .map(|(lane, mark)| self.store.wait_for_job(lane, mark, left));
            tokio::select! {
                () = stop.cancelled() => {}
                ready = select_all(waits) => if let Err(error) = ready.0 {
                    if lanes.len() == 1 {
                        return Err(error);
                    }
                    // The next claim says what is the matter, of this partition only.
                    tokio::time::sleep(LANE_RETRY / 10).await;
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
    ) -> Vec<ClaimedJob> {
        let (mut claimed, mut undecodable) = (Vec::with_capacity(jobs.len()), Vec::new());
        for (lease, packed) in jobs {
            match codec::unpack_job(&packed) {
                Ok(mut job) => {
                    job.header.history = History::claimed(&job.header, now);
                    job.header.attempt += 1;
                    job.header.started_at = Some(now);
                    claimed.push(ClaimedJob { job, lease });
                }
                Err(error) => {
                    tracing::error!(job = %lease.id, %error, "a job cannot be decoded: it is dead");
                    let to = outcome::dead_letter(&lease.id, &packed, &error, false, now);
                    let (id, from) = (lease.id, lease.token);
                    undecodable.push(Move { id, from, to });
                }
            }
        }
        if !undecodable.is_empty()
            && let Err(error) = self.store.transition(lane, &undecodable).await
        {
            // Their leases end, and whoever takes them over moves them.
            self.log_throttle.store_error(&error);
        }
        claimed
    }

    /// Ends attempts: each job goes where its outcome leads. Answers in their order.
    ///
    /// # Errors
    /// Of each: [`Error::Stale`] when the lease has ended, and [`Error::Unavailable`], after which
    /// it is unknown whether the job was settled: settle it again.
    pub async fn settle(&self, ends: &[(ClaimedJob, JobOutcome)]) -> Vec<Result<(), Error>> {
        let (mut times, mut moves) = (Times::default(), Vec::with_capacity(ends.len()));
        for (claimed, outcome) in ends {
            let large = outcome::limit_size(outcome, self.options.max_result);
            let outcome = large.as_ref().unwrap_or(outcome);
            let now = times.estimate(self, &claimed.lease.id.lane()).await;
            moves.push(Move {
                id: claimed.lease.id.clone(),
                from: claimed.lease.token.clone(),
                to: outcome::settle(&claimed.job, outcome, &self.options.backoff, now),
            });
        }
        let mut answers = self.transition_all(moves).await;
        // What was called off while it ran may only end: it does so as cancelled.
        let cancel_requests: Vec<usize> = (0..answers.len())
            .filter(|index| matches!(answers[*index], Ok(MoveOutcome::Cancelling)))
            .collect();
        let mut moves = Vec::with_capacity(cancel_requests.len());
        for index in &cancel_requests {
            let (claimed, _) = &ends[*index];
            let (id, from) = (claimed.lease.id.clone(), claimed.lease.token.clone());
            let now = times.estimate(self, &id.lane()).await;
            let to = outcome::cancel(&claimed.job, now);
            moves.push(Move { id, from, to });
        }
        for (index, answer) in cancel_requests.iter().zip(self.transition_all(moves).await) {
            answers[*index] = answer;
        }
        let settled = answers
            .into_iter()
            .zip(ends)
            .map(|(answer, (claimed, _))| match answer? {
                MoveOutcome::Done => Ok(()),
                MoveOutcome::Stale | MoveOutcome::Cancelling => Err(Error::Stale {
                    id: claimed.lease.id.clone(),
                }),
            });
        settled.collect()
    }

    async fn transition_all(&self, moves: Vec<Move>) -> Vec<Result<MoveOutcome, Error>> {
        let mut lanes: BTreeMap<Lane, (Vec<usize>, Vec<Move>)> = BTreeMap::new();
        let mut answers = vec![Ok(MoveOutcome::Stale); moves.len()];
        for (index, step) in moves.into_iter().enumerate() {
            let (indexes, moves) = lanes.entry(step.id.lane()).or_default();
            indexes.push(index);
            moves.push(step);
        }
        for (lane, (indexes, moves)) in lanes {
            for (indexes, moves) in indexes.chunks(MAX_BATCH).zip(moves.chunks(MAX_BATCH)) {
                let moved = self.store.transition(&lane, moves).await;
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
    pub async fn cancel_requests(&self, queue: &str) -> Result<Vec<JobId>, Error> {
        let lanes = self.lanes_of(queue)?;
        let asked = lanes.iter().map(|lane| self.store.cancel_requests(lane));
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
        self.handle_clock_jump(lane).await?;
        let mut taken = 0;
        loop {
            let now = self.now(lane).await?;
            let expired = self.store.expired_leases(lane, self.options.lease).await?;
            let moves = expired.iter().map(|found| Move {
                id: found.id.clone(),
                from: found.token.clone(),
                to: outcome::reclaim(found, now),
            });
            let moves: Vec<Move> = moves.collect();
            if moves.is_empty() {
                break;
            }
            let moved = self.store.transition(lane, &moves).await?;
            let done = moved
                .iter()
                .filter(|moved| **moved == MoveOutcome::Done)
                .count();
            taken += done;
            if done == 0 || expired.len() < MAX_BATCH {
                break;
            }
        }
        let (ended, dead) = (self.options.result_ttl, self.options.dead_ttl);
        // By a clock that has just leapt everything would be past its time.
        while self.clock.is_stable(lane) && self.store.sweep(lane, ended, dead).await? >= MAX_BATCH
        {
        }
        Ok(taken)
    }
}
