//! Picks an instance for a call and takes a permit on one of its connections.

use std::sync::Arc;

use tokio::time::{Instant, timeout};

use crate::{
    Error, Target,
    attempt::CallAttempt,
    cluster_client::ClusterClient,
    connection::StreamPermit,
    connections::{Cluster, Endpoint},
};

/// A call in flight on an instance, with a permit on one of its connections.
pub(crate) struct InFlight {
    pub(crate) permit: StreamPermit,
    pub(crate) attempt: CallAttempt,
}

/// Why there is no permit.
enum AcquireError {
    /// The instance cannot be connected to.
    ConnectFailed { reason: String },
    /// Every connection is full and no more may be opened.
    Full,
}

/// Wakes a waiting call when dropped.
struct NotifyOnDrop(Arc<Cluster>);

impl Drop for NotifyOnDrop {
    fn drop(&mut self) {
        self.0.waiters().notify_room();
    }
}

impl ClusterClient {
    /// An instance for a call, with a permit on a connection. Those in `tried` are avoided while
    /// another can take it.
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
        let mut candidates = self.candidates(target, tried, began, self.now())?;
        let mut last = None;
        while let Some(endpoint) = candidates.next() {
            match self.try_endpoint(&endpoint, began).await {
                Ok(in_flight) => return Ok(in_flight),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| self.unreachable(began, String::new())))
    }

    async fn try_endpoint(
        self: &Arc<Self>,
        endpoint: &Arc<Endpoint>,
        began: Instant,
    ) -> Result<InFlight, Error> {
        let permit = match reserve(endpoint, self.options().max_connections) {
            Ok(permit) => permit,
            Err(error) => return Err(self.not_acquired(error, began)),
        };
        // Counted before the first await, so that the next pick sees it.
        let mut attempt = CallAttempt::begin(self, endpoint, began, self.now())?;
        let permit = match permit {
            Some(permit) => permit,
            None => {
                attempt.makes_room = false;
                let opened = self.open(endpoint).await;
                opened.map_err(|error| self.not_acquired(error, began))?
            }
        };
        attempt.makes_room = true;
        Ok(InFlight { permit, attempt })
    }

    /// Opens a connection in a task of its own. It continues when this call tries another instance
    /// or is cancelled: the next call will need the connection.
    async fn open(&self, endpoint: &Arc<Endpoint>) -> Result<StreamPermit, AcquireError> {
        let (cluster, endpoint) = (Arc::clone(&self.cluster), Arc::clone(endpoint));
        let opening = self.shared.tracker.spawn(async move {
            let outcome = connect(&cluster, &endpoint).await;
            if outcome.is_ok() {
                // The new connection has room for more than this call.
                cluster.track(&endpoint);
                cluster.waiters().notify_all();
            }
            // If the call is gone, dropping the permit makes room: wake a waiting call then.
            outcome.map(|permit| (permit, NotifyOnDrop(cluster)))
        });
        let patience = self.options().connect_patience;
        match timeout(patience, opening).await {
            Ok(Ok(outcome)) => outcome.map(|(permit, _)| permit),
            _ => Err(AcquireError::ConnectFailed {
                reason: "still connecting".to_owned(),
            }),
        }
    }

    fn not_acquired(&self, error: AcquireError, began: Instant) -> Error {
        match error {
            AcquireError::Full => {
                let limit = self.options().max_connections;
                let limit = u32::try_from(limit).unwrap_or(u32::MAX);
                self.saturated("max_connections", limit, began)
            }
            AcquireError::ConnectFailed { reason } => self.unreachable(began, reason),
        }
    }

    pub(crate) fn unreachable(&self, began: Instant, reason: String) -> Error {
        Error::Unreachable {
            service: self.cluster.service().to_string(),
            waited: began.elapsed(),
            reason,
        }
    }

    pub(crate) fn saturated(&self, key: &'static str, limit: u32, began: Instant) -> Error {
        Error::Saturated {
            service: self.cluster.service().to_string(),
            key,
            limit,
            waited: began.elapsed(),
        }
    }
}

/// A permit on a connection that is open; `None` when another connection may be opened.
fn reserve(endpoint: &Endpoint, most: usize) -> Result<Option<StreamPermit>, AcquireError> {
    let connections = endpoint.connections();
    if let Some(permit) = connections.reserve() {
        return Ok(Some(permit));
    }
    if let Some(reason) = endpoint.connect_error() {
        return Err(AcquireError::ConnectFailed { reason });
    }
    if connections.len() >= most {
        return Err(AcquireError::Full);
    }
    Ok(None)
}

/// A permit on a new connection, or on one that has just been opened.
async fn connect(
    cluster: &Arc<Cluster>,
    endpoint: &Arc<Endpoint>,
) -> Result<StreamPermit, AcquireError> {
    // Callers that waited for the lock find the connection of another, or its failure.
    let connecting = endpoint.lock_connecting().await;
    let most = cluster.options().max_connections;
    if let Some(permit) = reserve(endpoint, most)? {
        return Ok(permit);
    }
    let connections = endpoint.connections();
    match connections.connect(endpoint.connect_args()).await {
        Ok(permit) => Ok(permit),
        // It serves its connections and accepts no more.
        Err(_) if connections.len() > 0 => Err(AcquireError::Full),
        Err(reason) => {
            cluster.mark_unreachable(endpoint, &reason);
            drop(connecting);
            Err(AcquireError::ConnectFailed { reason })
        }
    }
}
