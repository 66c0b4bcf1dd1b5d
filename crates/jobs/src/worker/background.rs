//! What goes on beside the attempts of a worker: settling, renewing leases, stopping what is called
//! off, taking over from workers that vanished.

use std::{
    collections::{HashMap, HashSet},
    sync::atomic::Ordering,
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{CANCEL_POLL, CLAIM_WAIT, STORE_RETRY, StopReason, Worker};
use crate::{
    ClaimedJob, Error, JobId, JobOutcome, Lease, MAX_BATCH, Renewal, jobs::HEARTBEAT_INTERVAL,
};

impl Worker {
    /// Settles what has ended, everything that came meanwhile at once. What cannot be told to the
    /// store waits until it is back, or until some time after `stop`.
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
                // Others that end meanwhile do not wait for those that cannot be settled.
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
                        // What is damaged may be mended; longer than the lease it is not waited for.
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

    pub(super) async fn renew(self, ended: CancellationToken) {
        let half = self.jobs.options().lease / 2;
        loop {
            tokio::select! {
                () = ended.cancelled() => return,
                () = sleep(half) => {}
            }
            let leases: Vec<Lease> = self
                .active
                .lock()
                .values()
                .map(|active| active.lease.clone())
                .collect();
            if leases.is_empty() {
                continue;
            }
            // A store that is away renews nothing: whether the lease is lost shows when it is back.
            let renewed = loop {
                match self.jobs.renew(&leases).await {
                    Ok(renewed) => break renewed,
                    Err(error) => self.jobs.log_throttle.store_error(&error),
                }
                tokio::select! {
                    () = ended.cancelled() => return,
                    () = sleep(STORE_RETRY) => {}
                }
            };
            let mut active = self.active.lock();
            for (lease, renewal) in leases.iter().zip(renewed) {
                let reason = match renewal {
                    Renewal::Held => continue,
                    Renewal::Cancelling => StopReason::Cancelled,
                    Renewal::Stale => StopReason::Lost,
                };
                if let Some(active) = active.get_mut(&lease.token) {
                    active.end(reason);
                }
            }
        }
    }

    /// Stops what is called off long before its lease is due: one question for all jobs that run.
    pub(super) async fn watch_cancellations(self, ended: CancellationToken) {
        loop {
            tokio::select! {
                () = ended.cancelled() => return,
                () = sleep(CANCEL_POLL) => {}
            }
            if self.running() == 0 {
                continue;
            }
            // A store that is away is the renewal's to tell of, which knows of what is missed here.
            let off = self
                .jobs
                .cancel_requests(&self.queue)
                .await
                .unwrap_or_default();
            if off.is_empty() {
                continue;
            }
            let off: HashSet<JobId> = off.into_iter().collect();
            let mut active = self.active.lock();
            for active in active.values_mut().filter(|it| off.contains(&it.lease.id)) {
                active.end(StopReason::Cancelled);
            }
        }
    }

    pub(super) async fn reap(self, ended: CancellationToken) {
        let least = (self.jobs.options().lease / 6).clamp(STORE_RETRY / 4, CLAIM_WAIT);
        loop {
            // Spread, so that workers started together do not all ask at once.
            let pause = least.mul_f64(0.5 + rand::random::<f64>());
            tokio::select! {
                () = ended.cancelled() => return,
                () = sleep(pause) => {}
            }
            match self.jobs.recover(&self.queue).await {
                Ok(0) => {}
                Ok(jobs) => tracing::warn!(queue = self.queue, jobs, "took over from lost workers"),
                Err(error) => self.jobs.log_throttle.store_error(&error),
            }
        }
    }

    /// Tells the others that somebody takes the queue's jobs, for as long as it takes new ones.
    pub(super) async fn send_heartbeats(self, stop: CancellationToken) {
        loop {
            // A store that is away is told of by the claims, which come more often.
            let pause = match self.jobs.heartbeat(&self.queue).await {
                Err(error) if error.is_unavailable() => HEARTBEAT_INTERVAL / 5,
                Ok(()) | Err(_) => HEARTBEAT_INTERVAL,
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(pause) => {}
            }
        }
    }
}
