//! The queue of calls that wait for an instance.

use std::pin::pin;

use tokio::time::{Instant, timeout_at};

use crate::{Error, Target, cluster_client::ClusterClient};

impl ClusterClient {
    /// Tries until it works, waiting cannot help, or `queue_timeout` since `began` is over. A try
    /// that takes longer than that is given up.
    pub(crate) async fn queue<T, F>(
        &self,
        target: &Target,
        began: Instant,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let until = began + self.options().queue_timeout;
        let mut waiter = self.cluster.waiters().enter(target.instance.is_some());
        loop {
            let mut changed = pin!(waiter.notified());
            // Registered before the try, so that no change in between is missed. When this is
            // dropped without waiting, another call is woken in its place.
            changed.as_mut().enable();
            let error = match timeout_at(until, attempt()).await {
                Ok(Ok(found)) => {
                    waiter.served();
                    return Ok(found);
                }
                Ok(Err(error)) => error,
                Err(_) => {
                    self.refused();
                    return Err(self.unreachable(began, "still connecting".to_owned()));
                }
            };
            let over = !error.is_transient() || Instant::now() >= until;
            if over || timeout_at(until, changed).await.is_err() {
                self.refused();
                return Err(error.after(began.elapsed()));
            }
        }
    }
}
