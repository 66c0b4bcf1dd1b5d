//! Who takes a call: an instance is picked, and a permit on one of its connections taken.

use std::{sync::Arc, time::Duration};

use discovery::Instance;
use tokio::time::{Instant, timeout};

use crate::{
    Error, Target,
    cluster::Cluster,
    connection::StreamPermit,
    endpoint::{AcquireError, Endpoint},
};

/// There is room for a call when this is dropped.
struct NotifyOnDrop(Arc<Cluster>);

impl Drop for NotifyOnDrop {
    fn drop(&mut self) {
        self.0.queue.notify_room();
    }
}

/// A call in flight on an instance: counted until dropped, wherever the call ends.
pub(crate) struct InFlight {
    pub(crate) permit: StreamPermit,
    guard: InFlightGuard,
}

struct InFlightGuard {
    cluster: Arc<Cluster>,
    endpoint: Arc<Endpoint>,
    /// It has a permit on a connection.
    has_permit: bool,
}

impl Cluster {
    /// Someone to send a call to, with a permit on a connection. `tried` are avoided while another
    /// can take it.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        target: &Target,
        tried: &[Arc<Endpoint>],
    ) -> Result<InFlight, Error> {
        let began = Instant::now();
        self.queue(target, began, || self.try_acquire(target, tried, began))
            .await
    }

    async fn try_acquire(
        self: &Arc<Self>,
        target: &Target,
        tried: &[Arc<Endpoint>],
        began: Instant,
    ) -> Result<InFlight, Error> {
        let mut candidates = self.candidates(target, tried, began, self.shared().now())?;
        let mut last = None;
        while let Some(endpoint) = candidates.next() {
            match self.try_endpoint(&endpoint, began).await {
                Ok(in_flight) => return Ok(in_flight),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| self.unreachable(began, String::new())))
    }

    /// A call begins on an instance at a time on the mesh's clock: until [`Endpoint::end`]. False
    /// when it has too many.
    pub(crate) fn begin(&self, endpoint: &Arc<Endpoint>, now: Duration) -> bool {
        let begun = endpoint.begin(now);
        if begun {
            self.track(endpoint);
        }
        begun
    }

    async fn try_endpoint(
        self: &Arc<Self>,
        endpoint: &Arc<Endpoint>,
        began: Instant,
    ) -> Result<InFlight, Error> {
        let permit = match endpoint.reserve() {
            Ok(permit) => permit,
            Err(refusal) => return Err(self.refused(refusal, began)),
        };
        if !self.begin(endpoint, self.shared().now()) {
            let limit = self.options.load().max_in_flight;
            return Err(self.saturated("max_in_flight", limit, began));
        }
        // Counted before anything is awaited, so that the next pick sees it.
        let mut guard = InFlightGuard {
            cluster: Arc::clone(self),
            endpoint: Arc::clone(endpoint),
            has_permit: false,
        };
        let permit = match permit {
            Some(permit) => permit,
            None => self
                .open(endpoint)
                .await
                .map_err(|refusal| self.refused(refusal, began))?,
        };
        guard.has_permit = true;
        Ok(InFlight { permit, guard })
    }

    /// Opens a connection in a task of its own, which goes on when this call looks elsewhere or is
    /// given up: the next one will want it.
    async fn open(
        self: &Arc<Self>,
        endpoint: &Arc<Endpoint>,
    ) -> Result<StreamPermit, AcquireError> {
        let (cluster, endpoint_in_task) = (Arc::clone(self), Arc::clone(endpoint));
        let opening = self.shared().tracker.spawn(async move {
            let (outcome, attempts) = endpoint_in_task.connect().await;
            match (&outcome, attempts) {
                // The new connection has room for more than this call.
                (Ok(_), _) => {
                    cluster.track(&endpoint_in_task);
                    cluster.queue.wake();
                }
                (Err(AcquireError::ConnectFailed { reason }), Some(attempts)) => {
                    cluster.connection_failed(&endpoint_in_task, reason, attempts);
                }
                (Err(_), _) => {}
            }
            // Who waits is told once more when it was for nobody, and is free only then.
            outcome.map(|permit| (permit, NotifyOnDrop(cluster)))
        });
        let patience = self.options.load().connect_patience;
        match timeout(patience, opening).await {
            Ok(Ok(outcome)) => outcome.map(|(permit, _)| permit),
            _ => Err(AcquireError::ConnectFailed {
                reason: "still connecting".to_owned(),
            }),
        }
    }

    fn refused(&self, refusal: AcquireError, began: Instant) -> Error {
        match refusal {
            AcquireError::Full => {
                let limit = self.options.load().max_connections;
                let limit = u32::try_from(limit).unwrap_or(u32::MAX);
                self.saturated("max_connections", limit, began)
            }
            AcquireError::ConnectFailed { reason } => self.unreachable(began, reason),
        }
    }

    pub(crate) fn unreachable(&self, began: Instant, reason: String) -> Error {
        Error::Unreachable {
            service: self.service.to_string(),
            waited: began.elapsed(),
            reason,
        }
    }

    pub(crate) fn saturated(&self, key: &'static str, limit: u32, began: Instant) -> Error {
        Error::Saturated {
            service: self.service.to_string(),
            key,
            limit,
            waited: began.elapsed(),
        }
    }
}

impl InFlight {
    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.guard.endpoint
    }

    pub(crate) fn instance(&self) -> Arc<Instance> {
        self.endpoint().instance.load_full()
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        let had_last = self.endpoint.end();
        // A call that found no connection made no room, unless others were waiting for its place.
        if self.has_permit || had_last {
            self.cluster.queue.notify_room();
        }
    }
}
