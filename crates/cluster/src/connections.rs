//! What a cluster requires of the connections to an endpoint. Its user opens them and calls on
//! them.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::ClusterOptions;

/// The arguments for a new connection.
#[derive(Clone, Debug)]
pub struct ConnectArgs {
    /// `host:port` of the endpoint.
    pub authority: String,
    /// The present options of its cluster.
    pub options: Arc<ClusterOptions>,
    /// Owns the tasks of the connection.
    pub tracker: TaskTracker,
    /// Changes when the connection has to be aborted.
    pub aborted: watch::Receiver<()>,
}

/// The connections to one endpoint.
pub trait Connections: Default + Send + Sync + 'static {
    /// A connection for health checks only.
    type Probe: Default + Send;

    /// Whether none is open.
    fn is_empty(&self) -> bool;

    /// Drops all connections. Each closes when its calls are over.
    fn clear(&self);

    /// Opens one more. The error is a sentence for people.
    fn open(&self, args: ConnectArgs) -> impl Future<Output = Result<(), String>> + Send;

    /// Checks the endpoint's health. Any response counts, even that the method is unknown.
    fn check_health(
        probe: &mut Self::Probe,
        args: ConnectArgs,
    ) -> impl Future<Output = bool> + Send;
}

/// For tests: no connections, and none can be opened.
#[cfg(test)]
#[derive(Default)]
pub(crate) struct NoConnections;

#[cfg(test)]
impl Connections for NoConnections {
    type Probe = ();

    fn is_empty(&self) -> bool {
        true
    }

    fn clear(&self) {}

    async fn open(&self, _: ConnectArgs) -> Result<(), String> {
        Err("there are none".to_owned())
    }

    async fn check_health((): &mut (), _: ConnectArgs) -> bool {
        false
    }
}
