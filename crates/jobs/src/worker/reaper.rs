//! What a worker does for the queue as a whole: it takes over jobs of lost workers, and says that
//! it serves the queue.

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{CLAIM_WAIT, STORE_RETRY, Worker};
use crate::jobs::heartbeats::HEARTBEAT_INTERVAL;

impl Worker {
    /// Queues jobs whose lease has ended, and deletes expired results, now and then.
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

    /// Sends heartbeats for the queue, for as long as it claims jobs.
    pub(super) async fn send_heartbeats(self, stop: CancellationToken) {
        loop {
            // The claims report a store that is unavailable: they come more often.
            let pause = match self.jobs.store.heartbeat(&self.queue).await {
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
