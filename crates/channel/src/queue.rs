//! Calls that wait for somebody who can take them.

use std::pin::pin;

use tokio::time::{Instant, timeout_at};

use crate::{Error, Target, cluster_client::ClusterClient};

impl ClusterClient {
    /// Tries until it works, or waiting cannot help, or a call that `began` then has waited for
    /// `queue_timeout`. An attempt that takes longer than that is given up.
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
            // Registered before looking, so that a change in between is not missed; and when this
            // is dropped without waiting, another is woken in its place.
            changed.as_mut().enable();
            let error = match timeout_at(until, attempt()).await {
                Ok(Ok(found)) => {
                    waiter.served();
                    return Ok(found);
                }
                Ok(Err(error)) => error,
                Err(_) => return Err(self.unreachable(began, "still connecting".to_owned())),
            };
            let over = !error.is_transient() || Instant::now() >= until;
            if over || timeout_at(until, changed).await.is_err() {
                return Err(error.after(began.elapsed()));
            }
        }
    }
}
