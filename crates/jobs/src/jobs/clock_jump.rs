//! Repairs after the store's clock has jumped.

use std::time::Duration;

use crate::{
    Error, JobState, JobStatus, Jobs, Lane, Lease, MAX_BATCH, Move, clock, codec, outcome,
};

/// How far ahead a postponed job may wait without suspicion.
const MAX_POSTPONED: Duration = Duration::from_secs(60);

impl Jobs {
    /// After a jump the age of every lease is wrong: each gets its whole time again, so that none
    /// ends early, and none of a lost worker lasts for as long as the clock was set back. Jobs
    /// that wait longer than any failure makes them wait are queued.
    pub(super) async fn handle_clock_jump(&self, lane: &Lane) -> Result<(), Error> {
        let now = self.store.now(lane).await?;
        self.clock.observe(lane, now);
        if !self.clock.take_jump(lane) {
            return Ok(());
        }
        let handled = async {
            let leases = self.renew_all(lane).await?;
            let queued = self.queue_postponed(lane, now).await?;
            tracing::warn!(%lane, leases, queued, "the store's clock jumped: leases renewed");
            Ok(())
        };
        let handled: Result<(), Error> = handled.await;
        if handled.is_err() {
            self.clock.restore_jump(lane);
        }
        handled
    }

    async fn renew_all(&self, lane: &Lane) -> Result<usize, Error> {
        let mut leases = Vec::new();
        let mut after = Some(String::new());
        while let Some(from) = after {
            let page = self
                .store
                .list(lane, Some(JobStatus::Running), &from, MAX_BATCH);
            let page = page.await?;
            leases.extend(page.jobs.into_iter().map(|listed| Lease {
                id: listed.found.id,
                token: listed.found.token,
            }));
            after = page.next;
        }
        for leases in leases.chunks(MAX_BATCH) {
            self.store.renew(lane, leases).await?;
        }
        Ok(leases.len())
    }

    /// Queues what waits for another attempt, or was postponed, for longer than can be.
    async fn queue_postponed(&self, lane: &Lane, now: u64) -> Result<usize, Error> {
        let mut moves = Vec::new();
        for status in [JobStatus::Failed, JobStatus::Scheduled] {
            let mut after = Some(String::new());
            while let Some(from) = after {
                let page = self
                    .store
                    .list(lane, Some(status), &from, MAX_BATCH)
                    .await?;
                moves.extend(page.jobs.into_iter().filter_map(|listed| {
                    let found = listed.found;
                    let JobState::Waiting { due, .. } = found.state else {
                        return None;
                    };
                    let (id, header, _) = codec::unpack(&found.packed).ok()?;
                    let backoff = header.backoff_or(&self.options.backoff);
                    let longest = match status {
                        JobStatus::Failed => {
                            backoff.max.mul_f64(1.0 + backoff.jitter.clamp(0.0, 1.0))
                        }
                        _ => MAX_POSTPONED,
                    };
                    let latest = now.saturating_add(clock::millis(longest));
                    // A job that was scheduled has its time; one that has run before is only
                    // postponed.
                    let ran = status == JobStatus::Failed || header.started_at.is_some();
                    let to = outcome::reclaim(&found, now);
                    (due > latest && ran).then_some(Move {
                        id,
                        from: found.token,
                        to,
                    })
                }));
                after = page.next;
            }
        }
        for moves in moves.chunks(MAX_BATCH) {
            self.store.transition(lane, moves).await?;
        }
        Ok(moves.len())
    }
}
