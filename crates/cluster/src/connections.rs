//! What a cluster asks of the connections to an endpoint, which its user opens and calls on.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::ClusterOptions;

/// What a connection is opened with.
#[derive(Clone, Debug)]
pub struct ConnectArgs {
    /// `host:port` of the endpoint.
    pub authority: String,
    /// Of its cluster, as they are now.
    pub options: Arc<ClusterOptions>,
    /// Owns the tasks of the connection.
    pub tracker: TaskTracker,
    /// Changes when the connection is to be aborted.
    pub aborted: watch::Receiver<()>,
}

/// The connections to one endpoint.
pub trait Connections: Default + Send + Sync + 'static {
    /// A connection that carries nothing but health checks.
    type Probe: Default + Send;

    /// Whether none is open.
    fn is_empty(&self) -> bool;

    /// Lets go of all: each closes when its calls are over.
    fn clear(&self);

    /// Opens one more. The error is for people.
    fn open(&self, args: ConnectArgs) -> impl Future<Output = Result<(), String>> + Send;

    /// Asks the endpoint for its health. Any response is one, also that it does not know the method.
    fn check_health(
        probe: &mut Self::Probe,
        args: ConnectArgs,
    ) -> impl Future<Output = bool> + Send;
}

/// For tests: there are none, and none can be opened.
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
