//! The leases of running jobs: renewed, and given up when a job is cancelled or its lease is lost.

use std::collections::HashSet;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{CANCEL_POLL, STORE_RETRY, StopReason, Worker};
use crate::{JobId, Lease, Renewal};

impl Worker {
    /// Renews the leases of all running jobs, twice in the time of a lease.
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
            // Whether leases are lost while the store is unavailable shows when it is back.
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

    /// Stops cancelled jobs long before their leases are due, by one query for all running jobs.
    pub(super) async fn watch_cancellations(self, ended: CancellationToken) {
        loop {
            tokio::select! {
                () = ended.cancelled() => return,
                () = sleep(CANCEL_POLL) => {}
            }
            if self.running() == 0 {
                continue;
            }
            // The renewal reports a store that is unavailable, and learns of what is missed here.
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
}
