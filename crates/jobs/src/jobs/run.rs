//! What workers do: claim, renew, settle, and take over from lost workers.

use std::{sync::atomic::Ordering, time::Duration};

use futures_util::future::{join_all, select_all};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    ClaimRequest, ClaimedJob, Destination, Error, JobId, JobOutcome, Jobs, Lane, Lease, MAX_BATCH,
    Move, MoveOutcome, Renewal, codec, jobs::drained::DrainedLanes, outcome, steps,
};

/// How soon a failing partition is tried again while others work.
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
        let (stop, drained) = (CancellationToken::new(), &mut DrainedLanes::default());
        self.claim_until(queue, worker, max, wait, &stop, drained)
            .await
    }

    /// The same, but without waiting once `stop` is cancelled. A claimer that took all that there was,
    /// as `drained` says, waits for more before it claims again. Dropping the future of a claim may
    /// leave leases that no worker knows of.
    pub(crate) async fn claim_until(
        &self,
        queue: &str,
        worker: &str,
        max: usize,
        wait: Duration,
        stop: &CancellationToken,
        drained: &mut DrainedLanes,
    ) -> Result<Vec<ClaimedJob>, Error> {
        let until = Instant::now() + wait;
        let lanes = self.lanes_of(queue)?;
        let max = max.clamp(1, MAX_BATCH);
        if let Some(marks) = drained.marks(&lanes, Instant::now())
            && !wait.is_zero()
        {
            let waits = lanes
                .iter()
                .zip(&marks)
                .map(|(lane, mark)| self.store.wait_for_job(lane, mark, wait));
            tokio::select! {
                () = stop.cancelled() => return Ok(Vec::new()),
                // What fails here is what the claim that follows says.
                _ = select_all(waits) => {}
            }
        }
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
                // A partition that is unavailable does not affect the others.
                let claim = match self.store.claim(lane, &claim_request).await {
                    Ok(claim) => claim,
                    Err(error) => {
                        failed = Some(error);
                        continue;
                    }
                };
                self.clock.observe(lane, claim.now);
                drained.claimed(lane, &claim, max, Instant::now());
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
                    // The next claim reports the error, for this partition only.
                    tokio::time::sleep(LANE_RETRY / 10).await;
                },
            }
        }
    }

    /// The jobs that can be decoded. The others become dead letters, with their bytes: otherwise
    /// they would come back whenever their lease ends.
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
                    steps::claim(&mut job.header, now);
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
            // Their leases end, and the worker that takes them over moves them.
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
        let mut answers = vec![Ok(()); ends.len()];
        for (lane, indexes) in by_lane(ends.iter().map(|(claimed, _)| &claimed.lease.id)) {
            let now = self.now(&lane).await;
            let now = now.unwrap_or_else(|_| self.estimated_now(&lane));
            for indexes in indexes.chunks(MAX_BATCH) {
                let settled = self.settle_batch(&lane, ends, indexes, now).await;
                for (index, settled) in indexes.iter().zip(settled) {
                    answers[*index] = settled.and_then(|settled| match settled {
                        MoveOutcome::Done => Ok(()),
                        _ => Err(stale(&ends[*index].0.lease)),
                    });
                }
            }
        }
        answers
    }

    async fn settle_batch(
        &self,
        lane: &Lane,
        ends: &[(ClaimedJob, JobOutcome)],
        indexes: &[usize],
        now: u64,
    ) -> Vec<Result<MoveOutcome, Error>> {
        let step = |claimed: &ClaimedJob, to: Destination| Move {
            id: claimed.lease.id.clone(),
            from: claimed.lease.token.clone(),
            to,
        };
        let moves = indexes.iter().map(|index| {
            let (claimed, outcome) = &ends[*index];
            let limited = outcome::limit_size(outcome, self.options.max_result);
            let outcome = limited.as_ref().unwrap_or(outcome);
            let to = outcome::settle(&claimed.job, outcome, &self.options.backoff, now);
            step(claimed, to)
        });
        let moves: Vec<Move> = moves.collect();
        let mut moved = self.transition(lane, &moves).await;
        // A job that was cancelled while it ran may only end: it ends as cancelled.
        let cancelled =
            (0..moved.len()).filter(|at| matches!(moved[*at], Ok(MoveOutcome::Cancelling)));
        let cancelled: Vec<usize> = cancelled.collect();
        if !cancelled.is_empty() {
            let moves = cancelled.iter().map(|at| {
                let (claimed, _) = &ends[indexes[*at]];
                step(claimed, outcome::cancel(&claimed.job, now))
            });
            let moves: Vec<Move> = moves.collect();
            let ended = self.transition(lane, &moves).await;
            for (at, ended) in cancelled.into_iter().zip(ended) {
                moved[at] = ended;
            }
        }
        moved
    }

    async fn transition(&self, lane: &Lane, moves: &[Move]) -> Vec<Result<MoveOutcome, Error>> {
        match self.store.transition(lane, moves).await {
            Ok(moved) => moved.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error); moves.len()],
        }
    }

    /// Renews leases, and learns which jobs were cancelled. Answers in their order.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn renew(&self, leases: &[Lease]) -> Result<Vec<Renewal>, Error> {
        let mut answers = vec![Renewal::Stale; leases.len()];
        let mut failed = None;
        for (lane, indexes) in by_lane(leases.iter().map(|lease| &lease.id)) {
            for indexes in indexes.chunks(MAX_BATCH) {
                let batch = indexes.iter().map(|index| leases[*index].clone());
                let batch: Vec<Lease> = batch.collect();
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

    /// The running jobs of a queue that were cancelled and have not ended yet. Their workers stop
    /// them and settle them as cancelled. [`Jobs::renew`] returns the same, later.
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

    /// Notes a job's progress, such as `50%`.
    ///
    /// # Errors
    /// [`Error::Stale`] when the lease has ended; [`Error::Unavailable`].
    pub async fn progress(&self, lease: &Lease, progress: &str) -> Result<(), Error> {
        match self.store.progress(lease, progress).await? {
            true => Ok(()),
            false => Err(stale(lease)),
        }
    }

    /// Queues jobs whose lease has ended, and deletes expired results. Every worker does this now
    /// and then. Returns how many jobs it took from lost workers.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn recover(&self, queue: &str) -> Result<usize, Error> {
        let (mut taken, mut failed) = (0, None);
        for lane in self.lanes_of(queue)? {
            match self.recover_lane(&lane).await {
                Ok(count) => taken += count,
                // A partition that is damaged or unavailable does not affect the others.
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
        // By a clock that has just jumped everything may look expired.
        while self.clock.is_stable(lane) && self.store.sweep(lane, ended, dead).await? >= MAX_BATCH
        {
        }
        Ok(taken)
    }
}

fn stale(lease: &Lease) -> Error {
    let id = lease.id.clone();
    Error::Stale { id }
}

/// The indexes of ids by the lanes that they are in.
pub(super) fn by_lane<'a>(ids: impl Iterator<Item = &'a JobId>) -> Vec<(Lane, Vec<usize>)> {
    let mut lanes: Vec<(Lane, Vec<usize>)> = Vec::new();
    for (index, id) in ids.enumerate() {
        match lanes.iter_mut().find(|(lane, _)| id.is_in(lane)) {
            Some((_, indexes)) => indexes.push(index),
            None => lanes.push((id.lane(), vec![index])),
        }
    }
    lanes
}
