//! Settles ended attempts in batches.

use std::{collections::HashMap, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{STORE_RETRY, Worker};
use crate::{ClaimedJob, Error, JobOutcome, MAX_BATCH};

impl Worker {
    /// Settles attempts that have ended, all that came meanwhile in one batch. While the store is
    /// unavailable they wait, until some time after `stop`.
    pub(super) async fn settle(
        self,
        mut ended: mpsc::Receiver<(ClaimedJob, JobOutcome)>,
        stop: CancellationToken,
        drain: Duration,
    ) {
        let mut batch = Vec::with_capacity(MAX_BATCH);
        let (mut late, mut failing): (Option<Instant>, HashMap<Bytes, Instant>) =
            Default::default();
        loop {
            if batch.is_empty() {
                failing.clear();
                if ended.recv_many(&mut batch, MAX_BATCH).await == 0 {
                    return;
                }
            } else {
                // Attempts that end meanwhile join the batch, and do not wait for it.
                sleep(STORE_RETRY).await;
                while batch.len() < 2 * MAX_BATCH
                    && let Ok(more) = ended.try_recv()
                {
                    batch.push(more);
                }
            }
            let answers = self.jobs.settle(&batch).await;
            let mut answers = answers.into_iter();
            batch.retain(|(claimed, _)| {
                let token = &claimed.lease.token;
                match answers.next() {
                    Some(Err(error)) if error.is_of_the_store() => {
                        self.jobs.log_throttle.store_error(&error);
                        let since = *failing.entry(token.clone()).or_insert_with(Instant::now);
                        // Damage may be repaired, but is not waited for longer than the lease.
                        if error.is_unavailable() || since.elapsed() < self.jobs.options().lease {
                            return true;
                        }
                        self.unsettled(claimed, &error);
                    }
                    Some(Err(error)) => self.unsettled(claimed, &error),
                    Some(Ok(())) | None => {}
                }
                failing.remove(token);
                self.active.lock().remove(token);
                false
            });
            if !batch.is_empty() && stop.is_cancelled() {
                let until = *late.get_or_insert_with(|| Instant::now() + drain);
                if Instant::now() >= until {
                    tracing::warn!(
                        jobs = batch.len(),
                        "not settled before the end: others do them again"
                    );
                    batch.clear();
                }
            }
        }
    }

    fn unsettled(&self, claimed: &ClaimedJob, error: &Error) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(worker = self.name, job = %claimed.job.id, %error, "not settled");
    }
}
